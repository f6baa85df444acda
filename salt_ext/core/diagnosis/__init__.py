r"""
Findings about a set-up: what is wrong, where, and how to fix it. Pure: values in, findings out.

``admin/check`` reads options, configuration files, pillars and mounts, and passes them in;
``admin/setup`` prints the plan of ``setup_plan``. Nothing here reads a file or asks a master.

.. code-block:: text

    config_files  files of the master's configuration: which value of a key is effective
         |   \
         |    setup_plan        what `setup` adds to which file
         v
    pillar_options, wiring      options of the master: ext_pillar, engine, reactor, topology
    filesystems                 is a path on a network file system
    rbac_manifest               what to apply to a cluster
    formula_pitfalls,           a minion's pillar: formulas that misread references,
    multi_master,                 several masters,
    publish_coverage              a published function that skips the firewall
         |
         v
    finding.Finding             level, where, what, fix  -> `salt-run k8s_nodes.check`
"""
