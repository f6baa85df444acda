"""Which file system a path is on, as the kernel's table of mounts has it."""

from __future__ import annotations

import re

_FAR = re.compile(r"nfs\d?|cifs|smb\d?|ceph|glusterfs|lustre|9p|afs|ocfs2|gfs2|fuse\.\S+")


def network_filesystem(path: str, mounts: str) -> str:
    """Return the type of the file system when it is not this machine's alone, else nothing."""
    wanted, kind, deepest = f"{path.rstrip('/')}/", "", -1
    for line in mounts.splitlines():
        fields = line.split()
        if len(fields) < 3:
            continue
        # The kernel writes what would part its fields as octal numbers.
        point = re.sub(r"\\(\d{3})", lambda m: chr(int(m[1], 8)), fields[1]).rstrip("/")
        # Of two on one place, the later one covers the other.
        if wanted.startswith(f"{point}/") and len(point) >= deepest:
            kind, deepest = fields[2], len(point)
    return kind if _FAR.fullmatch(kind) else ""
