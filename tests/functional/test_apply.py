"""A minion out of sync is published to once, from whichever process and however often."""

from __future__ import annotations

import json
import subprocess
import sys
import textwrap
import threading
import time
from collections.abc import Callable, Sequence
from dataclasses import replace
from pathlib import Path
from types import SimpleNamespace

import pytest

from salt_ext.core.config import config
from salt_ext.core.config.apply import ANY_GRAINS, Action
from salt_ext.core.errors import StoreError
from salt_ext.core.references.resolve import digest
from salt_ext.master.publisher import MasterSilent, NotPublished
from salt_ext.references.resolver import Resolver
from salt_ext.rollout.apply import ApplyRun
from salt_ext.rollout.desired_state import DesiredState
from salt_ext.rollout.plan import plan
from salt_ext.rollout.selection import OBSERVED
from salt_ext.store import Store
from salt_ext.store.control import ControlFlag
from salt_ext.store.locks import APPLY, exclusive
from salt_ext.store.subscriptions import Answer, Seen
from tests.core.build import member, snapshot
from tests.functional.returns import succeed

CLUSTER = {"in_cluster": True, "allowed_networks": ["192.0.2.0/24"]}
ALL = frozenset(["prod", "test"])


class Published:
    """Takes the place of Salt's publisher; ``during`` is called while a job is on its way out."""

    def __init__(self, during: Callable[[str], object] = str) -> None:
        self.jobs: dict[str, list[str]] = {}
        self.what: list[Action] = []
        self.during = during
        self._jids = iter(range(1, 1000))

    def new_jid(self) -> str:
        return str(next(self._jids))

    def apply(self, jid: str, minions: Sequence[str], what: Action) -> None:
        self.during(jid)
        self.jobs[jid] = list(minions)
        self.what.append(what)


@pytest.fixture
def settings(tmp_path):
    return config.read(
        {
            "state_dir": str(tmp_path / "state"),
            "apply": {"states": ["firewall"], "batch": 2, "timeout": 60, "min_interval": 0},
            "clusters": {"prod": CLUSTER, "test": CLUSTER},
        }
    )


@pytest.fixture
def store(settings):
    found = Store(settings.state_dir)
    for name, address in (("prod", "192.0.2.1"), ("test", "192.0.2.2")):
        view = snapshot(member("n1", address), cluster=name)
        found.snapshots.save(view, view.members.values(), [])
    return found


def refer(store: Store, minion: str, *clusters: str) -> None:
    """Let a minion's pillar have references to these clusters and no others."""
    seen = {f"k8s://{name}": Seen(cluster=name, answer=Answer.SERVED) for name in clusters}
    store.subscriptions.record(minion, "base", seen, time.time())


def prove(store: Store, published: Published, *, min_interval: float = 0.0) -> None:
    """Let every job that was published return as a success."""
    for jid, minions in published.jobs.items():
        for minion in minions:
            succeed(store, jid, minion, time.time(), min_interval=min_interval)


def test_minions_out_of_sync_are_published_to_in_batches(settings, store):
    for minion in ("m3", "m1", "m2"):
        refer(store, minion, "prod")
    published = Published()
    apply_run = ApplyRun(settings, store, published)
    done = apply_run.run(ALL)
    assert done == {
        "jobs": {"1": ["m1", "m2"]},
        "skipped": {"m3": "waiting for the previous batch of 2"},
    }
    prove(store, published)
    assert apply_run.run(ALL) == {"jobs": {"2": ["m3"]}}
    assert published.jobs == {"1": ["m1", "m2"], "2": ["m3"]}
    assert [str(what) for what in published.what] == ["state.apply firewall"] * 2


