-- Sessions, ranges of ids, and what a mount needs to begin.

-- A session's end by the clock of the database, in the unit of jfs_session2.
CREATE FUNCTION tarn_1.expiry(_ttl_s int4) RETURNS int8
LANGUAGE sql VOLATILE AS $$
    SELECT extract(epoch FROM clock_timestamp())::int8 + _ttl_s
$$;

-- One row always. format is NULL in a database that holds no volume; the columns of the site are
-- NULL before adopt or join. api is the digest that the installer left as the schema's comment.
CREATE FUNCTION tarn_1.volume()
RETURNS TABLE (format text, site text, role text, state text, local_bucket text,
               origin_bucket text, primary_url text, is_ready bool, epoch int8, api text,
               former_bucket text)
LANGUAGE sql STABLE AS $$
    SELECT (SELECT s.value FROM public.jfs_setting AS s WHERE s.name = 'format'),
           l.name, l.role, l.state, l.local_bucket, l.origin_bucket, l.primary_url,
           l.role = 'primary' OR l.ready_at IS NOT NULL,
           (SELECT t.epoch FROM tarn.site AS t WHERE t.name = l.name),
           (SELECT d.description
              FROM pg_catalog.pg_namespace AS n
                   JOIN pg_catalog.pg_description AS d
                     ON d.objoid = n.oid
                    AND d.classoid = 'pg_catalog.pg_namespace'::pg_catalog.regclass
             WHERE n.nspname = 'tarn_1'),
           l.former_bucket
      FROM (SELECT) AS always LEFT JOIN tarn.local_site AS l ON true
$$;

-- EROFS at a mirror. A number that a stock client took by other means is passed over.
CREATE FUNCTION tarn_1.session_open(_info bytea, _ttl_s int4) RETURNS TABLE (err int4, sid int8)
LANGUAGE plpgsql AS $$
DECLARE
    _sid    int8;
    _expire int8;
BEGIN
    IF EXISTS (SELECT FROM tarn.local_site AS l WHERE l.role = 'mirror') THEN
        RETURN QUERY SELECT 30, NULL::int8;
        RETURN;
    END IF;
    PERFORM tarn_1.flags_refresh();
    LOOP
        INSERT INTO public.jfs_counter AS c (name, value) VALUES ('nextSession', 1)
            ON CONFLICT (name) DO UPDATE SET value = c.value + 1
            RETURNING c.value INTO _sid;
        INSERT INTO public.jfs_session2 AS s (sid, expire, info)
        VALUES (_sid, tarn_1.expiry(_ttl_s), _info)
            ON CONFLICT DO NOTHING
            RETURNING s.expire INTO _expire;
        EXIT WHEN FOUND;
    END LOOP;
    IF (tarn_1.flags()).change_log THEN
        PERFORM tarn_1.log_change(0, 0, 'INCR_COUNTER(nextSession,1)');
        PERFORM tarn_1.log_change(_sid, 0, format('NEWSESSION(%s,%s,%s)', _sid, _expire,
                                                  tarn_1.log_name(_info)));
    END IF;
    RETURN QUERY SELECT 0, _sid;
END $$;

-- The heartbeat. _sid 0 only reads. ESTALE: the session has been ended, or was silent for so long that
-- it is over (is_heard_of()), and is not to come back.
CREATE FUNCTION tarn_1.session_refresh(_sid int8, _ttl_s int4)
RETURNS TABLE (err int4, format text, used_space int8, used_inodes int8)
LANGUAGE plpgsql AS $$
BEGIN
    IF _sid <> 0 THEN
        UPDATE public.jfs_session2 AS s SET expire = tarn_1.expiry(_ttl_s)
         WHERE s.sid = _sid AND tarn_1.is_heard_of(s.expire);
        IF NOT FOUND THEN
            RETURN QUERY SELECT 116, NULL::text, NULL::int8, NULL::int8;
            RETURN;
        END IF;
        PERFORM tarn_1.flags_refresh();
    END IF;
    RETURN QUERY
    SELECT 0, (SELECT s.value FROM public.jfs_setting AS s WHERE s.name = 'format')::text,
           u.used_space, u.used_inodes
      FROM tarn_1.statfs() AS u;
