-- What gc and fsck ask of a volume, and the repairs of fsck.
--
-- A volume may hold a billion rows, so everything is asked for in pages by key, and each page is
-- one statement: it sees the writers' transactions whole or not at all. What is counted lazily
-- (statistics, counters, quotas) may lag behind by the clients' seconds; the caller looks twice.
--
-- A check answers findings (kind, inode, key, have, want, detail), and a last row of kind 'next'
-- whose key is where the next page begins; NULL after the last. _only: these keys and no others.
--
-- The settings of the page functions pin the one good plan, a walk along an index that looks the
-- rest up row by row: a cached plan knows neither how large a table is nor how long the page, and
-- may otherwise read all of it for every page.
--
-- A repair locks what it mends, looks again under the lock and mends what is wrong then. It answers
-- whether it changed anything, so repeating it is harmless. None of them needs a session.

---------------------------------------------------------------------------------------- slices

-- The state a garbage collection starts from, in one snapshot: every slice id that is handed out
-- later is at or above next_chunk, and whoever may still commit a lower one has a session here, or
-- is the agent of this site, which compacts and has none: it is known by its lock.
CREATE FUNCTION tarn_1.gc_begin() RETURNS TABLE (next_chunk int8, sessions int8, mirrors int8)
LANGUAGE sql STABLE AS $$
    SELECT (SELECT c.value FROM public.jfs_counter c WHERE c.name = 'nextChunk'),
           (SELECT count(*) FROM public.jfs_session2)
           + (SELECT count(*) FROM pg_catalog.pg_locks k
               WHERE k.locktype = 'advisory' AND k.objsubid = 2 AND k.granted
                 AND k.classid::int8 = hashtext('tarn')::int8 & 4294967295 AND k.objid = 3
                 AND k.database = (SELECT d.oid FROM pg_catalog.pg_database d
                                    WHERE d.datname = current_database())),
           (SELECT count(*) FROM tarn.site s WHERE s.role = 'mirror')
$$;

-- Which of these slices the metadata knows. refs counts records of files and of the slices' trash.
CREATE FUNCTION tarn_1.gc_slices(_ids int8[]) RETURNS TABLE (slice int8, size int4, refs int4)
LANGUAGE plpgsql STABLE AS $$
BEGIN
    RETURN QUERY SELECT r.chunkid, r.size, r.refs
                   FROM public.jfs_chunk_ref r WHERE r.chunkid = ANY (_ids);
END $$;

-- What waits for deletion: files, slices that compaction replaced, slices without references,
-- halves of clones, entries of the trash.
CREATE FUNCTION tarn_1.gc_waiting()
RETURNS TABLE (delfiles int8, delfile_bytes int8, delslices int8, delslice_bytes int8,
               pending int8, pending_bytes int8, detached int8, trash int8)
LANGUAGE sql STABLE AS $$
    SELECT f.n, f.bytes, d.n, d.bytes, p.n, p.bytes,
           (SELECT count(*) FROM public.jfs_detached_node),
           (SELECT count(*) FROM public.jfs_edge e WHERE e.parent > tarn_1.trash())
      FROM (SELECT count(*) AS n, coalesce(sum(length), 0)::int8 AS bytes
              FROM public.jfs_delfile) f,
           (SELECT count(*) AS n,
                   coalesce(sum(tarn_1.be4(s.slices, i * 12 + 8)), 0)::int8 AS bytes
              FROM public.jfs_delslices s,
                   generate_series(0, octet_length(s.slices) / 12 - 1) AS i) d,
           (SELECT count(*) AS n, coalesce(sum(size), 0)::int8 AS bytes
              FROM public.jfs_chunk_ref WHERE refs <= 0) p
$$;

-- A page of the slices that compaction replaced and that wait for their day, twelve bytes each.
CREATE FUNCTION tarn_1.gc_delslices(_after int8, _limit int4)
RETURNS TABLE (id int8, slices bytea)
LANGUAGE plpgsql STABLE
SET enable_sort = off SET enable_seqscan = off SET enable_bitmapscan = off
SET enable_hashjoin = off SET enable_mergejoin = off SET jit = off AS $$
BEGIN
    RETURN QUERY SELECT d.chunkid, d.slices FROM public.jfs_delslices d
                  WHERE d.chunkid > _after ORDER BY d.chunkid LIMIT _limit;
END $$;

-- A page of chunk rows. has_node: the inode exists; is_deleted: it waits to be deleted.
CREATE FUNCTION tarn_1.check_chunks(_after int8, _limit int4, _only int8[])
RETURNS TABLE (id int8, inode int8, indx int4, slices bytea, has_node bool, is_deleted bool)
LANGUAGE plpgsql STABLE
SET enable_sort = off SET enable_seqscan = off SET enable_bitmapscan = off
SET enable_hashjoin = off SET enable_mergejoin = off SET jit = off AS $$
BEGIN
    IF _only IS NULL THEN
        RETURN QUERY
        SELECT c.id, c.inode, c.indx, c.slices, n.inode IS NOT NULL, d.inode IS NOT NULL
          FROM (SELECT * FROM public.jfs_chunk p WHERE p.id > _after ORDER BY p.id LIMIT _limit) c
               LEFT JOIN public.jfs_node n ON n.inode = c.inode
               LEFT JOIN public.jfs_delfile d ON d.inode = c.inode
         ORDER BY c.id;
    ELSE
        RETURN QUERY
        SELECT c.id, c.inode, c.indx, c.slices, n.inode IS NOT NULL, d.inode IS NOT NULL
          FROM public.jfs_chunk c
               LEFT JOIN public.jfs_node n ON n.inode = c.inode
               LEFT JOIN public.jfs_delfile d ON d.inode = c.inode
         WHERE c.inode = ANY (_only) AND c.id > _after ORDER BY c.id LIMIT _limit;
    END IF;
