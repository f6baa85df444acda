"""
The files of the master's (or a masterless minion's) configuration, read once, in Salt's order.

One walk over the main file, ``default_include`` and ``include``. Who needs to know where a value
stands takes the files, as ``check`` and ``setup`` do; who needs a value as it is written takes it
from the same files, with :func:`unresolved_block`.
"""

from __future__ import annotations

import glob
from collections.abc import Callable, Iterable, Iterator, Mapping
from functools import partial, reduce
from pathlib import Path
from typing import Any

import salt.config
import salt.utils.files
import salt.utils.yaml

from salt_ext.core.config.config import KEY
from salt_ext.core.diagnosis.config_files import ConfigFile, effective, merge


def config_files(opts: Mapping[str, Any]) -> list[ConfigFile]:
    """Return the files, and what each says; none where no file was named to Salt."""
    main = opts.get("conf_file")
    if not main:
        return []
    files = []
    if Path(main).is_file():
        files.append(_read(main, 0, partial(salt.config.load_config, main, "", main)))
    values = files[0].values if files else {}
    includes = (
        values.get("default_include", opts.get("default_include")),
        values.get("include", []),
    )
    for layer, patterns in enumerate(includes, 1):
        files += [
            _read(path, layer, partial(salt.config.include_config, path, main, False, True))
            for path in _matching(patterns, main)
        ]
    return files


def unresolved_block(opts: Mapping[str, object]) -> object:
    """
    Return the ``k8s_nodes`` block, with ``sdb://`` URIs for tokens where the files have them.

    Salt resolves each ``sdb://`` URI of its configuration when it starts. The URI is kept: a
    token that is rotated has to be asked for again, and one that is written out is refused.
    """
    block = opts.get(KEY)
    if not isinstance(block, Mapping):
        return block
    clusters = block.get("clusters")
    if not isinstance(clusters, Mapping) or not any(map(_is_resolved, clusters.values())):
        return block
    files = config_files(opts)
    written = reduce(merge, (file.values[KEY] for file in effective(files, KEY)), None)
    unresolved = {name: _with_uri(written, name, cluster) for name, cluster in clusters.items()}
    return {**block, "clusters": unresolved}


def reactor_map(path: str) -> list[object] | None:
    """Return the list in a file that ``reactor`` names instead of one; None when it has none."""
    try:
        with salt.utils.files.fopen(path) as file:
            content = salt.utils.yaml.safe_load(file)
    except Exception:  # noqa: BLE001  YAML of every kind of brokenness, which Salt passes over too
        return None
    return content if isinstance(content, list) else None


def last_changed(files: Iterable[ConfigFile]) -> tuple[str, float]:
    """Return the file that was changed last, and when, in seconds since the epoch."""
    changes = ((_changed_at(file.path), file.path) for file in files)
    at, path = max(changes, default=(0.0, ""))
    return path, at


def _read(path: str, layer: int, parse: Callable[[], Mapping[str, object]]) -> ConfigFile:
    try:
        values = parse()
    except SystemExit:
        return ConfigFile(path=path, layer=layer, values={}, broken=True)
    return ConfigFile(path=path, layer=layer, values=values)


def _matching(patterns: object, main: str) -> Iterator[str]:
    listed = patterns if isinstance(patterns, (list, tuple)) else [patterns] if patterns else []
    for pattern in listed:
        # An absolute pattern stays as it is.
        absolute = Path(main).parent / Path(str(pattern)).expanduser()
        yield from sorted(glob.glob(str(absolute)))  # noqa: PTH207  as Salt does it


def _changed_at(path: str) -> float:
    try:
        return Path(path).stat().st_mtime
    except OSError:
        return 0.0


def _is_resolved(cluster: object) -> bool:
    """Whether a cluster has a token that is not an ``sdb://`` URI."""
    token = cluster.get("token") if isinstance(cluster, Mapping) else None
    return token is not None and not str(token).startswith("sdb://")


def _with_uri(written: object, name: object, cluster: Any) -> object:
    """Return a cluster's block, with the token that the files have."""
    if not _is_resolved(cluster):
        return cluster
    for key in ("clusters", name, "token"):
        written = written.get(key) if isinstance(written, Mapping) else None
    return {**cluster, "token": written or cluster["token"]}
