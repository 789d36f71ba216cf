-- Names: create, link, unlink, rmdir; 23_rename.sql has rename.
--
-- Order of locks, the same for all of them and for stock clients (format §12.2): the directory
-- that gets a name (key share), nodes (lower inode first), edges ((parent, name) order), and last
-- the parents' own rows (lower inode first). Stock clients can still meet us crosswise; PostgreSQL
-- then ends one of the two, and both sides try again.
--
-- An edge is read without a lock, its node is locked, and only then is it certain whether the edge
-- still leads there. If not, nothing has been changed yet and the function starts over: somebody
-- else has got on, so the loops end.

------------------------------------------------------------------------------------ the parts

-- The errno of a name that no entry can have, else 0.
CREATE FUNCTION tarn_1.name_error(_name bytea) RETURNS int4
LANGUAGE sql IMMUTABLE PARALLEL SAFE AS $$
    SELECT CASE WHEN length(_name) > 255 THEN 36
                WHEN length(_name) = 0 OR position('\x2f'::bytea IN _name) > 0
                     OR position('\x00'::bytea IN _name) > 0 THEN 22
                ELSE 0 END
$$;

CREATE FUNCTION tarn_1.is_dots(_name bytea) RETURNS bool
LANGUAGE sql IMMUTABLE PARALLEL SAFE AS $$ SELECT _name IN ('\x2e'::bytea, '\x2e2e'::bytea) $$;

-- Lock a node's row and read it: what is read cannot change before we commit. ENOENT when gone.
CREATE FUNCTION tarn_1.lock_node(_ino int8) RETURNS tarn.reply
LANGUAGE plpgsql AS $$
DECLARE
    _r tarn.reply;
BEGIN
    SELECT (tarn_1.attributes(n)).* INTO _r
      FROM public.jfs_node AS n WHERE n.inode = _ino FOR UPDATE;
    IF NOT FOUND THEN
        RETURN tarn_1.refuse(2);
    END IF;
    RETURN _r;
END $$;

-- Hold a directory that is about to get a name, so that nobody removes it before we commit, and
-- read its attributes from the held row. Nothing is made in the trash, nor in a directory that was
-- thrown away; _restore waives the second for `juicefs restore`.
--
-- A key share does not stop others from making names in the same directory or from updating its
-- times; it stops rmdir, which takes the row FOR UPDATE before it looks for children.
CREATE FUNCTION tarn_1.hold_parent(_dir int8, _restore bool DEFAULT false) RETURNS tarn.reply
LANGUAGE plpgsql AS $$
DECLARE
    _r tarn.reply;
BEGIN
    IF _dir >= tarn_1.trash() THEN
        RETURN tarn_1.refuse(1);
    END IF;
    SELECT (tarn_1.attributes(n)).* INTO _r
      FROM public.jfs_node AS n WHERE n.inode = _dir FOR KEY SHARE;
    IF NOT FOUND OR _r.parent > tarn_1.trash() AND NOT _restore THEN
        RETURN tarn_1.refuse(2);
    ELSIF _r.type <> 2 THEN
        RETURN tarn_1.refuse(20);
    END IF;
    RETURN _r;
END $$;

-- Whether the times of a directory have to be brought up to date: to spare a busy directory's row
-- they are left as they are within 100 ms, as stock clients do it.
CREATE FUNCTION tarn_1.is_stale(_mtime int8, _now int8) RETURNS bool
LANGUAGE sql IMMUTABLE PARALLEL SAFE AS $$ SELECT _mtime NOT BETWEEN _now - 99999 AND _now $$;

-- Bring a directory's row up to date: its times, unless they are fresh, and _links more
-- sub-directories. The trash keeps its times and its link count.
CREATE FUNCTION tarn_1.touch_directory(_dir int8, _links int4, _now int8) RETURNS void
LANGUAGE plpgsql AS $$
BEGIN
    UPDATE public.jfs_node
       SET nlink = nlink + _links, mtime = _now, ctime = tarn_1.next_ctime(ctime, _now),
           mtimensec = 0, ctimensec = 0
     WHERE inode = _dir AND inode < tarn_1.trash()
       AND (_links <> 0 OR tarn_1.is_stale(mtime, _now));
