-- copy_file_range: the destination names the slices of the source, and no byte is moved (format
-- §7.6).

-- What [_from, _to) of a chunk shows, without gaps: pieces of slices, and holes with id 0. It ends
-- early, with what is known of the beginning, where records have cut the range too often.
CREATE FUNCTION tarn_1.extents(_records bytea, _from int4, _to int4, _cuts int4)
RETURNS TABLE (pos int4, id int8, size int4, off int4, len int4)
LANGUAGE plpgsql IMMUTABLE PARALLEL SAFE AS $$
DECLARE
    _flat bytea := _records || ''::bytea;  -- out of its TOAST form once
BEGIN
    RETURN QUERY
    WITH record AS MATERIALIZED (
        SELECT i, tarn_1.be4(_flat, i * 24) AS pos, tarn_1.be8(_flat, i * 24 + 4) AS id,
               tarn_1.be4(_flat, i * 24 + 12) AS size, tarn_1.be4(_flat, i * 24 + 16) AS off,
               tarn_1.be4(_flat, i * 24 + 20) AS len
          FROM generate_series(0, octet_length(_flat) / 24 - 1) AS i
    ), hit AS MATERIALIZED (
        SELECT * FROM record AS r WHERE r.len > 0 AND r.pos < _to AND r.pos + r.len > _from
    ), border AS (
        SELECT _from AS at UNION SELECT _to
        UNION SELECT h.pos FROM hit AS h WHERE h.pos > _from
        UNION SELECT h.pos + h.len FROM hit AS h WHERE h.pos + h.len < _to
        ORDER BY at LIMIT _cuts
    ), cell AS (
        SELECT b.at AS low, lead(b.at) OVER (ORDER BY b.at) AS high FROM border AS b
    ), won AS MATERIALIZED (  -- the newest record that covers the cell
        SELECT c.low, c.high, (SELECT max(k.i) FROM hit AS k
                                WHERE k.pos <= c.low AND k.pos + k.len >= c.high) AS winner
          FROM cell AS c WHERE c.high IS NOT NULL
    ), shown AS (
        SELECT w.low, w.high, h.* FROM won AS w LEFT JOIN hit AS h ON h.i = w.winner AND h.id <> 0
    ), run AS (  -- cells of one record in a row are one piece
        SELECT s.*, sum(s.is_first) OVER (ORDER BY s.low) AS number
          FROM (SELECT t.*, (t.i IS DISTINCT FROM lag(t.i) OVER (ORDER BY t.low))::int4 AS is_first
                  FROM shown AS t) AS s
    )
    SELECT min(r.low), coalesce(min(r.id), 0), coalesce(min(r.size), 0),
           coalesce(min(r.off) + min(r.low) - min(r.pos), 0), max(r.high) - min(r.low)
      FROM run AS r GROUP BY r.number ORDER BY 1;
END $$;

CREATE TYPE tarn_1.copied_record AS (
    indx int4, pos int4, id int8, size int4, off int4, len int4
);

-- An extent that begins at _at of a file, as the records for it: two where a chunk ends inside.
CREATE FUNCTION tarn_1.records_at(_at int8, _id int8, _size int4, _off int4, _len int4)
RETURNS tarn_1.copied_record[]
LANGUAGE plpgsql IMMUTABLE PARALLEL SAFE AS $$
DECLARE
    _indx int4 := (_at / 67108864)::int4;
    _pos  int4 := (_at % 67108864)::int4;
    _room int4 := 67108864 - _pos;
BEGIN
    IF _len <= _room THEN
        RETURN ARRAY[ROW(_indx, _pos, _id, _size, _off, _len)::tarn_1.copied_record];
    END IF;
    RETURN ARRAY[ROW(_indx, _pos, _id, _size, _off, _room)::tarn_1.copied_record,
                 ROW(_indx + 1, 0, _id, _size, CASE _id WHEN 0 THEN 0 ELSE _off + _room END,
                     _len - _room)::tarn_1.copied_record];
END $$;

-- The records that make a file show at _to what [_off, _off + _len) of _src shows, in the order of
-- the file. They may end early, chunk by chunk bounded in number.
CREATE FUNCTION tarn_1.copied_records(_src int8, _off int8, _to int8, _len int8)
RETURNS tarn_1.copied_record[]
LANGUAGE plpgsql STABLE AS $$
DECLARE
    _records tarn_1.copied_record[] := '{}';
    _at      int8 := _off;
    _base    int8;
    _end     int8;
    _packed  bytea;
    _x       record;
