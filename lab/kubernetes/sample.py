"""
What else is in a Node object of a busy cluster: conditions, 20 images, labels, annotations,
capacity.

Sizes follow a managed cluster's nodes: about 14 KB each once the server has added its
managedFields.
"""

from __future__ import annotations

import hashlib
from typing import Any

from lab.kubernetes import timestamp

_IMAGES = 20
_CHECKS = {
    "MemoryPressure": ("KubeletHasSufficientMemory", "kubelet has sufficient memory available"),
    "DiskPressure": ("KubeletHasNoDiskPressure", "kubelet has no disk pressure"),
    "PIDPressure": ("KubeletHasSufficientPID", "kubelet has sufficient PID available"),
}
_RESOURCES = {
    "cpu": "16",
    "ephemeral-storage": "203056560Ki",
    "hugepages-1Gi": "0",
    "hugepages-2Mi": "0",
    "memory": "64829584Ki",
    "pods": "110",
}


def conditions(*, ready: bool) -> list[dict[str, str]]:
    """The conditions a kubelet reports, as of now."""
    now = timestamp.now()
    times = {"lastHeartbeatTime": now, "lastTransitionTime": "2026-01-05T08:00:00Z"}
    found = [
        {"type": kind, "status": "False", "reason": reason, "message": message, **times}
        for kind, (reason, message) in _CHECKS.items()
    ]
    state = (
        ("True", "KubeletReady", "kubelet is posting ready status")
        if ready
        else ("False", "KubeletNotReady", "container runtime is down")
    )
    return [
        *found,
        {"type": "Ready", "status": state[0], "reason": state[1], "message": state[2], **times},
    ]


def adorn(node: dict[str, Any]) -> None:
    """
    Add the labels, annotations and spec that kubelet, cloud controller and network plugin leave on
    a node.
    """
    name = node["metadata"]["name"]
    node["metadata"]["labels"].update(
        {
            "beta.kubernetes.io/arch": "amd64",
            "beta.kubernetes.io/instance-type": "m6i.4xlarge",
            "beta.kubernetes.io/os": "linux",
            "kubernetes.io/arch": "amd64",
            "kubernetes.io/os": "linux",
            "node.kubernetes.io/instance-type": "m6i.4xlarge",
            "topology.kubernetes.io/region": "eu-central-1",
            "topology.kubernetes.io/zone": "eu-central-1b",
        }
    )
    node["metadata"]["annotations"] = {
        "csi.volume.kubernetes.io/nodeid": f'{{"csi.example.com":"i-{_digest(name)[:17]}"}}',
        "network.example.com/l3-gateway": '{"mode":"shared","mac":"02:42:ac:11:00:02"}',
        "network.example.com/node-chassis": _digest(f"{name} chassis"),
        "network.example.com/zones": ",".join(_digest(f"{name} zone {n}")[:24] for n in range(30)),
        "node.alpha.kubernetes.io/ttl": "0",
        "volumes.kubernetes.io/controller-managed-attach-detach": "true",
    }
    node["spec"]["providerID"] = f"example:///eu-central-1b/i-{_digest(name)[:17]}"


def status(name: str) -> dict[str, Any]:
    """Capacity, system information and images; the heavy part."""
    return {
        "capacity": dict(_RESOURCES),
        "allocatable": {**_RESOURCES, "cpu": "15890m", "memory": "61834512Ki"},
        "daemonEndpoints": {"kubeletEndpoint": {"Port": 10250}},
        "nodeInfo": {
            "architecture": "amd64",
            "bootID": _digest(f"{name} boot")[:36],
            "containerRuntimeVersion": "containerd://2.1.4",
            "kernelVersion": "6.12.41-lab",
            "kubeProxyVersion": "",
            "kubeletVersion": "v1.37.2",
            "machineID": _digest(name)[:32],
            "operatingSystem": "linux",
            "osImage": "Lab Linux 12",
            "systemUUID": _digest(f"{name} system")[:36],
        },
        "images": [_image(number) for number in range(_IMAGES)],
    }


def _image(number: int) -> dict[str, Any]:
    repository = f"registry.example.com/platform/team-{number % 5}/service-component-{number}"
    digest = _digest(f"image {number}")
    mirror = repository.replace("registry", "mirror-of-the-registry.eu-central-1")
    return {
        "names": [
            f"{repository}@sha256:{digest}",
            f"{mirror}@sha256:{digest}",
            f"{repository}:v1.{number}.0-build.{digest[:12]}",
        ],
        "sizeBytes": 31_457_280 + number * 7_654_321,
    }


def _digest(text: str) -> str:
    return hashlib.sha256(text.encode()).hexdigest()
