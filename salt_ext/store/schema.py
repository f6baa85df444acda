"""The tables of the store."""

# Written into the file's header, so that `file` and sqlite3 tell whose it is.
APPLICATION_ID = 0x6B38736E

VERSION = 4
"""Counts the incompatible changes of the tables below."""

TABLES = """
CREATE TABLE IF NOT EXISTS cluster (
    name TEXT PRIMARY KEY,
    revision INTEGER NOT NULL,
    identity TEXT NOT NULL,
    resource_version TEXT NOT NULL,
    observed_at REAL NOT NULL
) STRICT, WITHOUT ROWID;

CREATE TABLE IF NOT EXISTS node (
    cluster TEXT NOT NULL,
    name TEXT NOT NULL,
    member BLOB NOT NULL,
    PRIMARY KEY (cluster, name)
) STRICT, WITHOUT ROWID;

CREATE TABLE IF NOT EXISTS health (
    cluster TEXT PRIMARY KEY,
    told BLOB NOT NULL
) STRICT, WITHOUT ROWID;

CREATE TABLE IF NOT EXISTS subscription (
    minion TEXT NOT NULL,
    pillarenv TEXT NOT NULL,
    reference TEXT NOT NULL,
    cluster TEXT NOT NULL,
    answer TEXT NOT NULL,
    digest TEXT NOT NULL,
    gone_at REAL,
    changed_at REAL NOT NULL DEFAULT 0,
    PRIMARY KEY (minion, pillarenv, reference)
) STRICT, WITHOUT ROWID;

CREATE TABLE IF NOT EXISTS ledger (
    minion TEXT NOT NULL,
    cluster TEXT NOT NULL,
    applied TEXT,
    applied_at REAL,
    jid TEXT,
    dispatched TEXT,
    dispatched_at REAL,
    attempts INTEGER NOT NULL DEFAULT 0,
    next_at REAL NOT NULL DEFAULT 0,
    error TEXT,
    behind_since REAL,
    failing_since REAL,
    failed_at REAL,
    silent INTEGER NOT NULL DEFAULT 0,
    revision INTEGER,
    dispatched_revision INTEGER,
    PRIMARY KEY (minion, cluster)
) STRICT, WITHOUT ROWID;

CREATE TABLE IF NOT EXISTS held (
    cluster TEXT PRIMARY KEY,
    changes BLOB NOT NULL
) STRICT, WITHOUT ROWID;

CREATE TABLE IF NOT EXISTS release (
    id INTEGER PRIMARY KEY,
    cluster TEXT NOT NULL,
    changes BLOB NOT NULL,
    released_by TEXT NOT NULL,
    released_at REAL NOT NULL
) STRICT;

CREATE TABLE IF NOT EXISTS history (
    id INTEGER PRIMARY KEY,
    at REAL NOT NULL,
    cluster TEXT NOT NULL,
    what TEXT NOT NULL,
    detail BLOB NOT NULL
) STRICT;

CREATE TABLE IF NOT EXISTS published (
    jid TEXT PRIMARY KEY,
    at REAL NOT NULL,
    class TEXT NOT NULL,
    function TEXT NOT NULL,
    step TEXT NOT NULL,
    minions INTEGER NOT NULL
) STRICT, WITHOUT ROWID;

CREATE TABLE IF NOT EXISTS served (
    digest TEXT PRIMARY KEY,
    addresses BLOB NOT NULL
) STRICT, WITHOUT ROWID;

CREATE TABLE IF NOT EXISTS wave (
    class TEXT PRIMARY KEY,
    state BLOB NOT NULL
) STRICT, WITHOUT ROWID;

CREATE TABLE IF NOT EXISTS word (
    what TEXT PRIMARY KEY,
    by TEXT NOT NULL,
    at REAL NOT NULL
) STRICT, WITHOUT ROWID;

CREATE TABLE IF NOT EXISTS module (
    minion TEXT PRIMARY KEY,
    version TEXT NOT NULL
) STRICT, WITHOUT ROWID;

CREATE TABLE IF NOT EXISTS endless (
    minion TEXT PRIMARY KEY
) STRICT, WITHOUT ROWID;

CREATE TABLE IF NOT EXISTS rest (
    minion TEXT PRIMARY KEY,
    rested_at REAL NOT NULL
) STRICT, WITHOUT ROWID;

CREATE TABLE IF NOT EXISTS took (
    id INTEGER PRIMARY KEY,
    at REAL NOT NULL,
    minion TEXT NOT NULL,
    cluster TEXT NOT NULL,
    revision INTEGER,
    jid TEXT NOT NULL,
    seconds REAL NOT NULL
) STRICT;

CREATE TABLE IF NOT EXISTS forgotten (
    minion TEXT PRIMARY KEY,
    at REAL NOT NULL
) STRICT, WITHOUT ROWID;

CREATE TABLE IF NOT EXISTS origin (
    id TEXT PRIMARY KEY
) STRICT, WITHOUT ROWID;

INSERT INTO origin SELECT lower(hex(randomblob(8))) WHERE NOT EXISTS (SELECT 1 FROM origin);

CREATE INDEX IF NOT EXISTS ledger_jid ON ledger (jid) WHERE jid IS NOT NULL;
"""

_FROM_1 = """
ALTER TABLE subscription ADD COLUMN changed_at REAL NOT NULL DEFAULT 0;
ALTER TABLE ledger ADD COLUMN behind_since REAL;
ALTER TABLE ledger ADD COLUMN failing_since REAL;
ALTER TABLE ledger ADD COLUMN failed_at REAL;
ALTER TABLE ledger ADD COLUMN silent INTEGER NOT NULL DEFAULT 0;
ALTER TABLE ledger ADD COLUMN revision INTEGER;
ALTER TABLE ledger ADD COLUMN dispatched_revision INTEGER;
"""

MIGRATIONS = {1: _FROM_1, 2: "", 3: ""}
"""From an older version to the next one: what has columns more; new tables are made anyway."""
