"""`check` on a correct set-up, and on each fault that it finds."""

from __future__ import annotations

import contextlib
import json
import os
import socket
import tempfile
import threading
import time
from importlib.resources import files
from pathlib import Path

import pytest
import salt.cache
import salt.config
import salt.loader
import salt.version
import yaml

from lab.kubernetes import open_backend
from salt_ext import formula
from salt_ext.admin.check import clusters
from salt_ext.core.cluster.hold import Held, Kind
from salt_ext.kube.credential_lifetime import CredentialLifetime
from salt_ext.kube.preflight import ClusterInfo
from salt_ext.master import master_process
from salt_ext.master.settings import settings
from salt_ext.store import Health, Store
from salt_ext.store.control import ControlFlag
from salt_ext.store.locks import ENGINE, engine_lock
from salt_ext.store.subscriptions import Answer, Seen
from tests.core.build import member, snapshot

RESTRICTED = "node-restriction.kubernetes.io"
REACT = str(files("salt_ext.reactor") / "apply.sls")


@pytest.fixture(scope="module")
def backend(tmp_path_factory):
    with open_backend("emulator", tmp_path_factory.mktemp("kube")) as found:
        yield found


class SetUp:
    """A master's folder, as an operator would write it, with an engine that reports."""

    def __init__(self, folder: Path, backend) -> None:
        self.folder = folder
        self.main = folder / "master"
        self.drop_in = folder / "master.d" / "k8s_nodes.conf"
        self.state = folder / "state"
        self.drop_in.parent.mkdir()
        (folder / "pillar").mkdir()
        for kind in ("", "_pre", "_rejected", "_denied", "_autosign"):
            (folder / "pki" / f"minions{kind}").mkdir(parents=True)
        (folder / "pki" / "minions" / "m1").write_text("a key")
        self.backend = backend
        self.changed_at = 1.0
        """When the files were changed: long before the engine started."""
        self.cluster = {
            "server": backend.endpoint.url,
            "ca_file": str(backend.endpoint.ca_file),
            "token_file": str(backend.endpoint.tokens["reader"]),
            "allowed_networks": ["192.0.2.0/24"],
        }
        self.values = {
            "k8s_nodes": {
                "state_dir": str(self.state),
                "apply": {"states": ["firewall"]},
                "clusters": {"prod": self.cluster},
            },
            "engines": [{"k8s_nodes": {}}],
            "ext_pillar": [{"k8s_nodes": {}}],
            "reactor": [
                {"salt/k8s_nodes/*/changed": [REACT]},
                {"salt/k8s_nodes/*/lagging": [REACT]},
            ],
            "file_roots": {"base": [str(formula.path())]},
        }
        self.first = {
            "root_dir": str(folder),
            "pki_dir": str(folder / "pki"),
            "sock_dir": str(folder / "sock"),
            "pillar_roots": {"base": [str(folder / "pillar")]},
        }
        self.store = Store(str(self.state))
        one = member("n1", "192.0.2.1", labels={"pool": "web"})
        self.store.snapshots.save(snapshot(one), [one], [])
        self.report()
        self.refer("k8s://prod")

    def report(self, **health) -> None:
        given = {"state": "watching", "reported_at": time.time(), "nodes": 1, **health}
        self.store.health.report("prod", Health(**given))
        self.store.health.minion_loop_seen(given["reported_at"])

    def refer(self, *texts: str, answer: Answer = Answer.SERVED) -> None:
        seen = {
            text: Seen(cluster=text[6:].partition("?")[0].partition("/")[0], answer=answer)
            for text in texts
        }
        self.store.subscriptions.record("m1", "", seen, time.time())

    def pillar(self, data: dict, **grains) -> None:
        (self.folder / "pillar" / "top.sls").write_text("base: {'*': [data]}\n")
        (self.folder / "pillar" / "data.sls").write_text(yaml.safe_dump(data))
        opts = self.opts()
        kept, cache = {"id": "m1", "os": "Debian", **grains}, salt.cache.factory(opts)
        if salt.version.__saltstack_version__.major >= 3008:
            cache.store("grains", "m1", kept)
        else:
            cache.store("minions/m1", "data", {"grains": kept, "pillar": {}})

    def opts(self) -> dict:
        self.main.write_text(yaml.safe_dump(self.first))
        self.drop_in.write_text(yaml.safe_dump(self.values))
        for path in (self.main, *self.drop_in.parent.iterdir()):
            os.utime(path, (self.changed_at, self.changed_at))
        found = salt.config.master_config(str(self.main))
        found["extension_modules"] = str(self.folder / "extmods")
        return found

    def check(self, **terminal) -> dict:
        opts = self.opts()
        opts.update(terminal)
        return salt.loader.runner(opts)["k8s_nodes.check"]()

    def found(self) -> list[tuple[str, str, str]]:
        """Return level, place and text of all findings."""
        answer = json.loads(json.dumps(self.check()))
        findings = answer["findings"]
        assert answer["retcode"] == int("error" in {item["level"] for item in findings})
        assert all("\n" not in item["what"] for item in findings)
        return [(item["level"], item["where"], item["what"]) for item in findings]

    def one(self) -> tuple[str, str, str]:
        (found,) = self.found()
        return found


