-- What machines report: host keys other than the pinned ones, and uids that nobody was given.

-- The host keys that a machine reported last, while they are not those that are pinned: it is in quarantine.
CREATE TABLE host_key_report (
    machine_id      TEXT NOT NULL REFERENCES machine (id),
    fingerprint     TEXT NOT NULL,
    line            TEXT NOT NULL,             -- algorithm and base64
    since           BIGINT NOT NULL,          -- since when the machine is in quarantine
    PRIMARY KEY (machine_id, fingerprint)
);

-- Uids within the range of the time that a machine reported and the ledger does not know. None of them is given out.
CREATE TABLE uid_seen (
    machine_id      TEXT NOT NULL REFERENCES machine (id),
    uid             BIGINT NOT NULL,
    PRIMARY KEY (machine_id, uid)
);
CREATE INDEX uid_seen_uid ON uid_seen (uid);
INSERT INTO uid_seen (machine_id, uid) SELECT id, uid_seen FROM machine WHERE uid_seen IS NOT NULL;
ALTER TABLE machine DROP COLUMN uid_seen;

UPDATE schema_version SET version = 18;
