"""A minion is subscribed by its own pillar, and by no other look at it."""

from __future__ import annotations

import multiprocessing
import textwrap

import pytest
import salt.loader

from salt_ext.core.config import config
from salt_ext.master.pillar_compile import PillarCompile
from salt_ext.references.pillar import PillarRenderer
from salt_ext.store import Store
from tests.core.build import member, snapshot
from tests.functional.pillars import Pillars

CLUSTER = {"in_cluster": True, "allowed_networks": ["192.0.2.0/24"]}
PROD = snapshot(member("n1", "192.0.2.1"), member("n2", "192.0.2.2"))
PROD_TEXT, WEB = "k8s://prod", "k8s://prod?labelSelector=pool=web"


@pytest.fixture
def pillars(tmp_path):
    found = Pillars(tmp_path, clusters={"prod": CLUSTER})
    Store(str(found.state_dir)).snapshots.save(PROD, PROD.members.values(), [])
    found.write({"allow": [PROD_TEXT]})
    return found


@pytest.fixture
def subscribed(pillars):
    """Return what is recorded: minion, environment and reference to whether it is gone."""

    def look():
        rows = Store(str(pillars.state_dir)).subscriptions.all()
        return {(row.minion, row.pillarenv, row.reference): row.gone for row in rows}

    return look


MINE = {("m1", "", PROD_TEXT): False}


def test_references_that_come_and_go_are_in_the_history(pillars):
    for allow in ([PROD_TEXT], [PROD_TEXT, WEB], [PROD_TEXT, WEB], [WEB]):
        pillars.write({"allow": allow})
        pillars.compile("m1")
        pillars.compile("m1", override={"allow": []})
    changes = [
        (one.what, one.detail["minion"], one.detail["refers_to"], one.detail["no_longer_to"])
        for one in Store(str(pillars.state_dir)).history.newest("", 9)
    ]
    assert changes == [
        ("pillar", "m1", [], [PROD_TEXT]),
        ("pillar", "m1", [WEB], []),
        ("pillar", "m1", [PROD_TEXT], []),
    ]


class TestAnOverride:
    def test_that_hides_a_reference_does_not_forget_it(self, pillars, subscribed):
        pillars.compile("m1")
        assert pillars.compile("m1", override={"allow": ["198.51.100.1"]})["allow"] == [
            "198.51.100.1"
        ]
        assert subscribed() == MINE

    def test_that_brings_a_reference_does_not_subscribe_the_minion(self, pillars, subscribed):
        pillars.compile("m1")
        pillars.compile("m1", override={"more": [WEB]})
        assert subscribed() == MINE

    def test_is_put_back_by_salt_and_the_pillar_says_so(self, pillars):
        pillar = pillars.compile("m1", override={"more": [WEB]})
        assert pillar["more"] == [WEB]
        assert pillar["allow"] == ["192.0.2.1", "192.0.2.2"]
        assert "override" in pillar["k8s_nodes"]["unresolved"][WEB]

    def test_without_a_reference_leaves_the_others_resolved(self, pillars):
        pillar = pillars.compile("m1", override={"more": {"x": 1}})
        assert pillar["allow"] == ["192.0.2.1", "192.0.2.2"]
        assert pillar["k8s_nodes"]["unresolved"] == {}


class TestAnotherEnvironment:
    def test_has_subscriptions_of_its_own(self, pillars, subscribed):
        dev = pillars.folder / "dev"
        dev.mkdir()
        (dev / "top.sls").write_text("dev: {'*': [data]}\n")
        (dev / "data.sls").write_text(f"allow: ['{WEB}']\n")
        pillars.opts["pillar_roots"]["dev"] = [str(dev)]
        pillars.compile("m1", pillarenv="base")
        pillars.compile("m1", pillarenv="dev")
        wanted = {("m1", "base", PROD_TEXT): False, ("m1", "dev", WEB): False}
        assert subscribed() == wanted
        # No environment at all means all of them, and is not `base`.
        pillars.compile("m1")
        pillars.compile("m1", pillarenv="base")
        assert {key: gone for key, gone in subscribed().items() if key[1]} == wanted
        assert not any(subscribed().values())

    def test_a_look_by_the_operator_records_only_what_the_minion_has(self, pillars, subscribed):
        dev = pillars.folder / "dev"
        dev.mkdir()
        pillars.opts["pillar_roots"]["dev"] = [str(dev)]
        pillars.accept("m1")
        show = salt.loader.runner(pillars.opts)["pillar.show_pillar"]
        show("m1", pillarenv="dev")
        show("m1", role="web")
        assert subscribed() == {}
        assert show("m1")["allow"] == ["192.0.2.1", "192.0.2.2"]
        assert subscribed() == MINE
        assert "allow" not in show("m1", pillarenv="dev")
        assert subscribed() == MINE


