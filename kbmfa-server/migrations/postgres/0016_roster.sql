-- Who has which key and may go where: uids, grants and keys; and how a machine is reached.

-- Every Unix name and uid that an employee was ever given. Neither is given to another person, also after a removal.
CREATE TABLE account_ledger (
    unix_name       TEXT PRIMARY KEY,
    uid             BIGINT,                   -- NULL: an employee of before this table, until the first grant
    employee_id     TEXT NOT NULL REFERENCES employee (id),
    created_at      BIGINT NOT NULL
);
CREATE UNIQUE INDEX account_ledger_uid ON account_ledger (uid) WHERE uid IS NOT NULL;
CREATE INDEX account_ledger_employee ON account_ledger (employee_id);

-- Of several people who had one account, the present one has it, or else the last one.
INSERT INTO account_ledger (unix_name, uid, employee_id, created_at)
SELECT e.unix_name, NULL, e.id, e.created_at FROM employee AS e
WHERE NOT EXISTS (
    SELECT 1 FROM employee AS o
    WHERE o.unix_name = e.unix_name AND o.id <> e.id
        AND ((o.state <> 'removed' AND e.state = 'removed')
            OR ((o.state = 'removed') = (e.state = 'removed')
                AND (o.created_at > e.created_at OR (o.created_at = e.created_at AND o.id > e.id)))));

ALTER TABLE pool ADD COLUMN label TEXT;                   -- for people to read

ALTER TABLE machine ADD COLUMN address TEXT;              -- IP address or DNS name; NULL: keys are not delivered to it
ALTER TABLE machine ADD COLUMN port BIGINT;              -- of sshd
ALTER TABLE machine ADD COLUMN uid_seen BIGINT;          -- highest uid within the ledger's range that it reported
CREATE UNIQUE INDEX machine_address ON machine (address, port) WHERE removed_at IS NULL AND address IS NOT NULL;

-- The host keys that the operator has pinned; a key is one machine's.
CREATE TABLE host_key (
    fingerprint     TEXT PRIMARY KEY,          -- SHA256:.. as ssh-keygen -l prints it
    machine_id      TEXT NOT NULL REFERENCES machine (id),
    line            TEXT,                      -- algorithm and base64; NULL: only the fingerprint is known
    added_at        BIGINT NOT NULL
);
CREATE INDEX host_key_machine ON host_key (machine_id);

CREATE TABLE pool_grant (
    id              TEXT PRIMARY KEY,          -- opaque, random
    employee_id     TEXT NOT NULL REFERENCES employee (id),
    pool_id         TEXT NOT NULL REFERENCES pool (id),
    sudo_profile    TEXT,                      -- name of the sudo profile; NULL: no sudo
    ends_at         BIGINT,                   -- NULL: until it is removed
    created_at      BIGINT NOT NULL
);
CREATE UNIQUE INDEX pool_grant_once ON pool_grant (employee_id, pool_id);
CREATE INDEX pool_grant_pool ON pool_grant (pool_id);

CREATE TABLE ssh_key (
    id              TEXT PRIMARY KEY,          -- opaque, random
    employee_id     TEXT NOT NULL REFERENCES employee (id),
    fingerprint     TEXT NOT NULL UNIQUE,      -- a revoked key is never accepted again, from nobody
    line            TEXT NOT NULL,             -- algorithm and base64, encoded anew; no comment
    device          TEXT NOT NULL,             -- the computer that has it, as the person calls it
    state           TEXT NOT NULL,             -- active, revoked
    added_at        BIGINT NOT NULL,
    revoked_at      BIGINT,
    revoked_for     TEXT                       -- lost, retired, removed
);
CREATE INDEX ssh_key_employee ON ssh_key (employee_id);

UPDATE schema_version SET version = 16;
