-- Whole trees: removing them, adding them up; 62_clone.sql has cloning.
--
-- A tree is too large for one transaction, so a client walks it and each call here does one page of
-- one directory. What a call answers beside its stored reply (which directories come next) is read
-- from the state after it, so the same call again answers the same or something newer.
--
-- These come through .control, where the kernel has checked nothing: permissions are checked here.

-- A usage array with one quadruple for each directory, each owner ({-1, uid, …}, {-2, gid, …}) and
-- each quota ({-3, …}).
CREATE FUNCTION tarn_1.usage_merged(_usage int8[]) RETURNS int8[]
LANGUAGE sql IMMUTABLE PARALLEL SAFE AS $$
    SELECT _usage[1:2] || coalesce((
        SELECT array_agg(p.v ORDER BY m.key, m.who, p.at)
          FROM (SELECT _usage[i] AS key, CASE WHEN _usage[i] < 0 THEN _usage[i + 1] END AS who,
                       sum(_usage[i + 1])::int8 AS one, sum(_usage[i + 2])::int8 AS two,
                       sum(_usage[i + 3])::int8 AS three
                  FROM generate_series(3, cardinality(_usage) - 3, 4) AS i GROUP BY 1, 2) AS m,
               unnest(ARRAY[m.key, coalesce(m.who, m.one), m.two, m.three])
                   WITH ORDINALITY AS p (v, at)), '{}')
$$;

-- The refusal of somebody who wants to make or remove names in the directory _d, else 0.
CREATE FUNCTION tarn_1.change_error(_d tarn.reply, _uid int8, _gids int8[]) RETURNS int4
LANGUAGE plpgsql STABLE AS $$
BEGIN
    RETURN CASE WHEN _d.err <> 0 THEN _d.err
                WHEN _d.type <> 2 THEN 20
                WHEN _uid = 0 THEN 0
                ELSE tarn_1.access(_d.ino, _uid, _gids, 3) END;
END $$;

-- Whether a sticky directory keeps _uid from removing what belongs to _owner.
CREATE FUNCTION tarn_1.is_sticky_for(_d tarn.reply, _owner int8, _uid int8) RETURNS bool
LANGUAGE sql IMMUTABLE PARALLEL SAFE AS $$
    SELECT _uid <> 0 AND _d.mode & 512 <> 0 AND _uid <> _d.uid AND _uid <> _owner
$$;

-- Whether somebody who stands in _root comes to an inode on any path: 0; EACCES when every path leads
-- through a directory that he must not search; ENOENT when none begins at _root. The requests name
-- inodes, and a number can be guessed.
CREATE FUNCTION tarn_1.reach(_ino int8, _root int8, _uid int8, _gids int8[]) RETURNS int4
LANGUAGE plpgsql STABLE AS $$
DECLARE
    _err int4 := 2;
    _at  int8;
BEGIN
    IF _ino = _root THEN
        RETURN 0;
    END IF;
    FOR _at IN SELECT n.parent FROM public.jfs_node AS n WHERE n.inode = _ino AND n.parent > 0
               UNION SELECT e.parent FROM public.jfs_edge AS e WHERE e.inode = _ino LOOP
        FOR _step IN 1 .. 10000 LOOP
            EXIT WHEN _at IS NULL;
            IF _uid <> 0 AND tarn_1.access(_at, _uid, _gids, 1) <> 0 THEN
                _err := 13;
                EXIT;
            ELSIF _at = _root THEN
                RETURN 0;
            END IF;
            _at := (SELECT n.parent FROM public.jfs_node AS n WHERE n.inode = _at AND n.inode <> 1);
        END LOOP;
    END LOOP;
    RETURN _err;
END $$;

----------------------------------------------------------------------------------------- remove

