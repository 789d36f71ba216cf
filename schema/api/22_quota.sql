-- Quotas of directories, users and groups (format §10): what an operation may add, what it adds to
-- which quota, and what becomes of that when directories move.
--
-- A directory's quota counts everything below it, itself not, and each hard link once; it is in force
-- only where directory statistics are. A limit of 0 or less is none. Limits are soft by what clients
-- have not flushed yet: at most a second of each mount's work is not in used_space and used_inodes.
--
-- Which quotas an entry counts in is decided in the operation that makes or removes it, and travels
-- in its usage as {-3, inode of the quota, space, entries}. Deciding at the flush would be too late:
-- by then a directory above may have moved, or a quota may have been set that counted it already.
-- {-1, uid, space, inodes} and {-2, gid, space, inodes} are for the owners.

-- The directories with a quota at or above _dir. The walk is bounded, for there may be a cycle.
CREATE FUNCTION tarn_1.quotas_above(_dir int8) RETURNS int8[]
LANGUAGE plpgsql STABLE AS $$
DECLARE
    _at    int8 := _dir;
    _found int8[] := '{}';
BEGIN
    FOR _i IN 1 .. 10000 LOOP
        EXIT WHEN _at IS NULL OR _at >= tarn_1.trash();
        PERFORM FROM public.jfs_dir_quota WHERE inode = _at;
        IF FOUND THEN
            _found := _found || _at;
        END IF;
        EXIT WHEN _at <= 1;
        _at := (SELECT parent FROM public.jfs_node WHERE inode = _at);
    END LOOP;
    RETURN _found;
END $$;

------------------------------------------------------------------------------------------- limits

-- Whether a quota is too small for so much more. What does not grow is not held against a limit.
CREATE FUNCTION tarn_1.is_over(_max_space int8, _max_inodes int8, _used_space int8,
                               _used_inodes int8, _space int8, _inodes int8) RETURNS bool
LANGUAGE sql IMMUTABLE PARALLEL SAFE AS $$
    SELECT _space > 0 AND _max_space > 0 AND _used_space + _space > _max_space
           OR _inodes > 0 AND _max_inodes > 0 AND _used_inodes + _inodes > _max_inodes
$$;

-- EDQUOT when one of the quotas is too small for so much more, else 0.
CREATE FUNCTION tarn_1.quotas_error(_quotas int8[], _space int8, _inodes int8) RETURNS int4
LANGUAGE plpgsql STABLE AS $$
BEGIN
    PERFORM FROM public.jfs_dir_quota AS q
      WHERE q.inode = ANY (_quotas)
        AND tarn_1.is_over(q.max_space, q.max_inodes, q.used_space, q.used_inodes, _space, _inodes);
    RETURN CASE WHEN FOUND THEN 122 ELSE 0 END;
END $$;

-- EDQUOT when the owners may not have so much more, else 0. NULL is nobody.
CREATE FUNCTION tarn_1.owner_error(_uid int8, _gid int8, _space int8, _inodes int8) RETURNS int4
LANGUAGE plpgsql STABLE AS $$
BEGIN
    PERFORM FROM public.jfs_user_group_quota AS q
      WHERE (q.qtype = 1 AND q.qkey = _uid OR q.qtype = 2 AND q.qkey = _gid)
        AND tarn_1.is_over(q.max_space, q.max_inodes, q.used_space, q.used_inodes, _space, _inodes);
    RETURN CASE WHEN FOUND THEN 122 ELSE 0 END;
END $$;

-- EDQUOT when so much more in directory _dir, owned by _uid and _gid, would exceed a quota, else 0.
-- NULL for a directory or an owner that is not concerned. To be asked before anything is changed, and
-- only when the flags say dir_quota or owner_quota. The volume's own limits are the client's to keep.
CREATE FUNCTION tarn_1.quota_error(_dir int8, _uid int8, _gid int8, _space int8, _inodes int8)
RETURNS int4
LANGUAGE plpgsql STABLE AS $$
DECLARE
    _flags tarn.volume_flags := tarn_1.flags();
