"""The engine's metrics: names, types and help texts; the configuration bounds their labels."""

from __future__ import annotations

from collections.abc import Iterable, Iterator
from dataclasses import dataclass
from enum import Enum


class MetricType(str, Enum):
    """The Prometheus type of a metric."""

    GAUGE = "gauge"
    COUNTER = "counter"


@dataclass(frozen=True, slots=True)
class Metric:
    """One metric; the name follows Prometheus, with the unit as suffix."""

    name: str
    type: MetricType
    help: str


@dataclass(frozen=True, slots=True)
class Sample:
    """One value of a metric."""

    metric: Metric
    value: float
    labels: tuple[tuple[str, str], ...] = ()


def _gauge(name: str, text: str) -> Metric:
    return Metric(f"k8s_nodes_{name}", MetricType.GAUGE, text)


def _counter(name: str, text: str) -> Metric:
    return Metric(f"k8s_nodes_{name}_total", MetricType.COUNTER, text)


IN_SYNC = _gauge("in_sync", "1 while the watch of the cluster works.")
NODES = _gauge("nodes", "Nodes that the API server reports.")
REVISION = _gauge("revision", "Number of stored changes of the cluster.")
LISTED = _gauge("last_list_timestamp_seconds", "Time of the last successful LIST.")
HEARD = _gauge("last_heard_timestamp_seconds", "Time of the last data from the API server.")
REPORTED = _gauge(
    "engine_timestamp_seconds", "Time of the engine's last report on the state of the cluster."
)
FAILURES = _gauge("consecutive_failures", "Failed requests since the last successful one.")
HELD = _gauge("held_changes", "Held changes: they need more proof or a confirmation, by reason.")
REFUSED = _gauge("refused_addresses", "Rejected addresses of present nodes, by reason.")
BEHIND = _gauge("minions_behind", "Minions without proof that they have the current addresses.")
MINIONS = _gauge("minions", "Minions that refer to the cluster.")
LISTS = _counter("lists", "Successful LISTs since the engine started.")
EVENTS = _counter("watch_events", "Watch events since the engine started.")
IGNORED = _counter("ignored_events", "Watch lines that could not be parsed.")
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
    MINIONS,
    LISTS,
    EVENTS,
    IGNORED,
    ERRORS,
)


def exposition(samples: Iterable[Sample]) -> Iterator[str]:
    """Yield the lines of Prometheus' text format; the samples of a metric stay together."""
    by_metric: dict[Metric, list[Sample]] = {}
    for sample in samples:
        by_metric.setdefault(sample.metric, []).append(sample)
    for metric, grouped in by_metric.items():
        yield f"# HELP {metric.name} {metric.help}"
        yield f"# TYPE {metric.name} {metric.type.value}"
        for sample in grouped:
            labels = ",".join(f'{name}="{_escaped(value)}"' for name, value in sample.labels)
            yield f"{metric.name}{{{labels}}} {sample.value:.17g}"


def _escaped(value: str) -> str:
    return value.replace("\\", r"\\").replace('"', r"\"").replace("\n", r"\n")
