"""Changes and claims of nodes: joins, leaves, moves, lies and flapping."""

from __future__ import annotations

import pytest

QUICK = {"inactivity": 1, "debounce": 0, "max_delay": 0}
JUNK = [
    "127.0.0.1",
    "169.254.169.254",
    "10.0.0.0/8",
    "0.0.0.0",
    "0.0.0.0/0",
    "010.0.0.5",
    "1.2.3.4; rm -rf /",
    "10.0.0.5\n10.0.0.6",
    " 10.0.0.5",
    "fe80::1%eth0",
    "::ffff:10.0.0.5",
    "224.0.0.1",
    "255.255.255.255",
    "192.168.1.1",
    "10.9.9.9",
    "",
    "node.example.com",
]


@pytest.fixture
def prod(kube, watch):
    watched = watch(kube, timing=QUICK, denied_networks=["10.9.9.9"], guards={"grace": 1})
    watched.nodes.create("n1", internal=["10.0.0.1"])
    watched.serves("10.0.0.1")
    return watched


def claim(watched, name: str, *addresses: str) -> None:
    """Write a status as a kubelet can."""
    listed = [{"type": "InternalIP", "address": text} for text in addresses]
    watched.nodes.patch_status(name, {"addresses": listed})


def addresses_of_node(watched, name: str) -> set[str]:
    """Return the stored addresses of one node."""
    member = watched.store.snapshots.load(watched.name).members.get(name)
    return {str(one) for one in member.all_addresses()} if member else set()


def test_lies_and_junk_are_dropped_and_counted(kube, watch):
    watched = watch(
        kube, timing=QUICK, denied_networks=["10.9.9.9"], guards={"addresses_per_node": 50}
    )
    watched.nodes.create("n1", internal=["10.0.0.1"])
    watched.serves("10.0.0.1")
    claim(watched, "n1", "10.0.0.2", *JUNK)
    watched.serves("10.0.0.1", "10.0.0.2")
    watched.until(lambda: sum(watched.health().refused.values()) == len(JUNK), "all counted")
    refused = watched.health().refused
    assert refused["outside allowed_networks"] == 1
    assert refused["inside denied_networks"] == 7


def test_a_pod_cidr_that_is_too_wide_is_dropped(kube, watch):
    watched = watch(kube, timing=QUICK, addresses=["podCIDR", "InternalIP"])
    watched.nodes.create("wide", internal=["10.0.0.1"], pod_cidrs=["10.0.0.0/8"])
    watched.nodes.create("good", internal=["10.0.0.2"], pod_cidrs=["10.244.1.0/24"])
    watched.serves("10.0.0.1", "10.0.0.2", "10.244.1.0/24")
    watched.until(lambda: watched.health().refused.get("podCIDR too wide") == 1, "counted")


def test_a_node_with_too_many_addresses_stays_what_it_was_and_others_go_on(prod):
    claim(prod, "n1", *(f"10.1.{i // 250}.{i % 250 + 1}" for i in range(1000)))
    prod.nodes.create("n2", internal=["10.0.0.2"])
    prod.serves("10.0.0.1", "10.0.0.2")
    prod.holds("node")
    assert prod.confirm()["released"] == []
    claim(prod, "n1", "10.0.0.7")
    prod.serves("10.0.0.7", "10.0.0.2")
    prod.holds()


def test_a_node_that_claims_too_much_is_reported_at_once_though_nothing_is_to_store(
    kube, watch, caplog
):
    watched = watch(kube, timing=QUICK)
    watched.nodes.create("n1", internal=["10.0.0.1"])
    watched.serves("10.0.0.1")
    watched.watching()
    # Nothing else happens: no judgement of another change may be what stores the hold.
    claim(watched, "n1", *(f"10.1.0.{i}" for i in range(40)))
    watched.until(lambda: watched.held() == ["node"], "held", seconds=5)
    watched.until(lambda: watched.bus.named("refused"), "the event")
    (data,) = watched.bus.named("refused")
    assert data == {
        "cluster": "prod",
        "node": "n1",
        "reason": "more than addresses_per_node",
        "count": 40,
        "examples": [f"10.1.0.{i}" for i in range(5)],
        "key": "guards:addresses_per_node",
    }
    watched.until(
        lambda: (
            watched.status()["refused_addresses"]
            == {
                "more than addresses_per_node": {
                    "count": 40,
                    "nodes": ["n1"],
                    "key": "guards:addresses_per_node",
                }
            }
        ),
        "shown",
    )
    assert "raise clusters:prod:guards:addresses_per_node [node-held]" in caplog.text
    claim(watched, "n1", "10.0.0.1")
    watched.holds()


