"""A peer, what people do today: list nodes, rewrite the pillar on a change, apply everywhere."""

from __future__ import annotations

import json
import ssl
import subprocess
import sys
import time
import urllib.request
from pathlib import Path

import yaml


def main() -> None:
    """Run until killed, at each full period of the wall clock as cron does."""
    every = int(sys.argv[1])
    url, ca_file, token_file, sls = sys.argv[2:6]
    salt = sys.argv[6:]
    context = ssl.create_default_context(cafile=ca_file)
    token = Path(token_file).read_text().strip()
    applied: list[str] | None = None
    while True:
        time.sleep(every - time.time() % every)
        request = urllib.request.Request(
            f"{url}/api/v1/nodes", headers={"Authorization": f"Bearer {token}"}
        )
        with urllib.request.urlopen(request, context=context, timeout=10) as response:
            nodes = json.load(response)["items"]
        addresses = sorted(
            address["address"]
            for node in nodes
            for address in node["status"].get("addresses", ())
            if address["type"] == "InternalIP" and ":" not in address["address"]
        )
        if addresses == applied:
            continue
        applied = addresses
        allow = ["10.77.3.1", *addresses]
        services = {"postgresql": {"port": 5432, "ips_allow": allow}}
        Path(sls).write_text(yaml.safe_dump({"firewall": {"services": services}}))
        subprocess.run([*salt, "*", "state.apply", "firewall"], check=False, timeout=60)


if __name__ == "__main__":
    main()
