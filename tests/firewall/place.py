"""A place to send packets at: a server with a firewall, and hosts that try to get in."""

from __future__ import annotations

import contextlib
import os
import socket
import subprocess
import sys
from collections.abc import Iterator
from dataclasses import dataclass
from pathlib import Path
from typing import Any

import pytest
import salt.config
import salt.loader
import yaml

from lab.network import address
from lab.network.namespace import Namespace
from lab.network.switch import Switch
from lab.traffic import echo_server

FORMULA = Path(__file__).parents[2] / "salt_ext" / "formula"
PORT = 5432
PATIENCE = 0.25
"""Below one second, after which the kernel repeats a SYN: one packet's fate."""
ANSWER = 1.0
"""The service is a process, and may wait for a processor; the kernel's handshake does not."""

SERVER = address.minion(1)
SECOND = address.minion(2)
MEMBER = address.node("10.77.2.1")
OTHER = address.node("10.77.2.2")
STRANGER = address.STRANGER


@dataclass(frozen=True)
class Host:
    """One network namespace with an address of each family."""

    namespace: Namespace
    addresses: address.Addresses

    @property
    def v4(self) -> str:
        return str(self.addresses.v4)

    @property
    def v6(self) -> str:
        return str(self.addresses.v6)

    def run(self, *argv: str, text: str | None = None) -> str:
        with self.namespace.entered():
            done = subprocess.run(argv, input=text, capture_output=True, text=True, check=False)
        assert not done.returncode, f"{argv}: {done.stderr}"
        return done.stdout

    def connect(
        self, to: str, port: int = PORT, *, udp: bool = False, source: int = 0
    ) -> Conversation:
        """Open a conversation; raise OSError where there is no way in."""
        family = socket.AF_INET6 if ":" in to else socket.AF_INET
        with self.namespace.entered():
            sock = socket.socket(family, socket.SOCK_DGRAM if udp else socket.SOCK_STREAM)
        sock.setsockopt(socket.SOL_SOCKET, socket.SO_REUSEADDR, 1)
        sock.settimeout(PATIENCE)
        try:
            if source:
                sock.bind(("::" if ":" in to else "0.0.0.0", source))
            sock.connect((to, port))
        except OSError:
            sock.close()
            raise
        sock.settimeout(ANSWER)
        return Conversation(sock)

    def gets_in(self, to: str, port: int = PORT, *, udp: bool = False, source: int = 0) -> bool:
        """Whether a service answers there."""
        try:
            with contextlib.closing(self.connect(to, port, udp=udp, source=source)) as one:
                return one.answered()
        except OSError:
            return False


class Conversation:
    """A connection to a service that sends back what it gets."""

    def __init__(self, sock: socket.socket) -> None:
        self.sock = sock
        self._sent = 0

    def answered(self) -> bool:
        self._sent += 1
        said = f"<{self._sent}>".encode()
        try:
            self.sock.send(said)
            heard = b""
            while said not in heard:
                more = self.sock.recv(4096)
                if not more:
                    return False
                heard += more
        except OSError:
            return False
        return True

    def reset(self) -> bool:
        """Whether the other side has ended it with a reset; waits for one."""
        try:
            self.sock.settimeout(10)
            return self.sock.recv(4096) == b""
        except ConnectionResetError:
            return True
        except OSError:
            return False
        finally:
            self.sock.settimeout(ANSWER)

    def close(self) -> None:
        self.sock.close()


class Minion:
    """The module on the server, loaded by Salt's own loader after Salt's own sync."""

    def __init__(self, folder: Path, host: Host) -> None:
        self.host = host
        self.folder = folder
        self.state_dir = folder / "state"
        self._pillar = folder / "pillar"
        self._pillar.mkdir()
        (self._pillar / "top.sls").write_text("base: {'*': [all]}\n")
        opts = salt.config.minion_config(None)
        opts.update(
            {
                "id": "minion",
                "root_dir": str(folder),
                "cachedir": str(folder / "cache"),
                "extension_modules": str(folder / "extmods"),
                "file_client": "local",
                "file_roots": {"base": [str(FORMULA)]},
                "pillar_roots": {"base": [str(self._pillar)]},
                "k8s_firewall": {"state_dir": str(self.state_dir)},
                "master_ip": str(address.MASTER.v4),
            }
        )
        opts["grains"] = salt.loader.grains(opts)
        self.opts = opts
        self.synced = self.load()["saltutil.sync_all"](refresh=False)
        self.functions = self.load()

    def load(self) -> Any:
        opts = self.opts
        return salt.loader.minion_mods(opts, utils=salt.loader.utils(opts), context={})

    def pillar(self, pillar: dict[str, Any]) -> None:
        (self._pillar / "all.sls").write_text(yaml.safe_dump(pillar))

    def wants(self, *, nodes: dict[str, Any] | None = None, **block: Any) -> None:
        """Set the pillar: the block k8s_firewall, and what the master tells under k8s_nodes."""
        self.pillar({"k8s_firewall": block} | ({"k8s_nodes": nodes} if nodes else {}))

    def call(self, function: str, *args: Any, **kwargs: Any) -> Any:
        with self.host.namespace.entered():
            return self.functions[f"k8s_firewall.{function}"](*args, **kwargs)

    def sync(self, **block: Any) -> dict[str, Any]:
        """Set the pillar and bring it into force."""
        self.wants(**block)
        done = self.call("sync")
        assert done["result"] is True, done
        return dict(done)


@dataclass(frozen=True)
class Place:
    """Who is there."""

    switch: Switch
    server: Host
    member: Host
    other: Host
    stranger: Host


@contextlib.contextmanager
def made(name: str) -> Iterator[Place]:
    """Make a place and take it away."""
    spaces = {
        role: Namespace(f"k8s-fw.{name}.{role}")
        for role in ("switch", "server", "member", "other", "stranger")
    }
    switch = Switch(spaces["switch"])
    try:
        switch.create()
        hosts = {
            role: Host(spaces[role], where)
            for role, where in (
                ("server", SERVER), ("member", MEMBER), ("other", OTHER), ("stranger", STRANGER),
            )
        }  # fmt: skip
        for host in hosts.values():
            host.namespace.create()
            switch.plug(host.namespace, host.addresses)
        yield Place(switch, **hosts)
    finally:
        for space in spaces.values():
            space.remove()


@contextlib.contextmanager
def service(host: Host, port: int) -> Iterator[None]:
    """Let a host offer an echo service, TCP and UDP, IPv4 and IPv6."""
    with host.namespace.entered():
        child = subprocess.Popen(
            [sys.executable, "-I", echo_server.__file__, str(port)],
            stdout=subprocess.PIPE,
            text=True,
        )
    try:
        assert child.stdout is not None
        assert child.stdout.readline() == "ready\n"
        yield
    finally:
        child.kill()
        child.communicate()


def variant(host: Host, suffix: str) -> None:
    """Skip where the machine or its kernel does not have this iptables."""
    for command in ("iptables", "ip6tables"):
        try:
            host.run(f"{command}{suffix}", "-w", "-S")
        except (AssertionError, FileNotFoundError) as exc:
            pytest.skip(f"{command}{suffix} does not work here: {exc}")


def name() -> str:
    """A name for a place of this process."""
    return f"t{os.getpid()}"
