"""The tables of the store."""

# Written into the file's header, so that `file` and sqlite3 tell whose it is.
APPLICATION_ID = 0x6B38736E

VERSION = 1
"""Counts the incompatible changes of the tables below."""

TABLES = """
CREATE TABLE cluster (
    name TEXT PRIMARY KEY,
    revision INTEGER NOT NULL,
    identity TEXT NOT NULL,
    resource_version TEXT NOT NULL,
    observed_at REAL NOT NULL
) STRICT, WITHOUT ROWID;

CREATE TABLE node (
    cluster TEXT NOT NULL,
    name TEXT NOT NULL,
    member BLOB NOT NULL,
    PRIMARY KEY (cluster, name)
) STRICT, WITHOUT ROWID;

CREATE TABLE health (
    cluster TEXT PRIMARY KEY,
    told BLOB NOT NULL
) STRICT, WITHOUT ROWID;

CREATE TABLE subscription (
    minion TEXT NOT NULL,
    pillarenv TEXT NOT NULL,
    reference TEXT NOT NULL,
    cluster TEXT NOT NULL,
    answer TEXT NOT NULL,
    digest TEXT NOT NULL,
    gone_at REAL,
    PRIMARY KEY (minion, pillarenv, reference)
) STRICT, WITHOUT ROWID;

CREATE TABLE ledger (
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
    PRIMARY KEY (minion, cluster)
) STRICT, WITHOUT ROWID;

CREATE TABLE held (
    cluster TEXT PRIMARY KEY,
    changes BLOB NOT NULL
) STRICT, WITHOUT ROWID;

CREATE TABLE release (
    id INTEGER PRIMARY KEY,
    cluster TEXT NOT NULL,
    changes BLOB NOT NULL,
    released_by TEXT NOT NULL,
    released_at REAL NOT NULL
) STRICT;

CREATE TABLE history (
    id INTEGER PRIMARY KEY,
    at REAL NOT NULL,
    cluster TEXT NOT NULL,
    what TEXT NOT NULL,
    detail BLOB NOT NULL
) STRICT;

CREATE INDEX ledger_jid ON ledger (jid) WHERE jid IS NOT NULL;
"""
