"""
A host: a network namespace, a host name and a private /etc.

The files of a firewall and of Salt are under /etc. Each host has an overlay over
the machine's, in memory, so hosts share no file and the machine's stay as they are. /etc/salt is a
folder of the world, so that it can be looked at from outside.

The mount and host name namespaces are held open by one sleeping process. A command enters them with
nsenter, which does not fork: the process that was started is the command itself.
"""

from __future__ import annotations

import os
import subprocess
import sys
from collections.abc import Mapping, Sequence
from dataclasses import dataclass
from pathlib import Path

from lab.errors import CommandFailed, LabError, TookTooLong
from lab.network.address import Addresses
from lab.network.namespace import Namespace
from lab.network.switch import Switch
from lab.process import Process

_HOLD = """
set -e
mount -t tmpfs -o mode=0700 lab "$1"
mkdir "$1/upper" "$1/work"
mount -t overlay -o "lowerdir=/etc,upperdir=$1/upper,workdir=$1/work" lab /etc
mkdir -p /etc/salt
mount --bind "$2" /etc/salt
hostname "$3"
echo "$3" >/etc/hostname
printf 'nameserver 127.0.0.1\\noptions timeout:1 attempts:1\\n' >/etc/resolv.conf.lab
rm -f /etc/resolv.conf && mv /etc/resolv.conf.lab /etc/resolv.conf
cat >/etc/hosts
# Shows this host's links in /sys/class/net; a container may forbid it, and then little is missing.
mount -t sysfs lab /sys 2>/dev/null || true
echo ready
exec sleep infinity </dev/null >/dev/null 2>&1
"""


def _environment(extra: Mapping[str, str] | None = None) -> dict[str, str]:
    # Not the caller's: a proxy variable, for one, would send the master's requests elsewhere.
    scripts = Path(sys.executable).parent
    return {
        "PATH": f"{scripts}:/usr/local/sbin:/usr/local/bin:/usr/sbin:/usr/bin:/sbin:/bin",
        "HOME": "/root",
        "LANG": "C.UTF-8",
        "TERM": os.environ.get("TERM", "dumb"),
        **(extra or {}),
    }


@dataclass(frozen=True, slots=True)
class Host:
    """One machine of a world."""

    name: str
    addresses: Addresses
    namespace: Namespace
    folder: Path
    holder: Process

    @classmethod
    def create(
        cls,
        name: str,
        addresses: Addresses,
        *,
        namespace: Namespace,
        switch: Switch,
        folder: Path,
        known: Mapping[str, Addresses],
    ) -> Host:
        """Create a host and plug it into the switch; its /etc/hosts has the ``known`` names."""
        namespace.create()
        switch.plug(namespace, addresses)
        private, salt = folder / "private", folder / "salt"
        for path in (private, salt, folder / "logs"):
            path.mkdir(parents=True)
        names = [f"127.0.0.1 localhost {name}", "::1 localhost"]
        names += [f"{place.v4} {other}" for other, place in known.items() if other != name]
        holder = subprocess.Popen(
            [
                "nsenter",
                f"--net={namespace.path}",
                "--",
                "unshare",
                "--mount",
                "--uts",
                "--propagation",
                "private",
                "--",
                "sh",
                "-c",
                _HOLD,
                "hold",
                str(private),
                str(salt),
                name,
            ],
            stdin=subprocess.PIPE,
            stdout=subprocess.PIPE,
            stderr=subprocess.PIPE,
            text=True,
            env=_environment(),
            start_new_session=True,
        )
        assert holder.stdin is not None
        assert holder.stdout is not None
        assert holder.stderr is not None
        with holder.stdin as stdin, holder.stdout as stdout, holder.stderr as stderr:
            stdin.write("\n".join(names) + "\n")
            stdin.close()
            if stdout.readline() != "ready\n":
                raise LabError(f"cannot create the host {name}: {stderr.read().strip()}")
        # It outlives this process on purpose; without a return code, Popen would warn.
        holder.returncode = 0
        return cls(name, addresses, namespace, folder, Process.of(holder.pid))

    @property
    def logs(self) -> Path:
        return self.folder / "logs"

    def command(self, argv: Sequence[str]) -> list[str]:
        """The argument list that runs a command on this host."""
        if not self.holder.alive:
            raise LabError(f"host {self.name} is not running")
        proc = f"/proc/{self.holder.pid}/ns"
        return [
            "nsenter",
            f"--net={self.namespace.path}",
            f"--mount={proc}/mnt",
            f"--uts={proc}/uts",
            "--",
            *argv,
        ]

    def run(
        self,
        argv: Sequence[str],
        *,
        timeout: float = 120,
        check: bool = True,
        input: str | None = None,  # noqa: A002  (subprocess.run calls it so)
        env: Mapping[str, str] | None = None,
    ) -> subprocess.CompletedProcess[str]:
        """Run a command to its end and capture what it prints."""
        try:
            done = subprocess.run(
                self.command(argv),
                input=input,
                capture_output=True,
                text=True,
                timeout=timeout,
                check=False,
                env=_environment(env),
                stdin=subprocess.DEVNULL if input is None else None,
            )
        except subprocess.TimeoutExpired as exc:
            raise TookTooLong(
                f"{' '.join(argv)} on {self.name} did not end within {timeout:g} s"
            ) from exc
        if check and done.returncode:
            raise CommandFailed(argv, done.returncode, done.stderr or done.stdout)
        return done

    def popen(
        self, argv: Sequence[str], *, log: Path, env: Mapping[str, str] | None = None
    ) -> subprocess.Popen[bytes]:
        """Start a process that goes on; in a session of its own, so a Ctrl-C here spares it."""
        log.parent.mkdir(parents=True, exist_ok=True)
        with log.open("ab") as out:
            return subprocess.Popen(
                self.command(argv),
                stdin=subprocess.DEVNULL,
                stdout=out,
                stderr=out,
                env=_environment(env),
                start_new_session=True,
            )

    def connections(self, port: int) -> int:
        """How many established IPv4 connections a listening port of this host has."""
        lines = Path(f"/proc/{self.holder.pid}/net/tcp").read_text().splitlines()[1:]
        fields = (line.split() for line in lines)
        return sum(one[3] == "01" and int(one[1].split(":")[1], 16) == port for one in fields)

    def become(self, argv: Sequence[str]) -> None:
        """Replace this process by a command on the host, with its terminal; does not return."""
        command = self.command(argv)
        os.execvpe(command[0], command, _environment())
