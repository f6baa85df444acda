"""
What persons decided, in a small file beside the store that outlives it.

A pause, the pinned identity of each cluster, and the changes that persons released or rejected.
The store may be deleted or set aside, and is filled again; a decision cannot be found again.
"""

from __future__ import annotations

import contextlib
import errno
import hashlib
import logging
import os
import secrets
import stat
import time
from collections.abc import Callable, Iterator
from pathlib import Path

import msgspec

from salt_ext.core.errors import StoreError
from salt_ext.store.control import ControlFlag
from salt_ext.store.locks import DECISIONS, exclusive

log = logging.getLogger(__name__)

FILE = "decisions.json"

VERSION = 1
"""Grows with each change of the structs: what an older release cannot read, it must not drop."""

MAX_BYTES = 4 * 1024 * 1024
"""A larger file is refused unread; about 20,000 rejected nodes fit."""

_BUSY = 2.0
"""Seconds to wait for another process's update; one lasts milliseconds."""


class Decided(msgspec.Struct, frozen=True, kw_only=True, forbid_unknown_fields=True):
    """A held change that a person decided on."""

    kind: str
    subjects: dict[str, str]
    """Names of what was held, with a fingerprint of what was shown."""
    token: str
    by: str
    at: float
    reason: str = ""
    """What the person said."""
    why: str = ""
    """What the guard said."""


class ClusterDecisions(msgspec.Struct, frozen=True, kw_only=True, forbid_unknown_fields=True):
    """What was decided about one cluster."""

    identity: str = ""
    """The uid of its kube-system namespace in the last view that was accepted."""
    confirmations: list[Decided] = []
    """Confirmed by persons; the engine has not taken them yet."""
    released: dict[str, dict[str, str]] = {}
    """By kind, names and fingerprints: taken by the engine, while the change is not made yet."""
    rejected: dict[str, dict[str, str]] = {}
    """By kind, names and fingerprints: stay held until they change."""


class StoreMark(msgspec.Struct, frozen=True, kw_only=True, forbid_unknown_fields=True):
    """What tells one store from another, and from a copy that replaced it."""

    id: str
    inode: int


class Recovery(msgspec.Struct, frozen=True, kw_only=True, forbid_unknown_fields=True):
    """What is known since the store was lost."""

    store: StoreMark
    """The store that is there now."""
    since: float
    why: str
    aside: str = ""
    """The file that the lost store was set aside as."""
    agreed: list[str] = []
    """The clusters whose view agrees with what minions were served."""
    reports: dict[str, str] = {}
    """Of each cluster, how far it agrees."""


class Decisions(msgspec.Struct, frozen=True, kw_only=True, forbid_unknown_fields=True):
    """The whole file."""

    paused: ControlFlag | None = None
    store: StoreMark | None = None
    """The store that the decisions were made with; None before the first engine ran."""
    recovery: Recovery | None = None
    """Counts while its store is there, and not the one above."""
    clusters: dict[str, ClusterDecisions] = {}


class UnusableDecisions(StoreError):
    """The file cannot be used: nothing is published until a person has looked at it."""

    def __init__(self, path: Path, why: str, cure: str = "") -> None:
        super().__init__(path, why, cure)
        self.path = path
        self.why = why
        self.cure = cure or (
            "restore the file from a backup, or run `salt-run k8s_nodes.resume`, which sets it "
            "aside and begins a new one"
        )

    def __str__(self) -> str:
        return f"{self.path} cannot be used: {self.why}. Nothing is published; {self.cure}"


class _File(msgspec.Struct, frozen=True, kw_only=True):
    version: int
    checksum: str = ""
    decisions: msgspec.Raw = msgspec.Raw(b"{}")


_Signature = tuple[int, ...]

_RACY = 1_000_000_000
"""Nanoseconds for which a file is read each time: a next one may get the same inode and time."""

_encode = msgspec.json.Encoder().encode
_decode_file = msgspec.json.Decoder(_File).decode
_decode = msgspec.json.Decoder(Decisions).decode


