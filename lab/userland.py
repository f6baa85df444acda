"""
The firewall programs of other Debian releases, each in a root folder built once into ``.cache``.

``python -m lab.userland`` builds what is missing, from the Debian mirror that apt of this machine
uses. The packages are unpacked and not configured: their programs, libraries and files are as
Debian ships them, and the few links and files that their installation would make are made here.
"""

from __future__ import annotations

import contextlib
import fcntl
import hashlib
import shlex
import shutil
import subprocess
import sys
import tempfile
import time
from collections.abc import Callable, Iterator, Sequence
from concurrent.futures import ThreadPoolExecutor
from dataclasses import dataclass
from pathlib import Path

from lab.errors import LabError

CACHE = Path(__file__).parents[1] / ".cache" / "userland"
MIRROR = "http://deb.debian.org/debian"
ARCHIVE = "http://archive.debian.org/debian"
"""Where releases are moved to when their support has ended."""

_BUILD_SECONDS = 600
_PATH = "/usr/local/sbin:/usr/sbin:/sbin:/usr/local/bin:/usr/bin:/bin"
# What scripts of the packages call, beside the programs themselves.
_COMMON = (
    "nftables", "iptables", "ipset", "iproute2", "conntrack",
    "dash", "coreutils", "grep", "sed", "debianutils",
)  # fmt: skip
# Its own folders; the rest of the root is shared by all that use it.
_WRITTEN = ("etc", "run", "var", "tmp")
_MOUNT = """
root=$1 own=$2
for one in etc run var tmp; do mount --bind "$own/$one" "$root/$one"; done
mount --rbind /proc "$root/proc"
mount --rbind /dev "$root/dev"
echo ready
exec cat
"""

Progress = Callable[[str], None]


class UserlandMissing(LabError):
    """The programs of a release are not here; the sentence says why, and what to do."""


@dataclass(frozen=True, slots=True)
class Release:
    """A Debian release, and what is used of it beside the kernel's own programs."""

    name: str
    number: int
    more: tuple[str, ...] = ()

    @property
    def folder(self) -> Path:
        return CACHE / self.name

    @property
    def packages(self) -> tuple[str, ...]:
        return (*_COMMON, *self.more)

    @property
    def is_built(self) -> bool:
        """Whether the cache has what this file asks for now."""
        stamp = self.folder / "stamp"
        return stamp.is_file() and stamp.read_text() == _fingerprint()

    @property
    def problem(self) -> Path:
        """Where a build that failed leaves its reason."""
        return CACHE / f"{self.name}.problem"

    def __str__(self) -> str:
        return f"Debian {self.number}"


# The package ufw breaks netfilter-persistent, so they are in different releases.
RELEASES = (
    Release("bullseye", 11),
    Release("bookworm", 12, ("netfilter-persistent", "iptables-persistent", "ipset-persistent")),
    Release("trixie", 13, ("ufw", "firewalld", "dbus")),
)


@dataclass(frozen=True, slots=True)
class Root:
    """A release in use: its programs, with files of its own for what they write."""

    release: Release
    own: Path
    mounts: Path
    """The mount namespace in which the files of its own are those of the release."""

    @classmethod
    @contextlib.contextmanager
    def entered(cls, release: Release, own: Path) -> Iterator[Root]:
        """Copy what the programs write to; raise UserlandMissing where the release is not here."""
        if not release.is_built:
            with contextlib.suppress(FileNotFoundError):
                raise UserlandMissing(release.problem.read_text())
            raise UserlandMissing(f"the programs of {release} are not here: make userlands")
        for name in _WRITTEN:
            shutil.copytree(release.folder / name, own / name, symlinks=True)
        # The namespace ends with this process, whatever ends it, and its mounts with it.
        with subprocess.Popen(
            ["unshare", "--mount", "--propagation", "private",
             "sh", "-ec", _MOUNT, "sh", str(release.folder), str(own)],
            stdin=subprocess.PIPE, stdout=subprocess.PIPE, text=True,
        ) as holder:  # fmt: skip
            assert holder.stdout is not None
            if holder.stdout.readline() != "ready\n":
                raise UserlandMissing(f"{release.folder} cannot be entered: it needs CAP_SYS_ADMIN")
            yield cls(release, own, Path(f"/proc/{holder.pid}/ns/mnt"))

    def argv(self, *argv: str) -> list[str]:
        """Return the command that runs a program there, in the network namespace it is run in."""
        return [
            "/usr/bin/env", "-i", f"PATH={_PATH}", "LC_ALL=C", "HOME=/root",
            "nsenter", f"--mount={self.mounts}", "chroot", str(self.release.folder), *argv,
        ]  # fmt: skip

    def wrap(self, folder: Path) -> None:
        """Make a folder of commands with the names of all programs there."""
        folder.mkdir()
        places = [self.release.folder / name for name in ("usr/sbin", "sbin", "usr/bin", "bin")]
        for program in sorted({path.name for place in places for path in place.iterdir()}):
            inside = next(
                f"/{place.relative_to(self.release.folder)}/{program}"
                for place in places
                if (place / program).is_symlink() or (place / program).exists()
            )
            script = f'#!/bin/sh\nexec {shlex.join(self.argv(inside))} "$@"\n'
            (folder / program).write_text(script)
            (folder / program).chmod(0o755)


