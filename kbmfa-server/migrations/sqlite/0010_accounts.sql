-- Which machines say which account a login is about.

ALTER TABLE machine ADD COLUMN resolves_accounts INTEGER; -- 1: its module does; 0: it tells how the name was typed; null: not known yet
