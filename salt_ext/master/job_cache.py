"""The master's job cache: the only proof that a minion did what a job said."""

from __future__ import annotations

import logging
from collections.abc import Mapping
from typing import Any

import salt.loader

log = logging.getLogger(__name__)


class JobCache:
    """Reads returns that the master has verified; events on the bus can be forged."""

    def __init__(self, opts: dict[str, Any]) -> None:
        self._returner = f"{opts['master_job_cache']}.get_jid"
        self._returners = salt.loader.returners(opts, salt.loader.minion_mods(opts))

    def returns(self, jid: str) -> Mapping[str, Mapping[str, Any]]:
        """Return what each minion answered to a job, empty while none has."""
        try:
            found = self._returners[self._returner](jid)
        except Exception:  # a returner is somebody's plug-in
            log.warning("job cache: %s cannot tell of job %s", self._returner, jid)
            log.debug("job cache", exc_info=True)
            return {}
        return found if isinstance(found, Mapping) else {}
