-- What `tarn load` fills the tables of a new volume with: functions of this session alone. Everything
-- is one transaction: a load that ends in the middle leaves the database as it was.

-- Why nothing can be loaded here, or NULL.
CREATE OR REPLACE FUNCTION pg_temp.load_obstacle() RETURNS text
LANGUAGE plpgsql AS $$
DECLARE
    _table text := (SELECT n.nspname || '.' || c.relname
                      FROM pg_catalog.pg_class AS c
                           JOIN pg_catalog.pg_namespace AS n ON n.oid = c.relnamespace
                     WHERE c.relkind IN ('r', 'p') AND n.nspname !~ '^(pg_|information_schema$)'
                     ORDER BY 1 LIMIT 1);
BEGIN
    RETURN 'the database is not empty: it has a table ' || _table;
END $$;

-- Where rules of ACLs get their numbers, each rule one.
CREATE OR REPLACE FUNCTION pg_temp.load_begin() RETURNS void
LANGUAGE plpgsql AS $$
BEGIN
    CREATE TEMP TABLE load_acl (
        rule bytea PRIMARY KEY,
        id   int4 NOT NULL DEFAULT nextval('public.jfs_acl_id_seq')
    ) ON COMMIT DROP;
    CREATE TEMP TABLE load_quota (
        qtype int4, qkey int8, max_space int8, max_inodes int8
    ) ON COMMIT DROP;
END $$;

-- An unsigned 32-bit number in a signed column.
CREATE OR REPLACE FUNCTION pg_temp.signed(_n int8) RETURNS int4
LANGUAGE sql IMMUTABLE AS $$
    SELECT CASE WHEN _n > 2147483647 THEN _n - 4294967296 ELSE _n END::int4
$$;

-- Nodes, sixteen numbers each: inode, type, flags, mode, uid, gid, atime, mtime, ctime, the
-- nanoseconds of those, length, rdev, parent, tier. An empty rule is none. A file
-- with several names comes with each; links are counted at the end.
CREATE OR REPLACE FUNCTION pg_temp.load_nodes(_n int8[], _access bytea[], _default bytea[])
RETURNS void
LANGUAGE plpgsql AS $$
BEGIN
    INSERT INTO pg_temp.load_acl (rule)
    SELECT DISTINCT r.rule FROM unnest(_access || _default) AS r (rule) WHERE r.rule <> ''
        ON CONFLICT DO NOTHING;
    INSERT INTO public.jfs_node
           (inode, type, flags, mode, uid, gid, atime, mtime, ctime, atimensec, mtimensec,
            ctimensec, nlink, length, rdev, parent, access_acl_id, default_acl_id, tier_id)
    SELECT _n[i + 1], _n[i + 2], _n[i + 3], _n[i + 4], pg_temp.signed(_n[i + 5]),
           pg_temp.signed(_n[i + 6]), _n[i + 7], _n[i + 8], _n[i + 9], _n[i + 10], _n[i + 11],
           _n[i + 12], CASE _n[i + 2] WHEN 2 THEN 2 ELSE 1 END, _n[i + 13],
           pg_temp.signed(_n[i + 14]), _n[i + 15], coalesce(a.id, 0), coalesce(d.id, 0), _n[i + 16]
      FROM unnest(_access, _default) WITH ORDINALITY AS x (access, defaults, at)
           CROSS JOIN LATERAL (SELECT (x.at::int4 - 1) * 16 AS i) AS place
           LEFT JOIN pg_temp.load_acl AS a ON a.rule = x.access
           LEFT JOIN pg_temp.load_acl AS d ON d.rule = x.defaults
        ON CONFLICT (inode) DO NOTHING;
END $$;

-- Names, three numbers each: parent, inode, type.
CREATE OR REPLACE FUNCTION pg_temp.load_edges(_n int8[], _names bytea[]) RETURNS void
LANGUAGE plpgsql AS $$
BEGIN
    INSERT INTO public.jfs_edge (parent, name, inode, type)
    SELECT _n[3 * i - 2], x.name, _n[3 * i - 1], _n[3 * i]
      FROM unnest(_names) WITH ORDINALITY AS x (name, at)
           CROSS JOIN LATERAL (SELECT x.at::int4 AS i) AS place;
END $$;

