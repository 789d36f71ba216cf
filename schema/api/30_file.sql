-- Contents of regular files: open, slices, write, fallocate, release.
--
-- A chunk is 64 MiB (67108864) of a file. Its row in jfs_chunk is a string of 24-byte records,
-- big-endian, in the order of their commits:
--     pos int4 | slice id int8 (0: a hole) | size int4 of the slice | off int4 in it | len int4
-- Every change here is made under the lock of the node row. FOR NO KEY UPDATE excludes stock
-- clients, which lock FOR UPDATE, and lets edges of the inode be made meanwhile.

---------------------------------------------------------------------------- building blocks

CREATE FUNCTION tarn_1.be4(_bytes bytea, _at int4) RETURNS int4
LANGUAGE sql IMMUTABLE PARALLEL SAFE AS $$
    SELECT ('x' || encode(substring(_bytes FROM _at + 1 FOR 4), 'hex'))::bit(32)::int4
$$;

CREATE FUNCTION tarn_1.be8(_bytes bytea, _at int4) RETURNS int8
LANGUAGE sql IMMUTABLE PARALLEL SAFE AS $$
    SELECT ('x' || encode(substring(_bytes FROM _at + 1 FOR 8), 'hex'))::bit(64)::int8
$$;

-- One record: _len bytes at _pos that are the whole of slice _id, or a hole when _id is 0.
CREATE FUNCTION tarn_1.record(_pos int4, _id int8, _len int4) RETURNS bytea
LANGUAGE sql IMMUTABLE PARALLEL SAFE AS $$
    SELECT int4send(_pos) || int8send(_id) || int4send(CASE WHEN _id = 0 THEN 0 ELSE _len END)
           || '\x00000000'::bytea || int4send(_len)
$$;

-- The sums of the slices that the records name, each once, by ascending id:
--     id int8 | size int4 | count int4 | count × CRC32C, four bytes each
-- Sums made for another size than the record's say nothing about it and are left out.
-- A loop of index probes: as one query it would be planned anew each time, at ten times the cost.
CREATE FUNCTION tarn_1.packed_sums(_records bytea) RETURNS bytea
LANGUAGE plpgsql STABLE PARALLEL SAFE AS $$
DECLARE
    _flat   bytea := _records || ''::bytea;  -- out of its TOAST form once, not at each substring
    _packed bytea[] := '{}';
    _id     int8;
    _size   int4;
    _sums   bytea;
BEGIN
    FOR i IN 0 .. coalesce(octet_length(_flat), 0) / 24 - 1 LOOP
        _id := tarn_1.be8(_flat, i * 24 + 4);
        _size := tarn_1.be4(_flat, i * 24 + 12);
        SELECT b.sums INTO _sums FROM tarn.block_sum AS b WHERE b.slice = _id AND b.size = _size;
        IF FOUND THEN
            _packed := array_append(_packed, int8send(_id) || int4send(_size)
                                             || int4send(octet_length(_sums) / 4) || _sums);
        END IF;
    END LOOP;
    IF cardinality(_packed) < 2 THEN
        RETURN _packed[1];
    END IF;
    RETURN (SELECT string_agg(DISTINCT p, '' ORDER BY p) FROM unnest(_packed) AS p);
END $$;

-- Make [_from, _to) of a file read as zeros. A chunk without a row is a hole already.
CREATE FUNCTION tarn_1.punch(_ino int8, _from int8, _to int8) RETURNS void
LANGUAGE plpgsql AS $$
BEGIN
    UPDATE public.jfs_chunk AS c
       SET slices = c.slices || tarn_1.record(
               greatest(_from - c.indx * 67108864::int8, 0)::int4, 0,
               (least(_to - c.indx * 67108864::int8, 67108864)
                - greatest(_from - c.indx * 67108864::int8, 0))::int4)
     WHERE c.inode = _ino AND _from < _to
       AND c.indx BETWEEN _from / 67108864 AND (_to - 1) / 67108864;
END $$;

-- The node with a new mtime, and ctime of now. Other clients know from mtime alone that the data
-- is different, so it must never come back to a value it had: a time that is a little older than
-- the present one, or the same, becomes the next nanosecond. ctime only grows (next_ctime).
CREATE FUNCTION tarn_1.touched(_n public.jfs_node, _mtime int8, _mtimensec int4)
RETURNS public.jfs_node
LANGUAGE plpgsql AS $$
BEGIN
    IF _mtime > _n.mtime OR _mtime < _n.mtime - 1000000
       OR (_mtime = _n.mtime AND _mtimensec > _n.mtimensec) THEN
        _n.mtime := _mtime;
        _n.mtimensec := _mtimensec;
    ELSIF _n.mtimensec < 999 THEN
        _n.mtimensec := coalesce(_n.mtimensec, 0) + 1;
    ELSE
        _n.mtime := _n.mtime + 1;
        _n.mtimensec := 0;
    END IF;
    _n.ctime := tarn_1.next_ctime(_n.ctime, tarn_1.clock_us());
    _n.ctimensec := 0;
    RETURN _n;