-- How rmr removes: 1 not into the trash; 2 in a detached tree, where nobody's flags or permissions
-- count, for nobody can reach it.
--
-- Remove one page of a directory's files: of the _limit first names those that are no directories.
-- With the last page, when no directory is among it, the directory itself is locked along, in the
-- order of inodes, because it goes next. The reply: length how many names went, nlink 0 when nothing
-- was left behind.
CREATE FUNCTION tarn_1.rmr_files(_sid int8, _op int8, _d tarn.reply, _limit int4, _mode int4,
                                 _uid int8, _gids int8[], _opened int8[]) RETURNS tarn.reply
LANGUAGE plpgsql AS $$
DECLARE
    _flags  tarn.volume_flags := tarn_1.flags();
    _page   public.jfs_edge[];
    _e      public.jfs_edge;
    _n      tarn.reply;
    _r      tarn.reply;
    _now    int8 := tarn_1.clock_us();
    _usage  int8[] := '{0,0}';
    _names  text[] := '{}';
    _inodes int8[] := '{}';
    _count  int8 := 0;
    _is_all bool;
BEGIN
    SELECT array_agg(p ORDER BY p.name) INTO _page
      FROM (SELECT * FROM public.jfs_edge WHERE parent = _d.ino ORDER BY name LIMIT _limit) AS p;
    _page := coalesce(_page, '{}');
    SELECT cardinality(_page) < _limit AND coalesce(bool_and(e.type <> 2), true),
           array_agg(e.inode) FILTER (WHERE e.type <> 2)
      INTO _is_all, _inodes FROM unnest(_page) AS e;
    IF _is_all THEN
        _inodes := _inodes || _d.ino;
    END IF;
    PERFORM FROM public.jfs_node WHERE inode = ANY (_inodes) ORDER BY inode FOR UPDATE;
    IF _inodes[1] <> _d.ino AND _mode & 2 = 0 THEN
        IF tarn_1.change_error(_d, _uid, _gids) <> 0 THEN
            RETURN tarn_1.refuse(tarn_1.change_error(_d, _uid, _gids));
        ELSIF _d.flags & 3 <> 0
              OR EXISTS (SELECT FROM public.jfs_node
                          WHERE inode = ANY (_inodes) AND inode <> _d.ino AND flags & 3 <> 0) THEN
            RETURN tarn_1.refuse(1);
        ELSIF EXISTS (SELECT FROM public.jfs_node WHERE inode = ANY (_inodes) AND inode <> _d.ino
                         AND tarn_1.is_sticky_for(_d, uid::int8 & 4294967295, _uid)) THEN
            RETURN tarn_1.refuse(13);
        END IF;
    END IF;

    _inodes := '{}';
    FOREACH _e IN ARRAY _page LOOP
        CONTINUE WHEN _e.type = 2;
        _n := tarn_1.getattr(_e.inode);
        IF _mode & 1 <> 0 THEN
            _n.flags := _n.flags | 32; -- as if it were marked to skip the trash
        END IF;
        _r := tarn_1.discard(_sid, _e, _n, _opened, _now);
        CONTINUE WHEN _r.err IS NULL; -- the name was taken away or leads elsewhere now
        _usage := ARRAY[_usage[1] + _r.usage[1], _usage[2] + _r.usage[2]]
                  || _usage[3:] || _r.usage[3:];
        _count := _count + 1;
        IF _flags.change_log THEN
            _names := _names || tarn_1.log_name(_e.name);
            _inodes := _inodes || _e.inode;
        END IF;
    END LOOP;
    IF _count > 0 AND NOT _is_all THEN
        PERFORM tarn_1.touch_directory(_d.ino, 0, _now);
    END IF;
    IF _flags.change_log AND _count > 0 THEN
        PERFORM tarn_1.log_change(_sid, _op, format(
            'UNLINKBATCH(%s,%s,%s,%s):%s', _d.ino, array_to_string(_names, ','),
            CASE WHEN _mode & 1 <> 0 OR _d.ino >= tarn_1.trash() OR _flags.trash_days = 0 THEN 0
                 ELSE (tarn_1.trash_hour(_now)).hour END,
            _d.ino < tarn_1.trash(), array_to_string(_inodes, ',')));
    END IF;
    _r := tarn_1.refuse(0);
    _r.length := _count;
    _r.nlink := CASE WHEN _is_all THEN 0 ELSE 1 END;
    _r.usage := tarn_1.usage_merged(_usage);
    RETURN _r;
