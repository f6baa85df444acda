"""The tables of the store."""

# Written into the file's header, so that `file` and sqlite3 name its owner.
APPLICATION_ID = 0x6B38736E

VERSION = 1
"""Grows with each incompatible change of the tables; a file of another version is set aside."""

TABLES = """
CREATE TABLE store_id (
    id TEXT PRIMARY KEY,
    place TEXT NOT NULL DEFAULT '',
    decisions INTEGER NOT NULL DEFAULT 0
) STRICT, WITHOUT ROWID;

INSERT INTO store_id (id) VALUES (lower(hex(randomblob(8))));

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
    report BLOB NOT NULL
) STRICT, WITHOUT ROWID;

CREATE TABLE engine_sign (
    name TEXT PRIMARY KEY,
    at REAL NOT NULL
) STRICT, WITHOUT ROWID;

CREATE TABLE control (
    name TEXT PRIMARY KEY,
    by TEXT NOT NULL,
    at REAL NOT NULL
) STRICT, WITHOUT ROWID;

CREATE TABLE hold (
    cluster TEXT PRIMARY KEY,
    changes BLOB NOT NULL
) STRICT, WITHOUT ROWID;

CREATE TABLE doubt (
    cluster TEXT PRIMARY KEY,
    doubts BLOB NOT NULL
) STRICT, WITHOUT ROWID;

CREATE TABLE size_history (
    cluster TEXT PRIMARY KEY,
    at REAL NOT NULL,
    samples BLOB NOT NULL
) STRICT, WITHOUT ROWID;

CREATE TABLE history (
    id INTEGER PRIMARY KEY,
    at REAL NOT NULL,
    cluster TEXT NOT NULL,
    what TEXT NOT NULL,
    detail BLOB NOT NULL,
    share TEXT NOT NULL,
    fold BLOB NOT NULL,
    times INTEGER NOT NULL,
    first_at REAL
) STRICT;

CREATE INDEX history_cluster ON history (cluster);

CREATE INDEX history_of_share ON history (share);

CREATE INDEX history_fold ON history (fold);

CREATE INDEX history_of_minions ON history (id) WHERE share >= 'minion:' AND share < 'minion;';

CREATE TABLE history_share (
    share TEXT PRIMARY KEY,
    entries INTEGER NOT NULL
) STRICT, WITHOUT ROWID;

CREATE TABLE history_minions (
    id INTEGER PRIMARY KEY,
    entries INTEGER NOT NULL,
    allowance REAL NOT NULL,
    at REAL NOT NULL
) STRICT;

CREATE TABLE address_history (
    id INTEGER PRIMARY KEY,
    cluster TEXT NOT NULL,
    node TEXT NOT NULL,
    address TEXT NOT NULL,
    opened_at REAL NOT NULL,
    opened_revision INTEGER NOT NULL,
    let_in_by TEXT NOT NULL,
    closed_at REAL,
    closed_revision INTEGER
) STRICT;

CREATE INDEX address_history_node ON address_history (cluster, node, closed_at);

CREATE INDEX address_history_address ON address_history (address);

CREATE INDEX address_history_closed ON address_history (cluster) WHERE closed_at IS NOT NULL;

CREATE TABLE subscription (
    minion TEXT NOT NULL,
    pillarenv TEXT NOT NULL,
    reference TEXT NOT NULL,
    cluster TEXT NOT NULL,
    answer TEXT NOT NULL,
    digest TEXT NOT NULL,
    gone_at REAL,
    changed_at REAL NOT NULL,
    ever_served INTEGER NOT NULL,
    PRIMARY KEY (minion, pillarenv, reference)
) STRICT, WITHOUT ROWID;

CREATE TABLE deleted_minion (
    minion TEXT PRIMARY KEY,
    at REAL NOT NULL
) STRICT, WITHOUT ROWID;

CREATE TABLE job (
    jid TEXT PRIMARY KEY,
    at REAL NOT NULL,
    class TEXT NOT NULL,
    function TEXT NOT NULL,
    step TEXT NOT NULL,
    minions INTEGER NOT NULL
) STRICT, WITHOUT ROWID;

CREATE TABLE ledger (
    minion TEXT NOT NULL,
    cluster TEXT NOT NULL,
    applied TEXT,
    applied_at REAL,
    revision INTEGER,
    jid TEXT,
    dispatched TEXT,
    dispatched_at REAL,
    dispatched_revision INTEGER,
    attempts INTEGER NOT NULL DEFAULT 0,
    next_at REAL NOT NULL DEFAULT 0,
    error TEXT,
    behind_since REAL,
    failing_since REAL,
    failed_at REAL,
    silent INTEGER NOT NULL DEFAULT 0,
    running_at REAL,
    PRIMARY KEY (minion, cluster)
) STRICT, WITHOUT ROWID;

CREATE INDEX ledger_jid ON ledger (jid) WHERE jid IS NOT NULL;

CREATE TABLE late_job (
    minion TEXT NOT NULL,
    cluster TEXT NOT NULL,
    jid TEXT NOT NULL,
    dispatched TEXT,
    dispatched_at REAL NOT NULL,
    dispatched_revision INTEGER,
    behind_since REAL,
    PRIMARY KEY (minion, cluster, jid)
) STRICT, WITHOUT ROWID;

CREATE INDEX late_job_jid ON late_job (jid);

CREATE TABLE departure (
    minion TEXT NOT NULL,
    address TEXT NOT NULL,
    cluster TEXT NOT NULL,
    cause TEXT NOT NULL,
    since REAL NOT NULL,
    state TEXT NOT NULL DEFAULT 'open',
    evidence TEXT NOT NULL DEFAULT '',
    open_by TEXT NOT NULL DEFAULT '',
    checked_at REAL,
    ended_at REAL,
    reported INTEGER NOT NULL DEFAULT 0,
    PRIMARY KEY (minion, address)
) STRICT, WITHOUT ROWID;

CREATE INDEX departure_open ON departure (minion) WHERE state = 'open';

CREATE INDEX departure_since ON departure (cluster, since);

CREATE INDEX departure_ended ON departure (ended_at) WHERE ended_at IS NOT NULL;

CREATE TABLE closing (
    minion TEXT PRIMARY KEY,
    jid TEXT,
    sent_at REAL,
    attempts INTEGER NOT NULL DEFAULT 0,
    next_at REAL NOT NULL DEFAULT 0,
    error TEXT NOT NULL DEFAULT '',
    checked_at REAL,
    dropped INTEGER NOT NULL DEFAULT 0
) STRICT, WITHOUT ROWID;

CREATE TABLE departure_baseline (
    minion TEXT NOT NULL,
    cluster TEXT NOT NULL,
    digest TEXT NOT NULL,
    PRIMARY KEY (minion, cluster)
) STRICT, WITHOUT ROWID;

CREATE INDEX departure_baseline_digest ON departure_baseline (digest);

CREATE TABLE address_set (
    digest TEXT PRIMARY KEY,
    addresses BLOB NOT NULL
) STRICT, WITHOUT ROWID;

CREATE TABLE observed_baseline (
    minion TEXT NOT NULL,
    cluster TEXT NOT NULL,
    digest TEXT NOT NULL,
    seen TEXT NOT NULL,
    PRIMARY KEY (minion, cluster)
) STRICT, WITHOUT ROWID;

CREATE INDEX observed_baseline_digest ON observed_baseline (digest);

CREATE TABLE observed_change (
    id INTEGER PRIMARY KEY,
    at REAL NOT NULL,
    until REAL NOT NULL,
    times INTEGER NOT NULL,
    what TEXT NOT NULL,
    cluster TEXT NOT NULL,
    key TEXT NOT NULL,
    subject TEXT NOT NULL,
    minions TEXT NOT NULL,
    detail BLOB NOT NULL
) STRICT;

CREATE INDEX observed_change_key ON observed_change (cluster, key);

CREATE INDEX observed_change_minions ON observed_change (minions);

CREATE TABLE observed_minions (
    digest TEXT PRIMARY KEY,
    names BLOB NOT NULL
) STRICT, WITHOUT ROWID;

CREATE TABLE rollout (
    class TEXT PRIMARY KEY,
    state BLOB NOT NULL
) STRICT, WITHOUT ROWID;

CREATE TABLE module_version (
    minion TEXT PRIMARY KEY,
    version TEXT NOT NULL
) STRICT, WITHOUT ROWID;

CREATE TABLE cannot_reset (
    minion TEXT PRIMARY KEY
) STRICT, WITHOUT ROWID;

CREATE TABLE minion_problem (
    minion TEXT PRIMARY KEY,
    problems BLOB NOT NULL,
    at REAL NOT NULL
) STRICT, WITHOUT ROWID;

CREATE TABLE pacing (
    minion TEXT PRIMARY KEY,
    full_burst_at REAL NOT NULL
) STRICT, WITHOUT ROWID;

CREATE TABLE timing (
    id INTEGER PRIMARY KEY,
    at REAL NOT NULL,
    minion TEXT NOT NULL,
    cluster TEXT NOT NULL,
    revision INTEGER,
    jid TEXT NOT NULL,
    seconds REAL NOT NULL
) STRICT;
"""
