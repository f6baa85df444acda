"""The type of a path's file system."""

from __future__ import annotations

import pytest

from salt_ext.core.diagnosis.filesystems import network_filesystem

MOUNTS = """\
/dev/sda1 / ext4 rw 0 0
filer:/srv /srv nfs4 rw 0 0
/dev/sdb1 /srv/local xfs rw 0 0
//filer/x /mnt/two\\040words cifs rw 0 0
/dev/sdc1 /var/lib ext4 rw 0 0
s3 /var/lib fuse.s3fs rw 0 0
"""


@pytest.mark.parametrize(
    ("path", "kind"),
    [
        ("/opt/state", ""),
        ("/srv", "nfs4"),
        ("/srv/state/deep", "nfs4"),
        ("/srvother", ""),
        ("/srv/local/state", ""),
        ("/mnt/two words/state", "cifs"),
        ("/var/lib/salt-k8s-nodes", "fuse.s3fs"),
    ],
)
def test_the_deepest_mount_counts_and_the_later_of_two(path, kind):
    assert network_filesystem(path, MOUNTS) == kind
