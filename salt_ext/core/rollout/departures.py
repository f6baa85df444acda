"""
Departures: addresses that references have served to a minion, and serve no more.

An obligation, not an event. It ends by evidence: the minion's kernel was read whole and lets the
address in nowhere; or because the address is wanted again, or is static in the pillar.
"""

from __future__ import annotations

from collections.abc import Callable, Collection, Iterable, Mapping
from dataclasses import dataclass, field, replace
from enum import Enum
from ipaddress import ip_network

from salt_ext.core.cluster.address import Network
from salt_ext.core.config.apply import MODULE
from salt_ext.core.display import names
from salt_ext.core.references import node_lists
from salt_ext.core.references.resolve import PLACEHOLDERS
from salt_ext.core.rollout.drift import Resolved

CLOSE = f"{MODULE}.close"
SYNC = f"{MODULE}.sync"

ARGUMENT = "departed"
"""Name of the argument of ``k8s_firewall.close``."""

MAX_IN_JOB = 1000
"""Addresses in one job that closes."""

_UNANSWERED = f"{CLOSE} answered about none of the departed addresses"

_MAX_NOTE = 200
"""Characters of a minion's text that are kept."""

_PLACEHOLDERS = frozenset(map(str, PLACEHOLDERS.values()))


class State(str, Enum):
    """Whether a departed address can still get in."""

    OPEN = "open"
    """As far as is known: nothing has proven that it is closed."""
    CLOSED = "closed"
    SPARED = "spared"
    """The pillar of the minion names it without a reference."""
    WANTED = "wanted again"


@dataclass(frozen=True, slots=True, kw_only=True)
class Departure:
    """One address and one minion; times are seconds since the epoch."""

    minion: str
    address: str
    """Or a network, without host bits."""
    cluster: str
    cause: str
    since: float
    state: State = State.OPEN
    evidence: str = ""
    """What has proven that it is closed, or why it is spared."""
    open_by: str = ""
    """What lets it in, or why that is unknown."""
    checked_at: float | None = None
    """When the minion last answered about it."""
    ended_at: float | None = None
    reported: bool = False
    """Whether the event ``departure/open`` has named it."""


@dataclass(frozen=True, slots=True, kw_only=True)
class Closing:
    """How far one minion is with its departures; times are seconds since the epoch."""

    minion: str
    jid: str | None = None
    """The job in flight, if any."""
    sent_at: float | None = None
    attempts: int = 0
    """Answers in a row that left an address open, or proved nothing."""
    next_at: float = 0.0
    error: str = ""
    """Why the last job proved nothing."""
    checked_at: float | None = None
    """When a job last answered."""
    dropped: int = 0
    """Departures that are not kept, because too many are open."""

    def in_flight(self, now: float, timeout: float) -> bool:
        """Whether a job that may still return is in flight."""
        return self.jid is not None and abs(now - (self.sent_at or 0.0)) < timeout


def canonical(text: str) -> str:
    """Return an address without its full prefix, a network with it, and other text as it is."""
    try:
        network = ip_network(text, strict=False)
    except ValueError:
        return text
    whole = network.prefixlen == network.max_prefixlen
    return str(network.network_address) if whole else str(network)


def addresses_of(resolved: Resolved) -> frozenset[str]:
    """Return every address of references and node lists; placeholders are none."""
    found: set[str] = set()
    for text, lines in resolved.items():
        if text.startswith(node_lists.SCHEME):
            for line in lines:
                found.update(map(canonical, node_lists.addresses_in(line)))
        else:
            found.update(map(canonical, lines))
    return frozenset(found - _PLACEHOLDERS)


@dataclass(frozen=True, slots=True)
class Served:
    """The addresses of a set of references; many minions share one."""

    addresses: frozenset[str] = frozenset()
    networks: tuple[Network, ...] = ()

    @staticmethod
    def of(resolved: Resolved) -> Served:
        """Return what references and node lists serve."""
        addresses = addresses_of(resolved)
        return Served(addresses, tuple(ip_network(text) for text in addresses if "/" in text))

    def without(self, addresses: Iterable[str]) -> frozenset[str]:
        """Return those that are not served, neither by themselves nor in a network."""
        return frozenset(
            text for text in addresses if text not in self.addresses and not self._covers(text)
        )

    def _covers(self, text: str) -> bool:
        if not self.networks:
            return False
        try:
            item = ip_network(text)
        except ValueError:
            return False
        return any(
            item.version == network.version
            and item.network_address in network
            and item.prefixlen >= network.prefixlen
            for network in self.networks
        )


