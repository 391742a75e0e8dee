-- The schema as SQLite has it after 13 steps, for PostgreSQL. The steps before are SQLite's alone: no PostgreSQL database
-- is older. A test holds tables, columns, types and nullability of both to each other.
-- The database's collation is "C": names and ids are ordered by their bytes, as in SQLite.

CREATE TABLE schema_version (version BIGINT NOT NULL);
INSERT INTO schema_version VALUES (13);

CREATE TABLE machine (
    id              TEXT PRIMARY KEY,
    name            TEXT NOT NULL,
    created_at      BIGINT NOT NULL,
    removed_at      BIGINT,
    last_seen_at    BIGINT,
    module_version  TEXT,
    resolves_accounts BIGINT
);
CREATE UNIQUE INDEX machine_name ON machine (name) WHERE removed_at IS NULL;

CREATE TABLE credential (
    hash            BYTEA PRIMARY KEY,
    machine_id      TEXT NOT NULL REFERENCES machine (id),
    created_at      BIGINT NOT NULL,
    first_used_at   BIGINT,
    retired_at      BIGINT
);
CREATE INDEX credential_machine ON credential (machine_id);

CREATE TABLE credential_host (
    credential      BYTEA NOT NULL REFERENCES credential (hash),
    machine         TEXT NOT NULL,
    boot            TEXT NOT NULL,
    turn            BIGINT NOT NULL,
    last_seen_at    BIGINT NOT NULL,
    returned_at     BIGINT,
    PRIMARY KEY (credential, machine, boot)
);

CREATE TABLE join_token (
    hash            BYTEA PRIMARY KEY,
    machine_id      TEXT NOT NULL REFERENCES machine (id),
    created_at      BIGINT NOT NULL,
    expires_at      BIGINT NOT NULL,
    credential_hash BYTEA
);

CREATE TABLE machine_ca (
    machine_id      TEXT NOT NULL REFERENCES machine (id),
    pin             TEXT NOT NULL,
    reported_at     BIGINT NOT NULL,
    PRIMARY KEY (machine_id, pin)
);

CREATE TABLE pool (
    id              TEXT PRIMARY KEY,
    name            TEXT NOT NULL UNIQUE,
    created_at      BIGINT NOT NULL
);

CREATE TABLE pool_machine (
    pool_id         TEXT NOT NULL REFERENCES pool (id),
    machine_id      TEXT NOT NULL REFERENCES machine (id),
    PRIMARY KEY (pool_id, machine_id)
);

CREATE TABLE employee (
    id              TEXT PRIMARY KEY,
    email           TEXT NOT NULL,
    name            TEXT NOT NULL,
    unix_name       TEXT NOT NULL,
    keybase_name    TEXT,
    state           TEXT NOT NULL,
    created_at      BIGINT NOT NULL,
    changed_at      BIGINT NOT NULL
);
CREATE INDEX employee_account ON employee (unix_name, created_at);
CREATE UNIQUE INDEX employee_email ON employee (email) WHERE state <> 'removed';
CREATE UNIQUE INDEX employee_keybase_name ON employee (keybase_name) WHERE state <> 'removed';
CREATE UNIQUE INDEX employee_unix_name ON employee (unix_name) WHERE state <> 'removed';

CREATE TABLE login (
    id              TEXT PRIMARY KEY,
    machine_id      TEXT NOT NULL REFERENCES machine (id),
    machine_name    TEXT NOT NULL,
    opened          TEXT NOT NULL,
    account         TEXT NOT NULL,
    service         TEXT NOT NULL,
    source          TEXT,
    connection      TEXT NOT NULL,
    key_fingerprint TEXT,
    verdict         TEXT NOT NULL,
    state           TEXT NOT NULL,
    reason          TEXT,
    opened_at       BIGINT NOT NULL,
    expires_at      BIGINT NOT NULL,
    lapses_at       BIGINT NOT NULL,
    poll            BIGINT NOT NULL,
    decided_at      BIGINT,
    decided_by      TEXT,
    collected_at    BIGINT,
    lapsed_at       BIGINT,
    secret_hash     BYTEA,
    source_key      TEXT NOT NULL DEFAULT '',
    quota           TEXT NOT NULL DEFAULT ''
);
CREATE INDEX login_asked ON login (quota, opened_at, account, source_key) WHERE verdict = 'ask';
CREATE INDEX login_asked_user ON login (account, source_key, opened_at) WHERE verdict = 'ask';
CREATE INDEX login_carries ON login (machine_id, connection, account, service, collected_at)
    WHERE state = 'approved' AND verdict = 'ask' AND collected_at IS NOT NULL;