-- Records of chunks, two numbers each: inode, index. A file with several names brings them with each.
CREATE OR REPLACE FUNCTION pg_temp.load_chunks(_n int8[], _records bytea[]) RETURNS void
LANGUAGE plpgsql AS $$
BEGIN
    INSERT INTO public.jfs_chunk (inode, indx, slices)
    SELECT _n[2 * i - 1], _n[2 * i], x.records
      FROM unnest(_records) WITH ORDINALITY AS x (records, at)
           CROSS JOIN LATERAL (SELECT x.at::int4 AS i) AS place
        ON CONFLICT (inode, indx) DO NOTHING;
END $$;

CREATE OR REPLACE FUNCTION pg_temp.load_symlinks(_inodes int8[], _targets bytea[]) RETURNS void
LANGUAGE plpgsql AS $$
BEGIN
    INSERT INTO public.jfs_symlink (inode, target)
    SELECT * FROM unnest(_inodes, _targets) ON CONFLICT DO NOTHING;
END $$;

CREATE OR REPLACE FUNCTION pg_temp.load_xattrs(_inodes int8[], _names bytea[], _values bytea[])
RETURNS void
LANGUAGE plpgsql AS $$
BEGIN
    INSERT INTO public.jfs_xattr (inode, name, value)
    SELECT x.inode, convert_from(x.name, 'UTF8'), x.value
      FROM unnest(_inodes, _names, _values) AS x (inode, name, value)
        ON CONFLICT (inode, name) DO NOTHING;
END $$;

-- Files whose data are to be deleted, three numbers each: inode, length, time.
CREATE OR REPLACE FUNCTION pg_temp.load_delfiles(_n int8[]) RETURNS void
LANGUAGE plpgsql AS $$
BEGIN
    INSERT INTO public.jfs_delfile (inode, length, expire)
    SELECT _n[i], _n[i + 1], _n[i + 2] FROM generate_series(1, cardinality(_n) - 2, 3) AS i;
END $$;

-- Limits, four numbers each: 0 for a directory, 1 a user, 2 a group; its key, space, inodes.
CREATE OR REPLACE FUNCTION pg_temp.load_quotas(_n int8[]) RETURNS void
LANGUAGE plpgsql AS $$
BEGIN
    INSERT INTO pg_temp.load_quota
    SELECT _n[i], _n[i + 1], _n[i + 2], _n[i + 3]
      FROM generate_series(1, cardinality(_n) - 3, 4) AS i;
END $$;

CREATE OR REPLACE FUNCTION pg_temp.load_space(_type int4, _length int8) RETURNS int8
LANGUAGE sql IMMUTABLE AS $$
    SELECT CASE WHEN _type = 1 AND _length > 0 THEN (_length + 4095) / 4096 * 4096 ELSE 4096 END
$$;

CREATE OR REPLACE FUNCTION pg_temp.load_be(_bytes bytea, _at int4, _size int4) RETURNS int8
LANGUAGE sql IMMUTABLE AS $$
    SELECT ('x' || lpad(encode(substring(_bytes FROM _at + 1 FOR _size), 'hex'), 16, '0'))
           ::bit(64)::int8
$$;

-- The rules that nodes refer to, out of the form of format §11.
CREATE OR REPLACE FUNCTION pg_temp.load_rules() RETURNS void
LANGUAGE plpgsql AS $$
BEGIN
    INSERT INTO public.jfs_acl (id, owner, "group", mask, other, named_users, named_groups)
    SELECT a.id, pg_temp.load_be(a.rule, 0, 2), pg_temp.load_be(a.rule, 2, 2),
           pg_temp.load_be(a.rule, 4, 2), pg_temp.load_be(a.rule, 6, 2),
           substring(a.rule FROM 13 FOR u.size), substring(a.rule FROM 17 + u.size)
      FROM pg_temp.load_acl AS a
           CROSS JOIN LATERAL (SELECT (pg_temp.load_be(a.rule, 8, 4) * 6)::int4 AS size) AS u
     ORDER BY a.id;
END $$;

