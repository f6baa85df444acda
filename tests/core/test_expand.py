"""References become addresses anywhere in a pillar, and every other byte is left alone."""

from __future__ import annotations

import copy
import json
from collections import OrderedDict, defaultdict
from collections.abc import Callable
from dataclasses import FrozenInstanceError
from typing import Any

import pytest
import yaml
from hypothesis import given
from hypothesis import strategies as st

from salt_ext.core.references.expand import Expansion
from salt_ext.core.references.expand import expand as expand_with
from salt_ext.core.references.resolution import Resolution, SnapshotStamp, Unresolved
from salt_ext.core.references.scan import scan

ONE, TWO = "192.0.2.1", "192.0.2.2"

CLUSTERS: dict[str, tuple[str, ...]] = {
    "k8s://prod": (ONE, TWO),
    "k8s://test": (TWO, "192.0.2.3"),
    "k8s://lone": ("192.0.2.9",),
    "k8s://none": (),
}


def resolve(text: str) -> Resolution | Unresolved:
    if text in CLUSTERS:
        return Resolution(CLUSTERS[text], SnapshotStamp(1, 1.0))
    return Unresolved("is not configured")


def expand(pillar: dict[Any, Any]) -> Expansion:
    """Expand what a scan found; a whole pillar comes to the same."""
    scanned = scan(pillar)
    resolutions = {text: resolve(text) for text in scanned.texts}
    return expand_with(scanned.entries, resolutions)


def expanded(pillar: dict[Any, Any]) -> dict[Any, Any]:
    """Return the pillar as ext_pillar leaves it, after a look that nothing was altered."""
    before = copy.deepcopy(pillar)
    done = expand(pillar)
    assert pillar == before
    assert all(done.changed[key] is not pillar[key] for key in done.changed)
    return {**pillar, **done.changed}


def test_an_expansion_cannot_be_altered():
    with pytest.raises(FrozenInstanceError):
        expand({"allow": ["k8s://prod"]}).changed = {}


class TestLists:
    def test_a_reference_is_replaced_where_it_stands(self):
        assert expanded({"allow": ["198.51.100.1", "k8s://prod", "203.0.113.1"]}) == {
            "allow": ["198.51.100.1", ONE, TWO, "203.0.113.1"]
        }

    def test_a_static_address_is_not_doubled(self):
        for allow in ([TWO, "k8s://prod"], ["k8s://prod", TWO]):
            found = expanded({"allow": allow})["allow"]
            assert sorted(found) == [ONE, TWO]

    def test_doubles_that_a_person_wrote_stay(self):
        assert expanded({"allow": ["a", "a", 1, 1, "k8s://lone"]})["allow"] == [
            "a",
            "a",
            1,
            1,
            "192.0.2.9",
        ]

    def test_two_references_share_an_address_once(self):
        assert expanded({"allow": ["k8s://prod", "k8s://test"]})["allow"] == [
            ONE,
            TWO,
            "192.0.2.3",
        ]

    def test_the_same_reference_twice_counts_once(self):
        assert expanded({"allow": ["k8s://prod", "k8s://prod"]})["allow"] == [ONE, TWO]

    def test_no_node_gives_no_item(self):
        assert expanded({"allow": ["k8s://none"]}) == {"allow": []}
        assert expanded({"allow": ["198.51.100.1", "k8s://none"]})["allow"] == ["198.51.100.1"]

    def test_a_list_in_a_list_stays_one(self):
        assert expanded({"allow": [["k8s://prod"], "k8s://lone"]})["allow"] == [
            [ONE, TWO],
            "192.0.2.9",
        ]

    def test_a_tuple_stays_a_tuple(self):
        assert expanded({"allow": ("k8s://prod", "x")})["allow"] == (ONE, TWO, "x")

    def test_any_depth(self):
        pillar = {"firewall": {"services": {22: {"ips_allow": ["k8s://prod"], "proto": "tcp"}}}}
        assert expanded(pillar)["firewall"]["services"][22] == {
            "ips_allow": [ONE, TWO],
            "proto": "tcp",
        }


