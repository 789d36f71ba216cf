-- Rename and exchange: a name that moves. The order of locks is that of 20_namespace.sql, and a
-- directory that moves is held against making a cycle.

-- EINVAL when _ancestor is _dir or above it, else 0. The walk is bounded, because two stock clients
-- can have made a cycle: then ELOOP.
CREATE FUNCTION tarn_1.loop_error(_dir int8, _ancestor int8) RETURNS int4
LANGUAGE plpgsql AS $$
DECLARE
    _at int8 := _dir;
BEGIN
    FOR _i IN 1 .. 10000 LOOP
        IF _at = _ancestor THEN
            RETURN 22;
        ELSIF _at IS NULL OR _at <= 1 OR _at >= tarn_1.trash() THEN
            RETURN 0;
        END IF;
        _at := (SELECT parent FROM public.jfs_node WHERE inode = _at);
    END LOOP;
    RETURN 40;
END $$;

-- Which rename is refused whatever the names lead to, else 0. Root takes things out of the trash,
-- but nothing is put in, so there is no exchange with it.
CREATE FUNCTION tarn_1.rename_error(_parent1 int8, _name1 bytea, _parent2 int8, _name2 bytea,
                                    _flags int4, _uid int8) RETURNS int4
LANGUAGE sql IMMUTABLE PARALLEL SAFE AS $$
    SELECT CASE WHEN _flags NOT IN (0, 1, 2, 33) THEN 22
                WHEN tarn_1.name_error(_name1) <> 0 THEN tarn_1.name_error(_name1)
                WHEN tarn_1.name_error(_name2) <> 0 THEN tarn_1.name_error(_name2)
                WHEN tarn_1.is_dots(_name1) OR tarn_1.is_dots(_name2) THEN 16
                WHEN tarn_1.is_trash_name(_parent1, _name1)
                     OR tarn_1.is_trash_name(_parent2, _name2)
                     OR _parent1 = tarn_1.trash() OR _parent2 >= tarn_1.trash()
                     OR _parent1 > tarn_1.trash() AND (_uid <> 0 OR _flags = 2) THEN 1
                ELSE 0 END
$$;

-- What forbids the move when both nodes are locked, else 0. _d.ino is NULL without a target.
CREATE FUNCTION tarn_1.move_error(_p1 tarn.reply, _s tarn.reply, _p2 tarn.reply, _d tarn.reply,
                                  _has_target bool, _target_type int4, _is_exchange bool)
RETURNS int4
LANGUAGE sql IMMUTABLE PARALLEL SAFE AS $$
    SELECT CASE WHEN (_p1.flags | _s.flags | coalesce(_d.flags, 0)) & 3 <> 0 THEN 1
                WHEN _p2.flags & 1 <> 0 OR _p2.flags & 2 <> 0 AND _has_target THEN 1
                WHEN _is_exchange OR NOT _has_target THEN 0
                WHEN _s.type = 2 AND _target_type <> 2 THEN 20
                WHEN _s.type <> 2 AND _target_type = 2 THEN 21
                ELSE 0 END
$$;

-- The node of a moved name: a new parent, unless its parents are only told by its edges.
CREATE FUNCTION tarn_1.reparent(_ino int8, _parent int8, _now int8) RETURNS tarn.reply
LANGUAGE plpgsql AS $$
DECLARE
    _n public.jfs_node;
BEGIN
    UPDATE public.jfs_node
       SET parent = CASE WHEN parent > 0 THEN _parent ELSE parent END,
           ctime = tarn_1.next_ctime(ctime, _now), ctimensec = 0
     WHERE inode = _ino RETURNING * INTO _n;
    RETURN tarn_1.attributes(_n);
END $$;

-- Swap two names. Edges, nodes and parents are locked or held.
CREATE FUNCTION tarn_1.exchange(_e1 public.jfs_edge, _s tarn.reply, _e2 public.jfs_edge,
                                _d tarn.reply, _now int8) RETURNS tarn.reply
LANGUAGE plpgsql AS $$
DECLARE
    _r tarn.reply;
BEGIN
    UPDATE public.jfs_edge SET inode = _e2.inode, type = _e2.type
     WHERE parent = _e1.parent AND name = _e1.name;
    UPDATE public.jfs_edge SET inode = _e1.inode, type = _e1.type
     WHERE parent = _e2.parent AND name = _e2.name;
    PERFORM tarn_1.reparent(_e2.inode, _e1.parent, _now);
    _r := tarn_1.reparent(_e1.inode, _e2.parent, _now);
    _r.usage := '{0,0}';
    IF _e1.parent <> _e2.parent THEN
        IF _e1.type = 2 THEN
            PERFORM tarn_1.carry_quotas(_e1.inode, _e1.parent, _e2.parent);
        END IF;
        IF _e2.type = 2 THEN
            PERFORM tarn_1.carry_quotas(_e2.inode, _e2.parent, _e1.parent);
        END IF;
        _r.usage := _r.usage || tarn_1.entry_usage(_e1.parent, _s, -1)
                             || tarn_1.entry_usage(_e2.parent, _s, 1)
                             || tarn_1.entry_usage(_e1.parent, _d, 1)
                             || tarn_1.entry_usage(_e2.parent, _d, -1);
    END IF;
    RETURN _r;