def test_a_refused_address_is_reported_at_once_and_names_its_key(kube, watch, caplog):
    watched = watch(kube, timing=QUICK)
    watched.nodes.create("n1", internal=["10.0.0.1"])
    watched.serves("10.0.0.1")
    before = watched.revision()
    claim(watched, "n1", "10.0.0.1", "192.168.1.1")
    watched.until(lambda: watched.bus.named("refused"), "the event", seconds=5)
    assert watched.bus.named("refused")[0]["key"] == "allowed_networks"
    watched.until(lambda: watched.status()["refused_addresses"], "shown")
    assert "clusters:prod:allowed_networks [addresses-refused]" in caplog.text
    # Nothing of it is a change.
    assert watched.revision() == before


def test_labels_of_a_megabyte_are_neither_stored_nor_break_the_list(kube, watch):
    watched = watch(kube, timing=QUICK)
    watched.nodes.create("n1", internal=["10.0.0.1"], labels={"pool": "web"})
    watched.serves("10.0.0.1")
    watched.nodes.label("n1", {f"example.com/l{n:060}": "x" * 60 for n in range(600)})
    watched.holds("node")
    assert watched.store.snapshots.load("prod").members["n1"].labels["pool"] == "web"
    watched.nodes.create("n2", internal=["10.0.0.2"])
    watched.request_list()
    watched.serves("10.0.0.1", "10.0.0.2")
    assert len(watched.store.snapshots.load("prod").members["n1"].labels) < 5


def test_a_dual_stack_node_keeps_the_family_that_it_loses_for_the_grace_period(kube, watch):
    watched = watch(kube, timing=QUICK, guards={"grace": 3})
    watched.nodes.create("n1", internal=["10.0.0.1", "2001:db8::1"])
    watched.serves("10.0.0.1", "2001:db8::1")
    claim(watched, "n1", "2001:db8::1")
    watched.nodes.create("n2", internal=["10.0.0.2"])
    watched.serves("10.0.0.1", "2001:db8::1", "10.0.0.2")
    watched.serves("2001:db8::1", "10.0.0.2")


def test_a_flapping_address_stays_out_and_makes_no_more_changes(kube, watch):
    watched = watch(kube, timing=QUICK, guards={"grace": 0})
    watched.nodes.create("n1", internal=["10.0.0.1"])
    watched.serves("10.0.0.1")
    for text in ("10.0.0.9", "10.0.0.1") * 3:
        claim(watched, "n1", text)
        watched.until(
            lambda text=text: (
                text in addresses_of_node(watched, "n1") or watched.held() == ["flapping"]
            ),
            text,
        )
    watched.holds("flapping")
    before = watched.revision()
    for text in ("10.0.0.9", "10.0.0.1") * 10:
        claim(watched, "n1", text)
    watched.nodes.create("n2", internal=["10.0.0.2"])
    watched.until(lambda: "10.0.0.2" in watched.addresses(), "n2")
    assert watched.revision() <= before + 3
    assert watched.status()["held"][0]["names"] == ["n1"]
    assert [data["reason"] for data in watched.bus.named("refused")] == [
        "claimed and dropped again and again"
    ]
    (damped,) = watched.store.holds.of("prod")
    watched.stop()
    watched.start()
    watched.nodes.create("n3", internal=["10.0.0.3"])
    watched.until(lambda: "10.0.0.3" in watched.addresses(), "listed again")
    assert not {"10.0.0.1", "10.0.0.9"} & watched.addresses()
    assert watched.store.holds.of("prod") == [damped]


def test_a_fresh_node_without_addresses_is_no_change_until_it_has_one(prod):
    before, events = prod.revision(), prod.watcher.counters.events
    prod.nodes.create("n2")
    prod.until(lambda: prod.watcher.counters.events > events, "the event")
    prod.nodes.set_addresses("n2", internal=["10.0.0.2"])
    prod.serves("10.0.0.1", "10.0.0.2")
    assert prod.revision() == before + 1


