"""
The ext_pillar module ``k8s_nodes``, as Salt's loader finds it on the master.

A thin border: it reads Salt's options, makes one call inward, and turns every error into a log
line, since an ext_pillar that raises blocks every state of the minion::

    Salt's pillar compiler
         │  ext_pillar(minion_id, pillar, fetch, ttl, timeout)
         ▼
    pillar/k8s_nodes.py ──► salt_ext.references.pillar.PillarRenderer.render
         │ fetch: true
         └──► salt_ext.watch.on_demand (LIST without an engine)

Shipped in the wheel as ``salt_ext.pillar``. Salt loads each file here under a made-up name and
executes it again for each compile: no helpers, and no state in module globals.
"""
