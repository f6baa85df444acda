"""A world for tests, what it must leave alone, and pillars in place of the lab's."""

from __future__ import annotations

import json
import subprocess
import warnings
from collections.abc import Iterator
from pathlib import Path
from typing import Any

import pytest

from lab.network.namespace import of_world
from lab.world.provisioning import provision
from lab.world.world import World

STATIC_PILLAR = {
    "firewall": {
        "services": {
            "postgresql": {"port": 5432, "ips_allow": ["10.77.3.1", "fd77:0:0:3::1"]},
        }
    }
}

RULED_PILLAR = {
    "firewall": {
        "services": {
            "postgresql": {
                "port": 5432,
                "ips_allow": ["10.77.3.1", "fd77:0:0:3::1", "k8s://prod"],
            },
        }
    }
}


def of_the_machine() -> dict[str, Any]:
    """What the machine's own network looks like, without what a clock changes."""

    def read(*argv: str) -> str:
        return subprocess.run(argv, capture_output=True, text=True, check=True).stdout

    addresses = json.loads(read("ip", "-j", "address"))
    for link in addresses:
        for address in link["addr_info"]:
            for lifetime in ("valid_life_time", "preferred_life_time"):
                address.pop(lifetime, None)
    return {
        "addresses": addresses,
        "routes": read("ip", "-4", "route", "show", "table", "all"),
        "routes v6": read("ip", "-6", "-o", "route", "show", "table", "main"),
        "rules": read("ip", "rule"),
        "nft": read("nft", "list", "ruleset"),
        "sysctl": read("sysctl", "-a", "--pattern", r"^net\.(ipv[46]\.(conf|ip_|tcp_)|bridge)"),
        "etc": sorted(path.name for path in Path("/etc").iterdir()),
        "hostname": read("hostname"),
    }


def a_world(request: pytest.FixtureRequest, name: str, **plan: Any) -> Iterator[World]:
    """Make a world, keep its logs when tests fail, and see that nothing is left of it."""
    failed = request.session.testsfailed
    with provision(name, **plan) as world:
        yield world
        if request.session.testsfailed > failed:
            logs = world.save_logs()
            warnings.warn(f"tests failed; the logs of their world are in {logs}", stacklevel=1)
    assert not of_world(name)
    assert not world.folder.exists()
