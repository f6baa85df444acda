"""Hands the figures to Salt's own metrics, where this Salt has them."""

from __future__ import annotations

import importlib
from collections.abc import Callable, Iterable, Iterator, Mapping
from functools import partial
from typing import Any

from salt_ext.core.metrics import ALL, Metric, MetricType, Sample

Read = Callable[[], Iterable[Sample]]


def export_metrics(opts: Mapping[str, Any], port: int | None, read: Read) -> bool:
    """
    Register every figure as an observable OpenTelemetry instrument of this process.

    Returns False where Salt has no metrics (before 3008) or they are not enabled. ``port`` is
    where this process listens for Prometheus: Salt's own port belongs to another process.
    """
    try:
        # Not in Salt 3006 and 3007.
        metrics = importlib.import_module("salt.utils.metrics")
    except ImportError:
        return False
    chosen = dict(opts.get("metrics") or {})
    if port is not None:
        chosen["prometheus"] = {**(chosen.get("prometheus") or {}), "port": port}
    metrics.configure({**opts, "metrics": chosen, "__role": "master"})
    meter = metrics.get_meter()
    if meter is None:
        return False
    for figure in ALL:
        create = {
            MetricType.GAUGE: meter.create_observable_gauge,
            MetricType.COUNTER: meter.create_observable_counter,
        }[figure.type]
        # The exporter for Prometheus adds the suffix to counters itself.
        name = figure.name.removesuffix("_total")
        create(name, callbacks=[partial(_observe, figure, read)], description=figure.help)
    return True


def _observe(figure: Metric, read: Read, _options: object) -> Iterator[Any]:
    observation = importlib.import_module("opentelemetry.metrics").Observation
    for sample in read():
        if sample.metric is figure:
            yield observation(sample.value, dict(sample.labels))
