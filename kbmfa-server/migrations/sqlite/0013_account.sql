-- A bare `user` is a function in PostgreSQL (the role that is connected): a statement with it runs there, and is wrong.
-- Every index on these columns follows.

ALTER TABLE login RENAME COLUMN user TO account;
ALTER TABLE event RENAME COLUMN user TO account;
ALTER TABLE session RENAME COLUMN user TO account;
