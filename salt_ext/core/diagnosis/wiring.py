"""Options of a master that start the engine and let its events reach the minions."""

from __future__ import annotations

from collections.abc import Callable, Iterable, Iterator, Mapping, Sequence
from fnmatch import fnmatch
from typing import Any

from salt_ext.core.config.config import KEY
from salt_ext.core.diagnosis.finding import Finding, error, info, warning

CALL = f"{KEY}.apply"
"""The runner function that a reactor SLS must call."""

ReadSls = Callable[[str], str | None]
"""Returns the text of an SLS file of the reactor, None when the file does not exist."""

_EVENTS = ("changed", "lagging")

_SETUP = "salt-run k8s_nodes.setup prints the list"


def engine_is_listed(opts: Mapping[str, Any]) -> bool:
    """Whether the master starts the engine ``k8s_nodes``."""
    engines = opts.get("engines") or []
    entries = (
        [{name: options} for name, options in engines.items()]
        if isinstance(engines, Mapping)
        else engines
    )
    for entry in entries:
        # Of an item with several names, Salt starts the first.
        named = entry.items() if isinstance(entry, Mapping) else [(entry, None)]
        name, options = next(iter(named), (None, None))
        module = options.get("engine_module", name) if isinstance(options, Mapping) else name
        if module == KEY:
            return True
    return False


def reactor_files(opts: Mapping[str, object], tag: str) -> list[str]:
    """Return the SLS files that the reactor renders for a tag; only lists count, as in Salt."""
    paths: list[str] = []
    for entry in _entries(opts):
        # Salt ignores an item with several tags, and does not log it.
        if isinstance(entry, Mapping) and len(entry) == 1:
            ((pattern, files),) = entry.items()
            if fnmatch(tag, str(pattern)):
                paths += [files] if isinstance(files, str) else map(str, files or ())
    return paths


def _entries(opts: Mapping[str, object]) -> Sequence[object]:
    entries = opts.get("reactor")
    return entries if isinstance(entries, list) else ()


def reactor(
    opts: Mapping[str, object], clusters: Iterable[str], read_sls: ReadSls
) -> Iterator[Finding]:
    """Yield why the reactor does not call :data:`CALL` for the events of the engine."""
    configured = opts.get("reactor")
    if configured and not isinstance(configured, list):
        subject = f"the file {configured}" if isinstance(configured, str) else "this option"
        yield error(
            "reactor",
            f"{subject} does not contain a list, so Salt ignores it",
            f"write a list; {_SETUP}",
        )
    for entry in _entries(opts):
        if isinstance(entry, Mapping) and len(entry) > 1:
            yield warning(
                "reactor",
                f"Salt ignores a whole item with several tags: {', '.join(map(str, entry))}",
                "make each tag an item of its own",
            )
    unhandled: dict[str, list[str]] = {}
    for event, cluster in ((event, cluster) for event in _EVENTS for cluster in clusters):
        tag = f"salt/{KEY}/{cluster}/{event}"
        texts = {path: read_sls(path) for path in reactor_files(opts, tag)}
        for path in (path for path, text in texts.items() if text is None):
            yield error(
                f"reactor:{tag}", f"the file {path} does not exist", f"correct the path; {_SETUP}"
            )
        calling = [path for path, text in texts.items() if text is not None and CALL in text]
        if not calling:
            unhandled.setdefault(event, []).append(cluster)
        elif len(calling) > 1:
            yield info(
                f"reactor:{tag}",
                f"{len(calling)} files call {CALL}: {', '.join(calling)}",
                "keep one; the second call finds nothing to do",
            )
    yield from _unhandled_events(unhandled)


def _unhandled_events(unhandled: Mapping[str, list[str]]) -> Iterator[Finding]:
    if "lagging" in unhandled:
        effect = (
            "nothing is ever published"
            if unhandled.get("changed") == unhandled["lagging"]
            else "a minion that missed a publish is never tried again"
        )
        yield error("reactor", f"{_no_call('lagging', unhandled)}: {effect}", _SETUP)
    elif unhandled:
        effect = "changes reach minions with the engine's next timer, not at once"
        yield warning("reactor", f"{_no_call('changed', unhandled)}: {effect}", _SETUP)


def _no_call(event: str, unhandled: Mapping[str, list[str]]) -> str:
    clusters = ", ".join(unhandled[event])
    return f"no file calls {CALL} for the tag salt/{KEY}/*/{event} of {clusters}"


def backend(opts: Mapping[str, Any], *, needed: bool) -> Iterator[Finding]:
    """Yield that the master does not serve ``file_roots``; an error when that is needed."""
    if "roots" not in (opts.get("fileserver_backend") or []):
        yield (error if needed else warning)(
            "fileserver_backend",
            "has no roots, so minions get neither the formula nor k8s_firewall from file_roots",
            "add `- roots` to the list",
        )


def is_pure_master_of_masters(opts: Mapping[str, object]) -> bool:
    """Whether this is a master of masters without an engine, which compiles no pillars."""
    return bool(opts.get("order_masters")) and not engine_is_listed(opts)


def topology(opts: Mapping[str, Any], written_keys: Iterable[str]) -> Iterator[Finding]:
    """
    Yield this master's relation to other masters.

    ``written_keys`` are the keys in the configuration files, without Salt's defaults.
    """
    if opts.get("order_masters"):
        role = "a master of masters (order_masters: true): the masters below it compile pillars"
        if engine_is_listed(opts):
            yield warning(
                "order_masters",
                f"{role}, and their minions' events arrive here a second time",
                "run the engine on the masters below, each with its own store, and remove "
                f"{KEY} from engines, ext_pillar and reactor here",
            )
        else:
            yield info("order_masters", f"{role}; it needs no engine")
    if "syndic_master" in written_keys:
        yield info(
            "syndic_master",
            f"this master is a syndic of {opts.get('syndic_master')}: it compiles the pillars of "
            "its minions and needs its own engine; the master of masters needs none",
        )
    if opts.get("cluster_id"):
        peers = ", ".join(map(str, opts.get("cluster_peers") or ())) or "none"
        yield info(
            "cluster_id",
            f"this master is one of a cluster (peers: {peers}): each one that compiles pillars "
            "runs an engine with its own state_dir, which must not be shared",
        )
