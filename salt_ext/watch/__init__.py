"""
Watches the nodes of each cluster and keeps the store up to date with them.

The engine runs one watcher and one reconciler for each cluster, in a thread each, so that a slow
disk never delays the network nor the reverse. A pillar compile without an engine uses the lister
instead. This package reads the API through ``kube``, decides with ``core/cluster`` and writes the
store's snapshots, holds, health and history. It never publishes to a minion.

.. code-block:: text

    API server
        |  LIST, WATCH
        v
    watcher          follows core's Reflector; the only thread that waits for the network
        |  queue of updates: Replaced, Upserted, Deleted, WatchOpened, Failed
        |  WatchCounters: heartbeats, which cause no update
        v
    reconciler       admit -> debounce -> guard -> diff -> save -> fire events
        |    ^
        |    +------ refusals: what of a node is not let in, reported at once
        |    +------ sync_status: listing, watching or waiting; sync/lost and sync/restored
        v
    store: snapshots, holds, health, history         event bus: salt/k8s_nodes/<cluster>/...

    on_demand        LIST, then one reconciler step, inside a pillar compile (``fetch: true``)
"""