def test_a_node_without_an_address_keeps_its_last_one_for_the_grace_period(prod):
    claim(prod, "n1")
    prod.nodes.create("n2", internal=["10.0.0.2"])
    prod.serves("10.0.0.1", "10.0.0.2")
    prod.serves("10.0.0.2")


def test_a_lingering_address_belongs_to_another_node_that_claims_it(kube, watch):
    watched = watch(kube, timing=QUICK, guards={"grace": 3600})
    watched.nodes.create("n1", internal=["10.0.0.1"])
    watched.reconciler._membership._contests.after = 0.5
    watched.serves("10.0.0.1")
    claim(watched, "n1")
    watched.nodes.create("n2", internal=["10.0.0.1"])
    watched.until(lambda: addresses_of_node(watched, "n2") == {"10.0.0.1"}, "n2")
    watched.until(lambda: addresses_of_node(watched, "n1") == set(), "its grace ends")
    watched.nodes.delete("n2")
    # Not back to n1, which lost it to n2.
    watched.serves()
    assert "n2" in [data["node"] for data in watched.bus.named("node/left")]


def test_the_same_name_with_another_uid_and_address_is_right_at_each_step(prod):
    prod.nodes.delete("n1")
    prod.nodes.create("n1", internal=["10.0.0.9"])
    prod.serves("10.0.0.9")
    assert all("10.0.0.9" not in data["removed"] for data in prod.bus.named("changed"))


def test_an_address_that_moves_between_nodes_is_never_removed(kube, watch, network):
    timing = {"inactivity": 30, "debounce": 0.3, "max_delay": 5}
    watched = watch(kube, server=network.url, timing=timing)
    watched.nodes.create("n1", internal=["10.0.0.1", "10.0.0.5"])
    watched.nodes.create("n2", internal=["10.0.0.2"])
    watched.serves("10.0.0.1", "10.0.0.5", "10.0.0.2")
    watched.watching()
    # Delivered together, so that they are in one debounce window.
    network.hold()
    watched.nodes.create("n3", internal=["10.0.0.3"])
    watched.nodes.set_addresses("n1", internal=["10.0.0.1"])
    watched.nodes.set_addresses("n2", internal=["10.0.0.2", "10.0.0.5"])
    network.flow()
    watched.until(lambda: addresses_of_node(watched, "n2") == {"10.0.0.2", "10.0.0.5"}, "moved")
    assert "10.0.0.1" in addresses_of_node(watched, "n1")
    assert watched.addresses() == {"10.0.0.1", "10.0.0.2", "10.0.0.3", "10.0.0.5"}
    changed = watched.bus.named("changed")
    assert [data["removed"] for data in changed] == [[]] * len(changed)
    assert sum("10.0.0.5" in data["added"] for data in changed) == 1


def test_an_address_of_two_nodes_stays_while_one_of_them_does(prod):
    prod.nodes.create("n2", internal=["10.0.0.1", "10.0.0.2"])
    prod.serves("10.0.0.1", "10.0.0.2")
    prod.nodes.delete("n1")
    prod.until(lambda: prod.bus.named("node/left"), "the leave")
    assert prod.addresses() == {"10.0.0.1", "10.0.0.2"}
    assert prod.bus.named("changed")[-1]["removed"] == []


def test_flapping_readiness_and_cordons_change_no_address(prod):
    for turn in range(6):
        prod.nodes.set_ready("n1", turn % 2 == 0)
        prod.nodes.cordon("n1", turn % 2 == 0)
    prod.nodes.create("n2", internal=["10.0.0.2"])
    prod.serves("10.0.0.1", "10.0.0.2")
    changed = prod.bus.named("changed")
    assert all(data["removed"] == [] for data in changed)
    assert prod.resolve("k8s://prod") == ("10.0.0.1", "10.0.0.2")


def test_a_node_is_a_member_while_a_finalizer_keeps_its_object(kube, watch):
    watched = watch(kube, timing=QUICK)
    watched.nodes.create("n1", internal=["10.0.0.1"], finalizers=["example.com/hold"])
    watched.serves("10.0.0.1")
    watched.nodes.delete("n1")
    watched.nodes.create("n2", internal=["10.0.0.2"])
    watched.serves("10.0.0.1", "10.0.0.2")
    watched.nodes.patch("n1", {"metadata": {"finalizers": None}})
    watched.serves("10.0.0.2")