END $$;

-- Both directories of a rename, lower inode first.
CREATE FUNCTION tarn_1.touch_directories(_dir1 int8, _links1 int4, _dir2 int8, _links2 int4,
                                         _now int8) RETURNS void
LANGUAGE plpgsql AS $$
BEGIN
    IF _dir1 = _dir2 THEN
        PERFORM tarn_1.touch_directory(_dir1, _links1 + _links2, _now);
    ELSIF _dir1 < _dir2 THEN
        PERFORM tarn_1.touch_directory(_dir1, _links1, _now);
        PERFORM tarn_1.touch_directory(_dir2, _links2, _now);
    ELSE
        PERFORM tarn_1.touch_directory(_dir2, _links2, _now);
        PERFORM tarn_1.touch_directory(_dir1, _links1, _now);
    END IF;
END $$;

-- EEXIST together with the attributes of what has the name, or NULL when the name is free. Of an
-- edge whose node is missing only inode and type are known.
CREATE FUNCTION tarn_1.occupied(_parent int8, _name bytea) RETURNS tarn.reply
LANGUAGE plpgsql AS $$
DECLARE
    _e public.jfs_edge;
    _r tarn.reply;
BEGIN
    SELECT * INTO _e FROM public.jfs_edge WHERE parent = _parent AND name = _name;
    IF NOT FOUND THEN
        RETURN NULL;
    END IF;
    _r := tarn_1.getattr(_e.inode);
    _r.err := 17;
    _r.ino := _e.inode;
    _r.type := coalesce(_r.type, _e.type);
    RETURN _r;
END $$;

-- Give a name to an inode: NULL when done, EEXIST as occupied(). A name that is taken is found out
-- by trying, which waits for whoever is about to make or remove the same one.
CREATE FUNCTION tarn_1.add_edge(_parent int8, _name bytea, _ino int8, _type int4)
RETURNS tarn.reply
LANGUAGE plpgsql AS $$
DECLARE
    _r tarn.reply;
BEGIN
    LOOP
        INSERT INTO public.jfs_edge (parent, name, inode, type)
        VALUES (_parent, _name, _ino, _type) ON CONFLICT (parent, name) DO NOTHING;
        IF FOUND THEN
            RETURN NULL;
        END IF;
        _r := tarn_1.occupied(_parent, _name);
        EXIT WHEN _r.err IS NOT NULL;
    END LOOP;
    RETURN _r;
END $$;

-- Lock an edge if it still leads to that inode.
CREATE FUNCTION tarn_1.lock_edge(_parent int8, _name bytea, _ino int8) RETURNS bool
LANGUAGE plpgsql AS $$
BEGIN
    PERFORM FROM public.jfs_edge
      WHERE parent = _parent AND name = _name AND inode = _ino FOR UPDATE;
    RETURN FOUND;
END $$;

-- Whether a directory has entries. Ordered, because a plan that is made once for all directories
-- must walk the index: where one directory has most of all entries, the first of any other one is
-- sought through the whole table. As a function, because an EXISTS forgets the order.
CREATE FUNCTION tarn_1.has_children(_dir int8) RETURNS bool
LANGUAGE plpgsql AS $$
BEGIN
    PERFORM FROM public.jfs_edge WHERE parent = _dir ORDER BY name LIMIT 1;
    RETURN FOUND;
END $$;

-- The length of an inode as directories account it: that of regular files only.
CREATE FUNCTION tarn_1.counted_length(_n tarn.reply) RETURNS int8
LANGUAGE sql IMMUTABLE PARALLEL SAFE AS $$
    SELECT CASE WHEN _n.type = 1 THEN _n.length ELSE 0 END
$$;

-- The part of a usage array that adds _sign entries like _n to a directory.
CREATE FUNCTION tarn_1.entry_usage(_dir int8, _n tarn.reply, _sign int4) RETURNS int8[]
LANGUAGE sql IMMUTABLE PARALLEL SAFE AS $$
    SELECT ARRAY[_dir, _sign * tarn_1.counted_length(_n),
                 _sign * tarn_1.space(tarn_1.counted_length(_n)), _sign]
$$;

----------------------------------------------------------------------------------------- create

