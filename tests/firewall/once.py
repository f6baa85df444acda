"""One run of the parts without Salt: ``once.py STATE_DIR``, the pillar as JSON on stdin."""

from __future__ import annotations

import json
import sys

from k8s_firewall_parts.record import Record
from k8s_firewall_parts.sync import Run

if __name__ == "__main__":
    pillar = json.load(sys.stdin)
    print("begun", flush=True)
    print(json.dumps(Run(pillar, Record(sys.argv[1]), [], "test", test=False).sync()))