def test_a_relabelled_node_leaves_the_selectors_set_and_no_other(prod):
    prod.nodes.label("n1", {"pool": "web"})
    web = "k8s://prod?labelSelector=pool=web"
    prod.until(lambda: prod.resolve(web) == ("10.0.0.1",), "in")
    prod.nodes.label("n1", {"pool": "db"})
    prod.until(lambda: prod.resolve(web) == (), "out")
    assert prod.resolve("k8s://prod") == ("10.0.0.1",)


def test_a_mass_join_is_held_until_it_is_confirmed(kube, watch):
    watched = watch(kube, timing=QUICK, guards={"growth_nodes": 10, "growth_percent": 100})
    watched.nodes.create("n1", internal=["10.0.0.1"])
    watched.serves("10.0.0.1")
    forged = [f"10.1.0.{i + 1}" for i in range(40)]
    watched.nodes.create_many(
        {f"forged{i}": {"internal": [text], "at_once": True} for i, text in enumerate(forged)}
    )
    watched.holds("growth")
    watched.until(lambda: watched.health().nodes == 41, "all received")
    assert len(watched.addresses()) <= 11
    watched.nodes.delete("n1")
    watched.until(lambda: "10.0.0.1" not in watched.addresses(), "n1 left meanwhile")
    watched.until(lambda: watched.confirm() and watched.addresses() == set(forged), "let in")


def test_a_confirmation_lets_in_what_was_shown_and_none_that_came_since(kube, watch):
    watched = watch(kube, timing=QUICK, guards={"growth_nodes": 10, "growth_percent": 0})
    watched.nodes.create("n1", internal=["10.0.0.1"])
    watched.serves("10.0.0.1")
    watched.stop()
    shown = forge_stopped(watched, 0, 20)
    watched.start()
    watched.until(lambda: len(watched.held()) == 1 and held_names(watched) == 20, "all shown")
    watched.stop()
    assert len(watched.confirm()["released"]) == 1
    more = forge_stopped(watched, 20, 20)
    watched.start()
    watched.serves("10.0.0.1", *shown)
    watched.holds("growth")
    assert held_names(watched) == 20
    assert not watched.addresses() & set(more)


def held_names(watched) -> int:
    return len(watched.store.holds.of("prod")[0].subjects)


def forge_stopped(watched, first: int, count: int) -> list[str]:
    """Create many nodes while the engine does not run."""
    addresses = [f"10.1.{i // 200}.{i % 200 + 1}" for i in range(first, first + count)]
    watched.nodes.create_many(
        {
            f"forged{first + i}": {"internal": [text], "at_once": True}
            for i, text in enumerate(addresses)
        }
    )
    return addresses


def test_what_was_rejected_stays_out_over_restarts_until_it_changes(kube, watch):
    watched = watch(kube, timing=QUICK, guards={"growth_nodes": 4, "growth_percent": 0})
    # Its first view has this node or none: three more and this one are within the limit.
    watched.nodes.create("n1", internal=["10.0.0.1"])
    watched.serves("10.0.0.1")
    watched.stop()
    forged = forge_stopped(watched, 0, 5)
    watched.start()
    watched.until(lambda: len(watched.held()) == 1 and held_names(watched) == 5, "all shown")
    assert len(watched.reject()["rejected"]) == 1
    watched.until(
        lambda: [one.get("rejected") for one in watched.status()["held"]] == [True], "kept out"
    )
    watched.nodes.create("n2", internal=["10.0.0.2"])
    watched.serves("10.0.0.1", "10.0.0.2")
    watched.stop()
    watched.start()
    watched.nodes.create("n3", internal=["10.0.0.3"])
    watched.serves("10.0.0.1", "10.0.0.2", "10.0.0.3")
    watched.nodes.delete("forged0")
    watched.nodes.create("forged0", internal=[forged[0]])
    watched.serves("10.0.0.1", "10.0.0.2", "10.0.0.3", forged[0])
    assert held_names(watched) == 4
    # Taken back: the picture has a token of its own.
    assert len(watched.confirm()["released"]) == 1
    watched.serves("10.0.0.1", "10.0.0.2", "10.0.0.3", *forged)
    watched.holds()
    watched.until(lambda: watched.store.decisions.of("prod").rejected == {}, "forgotten")