class TestAClusterThatChangesWhileAJobRuns:
    """What a pillar was served in between is not what the job was published for."""

    @pytest.fixture
    def settings(self, tmp_path):
        return config.read({"state_dir": str(tmp_path / "state"), "clusters": {"prod": CLUSTER}})

    @pytest.fixture
    def view(self, store):
        def view(*addresses: str) -> None:
            """Let the cluster have nodes with these addresses, each under a name of its own."""
            old = store.snapshots.load("prod")
            one = snapshot(
                *(member(f"n{text}", text) for text in addresses), revision=old.revision + 1
            )
            store.snapshots.save(one, one.members.values(), old.members.keys() - one.members.keys())

        return view

    @pytest.fixture
    def compiled(self, settings, store):
        def compiled(text: str = "k8s://prod") -> None:
            """Let a pillar be compiled, and be served what there is now."""
            lines = Resolver(store).addresses(text, settings)
            seen = Seen(cluster="prod", answer=Answer.SERVED, digest=digest({text: lines}))
            store.subscriptions.record("m1", "", {text: seen}, time.time())

        return compiled

    def test_what_is_again_as_it_was_is_not_taken_for_applied(
        self, settings, store, view, compiled
    ):
        view("192.0.2.1")
        compiled()
        published = Published()
        apply_run = ApplyRun(settings, store, published)
        apply_run.run(ALL)
        view("192.0.2.1", "192.0.2.9")
        compiled()
        view("192.0.2.1")
        prove(store, published)
        (late,) = DesiredState(store).out_of_sync(settings)
        assert late.why(time.time(), 60) == ("the cluster changed during the run; re-applying")

    def test_nor_when_that_was_what_the_minion_had_been_served_before(
        self, settings, store, view, compiled
    ):
        view("192.0.2.1", "192.0.2.9")
        compiled()
        view("192.0.2.1")
        published = Published()
        ApplyRun(settings, store, published).run(ALL)
        view("192.0.2.1", "192.0.2.9")
        compiled()
        view("192.0.2.1")
        prove(store, published)
        assert len(DesiredState(store).out_of_sync(settings)) == 1

    def test_a_change_that_is_none_for_its_pillar_makes_no_doubt(
        self, settings, store, view, compiled
    ):
        view("192.0.2.1")
        compiled("k8s://prod?family=ipv4")
        published = Published()
        ApplyRun(settings, store, published).run(ALL)
        view("192.0.2.1", "2001:db8::1")
        compiled("k8s://prod?family=ipv4")
        prove(store, published)
        assert DesiredState(store).out_of_sync(settings) == []


def test_no_minion_is_out_of_sync(settings, store):
    assert ApplyRun(settings, store, Published()).run(ALL) == {"jobs": {}}


def test_a_minion_that_has_proved_it_is_left_alone(settings, store):
    refer(store, "m1", "prod")
    published = Published()
    apply_run = ApplyRun(settings, store, published)
    apply_run.run(ALL)
    prove(store, published)
    assert apply_run.run(ALL) == {"jobs": {}}
    assert apply_run.run(ALL, force=True) == {"jobs": {}}


def test_a_minion_with_a_job_on_its_way_is_not_published_to_again(settings, store):
    refer(store, "m1", "prod")
    apply_run = ApplyRun(settings, store, Published())
    assert apply_run.run(ALL)["jobs"]
    changed = snapshot(member("n1", "192.0.2.9"), cluster="prod", revision=2)
    store.snapshots.save(changed, changed.members.values(), [])
    assert apply_run.run(ALL) == {"jobs": {}}
    assert apply_run.run(ALL, force=True) == {"jobs": {}}


def test_not_even_for_another_cluster(settings, store):
    refer(store, "m1", "prod")
    apply_run = ApplyRun(settings, store, Published())
    apply_run.run(ALL)
    refer(store, "m1", "prod", "test")
    assert apply_run.run(frozenset(["test"])) == {"jobs": {}}


def test_a_job_that_never_returned_is_published_again(settings, store):
    refer(store, "m1", "prod")
    # The engine has thirty seconds more to see it first, to ask, and to count it.
    quick = replace(settings, apply=replace(settings.apply, timeout=-30.0))
    published = Published()
    apply_run = ApplyRun(quick, store, published)
    apply_run.run(ALL)
    assert apply_run.run(ALL) == {"jobs": {"2": ["m1"]}}


def test_one_job_brings_a_minion_all_of_its_clusters(settings, store):
    refer(store, "m1", "prod", "test")
    published = Published()
    apply_run = ApplyRun(settings, store, published)
    assert apply_run.run(frozenset(["test"])) == {"jobs": {"1": ["m1"]}}
    prove(store, published)
    assert apply_run.run(ALL) == {"jobs": {}}


def test_only_the_clusters_that_are_asked_for(settings, store):
    refer(store, "m1", "prod")
    refer(store, "m2", "test")
    apply_run = ApplyRun(settings, store, Published())
    assert apply_run.run(frozenset(["test"])) == {"jobs": {"1": ["m2"]}}


