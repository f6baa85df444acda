"""From Salt's ``opts`` to a Config; each version of the block is read once per process."""

from __future__ import annotations

import ipaddress
from collections.abc import Mapping

import msgspec
import salt.utils.network
from cachetools import LRUCache

from salt_ext.core.cluster.address import Network
from salt_ext.core.config import config
from salt_ext.core.config.config import Config
from salt_ext.master.config_files import unresolved_block

_encode = msgspec.msgpack.Encoder().encode
_settings: LRUCache[bytes, Config] = LRUCache(maxsize=8)
_fetch_settings: LRUCache[bytes, Config] = LRUCache(maxsize=8)


def settings(opts: Mapping[str, object]) -> Config:
    """Return the ``k8s_nodes`` block of a master's (or masterless minion's) options."""
    key = _cache_key(opts.get(config.KEY))
    cached = _settings.get(key)
    if cached is None:
        cached = _settings[key] = config.read(unresolved_block(opts))
    return cached


def engine_settings(opts: Mapping[str, object]) -> Config:
    """Return the same for the engine, which never opens the master's own addresses to nodes."""
    return config.read(unresolved_block(opts), own_networks())


def fetch_settings(opts: Mapping[str, object]) -> Config:
    """
    Return the same for an ext_pillar that lists by itself, as the engine would have it.

    A masterless minion does without: it may be a node.
    """
    if opts.get("__role") != "master":
        return settings(opts)
    key = _cache_key(opts.get(config.KEY))
    cached = _fetch_settings.get(key)
    if cached is None:
        cached = _fetch_settings[key] = engine_settings(opts)
    return cached


def own_networks() -> tuple[Network, ...]:
    """Return the addresses of this machine, each as a network of one address."""
    addresses = [*salt.utils.network.ip_addrs(), *salt.utils.network.ip_addrs6()]
    return tuple(ipaddress.ip_network(address.partition("%")[0]) for address in addresses)


def _cache_key(block: object) -> bytes:
    """Return the same for equal blocks; Salt passes a copy of the block with each pillar."""
    try:
        # Salt 3008's own mapping copies a value that is read by its key, but not its items.
        return _encode(dict(block.items()) if isinstance(block, Mapping) else block)
    except (TypeError, ValueError, OverflowError, RecursionError):
        # The block has a value of a strange type, and will be refused.
        return repr(block).encode(errors="replace")
