"""The states and the formula, as a state run calls them."""

from __future__ import annotations

import configparser
import contextlib
import os
import shlex
import shutil
from collections.abc import Iterator
from pathlib import Path
from typing import Any

import pytest

from tests.firewall import place
from tests.firewall.place import MEMBER, OTHER, PORT, Minion, Place

pytestmark = pytest.mark.root

MEMBERS = [str(MEMBER.v4), str(MEMBER.v6)]
OTHERS = [str(OTHER.v4), str(OTHER.v6)]
UNITS = ["k8s_firewall", "k8s_firewall-ipset", "k8s_firewall-ipset-last"]
SELINUX = "security.selinux"


def state(minion: Minion, function: str, *, test: bool = False) -> dict[str, Any]:
    with minion.host.namespace.entered():
        done = minion.functions["state.single"](f"k8s_firewall.{function}", "x", test=test)
    ((_, one),) = done.items()
    return dict(one)


@contextlib.contextmanager
def with_grains(minion: Minion, **grains: Any) -> Iterator[Any]:
    """Load the modules of a minion that has told this of itself."""
    before = minion.opts["grains"]
    minion.opts["grains"] = {**before, **grains}
    try:
        with minion.host.namespace.entered():
            yield minion.load()
    finally:
        minion.opts["grains"] = before
        # Salt keeps one module of a name, which has the options of the last state run now.
        minion.functions = minion.load()


def label(kind: str) -> bytes:
    return f"system_u:object_r:{kind}:s0\0".encode()


def commands(unit: str) -> list[str]:
    return [line for line in unit.splitlines() if line.startswith("Exec")]


def rendered(minion: Minion, unit: str, *, selinux: bool = False) -> str:
    """Return a unit as it is on the disk of a minion."""
    text = (place.FORMULA / "k8s_firewall" / f"{unit}.service").read_text()
    given = {
        "folder": str(minion.state_dir),
        "nft": "/usr/sbin/nft",
        "ipset": "/usr/sbin/ipset",
        "selinux": selinux,
    }
    return str(
        minion.functions["file.apply_template_on_contents"](text, "jinja", given, {}, "base")
    )


def test_the_state_brings_the_pillar_of_its_run_into_force(minion: Minion, here: Place) -> None:
    minion.wants(sets={"prod": MEMBERS}, gates={PORT: "prod"})
    told = state(minion, "applied", test=True)
    assert (told["result"], told["changes"]["table"]) == (None, "replaced")
    assert here.stranger.gets_in(here.server.v4)
    done = state(minion, "applied")
    assert done["result"] is True
    assert done["changes"]["sets"]["prod"] == {"added": MEMBERS, "removed": []}
    assert here.member.gets_in(here.server.v4)
    assert not here.stranger.gets_in(here.server.v4)
    again = state(minion, "applied")
    assert (again["result"], again["changes"]) == (True, {})
    minion.wants(sets={"prod": ["k8s://prod"]}, gates={PORT: "prod"})
    failed = state(minion, "applied")
    assert failed["result"] is False
    assert "k8s://prod is not resolved" in failed["comment"]
    assert here.member.gets_in(here.server.v4)


def test_the_states_close_who_has_left(minion: Minion, here: Place) -> None:
    prune = {"iptables": {"filter": ["INPUT"]}, "saved": []}
    rule = ["INPUT", "-s", MEMBERS[0], "-j", "ACCEPT"]
    minion.wants(nodes={"served": MEMBERS}, prune=prune, keep=[])
    assert state(minion, "recorded")["result"] is True
    here.server.run("iptables", "-w", "-A", *rule)
    minion.wants(prune=prune, keep=[])
    told = state(minion, "pruned", test=True)
    assert (told["result"], list(told["changes"])) == (None, ["pruned"])
    assert list(state(minion, "pruned")["changes"]) == ["pruned"]
    assert MEMBERS[0] not in here.server.run("iptables", "-S")
    assert state(minion, "pruned")["changes"] == {}