@dataclass(frozen=True, slots=True, kw_only=True)
class Move:
    """What separates the addresses of one minion and cluster before and now."""

    departed: Mapping[str, str] = field(default_factory=dict)
    """Address to cause."""
    returned: frozenset[str] = frozenset()


def move(before: Resolved, now: Resolved, cluster: str, *, configured: bool = True) -> Move:
    """Return which addresses departed and which came, when references changed."""
    old, served = addresses_of(before), Served.of(now)
    gone = served.without(old)
    causes: dict[str, str] = {}
    if gone:
        for text, lines in sorted(before.items()):
            why = _cause(text, cluster, gone=text not in now, configured=configured)
            for address in addresses_of({text: lines}) & gone:
                causes.setdefault(address, why)
    return Move(departed=causes, returned=served.addresses - old)


def _cause(text: str, cluster: str, *, gone: bool, configured: bool) -> str:
    if gone and not configured:
        return f"cluster {cluster} removed from the configuration"
    return f"reference {text} removed" if gone else f"left {text}"


@dataclass(frozen=True, slots=True, kw_only=True)
class Verdicts:
    """What one return says about departed addresses; ``error`` where it proves nothing."""

    closed: Mapping[str, str] = field(default_factory=dict)
    open: Mapping[str, str] = field(default_factory=dict)
    """Also what is unknown: it counts as open."""
    spared: Mapping[str, str] = field(default_factory=dict)
    error: str = ""

    def __len__(self) -> int:
        return len(self.closed) + len(self.open) + len(self.spared)


def read_verdicts(job_return: Mapping[str, object], function: str) -> Verdicts | None:
    """
    Read the ``departures`` of a minion's return; None where the function gives none.

    Only a reading of the kernel is evidence: a run that succeeded says nothing about an address
    that it does not name.
    """
    if function not in (CLOSE, SYNC):
        return None
    answer = job_return.get("return")
    if not isinstance(answer, Mapping):
        return Verdicts(error=_no_answer(answer, function)) if function == CLOSE else None
    if answer.get("result", True) is None:
        return Verdicts(error="proves nothing: the minion runs with test: True")
    given = answer.get("departures")
    if given is None:
        error = f"{function} answered nothing about departures: {one_line(_comment(answer))}"
        return Verdicts(error=error) if function == CLOSE else None
    if not isinstance(given, Mapping) or not all(
        isinstance(given.get(key, {}), Mapping) for key in ("closed", "open", "unknown", "spared")
    ):
        return Verdicts(error=f"{function} gave an answer about departures that cannot be read")
    return _verdicts(given)


def _verdicts(given: Mapping[str, object]) -> Verdicts:
    def part(key: str, prefix: str = "") -> dict[str, str]:
        items = given.get(key)
        if not isinstance(items, Mapping):
            return {}
        return {
            canonical(address): one_line(f"{prefix}{note}")
            for address, note in items.items()
            if isinstance(address, str)
        }

    # An address in two parts: the worse one counts.
    opened = {**part("unknown", "unknown: "), **part("open")}
    spared = {key: note for key, note in part("spared").items() if key not in opened}
    closed = {
        key: note for key, note in part("closed").items() if key not in opened and key not in spared
    }
    return Verdicts(closed=closed, open=opened, spared=spared)


def _no_answer(answer: object, function: str) -> str:
    message = one_line(answer if isinstance(answer, str) else "no details")
    if "is not available" in message:
        return (
            f"the minion has no {function}: its module {MODULE} is missing or old; "
            "run `salt-run k8s_nodes.check`"
        )
    return f"{function} failed: {message}"


def _comment(answer: Mapping[str, object]) -> object:
    return answer.get("error") or answer.get("comment") or "no comment"


def one_line(value: object) -> str:
    """Return a minion's text on one line, without control characters, cut."""
    line = " ".join(str(value).split())
    return "".join(char if char.isprintable() else "?" for char in line)[:_MAX_NOTE]


