-- What healing needs to remember. All of it is local.

-- Of a mirror that is LOST: by what, as tarn_1.lose() says.
ALTER TABLE tarn.local_site ADD COLUMN lost_by text;

-- At a mirror: what its primary was when it was last heard of, so that another one, or an older
-- state of the same one, is told from it. At most one row; none after a join.
CREATE TABLE tarn.primary_memory (
    only_row          bool PRIMARY KEY DEFAULT true CHECK (only_row),
    site              text NOT NULL,
    system_identifier text NOT NULL,
    timeline          int8 NOT NULL,
    lsn               pg_lsn NOT NULL,      -- on disk there
    slot_count        int8,                 -- transactions that our slot had decoded
    counted_since     timestamptz,          -- since when that server counts
    heard_at          timestamptz NOT NULL DEFAULT clock_timestamp()
) WITH (fillfactor = 50);

-- At a mirror: what the primary's tables have and ours could not be given; the statements are for a
-- person to carry out. Empty when all is well.
CREATE TABLE tarn.mend_statement (
    relation  text NOT NULL,
    name      text NOT NULL,   -- of the column; '' for a table
    statement text NOT NULL,
    problem   text NOT NULL,
    noted_at  timestamptz NOT NULL DEFAULT now(),
    PRIMARY KEY (relation, name)
);

-- At a mirror: a copy that is made anew beside this one. At most one row. In the new copy itself the
-- row says what becomes of the old one.
CREATE TABLE tarn.reseed (
    only_row     bool PRIMARY KEY DEFAULT true CHECK (only_row),
    database     text NOT NULL,             -- the new copy, until it has this one's name
    old_database text NOT NULL,             -- this one, afterwards
    keeps_old    bool NOT NULL DEFAULT false,
    reason       text NOT NULL,
    step         text NOT NULL DEFAULT 'wanted',
    bytes_done   int8 NOT NULL DEFAULT 0,
    bytes_total  int8 NOT NULL DEFAULT 0,
    tables_done  int4 NOT NULL DEFAULT 0,
    tables_total int4 NOT NULL DEFAULT 0,
    wanted_at    timestamptz NOT NULL DEFAULT now(),
    switched_at  timestamptz,
    problem      text
);

-- At the primary: mirrors that deletions did not wait for any more. What was committed before lsn
-- may name objects that are gone.
CREATE TABLE tarn.given_up (
    site text PRIMARY KEY,
    lsn  pg_lsn NOT NULL,
    at   timestamptz NOT NULL
);

-- At the primary: which version of the tarn.* tables a mirror has, as it says itself.
CREATE TABLE tarn.site_version (
    site     text PRIMARY KEY,
    version  int4 NOT NULL,
    heard_at timestamptz NOT NULL
);

INSERT INTO tarn.migration (version, name) VALUES (7, 'heal');
