"""Render the references of one minion's pillar: what the ext_pillar does."""

from __future__ import annotations

from collections.abc import Callable, Iterable, Mapping, MutableMapping
from dataclasses import replace
from functools import cache
from typing import Any

from salt_ext.core.config.apply import MODULE
from salt_ext.core.config.config import KEY, Config
from salt_ext.core.errors import BadReference
from salt_ext.core.references import reference
from salt_ext.core.references.expand import Expansion, expand
from salt_ext.core.references.reference import Reference, is_path
from salt_ext.core.references.resolution import Resolution, Unresolved
from salt_ext.core.references.scan import find_references, scan
from salt_ext.master.pillar_compile import PillarCompile
from salt_ext.master.targets import Matches
from salt_ext.references import node_lists, payload_grant
from salt_ext.references.annotation import Annotator
from salt_ext.references.authorization import refusals
from salt_ext.references.node_lists import NodeList, NodeListRequest
from salt_ext.references.recorder import SubscriptionRecorder
from salt_ext.references.rendering import Rendering
from salt_ext.references.resolver import Resolver, shared_resolver
from salt_ext.store import Store

_IN_OVERRIDE = "is in a pillar= override, which Salt merges once more after this ext_pillar"

_References = Mapping[str, Reference | Unresolved]
_Requests = Mapping[str, NodeListRequest]


class PillarRenderer:
    """Renders pillars from one store; kept for the life of a process."""

    def __init__(self, store: Store, resolver: Resolver | None = None) -> None:
        self._store = store
        self._resolver = resolver or shared_resolver(store)
        self._annotator = Annotator(store)
        self._recorder = SubscriptionRecorder(store)

    def render(
        self,
        minion: str,
        pillarenv: str,
        pillar: MutableMapping[str, Any],
        config: Config,
        matches: Matches,
        compiled: Callable[[], PillarCompile],
        prepare: Callable[[str], None] | None = None,
    ) -> Expansion:
        """
        Replace the references of a pillar, in place, and record them.

        ``matches`` says which targets mean the minion. ``compiled`` is called only when it matters
        which kind of compile this is. ``prepare`` is called with the name of each cluster before
        it is looked up. Never raises for a store that cannot be used: the references stay.
        """
        compiled = cache(compiled)
        scanned = scan(pillar)
        misspelt = [text for text in scanned.near_misses if not is_path(text, config.names)]
        references = {text: _parsed(text) for text in (*scanned.texts, *misspelt)}
        requests = self._requests(minion, pillarenv, config, matches)
        clusters = _clusters(references, requests)
        refused = refusals(clusters, config, matches)
        if prepare is not None:
            for name in clusters:
                if name not in refused:
                    prepare(name)
        resolutions = {
            text: self._resolve(wanted, refused, config) for text, wanted in references.items()
        }
        lists = {
            text: self._resolve_list(request, refused, config) for text, request in requests.items()
        }
        expansion = _with_misspelt(expand(scanned.entries, resolutions), misspelt, references)
        rendering = Rendering(
            minion=minion,
            pillarenv=pillarenv,
            references=references,
            requests=requests,
            resolutions=resolutions,
            lists=lists,
            expansion=expansion,
            unresolved=_unresolved(expansion, lists, compiled),
        )
        changed = {**expansion.changed, **self._annotation(rendering, pillar, config, compiled)}
        if config.names or (config.names_clusters and self._store.database.path.exists()):
            # Also without any cluster: what the last one had opened has to be closed.
            self._recorder.record(rendering, compiled)
        else:
            self._recorder.log_unresolved(rendering)
        # Last: a bug on the way here leaves every reference in the pillar.
        pillar.update(changed)
        return replace(expansion, changed=changed, unresolved=rendering.unresolved)

    def _requests(
        self, minion: str, pillarenv: str, config: Config, matches: Matches
    ) -> dict[str, NodeListRequest]:
        requests = node_lists.requested(config, matches)
        if unreadable := node_lists.unreadable(config):
            recorded = self._recorder.recorded(minion, pillarenv)
            requests |= node_lists.retained(recorded, unreadable)
        return requests

    def _resolve(
        self, wanted: Reference | Unresolved, refused: Mapping[str, Unresolved], config: Config
    ) -> Resolution | Unresolved:
        if isinstance(wanted, Unresolved):
            return wanted
        return refused.get(wanted.cluster) or self._resolver.resolve(wanted, config)

    def _resolve_list(
        self, request: NodeListRequest, refused: Mapping[str, Unresolved], config: Config
    ) -> NodeList | Unresolved:
        return refused.get(request.cluster) or self._resolver.node_list(
            request.cluster, request.rule, config
        )

    def _annotation(
        self,
        rendering: Rendering,
        pillar: Mapping[str, Any],
        config: Config,
        compiled: Callable[[], PillarCompile],
    ) -> dict[str, object]:
        """Return the pillar key ``k8s_nodes``, with what the pillar has under it already."""
        if rendering.empty:
            return {}
        written = rendering.expansion.changed.get(KEY, pillar.get(KEY))
        block = dict(written) if isinstance(written, dict) else {}
        block |= self._annotator.annotate(rendering)
        grant = payload_grant.grant(rendering, pillar.get(MODULE), config, self._store)
        # An override of this one compile is no basis for later publishes.
        if grant is not None and compiled().permanent:
            block["delivery"] = grant
        return {KEY: block}


def _with_misspelt(
    expansion: Expansion, misspelt: Iterable[str], references: _References
) -> Expansion:
    """Return an expansion in which the misspelt references are unresolved, with the reasons."""
    whys = {text: why for text in misspelt if isinstance(why := references[text], Unresolved)}
    reasons = {text: one.why for text, one in whys.items()}
    return replace(expansion, unresolved={**expansion.unresolved, **reasons})


def _parsed(text: str) -> Reference | Unresolved:
    try:
        return reference.parse(text)
    except BadReference as exc:
        return Unresolved(str(exc))


def _clusters(references: _References, requests: _Requests) -> list[str]:
    """Return the clusters that are asked for, each once, in the order of their first use."""
    named = [wanted.cluster for wanted in references.values() if isinstance(wanted, Reference)]
    return [*dict.fromkeys([*named, *(request.cluster for request in requests.values())])]


def _unresolved(
    expansion: Expansion,
    lists: node_lists.NodeLists,
    compiled: Callable[[], PillarCompile],
) -> dict[str, str]:
    unresolved = dict(expansion.unresolved)
    if expansion.served or unresolved:
        for text in find_references(compiled().override):
            unresolved.setdefault(text, _IN_OVERRIDE)
    missing = {text: listed for text, listed in lists.items() if isinstance(listed, Unresolved)}
    return {**unresolved, **{text: listed.why for text, listed in missing.items()}}


_renderers: dict[str, PillarRenderer] = {}


def renderer(config: Config) -> PillarRenderer:
    """Return the renderer that this process keeps for a state folder, made at the first call."""
    if config.state_dir not in _renderers:
        _renderers[config.state_dir] = PillarRenderer(Store(config.state_dir))
    return _renderers[config.state_dir]
