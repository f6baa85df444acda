"""
The ``k8s_nodes:`` block of the master's configuration: read once, checked as a whole, frozen.

``master/settings`` passes the raw mapping to :func:`config.read`; every other package gets the
:class:`~config.Config` that it returns. Reading never raises: mistakes are collected in
``Config.problems``, so that ``check`` shows all of them at once, and a cluster without a mistake
works beside a broken one.

.. code-block:: text

    k8s_nodes:                     config     Config, Metrics
      state_dir, metrics
      denied_networks
      apply:                       apply      ApplyConfig, Action (one class of minions)
        classes
      clusters:
        prod:                      clusters   Cluster, Timing; groups, node lists, guards
          kubeconfig, server, ...  access     ClusterAccess: how the API is reached

``options`` reads one mapping key by key; the others use nothing else to read.
"""
