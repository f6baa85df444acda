"""
Changes of a cluster that are not made yet: what is held, why, and what a release of it would do.

A :class:`Held` change names its subjects (nodes, an identity, a version) and has a fingerprint of
each: the uid and the addresses that were seen. A person confirms or rejects exactly that, by its
token; the same names with other uids or addresses are another change.
"""

from __future__ import annotations

import hashlib
from collections.abc import Iterable, Mapping
from dataclasses import dataclass
from enum import Enum

from salt_ext.core.cluster.address import sort_key
from salt_ext.core.cluster.member import Member
from salt_ext.core.display import counted

_DIGITS = 16
"""Of a fingerprint, hexadecimal: 64 bits, in which a kubelet cannot search for a match."""
_ALPHABET = "abcdefghjkmnpqrstuvwxyz"
"""Of a token: without letters that look like others."""
_GROUPS, _GROUP_LENGTH = 3, 4


class Kind(str, Enum):
    """Why a change is held."""

    IDENTITY = "identity"
    """Another cluster answers: the uid of its ``kube-system`` namespace differs."""
    ROLLBACK = "rollback"
    """Versions went back: an older state, from a restored etcd or a lagging API server."""
    VANISHED = "vanished"
    """After an older state, nodes are missing and no deletion was seen."""
    RETURNED = "returned"
    """Nodes appeared with an older state; they may have left the cluster since."""
    MINIMUM = "min_nodes"
    """Fewer nodes would remain than ``guards:min_nodes``."""
    SHRINK = "shrink"
    """Too many nodes left at once: a second LIST must confirm it."""
    GROWTH = "growth"
    """Too many nodes or addresses joined at once, or within a day."""
    NODE = "node"
    """A node claims too much; it ends when its kubelet reports less."""
    FLAPPING = "flapping"
    """A node claims and drops the same addresses; it ends when they stay."""

    @property
    def confirmable(self) -> bool:
        """Whether a person can release it; else only the node's kubelet or time ends it."""
        return self not in (Kind.NODE, Kind.FLAPPING)

    @property
    def is_of_whole_view(self) -> bool:
        """Whether it holds a view as a whole; else the nodes that it names."""
        return self in (Kind.IDENTITY, Kind.ROLLBACK)

    @property
    def rejectable(self) -> bool:
        """Whether a person can say no for good: to what would come in, never to what leaves."""
        return self in (Kind.IDENTITY, Kind.RETURNED, Kind.GROWTH)


@dataclass(frozen=True, slots=True, kw_only=True)
class Effect:
    """What would change in the store if a held change were released now."""

    leave: int = 0
    """Nodes that would leave."""
    join: int = 0
    """Nodes that would join."""
    close: int = 0
    """Addresses and networks that no node would have any more."""
    open: int = 0
    """Addresses and networks that would be new."""
    then_held: tuple[Kind, ...] = ()
    """The guards that would hold (part of) it after that."""

    def text(self, minions: int) -> str:
        """Return it as a sentence; ``minions`` reference the cluster."""
        numbers = (
            f"{counted(self.leave, 'node leaves', 'nodes leave')}, "
            f"{counted(self.join, 'joins', 'join')}, "
            f"{counted(minions, 'minion', 'minions')}, "
            f"{counted(self.close, 'address closes', 'addresses close')}, "
            f"{counted(self.open, 'opens', 'open')}"
        )
        if not self.then_held:
            return numbers
        return f"{numbers}; then held by {', '.join(kind.value for kind in self.then_held)}"


@dataclass(frozen=True, slots=True, kw_only=True)
class Held:
    """One change that is not made."""

    kind: Kind
    why: str
    subjects: Mapping[str, str]
    """
    By name, the fingerprint of what was seen: of a node, :func:`fingerprint`.

    Names are those of nodes; for ``identity`` the new uid, for ``rollback`` the accepted version.
    """
    effect: Effect = Effect()
    rejected: bool = False
    """Whether a person said no: it stays out until it changes, or until a person confirms it."""

    @property
    def keys(self) -> frozenset[str]:
        """The names of what is held."""
        return frozenset(self.subjects)

    @property
    def token(self) -> str:
        """What a person types to confirm or reject exactly this."""
        texts = [self.kind.value, str(self.rejected), *_texts(self.subjects)]
        return _letters(_hash(texts))


@dataclass(frozen=True, slots=True, kw_only=True)
class Doubts:
    """What an older state leaves behind, also while another cluster answers; kept in the store."""

    older: bool = False
    """The API server still answers with it."""
    missing: bool = False
    """Nodes that are missing now may be missing because of it."""
    returned: frozenset[str] = frozenset()
    """Nodes that appeared with it."""


def _texts(subjects: Mapping[str, str]) -> list[str]:
    return [text for subject in sorted(subjects.items()) for text in subject]


def fingerprint(member: Member) -> str:
    """Return a digest of a node's uid and addresses: labels and readiness may change."""
    addresses = (
        f"{kind.value}={item}"
        for kind, items in sorted(member.addresses.items())
        for item in sorted(items, key=sort_key)
    )
    return _digest([member.uid, *addresses])


def fingerprints(members: Mapping[str, Member]) -> str:
    """Return a digest of a whole view."""
    prints = sorted((name, fingerprint(member)) for name, member in members.items())
    return _digest(text for pair in prints for text in pair)


def _digest(texts: Iterable[str]) -> str:
    return _hash(texts).hex()[:_DIGITS]


def _hash(texts: Iterable[str]) -> bytes:
    # With their lengths, since an API server may answer with any text as a name or a uid.
    whole = "".join(f"{len(text)}:{text}" for text in texts)
    return hashlib.sha256(whole.encode("utf-8", "surrogatepass")).digest()


def _letters(digest: bytes) -> str:
    """Return three groups of letters: Salt would read digits on its command line as a number."""
    number = int.from_bytes(digest, "big")
    letters = []
    for _ in range(_GROUPS * _GROUP_LENGTH):
        number, index = divmod(number, len(_ALPHABET))
        letters.append(_ALPHABET[index])
    text = "".join(letters)
    return "-".join(text[i : i + _GROUP_LENGTH] for i in range(0, len(text), _GROUP_LENGTH))