@pytest.fixture
def bare(tmp_path, backend):
    backend.control.clear()
    return SetUp(tmp_path, backend)


@pytest.fixture
def alive(bare):
    """The engine's lock is held, by this process."""
    with engine_lock(bare.state / ENGINE, threading.Event()):
        yield bare


def test_a_correct_set_up_has_no_findings(alive):
    answer = alive.check()
    assert answer["findings"] == []
    assert (answer["retcode"], answer["result"]) == (0, "no problems found")
    prod = answer["clusters"]["prod"]
    assert prod["server"] == alive.backend.endpoint.url
    assert prod["rights"] == {
        "list nodes": True,
        "watch nodes": True,
        "get namespaces kube-system": True,
        "* *": False,
    }
    assert abs(prod["clock_ahead_seconds"]) < 5


def test_a_terminal_shows_lines_and_a_program_gets_all_fields(alive):
    del alive.values["engines"]
    answer = alive.check(fun="k8s_nodes.check")
    assert set(answer) == {"result", "retcode", "errors", "clusters"}
    (line,) = answer["errors"]
    assert line.startswith("engines: has no k8s_nodes: Salt starts only the engines of this list")
    assert "\n-> salt-run k8s_nodes.setup prints the list" in line
    assert answer["clusters"]["prod"].startswith("v1.")
    assert "findings" in alive.check(fun="k8s_nodes.check", output="json")


def test_a_terminal_shows_at_most_one_screen(alive):
    alive.refer(*(f"k8s://other{number}" for number in range(30)))
    lines = alive.check(fun="k8s_nodes.check")["errors"]
    assert len(lines) == 9
    assert lines[-1] == "and 22 more: see --out=json"


# The configuration


def test_a_mistake_in_the_block_is_an_error_with_what_is_allowed(alive):
    alive.cluster["page_size"] = 0
    answer = alive.check()
    (mistake,) = [one for one in answer["findings"] if one["level"] == "error"]
    assert mistake["where"] == "k8s_nodes:clusters:prod:page_size"
    assert mistake["fix"] == "allowed: a whole number from 10 to 5000"


def test_a_mistake_below_apply_stops_publishing(alive):
    alive.values["k8s_nodes"]["apply"] = {"state": ["firewall"]}
    assert "nothing is published while k8s_nodes:apply:state has a mistake" in str(alive.found())


def test_a_mistake_that_stops_all_clusters_says_so(alive):
    alive.values["k8s_nodes"]["nevr"] = ["192.0.2.9"]
    found = alive.found()
    assert ("error", "k8s_nodes:nevr", "'(not shown)' is not allowed") in found
    assert (
        "error",
        "k8s_nodes:clusters",
        "no cluster is followed while k8s_nodes:nevr has a mistake; what is stored stays in force",
    ) in found


