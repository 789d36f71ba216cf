-- Cloning a tree: a copy that shares its slices, made page by page and seen as a whole.
--
-- As in 61_tree.sql: one call is one page of one directory, and permissions are checked here.

-- How clone copies: 2 keeps owner, mode and times.
--
-- As with cp, only root makes files that belong to others, that are immutable or append-only, and that
-- have attributes only he may set; and a program that changes its owner does not go on as setuid.
--
-- Make the inodes _new after _src, which are locked: nodes below _parent with all that belongs to
-- them but the edges. Directories are made empty. Returns the usage, entries of _parent included.
CREATE FUNCTION tarn_1.clone_nodes(_src int8[], _new int8[], _parent int8, _cmode int4,
                                   _umask int4, _uid int8, _gid int8, _now int8) RETURNS int8[]
LANGUAGE plpgsql AS $$
DECLARE
    _is_kept bool := _cmode & 2 <> 0;
    _usage   int8[];
    _slice   record;
    _owner   record;
BEGIN
    INSERT INTO public.jfs_node (inode, type, flags, mode, uid, gid, atime, mtime, ctime,
                                 atimensec, mtimensec, ctimensec, nlink, length, rdev, parent,
                                 access_acl_id, default_acl_id, tier_id)
    SELECT m.ino, n.type, CASE _uid WHEN 0 THEN n.flags ELSE n.flags & ~3 END,
           n.mode & ~CASE WHEN _is_kept THEN 0 ELSE _umask END
                  & ~CASE WHEN _is_kept AND _uid = 0 OR n.type = 2
                               OR (n.uid, n.gid) = (_uid, _gid) THEN 0 ELSE 3072 END,
           CASE WHEN _is_kept AND _uid = 0 THEN n.uid::int8 ELSE _uid END,
           CASE WHEN _is_kept AND _uid = 0 THEN n.gid::int8 ELSE _gid END,
           CASE WHEN _is_kept THEN n.atime ELSE _now END,
           CASE WHEN _is_kept THEN n.mtime ELSE _now END,
           CASE WHEN _is_kept THEN n.ctime ELSE _now END,
           CASE WHEN _is_kept THEN n.atimensec ELSE 0 END,
           CASE WHEN _is_kept THEN n.mtimensec ELSE 0 END,
           CASE WHEN _is_kept THEN n.ctimensec ELSE 0 END,
           CASE n.type WHEN 2 THEN 2 ELSE 1 END, n.length, coalesce(n.rdev, 0), _parent,
           coalesce(n.access_acl_id, 0), coalesce(n.default_acl_id, 0), coalesce(n.tier_id, 0)
      FROM unnest(_src, _new) AS m (src, ino) JOIN public.jfs_node AS n ON n.inode = m.src;
    INSERT INTO public.jfs_symlink (inode, target)
    SELECT m.ino, s.target
      FROM unnest(_src, _new) AS m (src, ino) JOIN public.jfs_symlink AS s ON s.inode = m.src;
    INSERT INTO public.jfs_xattr (inode, name, value)
    SELECT m.ino, x.name, x.value
      FROM unnest(_src, _new) AS m (src, ino) JOIN public.jfs_xattr AS x ON x.inode = m.src
     WHERE _uid = 0 OR x.name !~ '^(trusted|security)\.';
    INSERT INTO public.jfs_dir_stats (inode, data_length, used_space, used_inodes)
    SELECT n.inode, 0, 0, 0 FROM public.jfs_node AS n WHERE n.inode = ANY (_new) AND n.type = 2;

    -- A compaction that comes between would take back the references that are added here.
    PERFORM FROM public.jfs_chunk AS c
      WHERE c.inode = ANY (_src) ORDER BY c.inode, c.indx FOR UPDATE;
    INSERT INTO public.jfs_chunk (inode, indx, slices)
    SELECT m.ino, c.indx, c.slices
      FROM unnest(_src, _new) AS m (src, ino) JOIN public.jfs_chunk AS c ON c.inode = m.src;
    FOR _slice IN
        SELECT tarn_1.be8(c.slices, r.at + 4) AS id, tarn_1.be4(c.slices, r.at + 12) AS size,
               count(*) AS records
          FROM (SELECT k.slices || ''::bytea AS slices
                  FROM public.jfs_chunk AS k WHERE k.inode = ANY (_new) OFFSET 0) AS c,
               generate_series(0, octet_length(c.slices) - 24, 24) AS r (at)
         GROUP BY 1, 2 ORDER BY 1, 2
    LOOP
        UPDATE public.jfs_chunk_ref SET refs = refs + _slice.records
         WHERE chunkid = _slice.id AND size = _slice.size AND _slice.id > 0;
    END LOOP;

    SELECT ARRAY[sum(s.space), count(*), _parent, sum(s.bytes), sum(s.space), count(*)]::int8[]
      INTO _usage
      FROM (SELECT CASE n.type WHEN 1 THEN n.length ELSE 0 END AS bytes,
                   CASE n.type WHEN 1 THEN tarn_1.space(n.length) ELSE 4096 END AS space
              FROM public.jfs_node AS n WHERE n.inode = ANY (_new)) AS s;
    FOR _owner IN
        SELECT n.uid, n.gid, count(*) AS inodes,
               sum(CASE n.type WHEN 1 THEN tarn_1.space(n.length) ELSE 4096 END)::int8 AS space
          FROM public.jfs_node AS n WHERE n.inode = ANY (_new) GROUP BY 1, 2
    LOOP
        _usage := _usage || tarn_1.owner_usage(_owner.uid, _owner.gid, _owner.space, _owner.inodes);
    END LOOP;
    RETURN tarn_1.usage_merged(_usage);
