"""
When to act: retry delays, bursts of changes, rate limits. Pure: the time is an argument.

Each class says when something may happen; the caller owns the clock and the waiting.

.. code-block:: text

    watch/watcher        -> backoff        after errors of an API server: 0.8 s to 30 s, jittered
    watch/reconciler     -> debounce       first change at once, a burst of changes together
    rollout/minion_events,
    rollout/key_watcher  -> rate_limiter   events that any minion can forge

Nothing here imports another part of the project.
"""
