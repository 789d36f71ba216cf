-- What an administrator changes: quotas and the format row. Each function may be called again after
-- a lost answer: it sets what is to be, and does not add.

CREATE FUNCTION tarn_1.is_mirror() RETURNS bool
LANGUAGE sql STABLE AS $$ SELECT EXISTS (SELECT FROM tarn.local_site AS l WHERE l.role = 'mirror') $$;

-- Note an administrator's change where the volume keeps a change log. Commands have no session.
CREATE FUNCTION tarn_1.log_command(_entry text) RETURNS void
LANGUAGE plpgsql AS $$
BEGIN
    IF (tarn_1.flags_now()).change_log THEN
        PERFORM tarn_1.log_change(0, 0, _entry);
    END IF;
END $$;

------------------------------------------------------------------------------------------ recounts

-- What every owner has, counted. The root, the trash and its hours are nobody's.
CREATE FUNCTION tarn_1.owner_sizes()
RETURNS TABLE (qtype int4, qkey int8, space int8, inodes int8)
LANGUAGE sql STABLE AS $$
    SELECT t.qtype, CASE t.qtype WHEN 1 THEN n.uid ELSE n.gid END::int8 & 4294967295 AS qkey,
           sum(CASE n.type WHEN 1 THEN tarn_1.space(n.length) ELSE 4096 END)::int8, count(*)
      FROM public.jfs_node AS n, generate_series(1, 2) AS t (qtype)
     WHERE n.inode > 1 AND n.inode < tarn_1.trash()
     GROUP BY 1, 2
$$;

-- Make the usage of all owners what a count gives; limits stay.
CREATE FUNCTION tarn_1.recount_owners() RETURNS void
LANGUAGE plpgsql AS $$
BEGIN
    UPDATE public.jfs_user_group_quota AS q SET used_space = 0, used_inodes = 0
     WHERE (q.used_space, q.used_inodes) <> (0, 0)
       AND NOT EXISTS (SELECT FROM tarn_1.owner_sizes() AS o
                        WHERE (o.qtype, o.qkey) = (q.qtype, q.qkey));
    INSERT INTO public.jfs_user_group_quota AS q
           (qtype, qkey, max_space, max_inodes, used_space, used_inodes)
    SELECT o.qtype, o.qkey, -1, -1, o.space, o.inodes
      FROM tarn_1.owner_sizes() AS o ORDER BY o.qtype, o.qkey
        ON CONFLICT (qtype, qkey) DO UPDATE
       SET used_space = EXCLUDED.used_space, used_inodes = EXCLUDED.used_inodes
     WHERE (q.used_space, q.used_inodes) <> (EXCLUDED.used_space, EXCLUDED.used_inodes);
END $$;

-------------------------------------------------------------------------------------------- quotas

-- A directory that may have a quota: 0, ENOENT, ENOTDIR, or EPERM for the trash and what lies in it.
CREATE FUNCTION tarn_1.quota_target_error(_dir int8) RETURNS int4
LANGUAGE sql STABLE AS $$
    SELECT coalesce((SELECT CASE WHEN n.type <> 2 THEN 20 WHEN n.parent > tarn_1.trash() THEN 1
                                 ELSE 0 END
                       FROM public.jfs_node AS n WHERE n.inode = _dir), 2)
     WHERE _dir < tarn_1.trash()
     UNION ALL SELECT 1 WHERE _dir >= tarn_1.trash()
$$;

-- Set the limits of a quota; NULL leaves a limit as it is, or makes none. _type is 0 for directories,
-- 1 for users, 2 for groups. A new quota of a directory begins with what is below it, counted in the
-- same snapshot: an operation that has not been counted by then counts itself, for it sees the quota.
-- What runs at that very moment may be missed; quota_check() finds it.
CREATE FUNCTION tarn_1.quota_set(_type int4, _key int8, _max_space int8, _max_inodes int8)
RETURNS TABLE (err int4)
LANGUAGE plpgsql AS $$
DECLARE
    _space  int8 := 0;
    _inodes int8 := 0;
    _limits record;
