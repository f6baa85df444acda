"""
References in pillars, answered from the store: what the ext_pillar does.

One compile of a pillar is a pipeline of values. Each step returns a value, and nothing takes
effect before the last two::

    scan         texts in the pillar                         core.references.scan
      ▼
    parse        {text: Reference | Unresolved}              core.references.reference
      ▼
    authorize    clusters that do not serve this minion      authorization
      ▼
    resolve      {text: Resolution | Unresolved}             resolver  ◄── store
      ▼
    expand       new values of top-level keys                core.references.expand
      ▼
    annotate     the pillar key k8s_nodes                    annotation, payload_grant
      ▼
    record       the minion's subscription                   recorder  ──► store

``pillar`` runs these steps; ``rendering`` is the value that they build. ``node_lists`` has the
lists of nodes that the configuration gives to a minion without a reference. ``discovery`` compiles
the pillars of all minions to rebuild the subscriptions.

Called by the ext_pillar (``pillar/``), by ``rollout`` (desired state) and by ``check``. May use the
store and ``master``. Never waits for a network by itself, and never raises into a compile.
"""