END $$;

-- The refusal of somebody who wants to clone one of these inodes, else 0. To make a device is root's.
CREATE FUNCTION tarn_1.source_error(_inos int8[], _uid int8, _gids int8[]) RETURNS int4
LANGUAGE plpgsql STABLE AS $$
BEGIN
    IF _uid = 0 THEN
        RETURN 0;
    ELSIF EXISTS (SELECT FROM public.jfs_node AS n
                   WHERE n.inode = ANY (_inos) AND n.type IN (5, 6)) THEN
        RETURN 1;
    END IF;
    RETURN coalesce((SELECT max(tarn_1.access(i.ino, _uid, _gids, 4))
                       FROM unnest(_inos) AS i (ino)), 0);
END $$;

-- The refusal of a clone of _src to _name in _parent, else 0. The directory is held.
CREATE FUNCTION tarn_1.clone_error(_n tarn.reply, _parent int8, _name bytea, _uid int8,
                                   _gids int8[], _space int8, _inodes int8) RETURNS int4
LANGUAGE plpgsql AS $$
DECLARE
    _flags tarn.volume_flags := tarn_1.flags();
    _p     tarn.reply;
    _err   int4;
BEGIN
    IF tarn_1.name_error(_name) <> 0 THEN
        RETURN tarn_1.name_error(_name);
    ELSIF _n.ino >= tarn_1.trash() OR _n.parent >= tarn_1.trash()
          OR tarn_1.is_trash_name(_parent, _name) THEN
        RETURN 1;
    ELSIF tarn_1.is_dots(_name) THEN
        RETURN 17;
    END IF;
    _p := tarn_1.hold_parent(_parent);
    _err := CASE WHEN _p.err = 0 THEN tarn_1.source_error(ARRAY[_n.ino], _uid, _gids)
                 ELSE _p.err END;
    IF _err = 0 THEN
        _err := tarn_1.change_error(_p, _uid, _gids);
    END IF;
    IF _err <> 0 THEN
        RETURN _err;
    ELSIF _p.flags & 1 <> 0 THEN
        RETURN 1;
    ELSIF EXISTS (SELECT FROM public.jfs_edge WHERE parent = _parent AND name = _name) THEN
        RETURN 17;
    -- A directory cannot be cloned into itself: the walk would never end.
    ELSIF _n.type = 2 AND tarn_1.loop_error(_parent, _n.ino) <> 0 THEN
        RETURN 22;
    ELSIF _flags.dir_quota OR _flags.owner_quota THEN
        RETURN tarn_1.quota_error(_parent, _uid, _gids[1], _space, _inodes);
    END IF;
    RETURN 0;
