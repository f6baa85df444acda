"""
Commands to a running emulator from a shell: ``python -m lab.kubernetes.emulator.ctl --help``.
"""

from __future__ import annotations

import argparse
import json
import sys
from pathlib import Path

from lab.kubernetes.emulator.control import Control, ControlError

_EPILOG = """\
Each option is NAME=VALUE; a value is read as JSON, and as plain text if it is not JSON.

faults of requests; the first rule that matches answers
  on action=ACTION [verb=get|list|watch|...] [path=REGEX] [user=USER] [page=N]
     [skip=N] [times=N|null] [every=N]     returns the number of the rule
  fired rule=N                             how often the rule has answered
  clear [rule=N]                           remove one rule or all

  ACTION is one of
    {"respond": {"status": 503, "body": "...", "headers": {...}}}
    {"delay": SECONDS}   {"hang": true}   {"close": "end"|"reset"}   {"cut_body": 0.5}
    {"gone": true}       {"state": "NAME of a save"}
    {"stream": {"after": 2, "then": "end"|"cut"|"truncate"|"reset"|"freeze"|"gone",
                "drop": ["DELETED"], "names": ["node1"], "lines": ["..."], "pause": 0.1}}

faults of the watches that are open now
  order action={"stop": "end"|"cut"|"truncate"|"reset"|"freeze"|"gone"} [user=USER]
  order action={"thaw": true} | {"bookmark": null} | {"stream": {...}}
  streams                                  the open watches

data
  load nodes=[NODE, ...]                   create nodes without requests
  version | advance by=N                   the resource version; let versions pass
  save name=NAME | restore name=NAME quietly=true|false | wipe
  expire | compact                         older versions: 410 for WATCH; for LIST too

access and network
  revoke | reinstate user=USER             401 for its token; undo
  forbid | permit user=USER                403; undo
  drop_connections | refuse | listen       cut all; close the port; open it again

requests
  requests [verb=...] [path=...] [user=...] [since=N]
  forget_requests
"""


def main(argv: list[str] | None = None) -> int:
    """Send one command and print its result as JSON; 1 when the emulator refuses it."""
    parser = argparse.ArgumentParser(
        prog="python -m lab.kubernetes.emulator.ctl",
        description="Send a command to a running emulator and print its result as JSON.",
        epilog=_EPILOG,
        formatter_class=argparse.RawDescriptionHelpFormatter,
    )
    parser.add_argument("socket", type=Path, help="control socket that the emulator printed")
    parser.add_argument("command")
    parser.add_argument("options", nargs="*", metavar="NAME=VALUE")
    given = parser.parse_args(argv)
    try:
        options = dict(map(_option, given.options))
        result = Control(given.socket).do(given.command, **options)
    except (ControlError, ValueError) as exc:
        print(exc, file=sys.stderr)
        return 1
    except OSError as exc:
        print(f"no emulator listens on {given.socket}: {exc}", file=sys.stderr)
        return 1
    if result is not None:
        print(json.dumps(result, indent=2))
    return 0


def _option(text: str) -> tuple[str, object]:
    name, equals, value = text.partition("=")
    if not equals:
        raise ValueError(f"{text!r} is not NAME=VALUE")
    try:
        return name, json.loads(value)
    except ValueError:
        return name, value


if __name__ == "__main__":
    sys.exit(main())