def test_networks_that_are_too_wide_and_a_target_of_everybody_are_warned_of(alive):
    alive.cluster["allowed_networks"] = ["0.0.0.0/1"]
    alive.cluster["serve_to"] = "*"
    warnings = {where: what for level, where, what in alive.found() if level == "warning"}
    wide = warnings["k8s_nodes:clusters:prod:allowed_networks"]
    assert "as many public IPv4 addresses as a /8, or more" in wide
    assert "matches every minion" in warnings["k8s_nodes:clusters:prod:serve_to"]


@pytest.mark.parametrize("key", ["denied_networks", "never", "serve_to"])
def test_a_key_beside_the_block_is_warned_of(alive, key):
    alive.values[key] = ["192.0.2.9"]
    level, where, what = alive.one()
    assert (level, where) == ("warning", str(alive.drop_in))
    assert what == f"has {key} beside k8s_nodes, where nothing reads it"


# The library warns of it as well.
@pytest.mark.filterwarnings("ignore:Unverified HTTPS request")
def test_a_certificate_that_is_not_verified_is_dangerous(alive):
    alive.cluster["insecure_skip_tls_verify"] = True
    level, where, what = alive.one()
    assert (level, where) == ("warning", "k8s_nodes:clusters:prod")
    assert "certificate is not verified" in what


def test_a_reactor_that_does_not_work_is_an_error(alive):
    alive.store.health.raise_reactor_alarm(1.0)
    level, where, what = alive.one()
    assert (level, where) == ("error", "publishing")
    assert what == (
        "reactor not working: minions are out of date and nothing was published since "
        "1970-01-01T00:00:01Z"
    )


def test_a_pause_and_mode_observe_are_shown(alive):
    alive.store.decisions.pause(ControlFlag("kim", 1.0))
    alive.cluster["mode"] = "observe"
    found = alive.found()
    assert ("warning", "publishing", "paused by kim since 1970-01-01T00:00:01Z") in found
    (what,) = [what for _, where, what in found if where == "k8s_nodes:clusters:prod:mode"]
    assert what.startswith("observe: nothing is published for it; once publishing goes on")
    assert "enforce would publish to 1 of 1 minions now, open 1 address and close 0" in what


def test_a_highstate_by_default_is_a_warning(alive):
    del alive.values["k8s_nodes"]["apply"]
    level, where, what = alive.one()
    assert (level, where) == ("warning", "k8s_nodes:apply")
    assert "names no states: every change starts a highstate" in what
    alive.values["k8s_nodes"]["apply"] = {"highstate": True}
    level, _, what = alive.one()
    assert level == "info"
    assert "a change publishes a highstate" in what
    alive.values["k8s_nodes"]["apply"] = {"mode": "observe"}
    assert {level for level, _, _ in alive.found()} == {"info"}


def test_without_a_configuration_the_error_names_setup(alive):
    opts = alive.opts()
    del opts["k8s_nodes"]
    answer = salt.loader.runner(opts)["k8s_nodes.check"]()
    assert "salt-run k8s_nodes.setup prints what is needed" in answer["error"]
    assert answer["retcode"] == 1


# The master's options


@pytest.mark.parametrize(
    ("change", "level", "where", "text"),
    [
        ({"ext_pillar": None}, "error", "ext_pillar", "has no k8s_nodes"),
        ({"pillar_cache": True}, "error", "pillar_cache", "true serves cached pillars"),
        (
            {"ext_pillar_first": True},
            "error",
            "ext_pillar_first",
            "compiles the ext_pillars before",
        ),
        ({"engines": None}, "error", "engines", "has no k8s_nodes"),
        ({"reactor": None}, "error", "reactor", "lagging of prod: nothing is ever published"),
        (
            {"reactor": [{"salt/k8s_nodes/*/lagging": [REACT]}]},
            "warning",
            "reactor",
            "changed of prod: changes reach minions with the engine's next timer",
        ),
        (
            {"reactor": [{"salt/k8s_nodes/*/*": ["/nowhere/apply.sls", REACT]}]},
            "error",
            "reactor:salt/k8s_nodes/prod/changed",
            "the file /nowhere/apply.sls does not exist",
        ),
        ({"fileserver_backend": ["git"]}, "warning", "fileserver_backend", "has no roots"),
        ({"file_roots": {"base": ["/nowhere"]}}, "info", "file_roots", "no folder has the module"),
        ({"order_masters": True}, "warning", "order_masters", "a master of masters"),
        ({"syndic_master": "mom"}, "info", "syndic_master", "is a syndic of mom"),
    ],
)
def test_a_wrong_option_of_the_master_is_named(alive, change, level, where, text):
    alive.values.update(change)
    for key in [key for key, value in change.items() if value is None]:
        del alive.values[key]
    found = [one for one in alive.found() if one[1] == where]
    assert found, alive.found()
    assert found[0][0] == level
    assert text in found[0][2]