-- Links, references and statistics follow from what is there.
CREATE OR REPLACE FUNCTION pg_temp.load_links() RETURNS void
LANGUAGE plpgsql AS $$
BEGIN
    ANALYZE public.jfs_node, public.jfs_edge, public.jfs_chunk;
    UPDATE public.jfs_node AS n SET nlink = e.links, parent = 0
      FROM (SELECT inode, count(*) AS links FROM public.jfs_edge WHERE type <> 2
             GROUP BY inode HAVING count(*) > 1) AS e
     WHERE n.inode = e.inode;
    UPDATE public.jfs_node AS n SET nlink = 2 + e.links
      FROM (SELECT parent, count(*) AS links FROM public.jfs_edge WHERE type = 2
             GROUP BY parent) AS e
     WHERE n.inode = e.parent AND n.inode < 9223372032828243968;
    INSERT INTO public.jfs_chunk_ref (chunkid, size, refs)
    SELECT pg_temp.load_be(c.slices, i + 4, 8) AS id, pg_temp.load_be(c.slices, i + 12, 4), count(*)
      FROM public.jfs_chunk AS c, generate_series(0, octet_length(c.slices) - 24, 24) AS i
     WHERE substring(c.slices FROM i + 5 FOR 8) <> '\x0000000000000000'
     GROUP BY 1, 2;
    INSERT INTO public.jfs_dir_stats (inode, data_length, used_space, used_inodes)
    SELECT d.inode, coalesce(sum(n.length) FILTER (WHERE n.type = 1), 0),
           coalesce(sum(pg_temp.load_space(n.type, n.length)) FILTER (WHERE n.inode > 0), 0),
           count(n.inode)
      FROM public.jfs_node AS d
           LEFT JOIN public.jfs_edge AS e ON e.parent = d.inode
           LEFT JOIN public.jfs_node AS n ON n.inode = e.inode
     WHERE d.type = 2 AND d.inode <> 9223372032828243968
     GROUP BY d.inode;
END $$;

-- The next numbers are above all that were ever given: those of the dump, and those in it.
CREATE OR REPLACE FUNCTION pg_temp.load_counters(_counters jsonb) RETURNS void
LANGUAGE plpgsql AS $$
BEGIN
    INSERT INTO public.jfs_counter (name, value)
    SELECT 'nextInode', greatest(2, (_counters ->> 'nextInodes')::int8, (
               SELECT max(inode) + 1 FROM public.jfs_node WHERE inode < 9223372032828243968), (
               SELECT max(inode) + 1 FROM public.jfs_delfile))
     UNION ALL
    SELECT 'nextChunk', greatest(1, (_counters ->> 'nextChunk')::int8, (
               SELECT max(chunkid) + 1 FROM public.jfs_chunk_ref))
     UNION ALL
    SELECT 'nextSession', greatest(0, (_counters ->> 'nextSession')::int8)
     UNION ALL
    SELECT 'nextTrash', greatest(0, (_counters ->> 'nextTrash')::int8, (
               SELECT max(inode) - 9223372032828243968 FROM public.jfs_node
                WHERE inode > 9223372032828243968))
     UNION ALL
    SELECT 'nextCleanupSlices', 0
     UNION ALL
    SELECT 'usedSpace', coalesce(sum(pg_temp.load_space(type, length)), 0)
      FROM public.jfs_node WHERE inode NOT IN (1, 9223372032828243968)
     UNION ALL
    SELECT 'totalInodes', count(*)
      FROM public.jfs_node WHERE inode NOT IN (1, 9223372032828243968);
END $$;

-- Quotas of directories that are here, with what is below them.
CREATE OR REPLACE FUNCTION pg_temp.load_dir_quotas() RETURNS void
LANGUAGE plpgsql AS $$
BEGIN
    INSERT INTO public.jfs_dir_quota (inode, max_space, max_inodes, used_space, used_inodes)
    SELECT q.qkey, q.max_space, q.max_inodes, s.space, s.entries
      FROM pg_temp.load_quota AS q JOIN public.jfs_node AS d ON d.inode = q.qkey AND d.type = 2
           CROSS JOIN LATERAL
           (WITH RECURSIVE below (dir) AS (
                SELECT q.qkey
                UNION
                SELECT e.inode FROM below JOIN public.jfs_edge AS e ON e.parent = below.dir
                 WHERE e.type = 2)
            SELECT coalesce(sum(pg_temp.load_space(n.type, n.length)), 0) AS space,
                   count(*) AS entries
              FROM below JOIN public.jfs_edge AS e ON e.parent = below.dir
                         JOIN public.jfs_node AS n ON n.inode = e.inode) AS s
     WHERE q.qtype = 0;
END $$;

