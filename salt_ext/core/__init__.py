r"""
The decisions, without the outside: no Salt, no Kubernetes, no clock, no file, no socket, no log.

Every other package calls the core; the core calls none of them. Time, random numbers, the text of
files and the answers of the API server come in as arguments, so all of it is tested in
milliseconds. Import-linter guards this, and the order of the parts:

.. code-block:: text

    diagnosis        rollout         findings of `check`, the plan of `setup` |
        \               /            drift, batches, proof
         +---- config -+             the `k8s_nodes:` block of the master's configuration
                 |
       references    events          `k8s://` in pillars | what Salt's event bus gets
                 |
              cluster                nodes -> members -> guard -> snapshot
                 |
    timing  errors  metrics          delays and limits | exceptions | Prometheus names
                 |
              display                how values are shown to operators

Who asks what: ``watch`` uses ``cluster`` and ``timing``; ``references`` uses ``references``;
``rollout`` uses ``rollout``; ``admin`` uses ``diagnosis``; all of them use ``config``.
"""