END $$;

CREATE FUNCTION tarn_1.log_clone(_sid int8, _op int8, _src int8, _parent int8, _name bytea,
                                 _ino int8, _cmode int4, _umask int4, _top bool) RETURNS void
LANGUAGE plpgsql AS $$
BEGIN
    IF (tarn_1.flags()).change_log THEN
        PERFORM tarn_1.log_change(_sid, _op, format('CLONE(%s,%s,%s,%s,%s,%s,%s):%s', _src, _parent,
            tarn_1.log_name(_name), _ino, _cmode, _umask, _top, _ino));
    END IF;
END $$;

CREATE FUNCTION tarn_1.clone_top(_sid int8, _op int8, _src int8, _parent int8, _name bytea,
                                 _ino int8, _cmode int4, _umask int4, _uid int8, _gids int8[],
                                 _space int8, _inodes int8) RETURNS tarn.reply
LANGUAGE plpgsql AS $$
DECLARE
    _n     tarn.reply := tarn_1.getattr(_src);
    _now   int8 := tarn_1.clock_us();
    _err   int4;
    _usage int8[];
    _r     tarn.reply;
BEGIN
    IF _n.err <> 0 THEN
        RETURN _n;
    END IF;
    _err := tarn_1.clone_error(_n, _parent, _name, _uid, _gids, _space, _inodes);
    IF _err <> 0 THEN
        RETURN tarn_1.refuse(_err);
    END IF;
    _n := tarn_1.lock_node(_src);
    IF _n.err <> 0 OR _n.nlink = 0 THEN
        RETURN tarn_1.refuse(2);
    END IF;
    IF _n.type <> 2 THEN
        _r := tarn_1.add_edge(_parent, _name, _ino, _n.type);
        IF _r.err IS NOT NULL THEN
            RETURN tarn_1.refuse(17);
        END IF;
    END IF;
    _usage := tarn_1.clone_nodes(ARRAY[_src], ARRAY[_ino], _parent, _cmode, _umask, _uid,
                                 _gids[1], _now);
    IF _n.type = 2 THEN
        -- It is no entry of _parent before it is attached.
        INSERT INTO public.jfs_detached_node (inode, added) VALUES (_ino, _now / 1000000);
        _usage := tarn_1.usage_merged(_usage || ARRAY[_parent, 0, -4096, -1]);
    ELSE
        PERFORM tarn_1.touch_directory(_parent, 0, _now);
    END IF;
    PERFORM tarn_1.log_clone(_sid, _op, _src, _parent, _name, _ino, _cmode, _umask, true);
    _r := tarn_1.getattr(_ino);
    _r.usage := _usage;
    RETURN _r;
END $$;

-- Begin to clone _src: a file is done with this; a directory is made, empty and detached. _space
-- and _inodes: what the whole tree will need.
CREATE FUNCTION tarn_1.clone(_sid int8, _lane int4, _op int8, _src int8, _parent int8,
                             _name bytea, _ino int8, _cmode int4, _umask int4, _uid int8,
                             _gids int8[], _space int8, _inodes int8) RETURNS tarn.reply
LANGUAGE plpgsql AS $$
DECLARE
    _r tarn.reply := tarn_1.lane_begin(_sid, _lane, _op);
BEGIN
    IF _r.err IS NULL THEN
        _r := tarn_1.lane_end(_sid, _lane, _op, tarn_1.clone_top(
            _sid, _op, _src, _parent, _name, _ino, _cmode, _umask, _uid, _gids, _space, _inodes));
    END IF;
    RETURN _r;
END $$;

