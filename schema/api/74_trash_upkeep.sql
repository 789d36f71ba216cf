-- The upkeep of the trash, of replaced slices and of detached trees: what is old enough goes. As in
-- 70_upkeep.sql every function may be called again when its answer was lost.

-- Slices that compaction replaced are kept as long as the trash. Let go of the next _limit groups
-- of them that are old enough; answers how many there were.
CREATE FUNCTION tarn_1.delayed_expire(_limit int4) RETURNS TABLE (expired int4)
LANGUAGE plpgsql AS $$
DECLARE
    _edge      int8 := tarn_1.clock_s() - (tarn_1.flags_now()).trash_days * 86400;
    _is_logged bool := (tarn_1.flags()).change_log;
    _packed    bytea := '';
    _chunkids  int8[] := '{}';
    _d         record;
BEGIN
    FOR _d IN SELECT d.chunkid, d.deleted, d.slices FROM public.jfs_delslices AS d
               WHERE d.deleted < _edge ORDER BY d.chunkid LIMIT _limit FOR UPDATE SKIP LOCKED LOOP
        CONTINUE WHEN octet_length(_d.slices) % 12 <> 0;  -- damaged: for a person to look at
        _packed := _packed || _d.slices;
        _chunkids := _chunkids || _d.chunkid;
        IF _is_logged THEN
            PERFORM tarn_1.log_change(0, 0, format('CLEANUP_DELAYED_SLICES(%s,%s)', _d.chunkid,
                                                   _d.deleted));
        END IF;
    END LOOP;
    PERFORM tarn_1.unref((SELECT array_agg(tarn_1.be8(_packed, at) ORDER BY at)
                            FROM generate_series(0, octet_length(_packed) - 12, 12) AS at),
                         (SELECT array_agg(tarn_1.be4(_packed, at + 8) ORDER BY at)
                            FROM generate_series(0, octet_length(_packed) - 12, 12) AS at));
    DELETE FROM public.jfs_delslices AS d WHERE d.chunkid = ANY (_chunkids);
    RETURN QUERY SELECT cardinality(_chunkids);
END $$;

-- Hours of the trash that are past their time, oldest first. Their names are UTC.
CREATE FUNCTION tarn_1.trash_due() RETURNS TABLE (ino int8, hour text)
LANGUAGE sql STABLE AS $$
    SELECT e.inode, encode(e.name, 'escape')
      FROM public.jfs_edge AS e,
           (SELECT to_char((clock_timestamp() - interval '1 us'
                            - (24 * (tarn_1.flags_now()).trash_days + 2) * interval '1 hour')
                           AT TIME ZONE 'UTC', 'YYYY-MM-DD-HH24') AS hour) AS edge
     WHERE e.parent = tarn_1.trash() AND e.type = 2
       AND encode(e.name, 'escape') ~ '^\d{4}-\d\d-\d\d-\d\d$'
       AND encode(e.name, 'escape') COLLATE "C" <= edge.hour
     ORDER BY e.inode
$$;

-- Trees that were built to be attached somewhere and never were (format §7.6).
CREATE FUNCTION tarn_1.detached_due(_older_s int8, _limit int4) RETURNS TABLE (ino int8)
LANGUAGE plpgsql STABLE AS $$
BEGIN
    IF to_regclass('public.jfs_detached_node') IS NOT NULL THEN  -- an old volume has none
        RETURN QUERY
        SELECT d.inode FROM public.jfs_detached_node AS d
         WHERE d.added < tarn_1.clock_s() - _older_s ORDER BY d.inode LIMIT _limit;
    END IF;
END $$;

-- One entry of a tree that is being emptied, for real and not into the trash. Answers its usage;
-- NULL when it has to stay.
CREATE FUNCTION tarn_1.purge_entry(_e public.jfs_edge) RETURNS int8[]
LANGUAGE plpgsql AS $$
DECLARE
    _n tarn.reply := tarn_1.lock_node(_e.inode);
    _r tarn.reply;
BEGIN
    -- The lock keeps new children out, and a statement of its own sees those that got in.
    IF _e.type = 2 AND tarn_1.has_children(_e.inode) THEN
        RETURN NULL;
    END IF;
    _n.flags := _n.flags | 32;  -- as if it had been made to skip the trash
    _r := tarn_1.discard(0, _e, _n, '{}', tarn_1.clock_us());
    IF _r.err IS NULL THEN
        RETURN '{0,0}';  -- somebody else was quicker
    END IF;
    IF _e.type = 2 THEN
        PERFORM tarn_1.touch_directory(_e.parent, -1, tarn_1.clock_us());
    END IF;
    IF (tarn_1.flags()).change_log THEN
        PERFORM tarn_1.log_change(0, 0, CASE _e.type
            WHEN 2 THEN format('RMDIR(%s,%s,0):%s', _e.parent, tarn_1.log_name(_e.name), _e.inode)
            ELSE format('UNLINK(%s,%s,0,false,false):%s', _e.parent, tarn_1.log_name(_e.name),
                        _e.inode) END);
    END IF;
    RETURN _r.usage;
END $$;

-- Remove up to _limit entries below _root, deepest first. The way down goes through the first entry
-- of each directory, and begins anew whenever a directory was emptied, so that nothing has to be
-- remembered between two calls. is_empty: nothing is left; the root itself stays.
--
-- Every directory on the way is held until the end: whoever takes one out of the tree meanwhile, back
-- from the trash, waits, or was quicker, and then nothing below it is touched any more.
CREATE FUNCTION tarn_1.tree_purge(_root int8, _limit int4)
RETURNS TABLE (removed int4, is_empty bool)
LANGUAGE plpgsql AS $$
DECLARE
    _dir   int8 := _root;
    _e     public.jfs_edge;
    _usage int8[];
    _total int8[] := '{0,0}';
