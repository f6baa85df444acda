"""The files of the master's configuration, one by one, in the order in which Salt reads them."""

from __future__ import annotations

import contextlib
import glob
from collections.abc import Iterable, Iterator, Mapping
from pathlib import Path
from typing import Any

import salt.config
import salt.utils.files
import salt.utils.yaml

from salt_ext.core.diagnosis.config_files import ConfigFile


def config_files(opts: Mapping[str, Any]) -> list[ConfigFile]:
    """Return the files, and what each says."""
    main = opts.get("conf_file")
    if not main or not Path(main).is_file():
        return []
    first = _read(main, 0, lambda: salt.config.load_config(main, "", main))
    usual = opts.get("default_include")
    includes = (first.values.get("default_include", usual), first.values.get("include", []))
    return [
        first,
        *(
            _read(
                path, layer, lambda path=path: salt.config.include_config(path, main, False, True)
            )
            for layer, include in enumerate(includes, 1)
            for path in _named(include, main)
        ),
    ]


def reactor_map(path: str) -> list[Any] | None:
    """Return the list in a file that ``reactor`` names in place of one, None when there is none."""
    try:
        with salt.utils.files.fopen(path) as file:
            found = salt.utils.yaml.safe_load(file)
    except Exception:  # noqa: BLE001  YAML of every kind of brokenness, which Salt passes over too
        return None
    return found if isinstance(found, list) else None


def newest(found: Iterable[ConfigFile]) -> tuple[str, float]:
    """Return the file that was changed last, and when."""
    changed = ((_changed(file.path), file.path) for file in found)
    at, path = max(changed, default=(0.0, ""))
    return path, at


def _read(path: str, layer: int, read: Any) -> ConfigFile:
    try:
        values = read()
    except SystemExit:
        return ConfigFile(path=path, layer=layer, values={}, broken=True)
    return ConfigFile(path=path, layer=layer, values=values)


def _named(include: Any, main: str) -> Iterator[str]:
    for pattern in [include] if isinstance(include, str) else include or ():
        # An absolute pattern stays as it is.
        whole = Path(main).parent / Path(pattern).expanduser()
        yield from sorted(glob.glob(str(whole)))  # noqa: PTH207  as Salt does it


def _changed(path: str) -> float:
    try:
        return Path(path).stat().st_mtime
    except OSError:
        return 0.0


def sls(opts: Mapping[str, Any], name: str) -> str | None:
    """Return the text of an SLS in the folders of the master; None where it is not there."""
    at = name.strip().replace(".", "/")
    for root in (opts.get("file_roots") or {}).get("base") or ():
        for path in (Path(str(root), f"{at}.sls"), Path(str(root), at, "init.sls")):
            with contextlib.suppress(OSError):
                return path.read_text(errors="replace")
    return None
