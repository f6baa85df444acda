"""
The reactor SLS that turns the engine's events into a run of ``k8s_nodes.apply``.

::

    engine ──► event bus: salt/k8s_nodes/<cluster>/changed, .../lagging
                   │
                   ▼
    reactor/apply.sls ──► runner k8s_nodes.apply(cluster=<cluster>)

Any minion can put such a tag on the bus. Only the cluster's name is taken from it, as a quoted
string; the runner refuses a name that is not configured, and reads everything else from the store.
``python3 -m salt_ext.reactor`` prints the ``reactor:`` list for master.d.

Shipped in the wheel as ``salt_ext.reactor``. It knows the runner's name and nothing else.
"""