def test_a_reference_that_is_gone_is_published_once_more(settings, store):
    refer(store, "m1", "prod")
    published = Published()
    apply_run = ApplyRun(settings, store, published)
    apply_run.run(ALL)
    prove(store, published)
    refer(store, "m1")
    assert apply_run.run(ALL) == {"jobs": {"2": ["m1"]}}
    prove(store, published)
    assert store.subscriptions.all() == []
    # Then its addresses are closed, and looked for in the kernel.
    assert apply_run.run(ALL) == {"jobs": {"3": ["m1"]}}
    assert published.what[-1].kwarg["departed"].keys() == {"192.0.2.1"}
    prove(store, published)
    assert apply_run.run(ALL) == {"jobs": {}}


def test_nothing_but_unresolved_references_publishes_nothing(settings, store):
    seen = {"k8s://gone": Seen(cluster="gone", answer=Answer.UNRESOLVED)}
    store.subscriptions.record("m1", "base", seen, 1.0)
    assert ApplyRun(settings, store, Published()).run(frozenset(["gone"])) == {"jobs": {}}


def test_a_job_is_written_down_before_it_is_published(settings, store):
    refer(store, "m1", "prod")
    known: dict[str, list[str]] = {}

    def during(jid: str) -> None:
        other = Store(settings.state_dir)
        known[jid] = [entry.minion for entry in other.applied.outstanding()[jid]]

    ApplyRun(settings, store, Published(during)).run(ALL)
    assert known == {"1": ["m1"]}


class TestNotPublished:
    def refuse(self, jid: str) -> None:
        if jid == "1":
            raise NotPublished("the master took no minion of it")

    def test_it_is_tried_again_and_the_others_are_published(self, settings, store, caplog):
        for minion in ("m1", "m2", "m3"):
            refer(store, minion, "prod")
        apply_run, begun = ApplyRun(settings, store, Published(self.refuse)), time.time()
        assert apply_run.run(ALL)["jobs"] == {}
        refused = time.time()
        assert apply_run.run(ALL) == {"jobs": {"2": ["m3"]}}
        assert "took no minion" in caplog.text
        entry = store.applied.all()["m1", "prod"]
        assert (entry.jid, entry.attempts, entry.silent) == (None, 0, False)
        assert begun + 5.0 <= entry.next_at <= refused + 5.0
        assert "took no minion" in entry.error
        # Not due for some seconds, but a person can insist.
        assert apply_run.run(ALL) == {"jobs": {}}
        assert apply_run.run(ALL, force=True) == {"jobs": {"3": ["m1", "m2"]}}

    @pytest.mark.parametrize(("care", "size"), [({"canary": 1}, 1), ({"batch": 2}, 2)])
    def test_it_is_not_charged_to_the_minions(self, settings, store, monkeypatch, care, size):
        monkeypatch.setattr("salt_ext.rollout.apply._RETRY_AFTER", 0.0)
        minions = [f"m{n}" for n in range(6)]
        for minion in minions:
            refer(store, minion, "prod")

        def down(jid: str) -> None:
            raise NotPublished("the master is down")

        careful = block(settings, **care)
        out = ApplyRun(careful, store, Published(down))
        for _ in range(5):
            assert out.run(ALL)["jobs"] == {}
        published = Published()
        apply_run = ApplyRun(careful, store, published)
        jobs = apply_run.run(ALL)["jobs"]
        assert [len(batch) for batch in jobs.values()] == [size]
        # The first minions still decide whether a change that fails reaches the others.
        for jid, batch in jobs.items():
            fail(store, jid, *batch)
        assert apply_run.run(ALL)["jobs"] == {}
        assert set(store.rollouts.all()) == {""}


