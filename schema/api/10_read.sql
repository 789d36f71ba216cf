-- Reading names and attributes. Nothing here locks or writes, so all of it works at a mirror.
--
-- Functions that read tables are PL/pgSQL, which keeps their plans for the connection; one in SQL
-- that cannot be inlined costs five times as much.

-- The name of the trash, which has no edge and can be neither made nor moved nor removed.
CREATE FUNCTION tarn_1.is_trash_name(_parent int8, _name bytea) RETURNS bool
LANGUAGE sql IMMUTABLE PARALLEL SAFE AS $$
    SELECT _parent = 1 AND _name = '\x2e7472617368'::bytea
$$;

CREATE FUNCTION tarn_1.getattr(_ino int8) RETURNS tarn.reply
LANGUAGE plpgsql STABLE PARALLEL SAFE AS $$
DECLARE
    _r tarn.reply;
BEGIN
    SELECT (tarn_1.attributes(n)).* INTO _r FROM public.jfs_node AS n WHERE n.inode = _ino;
    IF NOT FOUND THEN
        RETURN tarn_1.refuse(2);
    END IF;
    RETURN _r;
END $$;

-- The inode that a name leads to, or NULL. The trash has no edge: its name is known here.
CREATE FUNCTION tarn_1.child(_parent int8, _name bytea) RETURNS int8
LANGUAGE plpgsql STABLE PARALLEL SAFE AS $$
BEGIN
    IF tarn_1.is_trash_name(_parent, _name) THEN
        RETURN tarn_1.trash();
    END IF;
    RETURN (SELECT e.inode FROM public.jfs_edge e WHERE e.parent = _parent AND e.name = _name);
END $$;

-- An edge whose node is missing is as good as none.
CREATE FUNCTION tarn_1.lookup(_parent int8, _name bytea) RETURNS tarn.reply
LANGUAGE plpgsql STABLE PARALLEL SAFE AS $$
DECLARE
    _r tarn.reply;
BEGIN
    IF tarn_1.is_trash_name(_parent, _name) THEN
        RETURN tarn_1.getattr(tarn_1.trash());
    END IF;
    SELECT (tarn_1.attributes(n)).* INTO _r
      FROM public.jfs_edge e JOIN public.jfs_node n ON n.inode = e.inode
     WHERE e.parent = _parent AND e.name = _name;
    IF NOT FOUND THEN
        RETURN tarn_1.refuse(2);
    END IF;
    RETURN _r;
END $$;

-- access(2): EACCES or 0. As with stock clients an ACL whose mask gives nothing is not looked at; the
-- mode then says the same.
CREATE FUNCTION tarn_1.access(_ino int8, _uid int8, _gids int8[], _mask int4) RETURNS int4
LANGUAGE plpgsql STABLE PARALLEL SAFE AS $$
DECLARE
    _r tarn.reply := tarn_1.getattr(_ino);
    _allowed int4;
BEGIN
    IF _r.err <> 0 THEN
        RETURN _r.err;
    END IF;
    IF _uid = 0 THEN
        -- Root may do everything but execute what nobody may execute.
        _allowed := CASE WHEN _r.type = 2 OR _r.mode & 73 <> 0 THEN 7 ELSE 6 END;
    ELSIF _r.access_acl <> 0 AND _r.mode & 56 <> 0 THEN
        RETURN CASE WHEN tarn_1.acl_allows(tarn_1.acl_row(_r.access_acl), _r.uid, _r.gid, _uid,
                                           _gids, _mask & 7) THEN 0 ELSE 13 END;
    ELSIF _uid = _r.uid THEN
        _allowed := _r.mode >> 6 & 7;
    ELSIF _r.gid = ANY (_gids) THEN
        _allowed := _r.mode >> 3 & 7;
    ELSE
        _allowed := _r.mode & 7;
    END IF;
    RETURN CASE WHEN _mask & 7 & ~_allowed = 0 THEN 0 ELSE 13 END;
END $$;

-- Walk a path from _root without following symbolic links. ".." stops at _root; an empty
-- component is ".", so that "a/" asks for a directory.
CREATE FUNCTION tarn_1.resolve(_root int8, _path bytea) RETURNS tarn.reply
LANGUAGE plpgsql STABLE PARALLEL SAFE AS $$
DECLARE
    _at    int8 := _root;
    _rest  bytea := _path;
    _name  bytea;
    _slash int4;
    _type  int4;
    _next  int8;
BEGIN
    FOR _i IN 1 .. 4096 LOOP
        EXIT WHEN _rest = '';
        _slash := position('\x2f'::bytea IN _rest);
        _name := CASE WHEN _slash = 0 THEN _rest ELSE substring(_rest FROM 1 FOR _slash - 1) END;
        IF length(_name) > 255 THEN
            RETURN tarn_1.refuse(36);
        END IF;
        SELECT type, CASE _name WHEN '' THEN inode
                                WHEN '\x2e' THEN inode
                                WHEN '\x2e2e' THEN CASE inode WHEN _root THEN inode ELSE parent END
                                ELSE tarn_1.child(inode, _name) END
          INTO _type, _next FROM public.jfs_node WHERE inode = _at;
        IF _type <> 2 THEN
            RETURN tarn_1.refuse(20);
        END IF;
        IF _next IS NULL THEN
            RETURN tarn_1.refuse(2);
        END IF;
        _at := _next;
        -- What is behind the last slash may be empty: then one more round asks for a directory.
        EXIT WHEN _slash = 0;
        _rest := substring(_rest FROM _slash + 1);
        IF _rest = '' THEN
            _rest := '\x2e';
        END IF;
    END LOOP;
    IF _slash > 0 THEN
        RETURN tarn_1.refuse(36);
    END IF;
    RETURN tarn_1.getattr(_at);