CREATE INDEX login_collected ON login (machine_id, connection, account, collected_at, id) WHERE collected_at IS NOT NULL;
CREATE INDEX login_denied ON login (machine_id, account, source_key, decided_at) WHERE state = 'denied' AND reason = 'denied';
CREATE INDEX login_denied_connection ON login (machine_id, connection) WHERE state = 'denied';
CREATE INDEX login_expiry ON login (expires_at) WHERE state = 'pending';
CREATE INDEX login_opened ON login (opened_at, id);
CREATE INDEX login_pending ON login (machine_id, account, source_key) WHERE state = 'pending';
CREATE INDEX login_pending_quota ON login (quota) WHERE state = 'pending';
CREATE INDEX login_pending_user ON login (account) WHERE state = 'pending';
CREATE INDEX login_silence ON login (lapses_at) WHERE state = 'pending';
CREATE INDEX login_uncollected ON login (decided_at) WHERE state = 'approved' AND collected_at IS NULL AND lapsed_at IS NULL;
CREATE INDEX login_uncollected_at ON login (machine_id) WHERE state = 'approved' AND collected_at IS NULL AND lapsed_at IS NULL;
CREATE INDEX login_uncollected_user ON login (account) WHERE state = 'approved' AND collected_at IS NULL AND lapsed_at IS NULL;

CREATE TABLE ask (
    id              TEXT PRIMARY KEY,
    login_id        TEXT NOT NULL REFERENCES login (id),
    relay           TEXT NOT NULL,
    destination     TEXT NOT NULL,
    approvers       TEXT NOT NULL,
    state           TEXT NOT NULL,
    message         TEXT,
    posted_at       BIGINT,
    closed_at       BIGINT,
    asked_at        BIGINT NOT NULL DEFAULT 0,
    sends           BIGINT NOT NULL DEFAULT 0,
    sent_at         BIGINT
);
CREATE INDEX ask_ended ON ask (relay, asked_at, id) WHERE state = 'ended';
CREATE INDEX ask_login ON ask (login_id, id);
CREATE INDEX ask_message ON ask (message) WHERE message IS NOT NULL;
CREATE INDEX ask_posted ON ask (relay) WHERE state = 'posted';
CREATE INDEX ask_wanted ON ask (relay, asked_at, id) WHERE state = 'wanted';

CREATE TABLE ask_copy (
    ask_id          TEXT NOT NULL REFERENCES ask (id),
    relay           TEXT NOT NULL,
    message         TEXT NOT NULL,
    state           TEXT NOT NULL,
    found_at        BIGINT NOT NULL,
    PRIMARY KEY (relay, message)
);
CREATE INDEX ask_copy_ask ON ask_copy (ask_id);
CREATE INDEX ask_copy_found ON ask_copy (relay) WHERE state = 'found';

CREATE TABLE answer (
    id              TEXT PRIMARY KEY,
    ask_id          TEXT NOT NULL REFERENCES ask (id),
    person          TEXT NOT NULL,
    answer          TEXT NOT NULL,
    counted         BIGINT NOT NULL,
    why_not         TEXT,
    note            TEXT,
    answered_at     BIGINT NOT NULL
);
CREATE INDEX answer_ask ON answer (ask_id);

CREATE TABLE session (
    id                 TEXT PRIMARY KEY,
    machine_id         TEXT NOT NULL REFERENCES machine (id),
    machine_name       TEXT NOT NULL,
    login_id           TEXT REFERENCES login (id),
    connection         TEXT NOT NULL,
    account            TEXT NOT NULL,
    service            TEXT NOT NULL,
    source             TEXT,
    tty                TEXT,
    key_fingerprint    TEXT,
    heard_at           BIGINT NOT NULL,
    opened_at          BIGINT,
    opened_reported_at BIGINT,
    closed_at          BIGINT,
    closed_reported_at BIGINT
);
CREATE INDEX session_connection ON session (machine_id, connection, account, heard_at, id);
CREATE INDEX session_first ON session (machine_id, service, heard_at);
CREATE INDEX session_heard ON session (heard_at, id);
CREATE INDEX session_lacks_close ON session (machine_id, connection, account, service, heard_at) WHERE closed_at IS NULL;
CREATE INDEX session_lacks_open ON session (machine_id, connection, account, service, heard_at) WHERE opened_at IS NULL;
CREATE INDEX session_login ON session (login_id);
CREATE INDEX session_open ON session (heard_at, id) WHERE opened_at IS NOT NULL AND closed_at IS NULL;

