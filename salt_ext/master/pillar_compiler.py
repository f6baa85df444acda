"""Compiles the pillar of a minion as this master would for it, without the minion."""

from __future__ import annotations

import logging
from collections.abc import Mapping
from typing import Any

import salt.pillar
import salt.utils.minions

from salt_ext.core.config.config import KEY
from salt_ext.core.errors import K8sNodesError
from salt_ext.master import keys

log = logging.getLogger(__name__)


class NoCachedGrains(K8sNodesError):
    """This master has no cached grains of the minion: it has to refresh its pillar itself."""


class PillarFailed(K8sNodesError):
    """The minion's pillar cannot be compiled: the operator has to correct it."""


class PillarCompiler:
    """Compiles from the grains that this master has cached."""

    def __init__(self, opts: Mapping[str, Any]) -> None:
        self._opts = opts

    @property
    def has_ext_pillar(self) -> bool:
        """Whether ``ext_pillar`` of this master lists ``k8s_nodes``."""
        listed = self._opts.get("ext_pillar") or ()
        return any(isinstance(entry, dict) and KEY in entry for entry in listed)

    def accepted_minions(self) -> frozenset[str]:
        """Return the minions with an accepted key; :class:`~.keys.KeysUnreadable`."""
        return keys.accepted_minions(self._opts)

    def compile(self, minion: str, pillarenv: str) -> None:
        """
        Compile a pillar, so that the ext_pillar records its references.

        Caches and sends nothing. :class:`NoCachedGrains`, :class:`PillarFailed`.
        """
        self._compile(self._opts, minion, pillarenv)

    def unexpanded(self, minion: str) -> Mapping[str, Any]:
        """Return a pillar with its references, as it is without the ext_pillar ``k8s_nodes``."""
        listed = self._opts.get("ext_pillar") or ()
        without = [
            others
            for entry in listed
            if isinstance(entry, Mapping)
            and (others := {name: options for name, options in entry.items() if name != KEY})
        ]
        return self._compile({**self._opts, "ext_pillar": without}, minion, "")

    def grains(self, minion: str) -> Mapping[str, Any]:
        """Return the cached grains of a minion; empty where there are none."""
        return _cached_grains(minion, self._opts) or {}

    def _compile(self, opts: Mapping[str, Any], minion: str, pillarenv: str) -> Mapping[str, Any]:
        try:
            grains = _cached_grains(minion, opts)
            if not grains:
                raise NoCachedGrains(f"minion {minion}: this master has no cached grains of it")
            compiler = salt.pillar.Pillar(opts, grains, minion, None, pillarenv=pillarenv or None)
            try:
                pillar: dict[str, Any] = compiler.compile_pillar()
            finally:
                compiler.destroy()
        except K8sNodesError:
            raise
        except Exception as exc:
            # Renderers, other ext_pillars and cache drivers raise errors of every type.
            log.debug(
                "minion %s: traceback of its pillar [pillar-traceback]", minion, exc_info=True
            )
            raise PillarFailed(
                f"minion {minion}: its pillar does not compile ({type(exc).__name__})"
            ) from exc
        if errors := pillar.get("_errors"):
            raise PillarFailed(
                f"minion {minion}: its pillar has {len(errors)} errors; "
                f"run `salt {minion} pillar.items`"
            )
        return pillar


def _cached_grains(minion: str, opts: Mapping[str, Any]) -> Mapping[str, Any] | None:
    grains: Mapping[str, Any] | None = salt.utils.minions.get_minion_data(minion, opts)[1]
    return grains