class TestSilentMaster:
    """Each publish would hold the reactor's thread for as long as Salt waits for the master."""

    @pytest.fixture
    def settings(self, settings, store):
        for n in range(3):
            refer(store, f"m{n}", "prod")
        classes = {f"c{n}": {"target": f"m{n}", "states": ["firewall"]} for n in range(2)}
        return block(settings, classes=classes)

    def test_it_is_asked_once_and_the_minions_left_are_counted(self, settings, store, caplog):
        tried: list[str] = []

        def during(jid: str) -> None:
            tried.append(jid)
            raise MasterSilent("the request timed out")

        answer = ApplyRun(settings, store, Published(during), match).run(ALL)
        assert tried == ["1"]
        left = "the master does not answer; 2 more minions are published to later"
        assert answer == {"jobs": {}, "waiting": left}
        assert left in caplog.text
        (entry,) = store.applied.all().values()
        assert (entry.minion, entry.jid, entry.attempts) == ("m0", None, 0)
        assert ApplyRun(settings, store, Published(), match).run(ALL)["jobs"] == {
            "1": ["m1"],
            "2": ["m2"],
        }

    def test_a_trigger_meanwhile_does_not_hold_the_thread_once_more(self, settings, store):
        tried: list[str] = []

        def during(jid: str) -> None:
            tried.append(jid)
            ApplyRun(settings, Store(settings.state_dir), Published(), match).run(ALL)
            raise MasterSilent("the request timed out")

        ApplyRun(settings, store, Published(during), match).run(ALL)
        assert tried == ["1"]

    def test_one_that_takes_no_job_for_some_is_asked_for_the_others(self, settings, store):
        def during(jid: str) -> None:
            if jid == "1":
                raise NotPublished("the master took no minion of it")

        answer = ApplyRun(settings, store, Published(during), match).run(ALL)
        assert answer == {"jobs": {"2": ["m1"], "3": ["m2"]}}


class TestTriggers:
    def test_one_that_comes_during_a_run_makes_it_look_again(self, settings, store):
        refer(store, "m1", "prod")
        answers = []

        def during(jid: str) -> None:
            if jid == "1":
                refer(store, "m2", "test")
                other = ApplyRun(settings, Store(settings.state_dir), published)
                answers.append(other.run(frozenset(["test"])))

        published = Published(during)
        done = ApplyRun(settings, store, published).run(frozenset(["prod"]))
        assert answers == [
            {"jobs": {}, "waiting": "another apply is running; it publishes for this one too"}
        ]
        assert done == {"jobs": {"1": ["m1"], "2": ["m2"]}}
        assert published.jobs == done["jobs"]

    def test_a_thousand_during_a_run_make_it_look_once_more(self, settings, store):
        refer(store, "m1", "prod")
        looks = []

        def during(_: str) -> None:
            for _ in range(1000):
                ApplyRun(settings, store, published).run(ALL)

        published = Published(during)
        apply_run = ApplyRun(settings, store, published)
        out_of_sync = apply_run._desired_state.out_of_sync
        apply_run._desired_state.out_of_sync = lambda *given: looks.append(1) or out_of_sync(*given)
        apply_run.run(ALL)
        assert len(looks) == 2
        assert published.jobs == {"1": ["m1"]}

    def test_an_operators_request_waits_for_the_run_that_it_meets(self, settings, store):
        refer(store, "m1", "prod")
        refer(store, "m2", "test")
        observing, answers, others = block(settings), [], []
        again = Path(settings.state_dir) / "apply.again"

        def during(jid: str) -> None:
            if jid == "1":
                apply_run = ApplyRun(observing, Store(settings.state_dir), published)
                others.append(
                    threading.Thread(target=lambda: answers.append(apply_run.run(ALL, force=True)))
                )
                others[0].start()
                until = time.monotonic() + 60
                while not again.exists():
                    assert time.monotonic() < until

        published = Published(during)
        done = ApplyRun(observing, store, published).run(ALL)
        others[0].join(60)
        assert done["jobs"] == {"1": ["m1"]}
        assert answers[0]["jobs"] == {"2": ["m2"]}

    @pytest.mark.parametrize("wish", [{"force": True}, {"minions": "m1"}])
    def test_but_not_for_ever(self, settings, store, monkeypatch, wish):
        monkeypatch.setattr("salt_ext.rollout.apply._LOCK_TIMEOUT", 0.1)
        with exclusive(Path(settings.state_dir) / APPLY):
            answer = ApplyRun(settings, store, Published(), match).run(ALL, **wish)
        assert answer == {
            "jobs": {},
            "waiting": "another apply has been running for 0 s; "
            "this one published nothing: run it again",
        }

    def test_files_of_a_killed_run_do_not_matter(self, settings, store):
        refer(store, "m1", "prod")
        for name in ("apply.again", "apply.lock"):
            (Path(settings.state_dir) / name).touch()
        assert ApplyRun(settings, store, Published()).run(ALL) == {"jobs": {"1": ["m1"]}}

    def test_a_run_that_fails_gives_the_lock_back(self, settings, store):
        refer(store, "m1", "prod")

        def during(jid: str) -> None:
            if jid == "1":
                raise ZeroDivisionError

        apply_run = ApplyRun(settings, store, Published(during))
        with pytest.raises(ZeroDivisionError):
            apply_run.run(ALL)
        refer(store, "m2", "prod")
        assert apply_run.run(ALL) == {"jobs": {"2": ["m2"]}}

    def test_threads_that_ask_at_once_publish_once(self, settings, store):
        for n in range(6):
            refer(store, f"m{n}", "prod", "test")
        wide = replace(settings, apply=replace(settings.apply, batch=10))
        published = [Published() for _ in range(8)]
        threads = [
            threading.Thread(target=ApplyRun(wide, Store(settings.state_dir), one).run, args=(ALL,))
            for one in published
        ]
        for thread in threads:
            thread.start()
        for thread in threads:
            thread.join()
        sent = sorted(m for one in published for minions in one.jobs.values() for m in minions)
        assert sent == [f"m{n}" for n in range(6)]


