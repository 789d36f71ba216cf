-- POSIX access control lists (format §11).
--
-- A rule is a row of jfs_acl: three permission bits each for owner, group, mask and other (65535: not
-- set), and packed entries of six bytes (id int4, bits int2) for named users and groups. Rows are
-- shared and never change. A rule without named entries and mask is minimal: as an access ACL it is
-- the mode and nothing else. While an inode has an access ACL, the group bits of its mode are the
-- mask.

-- A rule in the encoded form: owner, group, mask, other int2; count int4, users; count int4, groups.
CREATE FUNCTION tarn_1.acl_encode(_a public.jfs_acl) RETURNS bytea
LANGUAGE sql IMMUTABLE PARALLEL SAFE AS $$
    SELECT substring(int4send(coalesce(_a.owner, 65535)) FROM 3)
           || substring(int4send(coalesce(_a."group", 65535)) FROM 3)
           || substring(int4send(coalesce(_a.mask, 65535)) FROM 3)
           || substring(int4send(coalesce(_a.other, 65535)) FROM 3)
           || int4send(length(coalesce(_a.named_users, '')) / 6) || coalesce(_a.named_users, '')
           || int4send(length(coalesce(_a.named_groups, '')) / 6) || coalesce(_a.named_groups, '')
$$;

-- NULL when the bytes are not a rule.
CREATE FUNCTION tarn_1.acl_decode(_rule bytea) RETURNS public.jfs_acl
LANGUAGE plpgsql IMMUTABLE PARALLEL SAFE AS $$
DECLARE
    _a      public.jfs_acl;
    _users  int8;
    _groups int8;
BEGIN
    IF length(_rule) < 16 THEN
        RETURN NULL;
    END IF;
    _users := tarn_1.be4(_rule, 8);
    IF _users < 0 OR length(_rule) < 16 + 6 * _users THEN
        RETURN NULL;
    END IF;
    _groups := tarn_1.be4(_rule, (12 + 6 * _users)::int4);
    IF _groups < 0 OR length(_rule) <> 16 + 6 * (_users + _groups) THEN
        RETURN NULL;
    END IF;
    _a.owner := tarn_1.be2(_rule, 0);
    _a."group" := tarn_1.be2(_rule, 2);
    _a.mask := tarn_1.be2(_rule, 4);
    _a.other := tarn_1.be2(_rule, 6);
    _a.named_users := substring(_rule FROM 13 FOR (6 * _users)::int4);
    _a.named_groups := substring(_rule FROM (17 + 6 * _users)::int4);
    RETURN _a;
END $$;

CREATE FUNCTION tarn_1.be2(_bytes bytea, _at int4) RETURNS int4
LANGUAGE sql IMMUTABLE PARALLEL SAFE AS $$
    SELECT get_byte(_bytes, _at) << 8 | get_byte(_bytes, _at + 1)
$$;

CREATE FUNCTION tarn_1.acl_is_minimal(_a public.jfs_acl) RETURNS bool
LANGUAGE sql IMMUTABLE PARALLEL SAFE AS $$
    SELECT coalesce(_a.mask, 65535) = 65535 AND coalesce(_a.named_users, '') = ''
           AND coalesce(_a.named_groups, '') = ''
$$;

-- The nine permission bits that a rule shows as.
CREATE FUNCTION tarn_1.acl_mode(_a public.jfs_acl) RETURNS int4
LANGUAGE sql IMMUTABLE PARALLEL SAFE AS $$
    SELECT ((_a.owner & 7) << 6)
           | ((CASE WHEN tarn_1.acl_is_minimal(_a) THEN _a."group" ELSE _a.mask END & 7) << 3)
           | (_a.other & 7)
$$;

-- The number of a rule: that of the row that says the same, or of a new one. Two who need a new rule
-- at once make two rows, as stock clients do; both are good.
CREATE FUNCTION tarn_1.acl_id(_a public.jfs_acl) RETURNS int4
LANGUAGE plpgsql AS $$
DECLARE
    _id int4;
