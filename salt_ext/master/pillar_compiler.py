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


class NoGrains(K8sNodesError):
    """The master has not kept this minion's grains: its pillar is not known before it asks."""


class NotCompiled(K8sNodesError):
    """This minion's pillar cannot be compiled: someone must mend it."""


class PillarCompiler:
    """The minions of this master, by their keys and their kept grains."""

    def __init__(self, opts: Mapping[str, Any]) -> None:
        self._opts = opts

    @property
    def ours(self) -> bool:
        """Whether our ext_pillar is among those of this master."""
        listed = self._opts.get("ext_pillar") or ()
        return any(isinstance(entry, dict) and KEY in entry for entry in listed)

    def accepted(self) -> frozenset[str]:
        """Return the minions whose keys are accepted."""
        return keys.every_accepted(self._opts)

    def compile(self, minion: str, pillarenv: str) -> None:
        """Compile a pillar for what our ext_pillar does with it; nothing is cached or sent."""
        self._compile(self._opts, minion, pillarenv)

    def as_written(self, minion: str) -> Mapping[str, Any]:
        """Return a pillar with its references, as it is without our ext_pillar."""
        listed = self._opts.get("ext_pillar") or ()
        kept = [
            others
            for one in listed
            if isinstance(one, Mapping)
            and (others := {name: given for name, given in one.items() if name != KEY})
        ]
        return self._compile({**self._opts, "ext_pillar": kept}, minion, "")

    def grains(self, minion: str) -> Mapping[str, Any]:
        """Return the grains of a minion that this master has kept; none where it has not."""
        return _grains(minion, self._opts) or {}

    def _compile(self, opts: Mapping[str, Any], minion: str, pillarenv: str) -> Mapping[str, Any]:
        try:
            grains = _grains(minion, opts)
            if not grains:
                raise NoGrains(f"{minion}: this master has no grains of it")
            compiler = salt.pillar.Pillar(opts, grains, minion, None, pillarenv=pillarenv or None)
            try:
                found: dict[str, Any] = compiler.compile_pillar()
            finally:
                compiler.destroy()
        except K8sNodesError:
            raise
        except Exception as exc:
            # Renderers, other ext_pillars and cache drivers raise whatever they do.
            log.debug("%s", minion, exc_info=True)
            raise NotCompiled(f"{minion}: its pillar fails ({type(exc).__name__})") from exc
        if errors := found.get("_errors"):
            raise NotCompiled(f"{minion}: its pillar has {len(errors)} errors, see pillar.items")
        return found


def _grains(minion: str, opts: Mapping[str, Any]) -> Mapping[str, Any] | None:
    found: Mapping[str, Any] | None = salt.utils.minions.get_minion_data(minion, opts)[1]
    return found
