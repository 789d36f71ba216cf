-- What a pipeline waits for at a mirror: a marker of the primary, and the blocks behind it; and how
-- much of the data is not here yet, as `status` shows it.
--
-- A slice is awaited here while there is an order to copy it, or while the back-fill of history has
-- not come to it. An order is made by the transaction that names the slice, so whoever sees a marker
-- sees the orders of all that was committed before it.

-- The marker, as far as it has come, and the moment up to which orders belong to what it stands for:
-- both in one snapshot. The newest order counts too, lest a clock that was set back hide one.
-- orders_until is NULL until the marker has come to _value.
CREATE FUNCTION tarn_1.wait_marker(_name text, _value int8)
RETURNS TABLE (value int8, epoch int8, orders_until text)
LANGUAGE sql STABLE AS $$
    SELECT m.value, m.epoch,
           CASE WHEN m.value >= _value THEN
               greatest(clock_timestamp(), (SELECT max(s.ordered_at) FROM tarn.slice_state s
                                             WHERE s.want = 'copy'))::text END
      FROM (SELECT 1) AS one LEFT JOIN tarn.mark m ON m.name = _name
$$;

-- How far the back-fill has come: it will order everything above, and nothing when it is done.
CREATE FUNCTION tarn_1.backfill_position() RETURNS int8
LANGUAGE sql STABLE AS $$
    SELECT CASE WHEN count(*) = 0 THEN 0
                WHEN bool_and(c.done_at IS NOT NULL) THEN 9223372036854775807
                ELSE max(c.position) END
      FROM tarn.cursor c WHERE c.name = 'backfill'
$$;

-- Of these slices, the ones that are awaited, and their bytes. failing: orders that failed before.
CREATE FUNCTION tarn_1.wait_left(_slices int8[])
RETURNS TABLE (slices int8[], bytes int8, failing int8, last_error text)
LANGUAGE sql STABLE AS $$
    SELECT coalesce(array_agg(r.chunkid ORDER BY r.chunkid), '{}'), coalesce(sum(r.size), 0)::int8,
           count(s.last_error), min(s.last_error)
      FROM (SELECT tarn_1.backfill_position() AS position) AS walk,
           unnest(_slices) AS asked (slice)
      JOIN public.jfs_chunk_ref r ON r.chunkid = asked.slice AND r.refs > 0
      LEFT JOIN tarn.slice_state s ON s.slice = r.chunkid
     WHERE s.want = 'copy' OR (s.slice IS NULL AND r.chunkid > walk.position)
$$;

-- The slices of everything at and below a path, each once. err: 0 or an errno.
CREATE FUNCTION tarn_1.wait_path(_path bytea) RETURNS TABLE (err int4, slices int8[])
LANGUAGE plpgsql STABLE AS $$
DECLARE
    _at tarn.reply := tarn_1.resolve(1, ltrim(_path, '\x2f'::bytea));
BEGIN
    IF _at.err <> 0 THEN
        RETURN QUERY SELECT _at.err, '{}'::int8[];
        RETURN;
    END IF;
    RETURN QUERY
    WITH RECURSIVE tree (ino, type) AS (
        SELECT _at.ino, _at.type
        UNION
        SELECT e.inode, e.type::int4 FROM tree t JOIN public.jfs_edge e ON e.parent = t.ino
         WHERE t.type = 2
    ), named (slice) AS (
        SELECT DISTINCT tarn_1.be8(c.slices, i * 24 + 4)
          FROM tree t
          JOIN public.jfs_chunk c ON c.inode = t.ino,
               generate_series(0, octet_length(c.slices) / 24 - 1) AS i
         WHERE t.type = 1
    )
    SELECT 0, coalesce(array_agg(n.slice), '{}') FROM named n WHERE n.slice <> 0;
END $$;

-- Everything that was ordered up to a moment, and history.
CREATE FUNCTION tarn_1.wait_all(_until text)
RETURNS TABLE (slices int8, bytes int8, failing int8, last_error text, is_history_here bool)
LANGUAGE sql STABLE AS $$
    SELECT count(*), coalesce(sum(s.size), 0)::int8, count(s.last_error), min(s.last_error),
           tarn_1.backfill_position() = 9223372036854775807
      FROM tarn.slice_state s
     WHERE s.want = 'copy' AND s.ordered_at <= _until::timestamptz
$$;

-- The lag of the data. Of history only so much is counted as a look each second may cost;
-- is_more: there is more of it.
CREATE FUNCTION tarn_1.data_lag()
RETURNS TABLE (slices int8, bytes int8, oldest_ms int8, history_slices int8, history_bytes int8,
               is_more bool, backfill_position int8, backfill_goal int8, is_history_here bool)
LANGUAGE sql STABLE AS $$
    SELECT o.slices, o.bytes, o.oldest_ms, h.slices, h.bytes, h.slices = 10000,
           c.position, c.goal, w.position = 9223372036854775807
      FROM (SELECT tarn_1.backfill_position() AS position) AS w
     CROSS JOIN
           (SELECT count(*) AS slices, coalesce(sum(s.size), 0)::int8 AS bytes,
                   greatest(extract(epoch FROM clock_timestamp() - min(s.ordered_at)) * 1000,
                            0)::int8 AS oldest_ms
              FROM tarn.slice_state s WHERE s.want = 'copy') AS o
      LEFT JOIN tarn.cursor c ON c.name = 'backfill'
     CROSS JOIN LATERAL
           (SELECT count(*) AS slices, coalesce(sum(p.size), 0)::int8 AS bytes
              FROM (SELECT r.size FROM public.jfs_chunk_ref r
                     WHERE r.chunkid > w.position ORDER BY r.chunkid LIMIT 10000) p) AS h
$$;