END $$;

-- A page of jfs_chunk_ref in [_after + 1, _before), with the sums where they are for this size.
CREATE FUNCTION tarn_1.check_slices(_after int8, _before int8, _limit int4, _with_sums bool)
RETURNS TABLE (slice int8, size int4, refs int4, sums bytea)
LANGUAGE plpgsql STABLE
SET enable_sort = off SET enable_seqscan = off SET enable_bitmapscan = off
SET enable_hashjoin = off SET enable_mergejoin = off SET jit = off AS $$
BEGIN
    RETURN QUERY
    SELECT r.chunkid, r.size, r.refs,
           CASE WHEN _with_sums THEN
               (SELECT b.sums FROM tarn.block_sum b
                 WHERE b.slice = r.chunkid AND b.size = r.size) END
      FROM public.jfs_chunk_ref r
     WHERE r.chunkid > _after AND r.chunkid < _before ORDER BY r.chunkid LIMIT _limit;
END $$;

-- How often these slices are named, counted over the whole volume in one snapshot. refs is NULL
-- where a slice has no row; named_size is what the records say, 0 where there are none.
CREATE FUNCTION tarn_1.count_refs(_ids int8[])
RETURNS TABLE (slice int8, size int4, refs int4, named int8, named_size int4)
LANGUAGE sql STABLE AS $$
    WITH named AS (
        SELECT tarn_1.be8(c.slices, i * 24 + 4) AS id, tarn_1.be4(c.slices, i * 24 + 12) AS size
          FROM public.jfs_chunk c, generate_series(0, octet_length(c.slices) / 24 - 1) AS i
         WHERE tarn_1.be8(c.slices, i * 24 + 4) = ANY (_ids)
        UNION ALL
        SELECT tarn_1.be8(d.slices, i * 12), tarn_1.be4(d.slices, i * 12 + 8)
          FROM public.jfs_delslices d, generate_series(0, octet_length(d.slices) / 12 - 1) AS i
         WHERE tarn_1.be8(d.slices, i * 12) = ANY (_ids)
    )
    SELECT w.id, r.size, r.refs, coalesce(n.n, 0), coalesce(n.size, 0)
      FROM (SELECT DISTINCT unnest(_ids) AS id) w
           LEFT JOIN public.jfs_chunk_ref r ON r.chunkid = w.id
           LEFT JOIN (SELECT n.id, count(*) AS n, max(n.size) AS size
                        FROM named n GROUP BY n.id) n ON n.id = w.id
$$;

-- Make refs what the records say. The rows are locked before the count: whoever names or drops a
-- slice meanwhile has to change its row, too, and does that relative to what we leave.
CREATE FUNCTION tarn_1.repair_refs(_ids int8[]) RETURNS TABLE (done bool)
LANGUAGE plpgsql AS $$
DECLARE
    _r record;
BEGIN
    done := false;
    PERFORM FROM public.jfs_chunk_ref WHERE chunkid = ANY (_ids) ORDER BY chunkid FOR UPDATE;
    FOR _r IN SELECT * FROM tarn_1.count_refs(_ids) LOOP
        IF _r.refs IS NULL AND _r.named > 0 THEN
            INSERT INTO public.jfs_chunk_ref (chunkid, size, refs)
            VALUES (_r.slice, _r.named_size, _r.named) ON CONFLICT DO NOTHING;
            done := done OR FOUND;
        ELSIF _r.refs <> _r.named AND (_r.refs > 0 OR _r.named > 0) THEN
            UPDATE public.jfs_chunk_ref SET refs = _r.named WHERE chunkid = _r.slice;
            done := true;
        END IF;
    END LOOP;
    RETURN NEXT;
END $$;

-- Sums of a slice that a stock client wrote, found by reading it.
CREATE FUNCTION tarn_1.repair_sums(_slice int8, _size int4, _sums bytea)
RETURNS TABLE (done bool)
LANGUAGE plpgsql AS $$
BEGIN
    INSERT INTO tarn.block_sum (slice, size, sums)
    SELECT r.chunkid, r.size, _sums FROM public.jfs_chunk_ref r
     WHERE r.chunkid = _slice AND r.size = _size
        ON CONFLICT (slice) DO NOTHING;
    done := FOUND;
    RETURN NEXT;
END $$;

-- Where the log of this database stands, and which mirrors have not confirmed that they are there.
CREATE FUNCTION tarn_1.gc_position() RETURNS TABLE (lsn text)
LANGUAGE sql AS $$ SELECT pg_current_wal_lsn()::text $$;