-- Users and groups: their limits, and what they have where the volume counts that.
CREATE OR REPLACE FUNCTION pg_temp.load_owner_quotas(_is_counting bool) RETURNS void
LANGUAGE plpgsql AS $$
BEGIN
    INSERT INTO public.jfs_user_group_quota
           (qtype, qkey, max_space, max_inodes, used_space, used_inodes)
    SELECT coalesce(q.qtype, o.qtype), coalesce(q.qkey, o.qkey), coalesce(q.max_space, -1),
           coalesce(q.max_inodes, -1), coalesce(o.space, 0), coalesce(o.inodes, 0)
      FROM (SELECT * FROM pg_temp.load_quota WHERE qtype <> 0) AS q
           FULL JOIN
           (SELECT t.qtype, CASE t.qtype WHEN 1 THEN n.uid ELSE n.gid END::int8 & 4294967295 AS qkey,
                   sum(pg_temp.load_space(n.type, n.length)) AS space, count(*) AS inodes
              FROM public.jfs_node AS n, generate_series(1, 2) AS t (qtype)
             WHERE _is_counting AND n.inode > 1 AND n.inode < 9223372032828243968
             GROUP BY 1, 2) AS o ON (o.qtype, o.qkey) = (q.qtype, q.qkey);
END $$;

-- What no dump of a volume can hold, or NULL: it would become a tree that nobody can walk.
CREATE OR REPLACE FUNCTION pg_temp.load_flaw() RETURNS text
LANGUAGE plpgsql AS $$
DECLARE
    _trash int8 := 9223372032828243968;
    _ino   int8;
BEGIN
    PERFORM FROM public.jfs_node WHERE inode = 1 AND type = 2;
    IF NOT FOUND THEN
        RETURN 'the dump has no root directory';
    END IF;
    SELECT e.inode INTO _ino FROM public.jfs_edge AS e JOIN public.jfs_node AS n ON n.inode = e.inode
     WHERE e.type <> n.type OR e.inode IN (1, _trash) LIMIT 1;
    IF FOUND THEN
        RETURN format('the dump says two things of inode %s', _ino);
    END IF;
    SELECT e.inode INTO _ino FROM public.jfs_edge AS e WHERE e.type = 2
     GROUP BY e.inode HAVING count(*) > 1 LIMIT 1;
    IF FOUND THEN
        RETURN format('directory %s stands in the dump twice', _ino);
    END IF;
    SELECT e.inode INTO _ino FROM public.jfs_edge AS e
     WHERE e.name IN ('\x2e', '\x2e2e') OR (e.inode > _trash) <> (e.parent = _trash) LIMIT 1;
    IF FOUND THEN
        RETURN format('inode %s stands in the dump where it cannot be', _ino);
    END IF;
    SELECT d.inode INTO _ino FROM public.jfs_delfile AS d
     WHERE d.inode <= 1 OR d.inode >= _trash LIMIT 1;
    IF FOUND THEN
        RETURN format('inode %s is no file that was removed, as the dump says', _ino);
    END IF;
    RETURN NULL;
END $$;

-- The end: what follows from the rows, the trash where there is to be one, and the format row.
CREATE OR REPLACE FUNCTION pg_temp.load_finish(_format text, _counters text)
RETURNS TABLE (problem text, nodes int8)
LANGUAGE plpgsql AS $$
DECLARE
    _now int8 := extract(epoch FROM clock_timestamp()) * 1000000;
BEGIN
    problem := pg_temp.load_flaw();
    IF problem IS NOT NULL THEN
        RETURN NEXT;
        RETURN;
    END IF;
    -- A damaged volume can list a file that lives; stock clients would delete its data.
    DELETE FROM public.jfs_delfile AS d
     WHERE EXISTS (SELECT FROM public.jfs_node AS n WHERE n.inode = d.inode);
    INSERT INTO public.jfs_node (inode, type, flags, mode, uid, gid, atime, mtime, ctime, nlink,
                                 length, rdev, parent, access_acl_id, default_acl_id, tier_id)
    SELECT 9223372032828243968, 2, 0, 365, 0, 0, _now, _now, _now, 2, 4096, 0, 1, 0, 0, 0
     WHERE (_format::jsonb ->> 'TrashDays')::int8 > 0 ON CONFLICT DO NOTHING;
    PERFORM pg_temp.load_rules();
    PERFORM pg_temp.load_links();
    PERFORM pg_temp.load_counters(_counters::jsonb);
    PERFORM pg_temp.load_dir_quotas();
    PERFORM pg_temp.load_owner_quotas(coalesce((_format::jsonb ->> 'UserGroupQuota')::bool, false));
    INSERT INTO public.jfs_setting (name, value) VALUES ('format', _format);
    nodes := (SELECT count(*) FROM public.jfs_node);
    RETURN NEXT;
END $$;
