"""The examples in docs/formulas.md: each formula's templates read the expanded references."""

from __future__ import annotations

import ipaddress
import re
from collections.abc import Callable, Iterator
from pathlib import Path
from typing import Any

import jinja2
import pytest
import yaml

from salt_ext.core.cluster.snapshot import Snapshot
from salt_ext.core.references.expand import Expansion, expand
from salt_ext.core.references.reference import parse
from salt_ext.core.references.resolution import Resolution, SnapshotStamp, Unresolved
from salt_ext.core.references.resolve import Defaults, resolve
from salt_ext.core.references.scan import scan
from tests.core.build import limits, member, snapshot

PAGE = Path(__file__).parents[2] / "docs/formulas.md"
STATIC, V4, V6 = "192.0.2.200", ("192.0.2.10", "192.0.2.11"), ("2001:db8::10",)
ANY = "any"
NODES = snapshot(member("n1", V4[0], V6[0]), member("n2", V4[1]))
NO_NODES = snapshot()

Allowed = Iterator[tuple[str, object, str]]
"""A family, a port (or its equivalent) and a source of each rule that the templates make."""


def blocks(kind: str) -> list[tuple[str, str]]:
    """Return each block of the page with its heading."""
    found = []
    for section in re.split(r"^## ", PAGE.read_text(), flags=re.MULTILINE)[1:]:
        texts = re.findall(rf"^```{kind}\n(.*?)^```", section, re.MULTILINE | re.DOTALL)
        found += [(section.splitlines()[0], text) for text in texts]
    return found


def with_addresses(pillar: dict[str, Any], addresses: tuple[str, ...]) -> Expansion:
    """Return what a pillar becomes when each reference means these addresses."""
    stamp = SnapshotStamp(1, 1.0)
    return expand(pillar, {text: Resolution(addresses, stamp) for text in scan(pillar).texts})


def expanded(pillar: dict[str, Any], nodes: Snapshot) -> dict[str, Any]:
    """Return a pillar as a minion receives it."""
    stamp = SnapshotStamp(1, 1.0)
    done = expand(
        pillar,
        {
            text: Resolution(resolve(nodes, parse(text), Defaults(), limits()), stamp)
            for text in scan(pillar).texts
        },
    )
    assert done.unresolved == {}
    return {**pillar, **done.changed}


def services(pillar: dict[str, Any], what: str, default: list[str]) -> Allowed:
    """iptables-formula: a mapping by service for each family, and a loop over `ips_allow`."""
    firewall = pillar["firewall"]
    for family in ("", "_ipv6") if firewall.get("ipv6") else ("",):
        ids = set()
        for name, details in firewall.get(what + family, {}).items():
            for source in details.get("ips_allow", default):
                assert (name, source) not in ids
                ids.add((name, source))
                yield family or "_ipv4", name, source


def iptables_services(pillar: dict[str, Any]) -> Allowed:
    return services(pillar, "services", [ANY])


def iptables_whitelist(pillar: dict[str, Any]) -> Allowed:
    return services(pillar, "whitelist", [])


def iptables_tables(pillar: dict[str, Any]) -> Allowed:
    """The ids become those of states; all keys of a rule become arguments of one."""
    for chain in pillar["firewall"]["filter"].values():
        for rule in chain.get("rules", {}).values():
            assert all(isinstance(value, (str, int)) for value in rule.values())
            if "ctstate" not in rule:
                yield "_ipv4", rule["dport"], rule.get("source", ANY)


def ufw(pillar: dict[str, Any]) -> Allowed:
    """The id is the port where no other is given; no list, or an empty one, is everyone."""
    for name, details in pillar["ufw"].get("services", {}).items():
        sources = details.get("from_addr") or [ANY]
        for source in [sources] if isinstance(sources, str) else sources:
            assert not source[0].isalpha() or source == ANY
            yield "any", details.get("to_port", name), source
    for source in pillar["ufw"].get("open", {}):
        yield "any", "any", source


