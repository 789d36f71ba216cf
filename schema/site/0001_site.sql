-- Schema tarn: what Tarn keeps beside a volume's own tables. Version 1.
--
-- Two kinds of table, never mixed: those that travel to mirrors by the publication "tarn", and
-- those that are about this site alone. Every table has a primary key, so that it can travel.

CREATE SCHEMA IF NOT EXISTS tarn;

-- Versions of this file's kind that have been applied here. Local.
CREATE TABLE tarn.migration (
    version    int4 PRIMARY KEY,
    name       text NOT NULL,
    applied_at timestamptz NOT NULL DEFAULT now()
);

-- What every function about one inode answers. err is 0 or an errno; the attribute columns are
-- those of jfs_node with its NULLs read as 0 and its unsigned numbers widened. usage is what the
-- caller has to add to its pending accounting: {space, inodes} of the volume, then for each
-- directory touched {inode, length, space, inodes}.
CREATE TYPE tarn.reply AS (
    err         int4,
    ino         int8,
    type        int4,
    flags       int4,
    mode        int4,
    uid         int8,
    gid         int8,
    atime       int8,
    mtime       int8,
    ctime       int8,
    atimensec   int4,
    mtimensec   int4,
    ctimensec   int4,
    nlink       int4,
    length      int8,
    rdev        int8,
    parent      int8,
    access_acl  int4,
    default_acl int4,
    tier        int4,
    usage       int8[]
);

---------------------------------------------------------------------------------- what travels

-- One row for each site of the volume. epoch counts promotions and restores and is equal to the
-- epoch of the volume in the primary's row.
CREATE TABLE tarn.site (
    name              text PRIMARY KEY,
    role              text NOT NULL CHECK (role IN ('primary', 'mirror')),
    epoch             int8 NOT NULL,
    system_identifier text NOT NULL,
    joined_at         timestamptz NOT NULL DEFAULT now()
);

-- Written each second by the primary's agent. seq has no gaps within an epoch: a mirror that sees
-- one has lost rows. lsn is the primary's position when the row was written.
CREATE TABLE tarn.heartbeat (
    site  text PRIMARY KEY,
    epoch int8 NOT NULL,
    seq   int8 NOT NULL,
    at    timestamptz NOT NULL,
    lsn   pg_lsn NOT NULL
);

-- One row for each lane of a mount: the last operation that was carried out in it, and its answer.
-- The row is advanced in the transaction of the operation itself, which is what makes a repeated
-- request harmless.
CREATE TABLE tarn.slot (
    sid   int8 NOT NULL,
    lane  int4 NOT NULL,
    op    int8 NOT NULL,
    reply tarn.reply,
    PRIMARY KEY (sid, lane)
) WITH (fillfactor = 50);

-- Markers: a reader that sees value n has everything that was committed before n was written.
CREATE TABLE tarn.mark (
    name  text PRIMARY KEY,
    value int8 NOT NULL,
    at    timestamptz NOT NULL DEFAULT now()
);

-- CRC32C of every 256 KiB of a slice's plaintext, four bytes each, big-endian, in order.
CREATE TABLE tarn.block_sum (
    slice int8 PRIMARY KEY,
    size  int4 NOT NULL,
    sums  bytea NOT NULL
);
ALTER TABLE tarn.block_sum ALTER COLUMN sums SET STORAGE EXTERNAL;

CREATE TABLE tarn.token (
    id         int8 PRIMARY KEY,
    name       text NOT NULL,
    digest     bytea NOT NULL,
    scope      jsonb NOT NULL,
    expires_at timestamptz,
    revoked_at timestamptz
);

CREATE TABLE tarn.warm_rule (
    id      int8 PRIMARY KEY,
    pattern text NOT NULL,
    target  text NOT NULL,
    options jsonb NOT NULL DEFAULT '{}'
);

CREATE TABLE tarn.job (
    id       int8 PRIMARY KEY,
    name     text NOT NULL,
    schedule text NOT NULL,
    task     jsonb NOT NULL
);

-------------------------------------------------------------------------------- what is local

-- Exactly one row: what this database is. A mirror may be mounted once ready_at is set.
CREATE TABLE tarn.local_site (
    only_row      bool PRIMARY KEY DEFAULT true CHECK (only_row),
    name          text NOT NULL,
    role          text NOT NULL CHECK (role IN ('primary', 'mirror')),
    state         text NOT NULL,
    -- Object stores by URL (file:///dir/ …); NULL: as the volume's format row says.
    local_bucket  text,
    origin_bucket text,
    -- Of a mirror: the primary's URL without a password, and the subscription's name.
    primary_url   text,
    subscription  text,
    ready_at      timestamptz,
    detail        text
);

-- Copy mode: one row for each slice whose blocks here are not yet as the metadata wants them.
-- The trigger and the workers both upsert it; it is removed when the work is done.
CREATE TABLE tarn.slice_state (
    slice        int8 PRIMARY KEY,
    size         int4 NOT NULL,
    want         text NOT NULL CHECK (want IN ('copy', 'delete')),
    ordered_at   timestamptz NOT NULL DEFAULT now(),
    -- A worker owns the row while now() < leased_until; each lease has a fence of its own, and a
    -- worker whose fence is no longer the row's has lost it.
    leased_until timestamptz,
    fence        int8 NOT NULL DEFAULT 0,
    attempts     int4 NOT NULL DEFAULT 0,
    not_before   timestamptz NOT NULL DEFAULT now(),
    last_error   text
) WITH (fillfactor = 70);
CREATE INDEX slice_state_due ON tarn.slice_state (not_before);

-- Named positions of walks over existing rows: back-fill of history, audits.
CREATE TABLE tarn.cursor (
    name       text PRIMARY KEY,
    position   int8 NOT NULL,
    goal       int8,
    done_at    timestamptz,
    updated_at timestamptz NOT NULL DEFAULT now()
);

CREATE TABLE tarn.cache_member (
    name      text PRIMARY KEY,
    address   text NOT NULL,
    weight    int4 NOT NULL,
    seen_at   timestamptz NOT NULL
);

CREATE TABLE tarn.job_run (
    id          int8 PRIMARY KEY,
    job         int8 NOT NULL,
    started_at  timestamptz NOT NULL,
    ended_at    timestamptz,
    result      jsonb
);

CREATE TABLE tarn.rule_override (
    rule    int8 PRIMARY KEY,
    options jsonb NOT NULL
);

INSERT INTO tarn.migration (version, name) VALUES (1, 'site');
