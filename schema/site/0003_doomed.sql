-- What the upkeep of a volume remembers (schema/api/70_upkeep.sql). All of it is local: it is the
-- primary's work, and a mirror that becomes one begins it anew from the volume's own tables.

-- Slices whose references have ended and whose objects are still there. lsn is a position of the
-- primary after the end of the references was committed; NULL: nobody has looked since.
CREATE TABLE tarn.doomed (
    slice        int8 PRIMARY KEY,
    size         int4 NOT NULL,
    lsn          pg_lsn,
    ordered_at   timestamptz NOT NULL DEFAULT clock_timestamp(),
    -- Handed out to somebody who removes the objects, while this is in the future.
    leased_until timestamptz NOT NULL DEFAULT '-infinity'
) WITH (fillfactor = 70);

-- How far each mirror has come, as seen by two looks in a row: a position that was confirmed at the
-- earlier one has surely become visible at the mirror since.
CREATE TABLE tarn.follower (
    site      text PRIMARY KEY,
    confirmed pg_lsn,                -- NULL: it has no replication slot
    before    pg_lsn,                -- the same, one look earlier
    looked_at timestamptz NOT NULL,
    moved_at  timestamptz NOT NULL   -- when it was last seen to advance, or to be up to date
);

-- The last run of each job, and the settings of the upkeep. runner tells one beginning from another.
CREATE TABLE tarn.upkeep_run (
    job          text PRIMARY KEY,
    runner       text NOT NULL,
    started_at   timestamptz NOT NULL,
    ended_at     timestamptz,
    succeeded_at timestamptz,
    is_ok        bool,
    items        int8,
    note         text
) WITH (fillfactor = 50);

-- Exactly one row.
CREATE TABLE tarn.upkeep_setting (
    only_row    bool PRIMARY KEY DEFAULT true CHECK (only_row),
    -- Deletions wait for a mirror that is silent for so long, and then no more.
    keep_window interval NOT NULL DEFAULT interval '7 days'
);
INSERT INTO tarn.upkeep_setting DEFAULT VALUES;

INSERT INTO tarn.migration (version, name) VALUES (3, 'doomed');