def test_a_reactor_list_in_a_file_of_its_own_is_read(alive):
    listed = alive.folder / "reactor.yaml"
    listed.write_text(yaml.safe_dump(alive.values["reactor"]))
    alive.values["reactor"] = str(listed)
    assert alive.found() == []
    listed.write_text("[")
    first, second = alive.found()
    assert first[:2] == second[:2] == ("error", "reactor")
    assert first[2] == f"the file {listed} does not contain a list, so Salt ignores it"


def test_reactions_that_salt_ignores_are_findings(alive):
    both = {tag: files for one in alive.values["reactor"] for tag, files in one.items()}
    alive.values["reactor"] = [both]
    assert [one[:2] for one in alive.found()] == [("error", "reactor"), ("warning", "reactor")]


def test_a_master_of_masters_needs_nothing(bare):
    bare.values = {"k8s_nodes": bare.values["k8s_nodes"], "order_masters": True}
    assert {level for level, _, _ in bare.found()} == {"info"}


def test_a_list_that_another_file_replaces_is_an_error_that_names_the_lost_entries(alive):
    alive.first["ext_pillar"] = [{"git": ["https://git.example.com/pillar"]}]
    alive.first["engines"] = [{"k8s_nodes": {}}]
    found = {where: (level, what) for level, where, what in alive.found()}
    assert found["ext_pillar"][0] == "error"
    assert "which replaces it as a whole: git is lost" in found["ext_pillar"][1]
    assert found["engines"][0] == "warning"


def test_a_file_that_salt_cannot_read_is_an_error(alive):
    (alive.drop_in.parent / "other.conf").write_text("a: [\n")
    level, where, _ = alive.one()
    assert (level, where) == ("error", str(alive.drop_in.parent / "other.conf"))


# The engine


def test_an_engine_that_was_never_started_differs_from_a_dead_one(bare, monkeypatch):
    monkeypatch.setattr("salt_ext.master.master_process.is_running", lambda _: True)
    assert "is listed but was never started" in bare.one()[2]
    with engine_lock(bare.state / ENGINE, threading.Event()):
        pass
    level, where, what = bare.one()
    assert (level, where) == ("error", "engine")
    assert what.startswith("not running: process ")


def test_without_a_master_the_engine_does_not_run(bare):
    assert bare.one()[2] == "not running, because the master is not"


@pytest.fixture
def old(alive, monkeypatch):
    """The engine was started two hours ago."""
    monkeypatch.setattr("salt_ext.master.processes.started_at", lambda _: time.time() - 7200)
    return alive


def test_a_master_runs_while_its_event_socket_accepts():
    with tempfile.TemporaryDirectory() as folder, socket.socket(socket.AF_UNIX) as bus:
        opts = {"sock_dir": folder}
        assert not master_process.is_running(opts)
        bus.bind(f"{folder}/master_event_pull.ipc")
        assert not master_process.is_running(opts)
        bus.listen()
        assert master_process.is_running(opts)
        assert master_process.is_running({"sock_dir": "/nowhere", "ipc_mode": "tcp"})


@pytest.mark.parametrize("ago", [3600, -3700], ids=["", "before the clock was set back"])
def test_an_engine_without_reports_is_stuck(old, ago):
    alive = old
    alive.report(reported_at=time.time() - ago)
    level, where, what = alive.one()
    assert (level, where) == ("error", "engine")
    assert what.startswith("stuck: it holds its lock but has reported nothing for 3")