BEGIN
    removed := 0;
    FOR _step IN 1 .. _limit * 4 + 10000 LOOP
        SELECT * INTO _e FROM public.jfs_edge AS e WHERE e.parent = _dir ORDER BY e.name LIMIT 1;
        IF NOT FOUND THEN
            EXIT WHEN _dir = _root;
            _dir := _root;
            CONTINUE;
        END IF;
        IF _e.type = 2 AND tarn_1.has_children(_e.inode) THEN
            PERFORM tarn_1.lock_node(_e.inode);
            IF EXISTS (SELECT FROM public.jfs_edge AS e WHERE e.parent = _dir
                          AND e.name = _e.name AND e.inode = _e.inode) THEN
                _dir := _e.inode;
            END IF;
            CONTINUE;
        END IF;
        _usage := tarn_1.purge_entry(_e);
        CONTINUE WHEN _usage IS NULL;
        _total := ARRAY[_total[1] + _usage[1], _total[2] + _usage[2]] || _total[3:] || _usage[3:];
        removed := removed + 1;
        EXIT WHEN removed >= _limit;
    END LOOP;
    PERFORM tarn_1.count_usage(_total);
    is_empty := NOT EXISTS (SELECT FROM public.jfs_edge AS e WHERE e.parent = _root);
    RETURN NEXT;
END $$;

-- Remove an hour of the trash that is empty, which rmdir refuses to do. The trash itself keeps its
-- times and its link count, and no owner's quota knows of the hour.
CREATE FUNCTION tarn_1.trash_hour_drop(_hour int8) RETURNS TABLE (is_dropped bool)
LANGUAGE plpgsql AS $$
DECLARE
    _n tarn.reply := tarn_1.lock_node(_hour);
    _e public.jfs_edge;
BEGIN
    SELECT * INTO _e FROM public.jfs_edge AS e WHERE e.parent = tarn_1.trash() AND e.inode = _hour;
    IF NOT FOUND OR _hour <= tarn_1.trash() OR tarn_1.has_children(_hour) THEN
        RETURN QUERY SELECT false;
        RETURN;
    END IF;
    DELETE FROM public.jfs_edge AS e WHERE e.parent = _e.parent AND e.name = _e.name;
    DELETE FROM public.jfs_dir_stats AS s WHERE s.inode = _hour;
    DELETE FROM public.jfs_node AS n WHERE n.inode = _hour;
    IF (tarn_1.flags()).change_log THEN
        PERFORM tarn_1.log_change(0, 0, format('RMDIR(%s,%s,0):%s', _e.parent,
                                               tarn_1.log_name(_e.name), _hour));
    END IF;
    PERFORM tarn_1.count_volume(CASE WHEN _n.err = 0 THEN -4096 ELSE 0 END,
                                CASE WHEN _n.err = 0 THEN -1 ELSE 0 END);
    RETURN QUERY SELECT true;
END $$;

-- Remove the emptied root of a detached tree. One that has an edge was attached after all, and
-- only its row among the detached ones is left to remove.
CREATE FUNCTION tarn_1.detached_drop(_ino int8) RETURNS TABLE (is_dropped bool)
LANGUAGE plpgsql AS $$
DECLARE
    _n tarn.reply := tarn_1.lock_node(_ino);
BEGIN
    is_dropped := false;
    IF tarn_1.is_detached(_ino) AND NOT tarn_1.has_children(_ino) THEN
        DELETE FROM public.jfs_node AS n WHERE n.inode = _ino;
        DELETE FROM public.jfs_dir_stats AS s WHERE s.inode = _ino;
        DELETE FROM public.jfs_xattr AS x WHERE x.inode = _ino;
        IF (tarn_1.flags()).change_log THEN
            PERFORM tarn_1.log_change(0, 0, format('CLEANUP(%s)', _ino));
        END IF;
        IF _n.err = 0 THEN
            PERFORM tarn_1.count_usage(ARRAY[-4096, -1]
                                       || tarn_1.owner_usage(_n.uid, _n.gid, -4096, -1));
        END IF;
        is_dropped := true;
    END IF;
    DELETE FROM public.jfs_detached_node AS d
     WHERE d.inode = _ino
       AND (is_dropped OR EXISTS (SELECT FROM public.jfs_edge AS e WHERE e.inode = _ino));
    RETURN NEXT;
END $$;

-- Whether an inode is the root of a tree that was never attached, so that nobody can see it.
CREATE FUNCTION tarn_1.is_detached(_ino int8) RETURNS bool
LANGUAGE plpgsql STABLE AS $$
BEGIN
    RETURN _ino > 1 AND _ino < tarn_1.trash()
           AND EXISTS (SELECT FROM public.jfs_detached_node AS d WHERE d.inode = _ino)
           AND NOT EXISTS (SELECT FROM public.jfs_edge AS e WHERE e.inode = _ino);
END $$;

-- The next entries of a detached tree, as tree_purge(); none when it has been attached.
CREATE FUNCTION tarn_1.detached_purge(_ino int8, _limit int4)
RETURNS TABLE (removed int4, is_empty bool)
LANGUAGE plpgsql AS $$
BEGIN
    PERFORM tarn_1.lock_node(_ino);
    IF tarn_1.is_detached(_ino) THEN
        RETURN QUERY SELECT p.removed, p.is_empty FROM tarn_1.tree_purge(_ino, _limit) AS p;
    ELSE
        RETURN QUERY SELECT 0, true;
    END IF;
END $$;
