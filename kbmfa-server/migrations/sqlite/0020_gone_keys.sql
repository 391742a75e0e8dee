-- The keys that a machine had, and with which sessions may still be open there.

ALTER TABLE delivered_key ADD COLUMN gone INTEGER NOT NULL DEFAULT 0;   -- 1: it was seen gone
