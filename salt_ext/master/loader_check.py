"""Whether Salt's loader finds our modules on this master."""

from __future__ import annotations

from typing import Any

import salt.loader

from salt_ext.core.config.config import KEY


def missing(opts: dict[str, Any], kind: str) -> str:
    """Return why the engine or the ext_pillar is not loaded, nothing when it is."""
    if kind == "engines":
        loader, name = salt.loader.engines(opts, {}, {}, {}), f"{KEY}.start"
    else:
        loader, name = salt.loader.pillars(opts, {}), KEY
    return "" if name in loader else str(loader.missing_fun_string(name))
