"""The engine's figures for monitoring; the configuration bounds their label sets."""

from __future__ import annotations

from collections.abc import Iterable, Iterator
from dataclasses import dataclass
from enum import Enum


class MetricType(str, Enum):
    """How a figure moves."""

    GAUGE = "gauge"
    COUNTER = "counter"


@dataclass(frozen=True, slots=True)
class Metric:
    """One metric; its name is that of Prometheus, with the unit at its end."""

    name: str
    sort: MetricType
    help: str


@dataclass(frozen=True, slots=True)
class Sample:
    """One value of a figure."""

    figure: Metric
    value: float
    labels: tuple[tuple[str, str], ...] = ()


def _gauge(name: str, text: str) -> Metric:
    return Metric(f"k8s_nodes_{name}", MetricType.GAUGE, text)


def _counter(name: str, text: str) -> Metric:
    return Metric(f"k8s_nodes_{name}_total", MetricType.COUNTER, text)


IN_SYNC = _gauge("in_sync", "1 while the watch of the cluster works.")
NODES = _gauge("nodes", "Nodes that the API server tells of.")
REVISION = _gauge("revision", "Changes of the cluster that were stored.")
LISTED = _gauge("last_list_timestamp_seconds", "When a LIST last succeeded.")
HEARD = _gauge("last_heard_timestamp_seconds", "When the API server was last heard.")
TOLD = _gauge("engine_timestamp_seconds", "When the engine last told how the cluster is doing.")
FAILURES = _gauge("failures_in_a_row", "Requests that failed since the last one that worked.")
HELD = _gauge("held_changes", "Changes that wait for more proof or a person, by reason.")
REFUSED = _gauge("refused_addresses", "Addresses of present nodes that are dropped, by reason.")
BEHIND = _gauge("minions_behind", "Minions that have not proved to have the current addresses.")
MINIONS = _gauge("minions", "Minions that refer to the cluster.")
LISTS = _counter("lists", "LISTs that succeeded since the engine started.")
EVENTS = _counter("watch_events", "Watch events since the engine started.")
IGNORED = _counter("ignored_events", "Watch lines that nothing could be made of.")
ERRORS = _counter("failed_requests", "Requests that failed since the engine started.")

ALL = (
    IN_SYNC,
    NODES,
    REVISION,
    LISTED,
    HEARD,
    TOLD,
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
    """Yield the lines of Prometheus' text format; each figure's samples together."""
    by_figure: dict[Metric, list[Sample]] = {}
    for sample in samples:
        by_figure.setdefault(sample.figure, []).append(sample)
    for figure, found in by_figure.items():
        yield f"# HELP {figure.name} {figure.help}"
        yield f"# TYPE {figure.name} {figure.sort.value}"
        for sample in found:
            labels = ",".join(f'{name}="{_escaped(value)}"' for name, value in sample.labels)
            yield f"{figure.name}{{{labels}}} {sample.value:.17g}"


def _escaped(value: str) -> str:
    return value.replace("\\", r"\\").replace('"', r"\"").replace("\n", r"\n")
