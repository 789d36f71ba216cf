-- Locks of files that all mounts obey: those of flock(2) and those of fcntl(2) (format §9).
--
-- A lock belongs to an owner: a session and a number that means something to its kernel only. Types
-- are those of fcntl.h: 0 read, 1 write, 2 unlock. Whoever changes a lock holds the node row first
-- and then the rows of the locks, as stock clients do; nobody waits here: what is held elsewhere is
-- answered with EAGAIN, and the client comes again.
--
-- The ranges of an owner are one string of 24-byte records, big-endian, by ascending start:
--     type int4 | pid int4 | start int8 | end int8, inclusive; 9223372036854775807: to the end
--
-- Whoever took a lock is answered with the attributes of the inode: a lock promises to see what the
-- last holder wrote, and the mount learns from them whether what it has cached is still right.

-- The first record in conflict with a lock of _type on [_start, _end], or NULL.
CREATE FUNCTION tarn_1.plock_conflict(_records bytea, _type int4, _start int8, _end int8)
RETURNS bytea
LANGUAGE plpgsql IMMUTABLE PARALLEL SAFE AS $$
DECLARE
    _record bytea;
BEGIN
    FOR i IN 0 .. octet_length(_records) / 24 - 1 LOOP
        _record := substring(_records FROM i * 24 + 1 FOR 24);
        IF (_type = 1 OR tarn_1.be4(_record, 0) = 1)
           AND tarn_1.be8(_record, 8) <= _end AND tarn_1.be8(_record, 16) >= _start THEN
            RETURN _record;
        END IF;
    END LOOP;
    RETURN NULL;
END $$;

-- The pieces into which a new range and the old ones cut each other, by ascending start; where both
-- are, the new one counts.
CREATE FUNCTION tarn_1.plock_pieces(_records bytea, _type int4, _pid int4, _start int8, _end int8)
RETURNS TABLE (type int4, pid int4, first int8, last int8)
LANGUAGE plpgsql IMMUTABLE PARALLEL SAFE AS $$
DECLARE
    _old_type int4;
    _old_pid  int4;
    _from     int8;
    _to       int8;
    _at       int8 := _start;  -- where what is left of the new range begins; NULL: nothing is left
BEGIN
    FOR i IN 0 .. octet_length(_records) / 24 - 1 LOOP
        _old_type := tarn_1.be4(_records, i * 24);
        _old_pid := tarn_1.be4(_records, i * 24 + 4);
        _from := tarn_1.be8(_records, i * 24 + 8);
        _to := tarn_1.be8(_records, i * 24 + 16);
        IF _from < _start THEN
            RETURN QUERY SELECT _old_type, _old_pid, _from, least(_to, _start - 1);
        END IF;
        IF _at < _from THEN
            RETURN QUERY SELECT _type, _pid, _at, least(_end, _from - 1);
            _at := CASE WHEN _end >= _from THEN _from END;
        END IF;
        IF _from <= _end AND _to >= _start THEN
            RETURN QUERY SELECT _type, _pid, _at, least(_end, _to);
            _at := CASE WHEN _end > _to THEN _to + 1 END;
        END IF;
        IF _to > _end THEN
            RETURN QUERY SELECT _old_type, _old_pid, greatest(_from, _end + 1), _to;
        END IF;
    END LOOP;
    IF _at IS NOT NULL THEN
        RETURN QUERY SELECT _type, _pid, _at, _end;
    END IF;
END $$;

-- The records of an owner after a lock or unlock of [_start, _end]. Neighbours of one type and pid
-- become one record, but a record grows only once in a call: that is how stock clients leave it, and
-- their records and ours are the same to the byte.
CREATE FUNCTION tarn_1.plock_update(_records bytea, _type int4, _pid int4, _start int8, _end int8)
RETURNS bytea
LANGUAGE plpgsql IMMUTABLE PARALLEL SAFE AS $$
DECLARE
    _piece     record;
    _last      int8;  -- the end of the record before, which may still grow; NULL: it may not
    _last_type int4;
    _last_pid  int4;
    _result    bytea := '';
BEGIN
    FOR _piece IN SELECT * FROM tarn_1.plock_pieces(_records, _type, _pid, _start, _end) AS p
                   WHERE p.type <> 2 LOOP
        IF _last = _piece.first - 1 AND _last_type = _piece.type AND _last_pid = _piece.pid THEN
            _result := substring(_result FROM 1 FOR octet_length(_result) - 8)
                       || int8send(_piece.last);
            _last := NULL;
            CONTINUE;
        END IF;
        _result := _result || int4send(_piece.type) || int4send(_piece.pid)
                   || int8send(_piece.first) || int8send(_piece.last);
        _last := _piece.last;
        _last_type := _piece.type;
        _last_pid := _piece.pid;
    END LOOP;
    RETURN _result;
END $$;

-- An owner as the change log shows it: unsigned.
CREATE FUNCTION tarn_1.lock_owner(_owner int8) RETURNS text
LANGUAGE sql IMMUTABLE PARALLEL SAFE AS $$
    SELECT (CASE WHEN _owner < 0 THEN _owner + 18446744073709551616 ELSE _owner END)::text