@dataclass(frozen=True, slots=True, kw_only=True)
class Findings:
    """What one return changes about the departures of its minion."""

    changed: tuple[Departure, ...] = ()
    remaining: int = 0
    """Departures that stay open."""
    unanswered: int = 0
    """Those of them about which the return says nothing."""
    untried: bool = False
    """Whether a job that closes them is due at once."""
    undone: frozenset[str] = frozenset()
    """Clusters of addresses that were closed while they were wanted again: the run is due again."""
    error: str = ""


def judge(
    verdicts: Verdicts,
    held: Collection[Departure],
    published_at: float,
    now: float,
    *,
    minion: str,
    cluster: str = "",
    closing: bool = False,
) -> Findings:
    """
    Return what a return proves about the departures that the master holds of its minion.

    A verdict is about the kernel after ``published_at``: an address that departed after that may
    have been let in again since. ``cluster`` is where addresses count that only the minion knows.
    ``closing``: the job was to close these departures, and not a run that may have.
    """
    changed: list[Departure] = []
    remaining = unanswered = 0
    for departure in held:
        after = _judged(departure, verdicts, published_at, now)
        if after is not None:
            changed.append(after)
        if (after or departure).state is State.OPEN:
            remaining += 1
            unanswered += after is None
    known = {departure.address for departure in held}
    if cluster:
        # The master may have lost its memory of them.
        for address in sorted(verdicts.open.keys() - known)[:MAX_IN_JOB]:
            changed.append(
                Departure(
                    minion=minion,
                    address=address,
                    cluster=cluster,
                    cause="reported by the minion",
                    since=now,
                    open_by=verdicts.open[address],
                    checked_at=now,
                )
            )
            remaining += 1
    return Findings(
        changed=tuple(changed),
        remaining=remaining,
        unanswered=unanswered,
        untried=bool(unanswered) and not closing,
        undone=frozenset(
            departure.cluster
            for departure in held
            if departure.state is State.WANTED and departure.address in verdicts.closed
        ),
        error=verdicts.error or (_UNANSWERED if closing and unanswered == len(held) > 0 else ""),
    )


def _judged(
    departure: Departure, verdicts: Verdicts, published_at: float, now: float
) -> Departure | None:
    """Return a departure after a return; None where the return says nothing about it."""
    address = departure.address
    if departure.state is State.WANTED or departure.since > published_at:
        return None
    if address in verdicts.open:
        opened = replace(
            departure,
            state=State.OPEN,
            evidence="",
            open_by=verdicts.open[address],
            checked_at=now,
            ended_at=None,
        )
        if departure.state is State.OPEN:
            return opened
        # A reload, a saved file or a script has brought it back.
        return replace(opened, since=now, cause=f"open again: {_first(departure)}", reported=False)
    for state, notes in ((State.CLOSED, verdicts.closed), (State.SPARED, verdicts.spared)):
        if address in notes:
            ended = departure.ended_at if departure.state is state else None
            return replace(
                departure,
                state=state,
                evidence=notes[address],
                open_by="",
                checked_at=now,
                ended_at=ended or now,
            )
    return None


def _first(departure: Departure) -> str:
    return departure.cause.removeprefix("open again: ")


def summary(
    held: Iterable[Departure], limit: int = 5, why: Callable[[Departure], str] | None = None
) -> str:
    """Return in one sentence which departed addresses are still open; empty for none."""
    rows = sorted(
        (one for one in held if one.state is State.OPEN),
        key=lambda one: (one.since, one.minion, one.address),
    )
    if not rows:
        return ""
    addresses = {one.address for one in rows}
    left = names({one.cluster for one in rows}, 3)
    minions = names({one.minion for one in rows}, limit)
    by = next((one.open_by for one in rows if one.open_by), "")
    by = by or (why(rows[0]) if why else "") or "not checked yet"
    many = len(addresses) > 1
    return (
        f"{len(addresses)} address{'es' if many else ''} that left {left} "
        f"{'are' if many else 'is'} still open on {minions}: {by}"
        + (" and others" if len({one.open_by for one in rows}) > 1 else "")
    )
