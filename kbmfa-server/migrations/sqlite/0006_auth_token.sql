-- Logins of machines that have not joined, and share the old tool's AUTH_TOKEN.

ALTER TABLE login ADD COLUMN secret_hash BLOB; -- SHA-256 of the login's own secret; null where the machine's credential says enough
