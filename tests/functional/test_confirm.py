"""What a person decides on held changes: by a token, for exactly what was shown with it."""

from __future__ import annotations

import re

import pytest
from salt.utils.args import yamlify_arg

from salt_ext.admin import confirm as admin
from salt_ext.admin.controls import By
from salt_ext.core.cluster.hold import Effect, Held, Kind, fingerprint
from salt_ext.core.config import config
from salt_ext.store import Store
from salt_ext.store.subscriptions import Answer, Seen
from tests.core.build import member

CLUSTER = {"in_cluster": True, "allowed_networks": ["192.0.2.0/24"]}


class Desk:
    """A master whose guards hold something, and a person in front of it."""

    def __init__(self, folder: str) -> None:
        self.store = Store(folder)
        self.config = config.read({"state_dir": folder, "clusters": {"prod": CLUSTER}})

    def hold(self, *held: Held) -> list[str]:
        self.store.holds.replace("prod", held, 1.0)
        return [change.token for change in held]

    def confirm(self, *tokens: str, reason: str = ""):
        return admin.confirm(self.config, self.store, "prod", By(name="kim", reason=reason), tokens)

    def reject(self, *tokens: str, reason: str = ""):
        return admin.reject(self.config, self.store, "prod", By(name="kim", reason=reason), tokens)

    @property
    def decided(self):
        return self.store.decisions.of("prod")

    @property
    def history(self):
        return [entry.what for entry in self.store.history.newest("prod", 10)]


@pytest.fixture
def desk(tmp_path):
    return Desk(str(tmp_path / "state"))


def growth(**subjects: str) -> Held:
    joined = subjects or {"n1": "a", "n2": "b"}
    return Held(
        kind=Kind.GROWTH,
        why=f"{len(joined)} nodes joined",
        subjects=joined,
        effect=Effect(join=len(joined), open=5),
    )


def shrink() -> Held:
    return Held(
        kind=Kind.SHRINK,
        why="10 of 14 nodes left at once",
        subjects={f"n{i}": "print" for i in range(10)},
        effect=Effect(leave=10, close=22, then_held=(Kind.MINIMUM,)),
    )


def node() -> Held:
    return Held(kind=Kind.NODE, why="n3 claims 40 addresses", subjects={"n3": "40"})


def test_without_a_token_the_picture_is_shown_and_nothing_is_done(desk):
    tokens = desk.hold(shrink(), growth(), node())
    answer = desk.confirm()
    assert answer["released"] == []
    assert [change["token"] for change in answer["still_held"]] == [*tokens[:2], None]
    assert answer["still_held"][0]["release"] == f"salt-run k8s_nodes.confirm prod {tokens[0]}"
    assert answer["still_held"][1]["reject"] == f"salt-run k8s_nodes.reject prod {tokens[1]}"
    assert answer["still_held"][0]["reject"] is None
    assert (desk.decided.confirmations, desk.history) == ([], [])
    assert "retcode" not in answer


def test_the_picture_says_in_numbers_what_would_happen(desk):
    for minion in ("db1", "db2"):
        subscribe(desk.store, minion)
    desk.hold(shrink())
    (change,) = desk.confirm()["still_held"]
    assert change["if_released"] == (
        "10 nodes leave, 0 join, 2 minions, 22 addresses close, 0 open; then held by min_nodes"
    )
    assert change["count"] == 10


def subscribe(store: Store, minion: str) -> None:
    seen = {"k8s://prod": Seen(cluster="prod", answer=Answer.SERVED)}
    store.subscriptions.record(minion, "base", seen, 1.0)


def test_a_token_releases_its_change_alone(desk):
    first, second = desk.hold(shrink(), growth())
    answer = desk.confirm(second, reason="a sale")
    assert [change["what"] for change in answer["released"]] == ["growth"]
    assert [change["token"] for change in answer["still_held"]] == [first]
    (decided,) = desk.decided.confirmations
    assert (decided.kind, decided.subjects) == ("growth", {"n1": "a", "n2": "b"})
    assert (decided.by, decided.reason) == ("kim", "a sale")
    (entry,) = desk.store.history.newest("prod", 10)
    assert (entry.what, entry.detail["by"], entry.detail["reason"]) == (
        "confirmed",
        "kim",
        "a sale",
    )


