-- What tools show: sessions, sums over a tree, slices without a sum.

CREATE FUNCTION tarn_1.sessions()
RETURNS TABLE (sid int8, expire_s int8, is_stale bool, info bytea)
LANGUAGE sql STABLE AS $$
    SELECT s.sid, s.expire, s.expire < extract(epoch FROM clock_timestamp())::int8, s.info
      FROM public.jfs_session2 s ORDER BY s.sid
$$;

-- Sums over the tree below _ino (itself included); _recursive false: over its direct children.
-- A hard-linked file counts once for each name, as in jfs_dir_stats. A directory that a broken
-- volume reaches twice is walked once.
CREATE FUNCTION tarn_1.summary(_ino int8, _recursive bool)
RETURNS TABLE (files int8, dirs int8, length int8, space int8)
LANGUAGE sql STABLE AS $$
    WITH RECURSIVE dir(ino) AS (
        SELECT n.inode FROM public.jfs_node n WHERE n.inode = _ino AND n.type = 2
        UNION
        SELECT e.inode FROM dir d JOIN public.jfs_edge e ON e.parent = d.ino
         WHERE e.type = 2 AND _recursive
    ), item AS (
        SELECT n.type, n.length FROM public.jfs_node n WHERE n.inode = _ino
        UNION ALL
        SELECT n.type, n.length
          FROM dir d
          JOIN public.jfs_edge e ON e.parent = d.ino
          JOIN public.jfs_node n ON n.inode = e.inode
    )
    SELECT count(*) FILTER (WHERE i.type <> 2),
           count(*) FILTER (WHERE i.type = 2),
           coalesce(sum(i.length) FILTER (WHERE i.type = 1), 0)::int8,
           coalesce(sum(CASE WHEN i.type = 1 THEN tarn_1.space(i.length) ELSE 4096 END), 0)::int8
      FROM item i
$$;

-- Slices that are in use and carry no sum: written by a stock client and not yet seen by ours.
CREATE FUNCTION tarn_1.unsummed() RETURNS TABLE (slices int8, without_sum int8)
LANGUAGE sql STABLE AS $$
    SELECT count(*), count(*) FILTER (WHERE b.slice IS NULL)
      FROM public.jfs_chunk_ref r LEFT JOIN tarn.block_sum b ON b.slice = r.chunkid
     WHERE r.refs > 0
$$;
