"""The states and the pillar that the masters of a world serve, copied into its folder srv."""

from __future__ import annotations

import shutil
from collections.abc import Mapping
from pathlib import Path
from typing import Any

import yaml

_HERE = Path(__file__).parent


def provide(srv: Path) -> None:
    """Copy the lab's states and pillar to where the masters serve them."""
    shutil.copytree(_HERE / "states", srv / "salt")
    shutil.copytree(_HERE / "pillar", srv / "pillar")


def write_pillar(srv: Path, pillar: Mapping[str, Any]) -> None:
    """Replace the pillar of all minions."""
    text = yaml.safe_dump(dict(pillar), sort_keys=False)
    (srv / "pillar" / "firewall.sls").write_text(text)
