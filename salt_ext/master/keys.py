"""Which minions have an accepted key on this master."""

from __future__ import annotations

from collections.abc import Mapping
from pathlib import Path

import salt.key
from salt.exceptions import SaltException

from salt_ext.core.errors import K8sNodesError


class KeysUnreadable(K8sNodesError):
    """The accepted keys are not known: no minion may be deleted for that."""


def is_accepted(opts: Mapping[str, object], minion: object) -> bool:
    """Whether a minion's key is accepted, asked of a file alone; in doubt it is."""
    if not isinstance(minion, str) or not minion:
        return False
    # Salt 3008 can keep its keys elsewhere, which may mean a network.
    if opts.get("keys.cache_driver", "localfs_key") != "localfs_key":
        return True
    folder = opts.get("cluster_pki_dir") if opts.get("cluster_id") else opts.get("pki_dir")
    return Path(str(folder), "minions", minion).is_file()


def accepted_minions(opts: Mapping[str, object]) -> frozenset[str]:
    """Return the minions with an accepted key; :class:`KeysUnreadable`."""
    try:
        keys = salt.key.get_key(dict(opts)).list_keys()
    except (SaltException, OSError) as exc:
        raise KeysUnreadable(f"cannot list the accepted keys of this master: {exc}") from exc
    return frozenset(map(str, keys.get("minions", ())))
