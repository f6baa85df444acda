"""Events of the bus become hints, and a flood of them is bounded."""

from __future__ import annotations

from salt_ext.core.rollout.hints import Hints


def test_each_tag_is_recorded():
    hints = Hints()
    recorded = [
        hints.take("salt/job/7/ret/m1"),
        hints.take("salt/minion/m2/start"),
        hints.take("salt/auth", "m3"),
        hints.take("salt/k8s_firewall/m4/drift"),
    ]
    assert all(recorded)
    assert (hints.returned, hints.started) == ({"7"}, {"m2"})
    assert (hints.alive, hints.drifted) == ({"m1", "m3"}, {"m4"})


def test_other_tags_are_ignored():
    hints = Hints()
    for tag in (
        "",
        "salt/auth",
        "salt/key",
        "salt/job/7/new",
        "salt/minion/m2/stop",
        "salt/beacon/a/b/",
        "salt/k8s_firewall/m4/repaired",
    ):
        assert not hints.take(tag)
    assert hints == Hints()


def test_a_flood_is_bounded():
    hints = Hints()
    for n in range(20_000):
        hints.take(f"salt/job/{n}/ret/m{n}")
        hints.take(f"salt/minion/m{n}/start")
    assert len(hints.returned) + len(hints.alive) + len(hints.started) == 30_000
