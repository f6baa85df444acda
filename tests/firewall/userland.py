"""The minion with the firewall programs and the boot files of another Debian release."""

from __future__ import annotations

import contextlib
import subprocess
from collections.abc import Iterator
from dataclasses import dataclass
from pathlib import Path

import pytest

from lab.userland import RELEASES, Release, Root, UserlandMissing
from tests.firewall.place import Host, Minion

BY_NAME = {release.name: release for release in RELEASES}


@dataclass(frozen=True)
class Userland:
    """Programs that act on the kernel of a host, and the files that they read at boot."""

    root: Root
    host: Host

    @property
    def release(self) -> Release:
        return self.root.release

    def file(self, path: str) -> Path:
        """Where a file of the release is."""
        return self.root.own / path.lstrip("/")

    def run(self, *argv: str, text: str | None = None) -> str:
        return self.host.run(*self.root.argv(*argv), text=text)

    def both(self, *rule: str) -> None:
        """Give iptables a rule of both families; those with an address get one of theirs."""
        for program in ("iptables", "ip6tables"):
            self.run(program, "-w", *rule)

    def allow(self, *addresses: str, more: tuple[str, ...] = ("-j", "ACCEPT")) -> None:
        """Append rules as formulas do."""
        for one in addresses:
            program = "ip6tables" if ":" in one else "iptables"
            self.run(program, "-w", "-I", "INPUT", "-s", one, "-p", "tcp", *more)

    @contextlib.contextmanager
    def daemon(self, *argv: str) -> Iterator[None]:
        """Run a program until the end."""
        log = self.root.own / f"{argv[0]}.log"
        with log.open("wb") as output, self.host.namespace.entered():
            child = subprocess.Popen(self.root.argv(*argv), stdout=output, stderr=output)
        try:
            yield
        finally:
            child.terminate()
            try:
                child.wait(20)
            except subprocess.TimeoutExpired:
                child.kill()
                child.wait()


@contextlib.contextmanager
def used(release: str, minion: Minion, folder: Path) -> Iterator[Userland]:
    """Let the minion's module run the programs and read the files of a release."""
    with contextlib.ExitStack() as stack:
        try:
            root = stack.enter_context(Root.entered(BY_NAME[release], folder / release))
        except UserlandMissing as exc:
            pytest.skip(str(exc))
        commands = root.own / "commands"
        root.wrap(commands)
        reading = minion.functions["k8s_firewall.verify"].__globals__["reading"]
        patch = stack.enter_context(pytest.MonkeyPatch.context())
        patch.setattr(reading.programs, "_PATH", str(commands))
        patch.setattr(reading, "_matching", lambda pattern: matching(root.own, pattern))
        yield Userland(root, minion.host)


def matching(own: Path, pattern: str) -> list[str]:
    """Return the files of a release; one that is named in full may be a test's own."""
    if "*" not in pattern and Path(pattern).is_relative_to(own):
        return [pattern]
    return sorted(map(str, own.glob(pattern.lstrip("/"))))