ASKER = textwrap.dedent(
    """
    import json, sys, time
    from pathlib import Path
    from salt_ext.rollout.apply import ApplyRun
    from salt_ext.core.config import config
    from salt_ext.store import Store

    settings = config.read(json.loads(sys.argv[1]))
    sent = []

    class Publisher:
        def new_jid(self):
            return f"{sys.argv[2]}-{time.monotonic_ns()}"
        def apply(self, jid, minions, what):
            time.sleep(0.002)
            sent.extend(minions)

    print("ready", flush=True)
    for line in sys.stdin:
        ApplyRun(settings, Store(settings.state_dir), Publisher()).run(frozenset(settings.names))
        print(json.dumps(sent), flush=True)
        sent.clear()
    """
)


def test_processes_that_ask_at_once_publish_once(settings, store):
    block = {
        "state_dir": settings.state_dir,
        "apply": {"batch": 50},
        "clusters": {"prod": CLUSTER, "test": CLUSTER},
    }
    askers = [
        subprocess.Popen(
            [sys.executable, "-c", ASKER, json.dumps(block), str(n)],
            stdin=subprocess.PIPE,
            stdout=subprocess.PIPE,
            text=True,
        )
        for n in range(3)
    ]
    try:
        for asker in askers:
            assert asker.stdout.readline() == "ready\n"
        for turn in range(15):
            refer(store, f"m{turn}", "prod")
            for asker in askers:
                asker.stdin.write("go\n")
                asker.stdin.flush()
            sent = [minion for asker in askers for minion in json.loads(asker.stdout.readline())]
            assert sent == [f"m{turn}"]
    finally:
        for asker in askers:
            asker.stdin.close()
            asker.wait(60)
            asker.stdout.close()


def test_a_folder_that_cannot_be_written_is_an_error_that_names_it(settings):
    Path(settings.state_dir).write_text("a file where the folder should be")
    with pytest.raises(StoreError, match=settings.state_dir):
        ApplyRun(settings, Store(settings.state_dir), Published()).run(ALL)


def block(settings, **apply):
    """The settings with another `apply:` block; None removes a key."""
    values = {"states": ["firewall"], "timeout": 60, "min_interval": 0, **apply}
    return config.read(
        {
            "state_dir": settings.state_dir,
            "apply": {key: value for key, value in values.items() if value is not None},
            "clusters": {"prod": CLUSTER, "test": {**CLUSTER, "mode": "observe"}},
        }
    )


def match(target: str) -> set[str]:
    """Match the minions whose names are the target, with commas."""
    return set(target.split(","))


def fail(store: Store, jid: str, *minions: str, silent: bool = False) -> None:
    for minion in minions:
        store.applied.record_failure(
            jid, minion, "no", counted=True, next_at=0.0, now=time.time(), silent=silent
        )


