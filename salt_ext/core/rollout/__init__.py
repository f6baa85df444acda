r"""
The rollout of a change: which minions are out of date, who is next, and what counts as proof.

``rollout/selection`` asks for the next batch, ``rollout/controller`` judges returns,
``rollout/payload`` signs what is published. Pure: rows of the ledger and returns of jobs come in
as values, and so does the time.

.. code-block:: text

    subscriptions + resolver          ledger (what was proven)
              |                          |
              v                          v
        drift.desired_state() --> drift.out_of_sync() --> OutOfSync rows
                                                             |
                            outcomes of earlier jobs         v
                                      \----------> wave.next_batch() --> minions to publish to
                                                                             |
                                                          payload.AddressPayload, signed
                                                                             |
                                                                             v
        drift <-- proof or error <-- job_result.judge() <-- the minion's return

``hints`` collects the events of the bus that tell the engine where to look sooner.
"""
