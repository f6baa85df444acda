"""A secret of this master's own, made when it is first asked for."""

from __future__ import annotations

import contextlib
import os
import secrets
from pathlib import Path

from salt_ext.core.errors import StoreError

FILE = "signing_key"
_BYTES = 32


class SigningKey:
    """A file beside the store: it need not go when that is made anew."""

    def __init__(self, state_dir: str) -> None:
        self._path = Path(state_dir) / FILE

    def read(self) -> bytes:
        """Return it; the same for every process of this master."""
        try:
            with contextlib.suppress(FileNotFoundError):
                found = self._path.read_bytes()
                if len(found) == _BYTES:
                    return found
            return self._make()
        except OSError as exc:
            raise StoreError(f"{self._path}: {exc.strerror}") from exc

    def _make(self) -> bytes:
        self._path.parent.mkdir(mode=0o700, parents=True, exist_ok=True)
        fresh = self._path.with_name(f".{FILE}.{os.getpid()}.{secrets.token_hex(4)}")
        descriptor = os.open(fresh, os.O_WRONLY | os.O_CREAT | os.O_EXCL, 0o600)
        with os.fdopen(descriptor, "wb") as file:
            file.write(secrets.token_bytes(_BYTES))
            file.flush()
            os.fsync(file.fileno())
        try:
            # Whoever is first makes it; one that is half of one is replaced.
            with contextlib.suppress(FileExistsError):
                os.link(fresh, self._path)
            if self._path.stat().st_size != _BYTES:
                fresh.replace(self._path)
        finally:
            fresh.unlink(missing_ok=True)
        return self._path.read_bytes()