class TestMappings:
    def test_a_mapping_in_a_list_is_repeated(self):
        rules = [{"name": "first"}, {"name": "db", "source": "k8s://prod", "dport": 5432}]
        assert expanded({"rules": rules})["rules"] == [
            {"name": "first"},
            {"name": "db", "source": ONE, "dport": 5432},
            {"name": "db", "source": TWO, "dport": 5432},
        ]

    def test_a_mapping_in_a_list_goes_when_there_is_no_node(self):
        assert expanded({"rules": [{"source": "k8s://none"}, {"source": "x"}]})["rules"] == [
            {"source": "x"}
        ]

    def test_an_entry_of_a_mapping_of_rules_is_repeated_by_id(self):
        pillar = {"rules": {"ssh": {"dport": 22}, "db": {"source": "k8s://prod", "dport": 5432}}}
        assert expanded(pillar)["rules"] == {
            "ssh": {"dport": 22},
            f"db-{ONE}": {"source": ONE, "dport": 5432},
            f"db-{TWO}": {"source": TWO, "dport": 5432},
        }

    def test_the_order_of_rules_is_kept(self):
        pillar = {"rules": {"a": {}, "db": {"source": "k8s://prod"}, "z": {}}}
        assert list(expanded(pillar)["rules"]) == ["a", f"db-{ONE}", f"db-{TWO}", "z"]

    def test_an_entry_that_a_person_wrote_is_not_overwritten(self):
        for order in (1, -1):
            rules = {"db": {"source": "k8s://prod"}, f"db-{ONE}": {"jump": "DROP"}}
            found = expanded({"rules": dict(list(rules.items())[::order])})["rules"]
            assert found[f"db-{ONE}"] == {"jump": "DROP"}
            assert found[f"db-{TWO}"] == {"source": TWO}

    def test_a_placeholder_is_filled_beside_the_reference(self):
        rule = {"name": "db from {address}", "source": "k8s://lone", "note": "{other}", "n": 1}
        assert expanded({"rules": [rule]})["rules"] == [
            {"name": "db from 192.0.2.9", "source": "192.0.2.9", "note": "{other}", "n": 1}
        ]

    def test_a_placeholder_without_a_reference_stays(self):
        assert expanded({"rules": [{"name": "{address}"}, "k8s://lone"]})["rules"] == [
            {"name": "{address}"},
            "192.0.2.9",
        ]

    def test_one_reference_twice_in_a_mapping_is_one_address(self):
        again = "".join(list("k8s://prod"))  # an equal text, another object
        rule = {"source": "k8s://prod", "log": again}
        assert expanded({"rules": [rule]})["rules"] == [
            {"source": ONE, "log": ONE},
            {"source": TWO, "log": TWO},
        ]

    def test_two_references_in_a_mapping_stay_and_are_named(self):
        pillar = {"rules": [{"source": "k8s://prod", "destination": "k8s://test"}]}
        done = expand(pillar)
        assert done.changed == {}
        assert set(done.unresolved) == {"k8s://prod", "k8s://test"}
        assert "another reference" in done.unresolved["k8s://prod"]

    def test_a_part_of_a_rule_belongs_to_the_rule(self):
        # As in a rich rule of firewalld: without its `source` it would match everybody.
        rule = {"family": "ipv4", "source": {"address": "k8s://prod"}, "accept": True}
        wanted = [
            {"family": "ipv4", "source": {"address": address}, "accept": True}
            for address in (ONE, TWO)
        ]
        assert expanded({"rich_rules": [rule]})["rich_rules"] == wanted
        found = expanded({"rich_rules": {"a": rule, "b": {"service": "ssh"}}})["rich_rules"]
        assert found == {f"a-{ONE}": wanted[0], f"a-{TWO}": wanted[1], "b": {"service": "ssh"}}

    def test_a_part_of_a_rule_without_a_node_takes_the_rule_away(self):
        rule = {"source": {"address": "k8s://none"}, "port": {"portid": 22}, "accept": {}}
        assert expanded({"rich_rules": [rule]}) == {"rich_rules": []}

    def test_a_part_is_filled_like_its_rule_and_keeps_what_else_it_has(self):
        rule = {
            "to": {"ip": "k8s://lone", "note": "{address}", "invert": True},
            "name": "{address}",
        }
        assert expanded({"rules": [rule]})["rules"] == [
            {"to": {"ip": "192.0.2.9", "note": "192.0.2.9", "invert": True}, "name": "192.0.2.9"}
        ]

    @pytest.mark.parametrize("part", ["source", "destination", "src", "dst", "from", "to"])
    def test_a_part_is_never_taken_for_the_id_of_a_rule(self, part):
        for rule in (
            {part: {"address": "k8s://prod"}},
            {part: {"address": "k8s://prod"}, "port": {"portid": 22}, "accept": {}},
            {part: {part: {"address": "k8s://prod"}}},
        ):
            done = expand({"zone": {"rule": rule, "target": "DROP"}})
            assert done.changed == {}
            assert list(done.unresolved) == ["k8s://prod"]

    def test_an_entry_beside_other_values_is_no_rule_among_rules(self):
        for beside in ("ipv4", True, 1, ["x"]):
            done = expand({"rule": {"match": {"address": "k8s://prod"}, "x": beside}})
            assert done.changed == {}
            assert "siblings are not rules" in done.unresolved["k8s://prod"]

    def test_an_empty_rule_is_a_rule(self):
        pillar = {"rules": {"a": None, "b": {}, "db": {"source": "k8s://lone"}}}
        assert list(expanded(pillar)["rules"]) == ["a", "b", "db-192.0.2.9"]

    def test_a_rule_that_is_a_part_of_itself_ends(self):
        rule: dict[str, Any] = {"source": {"address": "k8s://lone"}}
        rule["to"] = rule
        done = expand({"rules": [rule]})
        assert done.changed["rules"][0]["source"] == {"address": "192.0.2.9"}

    def test_a_list_in_a_repeated_mapping_is_expanded_too(self):
        rule = {"source": "k8s://lone", "also": ["k8s://prod"]}
        assert expanded({"rules": [rule]})["rules"] == [{"source": "192.0.2.9", "also": [ONE, TWO]}]

    def test_a_key_becomes_addresses(self):
        pillar = {"ips_allow": {"k8s://prod": {"log": True}, TWO: None}}
        assert expanded(pillar)["ips_allow"] == {ONE: {"log": True}, TWO: None}
        pillar = {"ips_allow": {TWO: None, "k8s://prod": {"log": True}}}
        assert expanded(pillar)["ips_allow"] == {TWO: None, ONE: {"log": True}}

    def test_a_key_without_a_node_goes(self):
        assert expanded({"ips_allow": {"k8s://none": None, TWO: None}})["ips_allow"] == {TWO: None}
        assert expanded({"names": {"k8s://none": None, "web": None}})["names"] == {"web": None}

    @pytest.mark.parametrize("key", ["k8s://lone", "k8s://unknown"])
    def test_below_a_key_that_is_a_reference_no_other_can_be_repeated(self, key):
        done = expand({"rules": {key: {"source": "k8s://prod"}}})
        left = {"192.0.2.9" if key == "k8s://lone" else key: {"source": "k8s://prod"}}
        assert {"rules": left, **done.changed} == {"rules": left}
        assert "put it into a list" in done.unresolved["k8s://prod"]

    def test_an_entry_whose_id_is_no_text_is_not_repeated(self):
        done = expand({"services": {22: {"source": "k8s://prod"}}})
        assert done.changed == {}
        assert "put it into a list" in done.unresolved["k8s://prod"]

    def test_a_mapping_keeps_its_kind(self):
        pillar = {
            "ordered": OrderedDict(allow=["k8s://prod"], z=1),
            "filled": defaultdict(list, allow=["k8s://prod"]),
        }
        found = expanded(pillar)
        assert type(found["ordered"]) is OrderedDict
        assert list(found["ordered"]) == ["allow", "z"]
        assert found["filled"]["nothing"] == []

    def test_a_kind_of_mapping_with_attributes_keeps_them(self):
        class Mine(dict[str, Any]):
            note = "none"

        mine = Mine(allow=["k8s://prod"])
        mine.note = "kept"
        found = expanded({"mine": mine})["mine"]
        assert type(found) is Mine
        assert found.note == "kept"
        assert found == {"allow": [ONE, TWO]}

    def test_a_kind_of_mapping_that_cannot_be_written_becomes_a_plain_one(self):
        class Sealed(dict[str, Any]):
            def clear(self) -> None:
                raise TypeError("sealed")

        found = expanded({"sealed": Sealed(allow=["k8s://prod"])})["sealed"]
        assert type(found) is dict
        assert found == {"allow": [ONE, TWO]}