END $$;

-- Move a name, over what _target (an edge, or NULL) leads to. NULL when the name does not lead there
-- any more; then nothing has been changed. The nodes, the parents and a target's edge are locked or
-- held.
--
-- A free name that another makes meanwhile ends the transaction by unique_violation (23505), and the
-- operation is sent again: it then finds a target.
CREATE FUNCTION tarn_1.move(_sid int8, _flags tarn.volume_flags, _e public.jfs_edge, _s tarn.reply,
                            _parent int8, _name bytea, _target public.jfs_edge, _d tarn.reply,
                            _opened int8[], _now int8)
RETURNS tarn.reply
LANGUAGE plpgsql AS $$
DECLARE
    _usage int8[] := '{0,0}';
    _r     tarn.reply;
BEGIN
    IF _target.inode IS NOT NULL THEN
        _r := tarn_1.discard(_sid, _target, _d, _opened, _now, _flags);
        _usage := _r.usage;
    END IF;
    UPDATE public.jfs_edge SET parent = _parent, name = _name
     WHERE parent = _e.parent AND name = _e.name AND inode = _e.inode;
    IF NOT FOUND THEN
        RETURN NULL; -- with a target it was locked
    END IF;
    UPDATE public.jfs_node AS n
       SET parent = CASE WHEN parent > 0 THEN _parent ELSE parent END,
           ctime = tarn_1.next_ctime(ctime, _now), ctimensec = 0
     WHERE inode = _e.inode RETURNING (tarn_1.attributes(n)).* INTO _r;
    IF _e.parent <> _parent THEN
        IF _e.type = 2 THEN
            PERFORM tarn_1.carry_quotas(_e.inode, _e.parent, _parent);
        END IF;
        _usage := _usage || tarn_1.entry_usage(_e.parent, _s, -1)
                         || tarn_1.entry_usage(_parent, _s, 1);
    END IF;
    _r.usage := _usage;
    RETURN _r;
END $$;

-- The errno of a rename that its directories or names forbid, else 0; before nodes are locked.
CREATE FUNCTION tarn_1.rename_refusal(_p1 tarn.reply, _e1 public.jfs_edge, _p2 tarn.reply,
                                      _e2 public.jfs_edge, _flags int4) RETURNS int4
LANGUAGE plpgsql AS $$
DECLARE
    _err int4 := CASE WHEN _p1.err <> 0 THEN _p1.err
                      WHEN _p1.type <> 2 THEN 20
                      WHEN _p2.err <> 0 THEN _p2.err
                      WHEN _e1.inode IS NULL THEN 2
                      WHEN _e2.inode IS NOT NULL AND _flags & 1 <> 0 THEN 17
                      WHEN _e2.inode IS NULL AND _flags = 2 THEN 2
                      ELSE 0 END;
BEGIN
    IF _err = 0 AND _p1.ino <> _p2.ino AND _e1.type = 2 THEN
        _err := tarn_1.loop_error(_p2.ino, _e1.inode);
    END IF;
    IF _err = 0 AND _p1.ino <> _p2.ino AND _e2.type = 2 AND _flags = 2 THEN
        _err := tarn_1.loop_error(_p1.ino, _e2.inode);
    END IF;
    RETURN _err;
END $$;

-- Lock both edges, lower (parent, name) first. False: one does not lead there any more.
CREATE FUNCTION tarn_1.lock_edges(_e1 public.jfs_edge, _e2 public.jfs_edge) RETURNS bool
LANGUAGE plpgsql AS $$
BEGIN
    IF (_e2.parent, _e2.name) < (_e1.parent, _e1.name) THEN
        RETURN tarn_1.lock_edge(_e2.parent, _e2.name, _e2.inode)
               AND tarn_1.lock_edge(_e1.parent, _e1.name, _e1.inode);
    END IF;
    RETURN tarn_1.lock_edge(_e1.parent, _e1.name, _e1.inode)
           AND tarn_1.lock_edge(_e2.parent, _e2.name, _e2.inode);
END $$;

CREATE FUNCTION tarn_1.rename_name(
    _sid int8, _op int8, _settings tarn.volume_flags, _parent1 int8, _name1 bytea, _parent2 int8,
    _name2 bytea, _flags int4, _uid int8, _opened int8[])
RETURNS tarn.reply
LANGUAGE plpgsql AS $$
DECLARE
    _now int8 := tarn_1.clock_us();
    _err int4 := tarn_1.rename_error(_parent1, _name1, _parent2, _name2, _flags, _uid);
    _p1  tarn.reply;
    _p2  tarn.reply;
    _e1  public.jfs_edge;
    _e2  public.jfs_edge;
    _s   tarn.reply;
    _d   tarn.reply;
    _r   tarn.reply;
    _has_target bool;
    _more       int4; -- sub-directories that _parent2 gains and _parent1 loses