BEGIN
    IF _flags.owner_quota AND tarn_1.owner_error(_uid, _gid, _space, _inodes) <> 0 THEN
        RETURN 122;
    ELSIF _flags.dir_quota AND _flags.dir_stats THEN
        RETURN tarn_1.quotas_error(tarn_1.quotas_above(_dir), _space, _inodes);
    END IF;
    RETURN 0;
END $$;

-- The same for one more link of _n in _dir. As with stock clients the owners need room for an inode,
-- though none is counted for them.
CREATE FUNCTION tarn_1.link_error(_dir int8, _n tarn.reply) RETURNS int4
LANGUAGE sql STABLE AS $$
    SELECT CASE WHEN tarn_1.quota_error(NULL, _n.uid, _n.gid, 0, 1) <> 0 THEN 122
                ELSE tarn_1.quota_error(_dir, NULL, NULL,
                                        tarn_1.space(tarn_1.counted_length(_n)), 1) END
$$;

-- The same for a file that grows to _n.length, in the directories of all its names.
CREATE FUNCTION tarn_1.growth_error(_n public.jfs_node, _old int8) RETURNS int4
LANGUAGE plpgsql STABLE AS $$
DECLARE
    _space int8 := tarn_1.space(_n.length) - tarn_1.space(_old);
    _flags tarn.volume_flags;
    _dir   int8;
BEGIN
    IF _space > 0 THEN
        _flags := tarn_1.flags();
    END IF;
    IF _space <= 0 OR NOT (_flags.dir_quota OR _flags.owner_quota) THEN
        RETURN 0;
    ELSIF tarn_1.quota_error(_n.parent, _n.uid::int8 & 4294967295, _n.gid::int8 & 4294967295,
                             _space, 0) <> 0 THEN
        RETURN 122;
    ELSIF _n.parent > 0 THEN
        RETURN 0;
    END IF;
    FOR _dir IN SELECT DISTINCT e.parent FROM public.jfs_edge AS e WHERE e.inode = _n.inode LOOP
        IF tarn_1.quota_error(_dir, NULL, NULL, _space, 0) <> 0 THEN
            RETURN 122;
        END IF;
    END LOOP;
    RETURN 0;
END $$;

-- Space and entries of everything below a directory, which itself does not count.
CREATE FUNCTION tarn_1.tree_size(_dir int8, OUT space int8, OUT entries int8)
LANGUAGE plpgsql STABLE AS $$
BEGIN
    WITH RECURSIVE below (dir) AS (
        SELECT _dir
        UNION
        SELECT e.inode FROM below JOIN public.jfs_edge e ON e.parent = below.dir WHERE e.type = 2
    )
    SELECT coalesce(sum(CASE n.type WHEN 1 THEN tarn_1.space(n.length) ELSE 4096 END), 0), count(*)
      INTO space, entries
      FROM below JOIN public.jfs_edge e ON e.parent = below.dir
                 JOIN public.jfs_node n ON n.inode = e.inode;
END $$;

-- The same for moving _n, and what is below it, from directory _from to _to. Only quotas that do not
-- cover it already are asked, and the tree is only walked when there are some with a limit.
CREATE FUNCTION tarn_1.move_quota_error(_n tarn.reply, _from int8, _to int8) RETURNS int4
LANGUAGE plpgsql STABLE AS $$
DECLARE
    _quotas int8[];
    _size   record;
BEGIN
    IF _from = _to OR NOT (tarn_1.flags()).dir_stats THEN
        RETURN 0;
    END IF;
    _quotas := ARRAY(SELECT q.inode FROM public.jfs_dir_quota AS q
                      WHERE q.inode = ANY (tarn_1.quotas_above(_to))
                        AND q.inode <> ALL (tarn_1.quotas_above(_from))
                        AND (q.max_space > 0 OR q.max_inodes > 0));
    IF cardinality(_quotas) = 0 THEN
        RETURN 0;
    ELSIF _n.type <> 2 THEN
        RETURN tarn_1.quotas_error(_quotas, tarn_1.space(tarn_1.counted_length(_n)), 1);
    END IF;
    _size := tarn_1.tree_size(_n.ino);
    RETURN tarn_1.quotas_error(_quotas, _size.space + 4096, _size.entries + 1);
