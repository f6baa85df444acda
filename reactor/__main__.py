"""Print the ``reactor:`` list for master.d: ``python3 -m salt_ext.reactor``."""

from pathlib import Path

_SNIPPET = """\
# A list in a file of master.d replaces the list in the main file: add your own entries here.
reactor:
  - 'salt/k8s_nodes/*/changed': [{apply}]
  - 'salt/k8s_nodes/*/lagging': [{apply}]
"""


def snippet() -> str:
    """Return the YAML with the path of the SLS file as it is installed here."""
    return _SNIPPET.format(apply=Path(__file__).with_name("apply.sls"))


if __name__ == "__main__":
    print(snippet(), end="")  # noqa: T201