END $$;

-- The end of a clone that nobody wants: its top has no edge.
CREATE FUNCTION tarn_1.drop_detached(_sid int8, _op int8, _n tarn.reply) RETURNS tarn.reply
LANGUAGE plpgsql AS $$
BEGIN
    DELETE FROM public.jfs_detached_node WHERE inode = _n.ino;
    IF NOT FOUND THEN
        RETURN tarn_1.refuse(2); -- it was attached meanwhile, or somebody else cleans it up
    END IF;
    DELETE FROM public.jfs_dir_stats WHERE inode = _n.ino;
    DELETE FROM public.jfs_xattr WHERE inode = _n.ino;
    DELETE FROM public.jfs_node WHERE inode = _n.ino;
    IF (tarn_1.flags()).change_log THEN
        PERFORM tarn_1.log_change(_sid, _op, format('CLEANUP(%s)', _n.ino));
    END IF;
    _n.usage := ARRAY[-4096, -1]::int8[] || tarn_1.owner_usage(_n.uid, _n.gid, -4096, -1);
    RETURN _n;
END $$;

-- Remove a directory that was emptied. _d is locked; ENOTEMPTY when something was made in it.
CREATE FUNCTION tarn_1.rmr_directory(_sid int8, _op int8, _parent int8, _d tarn.reply, _mode int4,
                                     _uid int8, _gids int8[]) RETURNS tarn.reply
LANGUAGE plpgsql AS $$
DECLARE
    _p   tarn.reply;
    _e   public.jfs_edge;
    _r   tarn.reply;
    _now int8 := tarn_1.clock_us();
BEGIN
    IF tarn_1.has_children(_d.ino) THEN
        RETURN tarn_1.refuse(39);
    ELSIF _parent = 0 THEN
        RETURN tarn_1.drop_detached(_sid, _op, _d);
    END IF;
    _p := tarn_1.getattr(_parent);
    IF _mode & 2 = 0 AND tarn_1.change_error(_p, _uid, _gids) <> 0 THEN
        RETURN tarn_1.refuse(tarn_1.change_error(_p, _uid, _gids));
    ELSIF _mode & 2 = 0 AND (_p.flags | _d.flags) & 3 <> 0 THEN
        RETURN tarn_1.refuse(1);
    ELSIF _mode & 2 = 0 AND tarn_1.is_sticky_for(_p, _d.uid, _uid) THEN
        RETURN tarn_1.refuse(13);
    END IF;
    SELECT * INTO _e FROM public.jfs_edge WHERE inode = _d.ino AND parent = _parent;
    IF _mode & 1 <> 0 THEN
        _d.flags := _d.flags | 32;
    END IF;
    _r := tarn_1.discard(_sid, _e, _d, '{}', _now);
    IF _r.err IS NULL THEN
        RETURN tarn_1.refuse(2);
    END IF;
    PERFORM tarn_1.touch_directory(_parent, -1, _now);
    IF (tarn_1.flags()).change_log THEN
        PERFORM tarn_1.log_change(_sid, _op, format('RMDIR(%s,%s,%s):%s', _parent,
            tarn_1.log_name(_e.name), CASE WHEN _r.nlink > 0 THEN _r.parent ELSE 0 END, _d.ino));
    END IF;
    RETURN _r;
END $$;

-- A name of a directory whose node is missing is as good as an empty directory.
CREATE FUNCTION tarn_1.rmr_nothing(_sid int8, _parent int8, _dir int8, _uid int8, _gids int8[])
RETURNS tarn.reply
LANGUAGE plpgsql AS $$
DECLARE
    _e   public.jfs_edge;
    _r   tarn.reply;
    _err int4;
