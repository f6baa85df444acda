"""
Replace references to Kubernetes clusters in pillars by the addresses of their nodes.

.. versionadded:: 0.1.0

.. code-block:: yaml

    # /etc/salt/master.d/k8s_nodes.conf
    ext_pillar:
      - k8s_nodes: {}

A list item ``k8s://prod`` is replaced, in place, by the addresses of the nodes of the cluster
``prod``; a mapping in a list that has a reference as a value is repeated once per address. They
come from the store that the engine writes: no pillar waits for the network. A reference that
cannot be resolved stays as it is, and is logged once.

Without an engine, on a master or on a masterless minion, the ext_pillar can LIST by itself:

.. code-block:: yaml

    ext_pillar:
      - k8s_nodes: {fetch: true}
"""

from __future__ import annotations

import logging
from functools import partial
from typing import TYPE_CHECKING, Any

from salt_ext.master import pillar_compile
from salt_ext.master.settings import fetch_settings, settings
from salt_ext.master.targets import minion_matcher
from salt_ext.references.pillar import renderer

log = logging.getLogger(__name__)

if TYPE_CHECKING:
    __opts__: dict[str, Any]

__virtualname__ = "k8s_nodes"


def __virtual__() -> str | tuple[bool, str]:
    if "k8s_nodes" not in __opts__:
        return False, "k8s_nodes: there is no k8s_nodes configuration"
    return __virtualname__


def ext_pillar(
    minion_id: str,
    pillar: dict[str, Any],
    fetch: bool = False,
    ttl: float = 60,
    timeout: float = 5,
) -> dict[str, Any]:
    """
    Replace the references of one minion's pillar, in place.

    Never raises: an ext_pillar that does blocks every state of the minion.

    minion_id
        The minion whose pillar is compiled.

    pillar
        The pillar so far. Its top-level keys are assigned anew where something below them
        changes; nothing below them is altered.

    fetch : False
        Without an engine, LIST the nodes of a cluster that the pillar refers to, one LIST at a
        time per master. On any error what is known stays in force. While an engine runs on this
        master it makes no difference.

    ttl : 60
        Seconds for which a LIST is good.

    timeout : 5
        Seconds that a compile waits for a LIST at most; then it is served what is known.
    """
    try:
        config = settings(__opts__)
        # None is every environment, and not the same as only "base".
        environment = __opts__.get("pillarenv") or ""
        matches = minion_matcher(__opts__, minion_id)
        prepare = None
        if fetch:
            # Brings the official client along, which takes long to import.
            from salt_ext.master.secrets import SecretResolver
            from salt_ext.watch.on_demand import on_demand_lister

            fetcher = on_demand_lister(fetch_settings(__opts__), SecretResolver(__opts__))
            prepare = partial(fetcher.ensure_fresh, ttl=ttl, timeout=timeout)
        compiled = partial(pillar_compile.current_compile, __opts__, minion_id)
        renderer(config).render(minion_id, environment, pillar, config, matches, compiled, prepare)
    except Exception:  # noqa: BLE001
        log.error(
            "minion %s: unexpected error (bug) in the ext_pillar k8s_nodes; the references in its "
            "pillar stay as they are [ext-pillar-error]",
            minion_id,
            exc_info_on_loglevel=logging.DEBUG,  # type: ignore[call-arg]
        )
    return {}