class TestAPillarThatFails:
    @pytest.fixture(autouse=True)
    def _known(self, pillars):
        pillars.compile("m1")

    def test_in_one_file_forgets_nothing_of_it(self, pillars, subscribed):
        (pillars.roots / "data.sls").write_text("{{ nothing.there }}\n")
        assert "_errors" in pillars.compile("m1")
        assert subscribed() == MINE

    def test_in_its_top_file_forgets_nothing(self, pillars, subscribed):
        (pillars.roots / "top.sls").write_text("base: {'*': [data\n")
        assert "_errors" in pillars.compile("m1")
        assert subscribed() == MINE

    def test_in_an_ext_pillar_before_us_forgets_nothing(self, pillars, subscribed):
        (pillars.roots / "data.sls").write_text("{}\n")
        modules = pillars.folder / "modules"
        modules.mkdir()
        (modules / "broken.py").write_text(
            textwrap.dedent(
                """
                def ext_pillar(minion_id, pillar):
                    raise ValueError("its database is away")
                """
            )
        )
        pillar = pillars.compile(
            "m1", pillar_dirs=[str(modules)], ext_pillar=[{"broken": {}}, {"k8s_nodes": {}}]
        )
        assert "_errors" in pillar
        assert subscribed() == MINE

    def test_subscribes_to_what_it_does_have(self, pillars, subscribed):
        (pillars.roots / "top.sls").write_text("base: {'*': [data, nowhere]}\n")
        pillars.write({"allow": [WEB]})
        (pillars.roots / "top.sls").write_text("base: {'*': [data, nowhere]}\n")
        assert "_errors" in pillars.compile("m1")
        assert subscribed() == {**MINE, ("m1", "", WEB): False}


class TestHostsThatAreNotMinionsOfThisMaster:
    def test_a_minion_whose_key_is_not_accepted(self, pillars, subscribed):
        show = salt.loader.runner(pillars.opts)["pillar.show_pillar"]
        assert show("nobody")["allow"] == ["192.0.2.1", "192.0.2.2"]
        assert show()["allow"] == ["192.0.2.1", "192.0.2.2"]
        assert subscribed() == {}

    def test_a_host_of_salt_ssh(self, pillars, subscribed):
        # As salt.client.ssh puts its options together for salt.pillar.Pillar.
        options = {**pillars.opts, "__master_opts__": dict(pillars.opts)}
        assert pillars.compile("m1", **options)["allow"] == ["192.0.2.1", "192.0.2.2"]
        assert subscribed() == {}

    def test_a_minion_without_a_master(self, pillars, subscribed):
        pillar = pillars.compile("m1", __role="minion")
        assert pillar["allow"] == ["192.0.2.1", "192.0.2.2"]
        assert subscribed() == {}


def test_a_pillar_cache_is_filled_with_addresses_and_the_minion_subscribed(pillars, subscribed):
    pillars.accept("m1")
    # The master makes its folders when it starts.
    (pillars.folder / "cache" / "pillar_cache").mkdir(parents=True)
    options = {**pillars.opts, "pillar_cache": True}
    for _ in range(2):
        compiler = salt.pillar.get_pillar(options, {"id": "m1"}, "m1", "base")
        assert compiler.compile_pillar()["allow"] == ["192.0.2.1", "192.0.2.2"]
    assert subscribed() == MINE


def test_ten_workers_at_once_lose_and_double_nothing(tmp_path):
    block = {"state_dir": str(tmp_path / "state"), "clusters": {"prod": CLUSTER}}
    store = Store(str(tmp_path / "state"))
    store.snapshots.save(PROD, PROD.members.values(), [])
    # They all begin at once, each with every minion, and half of them after a first state.
    at_once = multiprocessing.get_context("fork").Barrier(10)
    workers = [
        multiprocessing.get_context("fork").Process(target=_work, args=(block, at_once, turn))
        for turn in range(10)
    ]
    for worker in workers:
        worker.start()
    for worker in workers:
        worker.join()
    assert [worker.exitcode for worker in workers] == [0] * 10
    rows = {(row.minion, row.reference): row.gone for row in store.subscriptions.all()}
    assert rows == {(f"m{n}", text): False for n in range(30) for text in (PROD_TEXT, WEB)}


def _work(block, at_once, turn):
    found = config.read(block)
    renderer = PillarRenderer(Store(block["state_dir"]))
    at_once.wait()
    for n in range(30):
        pillar = {"allow": [PROD_TEXT, WEB][:: 1 if turn % 2 else -1]}
        done = renderer.render(f"m{n}", "", pillar, found, lambda _: True, PillarCompile)
        assert done.resolved[PROD_TEXT] == ("192.0.2.1", "192.0.2.2")
