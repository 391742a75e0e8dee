-- How an employee enrols a key: invites, used challenges, keys that wait for an approval, and the account's password.

ALTER TABLE ssh_key ADD COLUMN parent_id TEXT REFERENCES ssh_key (id);   -- the key that vouched for it; NULL: an invite or the operator
ALTER TABLE ssh_key ADD COLUMN replaces_id TEXT REFERENCES ssh_key (id); -- the key that is revoked when this one becomes active
ALTER TABLE ssh_key ADD COLUMN active_at BIGINT;                        -- NULL: it never was
UPDATE ssh_key SET active_at = added_at;
CREATE INDEX ssh_key_parent ON ssh_key (parent_id);

ALTER TABLE employee ADD COLUMN password_sealed BYTEA;     -- crypt hash of the account's password, encrypted; the key is in a file
ALTER TABLE employee ADD COLUMN password_set_at BIGINT;

CREATE TABLE invite (
    id              TEXT PRIMARY KEY,          -- public, random; wrong secrets count against it alone
    employee_id     TEXT NOT NULL REFERENCES employee (id),
    secret_hash     BYTEA NOT NULL,             -- SHA-256 of the secret; the secret is nowhere
    created_at      BIGINT NOT NULL,
    expires_at      BIGINT NOT NULL,
    attempts        BIGINT NOT NULL,          -- wrong secrets so far
    used_at         BIGINT,
    key_id          TEXT REFERENCES ssh_key (id) -- what it was used for
);
CREATE INDEX invite_employee ON invite (employee_id);

-- A challenge is made without a write, so only used ones are known here, until they would have expired anyway.
CREATE TABLE challenge (
    hash            BYTEA PRIMARY KEY,          -- SHA-256 of the nonce
    expires_at      BIGINT NOT NULL
);
CREATE INDEX challenge_expiry ON challenge (expires_at);

UPDATE schema_version SET version = 17;
