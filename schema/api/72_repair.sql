-- The repairs of fsck (71_check.sql finds what they mend).
--
-- A repair locks what it mends, looks again under the lock and mends what is wrong then. It answers
-- whether it changed anything, so repeating it is harmless. None of them needs a session.

-- The directory for what has lost its place: /.tarn-lost, for root alone.
CREATE FUNCTION tarn_1.lost_dir() RETURNS int8
LANGUAGE plpgsql AS $$
DECLARE
    _now int8 := tarn_1.clock_us();
    _ino int8 := tarn_1.child(1, '\x2e7461726e2d6c6f7374');
BEGIN
    IF _ino IS NOT NULL THEN
        RETURN _ino;
    END IF;
    UPDATE public.jfs_counter SET value = value + 1
     WHERE name = 'nextInode' RETURNING value - 1 INTO _ino;
    INSERT INTO public.jfs_edge (parent, name, inode, type)
    VALUES (1, '\x2e7461726e2d6c6f7374', _ino, 2) ON CONFLICT (parent, name) DO NOTHING;
    IF NOT FOUND THEN
        RETURN tarn_1.child(1, '\x2e7461726e2d6c6f7374');
    END IF;
    INSERT INTO public.jfs_node (inode, type, flags, mode, uid, gid, atime, mtime, ctime,
                                 atimensec, mtimensec, ctimensec, nlink, length, rdev, parent,
                                 access_acl_id, default_acl_id, tier_id)
    VALUES (_ino, 2, 0, 448, 0, 0, _now, _now, _now, 0, 0, 0, 2, 4096, 0, 1, 0, 0, 0);
    INSERT INTO public.jfs_dir_stats (inode, data_length, used_space, used_inodes)
    VALUES (_ino, 0, 0, 0) ON CONFLICT DO NOTHING;
    UPDATE public.jfs_node SET nlink = nlink + 1, mtime = _now, ctime = _now WHERE inode = 1;
    PERFORM tarn_1.count_dirs(ARRAY[4096, 1, 1, 0, 4096, 1]);
    PERFORM tarn_1.count_volume(4096, 1);
    RETURN _ino;
END $$;

-- Nlink, parent and ACLs of a node, from its edges as they are under its lock.
CREATE FUNCTION tarn_1.repair_node(_ino int8) RETURNS TABLE (done bool)
LANGUAGE plpgsql AS $$
DECLARE
    _f record;
BEGIN
    done := false;
    PERFORM FROM public.jfs_node WHERE inode = _ino FOR UPDATE;
    FOR _f IN SELECT * FROM tarn_1.check_nodes(0, 0, ARRAY[_ino]) LOOP
        CASE _f.kind
        WHEN 'nlink' THEN
            UPDATE public.jfs_node SET nlink = _f.want WHERE inode = _ino;
        WHEN 'parent' THEN
            UPDATE public.jfs_node SET parent = _f.want WHERE inode = _ino;
        WHEN 'acl' THEN
            UPDATE public.jfs_node
               SET access_acl_id = CASE _f.key WHEN 1 THEN 0 ELSE access_acl_id END,
                   default_acl_id = CASE _f.key WHEN 2 THEN 0 ELSE default_acl_id END
             WHERE inode = _ino;
        ELSE
            CONTINUE;
        END CASE;
        UPDATE public.jfs_node SET ctime = tarn_1.next_ctime(ctime, tarn_1.clock_us()), ctimensec = 0
         WHERE inode = _ino;
        done := true;
    END LOOP;
    RETURN NEXT;
END $$;

-- Put an inode that nothing leads to, or one directory of a cycle, under /.tarn-lost by its number.
-- _edge: the id of the name that is given up, 0 when there is none.
CREATE FUNCTION tarn_1.repair_place(_ino int8, _edge int8) RETURNS TABLE (done bool)
LANGUAGE plpgsql AS $$
DECLARE
    _lost int8;
    _e    public.jfs_edge;
    _n    tarn.reply;
    _now  int8 := tarn_1.clock_us();
