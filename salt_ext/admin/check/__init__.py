"""
``check``: what is wrong with the set-up, and how to fix it.

One module for each group of findings. Each has a generator ``findings(...)`` that only reads, and
yields :class:`salt_ext.core.diagnosis.finding.Finding`; the rules that need no I/O are in
``core/diagnosis``. To add a finding: yield it from the module of its group, add it to the table of
``docs/operations.md``, and to ``tests/functional/test_check.py``.

.. code-block:: text

    report.check --> configuration   mistakes in the block, pauses; modes says what enforce would do
                 --> master          ext_pillar, engines, reactor, file_roots of the master
                 --> engine          alive, reporting, newer than its configuration
                 --> clusters        reachability, credentials, rights, clock, held changes
                 --> references      references, groups and targets that match nothing
                 --> minions         the k8s_firewall module on minions
                 --> pillars         pitfalls of formulas, from compiled pillars
                      |
         sorted by severity: all of them to a program, one screen at a terminal

May use everything below ``salt_ext.admin``; changes nothing, and sends nothing to a minion.
"""
