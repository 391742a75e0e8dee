-- Employees in their smallest form, and what the limits look at.

CREATE TABLE employee (
    id              TEXT PRIMARY KEY,          -- opaque, random; never reused
    email           TEXT NOT NULL,             -- how the operator names them
    name            TEXT NOT NULL,             -- for people to read
    unix_name       TEXT NOT NULL,             -- the account that is theirs, on every machine
    keybase_name    TEXT,                      -- who they are in Keybase
    state           TEXT NOT NULL,             -- active, suspended, removed
    created_at      INTEGER NOT NULL,
    changed_at      INTEGER NOT NULL           -- when the state last changed
) STRICT;
CREATE UNIQUE INDEX employee_email ON employee (email) WHERE state <> 'removed';
CREATE UNIQUE INDEX employee_unix_name ON employee (unix_name) WHERE state <> 'removed';
CREATE UNIQUE INDEX employee_keybase_name ON employee (keybase_name) WHERE state <> 'removed';
CREATE INDEX employee_account ON employee (unix_name, created_at);

CREATE INDEX login_asked_user ON login (user, source, opened_at) WHERE verdict = 'ask';
CREATE INDEX login_asked_machine ON login (machine_id, opened_at) WHERE verdict = 'ask';
CREATE INDEX login_denied ON login (machine_id, user, decided_at) WHERE state = 'denied' AND reason = 'denied';

CREATE TABLE notice (
    id              TEXT PRIMARY KEY,          -- opaque, random
    relay           TEXT NOT NULL,
    destination     TEXT NOT NULL,             -- where in the relay
    subject         TEXT NOT NULL,             -- what it is about: one subject, one notice in a while
    text            TEXT NOT NULL,
    created_at      INTEGER NOT NULL,
    posted_at       INTEGER
) STRICT;
CREATE INDEX notice_subject ON notice (subject, created_at);
CREATE INDEX notice_due ON notice (relay) WHERE posted_at IS NULL;