BEGIN
    SELECT * INTO _e FROM public.jfs_edge WHERE inode = _dir AND parent = _parent AND type = 2;
    IF NOT FOUND THEN
        RETURN tarn_1.refuse(2);
    END IF;
    _err := tarn_1.change_error(tarn_1.getattr(_parent), _uid, _gids);
    IF _err <> 0 THEN
        RETURN tarn_1.refuse(_err);
    END IF;
    _r := tarn_1.discard(_sid, _e, tarn_1.refuse(2), '{}', tarn_1.clock_us());
    IF _r.err IS NULL THEN
        RETURN tarn_1.refuse(2);
    END IF;
    PERFORM tarn_1.touch_directory(_parent, -1, tarn_1.clock_us());
    _r.length := 1;
    _r.nlink := 0;
    RETURN _r;
END $$;

CREATE FUNCTION tarn_1.rmr_page(_sid int8, _op int8, _parent int8, _dir int8, _limit int4,
                                _mode int4, _uid int8, _gids int8[], _opened int8[])
RETURNS tarn.reply
LANGUAGE plpgsql AS $$
DECLARE
    _d    tarn.reply := tarn_1.getattr(_dir);
    _r    tarn.reply;
    _gone tarn.reply;
    _full int8[];
BEGIN
    IF _dir <= 1 OR _uid <> 0 AND (_dir >= tarn_1.trash() OR _parent > tarn_1.trash()
                                   OR _mode <> 0) THEN
        RETURN tarn_1.refuse(1);
    ELSIF _d.err <> 0 AND _parent <> 0 THEN
        RETURN tarn_1.rmr_nothing(_sid, _parent, _dir, _uid, _gids);
    ELSIF _d.err <> 0 OR _d.type <> 2 THEN
        RETURN tarn_1.refuse(CASE WHEN _d.err <> 0 THEN _d.err ELSE 20 END);
    -- Somebody may have moved the directory away since it was found below what is to be removed.
    ELSIF _parent = 0 AND NOT EXISTS (SELECT FROM public.jfs_detached_node WHERE inode = _dir)
          OR _parent <> 0 AND _dir <> tarn_1.trash()
             AND NOT EXISTS (SELECT FROM public.jfs_edge WHERE inode = _dir AND parent = _parent)
    THEN
        RETURN tarn_1.refuse(2);
    END IF;
    _r := tarn_1.rmr_files(_sid, _op, _d, _limit, _mode, _uid, _gids, _opened);
    IF _r.err <> 0 OR _r.nlink <> 0 OR _dir >= tarn_1.trash() THEN
        RETURN _r;
    END IF;
    -- Where the files were counted is known only while the directory is where it was.
    _full := tarn_1.with_quotas(_r.usage);
    _gone := tarn_1.rmr_directory(_sid, _op, _parent, tarn_1.getattr(_dir), _mode, _uid, _gids);
    IF _gone.err = 39 OR _gone.err <> 0 AND _r.length > 0 THEN
        _r.nlink := 1; -- what is done is done and counted; the next call tells a refusal
    ELSIF _gone.err <> 0 THEN
        RETURN _gone;
    ELSE
        _r.length := _r.length + 1;
        _r.usage := tarn_1.usage_merged(
            ARRAY[_r.usage[1] + _gone.usage[1], _r.usage[2] + _gone.usage[2]]
            || _full[3:] || _gone.usage[3:]);
    END IF;
    RETURN _r;
END $$;

-- Remove one file, as rmr does it.
CREATE FUNCTION tarn_1.rmr_name(_sid int8, _op int8, _parent int8, _name bytea, _mode int4,
                                _uid int8, _gids int8[], _opened int8[]) RETURNS tarn.reply
LANGUAGE plpgsql AS $$
DECLARE
    _p   tarn.reply := tarn_1.getattr(_parent);
    _e   public.jfs_edge;
    _n   tarn.reply;
    _r   tarn.reply;
    _now int8 := tarn_1.clock_us();
