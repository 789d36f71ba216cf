-- Accounting: what clients have gathered from the usage of replies, brought in once a second.
--
-- Everything is relative, so that clients need not know of each other. Rows are taken in ascending
-- order, and the counters of the volume last, because every client waits for those.

-- Add to the counters of the volume, in the order in which stock clients take them.
CREATE FUNCTION tarn_1.count_volume(_space int8, _inodes int8) RETURNS void
LANGUAGE plpgsql AS $$
BEGIN
    IF _inodes <> 0 THEN
        INSERT INTO public.jfs_counter AS c (name, value) VALUES ('totalInodes', _inodes)
            ON CONFLICT (name) DO UPDATE SET value = c.value + EXCLUDED.value;
    END IF;
    IF _space <> 0 THEN
        INSERT INTO public.jfs_counter AS c (name, value) VALUES ('usedSpace', _space)
            ON CONFLICT (name) DO UPDATE SET value = c.value + EXCLUDED.value;
    END IF;
END $$;

-- Whether _dir lies in the trash at any depth: in its hour, or in a tree that `restore` put together
-- there. The walk is bounded, for there may be a cycle.
CREATE FUNCTION tarn_1.is_thrown_away(_dir int8) RETURNS bool
LANGUAGE plpgsql STABLE AS $$
DECLARE
    _at int8 := _dir;
BEGIN
    FOR _i IN 1 .. 10000 LOOP
        EXIT WHEN _at IS NULL OR _at <= 1;
        _at := (SELECT parent FROM public.jfs_node WHERE inode = _at);
        IF _at > tarn_1.trash() THEN
            RETURN true;
        END IF;
    END LOOP;
    RETURN false;
END $$;

-- Make the missing statistics of a directory by counting; whether there are any now that were not. What
-- has been committed is in them already, the change that led here too. One in the trash has lost its
-- row for good: late changes of its last second must not count against a new one, nor may what
-- `restore` moves into it, and brings in later, be counted before.
CREATE FUNCTION tarn_1.recount(_dir int8) RETURNS bool
LANGUAGE plpgsql AS $$
DECLARE
    _s public.jfs_dir_stats;
BEGIN
    INSERT INTO public.jfs_dir_stats (inode, data_length, used_space, used_inodes)
    SELECT _dir, coalesce(sum(n.length) FILTER (WHERE n.type = 1), 0),
           coalesce(sum(CASE n.type WHEN 1 THEN tarn_1.space(n.length) ELSE 4096 END), 0), count(*)
      FROM public.jfs_edge AS e JOIN public.jfs_node AS n ON n.inode = e.inode
     WHERE e.parent = _dir
    HAVING EXISTS (SELECT FROM public.jfs_node AS d WHERE d.inode = _dir AND d.type = 2)
           AND NOT tarn_1.is_thrown_away(_dir)
        ON CONFLICT (inode) DO NOTHING
    RETURNING * INTO _s;
    IF _s.inode IS NOT NULL AND (tarn_1.flags()).change_log THEN
        PERFORM tarn_1.log_change(0, 0, format('DIRSTAT(%s,%s,%s,%s)', _dir, _s.data_length,
                                               _s.used_space, _s.used_inodes));
    END IF;
    RETURN _s.inode IS NOT NULL;
END $$;

CREATE FUNCTION tarn_1.count_dirs(_usage int8[]) RETURNS void
LANGUAGE plpgsql AS $$
DECLARE
    _d record;
BEGIN
    FOR _d IN SELECT * FROM tarn_1.usage_dirs(_usage) AS u ORDER BY u.dir LOOP
        UPDATE public.jfs_dir_stats AS s
           SET data_length = s.data_length + _d.length, used_space = s.used_space + _d.space,
               used_inodes = s.used_inodes + _d.entries
         WHERE s.inode = _d.dir;
        IF NOT FOUND THEN
            PERFORM tarn_1.recount(_d.dir);
        END IF;
    END LOOP;
END $$;

-- Add to the quotas that the operations named (22_quota.sql). One that is gone stays gone.
CREATE FUNCTION tarn_1.count_quotas(_usage int8[]) RETURNS void
LANGUAGE plpgsql AS $$
DECLARE
    _q record;
BEGIN
    FOR _q IN
        SELECT _usage[i + 1] AS inode, sum(_usage[i + 2]) AS space, sum(_usage[i + 3]) AS entries
          FROM generate_series(3, cardinality(_usage) - 3, 4) AS i
         WHERE _usage[i] = -3 GROUP BY 1 ORDER BY 1
    LOOP
        UPDATE public.jfs_dir_quota AS d
           SET used_space = d.used_space + _q.space, used_inodes = d.used_inodes + _q.entries
         WHERE d.inode = _q.inode;
    END LOOP;
END $$;

-- Add to the owners. One that is seen for the first time gets a row without limits.
CREATE FUNCTION tarn_1.count_owners(_usage int8[]) RETURNS void
LANGUAGE plpgsql AS $$
BEGIN
    INSERT INTO public.jfs_user_group_quota AS q
           (qtype, qkey, max_space, max_inodes, used_space, used_inodes)
    SELECT -_usage[i], _usage[i + 1], -1, -1, sum(_usage[i + 2]), sum(_usage[i + 3])
      FROM generate_series(3, cardinality(_usage) - 3, 4) AS i
     WHERE _usage[i] IN (-1, -2)
     GROUP BY 1, 2 ORDER BY 1, 2
        ON CONFLICT (qtype, qkey) DO UPDATE
       SET used_space = q.used_space + EXCLUDED.used_space,
           used_inodes = q.used_inodes + EXCLUDED.used_inodes;
END $$;

-- Add all that a usage array says: {space, inodes}, then quadruples {directory, length, space,
-- entries}, {-1, uid, space, inodes}, {-2, gid, space, inodes} and {-3, quota, space, entries}.
CREATE FUNCTION tarn_1.count_usage(_usage int8[]) RETURNS void
LANGUAGE plpgsql AS $$
DECLARE
    _flags tarn.volume_flags := tarn_1.flags();
BEGIN
    IF _flags.dir_stats THEN
        PERFORM tarn_1.count_dirs(_usage);
        IF -3 = ANY (_usage) THEN
            PERFORM tarn_1.count_quotas(_usage);
        END IF;
    END IF;
    IF _flags.owner_quota THEN
        PERFORM tarn_1.count_owners(_usage);
    END IF;
    PERFORM tarn_1.count_volume(coalesce(_usage[1], 0), coalesce(_usage[2], 0));
END $$;

CREATE FUNCTION tarn_1.usage_flush(_sid int8, _lane int4, _op int8, _usage int8[])
RETURNS tarn.reply
LANGUAGE plpgsql AS $$
DECLARE
    _reply tarn.reply := tarn_1.lane_begin(_sid, _lane, _op);
BEGIN
    IF _reply.err IS NOT NULL THEN
        RETURN _reply;
    END IF;
    PERFORM tarn_1.count_usage(_usage);
    RETURN tarn_1.lane_end(_sid, _lane, _op, tarn_1.refuse(0));
END $$;
