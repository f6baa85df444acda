"""
Named network namespaces: one for each host of a world, and one for its switch.

Their names are ``k8s-lab.WORLD.HOST``, so that a world can be found and removed without its state
file.
"""

from __future__ import annotations

import contextlib
import ctypes
import os
import subprocess
from collections.abc import Iterator
from dataclasses import dataclass
from pathlib import Path

from lab.errors import CommandFailed
from lab.process import end, in_namespace

NAMESPACES = Path("/run/netns")

_PREFIX = "k8s-lab"
_CLONE_NEWNET = 0x40000000


def run(argv: list[str], *, script: str | None = None) -> str:
    """Run a short command of the machine; its output, or CommandFailed."""
    done = subprocess.run(
        argv, input=script, capture_output=True, text=True, timeout=120, check=False
    )
    if done.returncode:
        raise CommandFailed(argv, done.returncode, done.stderr or done.stdout)
    return done.stdout


@dataclass(frozen=True, slots=True)
class Namespace:
    """A named network namespace, which may or may not exist."""

    name: str

    @property
    def path(self) -> Path:
        return NAMESPACES / self.name

    def create(self) -> None:
        run(["ip", "netns", "add", self.name])

    def batch(self, *lines: str) -> None:
        """Run several `ip` commands in the namespace with one process."""
        run(["ip", "-n", self.name, "-batch", "-"], script="\n".join(lines) + "\n")

    def remove(self) -> None:
        """End every process in it and delete it; one that does not exist is fine."""
        while running := in_namespace(self.path):
            end(running)
        if self.path.exists():
            run(["ip", "netns", "delete", self.name])

    @contextlib.contextmanager
    def entered(self) -> Iterator[None]:
        """
        Let the calling thread open its sockets in this namespace.

        A socket stays where it was opened, so a client that keeps its connection may be used
        outside, but only inside can it connect again.
        """
        libc = ctypes.CDLL(None, use_errno=True)

        def enter(handle: int) -> None:
            if libc.setns(handle, _CLONE_NEWNET):
                code = ctypes.get_errno()
                raise OSError(code, os.strerror(code), self.name)

        before = os.open("/proc/thread-self/ns/net", os.O_RDONLY)
        try:
            there = os.open(self.path, os.O_RDONLY)
            try:
                enter(there)
            finally:
                os.close(there)
            try:
                yield
            finally:
                enter(before)
        finally:
            os.close(before)


def of_world(world: str) -> list[Namespace]:
    """Every namespace of a world that exists, also of an incomplete one."""
    if not NAMESPACES.is_dir():
        return []
    return [Namespace(path.name) for path in sorted(NAMESPACES.glob(f"{_PREFIX}.{world}.*"))]


def with_namespaces() -> set[str]:
    """The names of the worlds that have namespaces."""
    found = NAMESPACES.glob(f"{_PREFIX}.*.*") if NAMESPACES.is_dir() else []
    return {path.name.split(".")[1] for path in found}


def namespace(world: str, host: str) -> Namespace:
    """The namespace of a host of a world."""
    return Namespace(f"{_PREFIX}.{world}.{host}")
