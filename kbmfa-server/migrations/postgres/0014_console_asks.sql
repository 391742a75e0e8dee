-- At the console an ask is posted as soon as it is in the database, and closed when its login ends: no loop carries it any
-- more. What such a loop would still have done is done here.

UPDATE ask SET state = 'posted', message = id, posted_at = asked_at WHERE relay = 'console' AND state = 'wanted';
UPDATE ask SET state = 'closed', closed_at = (SELECT coalesce(decided_at, expires_at) FROM login WHERE login.id = login_id)
    WHERE relay = 'console' AND state = 'ended';
UPDATE notice SET posted_at = due_at WHERE relay = 'console' AND posted_at IS NULL;
