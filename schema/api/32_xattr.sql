-- Extended attributes. As in stock clients they leave ctime alone.

CREATE FUNCTION tarn_1.getxattr(_ino int8, _name text) RETURNS TABLE (err int4, value bytea)
LANGUAGE sql STABLE PARALLEL SAFE AS $$
    SELECT CASE WHEN x.inode IS NULL THEN 61 ELSE 0 END, x.value
      FROM (SELECT) AS always
           LEFT JOIN public.jfs_xattr AS x ON x.inode = _ino AND x.name = _name
$$;

-- The names in bytewise order, each with its NUL; empty when there are none.
CREATE FUNCTION tarn_1.listxattr(_ino int8) RETURNS TABLE (err int4, names bytea)
LANGUAGE sql STABLE PARALLEL SAFE AS $$
    SELECT CASE WHEN EXISTS (SELECT FROM public.jfs_node WHERE inode = _ino) THEN 0 ELSE 2 END,
           coalesce(string_agg(convert_to(x.name, 'UTF8') || '\x00'::bytea, ''
                               ORDER BY x.name COLLATE "C"), '')
      FROM public.jfs_xattr AS x WHERE x.inode = _ino
$$;

-- Lock a node against its deletion, and answer with it or with why its xattrs may not change.
CREATE FUNCTION tarn_1.xattr_node(_ino int8) RETURNS tarn.reply
LANGUAGE plpgsql AS $$
DECLARE
    _n public.jfs_node;
BEGIN
    SELECT * INTO _n FROM public.jfs_node WHERE inode = _ino FOR KEY SHARE;
    IF NOT FOUND THEN
        RETURN tarn_1.refuse(2);
    ELSIF _n.flags & 3 <> 0 THEN
        RETURN tarn_1.refuse(1);
    END IF;
    RETURN tarn_1.attributes(_n);
END $$;

CREATE FUNCTION tarn_1.put_xattr(_ino int8, _name text, _value bytea, _flags int4)
RETURNS tarn.reply
LANGUAGE plpgsql AS $$
DECLARE
    _reply tarn.reply := tarn_1.xattr_node(_ino);
BEGIN
    IF _reply.err <> 0 THEN
        RETURN _reply;
    ELSIF _flags NOT IN (0, 1, 2) THEN
        RETURN tarn_1.refuse(22);
    ELSIF octet_length(_name) NOT BETWEEN 1 AND 255 THEN
        RETURN tarn_1.refuse(34);
    ELSIF octet_length(_value) > 65536 THEN
        RETURN tarn_1.refuse(7);
    END IF;
    -- Each case is one statement: stock clients lock the xattr row alone, not the node.
    IF _flags = 1 THEN
        INSERT INTO public.jfs_xattr (inode, name, value) VALUES (_ino, _name, _value)
            ON CONFLICT (inode, name) DO NOTHING;
        RETURN CASE WHEN FOUND THEN _reply ELSE tarn_1.refuse(17) END;
    ELSIF _flags = 2 THEN
        UPDATE public.jfs_xattr SET value = _value WHERE inode = _ino AND name = _name;
        RETURN CASE WHEN FOUND THEN _reply ELSE tarn_1.refuse(61) END;
    END IF;
    INSERT INTO public.jfs_xattr AS x (inode, name, value) VALUES (_ino, _name, _value)
        ON CONFLICT (inode, name) DO UPDATE SET value = EXCLUDED.value
        WHERE x.value <> EXCLUDED.value;
    RETURN _reply;
END $$;

-- _flags: 0, XATTR_CREATE 1 (EEXIST), XATTR_REPLACE 2 (ENODATA).
CREATE FUNCTION tarn_1.setxattr(_sid int8, _lane int4, _op int8, _ino int8, _name text,
                                _value bytea, _flags int4) RETURNS tarn.reply
LANGUAGE plpgsql AS $$
DECLARE
    _reply tarn.reply := tarn_1.lane_begin(_sid, _lane, _op);
BEGIN
    IF _reply.err IS NOT NULL THEN
        RETURN _reply;
    END IF;
    _reply := tarn_1.put_xattr(_ino, _name, _value, _flags);
    IF _reply.err = 0 AND (tarn_1.flags()).change_log THEN
        PERFORM tarn_1.log_change(_sid, _op, format(
            'SETXATTR(%s,%s,%s,%s)', _ino, tarn_1.log_name(convert_to(_name, 'UTF8')),
            tarn_1.log_name(_value), _flags));
    END IF;
    RETURN tarn_1.lane_end(_sid, _lane, _op, _reply);
END $$;

CREATE FUNCTION tarn_1.removexattr(_sid int8, _lane int4, _op int8, _ino int8, _name text)
RETURNS tarn.reply
LANGUAGE plpgsql AS $$
DECLARE
    _reply tarn.reply := tarn_1.lane_begin(_sid, _lane, _op);
BEGIN
    IF _reply.err IS NOT NULL THEN
        RETURN _reply;
    END IF;
    _reply := tarn_1.xattr_node(_ino);
    IF _reply.err = 0 THEN
        DELETE FROM public.jfs_xattr WHERE inode = _ino AND name = _name;
        IF NOT FOUND THEN
            _reply := tarn_1.refuse(61);
        ELSIF (tarn_1.flags()).change_log THEN
            PERFORM tarn_1.log_change(_sid, _op, format(
                'REMOVEXATTR(%s,%s)', _ino, tarn_1.log_name(convert_to(_name, 'UTF8'))));
        END IF;
    END IF;
    RETURN tarn_1.lane_end(_sid, _lane, _op, _reply);
END $$;
