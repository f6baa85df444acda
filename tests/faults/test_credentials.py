"""Credentials that are refused, lack rights, are replaced, or belong to another cluster."""

from __future__ import annotations

import pytest

from lab.kubernetes import open_backend
from lab.kubernetes.emulator import actions
from lab.kubernetes.nodes import Nodes
from tests.functional.kube_access import kubeconfig, plugin

QUICK = {"timing": {"inactivity": 1, "debounce": 0, "max_delay": 0}}


@pytest.fixture
def prod(emulator, watch):
    watched = watch(emulator, **QUICK)
    watched.nodes.create("n1", internal=["10.0.0.1"])
    watched.serves("10.0.0.1")
    watched.watching()
    return watched


def test_a_token_without_rights_is_one_clear_error_and_no_empty_cluster(kube, watch):
    Nodes(kube.endpoint).create("n1", internal=["10.0.0.1"])
    watched = watch(kube, user="nobody", **QUICK)
    watched.waiting("403 Forbidden")
    assert watched.store.snapshots.load("prod") is None


def test_a_ca_that_does_not_match_is_one_clear_error(kube, watch, tmp_path):
    with open_backend("emulator", tmp_path / "other") as other:
        watched = watch(kube, ca_file=str(other.endpoint.ca_file), **QUICK)
        watched.waiting("does not match the CA")
    assert watched.store.snapshots.load("prod") is None


def test_a_token_that_is_revoked_changes_nothing_and_recovers_by_itself(prod, emulator):
    emulator.control.revoke("reader")
    emulator.control.drop_connections()
    prod.waiting("401 Unauthorized")
    assert prod.addresses() == {"10.0.0.1"}
    emulator.control.reinstate("reader")
    prod.watching()
    prod.nodes.create("n2", internal=["10.0.0.2"])
    prod.serves("10.0.0.1", "10.0.0.2")


def test_rights_that_are_taken_change_nothing_and_recover_by_themselves(kube, watch):
    watched = watch(kube, **QUICK)
    watched.nodes.create("n1", internal=["10.0.0.1"])
    watched.serves("10.0.0.1")
    kube.forbid("reader")
    watched.request_list()
    watched.waiting("403 Forbidden")
    assert watched.addresses() == {"10.0.0.1"}
    kube.permit("reader")
    watched.watching()
    watched.nodes.create("n2", internal=["10.0.0.2"])
    watched.serves("10.0.0.1", "10.0.0.2")


def test_a_rotated_token_is_picked_up(prod, emulator):
    emulator.rotate("reader")
    emulator.control.drop_connections()
    prod.nodes.create("n2", internal=["10.0.0.2"])
    prod.serves("10.0.0.1", "10.0.0.2")


def test_a_token_that_was_replaced_changes_nothing_until_the_new_one_is_there(
    kube, watch, network, tmp_path
):
    file = tmp_path / "token"
    issued = kube.endpoint.tokens["reader"]
    file.write_bytes(issued.read_bytes())
    watched = watch(kube, server=network.url, token_file=str(file), **QUICK)
    watched.nodes.create("n1", internal=["10.0.0.1"])
    watched.serves("10.0.0.1")
    watcher = watched.watcher
    kube.rotate("reader")
    network.cut()
    watched.waiting("401 Unauthorized")
    assert str(file) in watched.health().error
    assert watched.status()["stale"]
    assert watched.addresses() == {"10.0.0.1"}
    watched.nodes.create("n2", internal=["10.0.0.2"])
    file.write_bytes(issued.read_bytes())
    watched.serves("10.0.0.1", "10.0.0.2")
    watched.watching()
    assert watched.watcher is watcher


def test_two_clusters_never_mix_their_credentials(emulator, watch, tmp_path):
    with open_backend("emulator", tmp_path / "other") as other:
        one, two = watch(emulator, **QUICK), watch(other, "second", **QUICK)
        one.nodes.create("n1", internal=["10.0.0.1"])
        two.nodes.create("n1", internal=["10.0.0.2"])
        one.serves("10.0.0.1")
        two.serves("10.0.0.2")
        for backend in (emulator, other):
            seen = backend.control.requests()
            assert seen
            assert {request.status for request in seen} <= {0, 200, 201}


def test_a_cluster_that_does_not_answer_leaves_the_other_alone(emulator, watch, tmp_path):
    with open_backend("emulator", tmp_path / "other") as other:
        one, two = watch(emulator, **QUICK), watch(other, "second", **QUICK)
        two.nodes.create("n1", internal=["10.0.0.2"])
        two.serves("10.0.0.2")
        emulator.control.on("list", do=actions.hang(), times=None)
        emulator.control.on("get", do=actions.hang(), times=None)
        one.request_list()
        emulator.control.wait_for_requests(1, verb="get")
        for i in range(3, 8):
            two.nodes.create(f"n{i}", internal=[f"10.0.0.{i}"])
            two.until(lambda i=i: f"10.0.0.{i}" in two.addresses(), "the other")
        emulator.control.clear()


def test_a_credential_plugin_that_hangs_leaves_the_other_cluster_alone(emulator, watch, tmp_path):
    asked, login = tmp_path / "asked", tmp_path / "login"
    body = f"""
import time
open({str(asked)!r}, "w").close()
while not os.path.exists({str(login)!r}):
    time.sleep(0.01)
say(token={emulator.endpoint.token("reader")!r})
"""
    access = kubeconfig(tmp_path, emulator, plugin(tmp_path, body))
    one = watch(emulator, kubeconfig=access.kubeconfig, **QUICK)
    two = watch(emulator, "second", **QUICK)
    try:
        one.until(asked.exists, "the plugin")
        expected = set()
        for i in range(1, 6):
            two.nodes.create(f"n{i}", internal=[f"10.0.0.{i}"])
            expected.add(f"10.0.0.{i}")
            two.serves(*expected)
        assert one.store.snapshots.load("prod") is None
    finally:
        login.touch()
    one.serves(*expected)