class TestClasses:
    def test_each_minion_gets_the_action_of_its_class(self, settings, store):
        for minion in ("m1", "m2", "m3"):
            refer(store, minion, "prod")
        classes = {
            "one": {"target": "m1", "function": "fw.sync", "kwarg": {"x": 1}},
            "two": {"target": "m1,m3", "highstate": True},
        }
        published = Published()
        ApplyRun(block(settings, classes=classes), store, published, match).run(ALL)
        actions = dict(zip(map(str, published.what), published.jobs.values(), strict=True))
        assert actions == {
            "fw.sync x=1": ["m1"],
            "state.apply": ["m3"],
            "state.apply firewall": ["m2"],
        }
        assert store.jobs.get("1").function == "fw.sync"

    def test_a_deadline_counts_from_when_the_job_itself_was_sent(
        self, settings, store, monkeypatch
    ):
        # On a busy master a publish takes long: a job that is given up too early is sent a second
        # time, and a minion that is still at work refuses it.
        for minion in ("m1", "m2"):
            refer(store, minion, "prod")
        begun = time.time()
        clock = SimpleNamespace(now=begun)
        monkeypatch.setattr("salt_ext.rollout.apply.time", SimpleNamespace(time=lambda: clock.now))

        def takes_50_seconds(jid: str) -> None:
            (entry,) = store.applied.outstanding()[jid]
            assert entry.in_flight(clock.now + 59, settings.apply.timeout)
            clock.now += 50

        classes = {"one": {"target": "m1", "function": "fw.sync"}}
        slow = Published(takes_50_seconds)
        done = ApplyRun(block(settings, classes=classes), store, slow, match).run(ALL)
        assert len(done["jobs"]) == 2
        in_flight = [
            [
                after
                for after in (50, 109, 110, 159, 160)
                if entry.in_flight(begun + after, settings.apply.timeout)
            ]
            for entry in store.applied.all().values()
        ]
        assert sorted(in_flight) == [[50, 109], [50, 109, 110, 159]]
        # Their addresses are no younger than the selection.
        assert {entry.dispatched_at for entry in store.applied.all().values()} == {begun}

    def test_an_observed_minion_is_not_published_to(self, settings, store):
        for minion in ("m1", "m2"):
            refer(store, minion, "prod")
        classes = {"seen": {"target": "m1", "mode": "observe"}}
        apply_run = ApplyRun(block(settings, classes=classes), store, Published(), match)
        assert apply_run.run(ALL) == {"jobs": {"1": ["m2"]}, "skipped": {"m1": OBSERVED}}
        # Unless a person says so.
        assert apply_run.run(ALL, force=True) == {"jobs": {"2": ["m1"]}}

    def test_an_unknown_class_is_asked_for_its_pillar(self, settings, store, monkeypatch):
        for minion in ("db1", "m1", "web1"):
            refer(store, minion, "prod")
        classes = {
            "web": {"target": "web1", "highstate": True},
            "db": {"target": "G@role:db", "mode": "observe"},
        }
        careful, with_grains = block(settings, classes=classes), {"m1"}

        def known(target: str) -> set[str]:
            return {ANY_GRAINS: with_grains, "G@role:db": with_grains & {"db1"}}.get(
                target, {"web1"}
            )

        published = Published()
        done = ApplyRun(careful, store, published, known).run(ALL)
        assert done["jobs"] == {"1": ["web1"], "2": ["m1"], "3": ["db1"]}
        # Which applies nothing, and has the master learn its grains.
        assert str(published.what[2]) == "saltutil.refresh_pillar"
        assert done["skipped"]["db1"].startswith("unknown class: no cached grains")
        succeed(store, "3", "db1", time.time())
        assert store.applied.all()["db1", "prod"].applied is None
        planned = plan(careful, store, known, ALL)["minions"]["db1"]
        assert (planned["publishes"], planned["when"]) == (None, done["skipped"]["db1"])
        # Nobody knows what to tell it, so that nobody can insist; and it is not asked all the time.
        assert ApplyRun(careful, store, published, known).run(ALL, force=True)["jobs"] == {}
        monkeypatch.setattr("salt_ext.rollout.selection._ASK_INTERVAL", 0.0)
        observed = block(settings, mode="observe", classes=classes)
        assert ApplyRun(observed, store, published, known).run(ALL, minions="db1")["jobs"] == {}
        assert ApplyRun(careful, store, published, known).run(ALL)["jobs"] == {"4": ["db1"]}
        succeed(store, "4", "db1", time.time())
        with_grains.add("db1")
        done = ApplyRun(careful, store, published, known).run(ALL)
        assert done == {"jobs": {}, "skipped": {"db1": OBSERVED}}

    def test_an_observed_cluster_is_no_reason_and_is_proven_by_what_runs(self, settings, store):
        refer(store, "m1", "test")
        published = Published()
        apply_run = ApplyRun(block(settings), store, published)
        assert apply_run.run(ALL) == {"jobs": {}, "skipped": {"m1": OBSERVED}}
        refer(store, "m1", "prod", "test")
        assert apply_run.run(ALL) == {"jobs": {"1": ["m1"]}}
        prove(store, published)
        assert apply_run.run(ALL, force=True) == {"jobs": {}}

    def test_only_the_minions_that_are_asked_for(self, settings, store):
        for minion in ("m1", "m2"):
            refer(store, minion, "prod")
        apply_run = ApplyRun(block(settings), store, Published(), match)
        assert apply_run.run(ALL, minions="m2,m9") == {"jobs": {"1": ["m2"]}}

    def test_a_mistake_in_what_is_published_publishes_nothing(self, settings, store):
        refer(store, "m1", "prod")
        wrong = block(settings, stats=["firewall"])
        answer = ApplyRun(wrong, store, Published()).run(ALL, force=True)
        assert answer["jobs"] == {}
        assert "k8s_nodes:apply:stats" in answer["waiting"]