BEGIN
    FOR _indx IN _off / 67108864 .. (_off + _len - 1) / 67108864 LOOP
        _base := _indx * 67108864::int8;
        SELECT c.slices INTO _packed FROM public.jfs_chunk AS c
         WHERE c.inode = _src AND c.indx = _indx;
        _end := least(_off + _len, _base + 67108864);
        IF _packed IS NULL THEN  -- most of a sparse file: not worth a query
            _records := _records || tarn_1.records_at(_at - _off + _to, 0, 0, 0,
                                                      (_end - _at)::int4);
            _at := _end;
            CONTINUE;
        END IF;
        FOR _x IN SELECT * FROM tarn_1.extents(
                      _packed, (_at - _base)::int4, (_end - _base)::int4, 1024) LOOP
            _records := _records || tarn_1.records_at(_at - _off + _to, _x.id, _x.size, _x.off,
                                                      _x.len);
            _at := _at + _x.len;
        END LOOP;
        EXIT WHEN _at < _end OR cardinality(_records) > 1024;
    END LOOP;
    RETURN _records;
END $$;

-- The errno with which a copy is refused, or 0. A destination that is append-only takes no copy, even
-- at its end, as with stock clients.
CREATE FUNCTION tarn_1.copy_refusal(_s public.jfs_node, _off int8, _d public.jfs_node, _to int8,
                                    _len int8) RETURNS int4
LANGUAGE sql IMMUTABLE AS $$
    SELECT CASE WHEN _s.inode IS NULL OR _d.inode IS NULL THEN 2
                WHEN _s.type <> 1 OR _d.type <> 1 OR _off < 0 OR _to < 0 OR _len < 0 THEN 22
                WHEN _len > 144115188075855872 - greatest(_off, _to) THEN 27
                WHEN _s.inode = _d.inode AND _off < _to + _len AND _to < _off + _len THEN 22
                WHEN _d.flags & 3 <> 0 THEN 1
                ELSE 0 END
$$;

-- One more reference for each record. False, and nothing done, when a slice is counted nowhere: then
-- the volume is damaged, and the copy would lose its data with the source's.
CREATE FUNCTION tarn_1.refer_again(_records tarn_1.copied_record[]) RETURNS bool
LANGUAGE plpgsql AS $$
DECLARE
    _ids     int8[];
    _sizes   int4[];
    _numbers int8[];
    _found   int8;
BEGIN
    SELECT array_agg(n.id), array_agg(n.size), array_agg(n.number) INTO _ids, _sizes, _numbers
      FROM (SELECT r.id, r.size, count(*) AS number FROM unnest(_records) AS r
             WHERE r.id <> 0 GROUP BY r.id, r.size) AS n;
    SELECT count(*) INTO _found
      FROM (SELECT FROM public.jfs_chunk_ref AS r
             WHERE r.chunkid = ANY (_ids)
               AND r.size = (SELECT u.size FROM unnest(_ids, _sizes) AS u (id, size)
                              WHERE u.id = r.chunkid LIMIT 1)
             ORDER BY r.chunkid FOR NO KEY UPDATE) AS locked;
    IF _found <> coalesce(cardinality(_ids), 0) THEN
        RETURN false;
    END IF;
    UPDATE public.jfs_chunk_ref AS r SET refs = r.refs + u.number
      FROM unnest(_ids, _sizes, _numbers) AS u (id, size, number)
     WHERE r.chunkid = u.id AND r.size = u.size;
    RETURN true;
END $$;

-- Append the records to their chunks. What is only holes, in a chunk without a row, is one already.
CREATE FUNCTION tarn_1.append_records(_ino int8, _records tarn_1.copied_record[]) RETURNS void
LANGUAGE plpgsql AS $$
DECLARE
    _chunk record;
BEGIN
    FOR _chunk IN
        SELECT r.indx, bool_and(r.id = 0) AS is_hole,
               string_agg(int4send(r.pos) || int8send(r.id) || int4send(r.size) || int4send(r.off)
                          || int4send(r.len), '' ORDER BY r.pos) AS packed
          FROM unnest(_records) AS r GROUP BY r.indx ORDER BY r.indx
    LOOP
        UPDATE public.jfs_chunk AS c SET slices = c.slices || _chunk.packed
         WHERE c.inode = _ino AND c.indx = _chunk.indx;
        IF NOT FOUND AND NOT _chunk.is_hole THEN
            INSERT INTO public.jfs_chunk AS c (inode, indx, slices)
            VALUES (_ino, _chunk.indx, _chunk.packed)
                ON CONFLICT (inode, indx) DO UPDATE SET slices = c.slices || EXCLUDED.slices;
        END IF;
    END LOOP;
END $$;

