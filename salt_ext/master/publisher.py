"""Publishes a function to minions, and gives it a job id that is known beforehand."""

from __future__ import annotations

from collections.abc import Sequence
from typing import Any

import salt.client
import salt.utils.jid
from salt.exceptions import SaltClientError, SaltException

from salt_ext.core.config.apply import Action
from salt_ext.core.errors import K8sNodesError


class NotPublished(K8sNodesError):
    """The master took no job: nothing was sent, try again later."""


class MasterSilent(NotPublished):
    """The master itself does not answer: the next job would only wait as long as this one did."""


class Publisher:
    """The master's own publisher, used from the runner."""

    def __init__(self, opts: dict[str, Any]) -> None:
        self._opts = opts

    def new_jid(self) -> str:
        """Return a job id for the next publish."""
        return str(salt.utils.jid.gen_jid(self._opts))

    def apply(self, jid: str, minions: Sequence[str], what: Action) -> None:
        """
        Publish what is configured to minions by name, and do not wait.

        Never queued, whatever a minion's own configuration says: a queued job outlives restarts
        and cannot be found again. A minion that is busy refuses at once, and is tried again.
        """
        try:
            with salt.client.LocalClient(mopts=self._opts) as client:
                taken = client.cmd_async(
                    list(minions),
                    what.function,
                    list(what.arg),
                    tgt_type="list",
                    jid=jid,
                    kwarg=dict(what.publish_kwargs) or None,
                )
        except (SaltClientError, OSError) as exc:
            raise MasterSilent(f"job {jid} was not published: {exc}") from exc
        except SaltException as exc:
            raise NotPublished(f"job {jid} was not published: {exc}") from exc
        if not taken:
            raise NotPublished(f"job {jid} was not published: the master took no minion of it")
