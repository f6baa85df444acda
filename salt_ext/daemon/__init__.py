"""
The engine's process: starts all threads, restarts failed ones, exports metrics.

The loader module ``engine/k8s_nodes.py`` makes one :class:`~engine.Engine` and runs it until the
master ends the process. This package wires ``watch`` and ``rollout`` together and decides nothing
itself. It writes only the metrics textfile; one engine of a master holds ``engine.lock``.

.. code-block:: text

    Engine.run, the main thread, once a second
        |
        |-- Supervisor "cluster <name>"     watcher, reconciler               (watch)
        |-- Supervisor "engine"             event-listener, rollout-controller,
        |                                   key-watcher                       (rollout)
        |-- refresh requests                from the store to the watchers
        `-- metrics.MetricsCollector        reads the store
                |-- textfile                for node_exporter, every 15 s
                `-- master/otel             Salt's own exporter
"""
