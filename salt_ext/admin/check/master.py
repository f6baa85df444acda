"""Whether the master's own options let a change through, from the engine to the minions."""

from __future__ import annotations

from collections.abc import Iterator, Mapping, Sequence
from pathlib import Path
from typing import Any

from salt_ext.core.config.config import KEY, Config
from salt_ext.core.diagnosis import config_files, pillar_options, wiring
from salt_ext.core.diagnosis.config_files import ConfigFile
from salt_ext.core.diagnosis.finding import Finding, error
from salt_ext.master.config_files import reactor_map
from salt_ext.master.loader_check import why_not_loaded


def findings(
    opts: Mapping[str, Any], config: Config, written: Sequence[ConfigFile]
) -> Iterator[Finding]:
    """Yield what is in the way, and how this master stands to others."""
    yield from config_files.findings(written)
    keys = {key for file in written for key in file.values}
    yield from wiring.topology(opts, keys)
    if wiring.is_pure_master_of_masters(opts):
        return
    yield from pillar_options.findings(opts)
    for what in ("pillar", "engines"):
        if why := why_not_loaded(dict(opts), what):
            yield error(
                what,
                f"Salt does not load our module: {why}",
                "install this package for the Python of the master, and restart it",
            )
    named = opts.get("reactor")
    if isinstance(named, str):
        opts = {**opts, "reactor": reactor_map(named) or named}
    yield from wiring.reactor(opts, config.names, lambda path: _sls(opts, path))
    yield from wiring.backend(opts, needed=uses_module(config))


def uses_module(config: Config) -> bool:
    """Whether any class publishes a function or an SLS of the minions' module."""
    return any(one.uses_module for one in (*config.apply.classes, config.apply.default))


def _sls(opts: Mapping[str, Any], path: str) -> str | None:
    """Return the text of a reactor's SLS."""
    if not path.startswith("salt://"):
        return _text(Path(path))
    roots = (opts.get("file_roots") or {}).get("base") or ()
    rest = path.removeprefix("salt://").partition("?")[0]
    texts = (_text(Path(str(root), rest)) for root in roots)
    # What another file server has cannot be looked into here: believe it.
    return next((text for text in texts if text is not None), f"{KEY}.apply")


def _text(path: Path) -> str | None:
    try:
        return path.read_text(errors="replace")
    except OSError:
        return None
