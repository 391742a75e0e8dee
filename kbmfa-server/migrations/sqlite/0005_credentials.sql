-- The life of credentials: which machine trusts which certificate authority; whether the database may be written.
-- Every *_at is microseconds since 1970, UTC.

CREATE TABLE machine_ca (
    machine_id      TEXT NOT NULL REFERENCES machine (id),
    pin             TEXT NOT NULL,             -- of an authority that the machine says it trusts
    reported_at     INTEGER NOT NULL,
    PRIMARY KEY (machine_id, pin)
) STRICT, WITHOUT ROWID;

CREATE TABLE meta (
    name            TEXT PRIMARY KEY,          -- read-only: nothing is written while this row stands
    value           TEXT NOT NULL              -- JSON: for read-only, what a restore has to put on record
) STRICT;
