"""
The engine module ``k8s_nodes``, as Salt's loader finds it on the master.

A thin border: it checks that there is a configuration, makes one call inward, and runs until the
master ends its process::

    Salt master (engines: [k8s_nodes: {}])
         │  start()
         ▼
    engine/k8s_nodes.py ──► salt_ext.daemon.engine.Engine.run
                                 │ starts and supervises
                                 ├── for each cluster: watcher, reconciler    (salt_ext.watch)
                                 └── event listener, rollout controller,
                                     key watcher                              (salt_ext.rollout)

Shipped in the wheel as ``salt_ext.engines``. Salt loads each file here under a made-up name: no
helpers here. The module's docstring lists the events that the engine fires.
"""
