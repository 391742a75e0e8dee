-- What limits and cool-down count logins by: an IPv4 address, an IPv6 /64, or the host's name in lower case.

ALTER TABLE login ADD COLUMN source_key TEXT NOT NULL DEFAULT ''; -- empty: the machine told no source
-- Older logins keep counting by their exact address, so a query compares the key with both.
UPDATE login SET source_key = coalesce(source, '');

DROP INDEX login_asked_user;
CREATE INDEX login_asked_user ON login (user, source_key, opened_at) WHERE verdict = 'ask';
