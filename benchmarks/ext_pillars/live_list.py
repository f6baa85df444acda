"""What is commonly done instead: an ext_pillar that lists the nodes at each compile."""

from kubernetes import client


def ext_pillar(minion_id, pillar, url, ca_file, token_file):  # noqa: ARG001
    """Put every node's address where a template can loop over it."""
    with open(token_file) as token:  # noqa: PTH123
        key = {"authorization": f"Bearer {token.read().strip()}"}
    settings = client.Configuration(host=url, api_key=key)
    settings.ssl_ca_cert = ca_file
    nodes = client.CoreV1Api(client.ApiClient(settings)).list_node()
    return {
        "nodes": [
            address.address
            for node in nodes.items
            for address in node.status.addresses
            if address.type == "InternalIP"
        ]
    }