@pytest.mark.parametrize("ago", [600, -605], ids=["", "before the clock was set back"])
def test_an_engine_with_a_silent_minion_thread_is_an_error(old, ago):
    old.store.health.minion_loop_seen(time.time() - ago)
    level, where, what = old.one()
    assert (level, where) == ("error", "engine")
    assert what.startswith("its minion thread has reported nothing for 60")
    # Without any report, the time of its start counts.
    with old.store.database.writing() as connection:
        connection.execute("DELETE FROM engine_sign")
    assert "has reported nothing for 72" in old.one()[2]


def test_an_engine_that_was_just_started_had_no_time_to_report_on_minions(alive, monkeypatch):
    monkeypatch.setattr("salt_ext.master.processes.started_at", lambda _: time.time() - 5)
    alive.store.health.minion_loop_seen(time.time() - 600)
    assert alive.found() == []


def test_an_engine_older_than_its_configuration_is_a_warning(old):
    old.changed_at = time.time() - 60
    level, _, what = old.one()
    assert level == "warning"
    assert "was changed after the master started; the engine has the old options" in what


def test_a_restarted_engine_of_an_old_master_has_the_old_options(alive, monkeypatch):
    born = {os.getpid(): time.time(), os.getppid(): time.time() - 7200}
    monkeypatch.setattr("salt_ext.master.processes.started_at", born.get)
    assert alive.found() == []
    alive.changed_at = time.time() - 60
    assert alive.one()[:2] == ("warning", "engine")


def test_a_cluster_without_reports_is_named(old):
    old.values["k8s_nodes"]["clusters"]["other"] = old.cluster
    old.store.health.report("other", Health(state="watching", reported_at=1.0))
    silent = "the engine runs, but has reported nothing of this cluster for 7200 s"
    assert ("error", "cluster other", silent) in old.found()


# Clusters


@pytest.fixture
def revoked(alive):
    yield alive
    alive.backend.permit("reader")


def test_each_right_that_is_missing_is_named(revoked):
    revoked.backend.forbid("reader")
    found = revoked.found()
    token = revoked.backend.endpoint.tokens["reader"]
    assert found == [
        ("error", "cluster prod: RBAC", f"{token} may not `{right}`")
        for right in ("list nodes", "watch nodes", "get namespaces kube-system")
    ]


def test_an_administrators_token_is_more_than_is_needed(alive):
    alive.cluster["token_file"] = str(alive.backend.endpoint.tokens["admin"])
    level, where, what = alive.one()
    assert (level, where) == ("warning", "cluster prod: RBAC")
    assert "may do everything in this cluster" in what


def test_a_token_that_is_refused_is_named_by_its_file(alive, tmp_path):
    wrong = tmp_path / "wrong.token"
    wrong.write_text("wrong")
    alive.cluster["token_file"] = str(wrong)
    level, where, what = alive.one()
    assert (level, where) == ("error", "cluster prod: credentials")
    assert "401" in what
    assert str(wrong) in what


def test_a_file_that_is_not_there_is_named(alive):
    alive.cluster["token_file"] = "/nowhere/token"
    level, where, what = alive.one()
    assert (level, where) == ("error", "cluster prod: credentials")
    assert "/nowhere/token" in what


def test_a_server_without_an_answer_is_an_error_and_the_others_are_asked(alive):
    alive.values["k8s_nodes"]["clusters"]["gone"] = {
        **alive.cluster,
        "server": "https://127.0.0.1:1",
    }
    found = [one for one in alive.found() if one[1] == "cluster gone: reachability"]
    assert [(level, what) for level, _, what in found] == [
        ("error", "no answer: https://127.0.0.1:1: Connection refused")
    ]
    assert not [one for one in alive.found() if "cluster prod" in one[1]]


def answered(**given) -> ClusterInfo:
    usual = {
        "server": "",
        "version": "v1",
        "credential_source": "a file",
        "clock_skew": 0.0,
        "credential_lifetime": None,
    }
    return ClusterInfo(**{**usual, **given})