class DecisionFile:
    """Read by every process of the master, before each publish; written when a person decides."""

    def __init__(self, state_dir: str) -> None:
        self.path = Path(state_dir) / FILE
        self._cached: tuple[_Signature, Decisions] | None = None

    def read(self) -> Decisions:
        """
        Return everything that was decided; nothing where the file does not exist.

        :class:`UnusableDecisions` when the file is damaged, newer, or writable by others.
        """
        try:
            descriptor = os.open(self.path, _READ)
        except FileNotFoundError:
            return Decisions()
        except OSError as exc:
            raise self._unusable(exc) from exc
        try:
            status = os.fstat(descriptor)
            signature = _signature(status)
            cached = self._cached
            if cached is not None and cached[0] == signature:
                return cached[1]
            self._check(status)
            decisions = self._parse(_read_all(descriptor))
        except OSError as exc:
            raise self._unusable(exc) from exc
        finally:
            os.close(descriptor)
        if abs(time.time_ns() - status.st_ctime_ns) > _RACY:
            self._cached = signature, decisions
        return decisions

    def paused(self) -> ControlFlag | None:
        """Return who has paused all publishing, None while it is not paused."""
        return self.read().paused

    def pause(self, flag: ControlFlag) -> bool:
        """Pause all publishing; False when it was paused before, and that flag stays."""
        return self.change(
            lambda old: old if old.paused else msgspec.structs.replace(old, paused=flag)
        )

    def resume(self) -> bool:
        """End the pause; False when there was none."""
        return self.change(lambda old: msgspec.structs.replace(old, paused=None))

    def set_aside_unusable(self) -> str:
        """Begin a new file in place of one that cannot be used; return the name of the old one."""
        with self._locked():
            try:
                self.read()
            except UnusableDecisions as exc:
                kept = self._set_aside(exc)
                self._write(Decisions())
                return kept
            return ""

    def of(self, cluster: str) -> ClusterDecisions:
        """Return what was decided about a cluster."""
        return self.read().clusters.get(cluster) or ClusterDecisions()

    def update(
        self, cluster: str, change: Callable[[ClusterDecisions], ClusterDecisions]
    ) -> ClusterDecisions:
        """Change what was decided about a cluster, and return it; nothing else writes meanwhile."""
        changed = ClusterDecisions()

        def apply(old: Decisions) -> Decisions:
            nonlocal changed
            changed = change(old.clusters.get(cluster) or ClusterDecisions())
            clusters = {**old.clusters, cluster: changed}
            if changed == ClusterDecisions():
                del clusters[cluster]
            return msgspec.structs.replace(old, clusters=clusters)

        self.change(apply)
        return changed

    def change(self, change: Callable[[Decisions], Decisions]) -> bool:
        """Write what a function makes of the decisions; False when it changes nothing."""
        with self._locked():
            old = self.read()
            new = change(old)
            if new == old:
                return False
            self._write(new)
            return True

    @contextlib.contextmanager
    def _locked(self) -> Iterator[None]:
        lock = self.path.with_name(DECISIONS)
        with contextlib.ExitStack() as stack:
            try:
                locked = stack.enter_context(exclusive(lock, timeout=_BUSY))
            except OSError as exc:
                raise StoreError(f"{lock}: {exc.strerror}") from exc
            if not locked:
                raise StoreError(f"{lock}: another process has held it for {_BUSY:.0f} s")
            yield

    def _write(self, decisions: Decisions) -> None:
        """Replace the file; whoever is killed meanwhile leaves the old one or the new one."""
        data = _sealed(msgspec.Raw(_encode(decisions)))
        if len(data) > MAX_BYTES:
            raise StoreError(
                f"{self.path}: {len(data)} bytes are too many, at most {MAX_BYTES} fit; "
                "nothing was recorded"
            )
        # Under the lock: one that is there was left by a process that was killed.
        for left in self.path.parent.glob(f".{FILE}.*"):
            with contextlib.suppress(OSError):
                left.unlink()
        fresh = self.path.with_name(f".{FILE}.{os.getpid()}.{secrets.token_hex(4)}")
        try:
            _write_all(fresh, data)
            os.replace(fresh, self.path)  # noqa: PTH105  as tests stop it
            _sync_folder(self.path.parent)
        except OSError as exc:
            with contextlib.suppress(OSError):
                fresh.unlink(missing_ok=True)
            raise StoreError(f"{self.path}: {exc.strerror}") from exc

    def _set_aside(self, problem: UnusableDecisions) -> str:
        moment = time.strftime("%Y%m%dT%H%M%S")
        kept = self.path.with_name(f"{FILE}.aside-{moment}-{os.getpid()}")
        try:
            self.path.replace(kept)
        except OSError as exc:
            raise StoreError(f"{self.path}: cannot be set aside: {exc.strerror}") from exc
        log.warning(
            "store: %s cannot be used: %s. It was set aside as %s, and a new file begins empty. "
            "Lost: pinned identities, confirmed and rejected changes [decisions-set-aside]",
            *(self.path, problem.why, kept.name),
        )
        return kept.name

    def _check(self, status: os.stat_result) -> None:
        """Refuse what this product cannot have written, before a byte of it is read."""
        if not stat.S_ISREG(status.st_mode):
            raise UnusableDecisions(self.path, "it is not a regular file")
        if status.st_size > MAX_BYTES:
            raise UnusableDecisions(
                self.path, f"it has {status.st_size} bytes, at most {MAX_BYTES} are read"
            )
        if status.st_mode & 0o022:
            raise UnusableDecisions(
                self.path,
                f"others may write to it (mode {stat.S_IMODE(status.st_mode):04o})",
                "look at what it says, then run `chmod 600` on it",
            )
        # Root's tools may read what the master's user wrote: that user owns the folder.
        owner = self.path.parent.stat().st_uid
        if status.st_uid not in (0, os.geteuid(), owner):
            raise UnusableDecisions(
                self.path,
                f"user id {status.st_uid} owns it, not {owner}, the owner of its folder",
                "look at what it says, then run `chown` on it",
            )

    def _parse(self, data: bytes) -> Decisions:
        try:
            file = _decode_file(data)
            if file.version != VERSION:
                raise UnusableDecisions(
                    self.path,
                    f"its version is {file.version}, this release reads {VERSION}",
                    "install the release that wrote it, or run `salt-run k8s_nodes.resume`, "
                    "which sets it aside and begins a new one",
                )
            if file.checksum != _checksum(file.decisions):
                raise UnusableDecisions(self.path, "its checksum does not fit its content")
            return _decode(file.decisions)
        except (msgspec.MsgspecError, UnicodeDecodeError, RecursionError) as exc:
            raise UnusableDecisions(self.path, f"it cannot be read ({exc})") from exc

    def _unusable(self, exc: OSError) -> UnusableDecisions:
        if exc.errno == errno.ELOOP:
            return UnusableDecisions(self.path, "it is a symbolic link")
        return UnusableDecisions(self.path, f"it cannot be read ({exc.strerror})")


