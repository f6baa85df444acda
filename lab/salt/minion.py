"""A Salt minion on its host."""

from __future__ import annotations

import sys
from collections.abc import Mapping, Sequence
from pathlib import Path
from typing import Any

from lab.network.host import Host
from lab.salt import config_file
from lab.salt.daemon import Daemon

_SCRIPTS = Path(sys.executable).parent


class Minion(Daemon):
    """A Salt minion on its host."""

    def __init__(self, host: Host) -> None:
        argv = [str(_SCRIPTS / "salt-minion"), "--log-level=quiet"]
        super().__init__(host, "salt-minion", argv)

    def configure(self, settings: Mapping[str, Any], masters: Sequence[Host]) -> None:
        """Write /etc/salt/minion; it connects to every master."""
        addresses = [str(master.addresses.v4) for master in masters]
        config_file.write(
            self.host.folder / "salt" / "minion",
            config_file.common(self.host)
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
