-- Looking back costs the same however much there is: each statement finds its rows by an index that begins with the
-- machine, or with the account, and ends in the order that is asked for. A test reads every statement's plan.

ALTER TABLE login ADD COLUMN quota TEXT NOT NULL DEFAULT ''; -- whose limits it takes up: its machine's id, or 'claimed'
UPDATE login SET quota = CASE WHEN substr(machine_name, 1, 8) = 'claimed:' THEN 'claimed' ELSE machine_id END;

DROP INDEX login_pending;
CREATE INDEX login_pending ON login (machine_id, user, source_key) WHERE state = 'pending';
CREATE INDEX login_pending_quota ON login (quota) WHERE state = 'pending';
CREATE INDEX login_pending_user ON login (user) WHERE state = 'pending';
CREATE INDEX login_uncollected_at ON login (machine_id) WHERE state = 'approved' AND collected_at IS NULL AND lapsed_at IS NULL;
CREATE INDEX login_uncollected_user ON login (user) WHERE state = 'approved' AND collected_at IS NULL AND lapsed_at IS NULL;
DROP INDEX login_asked_machine;
CREATE INDEX login_asked ON login (quota, opened_at, user, source_key) WHERE verdict = 'ask';
DROP INDEX login_denied;
CREATE INDEX login_denied ON login (machine_id, user, source_key, decided_at) WHERE state = 'denied' AND reason = 'denied';
DROP INDEX login_connection;
CREATE INDEX login_denied_connection ON login (machine_id, connection) WHERE state = 'denied';
CREATE INDEX login_carries ON login (machine_id, connection, user, service, collected_at)
    WHERE state = 'approved' AND verdict = 'ask' AND collected_at IS NOT NULL;
CREATE INDEX login_collected ON login (machine_id, connection, user, collected_at, id) WHERE collected_at IS NOT NULL;
DROP INDEX login_opened;
CREATE INDEX login_opened ON login (opened_at, id);

DROP INDEX session_connection;
CREATE INDEX session_connection ON session (machine_id, connection, user, heard_at, id);
CREATE INDEX session_lacks_open ON session (machine_id, connection, user, service, heard_at) WHERE opened_at IS NULL;
CREATE INDEX session_lacks_close ON session (machine_id, connection, user, service, heard_at) WHERE closed_at IS NULL;
DROP INDEX session_heard;
CREATE INDEX session_heard ON session (heard_at, id);
DROP INDEX session_open;
CREATE INDEX session_open ON session (heard_at, id) WHERE opened_at IS NOT NULL AND closed_at IS NULL;
CREATE INDEX session_login ON session (login_id);

ALTER TABLE ask ADD COLUMN asked_at INTEGER NOT NULL DEFAULT 0; -- when its login was opened
UPDATE ask SET asked_at = (SELECT opened_at FROM login WHERE login.id = ask.login_id);
DROP INDEX ask_due;
CREATE INDEX ask_wanted ON ask (relay, asked_at, id) WHERE state = 'wanted';
CREATE INDEX ask_ended ON ask (relay, asked_at, id) WHERE state = 'ended';
DROP INDEX ask_login;
CREATE INDEX ask_login ON ask (login_id, id);

-- A notice may stand for others like it that its machine caused meanwhile, and waits for them a while.
ALTER TABLE notice ADD COLUMN quota TEXT;      -- whose notices it is one of, as of logins; null: the server's own
ALTER TABLE notice ADD COLUMN due_at INTEGER NOT NULL DEFAULT 0; -- not posted before
ALTER TABLE notice ADD COLUMN others INTEGER NOT NULL DEFAULT 0; -- how many others it stands for
UPDATE notice SET due_at = created_at;
DROP INDEX notice_due;
CREATE INDEX notice_due ON notice (relay, due_at) WHERE posted_at IS NULL;
CREATE INDEX notice_quota ON notice (quota, created_at) WHERE quota IS NOT NULL;
CREATE INDEX notice_quota_waiting ON notice (quota, due_at) WHERE quota IS NOT NULL AND posted_at IS NULL;
CREATE INDEX notice_told ON notice (due_at);
CREATE INDEX notice_created ON notice (created_at);
CREATE INDEX report_taken ON report (taken_at);