BEGIN
    IF _uid <> 0 AND (_parent >= tarn_1.trash() OR _mode <> 0) THEN
        RETURN tarn_1.refuse(1);
    ELSIF tarn_1.change_error(_p, _uid, _gids) <> 0 THEN
        RETURN tarn_1.refuse(tarn_1.change_error(_p, _uid, _gids));
    END IF;
    SELECT * INTO _e FROM public.jfs_edge WHERE parent = _parent AND name = _name;
    IF NOT FOUND OR _e.type = 2 THEN
        RETURN tarn_1.refuse(CASE WHEN FOUND THEN 21 ELSE 2 END);
    END IF;
    _n := tarn_1.lock_node(_e.inode);
    IF (_p.flags | coalesce(_n.flags, 0)) & 3 <> 0 THEN
        RETURN tarn_1.refuse(1);
    ELSIF tarn_1.is_sticky_for(_p, coalesce(_n.uid, _uid), _uid) THEN
        RETURN tarn_1.refuse(13);
    END IF;
    IF _mode & 1 <> 0 THEN
        _n.flags := _n.flags | 32;
    END IF;
    _r := tarn_1.discard(_sid, _e, _n, _opened, _now);
    IF _r.err IS NULL THEN
        RETURN tarn_1.refuse(2);
    END IF;
    PERFORM tarn_1.touch_directory(_parent, 0, _now);
    IF (tarn_1.flags()).change_log THEN
        PERFORM tarn_1.log_change(_sid, _op, format('UNLINK(%s,%s,%s,%s,%s):%s', _parent,
            tarn_1.log_name(_name), CASE WHEN _r.parent > tarn_1.trash() THEN _r.parent ELSE 0 END,
            _e.inode = ANY (_opened), true, _e.inode));
    END IF;
    RETURN _r;
END $$;

CREATE FUNCTION tarn_1.rmr_file(_sid int8, _lane int4, _op int8, _parent int8, _name bytea,
                                _mode int4, _uid int8, _gids int8[], _opened int8[])
RETURNS tarn.reply
LANGUAGE plpgsql AS $$
DECLARE
    _r tarn.reply := tarn_1.lane_begin(_sid, _lane, _op);
BEGIN
    IF _r.err IS NULL THEN
        _r := tarn_1.lane_end(_sid, _lane, _op, tarn_1.rmr_name(_sid, _op, _parent, _name, _mode,
                                                               _uid, _gids, _opened));
    END IF;
    RETURN _r;
END $$;

-- Remove one page of directory _dir, which is in _parent (0: the top of a detached tree), and with
-- the last page the directory itself. dirs: what is left to be removed first. Nothing of the trash
-- itself goes but what is in its hours.
CREATE FUNCTION tarn_1.rmr(_sid int8, _lane int4, _op int8, _parent int8, _dir int8, _limit int4,
                           _mode int4, _uid int8, _gids int8[], _opened int8[])
RETURNS TABLE (err int4, usage int8[], removed int8, is_gone bool, dirs int8[])
LANGUAGE plpgsql AS $$
DECLARE
    _r tarn.reply := tarn_1.lane_begin(_sid, _lane, _op);
BEGIN
    IF _r.err IS NULL THEN
        _r := tarn_1.lane_end(_sid, _lane, _op, tarn_1.rmr_page(_sid, _op, _parent, _dir, _limit,
                                                               _mode, _uid, _gids, _opened));
    END IF;
    err := _r.err;
    usage := _r.usage;
    removed := _r.length;
    is_gone := _r.nlink = 0;
    IF err = 0 AND NOT is_gone THEN
        dirs := (SELECT array_agg(p.inode) FILTER (WHERE p.type = 2)
                   FROM (SELECT e.inode, e.type FROM public.jfs_edge AS e
                          WHERE e.parent = _dir ORDER BY e.name LIMIT _limit) AS p);
    END IF;
    RETURN NEXT;
END $$;

------------------------------------------------------------------------------------------- sums

