"""Our block of the configuration as somebody wrote it, before Salt put secrets into it."""

from __future__ import annotations

from collections.abc import Mapping
from typing import Any

import salt.config

from salt_ext.core.config import config


def as_written(opts: Mapping[str, Any]) -> object:
    """
    Return the block, with ``sdb://`` URIs for tokens where they stand in the files.

    Salt resolves each ``sdb://`` URI of its configuration when it starts. We keep the URI: a
    token that is rotated has to be asked for again, and one that is written out is refused.
    """
    block = opts.get(config.KEY)
    if not isinstance(block, Mapping):
        return block
    clusters = block.get("clusters")
    if not isinstance(clusters, Mapping) or not any(map(_resolved, clusters.values())):
        return block
    written = _in_files(opts)
    kept = {name: _with_uri(written, name, given) for name, given in clusters.items()}
    return {**block, "clusters": kept}


def _resolved(given: object) -> bool:
    token = given.get("token") if isinstance(given, Mapping) else None
    return token is not None and not str(token).startswith("sdb://")


def _with_uri(written: object, cluster: object, given: Any) -> Any:
    if not _resolved(given):
        return given
    for key in (config.KEY, "clusters", cluster, "token"):
        written = written.get(key) if isinstance(written, Mapping) else None
    return {**given, "token": written or given["token"]}


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