-- Those that have been silent for longer than deletions wait (70_upkeep.sql) do not count.
CREATE FUNCTION tarn_1.gc_mirrors_behind(_lsn text) RETURNS TABLE (site text)
LANGUAGE plpgsql AS $$
BEGIN
    PERFORM tarn_1.followers_look();
    RETURN QUERY
    SELECT m.name
      FROM tarn.site m LEFT JOIN tarn_1.slots() s ON s.site = m.name
     WHERE m.role = 'mirror'
       AND (s.confirmed_lsn IS NULL OR s.confirmed_lsn::pg_lsn < _lsn::pg_lsn)
       AND NOT EXISTS (SELECT FROM tarn_1.followers() f WHERE f.site = m.name AND NOT f.is_awaited)
     ORDER BY m.name;
END $$;

--------------------------------------------------------------------------------------- findings

CREATE FUNCTION tarn_1.check_nodes(_after int8, _limit int4, _only int8[])
RETURNS TABLE (kind text, ino int8, key int8, have int8, want int8, detail text)
LANGUAGE plpgsql STABLE
SET enable_sort = off SET enable_seqscan = off SET enable_bitmapscan = off
SET enable_hashjoin = off SET enable_mergejoin = off SET jit = off AS $$
DECLARE
    _page int8[] := coalesce(_only, ARRAY(SELECT n.inode FROM public.jfs_node n
                                           WHERE n.inode > _after ORDER BY n.inode LIMIT _limit));
BEGIN
    RETURN QUERY
    WITH node AS (
        SELECT n.inode, n.type, n.nlink, coalesce(n.parent, 0) AS parent,
               coalesce(n.access_acl_id, 0) AS access_acl,
               coalesce(n.default_acl_id, 0) AS default_acl,
               e.names, e.one_parent, e.is_there, d.dirs,
               -- what needs no name: the two roots, what is open, what is being cloned
               n.inode IN (1, tarn_1.trash())
               OR EXISTS (SELECT FROM public.jfs_sustained s WHERE s.inode = n.inode)
               OR EXISTS (SELECT FROM public.jfs_detached_node s WHERE s.inode = n.inode)
               AS is_held
          FROM public.jfs_node n
               CROSS JOIN LATERAL (
                   SELECT count(*) AS names, min(e.parent) AS one_parent,
                          coalesce(bool_or(e.parent = n.parent), false) AS is_there
                     FROM public.jfs_edge e WHERE e.inode = n.inode) e
               CROSS JOIN LATERAL (
                   SELECT count(*) AS dirs FROM public.jfs_edge c
                    WHERE n.type = 2 AND c.parent = n.inode AND c.type = 2) d
         WHERE n.inode = ANY (_page)
    )
    SELECT 'orphan', n.inode, 0::int8, 0::int8, 1::int8, NULL::text
      FROM node n WHERE n.names = 0 AND NOT n.is_held
    UNION ALL
    SELECT 'names', n.inode, 0, n.names, 1, NULL
      FROM node n WHERE n.type = 2 AND n.names > 1
    UNION ALL
    SELECT 'nlink', n.inode, 0, n.nlink, CASE n.type WHEN 2 THEN 2 + n.dirs ELSE n.names END, NULL
      FROM node n
     WHERE n.inode < tarn_1.trash() AND (n.names > 0 OR n.inode = 1)
       AND n.nlink <> CASE n.type WHEN 2 THEN 2 + n.dirs ELSE n.names END
    UNION ALL
    SELECT 'parent', n.inode, 0, n.parent,
           CASE WHEN n.inode = 1 THEN 1 WHEN n.names > 1 THEN 0 ELSE n.one_parent END, NULL
      FROM node n
     WHERE CASE WHEN n.inode = 1 THEN n.parent <> 1
                WHEN n.names = 0 THEN false
                WHEN n.type = 2 THEN NOT n.is_there
                ELSE n.parent > 0 AND (n.names > 1 OR NOT n.is_there) END
    UNION ALL
    SELECT 'target', n.inode, 0, 0, 1, NULL
      FROM node n
     WHERE n.type = 3
       AND NOT EXISTS (SELECT FROM public.jfs_symlink s WHERE s.inode = n.inode)
    UNION ALL
    SELECT 'acl', n.inode, a.which, a.id, 0, NULL
      FROM node n, LATERAL (VALUES (1::int8, n.access_acl), (2, n.default_acl)) AS a (which, id)
     WHERE a.id > 0 AND NOT EXISTS (SELECT FROM public.jfs_acl l WHERE l.id = a.id);
    kind := 'next';
    key := CASE WHEN _only IS NULL AND cardinality(_page) = _limit THEN _page[_limit] END;
    RETURN NEXT;
END $$;

-- Names. The key is the edge's id.
CREATE FUNCTION tarn_1.check_edges(_after int8, _limit int4, _only int8[])
RETURNS TABLE (kind text, ino int8, key int8, have int8, want int8, detail text)
LANGUAGE plpgsql STABLE
SET enable_sort = off SET enable_seqscan = off SET enable_bitmapscan = off
SET enable_hashjoin = off SET enable_mergejoin = off SET jit = off AS $$
DECLARE
    _page int8[] := coalesce(_only, ARRAY(SELECT e.id FROM public.jfs_edge e
                                           WHERE e.id > _after ORDER BY e.id LIMIT _limit));
