-- What fsck finds; its repairs are in 72_repair.sql, what it and gc ask about slices in 73_ledger.sql.
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