-- The permission bits of a new inode in a set-group-ID directory (format §5): directories hand the
-- bit down; a file may carry it only for root and for members of the group.
CREATE FUNCTION tarn_1.setgid_mode(_mode int4, _type int4, _group int8, _uid int8, _gids int8[])
RETURNS int4
LANGUAGE sql IMMUTABLE PARALLEL SAFE AS $$
    SELECT CASE WHEN _type = 2 THEN _mode | 1024
                WHEN _mode & 1032 = 1032 AND _uid <> 0 AND _group <> ALL (_gids) THEN _mode & ~1024
                ELSE _mode END
$$;

-- The errno of what cannot be made anywhere, else 0.
CREATE FUNCTION tarn_1.create_error(_parent int8, _name bytea, _type int4, _uid int8, _gid int8,
                                    _rdev int8, _target bytea) RETURNS int4
LANGUAGE sql STABLE PARALLEL SAFE AS $$
    SELECT CASE WHEN tarn_1.name_error(_name) <> 0 THEN tarn_1.name_error(_name)
                WHEN tarn_1.is_dots(_name) THEN 17
                WHEN tarn_1.is_trash_name(_parent, _name) OR _parent >= tarn_1.trash() THEN 1
                WHEN _type NOT BETWEEN 1 AND 7 OR NOT tarn_1.fits('uid', _uid)
                     OR NOT tarn_1.fits('gid', _gid)
                     OR _type IN (5, 6) AND NOT tarn_1.fits('rdev', _rdev)
                     OR _type = 3 AND (_target = '' OR position('\x00'::bytea IN _target) > 0) THEN 22
                WHEN _type = 3 AND length(_target) > 4096 THEN 36
                ELSE 0 END
$$;

-- Why a name may not be made in the held directory _p, else NULL. These refusals stand behind
-- EEXIST, so they look for the name first.
CREATE FUNCTION tarn_1.making_refusal(_p public.jfs_node, _name bytea, _flags tarn.volume_flags,
                                      _uid int8, _gid int8) RETURNS tarn.reply
LANGUAGE plpgsql AS $$
DECLARE
    _err int4 := 0;
    _r   tarn.reply;
BEGIN
    IF _p.flags & 1 <> 0 THEN
        _err := 1;
    ELSIF _flags.dir_quota OR _flags.owner_quota THEN
        _err := tarn_1.quota_error(_p.inode, _uid, _gid, 4096, 1);
    END IF;
    IF _err = 0 THEN
        RETURN NULL;
    END IF;
    _r := tarn_1.occupied(_p.inode, _name);
    RETURN CASE WHEN _r.err = 17 THEN _r ELSE tarn_1.refuse(_err) END;
END $$;

-- Make an inode with its name; without one when _name is NULL. All that is common is done here and
-- not in functions of its own, for this is what a mount does most, and a call costs as much as a query.
CREATE FUNCTION tarn_1.create_node(
    _sid int8, _op int8, _flags tarn.volume_flags, _parent int8, _name bytea, _ino int8, _type int4,
    _mode int4, _umask int4, _uid int8, _gid int8, _rdev int8, _target bytea, _gids int8[])
RETURNS tarn.reply
LANGUAGE plpgsql AS $$
DECLARE
    _err   int4 := 0;
    _now   int8 := tarn_1.clock_us();
    _perm  int4 := CASE _type WHEN 3 THEN 511 ELSE _mode & 4095 & ~_umask END;
    _group int8 := _gid;
    _acl   int4 := 0;
    _touch bool;
    _p     public.jfs_node;
    _r     tarn.reply;