END $$;

-------------------------------------------------------------------------------------------- usage

-- The part of a usage array that adds to the owners of an inode, where that is counted.
CREATE FUNCTION tarn_1.owner_usage(_uid int8, _gid int8, _space int8, _inodes int8) RETURNS int8[]
LANGUAGE plpgsql STABLE AS $$
BEGIN
    IF _space = 0 AND _inodes = 0 OR NOT (tarn_1.flags()).owner_quota THEN
        RETURN '{}';
    END IF;
    RETURN ARRAY[-1, _uid & 4294967295, _space, _inodes, -2, _gid & 4294967295, _space, _inodes];
END $$;

-- The same for a node that changes hands.
CREATE FUNCTION tarn_1.chown_usage(_old public.jfs_node, _new public.jfs_node) RETURNS int8[]
LANGUAGE plpgsql STABLE AS $$
DECLARE
    _space int8 := CASE _old.type WHEN 1 THEN tarn_1.space(_old.length) ELSE 4096 END;
BEGIN
    RETURN tarn_1.owner_usage(_old.uid, _old.gid, -_space, -1)
           || tarn_1.owner_usage(_new.uid, _new.gid, _space, 1);
END $$;

-- The directories of a usage array, merged.
CREATE FUNCTION tarn_1.usage_dirs(_usage int8[])
RETURNS TABLE (dir int8, length int8, space int8, entries int8)
LANGUAGE sql IMMUTABLE AS $$
    SELECT _usage[i], sum(_usage[i + 1])::int8, sum(_usage[i + 2])::int8, sum(_usage[i + 3])::int8
      FROM generate_series(3, cardinality(_usage) - 3, 4) AS i
     WHERE _usage[i] > 0
     GROUP BY 1
$$;

-- A usage array together with what its directories mean to the quotas above them, as the tree is now.
CREATE FUNCTION tarn_1.with_quotas(_usage int8[]) RETURNS int8[]
LANGUAGE plpgsql STABLE AS $$
DECLARE
    _flags tarn.volume_flags := tarn_1.flags();
    _quota record;
BEGIN
    IF NOT _flags.dir_quota OR NOT _flags.dir_stats THEN
        RETURN _usage;
    END IF;
    FOR _quota IN
        SELECT q.inode, sum(u.space)::int8 AS space, sum(u.entries)::int8 AS entries
          FROM tarn_1.usage_dirs(_usage) AS u, unnest(tarn_1.quotas_above(u.dir)) AS q (inode)
         GROUP BY q.inode HAVING sum(u.space) <> 0 OR sum(u.entries) <> 0
         ORDER BY q.inode
    LOOP
        _usage := _usage || ARRAY[-3, _quota.inode, _quota.space, _quota.entries];
    END LOOP;
    RETURN _usage;
END $$;

-- Move what is below a directory from the quotas above _from to those above _to. The tree is only
-- walked when they differ. Quota rows are taken in ascending order, as by a flush.
CREATE FUNCTION tarn_1.carry_quotas(_dir int8, _from int8, _to int8) RETURNS void
LANGUAGE plpgsql AS $$
DECLARE
    _flags tarn.volume_flags := tarn_1.flags();
    _size  record;
    _quota record;
BEGIN
    IF NOT _flags.dir_quota OR NOT _flags.dir_stats THEN
        RETURN;
    END IF;
    FOR _quota IN
        SELECT inode, sum(sign) AS sign
          FROM (SELECT unnest(tarn_1.quotas_above(_from)) AS inode, -1 AS sign
                UNION ALL
                SELECT unnest(tarn_1.quotas_above(_to)), 1) AS change
         GROUP BY inode HAVING sum(sign) <> 0 ORDER BY inode
    LOOP
        IF _size IS NULL THEN
            _size := tarn_1.tree_size(_dir);
        END IF;
        UPDATE public.jfs_dir_quota
           SET used_space = used_space + _quota.sign * _size.space,
               used_inodes = used_inodes + _quota.sign * _size.entries
         WHERE inode = _quota.inode;
    END LOOP;
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