CREATE TABLE report (
    machine_id         TEXT NOT NULL REFERENCES machine (id),
    id                 TEXT NOT NULL,
    taken_at           BIGINT NOT NULL,
    PRIMARY KEY (machine_id, id)
);
CREATE INDEX report_taken ON report (taken_at);

CREATE TABLE event (
    seq             BIGINT PRIMARY KEY CHECK (seq >= 1),
    at              BIGINT NOT NULL,
    kind            TEXT NOT NULL,
    actor           TEXT NOT NULL,
    login           TEXT,
    machine         TEXT,
    account         TEXT,
    body            TEXT NOT NULL,
    prev            BYTEA NOT NULL,
    seal            BYTEA NOT NULL,
    version         BIGINT NOT NULL,
    claim           TEXT
);
CREATE INDEX event_actor ON event (actor, at);
CREATE INDEX event_at ON event (at);
CREATE INDEX event_claim ON event (claim, at) WHERE claim IS NOT NULL;
CREATE INDEX event_kind ON event (kind, at);
CREATE INDEX event_login ON event (login) WHERE login IS NOT NULL;
CREATE INDEX event_machine ON event (machine, at) WHERE machine IS NOT NULL;
CREATE INDEX event_user ON event (account, at) WHERE account IS NOT NULL;

-- Words of events, by their seq: what `event_words` is in SQLite.
CREATE TABLE event_words (
    rowid           BIGINT PRIMARY KEY,
    words           TSVECTOR NOT NULL
);
CREATE INDEX event_words_words ON event_words USING gin (words);

CREATE TABLE event_words_state (
    form            BIGINT NOT NULL,
    missing_before  BIGINT NOT NULL
);
INSERT INTO event_words_state (form, missing_before) VALUES (1, 0);

CREATE TABLE checkpoint (
    seq             BIGINT PRIMARY KEY,
    seal            BYTEA NOT NULL,
    first_seq       BIGINT NOT NULL,
    sha256          TEXT NOT NULL,
    file            TEXT NOT NULL,
    archived_at     BIGINT NOT NULL,
    archived_by     TEXT NOT NULL,
    event           BIGINT NOT NULL
);

CREATE TABLE notice (
    id              TEXT PRIMARY KEY,
    relay           TEXT NOT NULL,
    destination     TEXT NOT NULL,
    subject         TEXT NOT NULL,
    text            TEXT NOT NULL,
    created_at      BIGINT NOT NULL,
    posted_at       BIGINT,
    reply_to        TEXT,
    quota           TEXT,
    due_at          BIGINT NOT NULL DEFAULT 0,
    others          BIGINT NOT NULL DEFAULT 0
);
CREATE INDEX notice_created ON notice (created_at);
CREATE INDEX notice_due ON notice (relay, due_at) WHERE posted_at IS NULL;
CREATE INDEX notice_quota ON notice (quota, created_at) WHERE quota IS NOT NULL;
CREATE INDEX notice_quota_waiting ON notice (quota, due_at) WHERE quota IS NOT NULL AND posted_at IS NULL;
CREATE INDEX notice_subject ON notice (subject, created_at);
CREATE INDEX notice_told ON notice (due_at);

CREATE TABLE relay_state (
    relay           TEXT PRIMARY KEY,
    why_down        TEXT,
    since           BIGINT NOT NULL,
    heard_at        BIGINT NOT NULL,
    members_at      BIGINT
);

CREATE TABLE relay_member (
    relay           TEXT NOT NULL,
    person          TEXT NOT NULL,
    PRIMARY KEY (relay, person)
);

CREATE TABLE lease (
    name            TEXT PRIMARY KEY,
    holder          TEXT NOT NULL,
    held_until      BIGINT NOT NULL
);

CREATE TABLE meta (
    name            TEXT PRIMARY KEY,
    value           TEXT NOT NULL
);
