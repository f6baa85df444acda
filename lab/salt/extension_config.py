"""The master's configuration for the extension, as an operator would write it into master.d."""

from __future__ import annotations

from collections.abc import Mapping
from importlib import resources
from pathlib import Path
from typing import Any

from lab.kubernetes.endpoint import Endpoint
from lab.network.address import NODES_V4, NODES_V6

CLUSTER = "prod"


def extension_config(
    endpoint: Endpoint, *, state_dir: Path, overrides: Mapping[str, Any] | None = None
) -> dict[str, Any]:
    """The settings that switch the extension on; ``overrides`` go over the block k8s_nodes."""
    block = {
        "state_dir": str(state_dir),
        # Short, so that a test sees a lost job time out, as after the kill of a master.
        "apply": {
            "states": ["firewall"],
            "timeout": 20,
            # Its pillar has sets, so a change of a cluster needs no state run.
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
    reactor = str(resources.files("salt_ext.reactor") / "apply.sls")
    return {
        "k8s_nodes": merged(block, overrides or {}),
        "engines": [{"k8s_nodes": {}}],
        "ext_pillar": [{"k8s_nodes": {}}],
        "reactor": [
            {"salt/k8s_nodes/*/changed": [reactor]},
            {"salt/k8s_nodes/*/lagging": [reactor]},
        ],
    }


def merged(base: Mapping[str, Any], overrides: Mapping[str, Any]) -> dict[str, Any]:
    """Merge nested mappings; an override wins, None removes a key."""
    result = dict(base)
    for key, value in overrides.items():
        if value is None:
            result.pop(key, None)
        elif isinstance(value, Mapping) and isinstance(result.get(key), Mapping):
            result[key] = merged(result[key], value)
        else:
            result[key] = value
    return result
