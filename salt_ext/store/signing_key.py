"""The key that signs the addresses which are published to minions; made at its first use."""

from __future__ import annotations

import contextlib
import os
import secrets
from pathlib import Path

from salt_ext.core.errors import StoreError

FILE = "signing_key"
_BYTES = 32


class SigningKey:
    """A file beside the store, which stays when the store is set aside."""

    def __init__(self, state_dir: str) -> None:
        self._path = Path(state_dir) / FILE

    def read(self) -> bytes:
        """Return the key, the same for every process of this master; :class:`StoreError`."""
        try:
            with contextlib.suppress(FileNotFoundError):
                key = self._path.read_bytes()
                if len(key) == _BYTES:
                    return key
            return self._create()
        except OSError as exc:
            raise StoreError(f"{self._path}: {exc.strerror}") from exc

    def _create(self) -> bytes:
        self._path.parent.mkdir(mode=0o700, parents=True, exist_ok=True)
        fresh = self._path.with_name(f".{FILE}.{os.getpid()}.{secrets.token_hex(4)}")
        descriptor = os.open(fresh, os.O_WRONLY | os.O_CREAT | os.O_EXCL, 0o600)
        with os.fdopen(descriptor, "wb") as file:
            file.write(secrets.token_bytes(_BYTES))
            file.flush()
            os.fsync(file.fileno())
        try:
            # The first process wins; a file that was cut is replaced.
            with contextlib.suppress(FileExistsError):
                os.link(fresh, self._path)
            if self._path.stat().st_size != _BYTES:
                fresh.replace(self._path)
        finally:
            fresh.unlink(missing_ok=True)
        return self._path.read_bytes()
