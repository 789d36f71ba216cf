-- Positions say whose they are: an LSN means nothing without the epoch, the cluster and the timeline
-- that it belongs to. All columns may be NULL, in rows that an older version wrote.

-- Both travel. xid is the first transaction that had not begun when the beat was written, so that
-- the difference of two beats counts the transactions between them.
ALTER TABLE tarn.heartbeat
    ADD COLUMN system_identifier text,
    ADD COLUMN timeline          int8,
    ADD COLUMN xid               int8;
ALTER TABLE tarn.mark
    ADD COLUMN epoch             int8,
    ADD COLUMN system_identifier text,
    ADD COLUMN timeline          int8,
    ADD COLUMN lsn               pg_lsn;

-- Local. A mirror of a mirror: the URL without a password of the site that it follows. NULL: it
-- follows the primary itself.
ALTER TABLE tarn.local_site ADD COLUMN source_url text;

-- Local to the primary. How far a mirror without a slot here has come, as it says itself: it follows
-- another mirror. All that was committed before lsn is visible there.
CREATE TABLE tarn.follower_report (
    site        text PRIMARY KEY,
    lsn         pg_lsn NOT NULL,
    reported_at timestamptz NOT NULL DEFAULT clock_timestamp()
) WITH (fillfactor = 50);

INSERT INTO tarn.migration (version, name) VALUES (4, 'position');
