-- What the metadata says of slices, for gc and fsck: in pages by key, each of them one statement that
-- sees the writers' transactions whole or not at all.

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
           LEFT JOIN tarn.follower_report r ON r.site = m.name
     WHERE m.role = 'mirror'
       AND coalesce(coalesce(s.confirmed_lsn::pg_lsn, r.lsn) < _lsn::pg_lsn, true)
       AND NOT EXISTS (SELECT FROM tarn_1.followers() f WHERE f.site = m.name AND NOT f.is_awaited)
     ORDER BY m.name;
END $$;
