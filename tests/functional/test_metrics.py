"""The engine's metrics reach an operator's monitoring, on every Salt."""

from __future__ import annotations

import re
import socket
import subprocess
import sys
import textwrap
from pathlib import Path

import pytest
import salt.config
import yaml

from salt_ext.core import metrics
from salt_ext.core.cluster.hold import Held, Kind
from salt_ext.core.config import config
from salt_ext.core.metrics import Sample, exposition
from salt_ext.daemon import textfile
from salt_ext.daemon.engine import Engine
from salt_ext.daemon.metrics import MetricsCollector
from salt_ext.master import otel
from salt_ext.store import Health, Store

ROOT = Path(__file__).parents[2]


@pytest.fixture
def configured(tmp_path):
    """A configuration and a store, with a watched cluster and one without a report."""
    settings = config.read(
        {
            "state_dir": str(tmp_path / "state"),
            "clusters": {
                "prod": {"in_cluster": True, "allowed_networks": ["192.0.2.0/24"]},
                "unreported": {"in_cluster": True, "allowed_networks": ["192.0.2.0/24"]},
            },
        }
    )
    assert not settings.problems
    store = Store(settings.state_dir)
    store.health.report(
        "prod",
        Health(
            state="watching",
            reported_at=10.0,
            heard_at=9.5,
            nodes=3,
            failures=2,
            refused={"inside denied_networks": 2},
        ),
    )
    held = Held(kind=Kind.SHRINK, why="gone at once", subjects=dict.fromkeys(["n1", "n2"], ""))
    store.holds.replace("prod", [held], 1.0)
    return settings, store


def test_the_textfile_has_the_state_of_the_store(configured, tmp_path):
    path = tmp_path / "k8s_nodes.prom"
    textfile.write(path, MetricsCollector(*configured).samples())
    lines = path.read_text().splitlines()
    assert 'k8s_nodes_in_sync{cluster="prod"} 1' in lines
    assert 'k8s_nodes_nodes{cluster="prod"} 3' in lines
    assert 'k8s_nodes_last_heard_timestamp_seconds{cluster="prod"} 9.5' in lines
    assert 'k8s_nodes_engine_reported_timestamp_seconds{cluster="prod"} 10' in lines
    assert 'k8s_nodes_consecutive_failures{cluster="prod"} 2' in lines
    assert 'k8s_nodes_held_changes{cluster="prod",reason="shrink"} 1' in lines
    assert 'k8s_nodes_refused_addresses{cluster="prod",reason="inside denied_networks"} 2' in lines
    assert 'k8s_nodes_minions_behind{cluster="unreported"} 0' in lines
    assert "# TYPE k8s_nodes_lists_total counter" in lines
    assert path.stat().st_mode & 0o777 == 0o644


def test_a_textfile_that_cannot_be_written_leaves_no_temporary_file(configured, tmp_path):
    target = tmp_path / "folder"
    (target / "k8s_nodes.prom").mkdir(parents=True)
    with pytest.raises(OSError, match=r"k8s_nodes\.prom"):
        textfile.write(target / "k8s_nodes.prom", MetricsCollector(*configured).samples())
    assert [path.name for path in target.iterdir()] == ["k8s_nodes.prom"]


@pytest.fixture
def engine(tmp_path):
    """Make an engine that writes its metrics to a file."""

    def make(path: Path) -> Engine:
        cluster = {"in_cluster": True, "allowed_networks": ["192.0.2.0/24"]}
        block = {
            "state_dir": str(tmp_path / "state"),
            "metrics": {"textfile": str(path)},
            "clusters": {"prod": cluster},
        }
        return Engine({**salt.config.master_config(None), "k8s_nodes": block})

    return make


def test_an_engine_writes_the_textfile_no_more_often_than_it_is_scraped(engine, tmp_path):
    path = tmp_path / "k8s_nodes.prom"
    made = engine(path)
    made._write_metrics()
    assert 'k8s_nodes_minions_behind{cluster="prod"} 0' in path.read_text().splitlines()
    path.unlink()
    made._write_metrics()
    assert not path.exists()
    made._next_metrics_at = 0.0
    made._write_metrics()
    assert path.exists()


def test_an_engine_that_cannot_write_the_textfile_logs_it_and_goes_on(engine, tmp_path, caplog):
    path = tmp_path / "no folder" / "k8s_nodes.prom"
    engine(path)._write_metrics()
    assert f"engine: cannot write metrics to {path}: " in caplog.text


def test_label_values_are_escaped():
    sample = Sample(metrics.NODES, 1, (("cluster", 'a"b\\c\nd'),))
    assert list(exposition([sample]))[-1] == 'k8s_nodes_nodes{cluster="a\\"b\\\\c\\nd"} 1'


def alert_rules() -> list[str]:
    rules = yaml.safe_load((ROOT / "examples/prometheus-alerts.yml").read_text())
    return [rule["expr"] for group in rules["groups"] for rule in group["rules"]]


def test_alert_rules_name_only_existing_metrics():
    used = {name for rule in alert_rules() for name in re.findall(r"k8s_nodes_\w+", rule)}
    assert used
    assert used <= {metric.name for metric in metrics.ALL}


def test_alert_rules_find_a_dead_engine_with_stale_metrics_and_one_without_metrics():
    reported = metrics.REPORTED.name
    assert f"time() - {reported} > 60" in alert_rules()
    # A comparison with a missing metric is empty, and raises no alert.
    assert f"absent({reported})" in alert_rules()


def test_salts_own_exporter_serves_the_metrics_to_prometheus(configured):
    pytest.importorskip(
        "salt.utils.metrics", reason="this Salt has no metrics of its own; it uses the textfile"
    )
    settings, _ = configured
    with socket.socket() as free:
        free.bind(("127.0.0.1", 0))
        port = free.getsockname()[1]
    # In a process of its own: the meter provider of OpenTelemetry cannot be taken back.
    script = textwrap.dedent(
        f"""
        import urllib.request
        from salt_ext.daemon.metrics import MetricsCollector
        from salt_ext.core.config import config
        from salt_ext.master import otel
        from salt_ext.store import Store
        settings = config.read({{
            "state_dir": {settings.state_dir!r},
            "clusters": {{"prod": {{"in_cluster": True, "allowed_networks": ["192.0.2.0/24"]}}}},
        }})
        opts = {{"metrics": {{"enabled": True, "exporter": "prometheus"}}}}
        read = MetricsCollector(settings, Store(settings.state_dir)).samples
        assert otel.export_metrics(opts, {port}, read)
        print(urllib.request.urlopen("http://127.0.0.1:{port}/metrics").read().decode())
        """
    )
    process = subprocess.run(
        [sys.executable, "-c", script], capture_output=True, text=True, timeout=60, check=False
    )
    assert process.returncode == 0, process.stderr
    served = [
        re.sub(r"otel_scope_[a-z_]+=\"[^\"]*\",?", "", line) for line in process.stdout.splitlines()
    ]
    assert any(re.match(r'k8s_nodes_nodes\{cluster="prod",?\} 3\.0', line) for line in served)
    assert any(line.startswith("k8s_nodes_lists_total{") for line in served)


def test_metrics_that_are_not_enabled_register_nothing(configured):
    assert otel.export_metrics({"metrics": {"enabled": False}}, None, list) is False


def test_names_have_prometheus_units_and_suffixes():
    for metric in metrics.ALL:
        assert metric.name.startswith("k8s_nodes_")
        assert metric.name.endswith("_total") is (metric.type is metrics.MetricType.COUNTER)
        if "timestamp" in metric.name:
            assert metric.name.endswith("_timestamp_seconds")