-- What is directly in each of the directories, and which directories are among it. From the
-- statistics that the volume keeps where it keeps them, unless _strict. A directory that is gone is
-- left out.
CREATE FUNCTION tarn_1.tree_sums(_dirs int8[], _strict bool)
RETURNS TABLE (dir int8, files int8, folders int8, length int8, space int8, children int8[])
LANGUAGE plpgsql STABLE AS $$
DECLARE
    _fast  bool := NOT _strict AND (tarn_1.flags()).dir_stats;
    _stats public.jfs_dir_stats;
    _links int4;
BEGIN
    FOREACH dir IN ARRAY _dirs LOOP
        SELECT n.nlink INTO _links FROM public.jfs_node AS n WHERE n.inode = dir AND n.type = 2;
        CONTINUE WHEN NOT FOUND;
        IF _fast THEN
            SELECT * INTO _stats FROM public.jfs_dir_stats AS s WHERE s.inode = dir;
        END IF;
        IF _fast AND FOUND THEN
            children := NULL;
            -- The trash does not count its directories in nlink.
            IF _links > 2 OR dir >= tarn_1.trash() THEN
                SELECT array_agg(e.inode) INTO children
                  FROM public.jfs_edge AS e WHERE e.parent = dir AND e.type = 2;
            END IF;
            folders := coalesce(cardinality(children), 0);
            files := greatest(_stats.used_inodes - folders, 0);
            length := _stats.data_length;
            space := _stats.used_space;
        ELSE
            SELECT count(*) FILTER (WHERE n.type <> 2), count(*) FILTER (WHERE n.type = 2),
                   coalesce(sum(n.length) FILTER (WHERE n.type = 1), 0)::int8,
                   coalesce(sum(CASE n.type WHEN 1 THEN tarn_1.space(n.length) ELSE 4096 END),
                            0)::int8,
                   array_agg(n.inode) FILTER (WHERE n.type = 2)
              INTO files, folders, length, space, children
              FROM public.jfs_edge AS e JOIN public.jfs_node AS n ON n.inode = e.inode
             WHERE e.parent = dir;
        END IF;
        RETURN NEXT;
    END LOOP;
END $$;

-- Every path of an inode, at most _limit.
CREATE FUNCTION tarn_1.paths(_ino int8, _limit int4) RETURNS TABLE (path bytea)
LANGUAGE plpgsql STABLE AS $$
DECLARE
    _edge record;
    _dir  record;
BEGIN
    IF _ino = 1 OR _ino = tarn_1.trash() THEN
        RETURN QUERY SELECT p.path FROM tarn_1.path(_ino) AS p;
        RETURN;
    END IF;
    FOR _edge IN SELECT e.parent, e.name FROM public.jfs_edge AS e
                  WHERE e.inode = _ino ORDER BY e.parent, e.name LIMIT _limit LOOP
        SELECT * INTO _dir FROM tarn_1.path(_edge.parent);
        CONTINUE WHEN _dir.err <> 0;
        path := CASE _dir.path WHEN '\x2f'::bytea THEN ''::bytea ELSE _dir.path END
                || '\x2f'::bytea || _edge.name;
        RETURN NEXT;
    END LOOP;
END $$;

-- The locks on an inode: flock(2)'s have a kind (82 R, 87 W) and no records, fcntl(2)'s the reverse.
CREATE FUNCTION tarn_1.locks_of(_ino int8)
RETURNS TABLE (sid int8, owner int8, kind int4, records bytea)
LANGUAGE plpgsql STABLE AS $$
BEGIN
    RETURN QUERY SELECT f.sid, f.owner, f.ltype, NULL::bytea
                   FROM public.jfs_flock AS f WHERE f.inode = _ino ORDER BY f.sid, f.owner;
    RETURN QUERY SELECT p.sid, p.owner, NULL::int4, p.records
                   FROM public.jfs_plock AS p WHERE p.inode = _ino ORDER BY p.sid, p.owner;
END $$;