BEGIN
    err := CASE WHEN tarn_1.is_mirror() THEN 30 WHEN _type NOT IN (0, 1, 2) THEN 22
                WHEN _type = 0 THEN tarn_1.quota_target_error(_key) ELSE 0 END;
    IF err <> 0 THEN
        RETURN NEXT;
        RETURN;
    END IF;
    IF _type = 0 THEN
        PERFORM FROM public.jfs_dir_quota WHERE inode = _key FOR UPDATE;
        IF NOT FOUND THEN
            SELECT s.space, s.entries INTO _space, _inodes FROM tarn_1.tree_size(_key) AS s;
        END IF;
        INSERT INTO public.jfs_dir_quota AS q
               (inode, max_space, max_inodes, used_space, used_inodes)
        VALUES (_key, coalesce(_max_space, -1), coalesce(_max_inodes, -1),
                _space, _inodes)
            ON CONFLICT (inode) DO UPDATE
           SET max_space = coalesce(_max_space, q.max_space),
               max_inodes = coalesce(_max_inodes, q.max_inodes)
        RETURNING q.max_space, q.max_inodes INTO _limits;
    ELSE
        INSERT INTO public.jfs_user_group_quota AS q
               (qtype, qkey, max_space, max_inodes, used_space, used_inodes)
        VALUES (_type, _key, coalesce(_max_space, -1), coalesce(_max_inodes, -1), 0, 0)
            ON CONFLICT (qtype, qkey) DO UPDATE
           SET max_space = coalesce(_max_space, q.max_space),
               max_inodes = coalesce(_max_inodes, q.max_inodes)
        RETURNING q.max_space, q.max_inodes INTO _limits;
    END IF;
    PERFORM tarn_1.log_command(format('SETQUOTA(%s,%s,%s,%s)', _type, _key, _limits.max_space,
                                      _limits.max_inodes));
    PERFORM tarn_1.flags_refresh();
    RETURN NEXT;
END $$;

-- Take the limits away. A directory's row goes; an owner's usage is counted on.
CREATE FUNCTION tarn_1.quota_delete(_type int4, _key int8) RETURNS TABLE (err int4)
LANGUAGE plpgsql AS $$
BEGIN
    err := CASE WHEN tarn_1.is_mirror() THEN 30 WHEN _type NOT IN (0, 1, 2) THEN 22 ELSE 0 END;
    IF err = 0 AND _type = 0 THEN
        DELETE FROM public.jfs_dir_quota WHERE inode = _key;
    ELSIF err = 0 THEN
        UPDATE public.jfs_user_group_quota SET max_space = -1, max_inodes = -1
         WHERE qtype = _type AND qkey = _key;
    END IF;
    IF err = 0 THEN
        PERFORM tarn_1.log_command(format('DELQUOTA(%s,%s)', _type, _key));
        PERFORM tarn_1.flags_refresh();
    END IF;
    RETURN NEXT;
END $$;

-- Every row of quotas of _type, or the one of _key; NULL: of all types, of all keys.
CREATE FUNCTION tarn_1.quotas(_type int4, _key int8)
RETURNS TABLE (type int4, key int8, max_space int8, max_inodes int8, used_space int8,
               used_inodes int8)
LANGUAGE sql STABLE AS $$
    SELECT 0, q.inode, q.max_space, q.max_inodes, q.used_space, q.used_inodes
      FROM public.jfs_dir_quota AS q
     WHERE coalesce(_type, 0) = 0 AND q.inode = coalesce(_key, q.inode)
     UNION ALL
    SELECT q.qtype, q.qkey, q.max_space, q.max_inodes, q.used_space, q.used_inodes
      FROM public.jfs_user_group_quota AS q
     WHERE q.qtype = coalesce(_type, q.qtype) AND q.qkey = coalesce(_key, q.qkey)
     ORDER BY 1, 2
$$;

-- The _limit fullest of those that have a limit, and how many there are.
CREATE FUNCTION tarn_1.fullest_quotas(_limit int4)
RETURNS TABLE (type int4, key int8, max_space int8, max_inodes int8, used_space int8,
               used_inodes int8, total int8)
LANGUAGE sql STABLE AS $$
    SELECT q.*, count(*) OVER ()
      FROM tarn_1.quotas(NULL, NULL) AS q
     WHERE q.max_space > 0 OR q.max_inodes > 0
     ORDER BY greatest(q.used_space::float8 / nullif(greatest(q.max_space, 0), 0),
                       q.used_inodes::float8 / nullif(greatest(q.max_inodes, 0), 0)) DESC, 1, 2
     LIMIT _limit
$$;

-- The same beside a count: of one directory's quota (_type 0), or of all owners' (1, 2).
CREATE FUNCTION tarn_1.quota_counts(_type int4, _key int8)
RETURNS TABLE (type int4, key int8, max_space int8, max_inodes int8, used_space int8,
               used_inodes int8, real_space int8, real_inodes int8)
