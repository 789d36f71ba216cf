-- What a mount needs for POSIX beside the operations themselves: the rules of access control lists
-- by their number, and access times.

-- A rule in its encoded form. Rules never change, so a client keeps what it got for good. EIO: an
-- inode names a rule that is missing.
CREATE FUNCTION tarn_1.acl_rule(_id int4) RETURNS TABLE (err int4, rule bytea)
LANGUAGE sql STABLE PARALLEL SAFE AS $$
    SELECT CASE WHEN a.id IS NULL THEN 5 ELSE 0 END,
           tarn_1.acl_encode(a)
      FROM (SELECT) AS always LEFT JOIN public.jfs_acl AS a ON a.id = _id
$$;

---------------------------------------------------------------------------------- access times

-- Whether a read at _now changes the access time: in relatime mode when it is not after the last
-- change, or a day old; in strictatime mode also when it is a second old.
CREATE FUNCTION tarn_1.atime_is_due(_n public.jfs_node, _is_strict bool, _now int8) RETURNS bool
LANGUAGE sql IMMUTABLE PARALLEL SAFE AS $$
    SELECT (_n.atime, coalesce(_n.atimensec, 0)) <= (_n.mtime, coalesce(_n.mtimensec, 0))
           OR (_n.atime, coalesce(_n.atimensec, 0)) <= (_n.ctime, coalesce(_n.ctimensec, 0))
           OR _now - _n.atime >= CASE WHEN _is_strict THEN 1000000 ELSE 86400000000 END
$$;

-- An inode was read. Nothing else of it changes, ctime included.
CREATE FUNCTION tarn_1.touch_atime_of(_sid int8, _op int8, _ino int8, _is_strict bool)
RETURNS tarn.reply
LANGUAGE plpgsql AS $$
DECLARE
    _now int8 := tarn_1.clock_us();
    _n   public.jfs_node;
BEGIN
    SELECT * INTO _n FROM public.jfs_node WHERE inode = _ino FOR NO KEY UPDATE;
    IF NOT FOUND THEN
        RETURN tarn_1.refuse(2);
    ELSIF NOT tarn_1.atime_is_due(_n, _is_strict, _now) THEN
        RETURN tarn_1.attributes(_n);
    END IF;
    UPDATE public.jfs_node SET atime = _now, atimensec = 0 WHERE inode = _ino RETURNING * INTO _n;
    IF (tarn_1.flags()).change_log THEN
        PERFORM tarn_1.log_change(_sid, _op, format('ACCESS(%s)', _ino));
    END IF;
    RETURN tarn_1.attributes(_n);
END $$;

CREATE FUNCTION tarn_1.touch_atime(_sid int8, _lane int4, _op int8, _ino int8, _is_strict bool)
RETURNS tarn.reply
LANGUAGE plpgsql AS $$
DECLARE
    _reply tarn.reply := tarn_1.lane_begin(_sid, _lane, _op);
BEGIN
    IF _reply.err IS NULL THEN
        _reply := tarn_1.lane_end(_sid, _lane, _op,
                                  tarn_1.touch_atime_of(_sid, _op, _ino, _is_strict));
    END IF;
    RETURN _reply;
END $$;

--------------------------------------------------------------------------------------- statfs

-- What the volume uses, and what the quotas of _ino and of the directories above it leave: the
-- least room of all of them, and the use under the nearest one. NULL where no quota says anything.
CREATE FUNCTION tarn_1.statfs_at(_ino int8)
RETURNS TABLE (used_space int8, used_inodes int8, room_space int8, room_inodes int8,
               quota_space int8, quota_inodes int8)
LANGUAGE plpgsql STABLE AS $$
DECLARE
    _flags tarn.volume_flags := tarn_1.flags();
    _at    int8 := _ino;
    _q     public.jfs_dir_quota;
BEGIN
    SELECT s.used_space, s.used_inodes INTO used_space, used_inodes FROM tarn_1.statfs() AS s;
    WHILE _flags.dir_quota AND _flags.dir_stats AND _at > 0 LOOP
        SELECT * INTO _q FROM public.jfs_dir_quota AS q
         WHERE q.inode = _at AND (q.max_space > 0 OR q.max_inodes > 0);
        IF FOUND THEN
            quota_space := coalesce(quota_space, greatest(_q.used_space, 0));
            quota_inodes := coalesce(quota_inodes, greatest(_q.used_inodes, 0));
            IF _q.max_space > 0 THEN
                room_space := least(room_space, greatest(_q.max_space - _q.used_space, 0));
            END IF;
            IF _q.max_inodes > 0 THEN
                room_inodes := least(room_inodes, greatest(_q.max_inodes - _q.used_inodes, 0));
            END IF;
        END IF;
        EXIT WHEN _at = 1;
        SELECT n.parent INTO _at FROM public.jfs_node AS n WHERE n.inode = _at;
    END LOOP;
    RETURN NEXT;
END $$;
