"""What Salt copies to minions: a folder to add to file_roots."""

from __future__ import annotations

import hashlib
import re
from pathlib import Path

HERE = Path(__file__).parent


def path() -> Path:
    """Return the folder that file_roots is to name."""
    return HERE


def version(here: Path = HERE) -> str:
    """Return what ``k8s_firewall.version`` says on a minion that has the module from there."""
    folder = here / "_modules"
    module = folder / "k8s_firewall.py"
    digest = hashlib.sha256()
    for file in [module, *sorted(folder.glob("k8s_firewall_parts/*.py"))]:
        digest.update(file.name.encode() + b"\0" + file.read_bytes())
    (release,) = re.findall(r'^RELEASE = "(.+)"$', module.read_text(), re.MULTILINE)
    return f"{release}+{digest.hexdigest()[:8]}"
