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
    │ key_watcher   (deleted keys)  │
    │ recovery      (a lost store)  │
    └───────────────────────────────┘     both: desired_state, store ledger

``departures`` notes which addresses are served no more, ``closing`` selects the minions where they
are closed once the run without them is proven, and ``departure_events`` reports what stays open.
``observed`` notes what mode ``observe`` keeps back, ``enforcing`` what ``enforce`` would publish.

``publishing`` says why nothing is published: a pause, or a loss.

The engine selects to know whether anything is due; it fires an event, and publishes questions only
(``job_probes``, ``recovery``). The runner selects again when the reactor calls it: anybody can fire
that event, so only a selection under the apply lock decides. All share one ``BatchSelector``, and
one resolver in each process.

Called by the daemon, the runner and ``status``. May use ``references``, ``master`` and the store.
A return is proof only when the master's job cache has it.
"""