BEGIN
    IF _err <> 0 THEN
        RETURN tarn_1.refuse(_err);
    END IF;
    LOOP
        SELECT * INTO _e1 FROM public.jfs_edge WHERE parent = _parent1 AND name = _name1;
        SELECT * INTO _e2 FROM public.jfs_edge WHERE parent = _parent2 AND name = _name2;
        _has_target := FOUND;
        -- One move of directories between parents at a time, or two could make a cycle. Before any
        -- row lock: the one who has it may need the row we would hold.
        IF _parent1 <> _parent2 AND (_e1.type = 2 OR _flags = 2 AND _e2.type = 2) THEN
            PERFORM pg_catalog.pg_advisory_xact_lock(pg_catalog.hashtext('tarn'), 1);
        END IF;
        _p2 := tarn_1.hold_parent(_parent2, _flags = 33);
        IF _parent1 = _parent2 THEN
            _p1 := _p2;
        ELSE
            _p1 := tarn_1.getattr(_parent1);
        END IF;
        _err := tarn_1.rename_refusal(_p1, _e1, _p2, _e2, _flags);
        IF _err <> 0 THEN
            RETURN tarn_1.refuse(_err);
        ELSIF _e1.inode = _e2.inode THEN
            RETURN tarn_1.getattr(_e1.inode); -- two names of one inode: nothing to do
        END IF;
        -- Lower inode first.
        _d := NULL;
        IF _e2.inode < _e1.inode THEN
            _d := tarn_1.lock_node(_e2.inode);
        END IF;
        _s := tarn_1.lock_node(_e1.inode);
        IF _e2.inode > _e1.inode THEN
            _d := tarn_1.lock_node(_e2.inode);
        END IF;
        IF _has_target AND NOT tarn_1.lock_edges(_e1, _e2) THEN
            CONTINUE;
        END IF;
        _err := CASE WHEN _s.err <> 0 THEN _s.err
                     ELSE tarn_1.move_error(_p1, _s, _p2, _d, _has_target, _e2.type, _flags = 2) END;
        IF _has_target AND _err = 0 AND _flags <> 2 AND _e2.type = 2
           AND tarn_1.has_children(_e2.inode) THEN
            _err := 39;
        END IF;
        IF _err = 0 AND _settings.dir_quota THEN
            _err := tarn_1.move_quota_error(_s, _parent1, _parent2);
            IF _err = 0 AND _flags = 2 THEN
                _err := tarn_1.move_quota_error(_d, _parent2, _parent1);
            END IF;
        END IF;
        IF _err <> 0 THEN
            RETURN tarn_1.refuse(_err);
        END IF;
        IF _flags = 2 THEN
            _r := tarn_1.exchange(_e1, _s, _e2, _d, _now);
        ELSE
            _r := tarn_1.move(_sid, _settings, _e1, _s, _parent2, _name2, _e2, _d, _opened, _now);
        END IF;
        EXIT WHEN _r.err IS NOT NULL;
    END LOOP;

    _more := (_e1.type = 2)::int4 - coalesce((_flags = 2 AND _e2.type = 2)::int4, 0);
    _err := coalesce((_flags <> 2 AND _e2.type = 2)::int4, 0); -- directories replaced
    IF _parent1 <> _parent2 OR _err > 0 OR tarn_1.is_stale(_p2.mtime, _now) THEN
        PERFORM tarn_1.touch_directories(_parent1, -_more, _parent2, _more - _err, _now);
    END IF;
    IF _settings.change_log THEN
        PERFORM tarn_1.log_change(_sid, _op, format(
            'MOVE(%s,%s,%s,%s,%s,%s,%s):%s', _parent1, tarn_1.log_name(_name1), _parent2,
            tarn_1.log_name(_name2), _flags, coalesce(_e2.inode, 0),
            CASE WHEN _has_target AND _flags <> 2 THEN tarn_1.grave(_r.usage) ELSE 0 END,
            _e1.inode));
    END IF;
    RETURN _r;
END $$;

CREATE FUNCTION tarn_1.rename(_sid int8, _lane int4, _op int8, _parent1 int8, _name1 bytea,
                              _parent2 int8, _name2 bytea, _flags int4, _uid int8,
                              _opened int8[])
RETURNS tarn.reply
LANGUAGE plpgsql AS $$
DECLARE
    _settings tarn.volume_flags := tarn_1.lane_flags(_sid, _lane, _op);
    _r        tarn.reply;
BEGIN
    IF _settings.only_row IS NULL THEN
        _r := tarn_1.lane_begin(_sid, _lane, _op);
        _settings := tarn_1.flags();
    END IF;
    IF _r.err IS NULL THEN
        _r := tarn_1.rename_name(_sid, _op, _settings, _parent1, _name1, _parent2, _name2, _flags,
                                 _uid, _opened);
        _r := tarn_1.lane_end(_sid, _lane, _op, _r, _settings.dir_quota);
    END IF;
    RETURN _r;
END $$;