# A pipe in its place must not block, and a link must not lead to somebody else's file.
_READ = os.O_RDONLY | os.O_CLOEXEC | os.O_NOFOLLOW | os.O_NONBLOCK


def _signature(status: os.stat_result) -> _Signature:
    # The time of the inode too: it tells a change of rights, and cannot be set back by a copy.
    return (
        status.st_dev,
        status.st_ino,
        status.st_size,
        status.st_mtime_ns,
        status.st_ctime_ns,
    )


def _read_all(descriptor: int) -> bytes:
    parts = []
    left = MAX_BYTES + 1
    while left > 0 and (part := os.read(descriptor, left)):
        parts.append(part)
        left -= len(part)
    return b"".join(parts)


def _write_all(path: Path, data: bytes) -> None:
    descriptor = os.open(path, os.O_WRONLY | os.O_CREAT | os.O_EXCL | os.O_CLOEXEC, 0o600)
    try:
        while data:
            data = data[os.write(descriptor, data) :]
        os.fsync(descriptor)
    finally:
        os.close(descriptor)


def _sync_folder(path: Path) -> None:
    descriptor = os.open(path, os.O_RDONLY | os.O_DIRECTORY | os.O_CLOEXEC)
    try:
        os.fsync(descriptor)
    finally:
        os.close(descriptor)


def _sealed(body: msgspec.Raw) -> bytes:
    return _encode(_File(version=VERSION, checksum=_checksum(body), decisions=body))


def _checksum(body: msgspec.Raw) -> str:
    return hashlib.sha256(bytes(body)).hexdigest()
