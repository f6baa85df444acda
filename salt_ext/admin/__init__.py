"""
What an operator asks for by hand: ``status``, ``check``, ``history``, ``setup``, and the controls.

The runner ``k8s_nodes`` calls one function of this package for each of its own; each returns plain
JSON types, declared in ``core/answers.py``. ``plan``, ``apply`` and ``discover`` are functions of
the packages below, since the engine uses them too.

.. code-block:: text

    runners/k8s_nodes --> status    engine, clusters, minions       reads the store
                      --> history   changes and their timings       reads the store
                      --> check/    findings, in seven groups       reads everything
                      --> setup     the configuration to paste      reads the master's files
                      --> controls  pause, resume, refresh          writes control flags
                      --> confirm   a release of held changes       writes holds and history
                               |
                     engine_state   the engine's lock, process and last report

May use ``salt_ext.rollout``, ``references``, ``store``, ``master``, ``kube`` and ``core``. It never
publishes, and writes nothing but control flags, releases and the history.
"""