END $$;

-- A mode after a write or a change of owner: setgid without group execution is no privilege.
CREATE FUNCTION tarn_1.without_suid(_mode int4) RETURNS int4
LANGUAGE sql IMMUTABLE PARALLEL SAFE AS $$
    SELECT CASE WHEN _mode & 8 <> 0 THEN _mode & ~3072 ELSE _mode & ~2048 END
$$;

-- What a change of a regular file's length from _old to _new means to the accounting. A file with
-- several links counts in the directory of each; one without links counts in none.
CREATE FUNCTION tarn_1.length_usage(_n public.jfs_node, _old int8) RETURNS int8[]
LANGUAGE plpgsql STABLE AS $$
DECLARE
    _bytes int8 := _n.length - _old;
    _space int8 := tarn_1.space(_n.length) - tarn_1.space(_old);
    _usage int8[] := ARRAY[_space, 0];
    _edge  record;
BEGIN
    IF _n.nlink = 0 THEN
        RETURN _usage;
    ELSIF _n.parent > 0 THEN
        RETURN _usage || ARRAY[_n.parent, _bytes, _space, 0];
    END IF;
    FOR _edge IN SELECT e.parent, count(*) AS links FROM public.jfs_edge AS e
                  WHERE e.inode = _n.inode GROUP BY e.parent ORDER BY e.parent LOOP
        _usage := _usage || ARRAY[_edge.parent, _edge.links * _bytes, _edge.links * _space, 0];
    END LOOP;
    RETURN _usage;
END $$;

-- Write back a locked node whose attributes were changed, and answer with it. _by_owner: whether usage
-- is counted by owner; who does not have the flags at hand says yes, and they are asked for.
CREATE FUNCTION tarn_1.store(_n public.jfs_node, _old_length int8, _by_owner bool DEFAULT true)
RETURNS tarn.reply
LANGUAGE plpgsql AS $$
DECLARE
    _reply tarn.reply := tarn_1.attributes(_n);
BEGIN
    UPDATE public.jfs_node AS n
       SET flags = _n.flags, mode = _n.mode, uid = _n.uid, gid = _n.gid,
           atime = _n.atime, mtime = _n.mtime, ctime = _n.ctime, atimensec = _n.atimensec,
           mtimensec = _n.mtimensec, ctimensec = _n.ctimensec, length = _n.length,
           access_acl_id = _n.access_acl_id
     WHERE n.inode = _n.inode;
    IF _n.length <> _old_length THEN
        _reply.usage := tarn_1.length_usage(_n, _old_length);
        IF _by_owner THEN
            _reply.usage := _reply.usage
                || tarn_1.owner_usage(_n.uid, _n.gid, tarn_1.space(_n.length)
                                                      - tarn_1.space(_old_length), 0);
        END IF;
    END IF;
    RETURN _reply;
END $$;

------------------------------------------------------------------------------------- reading

-- Everything a reader needs to begin, from one snapshot. A row comes always; digest, records and
-- sums are NULL with err. Refused for writing: EPERM for an immutable file and one in the trash.
-- EIO while a mirror is seeded: a mount that was left running would take what is not copied yet for
-- holes, and read zeros.
CREATE FUNCTION tarn_1.open(_ino int8, _write bool)
RETURNS TABLE (err int4, ino int8, type int4, flags int4, mode int4, uid int8, gid int8,
               atime int8, mtime int8, ctime int8, atimensec int4, mtimensec int4, ctimensec int4,
               nlink int4, length int8, rdev int8, parent int8, access_acl int4, default_acl int4,
               tier int4, digest bytea, records bytea, sums bytea)