@pytest.mark.parametrize(
    ("given", "level", "where", "text"),
    [
        ({"clock_skew": 20.0}, "warning", "clock", "its clock is 20 s ahead of this machine's"),
        ({"clock_skew": -300.0}, "error", "clock", "its clock is 300 s behind this machine's"),
        (
            {"credential_lifetime": CredentialLifetime(0.1, 7200.0)},
            "warning",
            "credentials",
            "a file expires in 0.1 hours and was not renewed",
        ),
        (
            {"permissions_error": "may I list nodes: 403"},
            "warning",
            "RBAC",
            "the rights cannot be queried",
        ),
    ],
)
def test_clocks_and_expiring_credentials_are_checked(alive, given, level, where, text):
    config = settings(alive.opts())
    asked = {"prod": clusters.ClusterAnswer(answered(**given))}
    (found,) = clusters.findings(config, alive.store, asked, 7000.0)
    assert (found.level.value, found.where) == (level, f"cluster prod: {where}")
    assert text in found.what


def test_a_held_change_and_a_failing_engine_are_findings(alive):
    alive.store.holds.replace(
        "prod",
        [Held(kind=Kind.SHRINK, why="2 of 3 nodes are gone", subjects=dict.fromkeys(["n1"], ""))],
        1.0,
    )
    alive.report(state="waiting", error="LIST nodes: 503", lost_since=1.0)
    words = [what for _, where, what in alive.found() if where == "cluster prod"]
    assert words == [
        "the engine has failed since 1970-01-01T00:00:01Z: LIST nodes: 503",
        "a guard holds a change (shrink): 2 of 3 nodes are gone",
    ]


def test_networks_that_accept_no_address_are_an_error(alive):
    one = member("n1")
    alive.store.snapshots.save(snapshot(one, revision=2), [one], [])
    alive.report(refused={"outside allowed_networks": 2})
    found = {where: (level, what) for level, where, what in alive.found()}
    assert found["k8s_nodes:clusters:prod:allowed_networks"] == (
        "error",
        "accepts no address of 1 nodes (2 outside allowed_networks)",
    )


def test_a_node_without_an_accepted_address_differs_from_one_with_others(alive):
    limits = "k8s_nodes:clusters:prod:allowed_networks"
    alive.report(refused={"outside allowed_networks": 1})
    assert alive.one()[:2] == ("info", limits)
    both = [member("n1", "192.0.2.1"), member("n2")]
    alive.store.snapshots.save(snapshot(*both, revision=2), both, [])
    assert alive.one() == (
        "warning",
        limits,
        "accepts no address of n2 (1 outside allowed_networks)",
    )


# References


@pytest.mark.parametrize(
    ("reference", "level", "text"),
    [
        ("k8s://other", "error", "cluster 'other' is not configured; configured: prod"),
        ("k8s://prod/other", "error", "cluster 'prod' has no group 'other'"),
        ("k8s://prod?famly=ipv4", "error", "'famly' is not a parameter"),
        ("k8s://prod?labelSelector=pool=db", "warning", "matches none of the 1 nodes of prod"),
        ("k8s://prod?family=ipv6&empty=placeholder", "warning", "matches none of the 1 nodes"),
    ],
)
def test_a_reference_that_matches_nothing_is_shown_with_its_minion(alive, reference, level, text):
    alive.refer("k8s://prod", reference)
    (found,) = [one for one in alive.found() if one[0] != "info"]
    assert found[:2] == (level, f"{reference} of m1")
    assert text in found[2]


def test_targets_by_grains_and_selectors_by_kubelet_labels_are_notes(alive):
    alive.cluster["serve_to"] = "m1 or G@os:Debian"
    alive.cluster["groups"] = {
        "web": {"labelSelector": "pool=web"},
        "safe": {"labelSelector": "node-restriction.kubernetes.io/pool=web"},
    }
    web = member("n1", "192.0.2.1", labels={"pool": "web", f"{RESTRICTED}/pool": "web"})
    alive.store.snapshots.save(snapshot(web, revision=2), [web], [])
    alive.refer("k8s://prod/web", f"k8s://prod?labelSelector={RESTRICTED}/pool=web")
    grains, labels = alive.found()
    assert grains[:2] == ("info", "k8s_nodes:clusters:prod:serve_to")
    assert "matches by grains, which a minion sets itself" in grains[2]
    assert labels[:2] == ("info", "cluster prod")
    assert "the labels of k8s://prod/web can be set by any kubelet" in labels[2]


