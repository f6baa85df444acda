"""
The Kubernetes API: the only package that knows the official client and the wire format.

It sends three requests to an API server (GET namespace ``kube-system``, LIST nodes, WATCH nodes)
and, for ``check``, what :mod:`preflight` asks. ``watch`` calls it from the engine and from a
pillar compile; ``admin/check`` calls the preflight. It reads kubeconfigs, tokens and CA files,
runs exec plugins and opens TLS connections. It never writes a file and never touches the store.

.. code-block:: text

    ClusterAccess (core/config)
         |
         v
    connection ---- kubeconfig          which context, cluster and user
         |     ---- user_auth           that user's credentials
         |             |
         |             v
         |          credential          token, password, certificate; exec_plugin runs a command
         v
    session ------- tls                 one connection pool; read again after 401, 403, rotation
         |
         v
    request                             one request and its errors (errors.py)
         |
         +--> api          identity, LIST pages, WATCH stream: line_stream, wire (bytes to Node)
         +--> preflight    version, clock skew, permissions, credential_lifetime
"""