BEGIN
    RETURN QUERY
    WITH edge AS (
        SELECT e.id, e.parent, e.inode, e.type, encode(e.name, 'escape') AS name, n.type AS node
          FROM public.jfs_edge e LEFT JOIN public.jfs_node n ON n.inode = e.inode
         WHERE e.id = ANY (_page)
    )
    SELECT 'entry', e.inode, e.id, e.parent, e.type::int8, e.name
      FROM edge e WHERE e.node IS NULL
    UNION ALL
    SELECT 'type', e.inode, e.id, e.type::int8, e.node::int8, e.name
      FROM edge e WHERE e.node <> e.type
    UNION ALL
    SELECT 'lost', e.inode, e.id, e.parent, 0::int8, e.name
      FROM edge e
     WHERE e.parent NOT IN (1, tarn_1.trash())
       AND NOT EXISTS (SELECT FROM public.jfs_node p WHERE p.inode = e.parent AND p.type = 2);
    kind := 'next';
    key := CASE WHEN _only IS NULL AND cardinality(_page) = _limit THEN _page[_limit] END;
    RETURN NEXT;
END $$;

-- A page of a directory for whoever walks a tree: every name with its edge, whole or broken.
CREATE FUNCTION tarn_1.check_children(_dir int8, _after bytea, _limit int4)
RETURNS TABLE (id int8, ino int8, type int4, name bytea)
LANGUAGE plpgsql STABLE
SET enable_sort = off SET enable_seqscan = off SET enable_bitmapscan = off
SET enable_hashjoin = off SET enable_mergejoin = off SET jit = off AS $$
BEGIN
    RETURN QUERY SELECT e.id, e.inode, e.type, e.name FROM public.jfs_edge e
                  WHERE e.parent = _dir AND e.name > _after ORDER BY e.name LIMIT _limit;
END $$;

-- Directories that are their own ancestors: two stock clients that move directories into each
-- other make such circles, and nothing below them can be reached. UNION makes the walk end.
CREATE FUNCTION tarn_1.check_cycles(_after int8, _limit int4, _only int8[])
RETURNS TABLE (kind text, ino int8, key int8, have int8, want int8, detail text)
LANGUAGE plpgsql STABLE
SET enable_sort = off SET enable_seqscan = off SET enable_bitmapscan = off SET jit = off AS $$
DECLARE
    _page int8[] := coalesce(_only, ARRAY(SELECT n.inode FROM public.jfs_node n
                                           WHERE n.inode > _after ORDER BY n.inode LIMIT _limit));
BEGIN
    RETURN QUERY
    WITH RECURSIVE up (origin, at) AS (
        SELECT n.inode, n.inode FROM public.jfs_node n WHERE n.inode = ANY (_page) AND n.type = 2
        UNION
        SELECT u.origin, e.parent FROM up u JOIN public.jfs_edge e ON e.inode = u.at
         WHERE u.at > 1 AND u.at < tarn_1.trash()
    )
    SELECT 'cycle', u.origin, e.id, e.parent, 0::int8, encode(e.name, 'escape')
      FROM up u JOIN public.jfs_edge e ON e.inode = u.origin
     WHERE u.at = e.parent
       AND NOT EXISTS (SELECT FROM up r
                        WHERE r.origin = u.origin AND (r.at = 1 OR r.at >= tarn_1.trash()))
       AND EXISTS (SELECT FROM up a JOIN public.jfs_edge b ON b.inode = a.at
                    WHERE a.origin = u.origin AND b.parent = u.origin);
    kind := 'next';
    key := CASE WHEN _only IS NULL AND cardinality(_page) = _limit THEN _page[_limit] END;
    RETURN NEXT;
END $$;

-- Extended attributes without an inode. The key is the row's id.
CREATE FUNCTION tarn_1.check_xattrs(_after int8, _limit int4, _only int8[])
RETURNS TABLE (kind text, ino int8, key int8, have int8, want int8, detail text)
LANGUAGE plpgsql STABLE
SET enable_sort = off SET enable_seqscan = off SET enable_bitmapscan = off
SET enable_hashjoin = off SET enable_mergejoin = off SET jit = off AS $$
DECLARE
    _page int8[] := coalesce(_only, ARRAY(SELECT x.id FROM public.jfs_xattr x
                                           WHERE x.id > _after ORDER BY x.id LIMIT _limit));
BEGIN
    RETURN QUERY
    SELECT 'xattr', x.inode, x.id, 0::int8, 0::int8, x.name::text
      FROM public.jfs_xattr x
     WHERE x.id = ANY (_page)
       AND NOT EXISTS (SELECT FROM public.jfs_node n WHERE n.inode = x.inode);
    kind := 'next';
    key := CASE WHEN _only IS NULL AND cardinality(_page) = _limit THEN _page[_limit] END;
    RETURN NEXT;
END $$;

CREATE FUNCTION tarn_1.check_symlinks(_after int8, _limit int4, _only int8[])
RETURNS TABLE (kind text, ino int8, key int8, have int8, want int8, detail text)
LANGUAGE plpgsql STABLE
SET enable_sort = off SET enable_seqscan = off SET enable_bitmapscan = off
SET enable_hashjoin = off SET enable_mergejoin = off SET jit = off AS $$
DECLARE
    _page int8[] := coalesce(_only, ARRAY(SELECT s.inode FROM public.jfs_symlink s
                                           WHERE s.inode > _after ORDER BY s.inode LIMIT _limit));