@pytest.mark.parametrize(
    "now_held",
    [
        growth(n1="a", n2="b", n3="c"),
        growth(n1="a"),
        growth(n1="another uid", n2="b"),
        Held(kind=Kind.RETURNED, why="", subjects={"n1": "a", "n2": "b"}),
    ],
    ids=["more", "less", "another uid", "another kind"],
)
def test_a_token_of_what_has_changed_is_refused_with_the_new_picture(desk, now_held):
    (token,) = desk.hold(growth())
    (new_token,) = desk.hold(now_held)
    answer = desk.confirm(token)
    assert answer["released"] == []
    assert token in answer["refused"]
    assert answer["retcode"] == 1
    assert [change["token"] for change in answer["still_held"]] == [new_token]
    assert (desk.decided.confirmations, desk.history) == ([], [])


def test_one_wrong_token_of_several_refuses_all(desk):
    first, _ = desk.hold(shrink(), growth())
    assert desk.confirm(first, "abcd-efgh-jkmn")["released"] == []
    assert desk.decided.confirmations == []


def test_a_change_that_only_the_kubelet_ends_is_refused_with_its_cure(desk):
    (token,) = desk.hold(node())
    answer = desk.confirm(token)
    assert (answer["released"], answer["retcode"]) == ([], 1)
    assert "clusters:prod:guards" in answer["refused"]


def test_a_repeated_confirmation_is_recorded_once_and_says_when_it_takes_effect(desk):
    (token,) = desk.hold(growth())
    first, second = desk.confirm(token), desk.confirm(token)
    assert first["takes_effect"] == "when the engine runs: it is not running now"
    assert second["released"] == first["released"]
    assert len(desk.decided.confirmations) == 1
    assert desk.history == ["confirmed"]
    (shown,) = desk.confirm()["still_held"]
    assert shown["confirmed"] == "recorded; it takes effect when the engine runs"


def test_a_rejection_is_recorded_and_takes_a_confirmation_back(desk):
    (token,) = desk.hold(growth())
    desk.confirm(token)
    answer = desk.reject(token, reason="forged")
    assert [change["what"] for change in answer["rejected"]] == ["growth"]
    assert desk.decided.rejected == {"growth": {"n1": "a", "n2": "b"}}
    assert desk.decided.confirmations == []
    assert desk.history == ["rejected", "confirmed"]


@pytest.mark.parametrize("held", [shrink(), node()], ids=["shrink", "node"])
def test_what_leaves_cannot_be_rejected(desk, held):
    (token,) = desk.hold(held)
    answer = desk.reject(token)
    assert (answer["rejected"], answer["retcode"]) == ([], 1)
    assert "cannot be rejected" in answer["refused"]
    assert (desk.decided.rejected, desk.history) == ({}, [])


def test_a_rejection_without_or_with_a_wrong_token_does_nothing(desk):
    desk.hold(growth())
    assert desk.reject()["retcode"] == 1
    assert desk.reject("abcd-efgh-jkmn")["retcode"] == 1
    assert desk.decided.rejected == {}


def test_what_was_rejected_is_shown_as_such_and_can_only_be_confirmed(desk):
    held = growth()
    (token,) = desk.hold(
        Held(kind=held.kind, why="rejected", subjects=held.subjects, rejected=True)
    )
    assert token != held.token
    (shown,) = desk.confirm()["still_held"]
    assert (shown["rejected"], shown["reject"]) == (True, None)
    assert desk.reject(token)["retcode"] == 1
    assert len(desk.confirm(token)["released"]) == 1


@pytest.mark.parametrize("number", range(200))
def test_no_token_is_read_as_anything_but_a_text_by_salt(number):
    token = growth(n1=str(number)).token
    assert yamlify_arg(token) == token
    assert re.fullmatch(r"([a-z]{4}-){2}[a-z]{4}", token)


def test_names_with_any_text_make_different_tokens():
    tokens = {
        growth(a="bc").token,
        growth(ab="c").token,
        growth(a="b", c="").token,
        growth(**{"a\0b": "c"}).token,
        growth(**{"a\ud800": "c"}).token,
        growth(**{"1:a": "bc"}).token,
    }
    assert len(tokens) == 6


def test_a_member_changes_its_token_with_uid_and_addresses_and_not_with_labels():
    one = member("n", "192.0.2.1")
    same = member("n", "192.0.2.1", labels={"a": "b"}, ready=False)
    others = [
        member("n", "192.0.2.1", uid="other"),
        member("n", "192.0.2.2"),
        member("n", "192.0.2.1", "192.0.2.2"),
        member("n", external=("192.0.2.1",)),
        member("n"),
    ]
    assert fingerprint(one) == fingerprint(same)
    assert len({fingerprint(one), *map(fingerprint, others)}) == 6
