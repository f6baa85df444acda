"""
``k8s://`` references: their syntax, where they are in a pillar, and the addresses they mean.

``salt_ext.references`` calls all of it while a pillar is compiled; ``rollout`` resolves the same
references again to learn what minions should have. Pure: a pillar and a snapshot come in, a new
pillar goes out. Nothing that comes in is changed.

.. code-block:: text

    pillar --scan--> texts --reference.parse--> Reference
                                                   |  + selector, group, Defaults
                                    Snapshot ---> resolve ---> addresses, digest
                                                   |                |
                                                   v                v
                                               node_lists        expand ---> new pillar
                                          (names, labels and    (addresses in place of
                                           addresses as a       references, in lists, rules
                                           pillar mapping)      and keys)

``scan`` and ``expand`` handle pillars of any size and shape, also hostile ones, in linear time.
"""