BEGIN
    RETURN QUERY
    SELECT 'symlink', s.inode, 0::int8, 0::int8, 0::int8, NULL::text
      FROM public.jfs_symlink s
     WHERE s.inode = ANY (_page)
       AND NOT EXISTS (SELECT FROM public.jfs_node n WHERE n.inode = s.inode);
    kind := 'next';
    key := CASE WHEN _only IS NULL AND cardinality(_page) = _limit THEN _page[_limit] END;
    RETURN NEXT;
END $$;

-- What the children of a directory add up to, and when one of them or itself changed last.
CREATE FUNCTION tarn_1.children_sum(_dir int8, OUT length int8, OUT space int8, OUT entries int8,
                                    OUT newest int8)
LANGUAGE plpgsql STABLE AS $$
BEGIN
    SELECT coalesce(sum(n.length) FILTER (WHERE n.type = 1), 0),
           coalesce(sum(CASE n.type WHEN 1 THEN tarn_1.space(n.length) ELSE 4096 END), 0), count(*),
           greatest(max(n.ctime), (SELECT d.ctime FROM public.jfs_node d WHERE d.inode = _dir))
      INTO length, space, entries, newest
      FROM public.jfs_edge e JOIN public.jfs_node n ON n.inode = e.inode WHERE e.parent = _dir;
END $$;

-- Accounts that clients bring up to date lazily. stamp is the time of the last change of anything
-- that is counted: an account that differs by the same while its stamp stands still is wrong, and
-- not merely late.

-- Directory statistics: key 1 length, 2 space, 3 entries. A directory without a row is no finding:
-- clients count it when they need it; nor is one that was thrown away, which has lost its row.
CREATE FUNCTION tarn_1.check_stats(_after int8, _limit int4, _only int8[])
RETURNS TABLE (kind text, ino int8, key int8, have int8, want int8, detail text, stamp int8)
LANGUAGE plpgsql STABLE
SET enable_sort = off SET enable_seqscan = off SET enable_bitmapscan = off
SET enable_hashjoin = off SET enable_mergejoin = off SET jit = off AS $$
DECLARE
    _page int8[] := coalesce(_only, ARRAY(SELECT s.inode FROM public.jfs_dir_stats s
                                           WHERE s.inode > _after ORDER BY s.inode LIMIT _limit));
BEGIN
    IF (SELECT (s.value::jsonb ->> 'DirStats')::bool FROM public.jfs_setting s
         WHERE s.name = 'format') THEN
        RETURN QUERY
        SELECT 'stats', s.inode, v.which, v.has, v.should,
               (ARRAY['length', 'space', 'entries'])[v.which], w.newest
          FROM public.jfs_dir_stats s CROSS JOIN LATERAL tarn_1.children_sum(s.inode) w,
               LATERAL (VALUES (1::int8, s.data_length, w.length), (2, s.used_space, w.space),
                               (3, s.used_inodes, w.entries)) AS v (which, has, should)
         WHERE s.inode = ANY (_page) AND v.has <> v.should
           AND EXISTS (SELECT FROM public.jfs_node n
                        WHERE n.inode = s.inode AND n.type = 2 AND n.parent <= tarn_1.trash());
    END IF;
    kind := 'next';
    key := CASE WHEN _only IS NULL AND cardinality(_page) = _limit THEN _page[_limit] END;
    RETURN NEXT;
END $$;

-- The counters of the volume: key 1 inodes, 2 space. Neither root counts.
CREATE FUNCTION tarn_1.check_usage(_after int8, _limit int4, _only int8[])
RETURNS TABLE (kind text, ino int8, key int8, have int8, want int8, detail text, stamp int8)
LANGUAGE sql STABLE AS $$
    WITH total AS (
        SELECT count(*) AS inodes,
               coalesce(sum(CASE n.type WHEN 1 THEN tarn_1.space(n.length) ELSE 4096 END),
                        0)::int8 AS space,
               max(n.ctime) AS newest
          FROM public.jfs_node n WHERE n.inode NOT IN (1, tarn_1.trash())
    )
    SELECT 'usage', 0::int8, v.which, coalesce(c.value, 0), v.should, v.name,
           t.newest
      FROM total t,
           LATERAL (VALUES (1::int8, 'totalInodes', t.inodes), (2, 'usedSpace', t.space))
               AS v (which, name, should)
           LEFT JOIN public.jfs_counter c ON c.name = v.name
     WHERE coalesce(c.value, 0) <> v.should
    UNION ALL
    SELECT 'next', NULL, NULL, NULL, NULL, NULL, NULL
$$;

-- When anything below a directory, or itself, changed last.
CREATE FUNCTION tarn_1.tree_newest(_dir int8) RETURNS int8
LANGUAGE plpgsql STABLE AS $$
BEGIN
    RETURN (WITH RECURSIVE below (dir) AS (
                SELECT _dir
                UNION
                SELECT e.inode FROM below JOIN public.jfs_edge e ON e.parent = below.dir
                 WHERE e.type = 2
            )
            SELECT greatest(max(n.ctime), (SELECT d.ctime FROM public.jfs_node d
                                            WHERE d.inode = _dir))
              FROM below JOIN public.jfs_edge e ON e.parent = below.dir
                         JOIN public.jfs_node n ON n.inode = e.inode);
END $$;

