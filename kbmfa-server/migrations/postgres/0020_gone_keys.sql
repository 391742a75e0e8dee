-- The keys that a machine had, and with which sessions may still be open there.

ALTER TABLE delivered_key ADD COLUMN gone BIGINT NOT NULL DEFAULT 0;   -- 1: it was seen gone

UPDATE schema_version SET version = 20;