@pytest.mark.parametrize(
    "sls", ["k8s_firewall", "k8s_firewall.prune", "k8s_firewall.packages", "k8s_firewall.drift"]
)
@pytest.mark.parametrize("init", ["systemd", "sysvinit"])
def test_the_formula_renders(minion: Minion, sls: str, init: str) -> None:
    minion.wants(sets={"prod": MEMBERS}, backend="ipset")
    with with_grains(minion, init=init) as functions:
        shown = functions["state.show_sls"](sls)
    assert isinstance(shown, dict), shown
    units = {name for name in shown if name.endswith(".service")}
    assert len(units) == (3 if (sls, init) == ("k8s_firewall", "systemd") else 0)


def test_the_unit_that_follows_nftables_is_started_after_what_it_loads_is_written(
    minion: Minion, here: Place, tmp_path: Path
) -> None:
    ours = "start k8s_firewall with nftables"
    minion.wants(sets={"prod": MEMBERS}, gates={PORT: "prod"})
    with with_grains(minion, init="systemd") as functions:
        done = functions["state.sls"]("k8s_firewall", test=True)
    (one,) = [told for told in done.values() if told["__id__"] == ours]
    # In a state run that only tells, nothing was written for it.
    assert (one["result"], one["comment"]) == (True, "onlyif condition is false")
    minion.call("sync")
    with with_grains(minion, init="systemd") as functions:
        low = functions["state.show_low_sls"]("k8s_firewall")
        done = functions["state.sls"]("k8s_firewall", test=True)
    (one,) = [told for told in done.values() if told["__id__"] == ours]
    assert one["result"] is not False, one
    assert one["comment"] != "onlyif condition is false"
    by_order = {chunk["__id__"]: chunk for chunk in sorted(low, key=lambda chunk: chunk["order"])}
    assert list(by_order).index(ours) > list(by_order).index("sets and gates")
    assert (by_order[ours]["fun"], by_order[ours]["name"]) == ("running", "k8s_firewall")
    assert {"k8s_firewall": "sets and gates"} in by_order[ours]["require"]
    enabled = {chunk["name"] for chunk in low if chunk["fun"] == "enabled"}
    assert enabled == {"k8s_firewall", "k8s_firewall-ipset", "k8s_firewall-ipset-last"}


@pytest.mark.parametrize(
    ("unit", "directives"),
    [
        (
            "k8s_firewall",
            {
                "After": "nftables.service",
                "PartOf": "nftables.service",
                "ReloadPropagatedFrom": "nftables.service",
                "Before": "network-pre.target shutdown.target",
                "WantedBy": "sysinit.target nftables.service",
            },
        ),
        (
            "k8s_firewall-ipset",
            {
                "Before": "iptables.service ip6tables.service netfilter-persistent.service "
                "ufw.service firewalld.service",
                "After": "ipset.service",
                "WantedBy": "sysinit.target",
            },
        ),
        (
            "k8s_firewall-ipset-last",
            {
                "After": "k8s_firewall-ipset.service netfilter-persistent.service ipset.service",
                "PartOf": "netfilter-persistent.service ipset.service",
                "ReloadPropagatedFrom": "netfilter-persistent.service ipset.service",
                "WantedBy": "sysinit.target netfilter-persistent.service ipset.service",
            },
        ),
    ],
)
def test_a_unit_stands_where_it_should_among_the_others(
    minion: Minion, unit: str, directives: dict[str, str]
) -> None:
    lines = rendered(minion, unit).splitlines()
    assert {f"{key}={value}" for key, value in directives.items()} <= set(lines)
    assert "DefaultDependencies=no" in lines
    assert "RemainAfterExit=yes" in lines