BEGIN
    done := false;
    -- As rename: one move of directories between parents at a time.
    PERFORM pg_catalog.pg_advisory_xact_lock(pg_catalog.hashtext('tarn'), 1);
    _lost := tarn_1.lost_dir();
    _n := tarn_1.lock_node(_ino);
    IF _n.err = 0 AND EXISTS (
           SELECT FROM tarn_1.check_nodes(0, 0, ARRAY[_ino]) f WHERE f.kind = 'orphan'
           UNION ALL
           SELECT FROM tarn_1.check_cycles(0, 0, ARRAY[_ino]) f WHERE f.kind = 'cycle'
           UNION ALL
           SELECT FROM tarn_1.check_edges(0, 0, ARRAY[_edge]) f WHERE f.kind = 'lost') THEN
        DELETE FROM public.jfs_edge WHERE id = _edge AND inode = _ino RETURNING * INTO _e;
        IF _n.type = 2 AND EXISTS (SELECT FROM public.jfs_edge WHERE inode = _ino) THEN
            RETURN QUERY SELECT true; -- it keeps the name that it has elsewhere
            RETURN;
        END IF;
        INSERT INTO public.jfs_edge (parent, name, inode, type)
        VALUES (_lost, convert_to(_ino::text, 'UTF8'), _ino, _n.type) ON CONFLICT DO NOTHING;
        done := FOUND;
    END IF;
    IF done THEN
        UPDATE public.jfs_node
           SET parent = CASE WHEN _n.type = 2 OR nlink < 2 THEN _lost ELSE parent END,
               nlink = CASE WHEN _n.type <> 2 AND nlink < 1 THEN 1 ELSE nlink END,
               ctime = tarn_1.next_ctime(ctime, _now), ctimensec = 0
         WHERE inode = _ino;
        IF _n.type = 2 THEN
            PERFORM tarn_1.touch_directory(_lost, 1, _now);
            IF _e.parent IS NOT NULL THEN
                PERFORM tarn_1.touch_directory(_e.parent, -1, _now);
            END IF;
        END IF;
        PERFORM tarn_1.count_dirs(
            ARRAY[0, 0]::int8[] || tarn_1.entry_usage(_lost, _n, 1)
            || CASE WHEN _e.parent IS NULL THEN '{}' ELSE tarn_1.entry_usage(_e.parent, _n, -1) END);
    END IF;
    RETURN NEXT;
END $$;

-- A name without an inode: a directory is made again, empty but for what still names it as its
-- parent; a file whose data are there gets an inode over them; of anything else only the name was
-- left, and it goes.
CREATE FUNCTION tarn_1.repair_entry(_ino int8, _edge int8) RETURNS TABLE (done bool)
LANGUAGE plpgsql AS $$
DECLARE
    _e      public.jfs_edge;
    _length int8;
    _now    int8 := tarn_1.clock_us();
BEGIN
    done := false;
    SELECT * INTO _e FROM public.jfs_edge WHERE id = _edge AND inode = _ino FOR UPDATE;
    IF NOT FOUND OR EXISTS (SELECT FROM public.jfs_node WHERE inode = _ino) THEN
        RETURN NEXT;
        RETURN;
    END IF;
    done := true;
    SELECT max(c.indx * 67108864::int8 + tarn_1.be4(c.slices, i * 24)
               + tarn_1.be4(c.slices, i * 24 + 20))
      INTO _length
      FROM public.jfs_chunk c, generate_series(0, octet_length(c.slices) / 24 - 1) AS i
     WHERE c.inode = _ino;
    IF _e.type = 2 OR _e.type = 1 AND _length > 0
       AND NOT EXISTS (SELECT FROM public.jfs_delfile WHERE inode = _ino) THEN
        INSERT INTO public.jfs_node (inode, type, flags, mode, uid, gid, atime, mtime, ctime,
                                     atimensec, mtimensec, ctimensec, nlink, length, rdev, parent,
                                     access_acl_id, default_acl_id, tier_id)
        VALUES (_ino, _e.type, 0, CASE _e.type WHEN 2 THEN 493 ELSE 384 END, 0, 0, _now, _now, _now,
                0, 0, 0,
                CASE _e.type
                    WHEN 2 THEN 2 + (SELECT count(*) FROM public.jfs_edge c
                                      WHERE c.parent = _ino AND c.type = 2)
                    ELSE (SELECT count(*) FROM public.jfs_edge c WHERE c.inode = _ino) END,
                CASE _e.type WHEN 2 THEN 4096 ELSE _length END, 0,
                CASE WHEN _e.type = 2 OR (SELECT count(*) FROM public.jfs_edge c
                                           WHERE c.inode = _ino) = 1 THEN _e.parent ELSE 0 END,
                0, 0, 0);
        IF _e.type = 2 THEN
            PERFORM tarn_1.recount(_ino);
        END IF;
    ELSE
        DELETE FROM public.jfs_edge WHERE id = _edge;
        IF _e.type = 2 THEN
            PERFORM tarn_1.touch_directory(_e.parent, -1, _now);
        END IF;
    END IF;
    RETURN NEXT;
END $$;

-- The type that a name repeats from its inode.
CREATE FUNCTION tarn_1.repair_type(_ino int8, _edge int8) RETURNS TABLE (done bool)
LANGUAGE plpgsql AS $$
BEGIN
    UPDATE public.jfs_edge e SET type = n.type FROM public.jfs_node n
     WHERE e.id = _edge AND n.inode = e.inode AND n.type <> e.type;
    done := FOUND;
    RETURN NEXT;
END $$;

-- Names of a directory that are not the one its parent pointer tells of, if that one is there.
CREATE FUNCTION tarn_1.repair_names(_ino int8) RETURNS TABLE (done bool)
LANGUAGE plpgsql AS $$
DECLARE
    _n tarn.reply;
    _e public.jfs_edge;