class TestWhatStays:
    @pytest.mark.parametrize(
        "pillar",
        [
            {"allow": ["k8s://unknown", "198.51.100.1"]},
            {"rules": [{"source": "k8s://unknown", "name": "{address}"}]},
            {"rules": {"db": {"source": "k8s://unknown"}}},
            {"ips_allow": {"k8s://unknown": {}}},
        ],
    )
    def test_an_unresolved_reference_stays_byte_for_byte(self, pillar):
        before = json.dumps(pillar)
        done = expand(pillar)
        assert done.changed == {}
        assert done.served == {}
        assert done.unresolved == {"k8s://unknown": "is not configured"}
        assert json.dumps(pillar) == before

    def test_beside_one_that_is_resolved(self):
        assert expanded({"allow": ["k8s://unknown", "k8s://lone"]})["allow"] == [
            "k8s://unknown",
            "192.0.2.9",
        ]

    @pytest.mark.parametrize(
        "pillar",
        [
            {"source": "k8s://prod"},
            {"firewall": {"source": "k8s://prod"}},
            {"k8s://prod": ["x"]},
        ],
    )
    def test_where_nothing_can_be_repeated_the_reason_is_said(self, pillar):
        done = expand(pillar)
        assert done.changed == {}
        assert done.unresolved["k8s://prod"]

    @pytest.mark.parametrize("order", [1, -1])
    def test_a_reference_in_a_wrong_place_spoils_none_in_a_right_one(self, order):
        pillar = {"note": "k8s://prod", "allow": ["k8s://prod"], "rules": [{"s": "k8s://prod"}]}
        done = expand(dict(list(pillar.items())[::order]))
        assert done.changed == {"allow": [ONE, TWO], "rules": [{"s": ONE}, {"s": TWO}]}
        assert "put it into a list" in done.unresolved["k8s://prod"]
        assert done.served == {"k8s://prod": (ONE, TWO)}

    def test_a_pillar_without_references_is_not_touched(self):
        pillar = {"a": [1, {"b": ("x", None, 1.5, b"k8s://prod")}], "c": "see k8s://prod", "d": {}}
        assert expand(pillar) == Expansion()

    def test_keys_beside_a_change_keep_their_objects(self):
        pillar = {
            "firewall": {"allow": ["k8s://prod"], "other": {"deep": [*range(300)]}},
            "rest": [1],
        }
        done = expand(pillar)
        assert list(done.changed) == ["firewall"]
        assert done.changed["firewall"]["other"] is pillar["firewall"]["other"]


