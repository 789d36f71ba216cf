-- Attributes: chmod, chown, utimes, chattr and truncate are one function.
--
-- _mask says which arguments are meant (enum setattr_mask of fs/meta/file.h):
--     1 mode, 2 uid, 4 gid, 8 length, 16 atime, 32 mtime, 64 atime is now, 128 mtime is now,
--     256 flags, 512 kill suid, 1024 by an open handle
-- Whether the caller owns the file is checked by the kernel, which knows the caller's groups and
-- capabilities; the exception is flags, which reach us as an ioctl that the kernel does not read.

-- The errno with which a change of _n is refused, or 0.
CREATE FUNCTION tarn_1.setattr_refusal(
    _n public.jfs_node, _mask int4, _mode int4, _uid int8, _gid int8, _flags int4, _length int8,
    _caller_uid int8) RETURNS int4
LANGUAGE plpgsql STABLE AS $$
BEGIN
    -- What lies in the trash stays as it was deleted, but a handle that was opened before goes on
    -- working: programs unlink their temporary files right after they have opened them.
    IF _n.inode >= tarn_1.trash() OR (_n.parent > tarn_1.trash() AND _mask & 1024 = 0) THEN
        RETURN 1;
    -- Immutable: nothing but the flags. Append-only: times may become now.
    ELSIF (_n.flags & 1 <> 0 AND _mask & ~1280 <> 0)
       OR (_n.flags & 2 <> 0 AND (_mask & 15 <> 0 OR _mask & 80 = 16 OR _mask & 160 = 32)) THEN
        RETURN 1;
    ELSIF _mask & 256 <> 0 AND _caller_uid <> 0
       AND (_caller_uid <> _n.uid::int8 & 4294967295 OR (_n.flags # _flags) & 3 <> 0) THEN
        RETURN 1;
    ELSIF (_mask & 2 <> 0 AND NOT tarn_1.fits('uid', _uid))
       OR (_mask & 4 <> 0 AND NOT tarn_1.fits('gid', _gid)) THEN
        RETURN 22;
    ELSIF _mask & 8 = 0 THEN
        RETURN 0;
    END IF;
    RETURN CASE WHEN _n.type = 2 THEN 21
                WHEN _n.type <> 1 OR _length < 0 THEN 22
                WHEN _length > 144115188075855872 THEN 27
                ELSE 0 END;
END $$;

-- The owner and mode of _n as asked for. Any chown of anything but a directory takes suid away,
-- also one by root, as ext4 does.
CREATE FUNCTION tarn_1.with_owner(_n public.jfs_node, _mask int4, _mode int4, _uid int8, _gid int8)
RETURNS public.jfs_node
LANGUAGE plpgsql IMMUTABLE AS $$
BEGIN
    IF _mask & 1 <> 0 THEN
        _n.mode := _mode & 4095;
    END IF;
    IF _mask & 2 <> 0 THEN
        _n.uid := _uid;
    END IF;
    IF _mask & 4 <> 0 THEN
        _n.gid := _gid;
    END IF;
    IF (_mask & 6 <> 0 AND _n.type <> 2) OR (_mask & 512 <> 0 AND _n.type = 1) THEN
        _n.mode := tarn_1.without_suid(_n.mode);
    END IF;
    RETURN _n;
END $$;

-- The times of _n as asked for; ctime is now.
CREATE FUNCTION tarn_1.with_times(_n public.jfs_node, _mask int4, _atime int8, _atimensec int4,
                                  _mtime int8, _mtimensec int4) RETURNS public.jfs_node
LANGUAGE plpgsql AS $$
DECLARE
    _now int8 := tarn_1.clock_us();
BEGIN
    IF _mask & 64 <> 0 THEN
        _n.atime := _now;
        _n.atimensec := 0;
    ELSIF _mask & 16 <> 0 THEN
        _n.atime := _atime;
        _n.atimensec := _atimensec;
    END IF;
    IF _mask & 128 <> 0 THEN
        _n.mtime := _now;
        _n.mtimensec := 0;
    ELSIF _mask & 32 <> 0 THEN
        _n.mtime := _mtime;
        _n.mtimensec := _mtimensec;
    END IF;
    _n.ctime := tarn_1.next_ctime(_n.ctime, _now);
    _n.ctimensec := 0;
    RETURN _n;
END $$;

CREATE FUNCTION tarn_1.change_attributes(
    _sid int8, _op int8, _settings tarn.volume_flags, _ino int8, _mask int4, _mode int4, _uid int8,
    _gid int8, _flags int4, _length int8, _atime int8, _atimensec int4, _mtime int8,
    _mtimensec int4, _caller_uid int8, _caller_gids int8[])
RETURNS tarn.reply
LANGUAGE plpgsql AS $$
DECLARE
    _old   public.jfs_node;
    _n     public.jfs_node;
    _err   int4;
    _rest  int4 := _mask; -- without what a truncation has done
    _reply tarn.reply;
BEGIN
    SELECT * INTO _old FROM public.jfs_node WHERE inode = _ino FOR NO KEY UPDATE;
    IF NOT FOUND THEN
        RETURN tarn_1.refuse(2);
    END IF;
    _err := tarn_1.setattr_refusal(_old, _mask, _mode, _uid, _gid, _flags, _length, _caller_uid);
    IF _err <> 0 THEN
        RETURN tarn_1.refuse(_err);
    END IF;

    -- Setgid is for the members of the file's group to give.
    IF _mask & 1 <> 0 AND _mode & 1024 <> 0 AND _caller_uid <> 0
       AND _old.gid::int8 & 4294967295 <> ALL (_caller_gids) THEN
        _mode := _mode & ~1024;
    END IF;
    _n := tarn_1.with_owner(_old, _mask, _mode, _uid, _gid);
    IF _mask & 1 <> 0 AND _old.access_acl_id > 0 THEN
        _n.access_acl_id := tarn_1.acl_after_chmod(_old.access_acl_id, _mode);
    END IF;
    IF _mask & 256 <> 0 THEN
        _n.flags := _flags | (_n.flags & 1073741824); -- tmpfile()
    END IF;
    IF _mask & 8 <> 0 AND _length <> _old.length THEN
        _n.length := _length;
        IF tarn_1.growth_error(_n, _old.length) <> 0 THEN
            RETURN tarn_1.refuse(122);
        END IF;
        -- Growing appends holes too: what a chunk holds behind the old end must not come back.
        PERFORM tarn_1.punch(_ino, least(_old.length, _length), greatest(_old.length, _length));
        IF _mask & 160 = 32 THEN
            _n := tarn_1.touched(_n, _mtime, _mtimensec);
        ELSE
            _n := tarn_1.touched(_n, tarn_1.clock_us(), 0);
        END IF;
        _rest := _mask & ~160;
    ELSIF _mask & ~1544 = 0 AND _n.mode = _old.mode THEN
        RETURN tarn_1.attributes(_old);  -- a truncation to the same length changes nothing
    END IF;
    _reply := tarn_1.store(tarn_1.with_times(_n, _rest, _atime, _atimensec, _mtime, _mtimensec),
                           _old.length);
    IF (_n.uid, _n.gid) <> (_old.uid, _old.gid) THEN
        _reply.usage := coalesce(_reply.usage, '{0,0}') || tarn_1.chown_usage(_old, _n);
    END IF;
    IF _settings.change_log THEN
        PERFORM tarn_1.log_setattr(_sid, _op, _mask, _old.length, _reply);
    END IF;
    RETURN _reply;
END $$;

-- Note what a setattr made of an inode of length _old: a truncation, the rest, or both. The mask of an
-- entry has FUSE's bits, and stock clients' own for flags; a handle is told by a truncation only.
CREATE FUNCTION tarn_1.log_setattr(_sid int8, _op int8, _mask int4, _old int8, _r tarn.reply)
RETURNS void
LANGUAGE plpgsql AS $$
DECLARE
    _valid int4 := _mask & 63
                   | CASE WHEN _mask & 64 <> 0 THEN 144 ELSE 0 END   -- atime: now
                   | CASE WHEN _mask & 128 <> 0 THEN 288 ELSE 0 END  -- mtime: now
                   | CASE WHEN _mask & 256 <> 0 THEN 32768 ELSE 0 END
                   | CASE WHEN _mask & 512 <> 0 AND _mask & 8 = 0 THEN 1 ELSE 0 END;
BEGIN
    IF _r.length <> _old THEN
        PERFORM tarn_1.log_change(_sid, _op, format(
            'TRUNCATE(%s,%s,%s,%s)', _r.ino, _old, _r.length, (_mask & 1024 <> 0)::int4));
    END IF;
    IF _valid & ~8 <> 0 THEN
        PERFORM tarn_1.log_change(_sid, _op, format(
            'SETATTR(%s,%s,0,%s,%s,%s,%s,%s,%s,%s,%s,%s,%s,%s)', _r.ino, _valid, _r.uid, _r.gid,
            _r.mode, _r.flags, _r.atime / 1000000, _r.mtime / 1000000,
            _r.atime % 1000000 * 1000 + _r.atimensec, _r.mtime % 1000000 * 1000 + _r.mtimensec,
            _r.ctime / 1000000, _r.ctime % 1000000 * 1000 + _r.ctimensec, _r.access_acl));
    END IF;
END $$;

-- _caller_gids: the caller's groups, besides _caller_gid; NULL: the kernel has looked at them.
CREATE FUNCTION tarn_1.setattr(
    _sid int8, _lane int4, _op int8, _ino int8, _mask int4, _mode int4, _uid int8, _gid int8,
    _flags int4, _length int8, _atime int8, _atimensec int4, _mtime int8, _mtimensec int4,
    _caller_uid int8, _caller_gid int8, _caller_gids int8[] DEFAULT NULL) RETURNS tarn.reply
LANGUAGE plpgsql AS $$
DECLARE
    _settings tarn.volume_flags := tarn_1.lane_flags(_sid, _lane, _op);
    _reply    tarn.reply;
BEGIN
    IF _settings.only_row IS NULL THEN
        _reply := tarn_1.lane_begin(_sid, _lane, _op);
        _settings := tarn_1.flags();
    END IF;
    IF _reply.err IS NULL THEN
        _reply := tarn_1.change_attributes(
            _sid, _op, _settings, _ino, _mask, _mode, _uid, _gid, _flags, _length, _atime,
            _atimensec, _mtime, _mtimensec, _caller_uid,
            CASE WHEN _caller_gids IS NOT NULL THEN _caller_gids || _caller_gid END);
        _reply := tarn_1.lane_end(_sid, _lane, _op, _reply, _settings.dir_quota);
    END IF;
    RETURN _reply;
END $$;

-- What the volume uses, as all clients have flushed it.
CREATE FUNCTION tarn_1.statfs() RETURNS TABLE (used_space int8, used_inodes int8)
LANGUAGE sql STABLE PARALLEL SAFE AS $$
    SELECT coalesce((SELECT value FROM public.jfs_counter WHERE name = 'usedSpace'), 0),
           coalesce((SELECT value FROM public.jfs_counter WHERE name = 'totalInodes'), 0)
$$;
