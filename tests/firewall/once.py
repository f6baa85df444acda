"""One run of the parts without Salt: ``once.py STATE_DIR``, the pillar as JSON on stdin."""

from __future__ import annotations

import json
import sys

from k8s_firewall_parts.run import Run
from k8s_firewall_parts.state_dir import StateDir

if __name__ == "__main__":
    pillar = json.load(sys.stdin)
    print("begun", flush=True)
    print(json.dumps(Run(pillar, StateDir(sys.argv[1]), [], "test", test=False).sync()))
