"""Publishes a function to minions, under a job id that is known before."""

from __future__ import annotations

from collections.abc import Sequence

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

    def __init__(self, opts: dict[str, object]) -> None:
        self._opts = opts

    def new_jid(self) -> str:
        """Return a job id for the next publish."""
        return str(salt.utils.jid.gen_jid(self._opts))

    def apply(self, jid: str, minions: Sequence[str], action: Action) -> None:
        """
        Publish an action to minions by name, and do not wait for them.

        Never queued, whatever a minion's own configuration says: a queued job outlives restarts
        and cannot be found again. A minion that is busy refuses at once, and is tried again.
        :class:`NotPublished`, :class:`MasterSilent`.
        """
        try:
            with salt.client.LocalClient(mopts=self._opts) as client:
                published = client.cmd_async(
                    list(minions),
                    action.function,
                    list(action.arg),
                    tgt_type="list",
                    jid=jid,
                    kwarg=dict(action.publish_kwargs) or None,
                )
        except (SaltClientError, OSError) as exc:
            raise MasterSilent(f"job {jid} was not published: {exc}") from exc
        except SaltException as exc:
            raise NotPublished(f"job {jid} was not published: {exc}") from exc
        if not published:
            raise NotPublished(f"job {jid} was not published: the master knows none of its minions")