-- Directory quotas: key 1 space, 2 inodes.
CREATE FUNCTION tarn_1.check_quotas(_after int8, _limit int4, _only int8[])
RETURNS TABLE (kind text, ino int8, key int8, have int8, want int8, detail text, stamp int8)
LANGUAGE plpgsql STABLE
SET enable_sort = off SET enable_seqscan = off SET enable_bitmapscan = off
SET enable_hashjoin = off SET enable_mergejoin = off SET jit = off AS $$
DECLARE
    _page int8[] := coalesce(_only, ARRAY(SELECT q.inode FROM public.jfs_dir_quota q
                                           WHERE q.inode > _after ORDER BY q.inode LIMIT _limit));
BEGIN
    RETURN QUERY
    SELECT 'quota', q.inode, v.which, v.has, v.should, (ARRAY['space', 'inodes'])[v.which],
           tarn_1.tree_newest(q.inode)
      FROM public.jfs_dir_quota q CROSS JOIN LATERAL tarn_1.tree_size(q.inode) w,
           LATERAL (VALUES (1::int8, q.used_space, w.space), (2, q.used_inodes, w.entries))
               AS v (which, has, should)
     WHERE q.inode = ANY (_page) AND v.has <> v.should;
    kind := 'next';
    key := CASE WHEN _only IS NULL AND cardinality(_page) = _limit THEN _page[_limit] END;
    RETURN NEXT;
END $$;

---------------------------------------------------------------------------------------- repairs

-- The directory for what has lost its place: /.tarn-lost, for root alone.
CREATE FUNCTION tarn_1.lost_dir() RETURNS int8
LANGUAGE plpgsql AS $$
DECLARE
    _now int8 := tarn_1.clock_us();
    _ino int8 := tarn_1.child(1, '\x2e7461726e2d6c6f7374');
BEGIN
    IF _ino IS NOT NULL THEN
        RETURN _ino;
    END IF;
    UPDATE public.jfs_counter SET value = value + 1
     WHERE name = 'nextInode' RETURNING value - 1 INTO _ino;
    INSERT INTO public.jfs_edge (parent, name, inode, type)
    VALUES (1, '\x2e7461726e2d6c6f7374', _ino, 2) ON CONFLICT (parent, name) DO NOTHING;
    IF NOT FOUND THEN
        RETURN tarn_1.child(1, '\x2e7461726e2d6c6f7374');
    END IF;
    INSERT INTO public.jfs_node (inode, type, flags, mode, uid, gid, atime, mtime, ctime,
                                 atimensec, mtimensec, ctimensec, nlink, length, rdev, parent,
                                 access_acl_id, default_acl_id, tier_id)
    VALUES (_ino, 2, 0, 448, 0, 0, _now, _now, _now, 0, 0, 0, 2, 4096, 0, 1, 0, 0, 0);
    INSERT INTO public.jfs_dir_stats (inode, data_length, used_space, used_inodes)
    VALUES (_ino, 0, 0, 0) ON CONFLICT DO NOTHING;
    UPDATE public.jfs_node SET nlink = nlink + 1, mtime = _now, ctime = _now WHERE inode = 1;
    PERFORM tarn_1.count_dirs(ARRAY[4096, 1, 1, 0, 4096, 1]);
    PERFORM tarn_1.count_volume(4096, 1);
    RETURN _ino;
END $$;

-- Nlink, parent and ACLs of a node, from its edges as they are under its lock.
CREATE FUNCTION tarn_1.repair_node(_ino int8) RETURNS TABLE (done bool)
LANGUAGE plpgsql AS $$
DECLARE
    _f record;
BEGIN
    done := false;
    PERFORM FROM public.jfs_node WHERE inode = _ino FOR UPDATE;
    FOR _f IN SELECT * FROM tarn_1.check_nodes(0, 0, ARRAY[_ino]) LOOP
        CASE _f.kind
        WHEN 'nlink' THEN
            UPDATE public.jfs_node SET nlink = _f.want WHERE inode = _ino;
        WHEN 'parent' THEN
            UPDATE public.jfs_node SET parent = _f.want WHERE inode = _ino;
        WHEN 'acl' THEN
            UPDATE public.jfs_node
               SET access_acl_id = CASE _f.key WHEN 1 THEN 0 ELSE access_acl_id END,
                   default_acl_id = CASE _f.key WHEN 2 THEN 0 ELSE default_acl_id END
             WHERE inode = _ino;
        ELSE
            CONTINUE;
        END CASE;
        UPDATE public.jfs_node SET ctime = tarn_1.next_ctime(ctime, tarn_1.clock_us()), ctimensec = 0
         WHERE inode = _ino;
        done := true;
    END LOOP;
    RETURN NEXT;
END $$;

-- Put an inode that nothing leads to, or one directory of a cycle, under /.tarn-lost by its number.
-- _edge: the id of the name that is given up, 0 when there is none.
CREATE FUNCTION tarn_1.repair_place(_ino int8, _edge int8) RETURNS TABLE (done bool)
LANGUAGE plpgsql AS $$
DECLARE
    _lost int8;
    _e    public.jfs_edge;
    _n    tarn.reply;
    _now  int8 := tarn_1.clock_us();
