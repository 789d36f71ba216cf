-- Directory quotas when directories move (format §10). What single entries add and take is in the
-- usage of each answer; a directory that moves has all that is below it counted elsewhere, too.

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

-- Move what is below a directory from the quotas above _from to those above _to. The tree is only
-- walked when they differ. Quota rows are taken in ascending order, as by a flush.
CREATE FUNCTION tarn_1.carry_quotas(_dir int8, _from int8, _to int8) RETURNS void
LANGUAGE plpgsql AS $$
DECLARE
    _size  record;
    _quota record;
BEGIN
    PERFORM FROM public.jfs_dir_quota LIMIT 1;
    IF NOT FOUND THEN
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
