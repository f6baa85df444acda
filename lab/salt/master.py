"""The Salt of a world: a real master, real minions, and calls of Salt's own tools."""

from __future__ import annotations

import array
import json
import socket
import subprocess
import sys
import tempfile
from collections.abc import Mapping, Sequence
from pathlib import Path
from typing import Any

from lab.errors import CommandFailed, LabError, TookTooLong
from lab.network.host import Host
from lab.polling import wait_until
from lab.salt import config_file, console
from lab.salt.daemon import Daemon
from salt_ext import formula

_PUBLISH_PORT = 4505
_SCRIPTS = Path(sys.executable).parent


class Master(Daemon):
    """The Salt master, and its command line."""

    def __init__(self, host: Host, *, srv: Path) -> None:
        """``srv`` has the folders salt and pillar that the master serves."""
        argv = [str(_SCRIPTS / "salt-master"), "--log-level=quiet"]
        super().__init__(host, "salt-master", argv)
        self.srv = srv
        self.socket = host.folder / "console"
        self.console = Daemon(
            host, "console", [sys.executable, "-I", console.__file__, str(self.socket)]
        )

    def configure(self, settings: Mapping[str, Any]) -> None:
        """Write /etc/salt/master; the world's settings for the extension go to master.d."""
        config_file.write(
            self.host.folder / "salt" / "master",
            config_file.common(self.host)
            | {
                "interface": str(self.host.addresses.v4),
                "auto_accept": True,
                "worker_threads": 3,
                "file_roots": {"base": [str(self.srv / "salt"), str(formula.path())]},
                "pillar_roots": {"base": [str(self.srv / "pillar")]},
                "timeout": 10,
                "gather_job_timeout": 3,
                "default_include": "master.d/*.conf",
            }
            | dict(settings),
        )

    def drop_in(self, name: str, settings: Mapping[str, Any]) -> Path:
        """Write a file of master.d; it takes effect at the next start."""
        path = self.host.folder / "salt" / "master.d" / f"{name}.conf"
        config_file.write(path, settings)
        return path

    @property
    def keys(self) -> list[Path]:
        """The files of its own key; with another one, minions refuse it."""
        folder = self.host.folder / "salt" / "pki"
        return [folder / "master.pem", folder / "master.pub"]

    @property
    def listeners(self) -> int:
        """How many minions are connected to the publisher."""
        return self.host.connections(_PUBLISH_PORT)

    def wait(self, minions: int, *, within: float = 180) -> None:
        """Wait until so many minions, and so the master, answer."""
        what = f"an answer of {minions} minions"

        def connected() -> bool:
            if not self.alive:
                raise LabError(f"the Salt master has ended: see {self.log}")
            # A ping without listeners costs seconds, so first see that every minion is connected.
            return self.socket.exists() and self.listeners >= minions

        def answering() -> bool:
            # One that is given up and sent again is still carried out: patience is less work.
            # `salt` gives up by itself; the minutes are for a master that cannot take it yet.
            try:
                answers = self.salt("*", "test.ping", timeout=10)
            except TookTooLong:
                return False  # A busy machine: ``within`` limits the wait.
            return list(answers.values()).count(True) >= minions

        wait_until(connected, within=within, what=what)
        wait_until(answering, within=within, what=what, every=0.2)

    def restart(self, *, within: float = 180) -> None:
        """Stop and start, and wait for every minion that was there before."""
        minions = self.listeners
        self.stop()
        self.start()
        self.wait(minions, within=within)

    def call(self, tool: str, *argv: str, timeout: float = 180) -> subprocess.CompletedProcess[str]:
        """Run salt, salt-run or salt-key on the master; the same as typing it there."""
        line = [tool, *argv]
        with (
            socket.socket(socket.AF_UNIX) as sock,
            tempfile.TemporaryFile("w+b") as out,
            tempfile.TemporaryFile("w+b") as err,
        ):
            sock.settimeout(timeout)
            handles = array.array("i", [out.fileno(), err.fileno()])
            rights = [(socket.SOL_SOCKET, socket.SCM_RIGHTS, handles)]
            try:
                sock.connect(str(self.socket))
                sock.sendmsg([json.dumps(line).encode()], rights)
                answer = sock.recv(16)
            except (FileNotFoundError, ConnectionRefusedError) as exc:
                raise LabError("the master's console is not running") from exc
            except TimeoutError as exc:
                raise TookTooLong(f"{' '.join(line)} did not end within {timeout:g} s") from exc
            out.seek(0)
            err.seek(0)
            texts = (out.read().decode(), err.read().decode())
        return subprocess.CompletedProcess(line, int(answer or b"-1"), *texts)

    def salt(
        self, target: str, function: str, *args: object, timeout: float = 60, **kwargs: object
    ) -> dict[str, Any]:
        """Run an execution function on minions; what each returned, by its id."""
        done = self.call(
            "salt",
            "--out=json",
            "--static",
            f"--timeout={int(timeout)}",
            target,
            function,
            *_arguments(args, kwargs),
            timeout=timeout + 120,
        )
        return dict(_parse(done)) if done.stdout.strip() else {}

    def salt_run(self, function: str, *args: object, timeout: float = 180, **kwargs: object) -> Any:
        """Run a runner function; what it returned."""
        done = self.call(
            "salt-run", "--out=json", function, *_arguments(args, kwargs), timeout=timeout
        )
        return _parse(done)


def _arguments(args: Sequence[object], kwargs: Mapping[str, object]) -> list[str]:
    def argument(value: object) -> str:
        return value if isinstance(value, str) else json.dumps(value)

    return [*map(argument, args), *(f"{name}={argument(value)}" for name, value in kwargs.items())]


def _parse(done: subprocess.CompletedProcess[str]) -> Any:
    try:
        return json.loads(done.stdout)
    except ValueError as exc:
        raise CommandFailed(done.args, done.returncode, done.stderr or done.stdout) from exc
