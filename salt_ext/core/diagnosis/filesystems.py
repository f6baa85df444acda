"""The type of the file system of a path, from the kernel's mount table."""

from __future__ import annotations

import re

_NETWORK_TYPES = re.compile(r"nfs\d?|cifs|smb\d?|ceph|glusterfs|lustre|9p|afs|ocfs2|gfs2|fuse\.\S+")


def network_filesystem(path: str, mounts: str) -> str:
    """
    Return the type of a path's file system when it is shared over a network, else "".

    ``mounts`` is the content of ``/proc/mounts``.
    """
    wanted, kind, longest = f"{path.rstrip('/')}/", "", -1
    for line in mounts.splitlines():
        fields = line.split()
        if len(fields) < 3:
            continue
        # The kernel writes white space within a field as octal numbers.
        point = re.sub(r"\\(\d{3})", lambda match: chr(int(match[1], 8)), fields[1]).rstrip("/")
        # The later of two mounts on one mount point hides the earlier one.
        if wanted.startswith(f"{point}/") and len(point) >= longest:
            kind, longest = fields[2], len(point)
    return kind if _NETWORK_TYPES.fullmatch(kind) else ""
