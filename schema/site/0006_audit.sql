-- What a mirror remembers of its audits (schema/api/55_audit.sql). Local: each site audits itself.

-- One row for each run, the newest some thirty of them. While ended_at is NULL the run is under way
-- or was interrupted; then relation and position say how far it came, and the next may go on there.
CREATE TABLE tarn.audit_run (
    id         int8 PRIMARY KEY,
    kind       text NOT NULL CHECK (kind IN ('rows', 'objects')),
    started_at timestamptz NOT NULL DEFAULT clock_timestamp(),
    touched_at timestamptz NOT NULL DEFAULT clock_timestamp(),
    ended_at   timestamptz,
    relation   text,                     -- the table under way; those before it are done
    position   text,                     -- its key up to which rows were compared; NULL: none yet
    tables     int4 NOT NULL DEFAULT 0,  -- compared to their ends
    items      int8 NOT NULL DEFAULT 0,  -- rows, or objects
    moving     int8 NOT NULL DEFAULT 0   -- rows that changed at each look
) WITH (fillfactor = 50);

-- What a run has found to be different: rows, and objects under the relation "objects".
CREATE TABLE tarn.audit_finding (
    run         int8 NOT NULL REFERENCES tarn.audit_run ON DELETE CASCADE,
    relation    text NOT NULL,
    key         text NOT NULL,
    -- Of rows: missing, extra, changed, column, table. Of objects: as tarn fsck calls them.
    kind        text NOT NULL,
    columns     text,           -- that differ
    ours        text,           -- their values here and at the primary, shortened
    theirs      text,
    version     text,           -- of our row, when it was judged
    is_repaired bool NOT NULL DEFAULT false,
    PRIMARY KEY (run, relation, key)
);

INSERT INTO tarn.migration (version, name) VALUES (6, 'audit');
