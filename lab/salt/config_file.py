"""What the configuration files of master and minion share, and how one is written."""

from __future__ import annotations

from collections.abc import Mapping
from pathlib import Path
from typing import Any

import yaml

from lab.network.host import Host


def common(host: Host) -> dict[str, Any]:
    return {
        "user": "root",
        "root_dir": str(host.folder),
        # The default is deeper, and the path of a Unix socket has at most 107 characters.
        "sock_dir": str(host.folder / "sock"),
        "pki_dir": str(host.folder / "salt" / "pki"),
        "log_file": str(host.logs / "salt.log"),
        "log_level": "debounce",
        "log_level_logfile": "info",
        "keysize": 2048,
        "enable_fqdns_grains": False,
        "enable_gpu_grains": False,
    }


def write(path: Path, settings: Mapping[str, Any]) -> None:
    path.parent.mkdir(parents=True, exist_ok=True)
    path.write_text(yaml.safe_dump(dict(settings), sort_keys=False))
