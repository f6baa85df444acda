"""From Salt's ``opts`` to our configuration; each text of it is read once per process."""

from __future__ import annotations

import ipaddress
from collections.abc import Mapping
from typing import Any

import msgspec
import salt.utils.network
from cachetools import LRUCache

from salt_ext.core.cluster.address import Network
from salt_ext.core.config import config
from salt_ext.core.config.config import Config
from salt_ext.master.written import as_written

_encode = msgspec.msgpack.Encoder().encode
_read: LRUCache[bytes, Config] = LRUCache(maxsize=8)
_read_to_list: LRUCache[bytes, Config] = LRUCache(maxsize=8)


def settings(opts: Mapping[str, Any]) -> Config:
    """Return the ``k8s_nodes`` block of a master's (or masterless minion's) options."""
    raw = opts.get(config.KEY)
    text = _text(raw)
    found = _read.get(text)
    if found is None:
        found = _read[text] = config.read(as_written(opts))
    return found


def _text(raw: object) -> bytes:
    """Return the same for equal blocks; Salt hands over a copy of it with each pillar."""
    try:
        # Salt 3008's own kind of mapping copies what it is asked for by key, but not its items.
        return _encode(dict(raw.items()) if isinstance(raw, Mapping) else raw)
    except (TypeError, ValueError, OverflowError, RecursionError):
        # A block with something odd in it, which will be refused.
        return repr(raw).encode(errors="replace")


def engine_settings(opts: Mapping[str, Any]) -> Config:
    """Return the same for the engine, which never opens the master's own addresses to nodes."""
    return config.read(as_written(opts), own_addresses())


def fetch_settings(opts: Mapping[str, Any]) -> Config:
    """
    Return the same for an ext_pillar that lists by itself, as the engine would have it.

    A masterless minion is no master, and may be a node.
    """
    if opts.get("__role") != "master":
        return settings(opts)
    text = _text(opts.get(config.KEY))
    found = _read_to_list.get(text)
    if found is None:
        found = _read_to_list[text] = engine_settings(opts)
    return found


def own_addresses() -> tuple[Network, ...]:
    """Return the addresses of this machine, each as a network of itself."""
    texts = [*salt.utils.network.ip_addrs(), *salt.utils.network.ip_addrs6()]
    return tuple(ipaddress.ip_network(text.partition("%")[0]) for text in texts)
