"""
References to clusters in pillars: pure, values in and values out.

::

    pillar ──scan──► texts ──reference.parse──► Reference ──resolve──► addresses
       │                                                                  │
       └────────────────────────── expand ◄──────── {text: Resolution} ◄──┘

``reference`` and ``selector`` read the text ``k8s://prod?labelSelector=pool=web``. ``scan`` finds
such texts in a pillar. ``resolve`` picks the members of a snapshot and their addresses.
``resolution`` has the values between the two halves, and ``expand`` puts the addresses into the
pillar. ``node_lists`` is the other way to hand nodes to a minion: by configuration.

Called by ``salt_ext.references``, which adds the store, and by ``check``. May import
``core.cluster`` and nothing from outside the core.
"""
