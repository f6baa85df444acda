"""
Firewalls outside a Kubernetes cluster, kept true to the cluster by Salt.

Folders follow the data: an address goes from left to right, a proof comes back::

    watch ──► store ──► references ──► a minion's pillar
                │
                └─────► rollout ──► publish ──► minion (formula) ──► return ──► proof

    runners                 what an operator types, thin
    admin, daemon           status, check, setup; the engine's process and its metrics
    rollout                 who is out of date, what is published, what a return proves
    references, watch       from a reference to addresses; from the API server to the store
    supervisor              restarts the engine's threads
    kube, master, store     adapters: one outside thing each
    core                    pure decisions: no clock, no file, no socket
    formula                 what Salt copies to minions; it imports nothing from here

An import runs only downwards in this list; ``pyproject.toml`` has the contracts.
"""
