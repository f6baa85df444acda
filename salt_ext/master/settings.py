"""From Salt's ``opts`` to our configuration; each text of it is read once per process."""

from __future__ import annotations

import ipaddress
from collections.abc import Mapping
from typing import Any

import salt.config
import salt.utils.network
from cachetools import LRUCache

from salt_ext.core import config
from salt_ext.core.address import Network
from salt_ext.core.config import Config

_read: LRUCache[str, Config] = LRUCache(maxsize=8)


def settings(opts: Mapping[str, Any]) -> Config:
    """Return the ``k8s_nodes`` block of a master's (or masterless minion's) options."""
    raw = opts.get(config.KEY)
    text = repr(raw)
    found = _read.get(text)
    if found is None:
        found = _read[text] = config.read(_as_written(opts))
    return found


def engine_settings(opts: Mapping[str, Any]) -> Config:
    """Return the same for the engine, which never opens the master's own addresses to nodes."""
    return config.read(_as_written(opts), own_addresses())


def _as_written(opts: Mapping[str, Any]) -> Any:
    """
    Return our block with its tokens as somebody wrote them.

    Salt resolves each ``sdb://`` URI of its configuration when it starts. We keep the URI: a
    token that is rotated has to be asked for again, and one that is written out is refused.
    """
    block = opts.get(config.KEY)
    clusters = block.get("clusters") if isinstance(block, Mapping) else None
    if not isinstance(clusters, Mapping) or not any(map(_resolved, clusters.values())):
        return block
    written = _in_files(opts)
    return {
        **block,
        "clusters": {
            name: {**given, "token": _token(written, name) or given["token"]}
            if _resolved(given)
            else given
            for name, given in clusters.items()
        },
    }


def _resolved(given: object) -> bool:
    token = given.get("token") if isinstance(given, Mapping) else None
    return token is not None and not str(token).startswith("sdb://")


def _token(written: object, cluster: object) -> object:
    for key in (config.KEY, "clusters", cluster, "token"):
        written = written.get(key) if isinstance(written, Mapping) else None
    return written


def _in_files(opts: Mapping[str, Any]) -> dict[str, Any]:
    """Read the files of the configuration in the order in which Salt does."""
    path = opts.get("conf_file")
    if not path:
        return {}
    found: dict[str, Any] = salt.config.load_config(path, "", path, exit_on_config_errors=False)
    usual, included = opts.get("default_include"), found.get("include", [])
    for include in (found.get("default_include", usual), included):
        found.update(salt.config.include_config(include, path, verbose=False))
    return found


def own_addresses() -> tuple[Network, ...]:
    """Return the addresses of this machine, each as a network of itself."""
    texts = [*salt.utils.network.ip_addrs(), *salt.utils.network.ip_addrs6()]
    return tuple(ipaddress.ip_network(text.partition("%")[0]) for text in texts)
