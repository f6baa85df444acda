"""
The metrics of the engine, and Prometheus' text format for them.

Label values are names of clusters and fixed reasons, so their number is bounded.
"""

from __future__ import annotations

from collections.abc import Iterable, Iterator
from dataclasses import dataclass
from enum import Enum


class MetricType(str, Enum):
    """The type of a metric, as Prometheus names it."""

    GAUGE = "gauge"
    COUNTER = "counter"


@dataclass(frozen=True, slots=True)
class Metric:
    """One metric; its name ends with its unit, a counter's with ``_total``."""

    name: str
    type: MetricType
    help: str


@dataclass(frozen=True, slots=True)
class Sample:
    """One value of a metric; ``labels`` are pairs of name and value."""

    metric: Metric
    value: float
    labels: tuple[tuple[str, str], ...] = ()


def _gauge(name: str, text: str) -> Metric:
    return Metric(f"k8s_nodes_{name}", MetricType.GAUGE, text)


def _counter(name: str, text: str) -> Metric:
    return Metric(f"k8s_nodes_{name}_total", MetricType.COUNTER, text)


IN_SYNC = _gauge("in_sync", "1 while the watch of the cluster works, else 0.")
NODES = _gauge("nodes", "Nodes of the cluster, as its API server reported them last.")
REVISION = _gauge("revision", "Number of the last stored change of the cluster.")
LISTED = _gauge("last_list_timestamp_seconds", "Time of the last successful LIST.")
HEARD = _gauge("last_heard_timestamp_seconds", "Time of the last data from the API server.")
REPORTED = _gauge(
    "engine_reported_timestamp_seconds", "Time of the engine's last report on the cluster."
)
FAILURES = _gauge("consecutive_failures", "Failed requests since the last successful one.")
HELD = _gauge("held_changes", "Changes that a guard holds, by reason.")
REFUSED = _gauge("refused_addresses", "Addresses of present nodes that are not let in, by reason.")
BEHIND = _gauge("minions_behind", "Minions without proof of the current addresses.")
OBSERVED_BEHIND = _gauge(
    "minions_observed_behind",
    "Minions without proof that get no publish, since mode observe keeps them from it.",
)
MINIONS = _gauge("minions", "Minions that reference the cluster.")
DEPARTURES = _gauge(
    "departures_open",
    "Addresses that left the cluster and are not proven closed.",
)
OLDEST_DEPARTURE = _gauge(
    "departures_oldest_seconds",
    "Age of the oldest open departure; 0 for none.",
)
STOPPED = _gauge("publishing_stopped", "1 while a pause, or lost decisions, stop all publishing.")
RECOVERING = _gauge(
    "recovering",
    "1 while nothing is published for the cluster because the store was lost.",
)
LISTS = _counter("lists", "Successful LISTs since the engine started.")
EVENTS = _counter("watch_events", "Watch events since the engine started.")
IGNORED = _counter("ignored_events", "Unreadable watch events since the engine started.")
ERRORS = _counter("failed_requests", "Failed requests since the engine started.")

ALL = (
    IN_SYNC,
    NODES,
    REVISION,
    LISTED,
    HEARD,
    REPORTED,
    FAILURES,
    HELD,
    REFUSED,
    BEHIND,
    OBSERVED_BEHIND,
    MINIONS,
    DEPARTURES,
    OLDEST_DEPARTURE,
    STOPPED,
    RECOVERING,
    LISTS,
    EVENTS,
    IGNORED,
    ERRORS,
)


def exposition(samples: Iterable[Sample]) -> Iterator[str]:
    """Yield the lines of Prometheus' text format, the samples of each metric together."""
    by_metric: dict[Metric, list[Sample]] = {}
    for sample in samples:
        by_metric.setdefault(sample.metric, []).append(sample)
    for metric, its_samples in by_metric.items():
        yield f"# HELP {metric.name} {metric.help}"
        yield f"# TYPE {metric.name} {metric.type.value}"
        for sample in its_samples:
            labels = ",".join(f'{name}="{_escape(value)}"' for name, value in sample.labels)
            yield f"{metric.name}{{{labels}}} {sample.value:.17g}"


def _escape(value: str) -> str:
    return value.replace("\\", r"\\").replace('"', r"\"").replace("\n", r"\n")
