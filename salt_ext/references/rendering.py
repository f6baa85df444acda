"""The result of one pillar compile, before any of it takes effect."""

from __future__ import annotations

from collections.abc import Mapping
from dataclasses import dataclass

from salt_ext.core.references.expand import Expansion
from salt_ext.core.references.reference import Reference
from salt_ext.core.references.resolution import (
    Resolution,
    Resolutions,
    SnapshotStamp,
    Unresolved,
)
from salt_ext.core.references.resolve import digest
from salt_ext.references.node_lists import NodeList, NodeListRequest, NodeLists
from salt_ext.store.subscriptions import Answer, Seen


@dataclass(frozen=True, slots=True, kw_only=True)
class Rendering:
    """What the references and node lists of one minion came to."""

    minion: str
    pillarenv: str
    """Empty for every environment together, which is not the same as ``base``."""
    references: Mapping[str, Reference | Unresolved]
    """Each text of the pillar, parsed."""
    requests: Mapping[str, NodeListRequest]
    resolutions: Resolutions
    lists: NodeLists
    expansion: Expansion
    unresolved: Mapping[str, str]
    """Every reference and node list without addresses, and why."""

    @property
    def empty(self) -> bool:
        """Whether the pillar has nothing to do with any cluster."""
        return not (self.expansion.served or self.unresolved or self.lists)

    def stamps(self) -> dict[str, SnapshotStamp]:
        """Return the snapshot that each cluster was served from."""
        resolved = {
            self._cluster(text): resolution.stamp
            for text in self.expansion.served
            if isinstance(resolution := self.resolutions[text], Resolution)
        }
        lists = [listed for listed in self.lists.values() if isinstance(listed, NodeList)]
        return {**resolved, **{listed.cluster: listed.stamp for listed in lists}}

    def clusters(self) -> frozenset[str]:
        """Return the clusters whose addresses replaced a reference."""
        return frozenset(map(self._cluster, self.expansion.served))

    def seen(self) -> dict[str, Seen]:
        """Return what is recorded of each reference and node list."""
        served = {
            text: Seen(
                cluster=self._cluster(text),
                answer=Answer.SERVED,
                digest=digest({text: addresses}),
            )
            for text, addresses in self.expansion.served.items()
        }
        unresolved = {
            text: self._unresolved(text, self._cluster(text), why)
            for text, why in self.expansion.unresolved.items()
            if text not in served
        }
        return {**served, **unresolved, **self._seen_lists()}

    def _seen_lists(self) -> dict[str, Seen]:
        return {
            text: _seen_unresolved(
                text, self.requests[text].cluster, listed.why, refused=listed.refused
            )
            if isinstance(listed, Unresolved)
            else Seen(
                cluster=listed.cluster,
                answer=Answer.SERVED,
                digest=digest({text: map(str, listed.nodes)}),
            )
            for text, listed in self.lists.items()
        }

    def _unresolved(self, text: str, cluster: str, why: str) -> Seen:
        resolution = self.resolutions.get(text)
        # A reference that is only in a wrong place is not refused.
        refused = (
            isinstance(resolution, Unresolved) and resolution.refused and resolution.why == why
        )
        return _seen_unresolved(text, cluster, why, refused=refused)

    def _cluster(self, text: str) -> str:
        """Return the cluster of a reference; empty when it cannot be read."""
        wanted = self.references.get(text)
        return wanted.cluster if isinstance(wanted, Reference) else ""


def _seen_unresolved(text: str, cluster: str, why: str, *, refused: bool) -> Seen:
    answer = Answer.REFUSED if refused else Answer.UNRESOLVED
    # With the reason, so that another reason is news and the same one is not.
    return Seen(cluster=cluster, answer=answer, digest=digest({text: [why]}))