LANGUAGE sql STABLE PARALLEL SAFE AS $$
    SELECT (q.a).err, (q.a).ino, (q.a).type, (q.a).flags, (q.a).mode, (q.a).uid, (q.a).gid,
           (q.a).atime, (q.a).mtime, (q.a).ctime, (q.a).atimensec, (q.a).mtimensec,
           (q.a).ctimensec, (q.a).nlink, (q.a).length, (q.a).rdev, (q.a).parent,
           (q.a).access_acl, (q.a).default_acl, (q.a).tier,
           c.digest, c.records, tarn_1.packed_sums(c.records)
      FROM (SELECT CASE WHEN EXISTS (SELECT FROM tarn.local_site AS l
                                      WHERE l.role = 'mirror' AND l.ready_at IS NULL)
                            THEN tarn_1.refuse(5)
                        WHEN n.inode IS NULL THEN tarn_1.refuse(2)
                        WHEN n.type <> 1 THEN tarn_1.refuse(22)
                        WHEN _write AND (n.flags & 1 <> 0 OR n.parent > tarn_1.trash())
                            THEN tarn_1.refuse(1)
                        ELSE tarn_1.attributes(n) END AS a
              FROM (SELECT) AS always LEFT JOIN public.jfs_node AS n ON n.inode = _ino
            OFFSET 0) AS q  -- not pulled up: the CASE is evaluated once, not for each column
           LEFT JOIN LATERAL
           (SELECT decode(md5(coalesce(string_agg(int4send(k.indx) || k.slices, ''
                                                  ORDER BY k.indx), '')), 'hex') AS digest,
                   string_agg(k.slices, '') FILTER (WHERE k.indx = 0) AS records
              FROM public.jfs_chunk AS k WHERE k.inode = _ino) AS c ON (q.a).err = 0
$$;

-- The records of the chunks [_first, _first + _count) that have any. ENOENT is a row without indx,
-- and so is EIO while a mirror is seeded.
CREATE FUNCTION tarn_1.slices(_ino int8, _first int4, _count int4)
RETURNS TABLE (err int4, indx int4, records bytea, sums bytea)
LANGUAGE sql STABLE PARALLEL SAFE AS $$
    SELECT CASE WHEN site.is_seeded THEN 5 WHEN n.inode IS NULL THEN 2 ELSE 0 END, c.indx,
           c.slices, tarn_1.packed_sums(c.slices)
      FROM (SELECT EXISTS (SELECT FROM tarn.local_site AS l
                            WHERE l.role = 'mirror' AND l.ready_at IS NULL) AS is_seeded) AS site
           LEFT JOIN public.jfs_node AS n ON n.inode = _ino AND NOT site.is_seeded
           LEFT JOIN public.jfs_chunk AS c
                  ON c.inode = n.inode AND c.indx >= _first AND c.indx < _first::int8 + _count
     WHERE n.inode IS NULL OR c.inode IS NOT NULL
     ORDER BY c.indx
$$;

------------------------------------------------------------------------------------- writing

-- Whether the arguments of write() are slices that the format can hold. Checked before anything
-- is changed, for a record out of bounds makes its chunk unreadable to everybody.
CREATE FUNCTION tarn_1.is_writable(_indx int4, _pos int4, _id int8, _size int4, _sums bytea)
RETURNS bool
LANGUAGE sql IMMUTABLE PARALLEL SAFE AS $$
    SELECT coalesce(_indx >= 0 AND _id > 0 AND _size BETWEEN 1 AND 67108864
                    AND _pos BETWEEN 0 AND 67108864 - _size
                    -- One sum for each 256 KiB, or for each block where blocks are smaller.
                    AND octet_length(_sums) % 4 = 0 AND octet_length(_sums) BETWEEN 4 AND 4096,
                    false)
$$;

CREATE FUNCTION tarn_1.write_slices(
    _sid int8, _op int8, _flags tarn.volume_flags, _ino int8, _indx int4[], _pos int4[],
    _id int8[], _size int4[], _mtime int8, _mtimensec int4, _kill_suid bool, _sums bytea[])
RETURNS tarn.reply
LANGUAGE plpgsql AS $$
DECLARE
    _n       public.jfs_node;
    _length  int8;
    _records bytea := '';
    _count   int4;
    _counts  int4[] := '{}';
    _reply   tarn.reply;
