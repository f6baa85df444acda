"""Prints the ``file_roots:`` entry for master.d: ``python3 -m salt_ext.formula``."""

import sys

from salt_ext import formula

_SNIPPET = """\
# A mapping in a file of master.d replaces the one of the main file: copy your own folders here too,
# before this one.
file_roots:
  base:
    - /srv/salt
    - {folder}
"""


def snippet() -> str:
    """Return the YAML with the path of the folder as it is installed here."""
    return _SNIPPET.format(folder=formula.path())


if __name__ == "__main__":
    if sys.argv[1:] == ["--version"]:
        print(formula.version())  # noqa: T201
    else:
        print(snippet(), end="")  # noqa: T201