$$;

-- The answer of a change of locks: the inode, or nothing when it is gone and was only unlocked.
CREATE FUNCTION tarn_1.lock_reply(_n public.jfs_node) RETURNS tarn.reply
LANGUAGE sql IMMUTABLE PARALLEL SAFE AS $$
    SELECT CASE WHEN _n.inode IS NULL THEN tarn_1.refuse(0) ELSE tarn_1.attributes(_n) END
$$;

----------------------------------------------------------------------------------- fcntl

-- The lock that would exclude this one; type 2 when there is none. The pid is known for locks of the
-- same session only: other machines count their processes for themselves.
CREATE FUNCTION tarn_1.getlk(_sid int8, _ino int8, _owner int8, _type int4, _start int8, _end int8)
RETURNS TABLE (err int4, type int4, pid int4, first int8, last int8)
LANGUAGE plpgsql STABLE PARALLEL SAFE AS $$
DECLARE
    _row   record;
    _found bytea;
BEGIN
    FOR _row IN SELECT p.sid, p.owner, p.records FROM public.jfs_plock AS p
                 WHERE p.inode = _ino AND (p.sid, p.owner) <> (_sid, _owner) ORDER BY p.id LOOP
        _found := tarn_1.plock_conflict(_row.records, _type, _start, _end);
        IF _found IS NOT NULL THEN
            RETURN QUERY SELECT 0, tarn_1.be4(_found, 0),
                                CASE WHEN _row.sid = _sid THEN tarn_1.be4(_found, 4) ELSE 0 END,
                                tarn_1.be8(_found, 8), tarn_1.be8(_found, 16);
            RETURN;
        END IF;
    END LOOP;
    RETURN QUERY SELECT 0, 2, 0, 0::int8, 0::int8;
END $$;

-- Lock the rows of the inode's fcntl locks, of which an unlock needs only the owner's. EAGAIN when
-- one is in the way.
CREATE FUNCTION tarn_1.plocks_for_update(
    _sid int8, _ino int8, _owner int8, _type int4, _start int8, _end int8,
    OUT err int4, OUT own bytea)
LANGUAGE plpgsql AS $$
DECLARE
    _row record;
BEGIN
    err := 0;
    FOR _row IN SELECT p.sid, p.owner, p.records FROM public.jfs_plock AS p
                 WHERE p.inode = _ino AND (_type <> 2 OR (p.sid = _sid AND p.owner = _owner))
                 ORDER BY p.id FOR UPDATE LOOP
        IF _row.sid = _sid AND _row.owner = _owner THEN
            own := _row.records;
        ELSIF tarn_1.plock_conflict(_row.records, _type, _start, _end) IS NOT NULL THEN
            err := 11;
            RETURN;
        END IF;
    END LOOP;
END $$;

CREATE FUNCTION tarn_1.change_plock(_sid int8, _op int8, _ino int8, _owner int8, _type int4,
                                    _start int8, _end int8, _pid int4) RETURNS tarn.reply
LANGUAGE plpgsql AS $$
DECLARE
    _n    public.jfs_node;
    _old  record;
    _new  bytea;
BEGIN
    IF _type NOT IN (0, 1, 2) OR _start < 0 OR _end < _start THEN
        RETURN tarn_1.refuse(22);
    END IF;
    SELECT * INTO _n FROM public.jfs_node WHERE inode = _ino FOR NO KEY UPDATE;
    IF NOT FOUND AND _type <> 2 THEN
        RETURN tarn_1.refuse(2);
    END IF;
    _old := tarn_1.plocks_for_update(_sid, _ino, _owner, _type, _start, _end);
    IF _old.err <> 0 THEN
        RETURN tarn_1.refuse(_old.err);
    ELSIF _type = 2 AND coalesce(_old.own, '') = '' THEN
        RETURN tarn_1.lock_reply(_n);
    END IF;

    _new := tarn_1.plock_update(coalesce(_old.own, ''), _type, _pid, _start, _end);
    IF _new = '' THEN
        DELETE FROM public.jfs_plock AS p
         WHERE p.inode = _ino AND p.sid = _sid AND p.owner = _owner;
    ELSIF _old.own IS NULL THEN
        INSERT INTO public.jfs_plock (inode, sid, owner, records)
        VALUES (_ino, _sid, _owner, _new);
    ELSIF _new <> _old.own THEN
        UPDATE public.jfs_plock AS p SET records = _new
         WHERE p.inode = _ino AND p.sid = _sid AND p.owner = _owner;
    END IF;
    IF (tarn_1.flags()).change_log THEN
        PERFORM tarn_1.log_change(_sid, _op, format('SETLK(%s,%s,%s,%s,%s,%s)', _ino,
            tarn_1.lock_owner(_owner), (ARRAY['R', 'W', 'U'])[_type + 1], _start, _end, _pid));
    END IF;
    RETURN tarn_1.lock_reply(_n);
END $$;