-- Both nodes and, as stock clients do, the chunks of the source; also those of the destination, for
-- references are locked after every chunk.
CREATE FUNCTION tarn_1.lock_for_copy(_src int8, _off int8, _dst int8, _to int8, _len int8)
RETURNS void
LANGUAGE plpgsql AS $$
BEGIN
    PERFORM FROM public.jfs_node AS n WHERE n.inode IN (_src, _dst)
      ORDER BY n.inode FOR NO KEY UPDATE;
    PERFORM FROM public.jfs_chunk AS c
      WHERE (c.inode = _src AND c.indx BETWEEN _off / 67108864 AND (_off + _len) / 67108864)
         OR (c.inode = _dst AND c.indx BETWEEN _to / 67108864 AND (_to + _len) / 67108864)
      ORDER BY c.inode, c.indx FOR UPDATE;
END $$;

CREATE FUNCTION tarn_1.copy_bytes(_sid int8, _op int8, _src int8, _off int8, _dst int8, _to int8,
                                  _len int8, _kill_suid bool) RETURNS tarn.reply
LANGUAGE plpgsql AS $$
DECLARE
    _s       public.jfs_node;
    _d       public.jfs_node;
    _length  int8;
    _err     int4;
    _records tarn_1.copied_record[];
    _reply   tarn.reply;
BEGIN
    PERFORM tarn_1.lock_for_copy(_src, _off, _dst, _to, least(_len, 1073741824));
    SELECT * INTO _s FROM public.jfs_node WHERE inode = _src;
    SELECT * INTO _d FROM public.jfs_node WHERE inode = _dst;
    _err := tarn_1.copy_refusal(_s, _off, _d, _to, _len);
    IF _err <> 0 THEN
        RETURN tarn_1.refuse(_err);
    END IF;
    _reply := tarn_1.attributes(_d);
    _reply.rdev := 0;
    _len := least(_len, _s.length - _off, 1073741824);
    IF _len <= 0 THEN
        RETURN _reply;
    END IF;

    _records := tarn_1.copied_records(_src, _off, _to, _len);
    _len := (SELECT sum(r.len) FROM unnest(_records) AS r);
    _length := _d.length;
    _d.length := greatest(_length, _to + _len);
    IF tarn_1.growth_error(_d, _length) <> 0 THEN
        RETURN tarn_1.refuse(122);
    ELSIF NOT tarn_1.refer_again(_records) THEN
        RETURN tarn_1.refuse(5);
    END IF;
    PERFORM tarn_1.append_records(_dst, _records);
    IF _kill_suid THEN
        _d.mode := tarn_1.without_suid(_d.mode);
    END IF;
    _reply := tarn_1.store(tarn_1.touched(_d, tarn_1.clock_us(), 0), _length);
    _reply.rdev := _len;
    IF (tarn_1.flags()).change_log THEN
        PERFORM tarn_1.log_change(_sid, _op, format('COPYFILERANGE(%s,%s,%s,%s,%s):%s', _src, _off,
                                                    _dst, _to, _len, _d.length));
    END IF;
    RETURN _reply;
END $$;

-- Copy up to _len bytes, less where the source ends or where it would take too long: at most 1 GiB,
-- and some 2000 records. The answer is the destination's attributes; rdev, which a file has no use for,
-- says how many bytes it were.
CREATE FUNCTION tarn_1.copy_range(_sid int8, _lane int4, _op int8, _src int8, _off int8, _dst int8,
                                  _to int8, _len int8, _kill_suid bool) RETURNS tarn.reply
LANGUAGE plpgsql AS $$
DECLARE
    _reply tarn.reply := tarn_1.lane_begin(_sid, _lane, _op);
BEGIN
    IF _reply.err IS NULL THEN
        _reply := tarn_1.lane_end(_sid, _lane, _op, tarn_1.copy_bytes(
            _sid, _op, _src, _off, _dst, _to, _len, _kill_suid));
    END IF;
    RETURN _reply;
END $$;

------------------------------------------------------------------------------------- seeking

-- The first chunk from _indx on that has any records, or NULL: what lies before it is a hole.
CREATE FUNCTION tarn_1.next_chunk(_ino int8, _indx int4) RETURNS TABLE (err int4, indx int4)
LANGUAGE plpgsql STABLE PARALLEL SAFE AS $$
BEGIN
    RETURN QUERY
    SELECT CASE WHEN EXISTS (SELECT FROM public.jfs_node AS n WHERE n.inode = _ino) THEN 0 ELSE 2
           END,
           (SELECT min(c.indx) FROM public.jfs_chunk AS c
             WHERE c.inode = _ino AND c.indx >= _indx);
END $$;
