"""
The runner ``k8s_nodes``: what an operator types, and what the reactor calls.

A thin loader module of Salt: each function reads its arguments, makes one call into
``salt_ext.admin``, ``rollout`` or ``references``, and turns errors into an answer of one line.

.. code-block:: text

    salt-run k8s_nodes.*          by hand: prints the answer, exits with its retcode
    reactor/apply.sls             the engine's events: calls apply
             |
             v
    runners/k8s_nodes.py --> admin      all other functions
                         --> rollout    plan apply
                         --> references discover

The answers are declared in ``core/answers.py``; ``docs/answers.md`` shows them. Salt loads every
file of this folder, so there is nothing else in it.
"""