BEGIN
    SELECT a.id INTO _id FROM public.jfs_acl AS a
     WHERE a.owner = _a.owner AND a."group" = _a."group" AND a.mask = _a.mask AND a.other = _a.other
       AND coalesce(a.named_users, '') = coalesce(_a.named_users, '')
       AND coalesce(a.named_groups, '') = coalesce(_a.named_groups, '')
     ORDER BY a.id LIMIT 1;
    IF NOT FOUND THEN
        INSERT INTO public.jfs_acl (owner, "group", mask, other, named_users, named_groups)
        VALUES (_a.owner, _a."group", _a.mask, _a.other, coalesce(_a.named_users, ''),
                coalesce(_a.named_groups, '')) RETURNING id INTO _id;
    END IF;
    RETURN _id;
END $$;

-- The rule of that number. An inode that names a missing one cannot be judged: EIO.
CREATE FUNCTION tarn_1.acl_row(_id int4) RETURNS public.jfs_acl
LANGUAGE plpgsql STABLE AS $$
DECLARE
    _a public.jfs_acl;
BEGIN
    SELECT * INTO _a FROM public.jfs_acl WHERE id = _id;
    IF NOT FOUND THEN
        RAISE EXCEPTION 'access control list % is missing', _id USING ERRCODE = 'TN005';
    END IF;
    RETURN _a;
END $$;

-- The access ACL (0: none) and the permission bits of what is made with _mode in a directory with
-- default ACL _default. The caller's umask does not count there.
CREATE FUNCTION tarn_1.inherit_acl(_default int4, _mode int4, OUT acl int4, OUT mode int4)
LANGUAGE plpgsql AS $$
DECLARE
    _a public.jfs_acl := tarn_1.acl_row(_default);
BEGIN
    acl := 0;
    IF tarn_1.acl_is_minimal(_a) THEN
        mode := _mode & 4095 & (3584 | tarn_1.acl_mode(_a));
        RETURN;
    END IF;
    _a.owner := _a.owner & (_mode >> 6) & 7;
    _a.mask := _a.mask & (_mode >> 3) & 7;
    _a.other := _a.other & _mode & 7;
    acl := tarn_1.acl_id(_a);
    mode := (_mode & 3584) | tarn_1.acl_mode(_a);
END $$;

-- The access ACL _id (0: none) after a chmod to _mode.
CREATE FUNCTION tarn_1.acl_after_chmod(_id int4, _mode int4) RETURNS int4
LANGUAGE plpgsql AS $$
DECLARE
    _a public.jfs_acl;
BEGIN
    IF coalesce(_id, 0) = 0 THEN
        RETURN _id;
    END IF;
    _a := tarn_1.acl_row(_id);
    _a.owner := (_mode >> 6) & 7;
    _a.other := _mode & 7;
    IF tarn_1.acl_is_minimal(_a) THEN
        _a."group" := (_mode >> 3) & 7;
    ELSE
        _a.mask := (_mode >> 3) & 7;
    END IF;
    RETURN tarn_1.acl_id(_a);
END $$;

-- Entry _at (from 0) of packed entries: its id, unsigned, and its bits.
CREATE FUNCTION tarn_1.acl_entries(_packed bytea) RETURNS TABLE (id int8, bits int4)
LANGUAGE sql IMMUTABLE PARALLEL SAFE AS $$
    SELECT tarn_1.be4(_packed, at)::int8 & 4294967295, tarn_1.be2(_packed, at + 4)
      FROM generate_series(0, length(_packed) - 6, 6) AS at
$$;

-- Whether an access ACL allows _mask (r 4, w 2, x 1) on an inode of that owner and group: the owner's
-- entry, a named user's, any of the groups', or the others', whichever comes first.
CREATE FUNCTION tarn_1.acl_allows(_a public.jfs_acl, _owner int8, _group int8, _uid int8,
                                  _gids int8[], _mask int4) RETURNS bool
LANGUAGE plpgsql STABLE AS $$
DECLARE
    _bits int4;
    _best bool;