BEGIN
    -- Expressions are compiled anew in each transaction, so the full list is left to those who may
    -- fail in it.
    IF _type <> 1 OR _parent = 1 OR _parent >= tarn_1.trash() OR (_uid | _gid) >> 31 <> 0
       OR length(_name) NOT BETWEEN 3 AND 255 OR position('\x2f'::bytea IN _name) > 0
       OR position('\x00'::bytea IN _name) > 0 THEN
        _err := tarn_1.create_error(_parent, _name, _type, _uid, _gid, _rdev, _target);
        IF _err <> 0 THEN
            RETURN tarn_1.refuse(_err);
        END IF;
    END IF;
    -- Held as by hold_parent().
    SELECT * INTO _p FROM public.jfs_node WHERE inode = _parent FOR KEY SHARE;
    IF NOT FOUND OR _p.parent > tarn_1.trash() THEN
        RETURN tarn_1.refuse(2);
    ELSIF _p.type <> 2 THEN
        RETURN tarn_1.refuse(20);
    END IF;
    IF _p.default_acl_id > 0 AND _type <> 3 THEN
        SELECT i.acl, i.mode INTO _acl, _perm FROM tarn_1.inherit_acl(_p.default_acl_id, _mode) AS i;
    END IF;
    IF _p.mode & 1024 <> 0 THEN
        _group := _p.gid::int8 & 4294967295;
        _perm := tarn_1.setgid_mode(_perm, _type, _group, _uid, _gids || _gid);
    END IF;
    IF _p.flags & 1 <> 0 OR _flags.dir_quota OR _flags.owner_quota THEN
        _r := tarn_1.making_refusal(_p, _name, _flags, _uid, _group);
        IF _r.err IS NOT NULL THEN
            RETURN _r;
        END IF;
    END IF;

    WHILE _name IS NOT NULL LOOP -- as add_edge()
        INSERT INTO public.jfs_edge (parent, name, inode, type)
        VALUES (_parent, _name, _ino, _type) ON CONFLICT (parent, name) DO NOTHING;
        EXIT WHEN FOUND;
        _r := tarn_1.occupied(_parent, _name);
        IF _r.err IS NOT NULL THEN
            RETURN _r;
        END IF;
    END LOOP;
    INSERT INTO public.jfs_node AS n
           (inode, type, flags, mode, uid, gid, atime, mtime, ctime, atimensec, mtimensec,
            ctimensec, nlink, length, rdev, parent, access_acl_id, default_acl_id, tier_id)
    VALUES (_ino, _type, (_p.flags & 32) | CASE WHEN _name IS NULL THEN 1073741824 ELSE 0 END,
            _perm, _uid, _group, _now, _now, _now, 0, 0, 0,
            CASE WHEN _name IS NULL THEN 0 WHEN _type = 2 THEN 2 ELSE 1 END,
            CASE _type WHEN 2 THEN 4096 WHEN 3 THEN length(_target) ELSE 0 END,
            CASE WHEN _type IN (5, 6) THEN _rdev ELSE 0 END,
            CASE WHEN _name IS NULL THEN 0 ELSE _parent END, _acl,
            CASE _type WHEN 2 THEN coalesce(_p.default_acl_id, 0) ELSE 0 END,
            coalesce(_p.tier_id, 0))
    RETURNING (tarn_1.attributes(n)).* INTO _r;
    IF _type = 3 THEN
        INSERT INTO public.jfs_symlink (inode, target) VALUES (_ino, _target);
    ELSIF _type = 2 THEN
        INSERT INTO public.jfs_dir_stats (inode, data_length, used_space, used_inodes)
        VALUES (_ino, 0, 0, 0);
    END IF;
    _touch := _name IS NOT NULL AND (_type = 2 OR tarn_1.is_stale(_p.mtime, _now));
    IF _touch THEN
        PERFORM tarn_1.touch_directory(_parent, (_type = 2)::int4, _now);
    END IF;
    _r.usage := CASE WHEN _name IS NULL THEN '{4096,1}'
                     ELSE ARRAY[4096, 1, _parent, 0, 4096, 1] END;
    IF _flags.owner_quota THEN
        _r.usage := _r.usage || tarn_1.owner_usage(_uid, _group, 4096, 1);
    END IF;
    IF _flags.change_log AND _name IS NOT NULL THEN
        PERFORM tarn_1.log_change(_sid, _op, format(
            'CREATE(%s,%s,%s,%s,%s,%s,%s,%s,linux,%s):%s', _parent, tarn_1.log_name(_name), _uid,
            _gid, _type, _mode & 4095, _umask, tarn_1.log_name(_target), _touch::text, _ino));
    END IF;
    RETURN _r;
END $$;