def firewalld(pillar: dict[str, Any]) -> Allowed:
    """A file for each ipset and each zone."""
    ipsets = pillar["firewalld"].get("ipsets", {})
    for name, ipset in ipsets.items():
        inet6 = "inet6" in ipset.get("options", {}).get("family", [])
        for entry in ipset["entries"]:
            assert ipaddress.ip_address(entry).version == (6 if inet6 else 4), name
    for zone in pillar["firewalld"]["zones"].values():
        opened = [port["port"] for port in zone.get("ports", [])] + zone.get("services", [])
        for name in zone.get("ipsets", []):
            yield from (("any", port, one) for port in opened for one in ipsets[name]["entries"])
        for source in zone.get("sources", []):
            plain = source["source"] if "comment" in source else source
            yield from (("any", port, plain) for port in opened)
        for rule in zone.get("rich_rules", []):
            assert not [key for key in rule if key.startswith("source-")]
            source = rule["source"]["address"] if "source" in rule else ANY
            yield "any", rule["port"]["portid"], source


def lkubb(pillar: dict[str, Any]) -> Allowed:
    """Elements as they are, one a line; an empty set has no `elements` at all."""
    for table in pillar["nftables"]["config"]["tables"].values():
        yield from _of_one_family((one["type"], one["elements"]) for one in table["sets"].values())


def jerrykan(pillar: dict[str, Any]) -> Allowed:
    """Values with commas between them, which nft does not take when there is none."""
    defines = pillar["nftables"]["defines"]
    assert all(defines.values())
    yield from _of_one_family((f"ipv{name[-1]}", values) for name, values in defines.items())


def whyrl35(pillar: dict[str, Any]) -> Allowed:
    """The same, by the set that they belong to."""
    for part in pillar["nftables"]["configuration"].values():
        types = {one["name"]: one["type"] for one in part["sets"]}
        assert all(one["elements"] for one in part["set_elements"])
        yield from _of_one_family(
            (types[one["set"]], one["elements"]) for one in part["set_elements"]
        )


def _of_one_family(sets: Iterator[tuple[str, list[str]]]) -> Allowed:
    for kind, elements in sets:
        for element in elements:
            assert ipaddress.ip_address(element).version == int(kind[3])
            yield f"_{kind[:4]}", "set", element


def salt_formula_iptables(pillar: dict[str, Any]) -> Allowed:
    """A line for each id in the order of ids, from `rule`, `action` and `params` alone."""
    for chain in pillar["iptables"]["tables"]["v4"]["filter"]["chains"].values():
        lines = [rule.get("rule", "") for _, rule in sorted(chain["ruleset"].items())]
        assert "ESTABLISHED" in lines[0]
        for line in lines[1:]:
            source, port = re.fullmatch(r"-s (\S+) -p tcp --dport (\d+)", line).groups()
            yield "_ipv4", int(port), source


def own_states(pillar: dict[str, Any]) -> Allowed:
    ((_, text),) = blocks("jinja")
    states = yaml.safe_load(jinja2.Template(text).render(pillar=pillar)) or {}
    for state in states.values():
        arguments = {key: value for one in state["iptables.append"] for key, value in one.items()}
        yield "_ipv4", arguments["dport"], arguments["source"]


def no_firewall(pillar: dict[str, Any]) -> Allowed:
    assert pillar["nginx_allow"][-1] == {"deny": "all"}
    for line in pillar["nginx_allow"][:-1]:
        yield "any", "nginx", line["allow"]
    for row in pillar["pg_hba"]:
        assert list(row) == ["type", "database", "user", "address", "method"]
        yield "any", "postgres", row["address"]


