"""The core is pure: its tests take milliseconds, and a warning in them is an error."""

from __future__ import annotations

from pathlib import Path

import pytest
from hypothesis import settings

# The same examples in every run: a failure must be reproducible on another machine.
settings.register_profile("same", derandomize=True, database=None, deadline=None)
settings.load_profile("same")


def pytest_collection_modifyitems(items):
    here = Path(__file__).parent
    for item in items:
        if here in item.path.parents:
            item.add_marker(pytest.mark.filterwarnings("error"))
            # The core opens no file: these come from tests of other folders.
            item.add_marker(pytest.mark.filterwarnings("ignore::ResourceWarning"))
            # Salt's own import hooks, which pytest-salt-factories brings into every test run.
            item.add_marker(
                pytest.mark.filterwarnings("ignore:(Nacl|Tornado)Importer:ImportWarning")
            )
