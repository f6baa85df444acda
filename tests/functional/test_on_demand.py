"""Without an engine, the ext_pillar lists a cluster itself."""

from __future__ import annotations

import fcntl
import ipaddress
import os
from concurrent.futures import ThreadPoolExecutor

import pytest

from lab.kubernetes import open_backend
from lab.kubernetes.emulator import actions
from lab.kubernetes.nodes import Nodes
from salt_ext.core.cluster.member import RejectReason
from salt_ext.daemon.engine import Engine
from salt_ext.master.settings import settings
from salt_ext.store import Store
from salt_ext.watch import on_demand
from tests.functional.pillars import Pillars

REFERENCES = {"allow": ["198.51.100.1", "k8s://prod"]}


@pytest.fixture(scope="module")
def emulator(tmp_path_factory):
    with open_backend("emulator", tmp_path_factory.mktemp("kube")) as backend:
        Nodes(backend.endpoint).create("n1", internal=["192.0.2.1"])
        yield backend


@pytest.fixture
def pillars(emulator, tmp_path):
    emulator.control.clear()
    emulator.control.forget_requests()
    endpoint = emulator.endpoint
    cluster = {
        "server": endpoint.url,
        "ca_file": str(endpoint.ca_file),
        "token_file": str(endpoint.tokens["reader"]),
        "allowed_networks": ["192.0.2.0/24"],
    }
    found = Pillars(
        tmp_path,
        clusters={"prod": cluster},
        ext_pillar=[{"k8s_nodes": {"fetch": True, "ttl": 60, "timeout": 5}}],
    )
    found.write(REFERENCES)
    return found


def expire(pillars: Pillars) -> None:
    """Make the stored view older than its time to live."""
    health = Store(str(pillars.state_dir)).health
    record = health.of("prod")
    record.listed_at -= 61
    record.retry_at = 0.0
    health.report("prod", record)


def test_the_first_compile_lists_and_serves(pillars, emulator):
    pillar = pillars.compile()
    assert pillar["allow"] == ["198.51.100.1", "192.0.2.1"]
    assert "_errors" not in pillar
    assert len(emulator.control.requests(verb="list")) == 1


def test_without_the_option_nothing_is_requested_and_the_reference_stays(pillars, emulator):
    pillar = pillars.compile(ext_pillar=[{"k8s_nodes": {}}])
    assert pillar["allow"] == ["198.51.100.1", "k8s://prod"]
    assert emulator.control.requests() == []


def test_within_its_time_to_live_a_list_is_not_repeated(pillars, emulator):
    pillars.compile()
    pillars.compile("minion2")
    assert len(emulator.control.requests(verb="list")) == 1
    expire(pillars)
    pillars.compile()
    assert len(emulator.control.requests(verb="list")) == 2


def test_a_pillar_without_a_reference_requests_nothing(pillars, emulator):
    pillars.write({"allow": ["198.51.100.1"]})
    assert pillars.compile()["allow"] == ["198.51.100.1"]
    assert emulator.control.requests() == []


@pytest.mark.parametrize(
    "fault",
    [
        actions.respond(500),
        actions.respond(200, "<html>"),
        actions.respond(200, {"kind": "PodList", "items": [], "metadata": {}}),
        actions.close(),
    ],
    ids=["500", "html", "another list", "closed"],
)
def test_on_an_error_the_last_known_nodes_stay_and_it_is_not_listed_again_at_once(
    pillars, emulator, fault
):
    pillars.compile()
    expire(pillars)
    emulator.control.on("list", do=fault, times=None)
    emulator.control.forget_requests()
    pillar = pillars.compile()
    assert pillar["allow"] == ["198.51.100.1", "192.0.2.1"]
    assert pillar["k8s_nodes"]["clusters"]["prod"]["stale"] is True
    count = len(emulator.control.requests())
    assert count > 0
    pillars.compile()
    assert len(emulator.control.requests()) == count