END $$;

-- A page of a directory in byte order of names. An edge without its node is listed with what the
-- edge knows.
--
-- The settings pin the one good plan, a walk along the index (parent, name) that fetches the nodes
-- one by one: a cached plan knows neither how large the directory is nor how long the page, and may
-- otherwise sort all of it for every page.
CREATE FUNCTION tarn_1.readdir(_dir int8, _after bytea, _limit int4, _plus bool)
RETURNS TABLE (err int4, name bytea, ino int8, type int4, flags int4, mode int4, uid int8, gid int8,
               atime int8, mtime int8, ctime int8, atimensec int4, mtimensec int4, ctimensec int4,
               nlink int4, length int8, rdev int8, parent int8, access_acl int4, default_acl int4,
               tier int4)
LANGUAGE plpgsql STABLE PARALLEL SAFE
SET enable_sort = off SET enable_bitmapscan = off SET enable_seqscan = off
SET enable_hashjoin = off SET enable_mergejoin = off AS $$
DECLARE
    _type int4;
BEGIN
    SELECT n.type INTO _type FROM public.jfs_node n WHERE n.inode = _dir;
    IF NOT FOUND OR _type <> 2 THEN
        err := CASE WHEN _type IS NULL THEN 2 ELSE 20 END;
        RETURN NEXT;
    ELSIF _plus THEN
        RETURN QUERY
        SELECT 0, e.name, e.inode, e.type, n.flags, n.mode, n.uid::int8 & 4294967295,
               n.gid::int8 & 4294967295, n.atime, n.mtime, n.ctime, coalesce(n.atimensec, 0),
               coalesce(n.mtimensec, 0), coalesce(n.ctimensec, 0), n.nlink, n.length,
               coalesce(n.rdev::int8 & 4294967295, 0), coalesce(n.parent, 0),
               coalesce(n.access_acl_id, 0), coalesce(n.default_acl_id, 0), coalesce(n.tier_id, 0)
          FROM public.jfs_edge e LEFT JOIN public.jfs_node n ON n.inode = e.inode
         WHERE e.parent = _dir AND e.name > _after
         ORDER BY e.name LIMIT _limit;
    ELSE
        RETURN QUERY
        SELECT 0, e.name, e.inode, e.type, NULL::int4, NULL::int4, NULL::int8, NULL::int8,
               NULL::int8, NULL::int8, NULL::int8, NULL::int4, NULL::int4, NULL::int4,
               NULL::int4, NULL::int8, NULL::int8, NULL::int8, NULL::int4, NULL::int4, NULL::int4
          FROM public.jfs_edge e
         WHERE e.parent = _dir AND e.name > _after
         ORDER BY e.name LIMIT _limit;
    END IF;
END $$;

CREATE FUNCTION tarn_1.readlink(_ino int8) RETURNS TABLE (err int4, target bytea)
LANGUAGE sql STABLE PARALLEL SAFE ROWS 1 AS $$
    SELECT CASE WHEN n.inode IS NULL THEN 2 WHEN n.type <> 3 THEN 22 WHEN s.inode IS NULL THEN 5
                ELSE 0 END,
           CASE WHEN n.type = 3 THEN s.target END
      FROM (VALUES (1)) AS one
           LEFT JOIN public.jfs_node n ON n.inode = _ino
           LEFT JOIN public.jfs_symlink s ON s.inode = _ino
$$;

-- One path of an inode, from the root or through the trash. ENOENT when it hangs on nothing (open
-- but unlinked, or half of a clone), ELOOP when the walk does not end: a cycle that two stock
-- clients made.
CREATE FUNCTION tarn_1.path(_ino int8) RETURNS TABLE (err int4, path bytea)
LANGUAGE plpgsql STABLE PARALLEL SAFE AS $$
DECLARE
    _at   int8 := _ino;
    _edge record;
BEGIN
    path := '';
    FOR _i IN 1 .. 10000 LOOP
        IF _at = 1 OR _at = tarn_1.trash() THEN
            err := 0;
            path := CASE WHEN _at <> 1 THEN '\x2f2e7472617368'::bytea || path
                         WHEN path = '' THEN '\x2f' ELSE path END;
            RETURN NEXT;
            RETURN;
        END IF;
        SELECT e.parent, e.name INTO _edge
          FROM public.jfs_edge e WHERE e.inode = _at ORDER BY e.parent, e.name LIMIT 1;
        IF NOT FOUND THEN
            err := 2;
            path := NULL;
            RETURN NEXT;
            RETURN;
        END IF;
        path := '\x2f'::bytea || _edge.name || path;
        _at := _edge.parent;
    END LOOP;
    err := 40;
    path := NULL;
    RETURN NEXT;
END $$;