-- The reply: length how many entries were looked at, less than asked for at the end.
CREATE FUNCTION tarn_1.clone_page(_sid int8, _op int8, _src int8, _dst int8, _after bytea,
                                  _inos int8[], _cmode int4, _umask int4, _uid int8, _gids int8[])
RETURNS tarn.reply
LANGUAGE plpgsql AS $$
DECLARE
    _now  int8 := tarn_1.clock_us();
    _from int8[];
    _to   int8[];
    _name bytea[];
    _type int4[];
    _r    tarn.reply;
BEGIN
    _r := tarn_1.getattr(_src);
    IF _r.err <> 0 THEN
        RETURN _r;
    ELSIF _uid <> 0 AND tarn_1.access(_src, _uid, _gids, 5) <> 0 THEN
        RETURN tarn_1.refuse(13);
    END IF;
    -- Held, so that nobody cleans the tree up meanwhile.
    PERFORM FROM public.jfs_node WHERE inode = _dst FOR KEY SHARE;
    IF NOT FOUND THEN
        RETURN tarn_1.refuse(2);
    END IF;
    SELECT coalesce(array_agg(p.inode ORDER BY p.name), '{}') INTO _from
      FROM (SELECT e.inode, e.name FROM public.jfs_edge AS e
             WHERE e.parent = _src AND e.name > _after
             ORDER BY e.name LIMIT cardinality(_inos)) AS p;
    PERFORM FROM public.jfs_node WHERE inode = ANY (_from) ORDER BY inode FOR NO KEY UPDATE;
    _r := tarn_1.refuse(0);
    _r.length := cardinality(_from);
    -- What has left the directory while we waited is left out.
    SELECT array_agg(q.inode), array_agg(_inos[q.at]), array_agg(q.name), array_agg(q.type)
      INTO _from, _to, _name, _type
      FROM (SELECT e.inode, e.name, e.type, row_number() OVER (ORDER BY e.name) AS at
              FROM public.jfs_edge AS e JOIN public.jfs_node AS n ON n.inode = e.inode
             WHERE e.parent = _src AND e.name > _after AND e.inode = ANY (_from)
             ORDER BY e.name LIMIT cardinality(_inos)) AS q;
    IF _from IS NULL THEN
        RETURN _r;
    END IF;
    IF tarn_1.source_error(_from, _uid, _gids) <> 0 THEN
        RETURN tarn_1.refuse(tarn_1.source_error(_from, _uid, _gids));
    END IF;
    INSERT INTO public.jfs_edge (parent, name, inode, type)
    SELECT _dst, m.name, m.ino, m.type
      FROM unnest(_name, _to, _type) AS m (name, ino, type) ORDER BY m.name;
    _r.usage := tarn_1.clone_nodes(_from, _to, _dst, _cmode, _umask, _uid, _gids[1], _now);
    UPDATE public.jfs_node SET nlink = nlink + d.dirs
      FROM (SELECT count(*) AS dirs FROM unnest(_type) AS t (type) WHERE t.type = 2) AS d
     WHERE inode = _dst AND d.dirs > 0;
    IF (tarn_1.flags()).change_log THEN
        PERFORM tarn_1.log_clone(_sid, _op, _from[i], _dst, _name[i], _to[i], _cmode, _umask, false)
           FROM generate_series(1, cardinality(_from)) AS i;
    END IF;
    RETURN _r;
END $$;

-- Clone the entries of directory _src behind the name _after into _dst, a directory of a detached
-- tree, as many as there are numbers in _inos. seen is how many were looked at: fewer than that at
-- the end. last is the last name that was cloned. dirs are the directories to go on with, each as
-- source and clone.
CREATE FUNCTION tarn_1.clone_entries(_sid int8, _lane int4, _op int8, _src int8, _dst int8,
                                     _after bytea, _inos int8[], _cmode int4, _umask int4,
                                     _uid int8, _gids int8[])