LANGUAGE plpgsql STABLE AS $$
BEGIN
    IF _type = 0 THEN
        RETURN QUERY SELECT q.type, q.key, q.max_space, q.max_inodes, q.used_space, q.used_inodes,
                            s.space, s.entries
                       FROM tarn_1.quotas(0, _key) AS q, tarn_1.tree_size(q.key) AS s;
        RETURN;
    END IF;
    RETURN QUERY
    SELECT coalesce(q.qtype, o.qtype), coalesce(q.qkey, o.qkey), coalesce(q.max_space, -1),
           coalesce(q.max_inodes, -1), coalesce(q.used_space, 0), coalesce(q.used_inodes, 0),
           coalesce(o.space, 0), coalesce(o.inodes, 0)
      FROM public.jfs_user_group_quota AS q
           FULL JOIN tarn_1.owner_sizes() AS o ON (o.qtype, o.qkey) = (q.qtype, q.qkey)
     ORDER BY 1, 2;
END $$;

-- Make usage what a count gives: of one directory's quota, or of all owners.
CREATE FUNCTION tarn_1.quota_repair(_type int4, _key int8) RETURNS TABLE (err int4)
LANGUAGE plpgsql AS $$
BEGIN
    err := CASE WHEN tarn_1.is_mirror() THEN 30 ELSE 0 END;
    IF err = 0 AND _type = 0 THEN
        UPDATE public.jfs_dir_quota AS q SET used_space = s.space, used_inodes = s.entries
          FROM tarn_1.tree_size(_key) AS s WHERE q.inode = _key;
    ELSIF err = 0 THEN
        PERFORM tarn_1.recount_owners();
    END IF;
    RETURN NEXT;
END $$;

---------------------------------------------------------------------------------------- format row

-- What the format row turns on between _old and _new is begun afresh: counts that were kept up to
-- some former day are worse than none.
CREATE FUNCTION tarn_1.begin_counting(_old jsonb, _new jsonb) RETURNS void
LANGUAGE plpgsql AS $$
BEGIN
    IF (_new ->> 'DirStats')::bool AND NOT coalesce((_old ->> 'DirStats')::bool, false) THEN
        DELETE FROM public.jfs_dir_stats;
        PERFORM tarn_1.log_command('INIT_ENABLE_DIRSTATS()');
    END IF;
    IF (_new ->> 'UserGroupQuota')::bool
       AND NOT coalesce((_old ->> 'UserGroupQuota')::bool, false) THEN
        DELETE FROM public.jfs_user_group_quota;
        PERFORM tarn_1.log_command('INIT_ENABLE_USERGROUPQUOTA()');
        PERFORM tarn_1.recount_owners();
    END IF;
END $$;

-- The root of the trash, which a volume has from the day it keeps one.
CREATE FUNCTION tarn_1.make_trash() RETURNS void
LANGUAGE plpgsql AS $$
DECLARE
    _now int8 := tarn_1.clock_us();
BEGIN
    INSERT INTO public.jfs_node (inode, type, flags, mode, uid, gid, atime, mtime, ctime, atimensec,
                                 mtimensec, ctimensec, nlink, length, rdev, parent, access_acl_id,
                                 default_acl_id, tier_id)
    VALUES (tarn_1.trash(), 2, 0, 365, 0, 0, _now, _now, _now, 0, 0, 0, 2, 4096, 0, 1, 0, 0, 0)
        ON CONFLICT DO NOTHING;
END $$;

-- Replace the format row _old by _new. EAGAIN when it is not _old any more: read it again, and make
-- the change in that. _new in place already is success: an answer was lost.
CREATE FUNCTION tarn_1.format_replace(_old text, _new text) RETURNS TABLE (err int4)
LANGUAGE plpgsql AS $$
DECLARE
    _now text;
BEGIN
    IF tarn_1.is_mirror() THEN
        err := 30;
        RETURN NEXT;
        RETURN;
    END IF;
    SELECT s.value INTO _now FROM public.jfs_setting AS s WHERE s.name = 'format' FOR UPDATE;
    err := CASE WHEN _now = _new THEN 0 WHEN _now = _old THEN 0 ELSE 11 END;
    IF err = 0 AND _now <> _new THEN
        PERFORM tarn_1.begin_counting(_old::jsonb, _new::jsonb);
        IF (_new::jsonb ->> 'TrashDays')::int8 > 0 THEN
            PERFORM tarn_1.make_trash();
        END IF;
        UPDATE public.jfs_setting SET value = _new WHERE name = 'format';
        PERFORM tarn_1.flags_refresh();
    END IF;
    RETURN NEXT;
END $$;