BEGIN
    SELECT * INTO _n FROM public.jfs_node WHERE inode = _ino FOR NO KEY UPDATE;
    IF NOT FOUND THEN
        RETURN tarn_1.refuse(2);
    ELSIF _n.type <> 1 OR _n.flags & 1 <> 0 THEN
        RETURN tarn_1.refuse(1);
    END IF;
    _length := _n.length;
    FOR i IN 1 .. cardinality(_indx) LOOP
        IF NOT tarn_1.is_writable(_indx[i], _pos[i], _id[i], _size[i], _sums[i]) THEN
            RETURN tarn_1.refuse(22);
        END IF;
        _n.length := greatest(_n.length, _indx[i] * 67108864::int8 + _pos[i] + _size[i]);
    END LOOP;
    IF (_flags.dir_quota OR _flags.owner_quota) AND tarn_1.growth_error(_n, _length) <> 0 THEN
        RETURN tarn_1.refuse(122);
    END IF;

    FOR i IN 1 .. cardinality(_indx) LOOP
        _records := _records || tarn_1.record(_pos[i], _id[i], _size[i]);
        -- An id that is here already was used twice: that must stop the transaction, loudly.
        INSERT INTO public.jfs_chunk_ref (chunkid, size, refs) VALUES (_id[i], _size[i], 1);
        INSERT INTO tarn.block_sum (slice, size, sums) VALUES (_id[i], _size[i], _sums[i]);
        IF _indx[i + 1] = _indx[i] THEN
            CONTINUE;  -- the row of the chunk is rewritten once for a run of slices
        END IF;
        INSERT INTO public.jfs_chunk AS c (inode, indx, slices) VALUES (_ino, _indx[i], _records)
            ON CONFLICT (inode, indx) DO UPDATE SET slices = c.slices || EXCLUDED.slices
            RETURNING octet_length(c.slices) / 24 INTO _count;
        _counts[i] := _count;
        _records := '';
    END LOOP;

    _n := tarn_1.touched(_n, _mtime, _mtimensec);
    IF _kill_suid THEN
        _n.mode := tarn_1.without_suid(_n.mode);
    END IF;
    _reply := tarn_1.store(_n, _length, _flags.owner_quota);
    IF _flags.change_log THEN
        PERFORM tarn_1.log_writes(_sid, _op, _reply, _indx, _pos, _id, _size, _counts);
    END IF;
    RETURN _reply;
END $$;

-- Note slices that were written. _counts: the records of a chunk after the last slice of a run; the
-- slices before it are told with one less each.
CREATE FUNCTION tarn_1.log_writes(_sid int8, _op int8, _r tarn.reply, _indx int4[], _pos int4[],
                                  _id int8[], _size int4[], _counts int4[]) RETURNS void
LANGUAGE plpgsql AS $$
DECLARE
    _at int4 := 0; -- the last slice of the run
BEGIN
    FOR i IN 1 .. cardinality(_indx) LOOP
        WHILE _at < i OR _counts[_at] IS NULL LOOP
            _at := _at + 1;
        END LOOP;
        PERFORM tarn_1.log_change(_sid, _op, format(
            'WRITE(%s,%s,%s,%s,%s,%s,%s):%s', _r.ino, _indx[i], _pos[i], _id[i], _size[i],
            _r.mtime / 1000000, _r.mtime % 1000000 * 1000 + _r.mtimensec, _counts[_at] - (_at - i)));
    END LOOP;
END $$;

-- Commit slices whose blocks are durable, in their order. ENOENT: the file is gone. A file whose
-- last name went away (to the trash, or altogether while somebody has it open) is writable still;
-- whether it may be opened for writing is for open() to say.
CREATE FUNCTION tarn_1.write(
    _sid int8, _lane int4, _op int8, _ino int8, _indx int4[], _pos int4[], _id int8[],
    _size int4[], _mtime int8, _mtimensec int4, _kill_suid bool, _sums bytea[])
RETURNS tarn.reply
LANGUAGE plpgsql AS $$
DECLARE
    _flags tarn.volume_flags := tarn_1.lane_flags(_sid, _lane, _op);
    _reply tarn.reply;
BEGIN
    IF _flags.only_row IS NULL THEN
        _reply := tarn_1.lane_begin(_sid, _lane, _op);
        _flags := tarn_1.flags();
    END IF;
    IF _reply.err IS NULL THEN
        _reply := tarn_1.write_slices(_sid, _op, _flags, _ino, _indx, _pos, _id, _size, _mtime,
                                      _mtimensec, _kill_suid, _sums);
        _reply := tarn_1.lane_end(_sid, _lane, _op, _reply, _flags.dir_quota);
    END IF;
    RETURN _reply;
END $$;

-- The modes of the format: 0, KEEP_SIZE 1, PUNCH_HOLE|KEEP_SIZE 3, ZERO_RANGE 16, and 17.
CREATE FUNCTION tarn_1.allocate_range(_sid int8, _op int8, _ino int8, _mode int4, _off int8,
                                      _len int8) RETURNS tarn.reply
