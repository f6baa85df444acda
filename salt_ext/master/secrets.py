"""Secrets that the configuration names by an ``sdb://`` URI, from wherever Salt keeps them."""

from __future__ import annotations

from collections.abc import Mapping
from dataclasses import dataclass, field
from typing import Any

import salt.utils.sdb
from salt.exceptions import SaltException

from salt_ext.core.errors import NoSecret


@dataclass(frozen=True, slots=True)
class Secrets:
    """Asks Salt's ``sdb`` each time."""

    opts: Mapping[str, Any] = field(repr=False)

    def __call__(self, uri: str) -> str:
        """Return what a URI stands for; :class:`NoSecret` when that is nothing, or no text."""
        try:
            found = salt.utils.sdb.sdb_get(uri, self.opts, strict=True)
        except SaltException as exc:
            raise NoSecret(uri, " ".join(str(exc).split())[:200]) from exc
        except Exception as exc:
            # Drivers raise whatever their libraries do, and its text may quote what they read.
            raise NoSecret(uri, f"its sdb driver fails ({type(exc).__name__})") from exc
        if not isinstance(found, str) or not found:
            what = "has no value" if not found else f"is no text but a {type(found).__name__}"
            raise NoSecret(uri, what)
        return found
