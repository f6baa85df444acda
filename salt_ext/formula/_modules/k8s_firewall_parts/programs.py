"""Run one program: its arguments, its input, its output."""

from __future__ import annotations

import contextlib
import os
import shutil
import subprocess
from collections.abc import Iterator, Sequence

from . import errors

_TIMEOUT_SECONDS = 60
_PATH = "/usr/local/sbin:/usr/sbin:/sbin:/usr/local/bin:/usr/bin:/bin"


_inherited: list[int] = []


@contextlib.contextmanager
def inheriting(handle: int) -> Iterator[None]:
    """Let every program that starts meanwhile inherit an open file."""
    _inherited.append(handle)
    try:
        yield
    finally:
        _inherited.remove(handle)


def path_of(program: str) -> str | None:
    """Return the path of a program; None where it is not installed."""
    return shutil.which(program, path=_PATH)


def installed(program: str) -> bool:
    """Whether a program is installed."""
    return path_of(program) is not None


def run(argv: Sequence[str], text: str = "") -> str:
    """Return what a program printed; raise CommandFailed with its output where it failed."""
    program = path_of(argv[0])
    if program is None:
        raise errors.MissingProgram(argv[0])
    try:
        done = subprocess.run(
            [program, *argv[1:]],
            input=text.encode("utf-8", "surrogateescape"),
            capture_output=True,
            timeout=_TIMEOUT_SECONDS,
            check=False,
            pass_fds=tuple(_inherited),
            # Not the caller's: messages are compared, and no library may be preloaded.
            env={"PATH": _PATH, "LC_ALL": "C", "HOME": os.environ.get("HOME", "/root")},
        )
    except subprocess.TimeoutExpired as exc:
        output = f"timed out after {_TIMEOUT_SECONDS} s and was killed"
        raise errors.CommandFailed(argv, -1, output) from exc
    if done.returncode:
        output = (done.stderr or done.stdout).decode(errors="replace")
        raise errors.CommandFailed(argv, done.returncode, output)
    # Comments in foreign rules may have any encoding; they are written back byte for byte.
    return done.stdout.decode("utf-8", "surrogateescape")
