"""What every test needs of Salt: that importing it leaves the log of the tests alone."""

from __future__ import annotations

import logging

import salt.config  # noqa: F401  sets up the handlers that are removed here

# Salt's handlers for what was logged before its set-up write to a stream that pytest has closed.
for handler in list(logging.root.handlers):
    logging.root.removeHandler(handler)
    handler.close()