class TestShapes:
    def test_what_is_shared_stays_shared(self):
        pillar = yaml.safe_load("a: &x [k8s://prod]\nb: *x\nc: {d: *x}\n")
        found = expanded(pillar)
        assert found == {"a": [ONE, TWO], "b": [ONE, TWO], "c": {"d": [ONE, TWO]}}
        assert found["a"] is found["b"]

    def test_a_billion_laughs_are_looked_at_once(self):
        laughs: list[Any] = ["k8s://prod"]
        for _ in range(60):
            laughs = [laughs, laughs]
        assert expand({"a": laughs}).served == {"k8s://prod": (ONE, TWO)}

    def test_a_cycle_ends(self):
        knot: list[Any] = ["k8s://prod"]
        knot.append(knot)
        ring: dict[str, Any] = {"allow": ["k8s://prod"]}
        ring["ring"] = ring
        done = expand({"knot": knot, "ring": ring})
        assert done.changed["knot"][:2] == [ONE, TWO]
        assert done.changed["ring"]["allow"] == [ONE, TWO]
        assert knot[0] == "k8s://prod"
        # What is inside itself holds itself as it was, and that is said.
        assert list(done.unresolved) == ["k8s://prod"]

    def test_deeper_than_any_pillar_stays(self):
        def nested(depth: int, wrap: Callable[[Any], Any]) -> Any:
            value: Any = ["k8s://prod"]
            for _ in range(depth):
                value = wrap(value)
            return value

        for wrap in (lambda inner: {"x": inner}, lambda inner: [inner]):
            done = expand({"fine": nested(99, wrap)})
            assert "fine" in done.changed
            for depth in (100, 100_000):
                done = expand({"deep": nested(depth, wrap)})
                assert done.changed == {}
                assert "deeper" in done.unresolved["k8s://prod"]

    def test_a_scan_finds_each_reference_once_wherever_it_stands(self):
        rules = [{"source": "k8s://prod"}, {"source": "k8s://unknown"}]
        pillar = {
            "a": ["k8s://prod", "k8s://unknown"],
            "b": rules,
            "c": rules,
            "k8s://key": 1,
            "d": {("k8s://tuple", 1): None},
            "e": "k8s://value",
            "text": "see k8s://prod",
            "f": [1, {"x": None}],
        }
        scanned = scan(pillar)
        assert sorted(scanned.texts) == [
            *("k8s://key", "k8s://prod", "k8s://tuple", "k8s://unknown", "k8s://value")
        ]
        assert "f" not in scanned.entries
        assert all(scanned.entries[key] is pillar[key] for key in scanned.entries)

    def test_a_whole_pillar_expands_to_the_same_as_what_a_scan_found_in_it(self):
        pillar = {"a": ["k8s://prod"], "b": [1, {"c": None}], "d": {"e": {"s": "k8s://lone"}}}
        resolutions = {text: resolve(text) for text in scan(pillar).texts}
        assert expand_with(pillar, resolutions) == expand(pillar)

    def test_a_reference_that_was_not_looked_up_stays(self):
        assert expand_with({"a": ["k8s://prod"]}, {}) == Expansion(
            unresolved={"k8s://prod": "was not looked up"}
        )

    def test_a_large_pillar(self):
        pillar = {f"key{n}": {"allow": [n, "x"]} for n in range(100_000)}
        pillar["last"] = {"allow": ["k8s://prod"] * 10_000}
        done = expand(pillar)
        assert done.changed == {"last": {"allow": [ONE, TWO]}}

    def test_a_hostile_pillar_of_empty_containers(self):
        assert expand({"a": [], "b": {}, "c": (), "d": [{}, []], "e": None}) == Expansion()


