-- The tables of a JuiceFS Community Edition volume (PostgreSQL engine, as client 1.4 makes them).
--
-- Nothing here is ours to change: stock clients compare these definitions with their own at every
-- read-write mount, and refuse to start over an index whose name they did not give. Names of
-- secondary indexes are mixed case and so quoted. Physical order of columns is that of a volume
-- made by a stock client.

CREATE TABLE public.jfs_setting (
    name  varchar(255) PRIMARY KEY,
    value text NOT NULL
);

CREATE TABLE public.jfs_counter (
    name  varchar(255) PRIMARY KEY,
    value int8 NOT NULL
);

-- Times are microseconds since the epoch; the *nsec columns hold the remaining 0-999 nanoseconds.
CREATE TABLE public.jfs_node (
    inode          int8 PRIMARY KEY,
    type           int4 NOT NULL,
    flags          int4 NOT NULL,
    mode           int4 NOT NULL,
    uid            int4 NOT NULL,
    gid            int4 NOT NULL,
    atime          int8 NOT NULL,
    mtime          int8 NOT NULL,
    ctime          int8 NOT NULL,
    atimensec      int4 NOT NULL DEFAULT 0,
    mtimensec      int4 NOT NULL DEFAULT 0,
    ctimensec      int4 NOT NULL DEFAULT 0,
    nlink          int4 NOT NULL,
    length         int8 NOT NULL,
    rdev           int4,
    parent         int8,
    access_acl_id  int4,
    default_acl_id int4,
    tier_id        int4
);

CREATE TABLE public.jfs_edge (
    id     bigserial PRIMARY KEY,
    parent int8 NOT NULL,
    name   bytea NOT NULL,
    inode  int8 NOT NULL,
    type   int4 NOT NULL
);
CREATE UNIQUE INDEX "UQE_jfs_edge_edge" ON public.jfs_edge (parent, name);
CREATE INDEX "IDX_jfs_edge_inode" ON public.jfs_edge (inode);

CREATE TABLE public.jfs_symlink (
    inode  int8 PRIMARY KEY,
    target bytea NOT NULL
);

CREATE TABLE public.jfs_xattr (
    id    bigserial PRIMARY KEY,
    inode int8 NOT NULL,
    name  varchar(255) NOT NULL,
    value bytea NOT NULL
);
CREATE UNIQUE INDEX "UQE_jfs_xattr_name" ON public.jfs_xattr (inode, name);

-- slices: 24-byte records in the order of their commits.
CREATE TABLE public.jfs_chunk (
    id     bigserial PRIMARY KEY,
    inode  int8 NOT NULL,
    indx   int4 NOT NULL,
    slices bytea NOT NULL
);
CREATE UNIQUE INDEX "UQE_jfs_chunk_chunk" ON public.jfs_chunk (inode, indx);

-- chunkid is the id of a slice; the name is historical.
CREATE TABLE public.jfs_chunk_ref (
    chunkid int8 PRIMARY KEY,
    size    int4 NOT NULL,
    refs    int4 NOT NULL
);
CREATE INDEX "IDX_jfs_chunk_ref_refs" ON public.jfs_chunk_ref (refs);

CREATE TABLE public.jfs_delslices (
    chunkid int8 PRIMARY KEY,
    deleted int8 NOT NULL,
    slices  bytea NOT NULL
);

CREATE TABLE public.jfs_delfile (
    inode  int8 PRIMARY KEY,
    length int8 NOT NULL,
    expire int8 NOT NULL
);

CREATE TABLE public.jfs_session2 (
    sid    int8 PRIMARY KEY,
    expire int8 NOT NULL,
    info   bytea
);

CREATE TABLE public.jfs_sustained (
    id    bigserial PRIMARY KEY,
    sid   int8 NOT NULL,
    inode int8 NOT NULL
);
CREATE UNIQUE INDEX "UQE_jfs_sustained_sustained" ON public.jfs_sustained (sid, inode);

CREATE TABLE public.jfs_flock (
    id    bigserial PRIMARY KEY,
    inode int8 NOT NULL,
    sid   int8 NOT NULL,
    owner int8 NOT NULL,
    ltype int4 NOT NULL
);
CREATE UNIQUE INDEX "UQE_jfs_flock_flock" ON public.jfs_flock (inode, sid, owner);

CREATE TABLE public.jfs_plock (
    id      bigserial PRIMARY KEY,
    inode   int8 NOT NULL,
    sid     int8 NOT NULL,
    owner   int8 NOT NULL,
    records bytea NOT NULL
);
CREATE UNIQUE INDEX "UQE_jfs_plock_plock" ON public.jfs_plock (inode, sid, owner);

CREATE TABLE public.jfs_dir_stats (
    inode       int8 PRIMARY KEY,
    data_length int8 NOT NULL,
    used_space  int8 NOT NULL,
    used_inodes int8 NOT NULL
);

CREATE TABLE public.jfs_dir_quota (
    inode       int8 PRIMARY KEY,
    max_space   int8 NOT NULL,
    max_inodes  int8 NOT NULL,
    used_space  int8 NOT NULL,
    used_inodes int8 NOT NULL
);

CREATE TABLE public.jfs_user_group_quota (
    qtype       int4 NOT NULL,
    qkey        int8 NOT NULL,
    max_space   int8 NOT NULL,
    max_inodes  int8 NOT NULL,
    used_space  int8 NOT NULL,
    used_inodes int8 NOT NULL,
    PRIMARY KEY (qtype, qkey)
);

CREATE TABLE public.jfs_detached_node (
    inode int8 PRIMARY KEY,
    added int8 NOT NULL
);

CREATE TABLE public.jfs_acl (
    id           serial PRIMARY KEY,
    owner        int4,
    "group"      int4,
    mask         int4,
    other        int4,
    named_users  bytea,
    named_groups bytea
);

CREATE TABLE public.jfs_delegation_token (
    id    serial PRIMARY KEY,
    token bytea
);

CREATE TABLE public.jfs_change_log (
    id    bigserial PRIMARY KEY,
    entry text NOT NULL
);