BEGIN
    done := false;
    -- As rename: one move of directories between parents at a time.
    PERFORM pg_catalog.pg_advisory_xact_lock(pg_catalog.hashtext('tarn'), 1);
    _lost := tarn_1.lost_dir();
    _n := tarn_1.lock_node(_ino);
    IF _n.err = 0 AND EXISTS (
           SELECT FROM tarn_1.check_nodes(0, 0, ARRAY[_ino]) f WHERE f.kind = 'orphan'
           UNION ALL
           SELECT FROM tarn_1.check_cycles(0, 0, ARRAY[_ino]) f WHERE f.kind = 'cycle'
           UNION ALL
           SELECT FROM tarn_1.check_edges(0, 0, ARRAY[_edge]) f WHERE f.kind = 'lost') THEN
        DELETE FROM public.jfs_edge WHERE id = _edge AND inode = _ino RETURNING * INTO _e;
        IF _n.type = 2 AND EXISTS (SELECT FROM public.jfs_edge WHERE inode = _ino) THEN
            RETURN QUERY SELECT true; -- it keeps the name that it has elsewhere
            RETURN;
        END IF;
        INSERT INTO public.jfs_edge (parent, name, inode, type)
        VALUES (_lost, convert_to(_ino::text, 'UTF8'), _ino, _n.type) ON CONFLICT DO NOTHING;
        done := FOUND;
    END IF;
    IF done THEN
        UPDATE public.jfs_node
           SET parent = CASE WHEN _n.type = 2 OR nlink < 2 THEN _lost ELSE parent END,
               nlink = CASE WHEN _n.type <> 2 AND nlink < 1 THEN 1 ELSE nlink END,
               ctime = tarn_1.next_ctime(ctime, _now), ctimensec = 0
         WHERE inode = _ino;
        IF _n.type = 2 THEN
            PERFORM tarn_1.touch_directory(_lost, 1, _now);
            IF _e.parent IS NOT NULL THEN
                PERFORM tarn_1.touch_directory(_e.parent, -1, _now);
            END IF;
        END IF;
        PERFORM tarn_1.count_dirs(
            ARRAY[0, 0]::int8[] || tarn_1.entry_usage(_lost, _n, 1)
            || CASE WHEN _e.parent IS NULL THEN '{}' ELSE tarn_1.entry_usage(_e.parent, _n, -1) END);
    END IF;
    RETURN NEXT;
END $$;

-- A name without an inode: a directory is made again, empty but for what still names it as its
-- parent; a file whose data are there gets an inode over them; of anything else only the name was
-- left, and it goes.
CREATE FUNCTION tarn_1.repair_entry(_ino int8, _edge int8) RETURNS TABLE (done bool)
LANGUAGE plpgsql AS $$
DECLARE
    _e      public.jfs_edge;
    _length int8;
    _now    int8 := tarn_1.clock_us();
BEGIN
    done := false;
    SELECT * INTO _e FROM public.jfs_edge WHERE id = _edge AND inode = _ino FOR UPDATE;
    IF NOT FOUND OR EXISTS (SELECT FROM public.jfs_node WHERE inode = _ino) THEN
        RETURN NEXT;
        RETURN;
    END IF;
    done := true;
    SELECT max(c.indx * 67108864::int8 + tarn_1.be4(c.slices, i * 24)
               + tarn_1.be4(c.slices, i * 24 + 20))
      INTO _length
      FROM public.jfs_chunk c, generate_series(0, octet_length(c.slices) / 24 - 1) AS i
     WHERE c.inode = _ino;
    IF _e.type = 2 OR _e.type = 1 AND _length > 0
       AND NOT EXISTS (SELECT FROM public.jfs_delfile WHERE inode = _ino) THEN
        INSERT INTO public.jfs_node (inode, type, flags, mode, uid, gid, atime, mtime, ctime,
                                     atimensec, mtimensec, ctimensec, nlink, length, rdev, parent,
                                     access_acl_id, default_acl_id, tier_id)
        VALUES (_ino, _e.type, 0, CASE _e.type WHEN 2 THEN 493 ELSE 384 END, 0, 0, _now, _now, _now,
                0, 0, 0,
                CASE _e.type
                    WHEN 2 THEN 2 + (SELECT count(*) FROM public.jfs_edge c
                                      WHERE c.parent = _ino AND c.type = 2)
                    ELSE (SELECT count(*) FROM public.jfs_edge c WHERE c.inode = _ino) END,
                CASE _e.type WHEN 2 THEN 4096 ELSE _length END, 0,
                CASE WHEN _e.type = 2 OR (SELECT count(*) FROM public.jfs_edge c
                                           WHERE c.inode = _ino) = 1 THEN _e.parent ELSE 0 END,
                0, 0, 0);
        IF _e.type = 2 THEN
            PERFORM tarn_1.recount(_ino);
        END IF;
    ELSE
        DELETE FROM public.jfs_edge WHERE id = _edge;
        IF _e.type = 2 THEN
            PERFORM tarn_1.touch_directory(_e.parent, -1, _now);
        END IF;
    END IF;
    RETURN NEXT;
END $$;

-- The type that a name repeats from its inode.
CREATE FUNCTION tarn_1.repair_type(_ino int8, _edge int8) RETURNS TABLE (done bool)
LANGUAGE plpgsql AS $$
BEGIN
    UPDATE public.jfs_edge e SET type = n.type FROM public.jfs_node n
     WHERE e.id = _edge AND n.inode = e.inode AND n.type <> e.type;
    done := FOUND;
    RETURN NEXT;
