"""
Bring every minion to the desired state, and prove that it is there.

Level-triggered: the work is always the difference between the desired state (subscriptions and
snapshots in the store) and the ledger (which minion has proved what). Events only make it fast::

      engine process                                     runner process, one per event
    ┌───────────────────────────────┐                  ┌────────────────────────────────┐
    │ event_listener ─► HintMailbox │   event          │ apply.ApplyRun                 │
    │                      │        │   lagging        │   selection.BatchSelector      │
    │ controller ◄─────────┘        │ ───► reactor ──► │   payload.PayloadBuilder       │
    │   settlement   (job returns)  │                  │   publish in batches ──► minions
    │   minion_events (start, drift)│                  └───────────────┬────────────────┘
    │   reminder ─► BatchSelector   │                                  │
    │     reactor_watchdog          │ ◄── job cache ◄── returns ◄──────┘
    │ key_watcher, recovery         │
    └───────────────────────────────┘     both: desired_state, store ledger

``departures`` notes which addresses are served no more, ``closing`` selects the minions where they
are closed once the run without them is proven, and ``departure_events`` reports what stays open.
``observed`` writes down what mode ``observe`` keeps back; ``enforcing`` weighs ``enforce``.

The engine selects to know whether anything is due; it fires an event, and publishes nothing but
questions: whether a job still runs (``job_probes``), what minions were served (``recovery``, after
the store was lost). The runner selects again when the reactor calls it: time has passed, other runs
may have published, and anybody can fire that event, so only a selection under the apply lock
decides. Both use the same ``BatchSelector``, and in each process all of them share one resolver.
``publishing`` says why nothing is published: a pause, lost decisions, a lost store.

Called by the daemon, the runner and ``status``. May use ``references``, ``master`` and the store.
A return is proof only when the master's job cache has it.
"""