SCALARS = st.one_of(
    st.none(),
    st.integers(0, 3),
    st.sampled_from(["x", ONE, "{address}", "k8s://prod", "k8s://none", "k8s://unknown", "k8s://"]),
)
PILLARS = st.dictionaries(
    st.sampled_from(["a", "b", "c"]),
    st.recursive(
        SCALARS,
        lambda inner: st.one_of(
            st.lists(inner, max_size=4),
            st.lists(inner, max_size=3).map(tuple),
            st.dictionaries(
                st.sampled_from(["a", "b", "source", "k8s://lone", "k8s://unknown", 22]),
                inner,
                max_size=3,
            ),
        ),
        max_leaves=20,
    ),
)


def references(value: Any) -> set[str]:
    """Return the references that stand anywhere."""
    if isinstance(value, str):
        return {value} if value.startswith("k8s://") else set()
    if isinstance(value, dict):
        return references(list(value)) | references(list(value.values()))
    if isinstance(value, (list, tuple)):
        return set().union(*map(references, value))
    return set()


@given(PILLARS)
def test_whatever_the_pillar(pillar):
    found = expanded(pillar)
    done = expand(pillar)
    # What is left is named with a reason, and nothing was made up.
    assert references(found) <= done.unresolved.keys()
    assert done.served.keys() | done.unresolved.keys() <= references(pillar)
    assert all(done.served[text] == CLUSTERS[text] for text in done.served)
    if not done.unresolved:
        assert not references(found)
    if not references(pillar):
        assert done == Expansion()