BEGIN
    IF _uid = _owner THEN
        RETURN _a.owner & _mask = _mask;
    END IF;
    SELECT e.bits INTO _bits FROM tarn_1.acl_entries(_a.named_users) AS e WHERE e.id = _uid LIMIT 1;
    IF FOUND THEN
        RETURN _bits & _a.mask & _mask = _mask;
    END IF;
    SELECT bool_or(g.bits & _a.mask & _mask = _mask) INTO _best
      FROM (SELECT _group AS id, _a."group" AS bits
            UNION ALL SELECT e.id, e.bits FROM tarn_1.acl_entries(_a.named_groups) AS e) AS g
     WHERE g.id = ANY (_gids);
    RETURN coalesce(_best, _a.other & _mask = _mask);
END $$;

------------------------------------------------------------------------------- getfacl, setfacl

-- _type: 1 access, 2 default. ENODATA (61): there is none.
CREATE FUNCTION tarn_1.getfacl(_ino int8, _type int4) RETURNS TABLE (err int4, rule bytea)
LANGUAGE plpgsql STABLE AS $$
DECLARE
    _id int4;
BEGIN
    SELECT CASE _type WHEN 1 THEN n.access_acl_id ELSE n.default_acl_id END INTO _id
      FROM public.jfs_node AS n WHERE n.inode = _ino;
    err := CASE WHEN _type NOT IN (1, 2) THEN 22
                WHEN NOT FOUND THEN 2
                WHEN coalesce(_id, 0) = 0 THEN 61
                ELSE 0 END;
    IF err = 0 THEN
        rule := tarn_1.acl_encode(tarn_1.acl_row(_id));
    END IF;
    RETURN NEXT;
END $$;

-- Why the rule of _n may not be set, else 0.
CREATE FUNCTION tarn_1.setfacl_error(_n public.jfs_node, _type int4, _rule bytea, _uid int8)
RETURNS int4
LANGUAGE plpgsql STABLE AS $$
BEGIN
    RETURN CASE WHEN _type NOT IN (1, 2) OR tarn_1.acl_decode(_rule) IS NULL AND _rule IS NOT NULL
                    THEN 22
                WHEN _n.inode >= tarn_1.trash() OR _n.parent > tarn_1.trash() THEN 1
                WHEN _uid <> 0 AND _uid <> _n.uid::int8 & 4294967295 OR _n.flags & 3 <> 0 THEN 1
                WHEN _n.type = 3 OR NOT (tarn_1.flags()).acl THEN 95
                WHEN _type = 2 AND _n.type <> 2 AND _rule IS NOT NULL THEN 13
                ELSE 0 END;
END $$;

-- The node with the rule set. Parts of it that are not set are taken from the mode.
CREATE FUNCTION tarn_1.with_facl(_n public.jfs_node, _type int4, _rule bytea)
RETURNS public.jfs_node
LANGUAGE plpgsql AS $$
DECLARE
    _a  public.jfs_acl := tarn_1.acl_decode(_rule);
    _id int4 := 0;
BEGIN
    IF _a.owner & _a."group" & _a.mask & _a.other = 65535 AND tarn_1.acl_is_minimal(_a) THEN
        _a := NULL; -- nothing is set: a removal, too
    END IF;
    IF _a.owner IS NOT NULL THEN
        _a.owner := CASE _a.owner WHEN 65535 THEN (_n.mode >> 6) & 7 ELSE _a.owner END;
        _a."group" := CASE _a."group" WHEN 65535 THEN (_n.mode >> 3) & 7 ELSE _a."group" END;
        _a.other := CASE _a.other WHEN 65535 THEN _n.mode & 7 ELSE _a.other END;
        IF _type = 2 OR NOT tarn_1.acl_is_minimal(_a) THEN
            _id := tarn_1.acl_id(_a);
        END IF;
        IF _type = 1 THEN
            _n.mode := (_n.mode & 3584) | tarn_1.acl_mode(_a);
        END IF;
    END IF;
    IF _type = 1 THEN
        _n.access_acl_id := _id;
    ELSE
        _n.default_acl_id := _id;
    END IF;
    RETURN _n;
