"""
The options of ``python -m lab.kubernetes.emulator``, and their help.
"""

from __future__ import annotations

import argparse
from pathlib import Path

from lab.kubernetes.emulator import initial_nodes
from lab.kubernetes.emulator.store import Object

_DESCRIPTION = """\
A Kubernetes API server in Python, for tests of programs that list and watch nodes. It serves nodes
(get, list, watch, create, update, patch, delete) and namespaces (get, list, watch) as
kube-apiserver does: pages, resource versions, selectors, bookmarks, 401, 403, 409, 410. It shows
faults on command that no real server shows on demand. It needs no root, no Salt and no cluster.
"""

_EPILOG = """\
example:
  python -m lab.kubernetes.emulator --folder /tmp/emulator --port 6443 --nodes 3

  kubectl --kubeconfig /tmp/emulator/admin.kubeconfig get nodes --watch

  api=https://127.0.0.1:6443/api/v1/nodes ca=/tmp/emulator/certs/ca.crt
  auth="Authorization: Bearer $(cat /tmp/emulator/tokens/admin.token)"
  curl -sS  --cacert $ca -H "$auth" "$api?limit=500"
  curl -sSN --cacert $ca -H "$auth" "$api?watch=true&allowWatchBookmarks=true"

users, each with a token in FOLDER/tokens/USER.token:
  admin   every right
  reader  get, list and watch nodes, get the namespace kube-system
  nobody  no rights

faults, while it runs (see python -m lab.kubernetes.emulator.ctl --help):
  ctl="python -m lab.kubernetes.emulator.ctl /tmp/emulator/control.sock"
  $ctl on verb=list times=2 'action={"respond": {"status": 503}}'   # two LISTs fail
  $ctl order 'action={"stop": "cut"}'                               # cut the open watches
  $ctl expire                                                       # older versions: 410 Gone
"""


def parse(argv: list[str] | None = None) -> argparse.Namespace:
    parser = argparse.ArgumentParser(
        prog="python -m lab.kubernetes.emulator",
        description=_DESCRIPTION,
        epilog=_EPILOG,
        formatter_class=argparse.RawDescriptionHelpFormatter,
    )
    parser.add_argument(
        "--address", default="127.0.0.1", help="address to listen on (default: 127.0.0.1)"
    )
    parser.add_argument(
        "--port", type=int, default=0, help="port to listen on (default: a free one)"
    )
    parser.add_argument("--http", action="store_true", help="plain HTTP instead of HTTPS")
    parser.add_argument(
        "--folder",
        type=Path,
        help="keep certificates, tokens, kubeconfig files and objects here; the next start goes on"
        " from them (default: a temporary folder, removed at the end)",
    )
    parser.add_argument("--token", default="", help="token of the user admin (default: random)")
    parser.add_argument(
        "--nodes", type=int, default=0, metavar="N", help="start with node1 to nodeN, from 10.0.0.1"
    )
    parser.add_argument(
        "--node",
        type=_node,
        action="append",
        default=[],
        metavar="NAME=ADDRESS[,ADDRESS...]",
        help="start with this node; can be repeated",
    )
    parser.add_argument(
        "--control", type=Path, help="Unix socket for commands (default: FOLDER/control.sock)"
    )
    return parser.parse_args(argv)


def _node(text: str) -> Object:
    try:
        return initial_nodes.named(text)
    except ValueError as exc:
        raise argparse.ArgumentTypeError(str(exc)) from exc
