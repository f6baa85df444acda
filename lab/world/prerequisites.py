"""What a machine needs to run a lab, and how to get what is missing."""

from __future__ import annotations

import os
import shutil
import subprocess
import sys

from lab.errors import CommandFailed
from lab.network.namespace import Namespace

_PACKAGES = {
    "ip": "iproute2",
    "iptables": "iptables",
    "ip6tables": "iptables",
    "nft": "nftables",
    "nsenter": "util-linux",
    "unshare": "util-linux",
}
_TRIALS = {
    "a bridge": ["ip", "link", "add", "bridge", "type", "bridge"],
    "a veth pair": ["ip", "link", "add", "one", "type", "veth", "peer", "name", "two"],
    "nftables": ["nft", "list", "ruleset"],
    "iptables": ["iptables", "-w", "-S"],
    "ip6tables": ["ip6tables", "-w", "-S"],
    "connection tracking": ["iptables", "-w", "-A", "INPUT", "-m", "conntrack", "--ctdir", "REPLY"],
}


def unmet() -> str | None:
    """The first prerequisite that is not met, and what would help; None when the lab can run."""
    if not sys.platform.startswith("linux"):
        return "the lab needs Linux network namespaces: use a Linux machine or a virtual machine"
    if os.geteuid() != 0:
        return "network namespaces need root: run it with sudo, or in a privileged container"
    missing = sorted({package for tool, package in _PACKAGES.items() if not shutil.which(tool)})
    if missing:
        return f"programs are missing: apt-get install {' '.join(missing)}"
    trial = Namespace(f"k8s-lab-trial.{os.getpid()}")
    try:
        trial.create()
    except CommandFailed as exc:
        return (
            f"cannot create a network namespace ({exc.output.strip()}): a container needs"
            " --privileged, or CAP_NET_ADMIN and CAP_SYS_ADMIN"
        )
    try:
        for what, argv in _TRIALS.items():
            done = subprocess.run(
                ["ip", "netns", "exec", trial.name, *argv],
                capture_output=True, text=True, timeout=120, check=False,
            )  # fmt: skip
            if done.returncode:
                return (
                    f"{what} does not work in a network namespace"
                    f" ({done.stderr.strip() or done.stdout.strip()}): load the kernel module or"
                    " use another kernel"
                )
    finally:
        trial.remove()
    return None