-- _gids: the caller's groups, besides _gid.
CREATE FUNCTION tarn_1.create(_sid int8, _lane int4, _op int8, _parent int8, _name bytea,
                              _ino int8, _type int4, _mode int4, _umask int4, _uid int8,
                              _gid int8, _rdev int8, _target bytea, _gids int8[] DEFAULT '{}')
RETURNS tarn.reply
LANGUAGE plpgsql AS $$
DECLARE
    _flags tarn.volume_flags := tarn_1.lane_flags(_sid, _lane, _op);
    _r     tarn.reply;
BEGIN
    IF _flags.only_row IS NULL THEN
        _r := tarn_1.lane_begin(_sid, _lane, _op);
        _flags := tarn_1.flags();
    END IF;
    IF _r.err IS NULL THEN
        _r := tarn_1.create_node(_sid, _op, _flags, _parent, _name, _ino, _type, _mode, _umask,
                                 _uid, _gid, _rdev, _target, _gids);
        _r := tarn_1.lane_end(_sid, _lane, _op, _r, _flags.dir_quota);
    END IF;
    RETURN _r;
END $$;

-- Make a file without a name (O_TMPFILE), where _parent says. It is kept as if it had been unlinked
-- while this session has it open: link() gives it a name, release() or the session's end removes
-- it. A flag that stock clients do not know tells it from what was unlinked. Nor do they have an entry
-- of the change log for it: the name is noted as its creation.
CREATE FUNCTION tarn_1.tmpfile(_sid int8, _lane int4, _op int8, _parent int8, _ino int8,
                               _mode int4, _umask int4, _uid int8, _gid int8,
                               _gids int8[] DEFAULT '{}') RETURNS tarn.reply
LANGUAGE plpgsql AS $$
DECLARE
    _r     tarn.reply := tarn_1.lane_begin(_sid, _lane, _op);
    _flags tarn.volume_flags;
BEGIN
    IF _r.err IS NOT NULL THEN
        RETURN _r;
    END IF;
    _flags := tarn_1.flags();
    _r := tarn_1.create_node(_sid, _op, _flags, _parent, NULL, _ino, 1, _mode, _umask, _uid, _gid,
                             0, '', _gids);
    IF _r.err = 0 THEN
        INSERT INTO public.jfs_sustained (sid, inode) VALUES (_sid, _ino);
    END IF;
    RETURN tarn_1.lane_end(_sid, _lane, _op, _r, _flags.dir_quota);
END $$;

------------------------------------------------------------------------------------------- link

-- From the second name on, the parents of an inode are found through its edges: parent is 0 for
-- good, even when one name is left.
--
-- An inode without a name gets one only if tmpfile() made it so.
CREATE FUNCTION tarn_1.add_link(_sid int8, _op int8, _flags tarn.volume_flags, _ino int8,
                                _parent int8, _name bytea) RETURNS tarn.reply
LANGUAGE plpgsql AS $$
DECLARE
    _now   int8 := tarn_1.clock_us();
    _err   int4;
    _links int4;
    _p     tarn.reply;
    _r     tarn.reply;
