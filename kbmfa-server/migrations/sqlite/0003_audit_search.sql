-- Finding events among millions, and putting old ones away.

-- Whom SUDO_USER claimed to be; a column for searching, like its neighbours, and checked against the body.
ALTER TABLE event ADD COLUMN claim TEXT;
UPDATE event SET claim = json_extract(body, '$.actor.claim');

-- Each ends in the time, so that the newest of a kind, a user .. come first without sorting.
DROP INDEX event_kind;
CREATE INDEX event_at ON event (at);
CREATE INDEX event_kind ON event (kind, at);
CREATE INDEX event_user ON event (user, at) WHERE user IS NOT NULL;
CREATE INDEX event_machine ON event (machine, at) WHERE machine IS NOT NULL;
CREATE INDEX event_actor ON event (actor, at);
CREATE INDEX event_claim ON event (claim, at) WHERE claim IS NOT NULL;

-- The words of each event, by its seq. Which words is decided in src/audit/words.rs, so a blank is all that
-- may part them here. In PostgreSQL this is a tsvector made of the same words.
CREATE VIRTUAL TABLE event_words USING fts5 (
    words, content = '', contentless_delete = 1, detail = none,
    tokenize = "ascii tokenchars '!#$%&()*+,-./:;<=>?@[\]^_`{|}~'"
);

CREATE TABLE event_words_state (
    form            INTEGER NOT NULL,          -- by which rule the words were made
    missing_before  INTEGER NOT NULL           -- events before this one have no words yet; 0 if all have
) STRICT;
INSERT INTO event_words_state (form, missing_before) SELECT 1, coalesce(max(seq) + 1, 0) FROM event;

CREATE TABLE checkpoint (
    seq             INTEGER PRIMARY KEY,       -- the last event that was archived; the chain goes on after it
    seal            BLOB NOT NULL,             -- its seal
    first_seq       INTEGER NOT NULL,          -- the first event in the file
    sha256          TEXT NOT NULL,             -- of the file, in hex
    file            TEXT NOT NULL,             -- where it was written
    archived_at     INTEGER NOT NULL,
    archived_by     TEXT NOT NULL,
    event           INTEGER NOT NULL           -- seq of the sealed event that says the same
) STRICT;