BEGIN
    done := false;
    PERFORM pg_catalog.pg_advisory_xact_lock(pg_catalog.hashtext('tarn'), 1);
    _n := tarn_1.lock_node(_ino);
    IF _n.type = 2 AND (SELECT count(*) FROM public.jfs_edge
                         WHERE inode = _ino AND parent = _n.parent) = 1 THEN
        FOR _e IN DELETE FROM public.jfs_edge WHERE inode = _ino AND parent <> _n.parent
                  RETURNING * LOOP
            PERFORM tarn_1.touch_directory(_e.parent, -1, tarn_1.clock_us());
            PERFORM tarn_1.count_dirs(ARRAY[0, 0]::int8[] || tarn_1.entry_usage(_e.parent, _n, -1));
            done := true;
        END LOOP;
    END IF;
    RETURN NEXT;
END $$;

CREATE FUNCTION tarn_1.repair_xattr(_ino int8, _id int8) RETURNS TABLE (done bool)
LANGUAGE plpgsql AS $$
BEGIN
    DELETE FROM public.jfs_xattr x WHERE x.id = _id AND x.inode = _ino
       AND NOT EXISTS (SELECT FROM public.jfs_node n WHERE n.inode = x.inode);
    done := FOUND;
    RETURN NEXT;
END $$;

CREATE FUNCTION tarn_1.repair_symlink(_ino int8) RETURNS TABLE (done bool)
LANGUAGE plpgsql AS $$
BEGIN
    DELETE FROM public.jfs_symlink s WHERE s.inode = _ino
       AND NOT EXISTS (SELECT FROM public.jfs_node n WHERE n.inode = s.inode);
    done := FOUND;
    RETURN NEXT;
END $$;

-- The lazily counted ones are set only where they still are what was found: a repetition changes
-- nothing, and what a client has flushed meanwhile is not overwritten.
CREATE FUNCTION tarn_1.repair_stats(_dir int8, _which int8, _have int8, _want int8)
RETURNS TABLE (done bool)
LANGUAGE plpgsql AS $$
BEGIN
    UPDATE public.jfs_dir_stats
       SET data_length = CASE _which WHEN 1 THEN _want ELSE data_length END,
           used_space = CASE _which WHEN 2 THEN _want ELSE used_space END,
           used_inodes = CASE _which WHEN 3 THEN _want ELSE used_inodes END
     WHERE inode = _dir
       AND _have = (ARRAY[data_length, used_space, used_inodes])[_which];
    done := FOUND;
    RETURN NEXT;
END $$;

CREATE FUNCTION tarn_1.repair_usage(_which int8, _have int8, _want int8) RETURNS TABLE (done bool)
LANGUAGE plpgsql AS $$
DECLARE
    _name text := (ARRAY['totalInodes', 'usedSpace'])[_which];
BEGIN
    INSERT INTO public.jfs_counter (name, value) VALUES (_name, 0) ON CONFLICT (name) DO NOTHING;
    UPDATE public.jfs_counter SET value = _want WHERE name = _name AND value = _have;
    done := FOUND;
    RETURN NEXT;
END $$;

CREATE FUNCTION tarn_1.repair_quota(_dir int8, _which int8, _have int8, _want int8)
RETURNS TABLE (done bool)
LANGUAGE plpgsql AS $$
BEGIN
    UPDATE public.jfs_dir_quota
       SET used_space = CASE _which WHEN 1 THEN _want ELSE used_space END,
           used_inodes = CASE _which WHEN 2 THEN _want ELSE used_inodes END
     WHERE inode = _dir AND _have = (ARRAY[used_space, used_inodes])[_which];
    done := FOUND;
    RETURN NEXT;
END $$;

-- Directories without a row of statistics (fsck --sync-dir-stat): count them. Pages by inode.
CREATE FUNCTION tarn_1.fill_stats(_after int8, _limit int4)
RETURNS TABLE (last int8, filled int8)
LANGUAGE plpgsql AS $$
DECLARE
    _page int8[] := ARRAY(SELECT n.inode FROM public.jfs_node n
                           WHERE n.inode > _after ORDER BY n.inode LIMIT _limit);
    _dir  int8;
BEGIN
    filled := 0;
    FOR _dir IN SELECT n.inode FROM public.jfs_node n
                 WHERE n.inode = ANY (_page) AND n.type = 2
                   AND (n.inode = 1 OR n.inode < tarn_1.trash() AND n.parent < tarn_1.trash())
                   AND NOT EXISTS (SELECT FROM public.jfs_dir_stats s WHERE s.inode = n.inode)
                 ORDER BY n.inode LOOP
        filled := filled + tarn_1.recount(_dir)::int4;
    END LOOP;
    last := CASE WHEN cardinality(_page) = _limit THEN _page[_limit] END;
    RETURN NEXT;
END $$;