def test_a_minion_that_serve_to_excludes_is_named(alive):
    alive.cluster["serve_to"] = "m1"
    alive.refer("k8s://prod", answer=Answer.REFUSED)
    assert "serve_to excludes m1" in alive.one()[2]


def test_unused_clusters_and_targets_and_groups_without_matches_are_findings(alive):
    alive.cluster["serve_to"] = "m9"
    alive.cluster["groups"] = {"db": {"labelSelector": "pool=db"}, "web": {"labelSelector": "pool"}}
    alive.values["k8s_nodes"]["clusters"]["spare"] = alive.cluster
    alive.values["k8s_nodes"]["apply"]["classes"] = {"sets": {"target": "web*"}}
    found = {(level, where) for level, where, _ in alive.found()}
    assert found >= {
        ("info", "cluster spare"),
        ("warning", "k8s_nodes:clusters:prod:serve_to"),
        ("warning", "k8s_nodes:clusters:prod:groups:db"),
        ("warning", "k8s_nodes:apply:classes:sets:target"),
    }
    assert ("warning", "k8s_nodes:clusters:prod:groups:web") not in found


def test_without_any_reference_discover_is_the_fix(alive):
    alive.store.subscriptions.delete("m1", 1.0)
    answer = alive.check()["findings"]
    assert [one["where"] for one in answer] == ["references"]
    assert "k8s_nodes.discover" in answer[0]["fix"]


# The minions' modules


def test_an_old_copy_of_the_module_in_file_roots_is_named(alive, tmp_path):
    old = tmp_path / "srv" / "_modules" / "k8s_firewall.py"
    old.parent.mkdir(parents=True)
    old.write_text('RELEASE = "0.0.1"\n')
    alive.values["file_roots"]["base"].insert(0, str(tmp_path / "srv"))
    level, where, what = alive.one()
    assert (level, where) == ("warning", "file_roots")
    assert what.startswith(f"{tmp_path / 'srv'} has version 0.0.1+")
    assert what.endswith(f"of k8s_firewall, this package {formula.version()}")


@pytest.mark.parametrize("what", [{"function": "k8s_firewall.sync"}, {"states": ["k8s_firewall"]}])
def test_the_module_that_a_class_publishes_must_be_in_file_roots(alive, what):
    alive.values["k8s_nodes"]["apply"] = what
    assert alive.one() == ("info", "m1", "has not received this extension's modules yet")
    del alive.values["file_roots"]
    found = {where: level for level, where, _ in alive.found()}
    assert found["file_roots"] == "error"


def test_minions_that_cannot_reset_connections_are_named_with_the_fix(alive):
    for number in range(7):
        alive.store.minion_facts.set_can_reset(f"m{number}", able=number == 0)
    level, where, what = alive.one()
    assert (level, where) == ("warning", "m1, m2, m3, m4, m5 and 1 more")
    assert what.startswith(
        "open connections of removed nodes will not be reset: the kernel lacks "
        "CONFIG_INET_DIAG_DESTROY"
    )
    assert "install iproute2" in str(alive.check())


# Pillars


def test_a_pitfall_of_a_formula_is_shown_with_its_place(alive):
    alive.pillar({"ufw": {"services": {"5432": {"from_addr": ["k8s://prod"]}}}})
    found = alive.found()
    assert [(level, where) for level, where, _ in found] == [
        ("warning", "pillar of m1: ufw:services:5432:from_addr"),
    ]
    assert "treats an empty list as any address" in found[0][2]
    assert alive.store.subscriptions.references_of("m1", "") == ["k8s://prod"]


