"""One call of a program, its input and its output."""

from __future__ import annotations

import contextlib
import os
import shutil
import subprocess
from collections.abc import Iterator, Sequence

from . import errors

_SECONDS = 60
_PATH = "/usr/local/sbin:/usr/sbin:/sbin:/usr/local/bin:/usr/bin:/bin"

_inherited: list[int] = []


@contextlib.contextmanager
def inheriting(handle: int) -> Iterator[None]:
    """Leave an open file open in the programs that are called meanwhile."""
    _inherited.append(handle)
    try:
        yield
    finally:
        _inherited.remove(handle)


def found(program: str) -> str | None:
    """Return the path of a program, None where there is none to be called."""
    return shutil.which(program, path=_PATH)


def installed(program: str) -> bool:
    """Whether a program is there to be called."""
    return found(program) is not None


def run(argv: Sequence[str], text: str = "") -> str:
    """Return what a program printed; raise what it said when it refused."""
    program = found(argv[0])
    if program is None:
        raise errors.Missing(argv[0])
    try:
        done = subprocess.run(
            [program, *argv[1:]],
            input=text.encode("utf-8", "surrogateescape"),
            capture_output=True,
            timeout=_SECONDS,
            check=False,
            pass_fds=tuple(_inherited),
            # Not the caller's: messages are compared, and no library may be preloaded.
            env={"PATH": _PATH, "LC_ALL": "C", "HOME": os.environ.get("HOME", "/root")},
        )
    except subprocess.TimeoutExpired as exc:
        raise errors.CommandFailed(argv, -1, f"no end within {_SECONDS} s") from exc
    if done.returncode:
        said = (done.stderr or done.stdout).decode(errors="replace")
        raise errors.CommandFailed(argv, done.returncode, said)
    # Comments in others' rules may be of any encoding, and are given back as they are.
    return done.stdout.decode("utf-8", "surrogateescape")
