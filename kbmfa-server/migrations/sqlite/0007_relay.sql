-- What the server that carries asks knows of its relay, for every server to judge by.

CREATE TABLE relay_state (
    relay           TEXT PRIMARY KEY,
    why_down        TEXT,                      -- null: it reaches people
    since           INTEGER NOT NULL,          -- it is up, or down for this reason, since then
    heard_at        INTEGER NOT NULL,          -- when that was last said; nobody carries asks if it is long ago
    members_at      INTEGER                    -- when the members were last listed
) STRICT;

CREATE TABLE relay_member (
    relay           TEXT NOT NULL,
    person          TEXT NOT NULL,             -- an approver's name, such as keybase:alice
    PRIMARY KEY (relay, person)
) STRICT, WITHOUT ROWID;

ALTER TABLE notice ADD COLUMN reply_to TEXT;   -- the relay's id of the message that it answers

CREATE INDEX ask_message ON ask (message) WHERE message IS NOT NULL;