BY_HEADING: dict[str, list[tuple[Callable[[dict[str, Any]], Allowed], set[Any], set[Any]]]] = {
    # What reads it, what it opens with nodes, and what it opens with none.
    "iptables-formula": [
        (
            iptables_services,
            {("_ipv4", "postgresql", one) for one in (STATIC, *V4)}
            | {("_ipv6", "postgresql", one) for one in V6},
            {("_ipv4", "postgresql", STATIC)},
        ),
        (
            iptables_whitelist,
            {("_ipv4", "nodes", one) for one in V4} | {("_ipv6", "nodes", one) for one in V6},
            set(),
        ),
        (iptables_tables, {("_ipv4", 5432, one) for one in V4}, set()),
    ],
    "ufw-formula": [
        (
            ufw,
            {("any", "5432", one) for one in (STATIC, *V4, *V6)},
            {("any", "5432", STATIC), ("any", "5432", "255.255.255.255")},
        ),
        (ufw, {("any", "any", one) for one in V4}, set()),
    ],
    "firewalld-formula": [
        (firewalld, {("any", 5432, one) for one in (*V4, *V6)}, set()),
        (
            firewalld,
            {("any", "postgresql", one) for one in (STATIC, *V4, *V6)},
            {("any", "postgresql", STATIC)},
        ),
        (firewalld, {("any", 5432, one) for one in V4}, set()),
    ],
    "nftables formulas": [
        (
            lkubb,
            {("_ipv4", "set", one) for one in V4} | {("_ipv6", "set", one) for one in V6},
            set(),
        ),
        (
            jerrykan,
            {("_ipv4", "set", one) for one in V4} | {("_ipv6", "set", one) for one in V6},
            {("_ipv4", "set", "255.255.255.255"), ("_ipv6", "set", "ff00::")},
        ),
        (
            whyrl35,
            {("_ipv4", "set", one) for one in V4},
            {("_ipv4", "set", "255.255.255.255")},
        ),
    ],
    "salt-formula-iptables": [(salt_formula_iptables, {("_ipv4", 5432, one) for one in V4}, set())],
    "Salt's own states": [
        (own_states, {("_ipv4", 5432, one) for one in (STATIC, *V4)}, {("_ipv4", 5432, STATIC)})
    ],
    "What is no firewall": [
        (
            no_firewall,
            {
                ("any", what, f"{one}/{bits}")
                for what in ("nginx", "postgres")
                for ones, bits in ((V4, 32), (V6, 128))
                for one in ones
            },
            set(),
        )
    ],
}
CHECKS = [check for checks in BY_HEADING.values() for check in checks]
EXAMPLES = [
    (yaml.safe_load(text), *check) for (_, text), check in zip(blocks("yaml"), CHECKS, strict=True)
]


def test_each_example_is_under_its_heading():
    assert [heading for heading, _ in blocks("yaml")] == [
        heading for heading, checks in BY_HEADING.items() for _ in checks
    ]


@pytest.mark.parametrize(("pillar", "reads", "wanted"), [one[:3] for one in EXAMPLES])
def test_each_example_opens_for_the_nodes_only(pillar, reads, wanted):
    found = list(reads(expanded(pillar, NODES)))
    assert len(found) == len(set(found))
    assert set(found) == wanted


@pytest.mark.parametrize(
    ("pillar", "reads", "wanted"), [(one[0], one[1], one[3]) for one in EXAMPLES]
)
def test_each_example_opens_for_no_address_without_nodes(pillar, reads, wanted):
    found = set(reads(expanded(pillar, NO_NODES)))
    assert found == wanted
    assert not [one for one in found if one[2] == ANY]


@pytest.mark.parametrize("pillar", [one[0] for one in EXAMPLES])
def test_each_example_stays_as_it_is_while_the_cluster_is_unknown(pillar):
    texts = scan(pillar).texts
    done = expand(pillar, dict.fromkeys(texts, Unresolved("is not configured")))
    assert done.changed == {}
    assert done.unresolved


def test_the_warnings_of_the_page_are_true():
    """The traps: what a hasty user writes opens nothing either."""
    # A scalar repeats the service, and no port is called that.
    pillar = expanded(
        {"ufw": {"services": {"5432": {"from_addr": "k8s://prod?family=ipv4"}}}}, NODES
    )
    assert {port for _, port, _ in ufw(pillar)} == {f"5432-{one}" for one in V4}
    # An id that is a number is not repeated at all.
    done = with_addresses({"ruleset": {20: {"source": "k8s://prod"}}}, V4)
    assert done.changed == {}
    # A row that is a list gets longer.
    row = expanded({"acls": [["host", "all", "k8s://prod?family=ipv4", "md5"]]}, NODES)["acls"]
    assert row == [["host", "all", *V4, "md5"]]
    # The text of a rule is left alone.
    assert with_addresses({"rules": ["ip saddr k8s://prod accept"]}, V4) == Expansion()


def test_each_test_that_the_page_names_exists():
    named = re.findall(r"`(test_\w+)`", PAGE.read_text())
    code = "".join(path.read_text() for path in PAGE.parents[1].glob("tests/firewall/*.py"))
    assert len(named) > 8
    assert [name for name in named if f"def {name}(" not in code] == []
