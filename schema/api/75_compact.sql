-- Compaction: many records of a chunk become one, over a slice that was written for it.

-- What compaction begins with: the first _most records of a chunk, the sums of their slices, and the
-- time of the database. No row when the chunk has none.
CREATE FUNCTION tarn_1.chunk_records(_ino int8, _indx int4, _most int4)
RETURNS TABLE (records bytea, sums bytea, total int4, begun int8)
LANGUAGE sql STABLE AS $$
    SELECT q.records, tarn_1.packed_sums(q.records), q.total, tarn_1.clock_s()
      FROM (SELECT substring(c.slices FROM 1 FOR _most * 24) AS records,
                   octet_length(c.slices) / 24 AS total
              FROM public.jfs_chunk AS c WHERE c.inode = _ino AND c.indx = _indx
            OFFSET 0) AS q
$$;

-- A slice that was stored for nothing: its row says so until its objects are gone.
CREATE FUNCTION tarn_1.slice_wasted(_id int8, _size int4) RETURNS void
LANGUAGE plpgsql AS $$
BEGIN
    INSERT INTO public.jfs_chunk_ref (chunkid, size, refs) VALUES (_id, _size, 0)
        ON CONFLICT (chunkid) DO NOTHING;
    IF FOUND THEN
        INSERT INTO tarn.doomed (slice, size) VALUES (_id, _size) ON CONFLICT (slice) DO NOTHING;
    END IF;
END $$;

-- The records that take the place of those in _origin after the first _skipped ones: they are one,
-- of the whole slice _id. Then what they named is let go of, or kept as long as the trash.
CREATE FUNCTION tarn_1.replace_records(_ino int8, _indx int4, _origin bytea, _skipped int4,
                                       _pos int4, _id int8, _size int4, _sums bytea) RETURNS void
LANGUAGE plpgsql AS $$
DECLARE
    _old   bytea := substring(_origin FROM _skipped * 24 + 1);
    _flags tarn.volume_flags := tarn_1.flags();
    _kept  bytea;
BEGIN
    UPDATE public.jfs_chunk AS c
       SET slices = substring(_origin FROM 1 FOR _skipped * 24) || tarn_1.record(_pos, _id, _size)
                    || substring(c.slices FROM octet_length(_origin) + 1)
     WHERE c.inode = _ino AND c.indx = _indx;
    INSERT INTO public.jfs_chunk_ref (chunkid, size, refs) VALUES (_id, _size, 1);
    INSERT INTO tarn.block_sum (slice, size, sums) VALUES (_id, _size, _sums);
    IF _flags.trash_days > 0 THEN
        SELECT string_agg(substring(_old FROM at + 5 FOR 12), '' ORDER BY at) INTO _kept
          FROM generate_series(0, octet_length(_old) - 24, 24) AS at
         WHERE tarn_1.be8(_old, at + 4) <> 0;
        INSERT INTO public.jfs_delslices (chunkid, deleted, slices)
        SELECT _id, tarn_1.clock_s(), _kept WHERE _kept IS NOT NULL;
    ELSE
        PERFORM tarn_1.unref_records(_old);
    END IF;
    IF _flags.change_log THEN
        PERFORM tarn_1.log_change(0, 0, format('COMPACTCHUNK(%s,%s,%s,%s,%s,%s,%s)', _ino, _indx,
                                               _skipped, octet_length(_old) / 24, _pos, _id, _size));
    END IF;
END $$;

-- Commit a compaction whose blocks are durable, if the records it began with are still the first
-- ones of the chunk. Neither mtime nor ctime changes: nothing reads differently. is_done false: it
-- was for nothing, and the new slice is doomed. The id is new for each compaction, so the row of
-- the slice tells whether this call was made before.
--
-- _begun: from chunk_records(). A gc removes objects that have no row after an hour, and a machine
-- that slept since, or a program that was stopped, does not know how long it was: it is for nothing
-- then, too.
CREATE FUNCTION tarn_1.compact(_ino int8, _indx int4, _origin bytea, _skipped int4, _pos int4,
                               _id int8, _size int4, _sums bytea, _begun int8)
RETURNS TABLE (is_done bool)
LANGUAGE plpgsql AS $$
DECLARE
    _slices bytea;
    _refs   int4;
BEGIN
    -- Only the chunk, not the node: writers go on, and their records stay behind the new one.
    SELECT c.slices INTO _slices FROM public.jfs_chunk AS c
     WHERE c.inode = _ino AND c.indx = _indx FOR UPDATE;
    SELECT r.refs INTO _refs FROM public.jfs_chunk_ref AS r WHERE r.chunkid = _id;
    IF FOUND THEN
        -- A tombstone that somebody removed meanwhile would be made again: gc and the hourly job
        -- find no objects then, which is no failure.
        RETURN QUERY SELECT _refs > 0;
        RETURN;
    END IF;
    IF NOT tarn_1.is_writable(_indx, _pos, _id, _size, _sums)
       OR _begun < tarn_1.clock_s() - 2700
       OR substring(_slices FROM 1 FOR octet_length(_origin)) IS DISTINCT FROM _origin THEN
        PERFORM tarn_1.slice_wasted(_id, _size);
        RETURN QUERY SELECT false;
        RETURN;
    END IF;
    PERFORM tarn_1.replace_records(_ino, _indx, _origin, _skipped, _pos, _id, _size, _sums);
    RETURN QUERY SELECT true;
END $$;

-- Chunks with _least records or more among the _count rows after _after, and in the last row where
-- to go on: ino 0. No row at the end of the table.
CREATE FUNCTION tarn_1.crowded_chunks(_after int8, _count int4, _least int4)
RETURNS TABLE (id int8, ino int8, indx int4)
LANGUAGE sql STABLE AS $$
    WITH page AS (
        SELECT c.id, c.inode, c.indx, octet_length(c.slices) / 24 AS records
          FROM public.jfs_chunk AS c WHERE c.id > _after ORDER BY c.id LIMIT _count)
    SELECT p.id, p.inode, p.indx FROM page AS p WHERE p.records >= _least
    UNION ALL
    SELECT max(p.id), 0::int8, 0 FROM page AS p HAVING max(p.id) IS NOT NULL
$$;