@pytest.mark.usefixtures("fleet")
class TestCare:
    @pytest.fixture
    def fleet(self, store):
        for n in range(5):
            refer(store, f"m{n}", "prod")

    def test_a_pause_holds_everything_until_it_is_taken_back(self, settings, store):
        apply_run = ApplyRun(block(settings), store, Published())
        assert store.decisions.pause(ControlFlag("alice", 1.0))
        assert not store.decisions.pause(ControlFlag("bob", 2.0))
        for force in (False, True):
            answer = apply_run.run(ALL, force=force)
            assert answer["jobs"] == {}
            assert answer["waiting"].startswith("paused by alice")
        assert Store(settings.state_dir).decisions.resume()
        assert not store.decisions.resume()
        assert len(apply_run.run(ALL)["jobs"]["1"]) == 5

    def test_a_canary_goes_first_and_the_others_when_it_is_proven(self, settings, store):
        published = Published()
        apply_run = ApplyRun(block(settings, canary=1), store, published)
        assert apply_run.run(ALL)["jobs"] == {"1": ["m0"]}
        assert apply_run.run(ALL)["jobs"] == {}
        prove(store, published)
        # By whatever process is asked next.
        again = ApplyRun(block(settings, canary=1), Store(settings.state_dir), published)
        assert again.run(ALL)["jobs"] == {"2": ["m1", "m2", "m3", "m4"]}

    def test_a_canary_that_fails_stops_its_class_until_a_person_insists(
        self, settings, store, caplog
    ):
        apply_run = ApplyRun(block(settings, canary=1), store, Published())
        apply_run.run(ALL)
        fail(store, "1", "m0", silent=True)
        told = apply_run.run(ALL)
        assert (told["jobs"], set(told["skipped"].values())) == (
            {},
            {"stopped: 1 of 1 minions failed"},
        )
        assert "stopped: 1 of 1" in caplog.text
        assert apply_run.run(ALL)["jobs"] == {}
        assert sum(map(len, apply_run.run(ALL, force=True)["jobs"].values())) == 5

    def test_at_most_so_many_a_minute_retries_included(self, settings, store):
        apply_run = ApplyRun(block(settings, max_per_minute=6), store, Published())
        assert len(apply_run.run(ALL)["jobs"]["1"]) == 5
        fail(store, "1", *(f"m{n}" for n in range(5)), silent=True)
        told = apply_run.run(ALL)
        assert told["jobs"] == {"2": ["m0"]}
        assert (
            told["skipped"]["m1"]
            == "rate limited: at most 6 publishes a minute (apply:max_per_minute)"
        )

    def test_a_minion_has_a_burst_of_runs_and_then_they_are_spread(self, settings, store):
        slow = block(settings, min_interval=60, burst=3)
        for revision in range(2, 5):
            published = Published()
            assert ApplyRun(slow, store, published).run(ALL)["jobs"]
            prove(store, published, min_interval=60)
            changed = snapshot(
                member("n1", f"192.0.2.{revision}"), cluster="prod", revision=revision
            )
            store.snapshots.save(changed, changed.members.values(), [])
        told = ApplyRun(slow, store, Published()).run(ALL)
        assert (told["jobs"], told["skipped"]["m0"]) == (
            {},
            "rate limited: its last runs are less than apply:min_interval ago",
        )
        assert ApplyRun(block(settings), store, Published()).run(ALL)["jobs"]

    def test_force_is_under_the_ceiling_too(self, settings, store):
        apply_run = ApplyRun(block(settings, max_per_minute=2), store, Published())
        assert len(apply_run.run(ALL, force=True)["jobs"]["1"]) == 2