def test_an_api_that_does_not_answer_delays_a_compile_by_the_timeout_at_most(pillars, emulator):
    emulator.control.on("list", do=actions.hang(), times=None)
    pillar = pillars.compile(ext_pillar=[{"k8s_nodes": {"fetch": True, "timeout": 0.2}}])
    # The compile ended while the LIST still hangs: only the timeout can be the reason.
    assert emulator.control.requests(verb="list")[-1].status == 0
    assert pillar["allow"] == ["198.51.100.1", "k8s://prod"]
    emulator.control.clear()


def test_a_minion_outside_serve_to_causes_no_request(pillars, emulator):
    pillars.opts["k8s_nodes"]["clusters"]["prod"]["serve_to"] = "db*"
    assert pillars.compile("web1")["allow"] == ["198.51.100.1", "k8s://prod"]
    assert emulator.control.requests() == []
    assert pillars.compile("db1")["allow"] == ["198.51.100.1", "192.0.2.1"]


@pytest.mark.parametrize("mistake", [{"nevr": ["192.0.2.9"]}, {"denied_networks": "192.0.2.9"}])
def test_a_cluster_that_a_mistake_stops_is_not_listed(pillars, emulator, mistake):
    pillars.compile()
    expire(pillars)
    emulator.control.forget_requests()
    pillars.opts["k8s_nodes"].update(mistake)
    assert pillars.compile()["allow"] == ["198.51.100.1", "192.0.2.1"]
    assert emulator.control.requests() == []


def test_the_masters_own_addresses_are_refused_as_by_an_engine(pillars, monkeypatch):
    mine = ipaddress.ip_network("192.0.2.1/32")
    monkeypatch.setattr("salt_ext.master.settings.own_networks", lambda: (mine,))
    assert pillars.compile()["allow"] == ["198.51.100.1"]
    refused = Store(str(pillars.state_dir)).health.of("prod").refused
    assert sum(dict(refused).values()) == 1


def test_an_engine_denies_them(pillars, monkeypatch):
    mine = ipaddress.ip_network("192.0.2.1/32")
    monkeypatch.setattr("salt_ext.master.settings.own_networks", lambda: (mine,))
    limits = Engine(pillars.opts)._config.clusters["prod"].limits
    assert limits.reject_reason(ipaddress.ip_address("192.0.2.1")) is RejectReason.DENIED
    assert limits.reject_reason(ipaddress.ip_address("192.0.2.2")) is None


def test_the_addresses_of_a_masterless_minion_are_not_refused(pillars, monkeypatch):
    mine = ipaddress.ip_network("192.0.2.1/32")
    monkeypatch.setattr("salt_ext.master.settings.own_networks", lambda: (mine,))
    assert pillars.compile(__role="minion")["allow"] == ["198.51.100.1", "192.0.2.1"]


def test_many_workers_list_once(pillars, emulator):
    emulator.control.on("list", do=actions.delay(0.3))
    workers = [
        on_demand.OnDemandLister(_config(pillars), Store(str(pillars.state_dir))) for _ in range(8)
    ]
    with ThreadPoolExecutor(8) as pool:
        for future in [
            pool.submit(lister.ensure_fresh, "prod", ttl=60, timeout=10) for lister in workers
        ]:
            future.result()
    assert len(emulator.control.requests(verb="list")) == 1


def test_while_an_engine_runs_nothing_is_requested(pillars, emulator):
    pillars.state_dir.mkdir(mode=0o700)
    lock = os.open(pillars.state_dir / "engine.lock", os.O_CREAT | os.O_RDWR, 0o600)
    try:
        fcntl.flock(lock, fcntl.LOCK_EX)
        assert pillars.compile()["allow"] == ["198.51.100.1", "k8s://prod"]
        assert emulator.control.requests() == []
    finally:
        os.close(lock)


def test_guards_apply_on_demand_too(pillars, emulator):
    pillars.compile()
    expire(pillars)
    emulator.control.on(
        "list",
        do=actions.respond(
            200,
            {"kind": "NodeList", "metadata": {"resourceVersion": "999999999"}, "items": []},
        ),
        times=None,
    )
    assert pillars.compile()["allow"] == ["198.51.100.1", "192.0.2.1"]
    held = Store(str(pillars.state_dir)).holds.of("prod")
    assert [change.kind for change in held] == ["shrink"]


def _config(pillars: Pillars):
    return settings(pillars.opts)
