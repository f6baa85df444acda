"""
The benchmark: what the extension costs, each figure beside a peer that the same run measures.

``make bench`` (``python -m benchmarks``) runs it; nothing else imports it, and it is not in the
wheel. It may use the lab, a real kube-apiserver, root and network namespaces.

.. code-block:: text

    __main__ ── session: part by part, table, build/bench.json, exit code
                  ├── engine       list, watch, store, event bus      ┐
                  ├── pillar       compiles with our ext_pillar       │ each returns
                  ├── convergence  node joins → every firewall open   │ Comparisons
                  └── firewall     the minion's module and kernel     ┘ (comparison)
                        │
                        ├── workers/        processes that are measured, ours and peers
                        ├── join_leave, published_sync, host_cpu     what worlds are asked
                        └── reference_loop  the peer of what has no other
                  report: table and exit code;  baseline: baseline.json, change in percent

A comparison is a ratio, ours to peer, so that a slow machine misses no aim that a quick one meets.
Each aim is the largest good ratio: an absolute aim, divided by the peer on a quiet, quick machine
(quick_machine); ``derivation`` says both. Aims never follow what we happen to reach.
"""