@pytest.mark.usefixtures("proven")
class TestAClockThatIsSetBack:
    """No minion waits until the clock shows the old time again."""

    @pytest.fixture
    def clock(self, monkeypatch):
        found = SimpleNamespace(now=time.time())
        clock = SimpleNamespace(time=lambda: found.now)
        monkeypatch.setattr("salt_ext.rollout.apply.time", clock)
        return found

    @pytest.fixture
    def proven(self, settings, store, clock):
        """Let every minion have the addresses, then change them an hour earlier."""
        published = Published()
        for n in range(5):
            refer(store, f"m{n}", "prod")
        ApplyRun(block(settings), store, published).run(ALL)
        for n in range(5):
            succeed(store, "1", f"m{n}", clock.now + 1, min_interval=60)
        changed = snapshot(member("n1", "192.0.2.9"), cluster="prod", revision=2)
        store.snapshots.save(changed, changed.members.values(), [])
        clock.now -= 3600

    @pytest.mark.parametrize("care", [{"max_per_minute": 5}, {"min_interval": 60, "burst": 1}])
    def test_neither_by_max_per_minute_nor_by_min_interval(self, settings, store, care):
        answer = ApplyRun(block(settings, **care), store, Published()).run(ALL)
        assert answer == {"jobs": {"1": [f"m{n}" for n in range(5)]}}

    def test_what_was_proven_before_opens_no_way(self, settings, store, clock):
        apply_run = ApplyRun(block(settings, canary=1), store, Published())
        assert apply_run.run(ALL)["jobs"] == {"1": ["m0"]}
        clock.now += 1
        assert apply_run.run(ALL)["jobs"] == {}


class TestModules:
    @pytest.fixture
    def syncing(self, settings, store):
        refer(store, "m1", "prod")
        published = Published()
        syncing = block(settings, states=None, function="k8s_firewall.sync")

        def apply(version: str) -> list[str]:
            published.what.clear()
            ApplyRun(syncing, store, published, module_version=version).run(ALL)
            return [str(what) for what in published.what]

        return apply

    def test_they_are_brought_before_the_first_run_and_after_an_upgrade(self, store, syncing):
        assert syncing("1") == ["saltutil.sync_all"]
        assert store.jobs.get("1").step == "sync"
        assert syncing("1") == []
        succeed(store, "1", "m1", time.time(), module_version="1")
        assert syncing("1") == ["k8s_firewall.sync"]
        succeed(store, "2", "m1", time.time())
        changed = snapshot(member("n1", "192.0.2.9"), cluster="prod", revision=2)
        store.snapshots.save(changed, changed.members.values(), [])
        assert syncing("2") == ["saltutil.sync_all"]

    def test_a_proven_sync_proves_no_addresses(self, store, syncing):
        syncing("1")
        succeed(store, "1", "m1", time.time(), module_version="1")
        assert store.applied.all()["m1", "prod"].applied is None


def test_what_was_applied_is_kept_once_for_all_who_have_it(settings, store):
    for minion in ("m1", "m2"):
        refer(store, minion, "prod")
    published = Published()
    apply_run = ApplyRun(block(settings), store, published)
    apply_run.run(ALL)
    prove(store, published)
    digest = store.applied.all()["m1", "prod"].applied
    assert store.address_sets.get(digest) == {"k8s://prod": ("192.0.2.1",)}
    changed = snapshot(member("n1", "192.0.2.9"), cluster="prod", revision=2)
    store.snapshots.save(changed, changed.members.values(), [])
    apply_run.run(ALL)
    prove(store, published)
    assert store.address_sets.get(digest) is None
    newest = store.applied.all()["m2", "prod"]
    assert newest.revision == 2
    assert store.address_sets.get(newest.applied) == {"k8s://prod": ("192.0.2.9",)}
    assert [(one.minion, one.revision) for one in store.timings.newest("prod", 2)] == [
        ("m2", 2),
        ("m1", 2),
    ]
