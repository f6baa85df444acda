"""``setup``: the configuration to paste, merged with the master's files, and the next steps."""

from __future__ import annotations

from collections.abc import Iterable, Mapping
from fnmatch import fnmatch
from importlib import resources
from pathlib import Path
from typing import TypedDict

import msgspec

from salt_ext import formula
from salt_ext.core import answers
from salt_ext.core.config.apply import MODULE
from salt_ext.core.config.config import KEY
from salt_ext.core.diagnosis import rbac_manifest
from salt_ext.core.diagnosis.config_files import ConfigFile
from salt_ext.core.diagnosis.setup_plan import Plan, RequiredOptions, plan
from salt_ext.core.errors import ConfigError
from salt_ext.master.config_files import config_files, reactor_map

_FOLDER = "/etc/salt/k8s"
_SERVER = "https://API-SERVER:6443"
_NETWORKS = "NETWORK-OF-THE-NODES/24"
_SETS_CLASS = f"sets: {{target: TARGET, function: {MODULE}.sync}}"

Cluster = dict[str, "str | list[str] | None"]
"""The configuration of one cluster."""


class Given(TypedDict, total=False):
    """The arguments of the runner: keys of the cluster to add, and the SLS of the firewall."""

    cluster: str | None
    server: str | None
    kubeconfig: str | None
    ca_file: str | None
    token_file: str | None
    allowed_networks: list[str] | None
    states: list[str] | None


def setup(opts: Mapping[str, object], given: Given, *, brief: bool) -> answers.Setup | str:
    """
    Return what to write where; with ``brief`` as one text for an operator to paste.

    :class:`ConfigError` when ``reactor`` names a file that has no list.
    """
    files = config_files(opts)
    main = Path(str(opts.get("conf_file") or "/etc/salt/master"))
    block = opts.get(KEY)
    known = (block.get("clusters") if isinstance(block, Mapping) else None) or {}
    clusters = _clusters(frozenset(known), given)
    required = RequiredOptions(
        sls=str(resources.files("salt_ext.reactor") / "apply.sls"),
        formula=str(formula.path()),
        clusters=clusters,
        first={"apply": {"states": given.get("states") or ["firewall"]}},
        engine=not opts.get("order_masters"),
    )
    reactor_lists = _reactor_lists(files)
    changes = plan(files, _defaults(opts), _new_file(opts, main), required, reactor_lists)
    answer: answers.Setup = {
        "put": {path: _yaml(keys) for path, keys in changes.put.items()},
        "take_out": changes.take_out,
        "unchanged": changes.right,
        "manifest": rbac_manifest.MANIFEST,
        "steps": [
            *_unused_files(changes, reactor_lists),
            *_sets_class(changes, block),
            *_steps(changes, clusters, str(opts.get("user") or "root")),
        ],
    }
    return _text(answer, {file.path for file in files}) if brief else answer


def _reactor_lists(files: Iterable[ConfigFile]) -> dict[str, list[object]]:
    """Return the lists of the files that ``reactor`` names in place of a list, by path."""
    lists = {}
    for path in (file.values.get("reactor") for file in files):
        if isinstance(path, str):
            entries = reactor_map(path)
            if entries is None:
                raise ConfigError("reactor", path, "a list, or the path of a file that has one")
            lists[path] = entries
    return lists


def _unused_files(changes: Plan, reactor_lists: Mapping[str, object]) -> list[str]:
    if not any("reactor" in keys for keys in changes.put.values()):
        return []
    return [f"# {path} is unused now: its list moved to the key reactor" for path in reactor_lists]


def _sets_class(changes: Plan, block: object) -> list[str]:
    """Return the class for sets, whose minions only the operator knows, unless there is one."""
    apply = block.get("apply") if isinstance(block, Mapping) else None
    if not changes.put or f"{MODULE}.sync" in str(apply):
        return []
    return [f"# for minions with {MODULE} in the pillar, below {KEY}:apply:classes: {_SETS_CLASS}"]


def _defaults(opts: Mapping[str, object]) -> dict[str, object]:
    """Return Salt's own values of lists that may be in no file, as plain types."""
    roots = opts.get("file_roots")
    backends = opts.get("fileserver_backend")
    return {
        "file_roots": {str(name): _texts(folders) for name, folders in roots.items()}
        if isinstance(roots, Mapping)
        else {},
        "fileserver_backend": _texts(backends),
    }


def _texts(values: object) -> list[str]:
    return [str(value) for value in values] if isinstance(values, Iterable) else []


def _clusters(known: frozenset[str], given: Given) -> dict[str, Cluster]:
    """Return the cluster to add by its name, if there is one."""
    name = given.get("cluster") or (None if known else "prod")
    if name is None or name in known:
        return {}
    access: Cluster = {"kubeconfig": given.get("kubeconfig")}
    if not access["kubeconfig"]:
        access = {
            "server": given.get("server") or _SERVER,
            "ca_file": given.get("ca_file") or f"{_FOLDER}/{name}.crt",
            "token_file": given.get("token_file") or f"{_FOLDER}/{name}.token",
        }
    return {name: {**access, "allowed_networks": given.get("allowed_networks") or [_NETWORKS]}}


def _new_file(opts: Mapping[str, object], main: Path) -> str:
    """Return the path of a file of our own, or the main file where Salt includes no other."""
    include = opts.get("default_include")
    patterns = [include] if isinstance(include, str) else _texts(include)
    pattern = next(iter(patterns), "")
    path = main.parent / Path(pattern).parent / f"{KEY}.conf"
    return str(path if pattern and fnmatch(path.name, Path(pattern).name) else main)


def _steps(changes: Plan, clusters: Mapping[str, Cluster], user: str) -> list[str]:
    """Return the next steps: edit, fetch credentials, restart, check."""
    steps = []
    for name, cluster in clusters.items():
        placeholders = [
            key
            for key, value in (("server", _SERVER), ("allowed_networks", [_NETWORKS]))
            if cluster.get(key) == value
        ]
        if placeholders:
            steps.append(f"# replace the words in capitals: {' and '.join(placeholders)} of {name}")
        if "token_file" in cluster:
            token_file, ca_file = str(cluster["token_file"]), str(cluster["ca_file"])
            steps += rbac_manifest.manifest(token_file, ca_file, user)
    if changes.put or changes.take_out:
        steps.append("systemctl restart salt-master")
    return [*steps, f"salt-run {KEY}.check"]


def _text(answer: answers.Setup, existing: set[str]) -> str:
    lines = []
    for path, text in answer["put"].items():
        how = "replace these keys as a whole" if path in existing else "a new file"
        lines += [f"# ---- {path}: {how}", text.rstrip(), ""]
    for path, keys in answer["take_out"].items():
        lines += [f"# ---- {path}: remove {', '.join(keys)}: moved, see above", ""]
    if answer["unchanged"]:
        lines += [f"# ---- correct already: {', '.join(answer['unchanged'])}", ""]
    lines += ["# ---- on each cluster", _here_document(answer["manifest"]), ""]
    return "\n".join([*lines, "# ---- then", *answer["steps"]])


def _here_document(manifest: str) -> str:
    return f"kubectl apply -f - <<'END'\n{manifest}END"


def _yaml(keys: Mapping[str, object]) -> str:
    return msgspec.yaml.encode(keys).decode()
