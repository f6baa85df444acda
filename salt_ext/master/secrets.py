"""Secrets that the configuration names by an ``sdb://`` URI, from wherever Salt keeps them."""

from __future__ import annotations

from collections.abc import Mapping
from dataclasses import dataclass, field

import salt.utils.sdb
from salt.exceptions import SaltException

from salt_ext.core.errors import NoSecret


@dataclass(frozen=True, slots=True)
class SecretResolver:
    """Asks Salt's ``sdb`` at each call: a secret may have been rotated."""

    opts: Mapping[str, object] = field(repr=False)

    def __call__(self, uri: str) -> str:
        """Return the text behind a URI; :class:`NoSecret` when there is none, or it is not text."""
        try:
            secret = salt.utils.sdb.sdb_get(uri, self.opts, strict=True)
        except SaltException as exc:
            raise NoSecret(uri, " ".join(str(exc).split())[:200]) from exc
        except Exception as exc:
            # Drivers raise errors of every type, whose text may quote what they read.
            raise NoSecret(uri, f"its sdb driver failed ({type(exc).__name__})") from exc
        if not secret:
            raise NoSecret(uri, "has no value")
        if not isinstance(secret, str):
            raise NoSecret(uri, f"has a {type(secret).__name__}, not text")
        return secret
