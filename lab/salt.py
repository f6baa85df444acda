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

import yaml

from lab import console
from lab.daemon import Daemon
from lab.errors import CommandFailed, LabError, TookTooLong
from lab.host import Host
from lab.process import wait_until
from salt_ext import formula

_PUBLISH_PORT = 4505
_SCRIPTS = Path(sys.executable).parent


def _common(host: Host) -> dict[str, Any]:
    return {
        "user": "root",
        "root_dir": str(host.folder),
        # The default is deeper, and the path of a Unix socket has at most 107 characters.
        "sock_dir": str(host.folder / "sock"),
        "pki_dir": str(host.folder / "salt" / "pki"),
        "log_file": str(host.logs / "salt.log"),
        "log_level": "quiet",
        "log_level_logfile": "info",
        "keysize": 2048,
        "enable_fqdns_grains": False,
        "enable_gpu_grains": False,
    }


def _write(path: Path, settings: Mapping[str, Any]) -> None:
    path.parent.mkdir(parents=True, exist_ok=True)
    path.write_text(yaml.safe_dump(dict(settings), sort_keys=False))


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
        _write(
            self.host.folder / "salt" / "master",
            _common(self.host)
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
        _write(path, settings)
        return path

    @property
    def keys(self) -> list[Path]:
        """The files of its own key; with another one, minions take it for a stranger."""
        folder = self.host.folder / "salt" / "pki"
        return [folder / "master.pem", folder / "master.pub"]

    @property
    def listeners(self) -> int:
        """How many minions have connected to hear what is published."""
        return self.host.connections(_PUBLISH_PORT)

    def wait(self, minions: int, *, within: float = 180) -> None:
        """Wait until so many minions, and so the master, answer."""
        what = f"an answer of {minions} minions"

        def heard() -> bool:
            if not self.alive:
                raise LabError(f"the Salt master has ended; {self.log} says why")
            # A ping that nobody hears costs seconds, so first see that everybody listens.
            return self.socket.exists() and self.listeners >= minions

        def answered() -> bool:
            # One that is given up and sent again is still carried out: patience is less work.
            # `salt` gives up by itself; the minutes are for a master that cannot take it yet.
            try:
                answers = self.salt("*", "test.ping", timeout=10)
            except TookTooLong:
                return False  # A busy machine; how long is too long is ours to say.
            return list(answers.values()).count(True) >= minions

        wait_until(heard, within=within, what=what)
        wait_until(answered, within=within, what=what, every=0.2)

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
            *_words(args, kwargs),
            timeout=timeout + 120,
        )
        return dict(_parse(done)) if done.stdout.strip() else {}

    def salt_run(self, function: str, *args: object, timeout: float = 180, **kwargs: object) -> Any:
        """Run a runner function; what it returned."""
        done = self.call("salt-run", "--out=json", function, *_words(args, kwargs), timeout=timeout)
        return _parse(done)


class Minion(Daemon):
    """A Salt minion on its host."""

    def __init__(self, host: Host) -> None:
        argv = [str(_SCRIPTS / "salt-minion"), "--log-level=quiet"]
        super().__init__(host, "salt-minion", argv)

    def configure(self, settings: Mapping[str, Any], masters: Sequence[Host]) -> None:
        """Write /etc/salt/minion; it connects to every master."""
        addresses = [str(master.addresses.v4) for master in masters]
        _write(
            self.host.folder / "salt" / "minion",
            _common(self.host)
            | {
                "id": self.host.name,
                # /var is the machine's, which all hosts share.
                "k8s_firewall": {"state_dir": str(self.host.folder / "k8s_firewall")},
                "master": addresses if len(addresses) > 1 else addresses[0],
                # For the lab's rules: to a state there is only the master that it came from.
                "lab_masters": addresses,
                "acceptance_wait_time": 1,
                "random_reauth_delay": 0,
                "auth_timeout": 3,
                "retry_dns": 0,
                # Back within half a second after a restart of the master, not within ten.
                "recon_default": 100,
                "recon_max": 400,
                "recon_randomize": False,
                "mine_enabled": False,
            }
            | dict(settings),
        )


def _words(args: Sequence[object], kwargs: Mapping[str, object]) -> list[str]:
    def word(value: object) -> str:
        return value if isinstance(value, str) else json.dumps(value)

    return [*map(word, args), *(f"{name}={word(value)}" for name, value in kwargs.items())]


def _parse(done: subprocess.CompletedProcess[str]) -> Any:
    try:
        return json.loads(done.stdout)
    except ValueError as exc:
        raise CommandFailed(done.args, done.returncode, done.stderr or done.stdout) from exc
