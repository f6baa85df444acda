"""The Kubernetes objects that allow the engine to read the nodes of a cluster, and no more."""

from __future__ import annotations

NAME = "salt-k8s-nodes"
NAMESPACE = "kube-system"

MANIFEST = """\
apiVersion: v1
kind: ServiceAccount
metadata: {name: salt-k8s-nodes, namespace: kube-system}
---
apiVersion: rbac.authorization.k8s.io/v1
kind: ClusterRole
metadata: {name: salt-k8s-nodes}
rules:
  - {apiGroups: [''], resources: [nodes], verbs: [get, list, watch]}
  - {apiGroups: [''], resources: [namespaces], resourceNames: [kube-system], verbs: [get]}
---
apiVersion: rbac.authorization.k8s.io/v1
kind: ClusterRoleBinding
metadata: {name: salt-k8s-nodes}
roleRef: {apiGroup: rbac.authorization.k8s.io, kind: ClusterRole, name: salt-k8s-nodes}
subjects: [{kind: ServiceAccount, name: salt-k8s-nodes, namespace: kube-system}]
---
apiVersion: v1
kind: Secret
type: kubernetes.io/service-account-token
metadata:
  name: salt-k8s-nodes
  namespace: kube-system
  annotations: {kubernetes.io/service-account.name: salt-k8s-nodes}
"""


def manifest(token_file: str, ca_file: str, user: str) -> tuple[str, ...]:
    """Return the shell commands that store the token and the CA certificate on the master."""
    get = f"kubectl -n {NAMESPACE} get secret {NAME} -o jsonpath"
    put = f"base64 -d | install -D -m 600 -o {user} /dev/stdin"
    return (
        f"{get}='{{.data.token}}' | {put} {token_file}",
        f"{get}='{{.data.ca\\.crt}}' | {put} {ca_file}",
    )
