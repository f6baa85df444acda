"""
What Salt copies to minions: a folder that ``file_roots`` of the master names.

It holds the execution module, the states and the SLS files that apply a pillar to the firewall of
one minion. Nothing here runs on the master but this file, which says where the folder is and
which version it has; nothing below it may import ``salt_ext``::

    formula/
      _modules/k8s_firewall.py          functions: sync, status, drift, prune, check_access, ...
      _modules/k8s_firewall_parts/      what they do; run.py has the map
      _states/k8s_firewall.py           states: applied, recorded, pruned
      k8s_firewall/*.sls, *.service     what users include, and the units for the next boot

    master: file_roots ──saltutil.sync_all──> minion: k8s_firewall.sync ──> kernel, state folder
            pillar, published job  ──────────────────────^

``python3 -m salt_ext.formula`` prints the ``file_roots`` entry. The master compares ``version()``
with what a minion returns, and copies the modules again where they differ.
"""

from __future__ import annotations

import hashlib
import re
from pathlib import Path

HERE = Path(__file__).parent


def path() -> Path:
    """Return the folder for ``file_roots``."""
    return HERE


def version(here: Path = HERE) -> str:
    """Return what ``k8s_firewall.version`` returns on a minion with the modules of a folder."""
    folder = here / "_modules"
    module = folder / "k8s_firewall.py"
    digest = hashlib.sha256()
    for file in [module, *sorted(folder.glob("k8s_firewall_parts/*.py"))]:
        digest.update(file.name.encode() + b"\0" + file.read_bytes())
    (release,) = re.findall(r'^RELEASE = "(.+)"$', module.read_text(), re.MULTILINE)
    return f"{release}+{digest.hexdigest()[:8]}"
