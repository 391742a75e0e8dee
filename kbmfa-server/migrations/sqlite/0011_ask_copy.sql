-- An ask notes that it is being sent before it is, so that whoever comes after a crash knows that it may have been posted.

ALTER TABLE ask ADD COLUMN sends INTEGER NOT NULL DEFAULT 0;  -- how often sending it was begun
ALTER TABLE ask ADD COLUMN sent_at INTEGER;                    -- when that was last, in microseconds; null: never

UPDATE ask SET sends = 1, sent_at = (SELECT opened_at FROM login WHERE login.id = login_id);

-- Further messages of one ask: a post of which nobody heard in time arrived after it had been posted again.
CREATE TABLE ask_copy (
    ask_id          TEXT NOT NULL REFERENCES ask (id),
    relay           TEXT NOT NULL,
    message         TEXT NOT NULL,             -- the relay's id of it
    state           TEXT NOT NULL,             -- found, then told (it says where the ask is, or the verdict)
    found_at        INTEGER NOT NULL,
    PRIMARY KEY (relay, message)
) STRICT, WITHOUT ROWID;

CREATE INDEX ask_copy_ask ON ask_copy (ask_id);
CREATE INDEX ask_copy_found ON ask_copy (relay) WHERE state = 'found';
