"""Waiting for firewalls: the state applied on minions, and every minion up to date."""

from __future__ import annotations

import time
from collections.abc import Sequence

from lab.errors import TookTooLong
from lab.polling import wait_until
from lab.salt.master import Master


def apply_state(master: Master, target: str, *, within: float) -> None:
    """Apply the firewall state until every targeted minion reports success."""
    begin = time.monotonic()
    while True:
        returns = master.salt(target, "state.apply", "firewall")
        failed = {name: why for name, answer in returns.items() if (why := _failure(answer))}
        if returns and not failed:
            return
        if time.monotonic() - begin > within:
            raise TookTooLong(f"the firewall is not in force within {within:g} s: {failed}")
        time.sleep(0.1)


def wait_until_up_to_date(masters: Sequence[Master], *, within: float) -> float:
    """Wait until each running master reports all minions up to date; how many seconds it took."""

    def converged(master: Master) -> bool:
        minions = master.salt_run("k8s_nodes.status")["minions"]
        return all(
            one["up_to_date"] and not one.get("open_departures")
            for clusters in minions.values()
            for one in clusters.values()
        )

    def all_converged() -> bool:
        running = [master for master in masters if master.alive]
        return bool(running) and all(map(converged, running))

    return wait_until(
        all_converged, within=within, what="a status in which all minions are up to date"
    )


def _failure(answer: object) -> str:
    """Why the return of a state run is not a success; empty when it is one."""
    if not isinstance(answer, dict) or not answer:
        return str(answer)
    return "; ".join(
        str(state.get("comment")) for state in answer.values() if state.get("result") is not True
    )
