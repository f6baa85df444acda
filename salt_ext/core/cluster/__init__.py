"""
One cluster's nodes: how they are read, checked and compared. Pure: no socket, no clock, no store.

``watch`` drives all of it: the watcher owns a :class:`~reflector.Reflector`, the reconciler owns
the rest. ``references`` reads snapshots. Nothing here opens a firewall; it decides which addresses
may be opened.

.. code-block:: text

    Kubernetes API
         |  LIST pages, WATCH events
         v
    reflector ----------> node            claims as the kubelet wrote them, unchecked
                            |  admit(node, limits)
                            v
                          member          addresses inside allowed_networks only
                            |
                            v
                          membership      grace for lost addresses, limit per node, damping
                            |  View
                            v
                          guard           holds what looks like a mistake or an attack
                            |  Judgement
                            v
                          snapshot        what the store keeps, one revision
                            |  diff
                            v
                          events          (core/events) what Salt's event bus gets

``address`` reads and sorts addresses; ``resource_version`` compares versions.
"""
