"""Which minions are published the addresses themselves, and which are to ask for their pillar."""

from __future__ import annotations

import logging
from collections.abc import Iterable, Iterator, Mapping
from dataclasses import dataclass, replace

from salt_ext.core.config.apply import MODULE, Action
from salt_ext.core.config.config import Config
from salt_ext.core.errors import StoreError
from salt_ext.core.references import reference
from salt_ext.core.references.expand import Unresolved
from salt_ext.core.rollout.drift import Desired, OutOfSync, Resolved
from salt_ext.core.rollout.payload import ARGUMENT, AddressPayload, SnapshotStamp
from salt_ext.references.payload_grant import is_public
from salt_ext.rollout.desired_state import DesiredState
from salt_ext.store import Store

log = logging.getLogger(__name__)

_SYNC = f"{MODULE}.sync"
_NOT_BESIDE = {ARGUMENT, "fresh", "test"}


@dataclass(frozen=True, slots=True, kw_only=True)
class Publication:
    """A publish, and what it is to carry along, if anything."""

    what: Action
    minions: list[str]
    delivery: AddressPayload | None = None
    secret: bytes = b""

    def to(self, minions: Iterable[str]) -> Action:
        """Return what is published to some of its minions."""
        if self.delivery is None:
            return self.what
        sealed = self.delivery.signed(self.secret, minions)
        return replace(self.what, kwarg={**self.what.kwarg, ARGUMENT: sealed})


class PayloadBuilder:
    """For minions that need nothing but the addresses: who is well and has had its pillar."""

    def __init__(self, config: Config, store: Store, places: DesiredState) -> None:
        self._config = config
        self._store = store
        self._places = places
        self._desired: dict[str, list[Desired]] = {}

    def turn(self) -> None:
        """Begin anew: the store may have changed."""
        self._desired = {}

    def parcels(
        self, what: Action, minions: list[str], rows: Mapping[str, list[OutOfSync]]
    ) -> Iterator[Publication]:
        """Yield what to publish to whom; those who are due the same come together."""
        groups: dict[tuple[str, ...], list[str]] = {}
        if self._may(what):
            for minion in minions:
                if texts := self._texts(minion, rows[minion]):
                    groups.setdefault(texts, []).append(minion)
        others = set(minions)
        for texts, several in groups.items():
            delivery = self._made(texts, [row for name in several for row in rows[name]])
            if delivery is None or delivery.size > self._config.apply.max_inline_addresses:
                continue
            try:
                secret = self._store.signing_key.read()
            except StoreError as exc:
                log.warning("minions are to ask for their pillar: %s", exc)
                break
            others.difference_update(several)
            yield Publication(what=what, minions=several, delivery=delivery, secret=secret)
        if rest := [name for name in minions if name in others]:
            yield Publication(what=what, minions=rest)

    def _may(self, what: Action) -> bool:
        plain = what.function == _SYNC and not what.arg and not _NOT_BESIDE & what.kwarg.keys()
        return plain and self._config.apply.max_inline_addresses > 0

    def _texts(self, minion: str, rows: list[OutOfSync]) -> tuple[str, ...]:
        """Return every reference of a minion; none where it has to ask for its pillar."""
        for row in rows:
            # Whoever has failed, has just started or is asked once more may lack more than these.
            if row.entry.applied is None or row.entry.attempts or row.proof_expired:
                return ()
        everything = self._of(minion)
        served: Resolved = {
            text: found for one in everything for text, found in one.resolved.items()
        }
        if any(one.unresolved for one in everything) or not all(map(self._public, served)):
            return ()
        return tuple(sorted(served))

    def _of(self, minion: str) -> list[Desired]:
        if not self._desired:
            for (name, _), wanted in self._places.desired(self._config).items():
                self._desired.setdefault(name, []).append(wanted)
        return self._desired.get(minion, [])

    def _public(self, text: str) -> bool:
        return is_public(text, self._config)

    def _made(self, texts: tuple[str, ...], rows: list[OutOfSync]) -> AddressPayload | None:
        ages: dict[str, SnapshotStamp] = {}
        found: dict[str, tuple[str, ...]] = {}
        for text in texts:
            addresses = self._places.resolving.addresses(text, self._config)
            if isinstance(addresses, Unresolved):
                return None
            name = reference.parse(text).cluster
            snapshot = self._places.resolving.held(name)
            age = (snapshot.revision, snapshot.observed_at)
            if ages.setdefault(name, age) != age:
                return None
            found[text] = addresses
        # Written down was what the rows have; the cluster may have changed since.
        same = all(found.get(text) == one for row in rows for text, one in row.resolved.items())
        store = self._store.snapshots.store_id()
        return AddressPayload(store=store, clusters=ages, references=found) if same else None
