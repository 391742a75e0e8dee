-- Accounts that others made on a machine, and that an operator has handed over.

CREATE TABLE adoption (
    machine_id      TEXT NOT NULL REFERENCES machine (id),
    unix_name       TEXT NOT NULL,
    uid             INTEGER NOT NULL,          -- as it was confirmed; another one is not taken over
    shell           TEXT,                      -- NULL: not one that can be given back
    exclusive       INTEGER NOT NULL,          -- 1: the whole ~/.ssh/authorized_keys is ours
    released        INTEGER NOT NULL,          -- 1: it is handed back
    adopted_at      INTEGER NOT NULL,
    PRIMARY KEY (machine_id, unix_name)
) STRICT, WITHOUT ROWID;