RETURNS TABLE (err int4, usage int8[], seen int8, made int8, last bytea, dirs int8[])
LANGUAGE plpgsql AS $$
DECLARE
    _r tarn.reply := tarn_1.lane_begin(_sid, _lane, _op);
BEGIN
    IF _r.err IS NULL THEN
        _r := tarn_1.lane_end(_sid, _lane, _op, tarn_1.clone_page(
            _sid, _op, _src, _dst, _after, _inos, _cmode, _umask, _uid, _gids));
    END IF;
    err := _r.err;
    usage := _r.usage;
    seen := _r.length;
    IF err = 0 THEN
        SELECT count(*), (array_agg(d.name ORDER BY d.name DESC))[1] INTO made, last
          FROM (SELECT e.name, e.inode FROM public.jfs_edge AS e
                 WHERE e.parent = _dst AND e.name > _after ORDER BY e.name
                 LIMIT cardinality(_inos)) AS d
         WHERE d.inode = ANY (_inos);
        dirs := (SELECT array_agg(p.v ORDER BY d.name, p.at)
                   FROM public.jfs_edge AS d
                        JOIN public.jfs_edge AS s ON s.parent = _src AND s.name = d.name,
                        unnest(ARRAY[s.inode, d.inode]) WITH ORDINALITY AS p (v, at)
                  WHERE d.parent = _dst AND d.name > _after AND d.name <= last
                    AND d.inode = ANY (_inos) AND d.type = 2 AND s.type = 2);
    END IF;
    RETURN NEXT;
END $$;

CREATE FUNCTION tarn_1.attach_tree(_sid int8, _op int8, _ino int8, _parent int8, _name bytea)
RETURNS tarn.reply
LANGUAGE plpgsql AS $$
DECLARE
    _p tarn.reply := tarn_1.lock_node(_parent);
    _r tarn.reply;
BEGIN
    IF _p.err <> 0 OR _p.type <> 2 OR _p.parent >= tarn_1.trash() OR _p.flags & 1 <> 0 THEN
        RETURN tarn_1.refuse(CASE WHEN _p.err = 0 AND _p.type <> 2 THEN 20
                                  WHEN _p.err <> 0 OR _p.parent >= tarn_1.trash() THEN 2 ELSE 1 END);
    END IF;
    -- After a day cleaners remove what is in it, so one that took so long may lack something.
    DELETE FROM public.jfs_detached_node
     WHERE inode = _ino AND added > tarn_1.clock_us() / 1000000 - 82800;
    IF NOT FOUND THEN
        RETURN tarn_1.refuse(2);
    END IF;
    _r := tarn_1.add_edge(_parent, _name, _ino, 2);
    IF _r.err IS NOT NULL THEN
        INSERT INTO public.jfs_detached_node (inode, added)
        VALUES (_ino, tarn_1.clock_us() / 1000000);
        RETURN tarn_1.refuse(17);
    END IF;
    PERFORM tarn_1.touch_directory(_parent, 1, tarn_1.clock_us());
    IF (tarn_1.flags()).change_log THEN
        PERFORM tarn_1.log_change(_sid, _op, format('ATTACH(%s,%s,%s)', _ino, _parent,
                                                    tarn_1.log_name(_name)));
    END IF;
    _r := tarn_1.getattr(_ino);
    _r.usage := ARRAY[0, 0, _parent, 0, 4096, 1];
    RETURN _r;
END $$;

-- The end of a clone: its tree gets its name.
CREATE FUNCTION tarn_1.attach(_sid int8, _lane int4, _op int8, _ino int8, _parent int8,
                              _name bytea) RETURNS tarn.reply
LANGUAGE plpgsql AS $$
DECLARE
    _r tarn.reply := tarn_1.lane_begin(_sid, _lane, _op);
BEGIN
    IF _r.err IS NULL THEN
        _r := tarn_1.lane_end(_sid, _lane, _op,
                              tarn_1.attach_tree(_sid, _op, _ino, _parent, _name));
    END IF;
    RETURN _r;
END $$;
