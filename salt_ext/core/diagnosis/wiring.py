"""Options of a master that have to name us, so that a change reaches the minions."""

from __future__ import annotations

from collections.abc import Callable, Iterable, Iterator, Mapping, Sequence
from fnmatch import fnmatch
from typing import Any

from salt_ext.core.config.config import KEY
from salt_ext.core.diagnosis.finding import Finding, error, info, warning

CALL = f"{KEY}.apply"
"""What a reactor SLS has to call."""

Read = Callable[[str], str | None]
"""Returns the text of an SLS file of the reactor, None when there is no such file."""

_KINDS = ("changed", "lagging")

_SETUP = "salt-run k8s_nodes.setup prints the list"


def engine_is_listed(opts: Mapping[str, Any]) -> bool:
    """Whether the master starts our engine."""
    listed = opts.get("engines") or []
    entries = (
        [{name: given} for name, given in listed.items()] if isinstance(listed, Mapping) else listed
    )
    for entry in entries:
        # Of an item with several names, Salt starts the first.
        named = entry.items() if isinstance(entry, Mapping) else [(entry, None)]
        name, given = next(iter(named), (None, None))
        module = given.get("engine_module", name) if isinstance(given, Mapping) else name
        if module == KEY:
            return True
    return False


def reactions(opts: Mapping[str, Any], tag: str) -> list[str]:
    """Return the SLS files that the reactor renders for a tag; of a list, which Salt wants."""
    found: list[str] = []
    for entry in _list(opts):
        # Salt ignores an item with several tags, without a word.
        if isinstance(entry, Mapping) and len(entry) == 1:
            ((pattern, files),) = entry.items()
            if fnmatch(tag, str(pattern)):
                found += [files] if isinstance(files, str) else map(str, files or ())
    return found


def _list(opts: Mapping[str, Any]) -> Sequence[Any]:
    listed = opts.get("reactor")
    return listed if isinstance(listed, list) else ()


def reactor(opts: Mapping[str, Any], clusters: Iterable[str], read: Read) -> Iterator[Finding]:
    """Yield what keeps the reactor from calling us."""
    listed = opts.get("reactor")
    if listed and not isinstance(listed, list):
        what = f"the file {listed} has" if isinstance(listed, str) else "has"
        yield error("reactor", f"{what} no list that Salt can read", f"write a list; {_SETUP}")
    for entry in _list(opts):
        if isinstance(entry, Mapping) and len(entry) > 1:
            yield warning(
                "reactor",
                f"Salt ignores an item with several tags, all of it: {', '.join(map(str, entry))}",
                "write each tag as an item of its own",
            )
    deaf: dict[str, list[str]] = {}
    for kind, cluster in ((kind, cluster) for kind in _KINDS for cluster in clusters):
        tag = f"salt/{KEY}/{cluster}/{kind}"
        texts = {path: read(path) for path in reactions(opts, tag)}
        for path in (path for path, text in texts.items() if text is None):
            yield error(f"reactor:{tag}", f"there is no file {path}", f"correct it; {_SETUP}")
        calling = [path for path, text in texts.items() if text is not None and CALL in text]
        if not calling:
            deaf.setdefault(kind, []).append(cluster)
        elif len(calling) > 1:
            yield info(
                f"reactor:{tag}",
                f"{len(calling)} files call {CALL}: {', '.join(calling)}",
                "one is enough; a second call finds nothing to do",
            )
    yield from _deaf(deaf)


def _deaf(deaf: Mapping[str, list[str]]) -> Iterator[Finding]:
    if "lagging" in deaf:
        loss = (
            "nothing is ever published"
            if deaf.get("changed") == deaf["lagging"]
            else "a minion that was missed once is never tried again"
        )
        yield error("reactor", f"{_unheard('lagging', deaf)}: {loss}", _SETUP)
    elif deaf:
        loss = "a change reaches minions when the engine's timer looks, and not at once"
        yield warning("reactor", f"{_unheard('changed', deaf)}: {loss}", _SETUP)


def _unheard(kind: str, deaf: Mapping[str, list[str]]) -> str:
    return f"nothing calls {CALL} for the tag salt/{KEY}/*/{kind} of {', '.join(deaf[kind])}"


def backend(opts: Mapping[str, Any], *, needed: bool) -> Iterator[Finding]:
    """Yield whether ``file_roots`` is served at all."""
    if "roots" not in (opts.get("fileserver_backend") or []):
        yield (error if needed else warning)(
            "fileserver_backend",
            "has no roots, so that nothing of file_roots reaches a minion: neither the formula "
            "nor k8s_firewall",
            "add `- roots` to the list",
        )


def compiles_for_nobody(opts: Mapping[str, Any]) -> bool:
    """Whether this is a master of masters that is nothing else."""
    return bool(opts.get("order_masters")) and not engine_is_listed(opts)


def topology(opts: Mapping[str, Any], written: Iterable[str]) -> Iterator[Finding]:
    """Yield how this master stands to others; ``written`` are the keys that somebody wrote."""
    if opts.get("order_masters"):
        told = "a master of masters (order_masters: true): the masters below it compile pillars"
        if engine_is_listed(opts):
            yield warning(
                "order_masters",
                f"{told}, and events that minions answer with arrive here once more",
                "run the engine on the masters below, each with a store of its own, and take "
                f"{KEY} out of engines, ext_pillar and reactor here",
            )
        else:
            yield info("order_masters", f"{told}; no engine belongs here")
    if "syndic_master" in written:
        yield info(
            "syndic_master",
            f"this master is a syndic of {opts.get('syndic_master')}: it compiles the pillars of "
            "its minions and needs an engine of its own; the master of masters needs none",
        )
    if opts.get("cluster_id"):
        peers = ", ".join(map(str, opts.get("cluster_peers") or ())) or "none"
        yield info(
            "cluster_id",
            f"this master is one of a cluster (peers: {peers}): each that compiles pillars runs "
            "an engine with a state_dir of its own, which must not be shared",
        )