CREATE FUNCTION tarn_1.setlk(_sid int8, _lane int4, _op int8, _ino int8, _owner int8, _type int4,
                             _start int8, _end int8, _pid int4) RETURNS tarn.reply
LANGUAGE plpgsql AS $$
DECLARE
    _reply tarn.reply := tarn_1.lane_begin(_sid, _lane, _op);
BEGIN
    IF _reply.err IS NULL THEN
        _reply := tarn_1.lane_end(_sid, _lane, _op, tarn_1.change_plock(
            _sid, _op, _ino, _owner, _type, _start, _end, _pid));
    END IF;
    RETURN _reply;
END $$;

----------------------------------------------------------------------------------- flock

CREATE FUNCTION tarn_1.flock_unlock(_sid int8, _op int8, _ino int8, _owner int8)
RETURNS tarn.reply
LANGUAGE plpgsql AS $$
DECLARE
    _n public.jfs_node;
BEGIN
    SELECT * INTO _n FROM public.jfs_node WHERE inode = _ino FOR NO KEY UPDATE;
    DELETE FROM public.jfs_flock AS f
     WHERE f.inode = _ino AND f.sid = _sid AND f.owner = _owner;
    IF (tarn_1.flags()).change_log THEN
        PERFORM tarn_1.log_change(_sid, _op,
                                  format('FLOCK(%s,%s,U)', _ino, tarn_1.lock_owner(_owner)));
    END IF;
    RETURN tarn_1.lock_reply(_n);
END $$;

-- Types in jfs_flock are the letters R (82) and W (87). An upgrade that is refused leaves the old
-- lock as it was.
CREATE FUNCTION tarn_1.flock_lock(_sid int8, _op int8, _ino int8, _owner int8, _type int4)
RETURNS tarn.reply
LANGUAGE plpgsql AS $$
DECLARE
    _n      public.jfs_node;
    _row    record;
    _own    int4;
    _letter int4 := CASE _type WHEN 0 THEN 82 ELSE 87 END;
BEGIN
    SELECT * INTO _n FROM public.jfs_node WHERE inode = _ino FOR NO KEY UPDATE;
    IF NOT FOUND THEN
        RETURN tarn_1.refuse(2);
    END IF;
    FOR _row IN SELECT f.sid, f.owner, f.ltype FROM public.jfs_flock AS f
                 WHERE f.inode = _ino ORDER BY f.id FOR UPDATE LOOP
        IF _row.sid = _sid AND _row.owner = _owner THEN
            _own := _row.ltype;
        ELSIF _type = 1 OR _row.ltype = 87 THEN
            RETURN tarn_1.refuse(11);
        END IF;
    END LOOP;

    IF _own IS NULL THEN
        INSERT INTO public.jfs_flock (inode, sid, owner, ltype)
        VALUES (_ino, _sid, _owner, _letter);
    ELSIF _own <> _letter THEN
        UPDATE public.jfs_flock AS f SET ltype = _letter
         WHERE f.inode = _ino AND f.sid = _sid AND f.owner = _owner;
    END IF;
    IF (tarn_1.flags()).change_log THEN
        PERFORM tarn_1.log_change(_sid, _op, format('FLOCK(%s,%s,%s)', _ino,
                                                    tarn_1.lock_owner(_owner), chr(_letter)));
    END IF;
    RETURN tarn_1.lock_reply(_n);
END $$;

CREATE FUNCTION tarn_1.flock(_sid int8, _lane int4, _op int8, _ino int8, _owner int8, _type int4)
RETURNS tarn.reply
LANGUAGE plpgsql AS $$
DECLARE
    _reply tarn.reply := tarn_1.lane_begin(_sid, _lane, _op);
BEGIN
    IF _reply.err IS NULL THEN
        _reply := tarn_1.lane_end(_sid, _lane, _op,
            CASE _type WHEN 2 THEN tarn_1.flock_unlock(_sid, _op, _ino, _owner)
                       WHEN 0 THEN tarn_1.flock_lock(_sid, _op, _ino, _owner, 0)
                       WHEN 1 THEN tarn_1.flock_lock(_sid, _op, _ino, _owner, 1)
                       ELSE tarn_1.refuse(22) END);
    END IF;
    RETURN _reply;
END $$;

----------------------------------------------------------------------------------- waiting

-- Every lock on these inodes, for a mount that waits for some of them: one exchange for all its
-- waiters. records is NULL for a lock of flock, which has the type and the whole file.
CREATE FUNCTION tarn_1.lock_rows(_inos int8[])
RETURNS TABLE (ino int8, sid int8, owner int8, type int4, records bytea)
LANGUAGE plpgsql STABLE PARALLEL SAFE AS $$
BEGIN
    RETURN QUERY
    SELECT f.inode, f.sid, f.owner, CASE f.ltype WHEN 82 THEN 0 ELSE 1 END, NULL::bytea
      FROM public.jfs_flock AS f WHERE f.inode = ANY (_inos)
    UNION ALL
    SELECT p.inode, p.sid, p.owner, NULL, p.records
      FROM public.jfs_plock AS p WHERE p.inode = ANY (_inos);
END $$;
