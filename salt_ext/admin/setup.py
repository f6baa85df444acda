"""Prints what has to be written where, so that everything is wired, and no list is lost."""

from __future__ import annotations

from collections.abc import Iterable, Mapping
from fnmatch import fnmatch
from importlib import resources
from pathlib import Path
from typing import Any

import msgspec

from salt_ext import formula
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
_SETS = f"sets: {{target: TARGET, function: {MODULE}.sync}}"


def setup(opts: Mapping[str, Any], given: Mapping[str, Any], *, brief: bool) -> Any:
    """
    Return the plan; as one text for a person, who pastes it.

    ``given`` is what is known of a cluster to add: ``cluster``, and keys of its configuration.
    """
    found = config_files(opts)
    main = Path(str(opts.get("conf_file") or "/etc/salt/master"))
    there = opts.get(KEY)
    known = (there.get("clusters") if isinstance(there, Mapping) else None) or {}
    clusters = _clusters(frozenset(known), given)
    ours = RequiredOptions(
        sls=str(resources.files("salt_ext.reactor") / "apply.sls"),
        formula=str(formula.path()),
        clusters=clusters,
        first={"apply": {"states": given.get("states") or ["firewall"]}},
        engine=not opts.get("order_masters"),
    )
    maps = _maps(found)
    made = plan(found, _usual(opts), _new_file(opts, main), ours, maps)
    told = {
        "put": {path: _yaml(keys) for path, keys in made.put.items()},
        "take_out": made.take_out,
        "right": made.right,
        "manifest": rbac_manifest.MANIFEST,
        "then": [
            *_unread(made, maps),
            *_sets(made, there),
            *_then(made, clusters, str(opts.get("user") or "root")),
        ],
    }
    return _text(told, {file.path for file in found}) if brief else told


def _maps(found: Iterable[ConfigFile]) -> dict[str, list[Any]]:
    """Return the lists in files that the configuration names in place of them."""
    maps = {}
    for path in (file.values.get("reactor") for file in found):
        if isinstance(path, str):
            listed = reactor_map(path)
            if listed is None:
                raise ConfigError("reactor", path, "a list, or the path of a file that has one")
            maps[path] = listed
    return maps


def _unread(made: Plan, maps: Mapping[str, Any]) -> list[str]:
    moved = any("reactor" in keys for keys in made.put.values())
    return [f"# nothing reads {path} any more: reactor has its list now" for path in maps if moved]


def _sets(made: Plan, there: object) -> list[str]:
    """Tell the class that only the operator knows the minions of."""
    told = there.get("apply") if isinstance(there, Mapping) else None
    if not made.put or f"{MODULE}.sync" in str(told):
        return []
    return [f"# for minions with {MODULE} in the pillar, below {KEY}:apply:classes: {_SETS}"]


def _usual(opts: Mapping[str, Any]) -> dict[str, Any]:
    """Return what Salt itself has where nobody wrote anything, as plain values."""
    roots = opts.get("file_roots") or {}
    return {
        "file_roots": {str(name): [str(one) for one in found] for name, found in roots.items()},
        "fileserver_backend": list(map(str, opts.get("fileserver_backend") or ())),
    }


def _clusters(known: frozenset[str], given: Mapping[str, Any]) -> dict[str, Any]:
    """Return the cluster to add, if there is one."""
    name = given.get("cluster") or (None if known else "prod")
    if name is None or name in known:
        return {}
    access: dict[str, Any] = {"kubeconfig": given.get("kubeconfig")}
    if not access["kubeconfig"]:
        access = {
            "server": given.get("server") or _SERVER,
            "ca_file": given.get("ca_file") or f"{_FOLDER}/{name}.crt",
            "token_file": given.get("token_file") or f"{_FOLDER}/{name}.token",
        }
    return {name: {**access, "allowed_networks": given.get("allowed_networks") or [_NETWORKS]}}


def _new_file(opts: Mapping[str, Any], main: Path) -> str:
    """Return the file that is ours where nothing speaks against it."""
    usual = opts.get("default_include")
    pattern = usual if isinstance(usual, str) else next(iter(usual or ()), "")
    found = main.parent / Path(pattern).parent / f"{KEY}.conf"
    return str(found if pattern and fnmatch(found.name, Path(pattern).name) else main)


def _then(made: Plan, clusters: Mapping[str, Any], user: str) -> list[str]:
    """Return what to do beside: edit, fetch credentials, restart, look."""
    steps = []
    for name, cluster in clusters.items():
        open_ = [
            key
            for key, text in (("server", _SERVER), ("allowed_networks", [_NETWORKS]))
            if cluster.get(key) == text
        ]
        if open_:
            steps.append(f"# correct what stands in capitals: {' and '.join(open_)} of {name}")
        if "token_file" in cluster:
            steps += rbac_manifest.manifest(cluster["token_file"], cluster["ca_file"], user)
    if made.put or made.take_out:
        steps.append("systemctl restart salt-master")
    return [*steps, f"salt-run {KEY}.check"]


def _text(told: Mapping[str, Any], existing: set[str]) -> str:
    lines = []
    for path, text in told["put"].items():
        how = "these keys as a whole, in place of those" if path in existing else "a new file"
        lines += [f"# ---- {path}: {how}", text.rstrip(), ""]
    for path, keys in told["take_out"].items():
        lines += [f"# ---- {path}: take out {', '.join(keys)}: moved, see above", ""]
    if told["right"]:
        lines += [f"# ---- right as they are: {', '.join(told['right'])}", ""]
    lines += ["# ---- on each cluster", f"kubectl apply -f - <<'END'\n{told['manifest']}END", ""]
    return "\n".join([*lines, "# ---- then", *told["then"]])


def _yaml(keys: Mapping[str, Any]) -> str:
    return msgspec.yaml.encode(keys).decode()
