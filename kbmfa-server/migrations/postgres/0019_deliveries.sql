-- Machines to which accounts and keys are delivered, and what each was given last.

CREATE TABLE delivery (
    machine_id      TEXT PRIMARY KEY REFERENCES machine (id),
    place           TEXT NOT NULL,             -- system, home
    by_helper       BIGINT NOT NULL,          -- 1: sudo allows the installed helper alone
    leaving         BIGINT NOT NULL,          -- 1: everything is taken away, and then the row goes
    host_id         TEXT,                      -- /etc/machine-id, from the first pass on
    applied         TEXT,                      -- SHA-256 of the state that was read back last
    applied_at      BIGINT,                   -- when it was read back
    differs_since   BIGINT,                   -- NULL: the machine has what it should have
    next_at         BIGINT NOT NULL,          -- the next pass, if nothing changes before
    failures        BIGINT NOT NULL,          -- in a row
    failure         TEXT,                      -- kind of the last one; NULL: the last pass succeeded
    failure_detail  TEXT,
    failed_since    BIGINT,
    hindrances      TEXT NOT NULL              -- what is left as it is, a line each
);
CREATE UNIQUE INDEX delivery_host ON delivery (host_id) WHERE host_id IS NOT NULL;

-- The keys that a machine was given and that were not seen gone since.
CREATE TABLE delivered_key (
    machine_id      TEXT NOT NULL REFERENCES machine (id),
    unix_name       TEXT NOT NULL,
    fingerprint     TEXT NOT NULL,
    PRIMARY KEY (machine_id, unix_name, fingerprint)
);
CREATE INDEX delivered_key_fingerprint ON delivered_key (fingerprint);

UPDATE schema_version SET version = 19;
