-- What a site remembers of a change of roles (schema/api/54_promote.sql). All of it is local.

-- The bucket that the volume was written to before this site became the primary: read from while
-- blocks are still missing in the one that is written to now. NULL: there is none.
ALTER TABLE tarn.local_site ADD COLUMN former_bucket text;

-- The journal of this site's promotions; the last row is the one that counts. A promotion that was
-- interrupted is gone on with, or undone, by what is written here.
CREATE TABLE tarn.promotion (
    id             int8 PRIMARY KEY,
    kind           text NOT NULL CHECK (kind IN ('planned', 'forced')),
    begun_at       timestamptz NOT NULL DEFAULT clock_timestamp(),
    -- The primary until then: its name, cluster, and its URL without a password.
    old_site       text NOT NULL,
    old_system     text NOT NULL,
    old_url        text,
    old_bucket     text,                 -- that it wrote to; NULL: the same as this site's
    has_fenced     bool NOT NULL DEFAULT false,
    has_published  bool NOT NULL DEFAULT false, -- the publication is ours to drop again
    slots          text[] NOT NULL DEFAULT '{}', -- sites whose slots are made here
    marker         int8,                 -- value of mark 'promote/NAME', after which nothing came
    marker_lsn     pg_lsn,               -- a position of the old primary that is behind the marker
    applied_lsn    pg_lsn,               -- how far the old primary's WAL has been applied here
    heartbeat_seq  int8,                 -- and the number of its last heartbeat that arrived
    epoch          int8,                 -- that began here
    switched_at    timestamptz,          -- from here on there is no way back
    ended_at       timestamptz
);

INSERT INTO tarn.migration (version, name) VALUES (5, 'promotion');
