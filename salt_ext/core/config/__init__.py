"""
The ``k8s_nodes:`` block of the master's configuration: read once, checked as a whole, frozen.

``master/settings`` passes the raw mapping to :func:`config.read`; every other package gets the
:class:`~config.Config` that it returns. Reading never raises: mistakes are collected in
``Config.problems``, so that ``check`` shows all of them at once, and a cluster without a mistake
works beside one with a mistake of its own.

.. code-block:: text

    k8s_nodes:                     config     Config, Metrics
      state_dir, metrics
      denied_networks
      apply:                       apply      ApplyConfig, Action (one class of minions)
        classes
      clusters:
        prod:                      clusters   Cluster, Timing; groups, node lists, guards
          kubeconfig, server, ...  access     ClusterAccess: how the API is reached

``options`` reads one mapping key by key; the others use nothing else to read. ``networks`` and
``targets`` read values that keep addresses and minions out.

A mistake opens nothing: ``doubt`` says what it may be about, with ``places``, which knows where
each key belongs. A mistake that may be about any cluster puts all of them into ``Config.broken``.
"""