def lose(watched, network, *names: str) -> None:
    """Delete nodes while the engine has no contact: it learns of them by a LIST."""
    network.refuse()
    for name in names:
        watched.nodes.delete(name)
    watched.request_list()
    network.listen()


def test_a_mass_loss_is_held_until_another_list_agrees(kube, watch, network, caplog):
    watched = watch(kube, server=network.url, timing=QUICK, guards={"shrink_confirm_after": 2})
    addresses = [f"10.0.0.{i + 1}" for i in range(10)]
    for i, text in enumerate(addresses):
        watched.nodes.create(f"n{i}", internal=[text])
    watched.serves(*addresses)
    lists = watched.health().lists
    lose(watched, network, *(f"n{i}" for i in range(1, 10)))
    watched.holds("shrink")
    assert watched.addresses() == set(addresses)
    (token,) = (change.token for change in watched.store.holds.of("prod"))
    assert (
        f"if it is right, run salt-run k8s_nodes.confirm prod {token} [change-held]" in caplog.text
    )
    (held,) = watched.bus.named("held")
    assert (held["what"], held["token"]) == ("shrink", token)
    assert held["effect"].startswith("9 nodes leave, 0 join, 0 minions, 9 addresses close")
    watched.serves("10.0.0.1")
    watched.holds()
    watched.until(lambda: watched.health().lists >= lists + 2, "proven by a second list")
    lose(watched, network, "n0")
    watched.holds("shrink")
    assert watched.addresses() == {"10.0.0.1"}
    watched.serves()
    watched.holds()


def test_a_mass_loss_node_by_node_is_held_too(kube, watch):
    watched = watch(kube, timing=QUICK, guards={"shrink_confirm_after": 3600})
    for i in range(10):
        watched.nodes.create(f"n{i}", internal=[f"10.0.0.{i}"])
    watched.until(lambda: len(watched.addresses()) == 10, "all")
    for i in range(1, 10):
        watched.nodes.delete(f"n{i}")
    watched.holds("shrink")
    watched.until(lambda: watched.health().nodes == 1, "all received")
    assert len(watched.addresses()) == 7
    watched.confirm()
    watched.serves("10.0.0.0")


def test_fewer_nodes_than_the_minimum_wait_for_more_or_for_a_confirmation(kube, watch):
    watched = watch(kube, timing=QUICK, guards={"min_nodes": 2})
    watched.holds("min_nodes")
    watched.nodes.create("n1", internal=["10.0.0.1"])
    watched.until(lambda: watched.health().nodes == 1, "received")
    assert watched.store.snapshots.load("prod") is None
    watched.nodes.create("n2", internal=["10.0.0.2"])
    watched.serves("10.0.0.1", "10.0.0.2")
    watched.holds()
    watched.nodes.delete("n2")
    watched.holds("min_nodes")
    assert watched.addresses() == {"10.0.0.1", "10.0.0.2"}
    assert [one["what"] for one in watched.confirm()["released"]] == ["min_nodes"]
    watched.serves("10.0.0.1")
    watched.holds()


def test_an_empty_cluster_is_held_until_it_is_confirmed(kube, watch, network):
    watched = watch(kube, server=network.url, timing=QUICK, guards={"shrink_confirm_after": 3600})
    watched.nodes.create("n1", internal=["10.0.0.1"])
    watched.serves("10.0.0.1")
    lose(watched, network, "n1")
    watched.holds("shrink")
    assert watched.addresses() == {"10.0.0.1"}
    watched.confirm()
    watched.serves()


def test_the_first_change_goes_out_at_once_and_a_burst_together(kube, watch):
    watched = watch(kube, timing={"debounce": 60, "max_delay": 1.0, "inactivity": 1})
    watched.nodes.create("n0", internal=["10.0.0.100"], at_once=True)
    # Quiet is a minute: only the first change after it can be there before.
    watched.until(lambda: watched.addresses() == {"10.0.0.100"}, "the first")
    before = watched.revision()
    for i in range(20):
        watched.nodes.create(f"n{i + 1}", internal=[f"10.0.0.{i + 1}"], at_once=True)
    watched.until(lambda: len(watched.addresses()) == 21, "all of the burst")
    assert watched.revision() - before <= 4
