-- What a store holds. A column marked (sealed) is AES-256-GCM under a key of its session, bound to its row; a column marked
-- (keyed) is a hash under the store's address key. `row` is SQLite's own number; 0 in place of a turn's row is the root.

-- One row: what belongs to the file as a whole.
CREATE TABLE store (
    only        INTEGER PRIMARY KEY CHECK (only = 1),
    address_key BLOB NOT NULL,                  -- sealed by the node key: a store opens with the key that opens this
    run         INTEGER NOT NULL                -- how often it was opened
) STRICT;

CREATE TABLE sessions (
    row        INTEGER PRIMARY KEY,
    id         TEXT    NOT NULL UNIQUE,
    principal  TEXT    NOT NULL,
    name       TEXT,                            -- unique for its principal; gone when erased
    root       BLOB    NOT NULL,
    head       INTEGER NOT NULL,                -- a row of `turns`, or 0
    epoch      INTEGER NOT NULL,
    holder     TEXT    NOT NULL,
    created_ms INTEGER NOT NULL,
    updated_ms INTEGER NOT NULL,
    expires_ms INTEGER,
    data_class TEXT,
    turns      INTEGER NOT NULL,
    erased_ms  INTEGER,
    key        BLOB,                            -- sealed by the node key; NULL when erased
    salt       BLOB,                            -- (sealed) NULL when erased
    title      BLOB                             -- (sealed)
) STRICT;
CREATE UNIQUE INDEX sessions_by_name ON sessions (principal, name) WHERE name IS NOT NULL;
CREATE INDEX sessions_by_principal ON sessions (principal, row);
CREATE INDEX sessions_handed_over ON sessions (holder, row) WHERE holder <> principal;
CREATE INDEX sessions_by_expiry ON sessions (expires_ms) WHERE expires_ms IS NOT NULL AND erased_ms IS NULL;

CREATE TABLE turns (
    row     INTEGER PRIMARY KEY,
    session INTEGER NOT NULL,
    id      BLOB    NOT NULL,
    parent  INTEGER NOT NULL,                   -- a row of `turns`, or 0
    depth   INTEGER NOT NULL,                   -- 1 after the root
    party   TEXT    NOT NULL,
    state   TEXT    NOT NULL,
    made_ms INTEGER NOT NULL,
    by      TEXT,
    model   TEXT,
    meta    BLOB,                               -- (sealed) NULL when erased
    body    BLOB                                -- (sealed) NULL when erased; last, so that a walk need not read it
) STRICT;
CREATE UNIQUE INDEX turns_by_id ON turns (session, id);

CREATE TABLE links (
    row     INTEGER PRIMARY KEY,                -- rises: the newest link of a hash is its last
    hash    BLOB    NOT NULL,                   -- (keyed)
    session INTEGER NOT NULL,
    turn    INTEGER NOT NULL,
    UNIQUE (hash, session, turn)
) STRICT;
CREATE INDEX links_by_session ON links (session);

CREATE TABLE responses (
    row       INTEGER PRIMARY KEY,
    principal TEXT    NOT NULL,
    id        TEXT    NOT NULL,
    session   INTEGER NOT NULL,
    turn      INTEGER NOT NULL,
    body      BLOB    NOT NULL,                 -- (sealed)
    UNIQUE (principal, id)
) STRICT;
CREATE INDEX responses_by_session ON responses (session);

CREATE TABLE blobs (
    row  INTEGER PRIMARY KEY,
    hash BLOB    NOT NULL UNIQUE,               -- (keyed)
    body BLOB    NOT NULL                       -- sealed by a key of its own
) STRICT;

CREATE TABLE blob_keys (
    session INTEGER NOT NULL,
    blob    INTEGER NOT NULL,
    key     BLOB    NOT NULL,                   -- (sealed)
    PRIMARY KEY (session, blob)
) STRICT, WITHOUT ROWID;
CREATE INDEX blob_keys_by_blob ON blob_keys (blob);

CREATE TABLE journals (
    row     INTEGER PRIMARY KEY,
    call    TEXT    NOT NULL UNIQUE,
    session INTEGER NOT NULL,
    epoch   INTEGER NOT NULL,
    parent  INTEGER NOT NULL,
    party   TEXT    NOT NULL,
    by      TEXT,
    model   TEXT,
    made_ms INTEGER NOT NULL,
    run     INTEGER NOT NULL,
    size    INTEGER NOT NULL,                   -- bytes written so far
    meta    BLOB    NOT NULL                    -- (sealed)
) STRICT;
CREATE INDEX journals_by_session ON journals (session);

CREATE TABLE journal_parts (
    row     INTEGER PRIMARY KEY,
    journal INTEGER NOT NULL,
    seq     INTEGER NOT NULL,
    body    BLOB    NOT NULL,                   -- (sealed)
    UNIQUE (journal, seq)
) STRICT;

CREATE TABLE handoffs (
    row        INTEGER PRIMARY KEY,
    id         BLOB    NOT NULL UNIQUE,
    session    INTEGER NOT NULL,
    head       INTEGER NOT NULL,                -- where whoever accepts begins
    epoch      INTEGER NOT NULL,                -- of the session when it was offered
    by         TEXT    NOT NULL,
    audience   TEXT,                            -- who may accept; NULL: anybody who holds the token
    made_ms    INTEGER NOT NULL,
    expires_s  INTEGER NOT NULL,
    used_ms    INTEGER,
    used_by    TEXT,
    used_key   BLOB,                            -- by which a claimant that was not answered is known again
    used_epoch INTEGER,                         -- the epoch that began; NULL when a copy did
    copy       INTEGER,                         -- the session that began instead
    revoked_ms INTEGER,
    details    BLOB                             -- (sealed) NULL when erased
) STRICT;
CREATE INDEX handoffs_by_session ON handoffs (session);

-- Tokens that no handoff is accepted with any more.
CREATE TABLE revocations (
    id         BLOB PRIMARY KEY,
    revoked_ms INTEGER NOT NULL
) STRICT, WITHOUT ROWID;

CREATE TABLE derived (
    row     INTEGER PRIMARY KEY,
    session INTEGER NOT NULL,
    turn    INTEGER NOT NULL,
    kind    TEXT    NOT NULL,
    body    BLOB    NOT NULL,                   -- (sealed)
    UNIQUE (session, turn, kind)
) STRICT;