END $$;

-- A session of the primary before this one: for an hour after the switch its client may come and ask,
-- under the old numbers, which of its operations were carried out before. Whose answer is taken away too
-- early sends them anew, and they are carried out twice.
CREATE FUNCTION tarn_1.is_settling(_sid int8) RETURNS bool
LANGUAGE sql STABLE AS $$
    SELECT EXISTS (SELECT FROM tarn.promotion AS p
                    WHERE p.switched_at > clock_timestamp() - interval '1 hour'
                      AND _sid < p.epoch << 32)
$$;

-- End a session, or finish what a client that was cut off left behind; doing it twice is harmless.
--
-- The session row is locked first, so that no lane can be begun. Deleting the slots waits for the
-- operations that have stored their answer, and undoes the others in flight: they find no slot at
-- their end. One of these may hold an inode that is released here; then PostgreSQL ends one of the
-- two, which is asked again. After the commit every operation of the session answers ESTALE.
CREATE FUNCTION tarn_1.session_close(_sid int8) RETURNS TABLE (err int4)
LANGUAGE plpgsql AS $$
DECLARE
    _ino    int8;
    _reply  tarn.reply;
    _space  int8 := 0;
    _inodes int8 := 0;
    _owners int8[] := '{}';
BEGIN
    PERFORM FROM public.jfs_session2 AS s WHERE s.sid = _sid FOR UPDATE;
    DELETE FROM tarn.slot AS s WHERE s.sid = _sid AND NOT tarn_1.is_settling(_sid);
    DELETE FROM public.jfs_flock AS f WHERE f.sid = _sid;
    DELETE FROM public.jfs_plock AS p WHERE p.sid = _sid;
    FOR _ino IN SELECT s.inode FROM public.jfs_sustained AS s WHERE s.sid = _sid ORDER BY 1 LOOP
        _reply := tarn_1.release_inode(_sid, _ino);
        _space := _space + coalesce(_reply.usage[1], 0);
        _inodes := _inodes + coalesce(_reply.usage[2], 0);
        _owners := _owners || _reply.usage[3:];
    END LOOP;
    DELETE FROM public.jfs_session2 AS s WHERE s.sid = _sid;
    IF FOUND AND (tarn_1.flags()).change_log THEN
        PERFORM tarn_1.log_change(_sid, 0, format('CLEANSESSION(%s)', _sid));
    END IF;
    PERFORM tarn_1.count_usage(ARRAY[_space, _inodes] || _owners);
    RETURN QUERY SELECT 0;
END $$;

-- The first of _n ids that nobody else has or will have: 'nextInode' or 'nextChunk'. No row for
-- another counter, or at a mirror, whose numbers are the primary's to give.
CREATE FUNCTION tarn_1.alloc(_counter text, _n int8) RETURNS TABLE (first int8)
LANGUAGE plpgsql AS $$
BEGIN
    RETURN QUERY
    -- Inodes 0 and 1 and slice 0 mean something else.
    UPDATE public.jfs_counter AS c
       SET value = greatest(c.value, CASE c.name WHEN 'nextInode' THEN 2 ELSE 1 END) + _n
     WHERE c.name = _counter AND _counter IN ('nextInode', 'nextChunk') AND _n > 0
       AND NOT EXISTS (SELECT FROM tarn.local_site AS l WHERE l.role = 'mirror')
    RETURNING c.value - _n;
    IF FOUND AND (tarn_1.flags()).change_log THEN
        PERFORM tarn_1.log_change(0, 0, format('INCR_COUNTER(%s,%s)', _counter, _n));
    END IF;
END $$;