END $$;

-- Names of a directory that are not the one its parent pointer tells of, if that one is there.
CREATE FUNCTION tarn_1.repair_names(_ino int8) RETURNS TABLE (done bool)
LANGUAGE plpgsql AS $$
DECLARE
    _n tarn.reply;
    _e public.jfs_edge;
BEGIN
    done := false;
    PERFORM pg_catalog.pg_advisory_xact_lock(pg_catalog.hashtext('tarn'), 1);
    _n := tarn_1.lock_node(_ino);
    IF _n.type = 2 AND (SELECT count(*) FROM public.jfs_edge
                         WHERE inode = _ino AND parent = _n.parent) = 1 THEN
        FOR _e IN DELETE FROM public.jfs_edge WHERE inode = _ino AND parent <> _n.parent
                  RETURNING * LOOP
            PERFORM tarn_1.touch_directory(_e.parent, -1, tarn_1.clock_us());
            PERFORM tarn_1.count_dirs(ARRAY[0, 0]::int8[] || tarn_1.entry_usage(_e.parent, _n, -1));
            done := true;
        END LOOP;
    END IF;
    RETURN NEXT;
END $$;

CREATE FUNCTION tarn_1.repair_xattr(_ino int8, _id int8) RETURNS TABLE (done bool)
LANGUAGE plpgsql AS $$
BEGIN
    DELETE FROM public.jfs_xattr x WHERE x.id = _id AND x.inode = _ino
       AND NOT EXISTS (SELECT FROM public.jfs_node n WHERE n.inode = x.inode);
    done := FOUND;
    RETURN NEXT;
END $$;

CREATE FUNCTION tarn_1.repair_symlink(_ino int8) RETURNS TABLE (done bool)
LANGUAGE plpgsql AS $$
BEGIN
    DELETE FROM public.jfs_symlink s WHERE s.inode = _ino
       AND NOT EXISTS (SELECT FROM public.jfs_node n WHERE n.inode = s.inode);
    done := FOUND;
    RETURN NEXT;
END $$;

-- The lazily counted ones are set only where they still are what was found: a repetition changes
-- nothing, and what a client has flushed meanwhile is not overwritten.
CREATE FUNCTION tarn_1.repair_stats(_dir int8, _which int8, _have int8, _want int8)
RETURNS TABLE (done bool)
LANGUAGE plpgsql AS $$
BEGIN
    UPDATE public.jfs_dir_stats
       SET data_length = CASE _which WHEN 1 THEN _want ELSE data_length END,
           used_space = CASE _which WHEN 2 THEN _want ELSE used_space END,
           used_inodes = CASE _which WHEN 3 THEN _want ELSE used_inodes END
     WHERE inode = _dir
       AND _have = (ARRAY[data_length, used_space, used_inodes])[_which];
    done := FOUND;
    RETURN NEXT;
END $$;

CREATE FUNCTION tarn_1.repair_usage(_which int8, _have int8, _want int8) RETURNS TABLE (done bool)
LANGUAGE plpgsql AS $$
DECLARE
    _name text := (ARRAY['totalInodes', 'usedSpace'])[_which];
BEGIN
    INSERT INTO public.jfs_counter (name, value) VALUES (_name, 0) ON CONFLICT (name) DO NOTHING;
    UPDATE public.jfs_counter SET value = _want WHERE name = _name AND value = _have;
    done := FOUND;
    RETURN NEXT;
END $$;

CREATE FUNCTION tarn_1.repair_quota(_dir int8, _which int8, _have int8, _want int8)
RETURNS TABLE (done bool)
LANGUAGE plpgsql AS $$
BEGIN
    UPDATE public.jfs_dir_quota
       SET used_space = CASE _which WHEN 1 THEN _want ELSE used_space END,
           used_inodes = CASE _which WHEN 2 THEN _want ELSE used_inodes END
     WHERE inode = _dir AND _have = (ARRAY[used_space, used_inodes])[_which];
    done := FOUND;
    RETURN NEXT;
END $$;

-- Directories without a row of statistics (fsck --sync-dir-stat): count them. Pages by inode.
CREATE FUNCTION tarn_1.fill_stats(_after int8, _limit int4)
RETURNS TABLE (last int8, filled int8)
LANGUAGE plpgsql AS $$
DECLARE
    _page int8[] := ARRAY(SELECT n.inode FROM public.jfs_node n
                           WHERE n.inode > _after ORDER BY n.inode LIMIT _limit);
    _dir  int8;
BEGIN
    filled := 0;
    FOR _dir IN SELECT n.inode FROM public.jfs_node n
                 WHERE n.inode = ANY (_page) AND n.type = 2
                   AND (n.inode = 1 OR n.inode < tarn_1.trash() AND n.parent < tarn_1.trash())
                   AND NOT EXISTS (SELECT FROM public.jfs_dir_stats s WHERE s.inode = n.inode)
                 ORDER BY n.inode LOOP
        filled := filled + tarn_1.recount(_dir)::int4;
    END LOOP;
    last := CASE WHEN cardinality(_page) = _limit THEN _page[_limit] END;
    RETURN NEXT;
END $$;