@pytest.mark.parametrize("selinux", [False, True])
@pytest.mark.parametrize("unit", UNITS)
def test_what_a_unit_starts_brings_back_what_was_in_force(
    minion: Minion, here: Place, unit: str, selinux: bool, tmp_path: Path
) -> None:
    minion.sync(backend="ipset", sets={"prod": MEMBERS}, gates={PORT: "prod"})
    text = rendered(minion, unit, selinux=selinux)
    read = configparser.ConfigParser(strict=False, interpolation=None)
    read.optionxform = str  # type: ignore[assignment,method-assign]
    read.read_string(text)
    loaded = Path(read["Unit"]["ConditionPathExists"])
    os.setxattr(loaded, SELINUX, label("var_lib_t"))
    for key in dict.fromkeys(line.partition("=")[0] for line in commands(text)):
        if key == "ExecStartPre":
            continue
        here.server.run("nft", "flush", "ruleset")
        here.server.run("ipset", "destroy")
        before = [key] if key != "ExecStart" else ["ExecStartPre", key]
        for line in commands(text):
            if line.partition("=")[0] in before:
                here.server.run(*shlex.split(line.partition("=")[2].lstrip("-")))
        assert unit != "k8s_firewall" or not here.stranger.gets_in(here.server.v4)
        assert unit == "k8s_firewall" or MEMBERS[0] in here.server.run("ipset", "save")
        # Which nft and ipset may read, where only they are asked.
        became = label("system_conf_t" if selinux else "var_lib_t")
        assert os.getxattr(loaded, SELINUX) == became
        os.setxattr(loaded, SELINUX, label("var_lib_t"))
    if not shutil.which("systemd-analyze"):
        pytest.skip("there is no systemd-analyze to ask")
    file = tmp_path / f"{unit}.service"
    file.write_text(text)
    here.server.run("systemd-analyze", "verify", "--man=no", str(file))


OF_OTHERS = {
    "as ours were saved": "",
    "with a timeout": " timeout 3600",
    "with comments and little room": " comment maxelem 5000",
}


@pytest.mark.parametrize("options", OF_OTHERS.values(), ids=OF_OTHERS)
@pytest.mark.parametrize("order", ["before", "after"])
def test_saved_ipsets_of_others_do_not_bring_back_who_left(
    minion: Minion, here: Place, order: str, options: str
) -> None:
    """As ipset-persistent has them, within netfilter-persistent; or ipset.service, before ours."""
    minion.sync(backend="ipset", sets={"prod": OTHERS})
    saved = "".join(
        f"create {name} hash:net family {family}{options}\nadd {name} {member}\n"
        for name, family, member in zip(
            ("prod_v4", "prod_v6"), ("inet", "inet6"), MEMBERS, strict=True
        )
    )
    here.server.run("ipset", "destroy")

    def loads(unit: str) -> None:
        for line in commands(rendered(minion, unit)):
            key, _, command = line.partition("=")
            if key in ("ExecStartPre", "ExecStart"):
                tolerated = command.startswith("-")
                with contextlib.suppress(*([AssertionError] if tolerated else [])):
                    here.server.run(*shlex.split(command.lstrip("-")))

    if order == "after":
        loads("k8s_firewall-ipset")
        # netfilter-persistent goes on where one of its plugins fails.
        with contextlib.suppress(AssertionError):
            here.server.run("ipset", "-exist", "restore", text=saved)
        loads("k8s_firewall-ipset-last")
    else:
        here.server.run("ipset", "-exist", "restore", text=saved)
        loads("k8s_firewall-ipset")
    left = here.server.run("ipset", "save")
    assert all(one in left for one in OTHERS)
    assert not any(one in left for one in MEMBERS)
    assert "timeout" not in left
    assert "k8sfw-" not in left
    assert minion.call("status")["problems"] == []


@pytest.mark.parametrize(
    ("family", "packages"),
    [("Debian", ["nftables", "iproute2", "ipset"]), ("RedHat", ["nftables", "iproute", "ipset"])],
)
def test_the_formula_knows_the_families_of_systems(
    minion: Minion, family: str, packages: list[str]
) -> None:
    minion.wants(sets={"prod": MEMBERS}, backend="ipset")
    selinux = {"enabled": family == "RedHat", "enforced": "Enforcing"}
    with with_grains(minion, os_family=family, init="systemd", selinux=selinux) as functions:
        installed = functions["state.show_sls"]("k8s_firewall.packages")
        shown = functions["state.show_sls"]("k8s_firewall")
    (programs,) = installed.values()
    assert {"pkgs": packages} in programs["pkg"]
    for unit in UNITS:
        given = shown[f"/etc/systemd/system/{unit}.service"]["file"]
        (context,) = [one["context"] for one in given if isinstance(one, dict) and "context" in one]
        assert context["selinux"] is selinux["enabled"]
        assert context["folder"] == str(minion.state_dir)
