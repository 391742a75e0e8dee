-- What machines report about their sessions. Every *_at is microseconds since 1970, UTC, by the server's clock;
-- every *_reported_at is what the machine's own clock said, and decides nothing.

CREATE TABLE session (
    id                 TEXT PRIMARY KEY,       -- opaque, random
    machine_id         TEXT NOT NULL REFERENCES machine (id),
    machine_name       TEXT NOT NULL,          -- as it was called then
    login_id           TEXT REFERENCES login (id), -- newest collected login of the same machine, connection and user; null: nobody approved
    connection         TEXT NOT NULL,          -- opaque id of the connection; ties the close to the open
    user               TEXT NOT NULL,
    service            TEXT NOT NULL,
    source             TEXT,                   -- the ssh client's address, where known
    tty                TEXT,
    key_fingerprint    TEXT,                   -- of the key that sshd told, where it did
    heard_at           INTEGER NOT NULL,       -- when the first report of it came, be it the close
    opened_at          INTEGER,                -- when the open was reported; null while only the close was
    opened_reported_at INTEGER,
    closed_at          INTEGER,                -- when the close was reported
    closed_reported_at INTEGER
) STRICT;
CREATE INDEX session_connection ON session (connection, machine_id, user);
CREATE INDEX session_heard ON session (heard_at);
CREATE INDEX session_open ON session (heard_at) WHERE opened_at IS NOT NULL AND closed_at IS NULL;
CREATE INDEX session_first ON session (machine_id, service, heard_at);

CREATE TABLE report (
    machine_id         TEXT NOT NULL REFERENCES machine (id),
    id                 TEXT NOT NULL,          -- made by the module: the same report again changes nothing
    taken_at           INTEGER NOT NULL,
    PRIMARY KEY (machine_id, id)
) STRICT, WITHOUT ROWID;