LANGUAGE plpgsql AS $$
DECLARE
    _n      public.jfs_node;
    _length int8;
BEGIN
    SELECT * INTO _n FROM public.jfs_node WHERE inode = _ino FOR NO KEY UPDATE;
    IF NOT FOUND THEN
        RETURN tarn_1.refuse(2);
    ELSIF _off < 0 OR _len <= 0 THEN
        RETURN tarn_1.refuse(22);
    ELSIF _mode NOT IN (0, 1, 3, 16, 17) THEN
        RETURN tarn_1.refuse(95);
    ELSIF _n.type <> 1 THEN
        RETURN tarn_1.refuse(CASE _n.type WHEN 2 THEN 21 ELSE 19 END);
    ELSIF _n.flags & 1 <> 0 OR (_n.flags & 2 <> 0 AND _mode & ~1 <> 0) THEN
        RETURN tarn_1.refuse(1);
    ELSIF _len > 144115188075855872 - _off THEN
        RETURN tarn_1.refuse(27);
    END IF;
    _length := _n.length;
    IF _mode & 1 = 0 THEN
        _n.length := greatest(_length, _off + _len);
    END IF;
    IF tarn_1.growth_error(_n, _length) <> 0 THEN
        RETURN tarn_1.refuse(122);
    END IF;
    IF _mode & 18 <> 0 THEN
        PERFORM tarn_1.punch(_ino, _off, least(_off + _len, _length));
    END IF;
    IF (tarn_1.flags()).change_log THEN
        PERFORM tarn_1.log_change(_sid, _op, format('FALLOCATE(%s,%s,%s,%s)', _ino, _off, _len,
                                                    _mode));
    END IF;
    RETURN tarn_1.store(tarn_1.touched(_n, tarn_1.clock_us(), 0), _length);
END $$;

CREATE FUNCTION tarn_1.fallocate(_sid int8, _lane int4, _op int8, _ino int8, _mode int4,
                                 _off int8, _len int8) RETURNS tarn.reply
LANGUAGE plpgsql AS $$
DECLARE
    _reply tarn.reply := tarn_1.lane_begin(_sid, _lane, _op);
BEGIN
    IF _reply.err IS NULL THEN
        _reply := tarn_1.lane_end(_sid, _lane, _op, tarn_1.allocate_range(
            _sid, _op, _ino, _mode, _off, _len));
    END IF;
    RETURN _reply;
END $$;

------------------------------------------------------------------------------------- release

-- Let go of an inode that session _sid kept after its last link had gone; its data is left to the
-- cleaner of jfs_delfile. Without such a row nothing is done: the aim is reached already.
CREATE FUNCTION tarn_1.release_inode(_sid int8, _ino int8, _op int8 DEFAULT 0) RETURNS tarn.reply
LANGUAGE plpgsql AS $$
DECLARE
    _n     public.jfs_node;
    _reply tarn.reply := tarn_1.refuse(0);
BEGIN
    SELECT * INTO _n FROM public.jfs_node WHERE inode = _ino FOR UPDATE;
    DELETE FROM public.jfs_sustained WHERE sid = _sid AND inode = _ino;
    IF NOT FOUND OR _n.inode IS NULL OR _n.nlink > 0 THEN
        RETURN _reply;
    END IF;
    INSERT INTO public.jfs_delfile (inode, length, expire)
    VALUES (_ino, _n.length, extract(epoch FROM clock_timestamp())::int8)
        ON CONFLICT DO NOTHING;
    DELETE FROM public.jfs_xattr WHERE inode = _ino;
    DELETE FROM public.jfs_node WHERE inode = _ino;
    IF (tarn_1.flags()).change_log THEN
        PERFORM tarn_1.log_change(_sid, _op, format('DELSUSTAINED(%s,%s)', _sid, _ino));
    END IF;
    _reply.usage := ARRAY[-tarn_1.space(_n.length), -1]
                    || tarn_1.owner_usage(_n.uid, _n.gid, -tarn_1.space(_n.length), -1);
    RETURN _reply;
END $$;

CREATE FUNCTION tarn_1.release(_sid int8, _lane int4, _op int8, _ino int8) RETURNS tarn.reply
LANGUAGE plpgsql AS $$
DECLARE
    _reply tarn.reply := tarn_1.lane_begin(_sid, _lane, _op);
BEGIN
    IF _reply.err IS NULL THEN
        _reply := tarn_1.lane_end(_sid, _lane, _op, tarn_1.release_inode(_sid, _ino, _op));
    END IF;
    RETURN _reply;
END $$;
