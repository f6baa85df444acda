"""
One interface for both Kubernetes APIs of the lab: the real kube-apiserver and the emulator.

A back end lives in a folder: certificates, tokens, data, logs and ``backend.json``, from which
another Python process finds the running one again (construct it on the same folder). Besides
starting and stopping it has the faults that both can have for real; faults that only an
emulator has are in :mod:`lab.kubernetes.emulator.control`.
"""

from __future__ import annotations

import socket
import time
from abc import ABC, abstractmethod
from collections.abc import Callable, Mapping, Sequence
from pathlib import Path
from typing import ClassVar, TypeVar

from lab.kubernetes import certificates, endpoint
from lab.kubernetes.backend_file import BackendFile
from lab.kubernetes.client import Client, Dial, dial
from lab.kubernetes.endpoint import Endpoint
from lab.process import Launch, Process, launch

READY_SECONDS = 60.0

Self = TypeVar("Self", bound="Backend")


class BackendError(Exception):
    """The API server did not start or obey; the text has the end of its log."""


class Backend(ABC):
    """A Kubernetes API server that can be started, stopped and broken."""

    name: ClassVar[str]
    grace: ClassVar[float] = 10.0  # seconds for a process to end by itself

    def __init__(
        self,
        folder: Path,
        *,
        address: str = "127.0.0.1",
        port: int = 0,
        launch: Launch = launch,
        dial: Dial = dial,
    ) -> None:
        """
        ``launch`` starts its processes and ``dial`` connects to them, each in the network namespace
        it likes. Port 0 takes a free port of this process's namespace and keeps it; name a port for
        another one.
        """
        self.folder, self.address, self.port = folder, address, port
        self._launch, self._dial = launch, dial
        self._processes: dict[str, Process] = {}
        folder.mkdir(parents=True, exist_ok=True)
        self._read_file()

    @property
    def endpoint(self) -> Endpoint:
        host = f"[{self.address}]" if ":" in self.address else self.address
        tokens = {user: self._tokens / f"{user}.token" for user in endpoint.USERS}
        return Endpoint(
            url=f"https://{host}:{self.port}",
            ca_file=self.folder / "certs" / "ca.crt",
            tokens=tokens,
        )

    @property
    def pids(self) -> tuple[int, ...]:
        return tuple(process.pid for process in self._processes.values() if process.alive)

    def client(self, user: str | None = "admin", *, seconds: float = 15.0) -> Client:
        return Client(self.endpoint, user, seconds=seconds, dial=self._dial)

    def client_certificate(self, user: str, to: Path) -> tuple[Path, Path]:
        """Write a new certificate for a user, and its key, into a folder."""
        files = certificates.provide(self.folder / "certs", self.address)
        return certificates.issue(files, user, endpoint.USERS.get(user, "lab:nobodies"), to)

    def start(self) -> Endpoint:
        """Start on the data that is there; returns when it answers. A running one is left alone."""
        if self._runs(self._server):
            return self.endpoint
        certificates.provide(self.folder / "certs", self.address)
        endpoint.provide_tokens(self._tokens)
        if not self.port:
            self.port = _free_port(self.address)
        try:
            self._start()
            self._write_file()
            self._wait_until_ready()
        except BaseException:
            self.stop()
            raise
        return self.endpoint

    def stop(self) -> None:
        """End every process; the data stays."""
        for name in reversed(tuple(self._processes)):
            self._processes.pop(name).stop(self.grace)
        self._write_file()

    def restart(self) -> None:
        """
        Versions and objects survive; what was only in the server's memory does not: old versions
        are gone.
        """
        self.stop()
        self.start()

    def freeze(self) -> None:
        """Hold the API server still: connections stay open, nothing is answered."""
        self._processes[self._server].freeze()

    def thaw(self) -> None:
        self._processes[self._server].thaw()

    def kill(self) -> None:
        """
        Kill the API server, as the out-of-memory killer does; ``start`` brings it back.
        """
        self._processes.pop(self._server).kill()
        self._write_file()

    @abstractmethod
    def wipe(self) -> None:
        """
        Lose all data and come back as a new cluster: same address and CA, another uid of kube-
        system.
        """

    @abstractmethod
    def save(self, name: str = "saved") -> None:
        """Save all data, versions included, for :meth:`restore`."""

    @abstractmethod
    def restore(self, name: str = "saved") -> None:
        """Go back to the saved data: objects return, versions go back, connections end."""

    @abstractmethod
    def compact(self) -> None:
        """Forget old versions in the store, as a real API server has done every five minutes."""

    @abstractmethod
    def forbid(self, user: str) -> None:
        """Take away a user's rights (403), as an RBAC change does."""

    @abstractmethod
    def permit(self, user: str) -> None:
        """Give them back."""

    @abstractmethod
    def rotate(self, user: str) -> None:
        """Write a new token to the user's file; the old one gets 401 from now on."""

    @property
    @abstractmethod
    def _server(self) -> str:
        """The name of the process that listens."""

    @abstractmethod
    def _start(self) -> None:
        """Start what does not run."""

    def _ready(self) -> None:  # noqa: B027 - a back end may have nothing to add
        """
        Called once the server reports that it is ready; creates what must exist before the first
        request.
        """

    @property
    def _tokens(self) -> Path:
        return self.folder / "tokens"

    def _run(self, name: str, argv: Sequence[str], *, env: Mapping[str, str] | None = None) -> None:
        if self._runs(name):
            return
        child = self._launch(argv, log=self.log_file(name), env=env)
        self._processes[name] = Process.of(child.pid)

    def _runs(self, name: str) -> bool:
        return name in self._processes and self._processes[name].alive

    def log_file(self, name: str) -> Path:
        return self.folder / f"{name}.log"

    def _wait_until_ready(self) -> None:
        client = self.client(seconds=5)
        try:
            self._wait("ready", lambda: client.get("/readyz").status == 200)
        finally:
            client.close()
        self._ready()

    def _wait(self, what: str, done: Callable[[], bool], *, seconds: float = READY_SECONDS) -> None:
        """
        Ask until the answer is yes; a refused connection is a no, a process that has ended is an
        error.
        """
        limit = time.monotonic() + seconds
        while True:
            for name, process in self._processes.items():
                if not process.alive:
                    raise BackendError(f"{name} has ended:\n{self._tail(name)}")
            try:
                if done():
                    return
            except OSError:
                pass
            if time.monotonic() > limit:
                raise BackendError(f"not {what} within {seconds:g} s:\n{self._tail(self._server)}")
            time.sleep(0.02)

    def _tail(self, name: str) -> str:
        lines = self.log_file(name).read_text(errors="replace").splitlines()
        return "\n".join(lines[-15:])

    def _write_file(self) -> None:
        BackendFile(
            name=self.name, address=self.address, port=self.port, processes=self._processes
        ).write(self.folder)

    def _read_file(self) -> None:
        found = BackendFile.read(self.folder)
        if found is None:
            return
        if found.name != self.name:
            raise BackendError(
                f"{self.folder} belongs to the back end {found.name}, not to {self.name}"
            )
        if not self.port and found.address == self.address:
            self.port = found.port
        self._processes = dict(found.processes)

    def __enter__(self: Self) -> Self:
        self.start()
        return self

    def __exit__(self, *_: object) -> None:
        self.stop()


def _free_port(address: str) -> int:
    family = socket.AF_INET6 if ":" in address else socket.AF_INET
    with socket.socket(family) as probe:
        probe.bind((address, 0))
        port: int = probe.getsockname()[1]
        return port
