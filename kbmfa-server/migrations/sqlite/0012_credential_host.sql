-- On which computers each credential is used, so that a machine which was cloned with it is noticed.

CREATE TABLE credential_host (
    credential      BLOB NOT NULL REFERENCES credential (hash),
    machine         TEXT NOT NULL,             -- keyed hash of /etc/machine-id
    boot            TEXT NOT NULL,             -- keyed hash of the boot id
    turn            INTEGER NOT NULL,          -- the highest is the one that was seen last, whatever the clock says
    last_seen_at    INTEGER NOT NULL,          -- to the minute
    returned_at     INTEGER,                   -- when it came back although another one had been seen after it
    PRIMARY KEY (credential, machine, boot)
) STRICT, WITHOUT ROWID;
