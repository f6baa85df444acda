"""States of Salt's own that only append, with the states that prune beside them: end to end."""

from __future__ import annotations

import contextlib
from collections.abc import Iterator
from pathlib import Path
from typing import Any

import pytest

from tests.firewall.place import FORMULA, MEMBER, OTHER, PORT, Host, Minion, Place

pytestmark = pytest.mark.root

MEMBERS = [str(MEMBER.v4), str(MEMBER.v6)]
OTHERS = [str(OTHER.v4), str(OTHER.v6)]

IPTABLES = """\
{% for one in pillar['allowed'] %}
{{ one }} may come in:
  iptables.append:
    - table: filter
    - chain: INPUT
    - family: {{ 'ipv6' if ':' in one else 'ipv4' }}
    - match: state
    - connstate: NEW
    - source: '{{ one }}'
    - proto: tcp
    - dport: PORT
    - jump: ACCEPT
    - save: FOLDER/rules.{{ 'v6' if ':' in one else 'v4' }}
{% endfor %}
"""
# It writes the state and the counter before the source.
NFT = """\
{% for one in pillar['allowed'] %}
{{ one }} may come in:
  nftables.append:
    - table: filter
    - chain: input
    - family: {{ 'ipv6' if ':' in one else 'ipv4' }}
    - connstate: new
    - counter: True
    - source: '{{ one }}'
    - proto: tcp
    - dport: PORT
    - jump: accept
{% endfor %}
"""
CLOSED = "".join(
    f"""\
table {family} filter {{
    chain input {{
        type filter hook input priority 0; policy drop;
        iifname lo accept
        ct state established,related accept
        meta l4proto ipv6-icmp accept
    }}
}}
"""
    for family in ("ip", "ip6")
)
STATES = {"iptables": IPTABLES, "nft": NFT}


@contextlib.contextmanager
def closed(host: Host, program: str) -> Iterator[None]:
    """Let in nobody but by a rule that is appended."""
    if program == "nft":
        host.run("nft", "-f", "-", text=CLOSED)
        yield
        return
    both = ("iptables", "ip6tables")
    try:
        for one in both:
            host.run(one, "-w", "-A", "INPUT", "-i", "lo", "-j", "ACCEPT")
            host.run(one, "-w", "-A", "INPUT", "-m", "conntrack", "--ctstate", "ESTABLISHED",
                     "-j", "ACCEPT")  # fmt: skip
            host.run(one, "-w", "-A", "INPUT", "-p", "ipv6-icmp", "-j", "ACCEPT")
            host.run(one, "-w", "-P", "INPUT", "DROP")
        yield
    finally:
        for one in both:
            host.run(one, "-w", "-P", "INPUT", "ACCEPT")
            host.run(one, "-w", "-F", "INPUT")


@pytest.mark.parametrize("program", STATES)
def test_who_has_left_is_closed_where_the_states_only_append(
    minion: Minion, here: Place, tmp_path: Path, monkeypatch: pytest.MonkeyPatch, program: str
) -> None:
    text = STATES[program].replace("PORT", str(PORT)).replace("FOLDER", str(tmp_path))
    (tmp_path / "appends.sls").write_text(text)
    (tmp_path / "closes.sls").write_text("include: [appends, k8s_firewall.prune]\n")
    monkeypatch.setitem(minion.opts, "file_roots", {"base": [str(FORMULA), str(tmp_path)]})
    monkeypatch.setattr(minion, "functions", minion.load())
    saved = [tmp_path / f"rules.{family}" for family in ("v4", "v6")]
    prune = {"saved": [str(one) for one in saved], "nft": {"ip filter": ["input"],
             "ip6 filter": ["input"]}}  # fmt: skip
    addresses = (here.server.v4, here.server.v6)

    def applies(sls: str, *allowed: str, revision: int = 1) -> dict[str, Any]:
        clusters = {"prod": {"revision": revision, "observed_at": float(revision)}}
        served = {"served": list(allowed), "clusters": clusters, "unresolved": {}}
        block = {"keep": [], "prune": prune}
        # As the master resolves it: the list is the formula's, and what is served is told beside.
        minion.pillar({"allowed": list(allowed), "k8s_nodes": served, "k8s_firewall": block})
        with here.server.namespace.entered():
            done = minion.functions["state.sls"](sls)
        assert isinstance(done, dict), done
        assert all(one["result"] for one in done.values()), [o["comment"] for o in done.values()]
        return {one["__id__"]: one["changes"] for one in done.values()}

    with closed(here.server, program), contextlib.ExitStack() as stack:
        assert not any(here.member.gets_in(to) for to in addresses)
        applies("closes", *MEMBERS, *OTHERS)
        assert all(host.gets_in(to) for host in (here.member, here.other) for to in addresses)
        leaving, staying = (
            [stack.enter_context(contextlib.closing(host.connect(to))) for to in addresses]
            for host in (here.member, here.other)
        )
        assert all(one.answered() for one in (*leaving, *staying))
        # By themselves they only append.
        applies("appends", *OTHERS, revision=2)
        assert all(here.member.gets_in(to) for to in addresses)
        changes = applies("closes", *OTHERS, revision=2)["prune removed addresses"]
        assert changes["connections"] == {one: {"ended": 1, "still_open": 0} for one in MEMBERS}
        assert all(one.reset() for one in leaving)
        assert all(one.answered() for one in staying)
        assert not any(here.member.gets_in(to) for to in addresses)
        assert all(here.other.gets_in(to) for to in addresses)
        if program == "iptables":
            for file, gone, stays in zip(saved, MEMBERS, OTHERS, strict=True):
                assert (gone in file.read_text(), stays in file.read_text()) == (False, True)
        again = applies("closes", *OTHERS, revision=2)
        assert again["prune removed addresses"] == {}