END $$;

CREATE FUNCTION tarn_1.put_facl(_sid int8, _op int8, _ino int8, _type int4, _rule bytea,
                                _uid int8, _gids int8[]) RETURNS tarn.reply
LANGUAGE plpgsql AS $$
DECLARE
    _old public.jfs_node;
    _n   public.jfs_node;
    _err int4;
BEGIN
    SELECT * INTO _old FROM public.jfs_node WHERE inode = _ino FOR NO KEY UPDATE;
    IF NOT FOUND THEN
        RETURN tarn_1.refuse(2);
    END IF;
    _err := tarn_1.setfacl_error(_old, _type, _rule, _uid);
    IF _err <> 0 THEN
        RETURN tarn_1.refuse(_err);
    END IF;
    _n := _old;
    IF _uid <> 0 AND _n.gid::int8 & 4294967295 <> ALL (_gids) THEN
        _n.mode := _n.mode & ~1024;
    END IF;
    _n := tarn_1.with_facl(_n, _type, _rule);
    IF (_n.mode, coalesce(_n.access_acl_id, 0), coalesce(_n.default_acl_id, 0))
       = (_old.mode, coalesce(_old.access_acl_id, 0), coalesce(_old.default_acl_id, 0)) THEN
        RETURN tarn_1.attributes(_old);
    END IF;
    _n.ctime := tarn_1.next_ctime(_n.ctime, tarn_1.clock_us());
    _n.ctimensec := 0;
    UPDATE public.jfs_node
       SET mode = _n.mode, access_acl_id = _n.access_acl_id, default_acl_id = _n.default_acl_id,
           ctime = _n.ctime, ctimensec = 0
     WHERE inode = _ino;
    IF (tarn_1.flags()).change_log THEN
        PERFORM tarn_1.log_change(_sid, _op, format(
            'SETFACL(%s,%s,%s)', _ino, _type, tarn_1.log_name(tarn_1.facl_entry(_n, _type, _rule))));
    END IF;
    RETURN tarn_1.attributes(_n);
END $$;

-- The rule as the change log has it: as it was asked for, with what was taken from the mode.
CREATE FUNCTION tarn_1.facl_entry(_n public.jfs_node, _type int4, _rule bytea) RETURNS bytea
LANGUAGE plpgsql STABLE AS $$
DECLARE
    _id int4 := CASE _type WHEN 1 THEN _n.access_acl_id ELSE _n.default_acl_id END;
BEGIN
    IF _id > 0 THEN
        RETURN tarn_1.acl_encode(tarn_1.acl_row(_id));
    END IF;
    RETURN coalesce(_rule, '\xffffffffffffffff0000000000000000'::bytea);
END $$;

-- Set the rule (NULL: remove it). A caller outside of the inode's group takes its setgid bit away.
CREATE FUNCTION tarn_1.setfacl(_sid int8, _lane int4, _op int8, _ino int8, _type int4, _rule bytea,
                               _caller_uid int8, _caller_gids int8[]) RETURNS tarn.reply
LANGUAGE plpgsql AS $$
DECLARE
    _r tarn.reply := tarn_1.lane_begin(_sid, _lane, _op);
BEGIN
    IF _r.err IS NULL THEN
        _r := tarn_1.lane_end(_sid, _lane, _op, tarn_1.put_facl(
            _sid, _op, _ino, _type, _rule, _caller_uid, _caller_gids));
    END IF;
    RETURN _r;
END $$;

-- A rule in its encoded form. Rules never change, so a client keeps what it got for good. EIO: an
-- inode names a rule that is missing.
CREATE FUNCTION tarn_1.acl_rule(_id int4) RETURNS TABLE (err int4, rule bytea)
LANGUAGE sql STABLE PARALLEL SAFE AS $$
    SELECT CASE WHEN a.id IS NULL THEN 5 ELSE 0 END,
           tarn_1.acl_encode(a)
      FROM (SELECT) AS always LEFT JOIN public.jfs_acl AS a ON a.id = _id
$$;
