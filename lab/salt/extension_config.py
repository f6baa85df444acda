"""The master's configuration for the extension, as an operator would write it into master.d."""

from __future__ import annotations

from collections.abc import Mapping
from importlib import resources
from pathlib import Path
from typing import Any

from lab.kubernetes.endpoint import Endpoint
from lab.network.address import NODES_V4, NODES_V6

CLUSTER = "prod"


def extension(
    endpoint: Endpoint, *, state_dir: Path, more: Mapping[str, Any] | None = None
) -> dict[str, Any]:
    """Everything that switches the extension on; ``more`` is laid over the block k8s_nodes."""
    block = {
        "state_dir": str(state_dir),
        # A job that a minion never got, as after a master was killed, is missed within a test.
        "apply": {
            "states": ["firewall"],
            "timeout": 20,
            # Whose pillar has sets, so that a change of a cluster needs no state run.
            "classes": {"sets": {"target": "minion2", "function": "k8s_firewall.sync"}},
        },
        "clusters": {
            CLUSTER: {
                "server": endpoint.url,
                "ca_file": str(endpoint.ca_file),
                "token_file": str(endpoint.tokens["reader"]),
                "allowed_networks": [str(NODES_V4), str(NODES_V6)],
            }
        },
    }
    react = str(resources.files("salt_ext.reactor") / "apply.sls")
    return {
        "k8s_nodes": laid_over(block, more or {}),
        "engines": [{"k8s_nodes": {}}],
        "ext_pillar": [{"k8s_nodes": {}}],
        "reactor": [
            {"salt/k8s_nodes/*/changed": [react]},
            {"salt/k8s_nodes/*/lagging": [react]},
        ],
    }


def laid_over(below: Mapping[str, Any], above: Mapping[str, Any]) -> dict[str, Any]:
    """Merge nested mappings; what is above wins, None takes a key away."""
    merged = dict(below)
    for key, value in above.items():
        if value is None:
            merged.pop(key, None)
        elif isinstance(value, Mapping) and isinstance(merged.get(key), Mapping):
            merged[key] = laid_over(merged[key], value)
        else:
            merged[key] = value
    return merged
