"""Exports the metrics through Salt's own OpenTelemetry meter, where this Salt has one."""

from __future__ import annotations

import importlib
from collections.abc import Callable, Iterable, Iterator, Mapping
from functools import partial
from typing import Any

from salt_ext.core.metrics import ALL, Metric, MetricType, Sample

Read = Callable[[], Iterable[Sample]]


def export_metrics(opts: Mapping[str, Any], port: int | None, read: Read) -> bool:
    """
    Register every metric as an observable OpenTelemetry instrument of this process.

    Returns False where Salt has no metrics (before 3008) or they are not enabled. ``port`` is
    where this process listens for Prometheus: Salt's own port belongs to another process.
    """
    try:
        # Not in Salt 3006 and 3007.
        salt_metrics = importlib.import_module("salt.utils.metrics")
    except ImportError:
        return False
    options = dict(opts.get("metrics") or {})
    if port is not None:
        options["prometheus"] = {**(options.get("prometheus") or {}), "port": port}
    salt_metrics.configure({**opts, "metrics": options, "__role": "master"})
    meter = salt_metrics.get_meter()
    if meter is None:
        return False
    for metric in ALL:
        create = {
            MetricType.GAUGE: meter.create_observable_gauge,
            MetricType.COUNTER: meter.create_observable_counter,
        }[metric.type]
        # The exporter for Prometheus adds the suffix to counters itself.
        name = metric.name.removesuffix("_total")
        create(name, callbacks=[partial(_observe, metric, read)], description=metric.help)
    return True


def _observe(metric: Metric, read: Read, _options: object) -> Iterator[object]:
    observation = importlib.import_module("opentelemetry.metrics").Observation
    for sample in read():
        if sample.metric is metric:
            yield observation(sample.value, dict(sample.labels))