def test_a_pitfall_that_has_come_true_is_an_error(alive):
    alive.refer("k8s://prod", "k8s://prod?family=ipv6")
    alive.pillar(
        {
            "ufw": {"services": {"5432": {"from_addr": ["k8s://prod?family=ipv6"]}}},
            "k8s_firewall": {"prune": {}},
        }
    )
    level, where, what = next(one for one in alive.found() if one[1].startswith("pillar"))
    assert (level, where) == ("error", "pillar of m1: ufw:services:5432:from_addr")
    assert "matches no node now" in what


def test_a_k8s_firewall_pillar_that_no_class_keeps_up_to_date_is_a_finding(alive):
    alive.pillar({"k8s_firewall": {"sets": {"prod": ["k8s://prod"]}}})
    level, where, what = alive.one()
    assert (level, where) == ("info", "pillar of m1: k8s_firewall")
    assert "the published function state.apply firewall may not update" in what
    alive.values["file_roots"]["base"].append(str(alive.folder))
    (alive.folder / "firewall.sls").write_text("x:\n  test.nop: []\n")
    level, where, what = alive.one()
    assert (level, where) == ("warning", "pillar of m1: k8s_firewall")
    assert "the published function state.apply firewall does not update" in what
    (alive.folder / "firewall.sls").write_text("include: [k8s_firewall]\n")
    assert alive.found() == []
    sets = {"target": "m*", "function": "k8s_firewall.prune"}
    alive.values["k8s_nodes"]["apply"]["classes"] = {"sets": sets}
    assert "the published function k8s_firewall.prune does not update" in alive.found()[0][2]
    sets["function"] = "k8s_firewall.sync"
    assert "received this extension's modules" in alive.one()[2]
    alive.pillar({"k8s_firewall": {"sets": {"office": ["192.0.2.1"]}}, "a": "k8s://prod"})
    sets["function"] = "test.ping"
    assert alive.found() == []


def test_a_firewall_without_keep_for_several_masters_is_a_warning(alive):
    alive.values["k8s_nodes"]["apply"] = {"states": ["k8s_firewall"], "sync": False}
    block = {"sets": {"prod": ["k8s://prod"]}, "gates": {5432: "prod"}}
    several = ["192.0.2.250", "192.0.2.251"]
    alive.pillar({"k8s_firewall": block}, master=several[0])
    assert alive.found() == []
    alive.pillar({"k8s_firewall": block}, master=several)
    (level, where, what), topology = alive.found()
    assert (level, where) == ("warning", "pillar of m1: k8s_firewall")
    assert "several masters (192.0.2.250, 192.0.2.251)" in what
    assert topology[:2] == ("info", "masters")
    assert topology[2].startswith("m1 may have any of 192.0.2.250, 192.0.2.251: each ")
    alive.pillar({"k8s_firewall": {**block, "keep": several}}, master=several)
    assert alive.one() == topology


def test_a_master_cluster_counts_as_several_masters(alive):
    alive.values["k8s_nodes"]["apply"] = {"states": ["k8s_firewall"], "sync": False}
    alive.pillar({"k8s_firewall": {"sets": {"prod": ["k8s://prod"]}}})
    alive.values.update({"id": "one", "cluster_id": "c", "cluster_peers": ["two"]})
    alive.values["cluster_pki_dir"] = str(alive.folder / "pki")
    found = {where: what for _, where, what in alive.found()}
    assert "several masters (one" in found["pillar of m1: k8s_firewall"]


def test_a_pillar_that_does_not_compile_is_an_error(alive):
    alive.pillar({})
    (alive.folder / "pillar" / "data.sls").write_text("{{ nothing.there }}\n")
    level, where, what = alive.one()
    assert (level, where) == ("error", "pillar of m1")
    assert "errors" in what


def test_a_group_that_fails_does_not_hide_the_others(alive):
    with contextlib.suppress(FileExistsError):
        alive.values["k8s_nodes"]["state_dir"] = str(alive.folder / "file" / "state")
    (alive.folder / "file").write_text("")
    del alive.values["reactor"]
    found = alive.found()
    assert ("error", "reactor") in [one[:2] for one in found]
    assert [one for one in found if "could not be checked" in one[2]]
