"""The master's job cache: the only proof that a minion did as a job asked."""

from __future__ import annotations

import logging
from collections.abc import Mapping

import salt.loader

log = logging.getLogger(__name__)


class JobCache:
    """Reads returns that the master has verified; events on the bus can be forged."""

    def __init__(self, opts: dict[str, object]) -> None:
        self._returner = f"{opts['master_job_cache']}.get_jid"
        self._returners = salt.loader.returners(opts, salt.loader.minion_mods(opts))

    def returns(self, jid: str) -> Mapping[str, Mapping[str, object]]:
        """Return what each minion returned to a job; empty while none has."""
        try:
            returns = self._returners[self._returner](jid)
        except Exception as exc:  # a returner is a plug-in
            log.warning(
                "job %s: cannot read its returns with %s (%s); trying again [job-cache-unreadable]",
                *(jid, self._returner, type(exc).__name__),
            )
            log.debug(
                "job %s: traceback of %s [job-cache-traceback]", jid, self._returner, exc_info=True
            )
            return {}
        return returns if isinstance(returns, Mapping) else {}
