-- Access times.

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
