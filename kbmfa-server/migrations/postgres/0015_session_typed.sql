-- The account as the person typed it, where that differs from the one that it led to; unknown for older sessions.

ALTER TABLE session ADD COLUMN typed TEXT;
UPDATE schema_version SET version = 15;