BEGIN
    IF tarn_1.name_error(_name) <> 0 THEN
        RETURN tarn_1.refuse(tarn_1.name_error(_name));
    ELSIF tarn_1.is_dots(_name) THEN
        RETURN tarn_1.refuse(17);
    ELSIF tarn_1.is_trash_name(_parent, _name) THEN
        RETURN tarn_1.refuse(1);
    END IF;

    _p := tarn_1.hold_parent(_parent);
    IF _p.err <> 0 THEN
        RETURN _p;
    END IF;
    SELECT (tarn_1.attributes(n)).* INTO _r FROM public.jfs_node AS n WHERE inode = _ino FOR UPDATE;
    IF NOT FOUND OR _r.nlink = 0 AND _r.flags & 1073741824 = 0 THEN
        -- What is only kept open has no name and gets none any more.
        RETURN tarn_1.refuse(2);
    END IF;
    _links := _r.nlink;
    _err := CASE WHEN _r.type = 2 OR _r.flags & 3 <> 0 OR _p.flags & 1 <> 0 THEN 1
                 WHEN _flags.dir_quota OR _flags.owner_quota THEN tarn_1.link_error(_parent, _r)
                 ELSE 0 END;
    IF _err <> 0 THEN
        _r := tarn_1.occupied(_parent, _name);
        RETURN tarn_1.refuse(coalesce(_r.err, _err));
    END IF;
    _r := tarn_1.add_edge(_parent, _name, _ino, _r.type);
    IF _r.err IS NOT NULL THEN
        RETURN _r;
    END IF;

    IF _links = 0 THEN
        DELETE FROM public.jfs_sustained WHERE sid = _sid AND inode = _ino;
    END IF;
    UPDATE public.jfs_node AS n
       SET nlink = nlink + 1, parent = CASE WHEN _links = 0 THEN _parent ELSE 0 END,
           flags = flags & ~1073741824, ctime = tarn_1.next_ctime(ctime, _now), ctimensec = 0
     WHERE inode = _ino RETURNING (tarn_1.attributes(n)).* INTO _r;
    IF tarn_1.is_stale(_p.mtime, _now) THEN
        PERFORM tarn_1.touch_directory(_parent, 0, _now);
    END IF;
    _r.usage := ARRAY[0, 0]::int8[] || tarn_1.entry_usage(_parent, _r, 1);
    IF _flags.change_log THEN
        PERFORM tarn_1.log_change(_sid, _op, CASE WHEN _links = 0 THEN format(
            'CREATE(%s,%s,%s,%s,%s,%s,%s,,linux,%s):%s', _parent, tarn_1.log_name(_name), _r.uid,
            _r.gid, _r.type, _r.mode, 0, tarn_1.is_stale(_p.mtime, _now)::text, _ino)
        ELSE format(
            'LINK(%s,%s,%s,%s):%s', _ino, _parent, tarn_1.log_name(_name),
            tarn_1.is_stale(_p.mtime, _now)::text, _r.nlink) END);
    END IF;
    RETURN _r;
END $$;

CREATE FUNCTION tarn_1.link(_sid int8, _lane int4, _op int8, _ino int8, _parent int8, _name bytea)
RETURNS tarn.reply
LANGUAGE plpgsql AS $$
DECLARE
    _flags tarn.volume_flags := tarn_1.lane_flags(_sid, _lane, _op);
    _r     tarn.reply;
BEGIN
    IF _flags.only_row IS NULL THEN
        _r := tarn_1.lane_begin(_sid, _lane, _op);
        _flags := tarn_1.flags();
    END IF;
    IF _r.err IS NULL THEN
        _r := tarn_1.add_link(_sid, _op, _flags, _ino, _parent, _name);
        _r := tarn_1.lane_end(_sid, _lane, _op, _r, _flags.dir_quota);
    END IF;
    RETURN _r;
END $$;

--------------------------------------------------------------------------------- unlink, rmdir

-- The hour of the trash that a usage of discard() puts the inode into; 0: it is not in the trash.
CREATE FUNCTION tarn_1.grave(_usage int8[]) RETURNS int8
LANGUAGE sql IMMUTABLE PARALLEL SAFE AS $$
    SELECT CASE WHEN _usage[7] > tarn_1.trash() THEN _usage[7] ELSE 0 END
$$;

-- Remove a name: of a directory (_is_rmdir) or of anything else. Only root removes in the trash,
-- and nobody an hour of it.
CREATE FUNCTION tarn_1.remove_name(_sid int8, _op int8, _flags tarn.volume_flags, _parent int8,
                                   _name bytea, _uid int8, _is_rmdir bool, _opened int8[])
RETURNS tarn.reply
LANGUAGE plpgsql AS $$
DECLARE
    _now   int8 := tarn_1.clock_us();
    _touch bool;
    _p     public.jfs_node;
    _n     tarn.reply;
    _r     tarn.reply;
    _e     public.jfs_edge;
