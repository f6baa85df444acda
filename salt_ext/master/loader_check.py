"""Whether Salt's loader finds this product's modules on this master."""

from __future__ import annotations

import salt.loader

from salt_ext.core.config.config import KEY


def why_not_loaded(opts: dict[str, object], kind: str) -> str:
    """Return why the module of a kind, ``engines`` or ``pillar``, is not loaded; empty if it is."""
    if kind == "engines":
        loader, name = salt.loader.engines(opts, {}, {}, {}), f"{KEY}.start"
    else:
        loader, name = salt.loader.pillars(opts, {}), KEY
    return "" if name in loader else str(loader.missing_fun_string(name))
