"""Which minions get the addresses with the publish, and which compile their pillar for them."""

from __future__ import annotations

import logging
from collections.abc import Iterable, Iterator, Mapping
from dataclasses import dataclass, replace

from salt_ext.core.config.apply import MODULE, Action
from salt_ext.core.config.config import Config
from salt_ext.core.errors import StoreError
from salt_ext.core.references import node_lists, reference
from salt_ext.core.references.resolution import SnapshotStamp, Unresolved
from salt_ext.core.rollout.drift import Desired, OutOfSync, Resolved
from salt_ext.core.rollout.payload import ARGUMENT, AddressPayload
from salt_ext.references.payload_grant import is_public
from salt_ext.rollout.desired_state import DesiredState
from salt_ext.store import Store

log = logging.getLogger(__name__)

_SYNC = f"{MODULE}.sync"
_EXCLUSIVE_KWARGS = {ARGUMENT, "fresh", "test"}


@dataclass(frozen=True, slots=True, kw_only=True)
class Publication:
    """One action for several minions, and the addresses that go with it, if any."""

    action: Action
    minions: list[str]
    payload: AddressPayload | None = None
    secret: bytes = b""
    closing: bool = False
    """Whether it is for departed addresses, and not to bring the minions in sync."""

    def action_for(self, minions: Iterable[str]) -> Action:
        """Return what is published to some of its minions, signed for each of them."""
        if self.payload is None:
            return self.action
        signed = self.payload.signed(self.secret, minions)
        return replace(self.action, kwarg={**self.action.kwarg, ARGUMENT: signed})


class PayloadBuilder:
    """Sends addresses to minions that lack nothing else: healthy ones with a current pillar."""

    def __init__(self, config: Config, store: Store, desired_state: DesiredState) -> None:
        self._config = config
        self._store = store
        self._desired_state = desired_state
        self._desired: dict[str, list[Desired]] = {}

    def reset(self) -> None:
        """Forget what was read from the store: it may have changed."""
        self._desired = {}

    def publications(
        self, action: Action, minions: list[str], out_of_sync: Mapping[str, list[OutOfSync]]
    ) -> Iterator[Publication]:
        """Yield what to publish to which minions; those with the same references come together."""
        groups: dict[tuple[str, ...], list[str]] = {}
        if self._carries_addresses(action):
            for minion in minions:
                if texts := self._references(minion, out_of_sync[minion]):
                    groups.setdefault(texts, []).append(minion)
        others = set(minions)
        for texts, members in groups.items():
            payload = self._payload(texts, [row for name in members for row in out_of_sync[name]])
            if payload is None or payload.size > self._config.apply.max_inline_addresses:
                continue
            try:
                secret = self._store.signing_key.read()
            except StoreError as exc:
                log.warning(
                    "store: %s; minions compile their pillars instead [payload-not-signed]", exc
                )
                break
            others.difference_update(members)
            yield Publication(action=action, minions=members, payload=payload, secret=secret)
        if rest := [name for name in minions if name in others]:
            yield Publication(action=action, minions=rest)

    def _carries_addresses(self, action: Action) -> bool:
        plain = action.function == _SYNC and not action.arg
        exclusive = _EXCLUSIVE_KWARGS & action.kwarg.keys()
        return plain and not exclusive and self._config.apply.max_inline_addresses > 0

    def _references(self, minion: str, rows: list[OutOfSync]) -> tuple[str, ...]:
        """Return every reference of a minion; none where it has to compile its pillar."""
        for row in rows:
            # After a failure, a start or an expired proof it may lack more than these addresses.
            if row.entry.applied is None or row.entry.attempts or row.proof_expired:
                return ()
        wanted = self._desired_of(minion)
        texts = {text for one in wanted for text in one.resolved}
        if any(one.unresolved for one in wanted) or not all(map(self._is_public, texts)):
            return ()
        return tuple(sorted(texts))

    def _desired_of(self, minion: str) -> list[Desired]:
        if not self._desired:
            for (name, _), wanted in self._desired_state.desired(self._config).items():
                self._desired.setdefault(name, []).append(wanted)
        return self._desired.get(minion, [])

    def _is_public(self, text: str) -> bool:
        if text.startswith(node_lists.SCHEME):
            return False
        return is_public(reference.parse(text).cluster, self._config)

    def _payload(self, texts: tuple[str, ...], rows: list[OutOfSync]) -> AddressPayload | None:
        """Return the addresses of these references; None while the store changes under them."""
        stamps: dict[str, SnapshotStamp] = {}
        served: dict[str, tuple[str, ...]] = {}
        for text in texts:
            wanted = reference.parse(text)
            resolution = self._desired_state.resolver.resolve(wanted, self._config)
            if isinstance(resolution, Unresolved):
                return None
            if stamps.setdefault(wanted.cluster, resolution.stamp) != resolution.stamp:
                return None
            served[text] = resolution.addresses
        if not _same_addresses(served, rows):
            return None
        store = self._store.snapshots.store_id()
        return AddressPayload(store=store, clusters=stamps, references=served)


def _same_addresses(served: Resolved, rows: Iterable[OutOfSync]) -> bool:
    """Return whether a cluster is still as it was when its minions were selected."""
    return all(
        served.get(text) == addresses for row in rows for text, addresses in row.resolved.items()
    )