BEGIN
    IF tarn_1.name_error(_name) <> 0 THEN
        RETURN tarn_1.refuse(tarn_1.name_error(_name));
    ELSIF _is_rmdir AND tarn_1.is_dots(_name) THEN
        RETURN tarn_1.refuse(CASE length(_name) WHEN 1 THEN 22 ELSE 39 END);
    ELSIF tarn_1.is_trash_name(_parent, _name) OR _parent = tarn_1.trash()
          OR _parent > tarn_1.trash() AND _uid <> 0 THEN
        RETURN tarn_1.refuse(1);
    END IF;
    LOOP
        SELECT * INTO _p FROM public.jfs_node WHERE inode = _parent;
        IF NOT FOUND THEN
            RETURN tarn_1.refuse(2);
        ELSIF _p.type <> 2 THEN
            RETURN tarn_1.refuse(20);
        END IF;
        SELECT * INTO _e FROM public.jfs_edge WHERE parent = _parent AND name = _name;
        IF NOT FOUND THEN
            RETURN tarn_1.refuse(2);
        ELSIF (_e.type = 2) <> _is_rmdir THEN
            RETURN tarn_1.refuse(CASE WHEN _is_rmdir THEN 20 ELSE 1 END);
        END IF;
        SELECT (tarn_1.attributes(n)).* INTO _n
          FROM public.jfs_node AS n WHERE inode = _e.inode FOR UPDATE;
        IF NOT FOUND THEN
            _n := tarn_1.refuse(2);
        END IF;
        IF (_p.flags | coalesce(_n.flags, 0)) & 3 <> 0 THEN
            RETURN tarn_1.refuse(1);
        END IF;
        -- The lock keeps new children out, and a statement of its own sees those that got in.
        IF _is_rmdir AND tarn_1.has_children(_e.inode) THEN
            RETURN tarn_1.refuse(39);
        END IF;
        _r := tarn_1.discard(_sid, _e, _n, _opened, _now, _flags);
        EXIT WHEN _r.err IS NOT NULL;
    END LOOP;
    _touch := _is_rmdir OR _parent < tarn_1.trash() AND tarn_1.is_stale(_p.mtime, _now);
    IF _touch THEN
        PERFORM tarn_1.touch_directory(_parent, -_is_rmdir::int4, _now);
    END IF;
    IF _flags.change_log AND _is_rmdir THEN
        PERFORM tarn_1.log_change(_sid, _op, format(
            'RMDIR(%s,%s,%s):%s', _parent, tarn_1.log_name(_name), tarn_1.grave(_r.usage),
            _e.inode));
    ELSIF _flags.change_log THEN
        PERFORM tarn_1.log_change(_sid, _op, format(
            'UNLINK(%s,%s,%s,%s,%s):%s', _parent, tarn_1.log_name(_name), tarn_1.grave(_r.usage),
            (_n.err = 0 AND _r.nlink = 0 AND _r.usage[2] = 0)::text, _touch::text, _e.inode));
    END IF;
    RETURN _r;
END $$;

CREATE FUNCTION tarn_1.unlink(_sid int8, _lane int4, _op int8, _parent int8, _name bytea,
                              _uid int8, _opened int8[])
RETURNS tarn.reply
LANGUAGE plpgsql AS $$
DECLARE
    _flags tarn.volume_flags := tarn_1.lane_flags(_sid, _lane, _op);
    _r     tarn.reply;
BEGIN
    IF _flags.only_row IS NULL THEN
        _r := tarn_1.lane_begin(_sid, _lane, _op);
        _flags := tarn_1.flags();
    END IF;
    IF _r.err IS NULL THEN
        _r := tarn_1.remove_name(_sid, _op, _flags, _parent, _name, _uid, false, _opened);
        _r := tarn_1.lane_end(_sid, _lane, _op, _r, _flags.dir_quota);
    END IF;
    RETURN _r;
END $$;

CREATE FUNCTION tarn_1.rmdir(_sid int8, _lane int4, _op int8, _parent int8, _name bytea,
                             _uid int8)
RETURNS tarn.reply
LANGUAGE plpgsql AS $$
DECLARE
    _flags tarn.volume_flags := tarn_1.lane_flags(_sid, _lane, _op);
    _r     tarn.reply;
BEGIN
    IF _flags.only_row IS NULL THEN
        _r := tarn_1.lane_begin(_sid, _lane, _op);
        _flags := tarn_1.flags();
    END IF;
    IF _r.err IS NULL THEN
        _r := tarn_1.remove_name(_sid, _op, _flags, _parent, _name, _uid, true, '{}');
        _r := tarn_1.lane_end(_sid, _lane, _op, _r, _flags.dir_quota);
    END IF;
    RETURN _r;
END $$;
