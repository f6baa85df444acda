"""Whether addresses can get in: one verdict for each, from a reading of the whole host."""

from __future__ import annotations

from collections.abc import Iterable, Mapping, Sequence
from dataclasses import dataclass, field

from . import access, intervals, reading, traffic
from .chains import shown
from .intervals import Entries, Interval
from .openings import Opening, Reading

CLOSED, OPEN, UNKNOWN = "closed", "open", "unknown"


@dataclass(frozen=True)
class Verdict:
    """What lets one address or network in."""

    named: tuple[Opening, ...] = ()
    """Openings of just this address, or a part of this network; and merged elements around it."""
    wider: tuple[Opening, ...] = ()
    """Openings of a larger network or range: whoever wrote it means more than this address."""
    traffic: tuple[str, ...] = ()
    """Connections and flows that go on: ``connection tcp 5432``."""
    unknown: Mapping[str, str] = field(default_factory=dict)
    """What could not be read whole, and why."""

    @property
    def verdict(self) -> str:
        """``closed``, ``open`` or ``unknown``."""
        if self.named or self.wider or self.traffic:
            return OPEN
        return UNKNOWN if self.unknown else CLOSED

    @property
    def ended(self) -> bool:
        """Whether it is proven that nothing made for this address lets it in."""
        return not (self.named or self.traffic or self.unknown)

    @property
    def by(self) -> list[str]:
        """What lets it in, for people."""
        places = [
            f"{one}{f' ({one.why})' if one.why else ''}" for one in (*self.named, *self.wider)
        ]
        return [*dict.fromkeys(places), *self.traffic]

    @property
    def why(self) -> str:
        """What is not known."""
        return "; ".join(f"{what}: {shown(why)}" for what, why in sorted(self.unknown.items()))

    def to_dict(self) -> dict[str, object]:
        """Return the verdict as Salt returns it."""
        return {"verdict": self.verdict, "by": self.by, "why": self.why}


def verify(entries: Iterable[str], saved: Sequence[str] = reading.SAVED) -> dict[str, Verdict]:
    """Read this host, and return the verdict on each address or network."""
    wanted = list(entries)
    read, kernel = reading.read_with_kernel(wanted, saved)
    unknown = dict(read.unknown)
    interfaces: dict[Interval, str] = {}

    def passes(source: Interval, protocol: int, port: int, forwarded: bool) -> bool:
        if source not in interfaces:
            interfaces[source] = access.route_to(str(source))
        packet = access.Packet(
            source, protocol, port, established=True, forwarded=forwarded,
            interface=interfaces[source],
        )  # fmt: skip
        return access.decide(kernel, packet).allowed is not False

    found = traffic.find(wanted, passes, unknown)
    return find(Reading(read.openings, unknown), wanted, found)


def find(
    read: Reading,
    entries: Iterable[str],
    going_on: Mapping[str, tuple[str, ...]] | None = None,
) -> dict[str, Verdict]:
    """
    Return the verdict on each address or network.

    going_on
        The connections and flows of each, for people: see ``traffic.find``.
    """
    wanted = list(entries)
    index = Entries(wanted)
    named: dict[str, list[Opening]] = {entry: [] for entry in wanted}
    wider: dict[str, list[Opening]] = {entry: [] for entry in wanted}
    for opening in read.openings:
        for source in opening.sources:
            one = intervals.parse(source)
            if one is None:
                continue
            for interval, entry in index.overlapping(one):
                kind = named if _means(opening, one, interval) else wider
                if opening not in kind[entry][-1:]:
                    kind[entry].append(opening)
    return {
        entry: Verdict(
            tuple(named[entry]),
            tuple(wider[entry]),
            (going_on or {}).get(entry, ()),
            reading.unknown_for(read.unknown, entry),
        )
        for entry in wanted
    }


def _means(opening: Opening, source: Interval, entry: Interval) -> bool:
    """Whether an opening was made for an entry, and not for a larger network."""
    if source.within(entry):
        return True
    return opening.element and intervals.may_be_merged(source, entry)
