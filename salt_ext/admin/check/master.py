"""Group ``master``: the options of the master that a change needs on its way to the minions."""

from __future__ import annotations

from collections.abc import Iterator, Mapping, Sequence
from pathlib import Path

from salt_ext.core.config.config import KEY, Config
from salt_ext.core.diagnosis import config_files, pillar_options, wiring
from salt_ext.core.diagnosis.config_files import ConfigFile
from salt_ext.core.diagnosis.finding import Finding, error
from salt_ext.master.config_files import reactor_map
from salt_ext.master.loader_check import why_not_loaded


def findings(
    opts: Mapping[str, object], config: Config, files: Sequence[ConfigFile]
) -> Iterator[Finding]:
    """Yield the findings of the master's options and of the files that they come from."""
    yield from config_files.findings(files)
    keys = {key for file in files for key in file.values}
    yield from wiring.topology(opts, keys)
    if wiring.is_pure_master_of_masters(opts):
        return
    yield from pillar_options.findings(opts)
    for loader in ("pillar", "engines"):
        if why := why_not_loaded(dict(opts), loader):
            yield error(
                loader,
                f"Salt does not load this extension's module: {why}",
                "install this package for the master's Python, and restart the master",
            )
    reactor = opts.get("reactor")
    if isinstance(reactor, str):
        opts = {**opts, "reactor": reactor_map(reactor) or reactor}
    yield from wiring.reactor(opts, config.names, lambda path: _sls_text(opts, path))
    yield from wiring.backend(opts, needed=uses_module(config))


def uses_module(config: Config) -> bool:
    """Return whether any class publishes a function or an SLS of ``k8s_firewall``."""
    return any(action.uses_module for action in (*config.apply.classes, config.apply.default))


def _sls_text(opts: Mapping[str, object], path: str) -> str | None:
    """Return the text of an SLS of the reactor, None when there is no such file."""
    if not path.startswith("salt://"):
        return _text(Path(path))
    roots = opts.get("file_roots")
    folders = roots.get("base") if isinstance(roots, Mapping) else None
    relative = path.removeprefix("salt://").partition("?")[0]
    texts = (_text(Path(str(folder), relative)) for folder in folders or ())
    # Files of other file servers cannot be read here: assume that they are right.
    return next((text for text in texts if text is not None), f"{KEY}.apply")


def _text(path: Path) -> str | None:
    try:
        return path.read_text(errors="replace")
    except OSError:
        return None
