-- The server's own ssh logins to machines, announced before it connects. A row lets one connection in, and is gone
-- after some minutes.

CREATE TABLE own_login (
    id              TEXT PRIMARY KEY,
    machine_id      TEXT NOT NULL REFERENCES machine (id),
    account         TEXT NOT NULL,
    client          TEXT NOT NULL,             -- the server's end, address:port
    server          TEXT NOT NULL,             -- the machine's end, address:port
    nat             TEXT NOT NULL,             -- addresses that the machine may see in place of the server's
    key_fingerprint TEXT NOT NULL,
    expires_at      INTEGER NOT NULL,          -- it lets nobody in from then on
    forget_at       INTEGER NOT NULL,          -- the row goes
    connection      TEXT,                      -- the connection that it let in
    login           TEXT                       -- that connection's last login
) STRICT;
CREATE INDEX own_login_machine ON own_login (machine_id, account, expires_at);
CREATE INDEX own_login_forget ON own_login (forget_at);
