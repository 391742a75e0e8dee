-- The approval half: machines, logins, asks, answers, and the audit.
-- Types are SQLite's STRICT ones; in PostgreSQL INTEGER is BIGINT and BLOB is BYTEA.
-- Every *_at is microseconds since 1970, UTC.

CREATE TABLE machine (
    id              TEXT PRIMARY KEY,          -- opaque, random; never reused
    name            TEXT NOT NULL,             -- as the operator calls it; may be given again after a removal
    created_at      INTEGER NOT NULL,
    removed_at      INTEGER,                   -- set once; from then on its credentials are refused
    last_seen_at    INTEGER,                   -- to the minute
    module_version  TEXT                       -- as last reported
) STRICT;
CREATE UNIQUE INDEX machine_name ON machine (name) WHERE removed_at IS NULL;

CREATE TABLE credential (
    hash            BLOB PRIMARY KEY,          -- SHA-256 of the secret; the secret is nowhere
    machine_id      TEXT NOT NULL REFERENCES machine (id),
    created_at      INTEGER NOT NULL,
    first_used_at   INTEGER,                   -- when it was, the machine's older credentials retire
    retired_at      INTEGER
) STRICT;
CREATE INDEX credential_machine ON credential (machine_id);

CREATE TABLE join_token (
    hash            BLOB PRIMARY KEY,          -- SHA-256 of the token
    machine_id      TEXT NOT NULL REFERENCES machine (id),
    created_at      INTEGER NOT NULL,
    expires_at      INTEGER NOT NULL,
    credential_hash BLOB                       -- what it was traded for; the same trade again is harmless
) STRICT;

CREATE TABLE pool (
    id              TEXT PRIMARY KEY,          -- opaque, random
    name            TEXT NOT NULL UNIQUE,
    created_at      INTEGER NOT NULL
) STRICT;

CREATE TABLE pool_machine (
    pool_id         TEXT NOT NULL REFERENCES pool (id),
    machine_id      TEXT NOT NULL REFERENCES machine (id),
    PRIMARY KEY (pool_id, machine_id)
) STRICT, WITHOUT ROWID;

CREATE TABLE login (
    id              TEXT PRIMARY KEY,          -- made by the module: 128 random bits in hex
    machine_id      TEXT NOT NULL REFERENCES machine (id),
    machine_name    TEXT NOT NULL,             -- as it was called then
    opened          TEXT NOT NULL,             -- what the machine reported, as JSON; a repeated PUT must match it
    user            TEXT NOT NULL,
    service         TEXT NOT NULL,
    source          TEXT,                      -- the ssh client's address, where known
    connection      TEXT NOT NULL,             -- opaque id of the connection
    key_fingerprint TEXT,                      -- of the key that sshd told, where it did
    verdict         TEXT NOT NULL,             -- what policy said: ask, hold, allow, refuse, rehearse
    state           TEXT NOT NULL,
    reason          TEXT,                      -- code of docs/protocol.md
    opened_at       INTEGER NOT NULL,
    expires_at      INTEGER NOT NULL,          -- end of the window
    lapses_at       INTEGER NOT NULL,          -- pending: the machine is taken for gone after this
    poll            INTEGER NOT NULL,          -- counts polls, so that an old one's end cannot shorten a new one's time
    decided_at      INTEGER,
    decided_by      TEXT,
    collected_at    INTEGER,                   -- the machine has read the approval
    lapsed_at       INTEGER                    -- the approval was not collected in time; never beside collected_at
) STRICT;
CREATE INDEX login_pending ON login (machine_id, user) WHERE state = 'pending';
CREATE INDEX login_expiry ON login (expires_at) WHERE state = 'pending';
CREATE INDEX login_silence ON login (lapses_at) WHERE state = 'pending';
CREATE INDEX login_uncollected ON login (decided_at) WHERE state = 'approved' AND collected_at IS NULL AND lapsed_at IS NULL;
CREATE INDEX login_connection ON login (connection, machine_id);
CREATE INDEX login_opened ON login (opened_at);

CREATE TABLE ask (
    id              TEXT PRIMARY KEY,          -- opaque, random; goes into the message, so that a lost reply can be read back
    login_id        TEXT NOT NULL REFERENCES login (id),
    relay           TEXT NOT NULL,
    destination     TEXT NOT NULL,             -- where in the relay
    approvers       TEXT NOT NULL,             -- who may answer, as the policy said then
    state           TEXT NOT NULL,             -- wanted (to be posted), posted, ended (to become the verdict), closed
    message         TEXT,                      -- the relay's id of the posted message
    posted_at       INTEGER,
    closed_at       INTEGER
) STRICT;
CREATE INDEX ask_due ON ask (relay) WHERE state IN ('wanted', 'ended');
CREATE INDEX ask_posted ON ask (relay) WHERE state = 'posted';
CREATE INDEX ask_login ON ask (login_id);

CREATE TABLE answer (
    id              TEXT PRIMARY KEY,
    ask_id          TEXT NOT NULL REFERENCES ask (id),
    person          TEXT NOT NULL,             -- such as console:root
    answer          TEXT NOT NULL,             -- approve, deny
    counted         INTEGER NOT NULL,          -- 1 if it decided or could have
    why_not         TEXT,                      -- if it did not count
    note            TEXT,                      -- the person's own words
    answered_at     INTEGER NOT NULL
) STRICT;
CREATE INDEX answer_ask ON answer (ask_id);

CREATE TABLE event (
    seq             INTEGER PRIMARY KEY CHECK (seq >= 1), -- 1, 2, 3 .. without gaps
    at              INTEGER NOT NULL,
    kind            TEXT NOT NULL,
    actor           TEXT NOT NULL,
    login           TEXT,
    machine         TEXT,                      -- name at that time
    user            TEXT,
    body            TEXT NOT NULL,             -- the canonical bytes that were hashed, never re-derived
    prev            BLOB NOT NULL,             -- seal of the event before
    seal            BLOB NOT NULL,             -- SHA-256 over prev and body
    version         INTEGER NOT NULL           -- of the body's form
) STRICT;
CREATE INDEX event_login ON event (login) WHERE login IS NOT NULL;
CREATE INDEX event_kind ON event (kind, seq);

CREATE TABLE lease (
    name            TEXT PRIMARY KEY,          -- the loop that only one server may run
    holder          TEXT NOT NULL,             -- boot id, pid and start time of the process
    held_until      INTEGER NOT NULL
) STRICT;