def build(release: Release, progress: Progress = print) -> Path:
    """Return the folder of a release, building it first where necessary."""
    CACHE.mkdir(parents=True, exist_ok=True)
    with _only_one(CACHE / f"{release.name}.lock"):
        if release.is_built:
            return release.folder
        begin = time.monotonic()
        release.problem.unlink(missing_ok=True)
        try:
            with tempfile.TemporaryDirectory(prefix=f"building-{release.name}-", dir=CACHE) as name:
                _build(release, Path(name))
        except UserlandMissing as exc:
            release.problem.write_text(str(exc))
            raise
        progress(f"built the programs of {release} in {time.monotonic() - begin:.0f} s")
    return release.folder


def build_all(progress: Progress = print) -> list[str]:
    """Build all releases at once, for most of it is waiting; return the problems."""

    def attempt(release: Release) -> str:
        try:
            build(release, progress)
        except UserlandMissing as exc:
            return str(exc)
        return ""

    missing = [str(release) for release in RELEASES if not release.is_built]
    if missing:
        progress(f"unpacking {', '.join(missing)}: one to two minutes")
    with ThreadPoolExecutor(max_workers=len(RELEASES)) as pool:
        return [problem for problem in pool.map(attempt, RELEASES) if problem]


def _build(release: Release, folder: Path) -> None:
    program = shutil.which("mmdebstrap")
    if program is None:
        raise UserlandMissing(
            f"the programs of {release} are not here: mmdebstrap is not installed: make tools"
        )
    fresh, log = folder / "fresh", ""
    for mirror in dict.fromkeys((*_mirrors(), MIRROR, ARCHIVE)):
        shutil.rmtree(fresh, ignore_errors=True)
        argv = [
            program, "--quiet", "--variant=extract", f"--include={','.join(release.packages)}",
            # The archive's lists are signed, and out of date for ever.
            '--aptopt=Acquire::Check-Valid-Until "false"',
            '--aptopt=Acquire::http::Timeout "20"',
            '--aptopt=Acquire::Retries "2"',
            release.name, str(fresh), mirror,
        ]  # fmt: skip
        done = _run(argv)
        if not done:
            break
        log += f"\n{mirror}: {done}"
    else:
        raise UserlandMissing(
            f"the programs of {release} are not here: mmdebstrap cannot get them. "
            f"Let this machine reach a Debian mirror, then: make userlands{log}"
        )
    _finish(fresh)
    (fresh / "stamp").write_text(_fingerprint())
    if release.folder.exists():
        release.folder.rename(folder / "old")
    fresh.rename(release.folder)


def _run(argv: Sequence[str]) -> str:
    """Return why a program failed; empty where it did not."""
    try:
        done = subprocess.run(
            argv, capture_output=True, text=True, timeout=_BUILD_SECONDS, check=False
        )
    except subprocess.TimeoutExpired:
        return f"no result after {_BUILD_SECONDS} s"
    errors = [line for line in done.stderr.splitlines() if line.startswith(("E:", "Err:"))]
    return " ".join(errors or done.stderr.splitlines()[-1:]) if done.returncode else ""


def _mirrors() -> list[str]:
    """Return where apt of this machine gets Debian from; empty where it is another system."""
    argv = ["apt-get", "indextargets", "--format", "$(REPO_URI)", "Created-By: Packages"]
    done = subprocess.run(argv, capture_output=True, text=True, check=False)
    addresses = [line.rstrip("/") for line in done.stdout.split()]
    return [one for one in dict.fromkeys(addresses) if one.endswith("/debian")]


def _finish(root: Path) -> None:
    """Make what the installation of the packages would make."""
    for name in ("proc", "dev", "run", "var", "tmp", "usr/sbin"):
        (root / name).mkdir(parents=True, exist_ok=True)
    shutil.rmtree(root / "var" / "lib" / "apt", ignore_errors=True)
    for family in ("iptables", "ip6tables"):
        for suffix in ("", "-save", "-restore"):
            _link(root / "usr" / "sbin" / f"{family}{suffix}", "xtables-nft-multi")
    (root / "etc" / "passwd").write_text(
        "root:x:0:0:root:/root:/bin/sh\nmessagebus:x:100:100::/nonexistent:/bin/false\n"
    )
    (root / "etc" / "group").write_text("root:x:0:\nmessagebus:x:100:\n")
    ufw = root / "usr" / "share" / "ufw"
    if not ufw.is_dir():
        return
    for source in (ufw / "ufw.conf", *ufw.glob("*.init"), *ufw.glob("iptables/*.rules")):
        target = root / "etc" / "ufw" / source.name
        shutil.copy(source, target)
        target.chmod(0o640)


def _link(path: Path, target: str) -> None:
    if not path.is_symlink() and not path.exists():
        path.symlink_to(target)


def _fingerprint() -> str:
    return hashlib.sha256(Path(__file__).read_bytes()).hexdigest()


@contextlib.contextmanager
def _only_one(path: Path) -> Iterator[None]:
    with path.open("w") as lock:
        fcntl.flock(lock, fcntl.LOCK_EX)
        yield


if __name__ == "__main__":
    problems = build_all(lambda text: print(text, flush=True))
    for text in problems:
        print(text, file=sys.stderr)
    sys.exit(1 if problems else 0)
