-- Schema tarn_1: the metadata functions, one call for each file system operation.
--
-- Conventions of every file in this folder:
--   * tables are named in full (public.jfs_node, tarn.slot): the apply worker and definer contexts
--     run with an empty search_path, and the installer rewrites "public.jfs_" for volumes that live
--     in another schema or carry a table prefix;
--   * an expected refusal is returned as err (an errno), never raised;
--   * arguments are named with a leading underscore;
--   * a mutation begins with lane_begin() and ends with lane_end(), and checks everything before
--     it changes anything.

CREATE SCHEMA tarn_1;

-- A refusal and nothing else.
CREATE FUNCTION tarn_1.refuse(_err int4) RETURNS tarn.reply
LANGUAGE sql IMMUTABLE PARALLEL SAFE AS $$
    SELECT ROW(_err, NULL, NULL, NULL, NULL, NULL, NULL, NULL, NULL, NULL, NULL, NULL, NULL, NULL,
               NULL, NULL, NULL, NULL, NULL, NULL, NULL)::tarn.reply
$$;

-- How an operation is carried out once, however often it is sent.
--
-- A lane's row holds the number of its last operation and the answer. Operation n is carried out by
-- a transaction that reads n - 1 there when it begins and, as its last act, changes n - 1 to n. Of
-- several attempts at one operation that run at the same time all but one find at the end that the
-- number is no longer n - 1; that undoes all they did (SQLSTATE 40001, which clients answer by
-- sending the operation again), and the next attempt is given the stored answer.
--
-- So nothing has to be locked at the beginning, and whoever ends a session deletes its rows: an
-- operation in flight, which may have seen the session alive, ends on a row that is gone.

-- Whether a session that was to be heard of until _expire may act. Blocks without metadata are removed
-- after an hour, by stock clients' gc too, and a machine that slept does not know for how long: what it
-- stored before must not be committed after. So a session that was silent for 45 minutes is over,
-- whether or not somebody has ended it.
CREATE FUNCTION tarn_1.is_heard_of(_expire int8) RETURNS bool
LANGUAGE sql STABLE PARALLEL SAFE AS $$ SELECT _expire > extract(epoch FROM now()) - 2700 $$;

-- Begin operation _op of session _sid.
--
-- Answers NULL in err when the operation is new and must now be carried out. Otherwise the answer
-- is final: the stored reply of an operation that was carried out before, or ESTALE (116) when the
-- session is gone or the number does not follow.
CREATE FUNCTION tarn_1.lane_begin(_sid int8, _lane int4, _op int8) RETURNS tarn.reply
LANGUAGE plpgsql AS $$
DECLARE
    _last    int8;
    _is_live bool;
BEGIN
    SELECT l.op, tarn_1.is_heard_of(s.expire) INTO _last, _is_live
      FROM tarn.slot AS l LEFT JOIN public.jfs_session2 AS s ON s.sid = l.sid
     WHERE l.sid = _sid AND l.lane = _lane;
    IF _last = _op - 1 AND _is_live THEN
        RETURN NULL;
    END IF;
    RETURN tarn_1.lane_resolve(_sid, _lane, _op);
END $$;

-- The answer of lane_begin() when the operation is the lane's first, was sent before, or comes too
-- late.
--
-- A stock client ends a session by its row in jfs_session2 alone. Another attempt may be in flight
-- then, so ESTALE is only said after the lane's row is gone, too: the attempt has failed, or it was
-- faster, and its answer counts.
CREATE FUNCTION tarn_1.lane_resolve(_sid int8, _lane int4, _op int8) RETURNS tarn.reply
LANGUAGE plpgsql AS $$
DECLARE
    _is_live bool;
    _slot    tarn.slot;
BEGIN
    -- Held, because a lane that is begun now must be seen by those who end the session.
    PERFORM FROM public.jfs_session2
      WHERE sid = _sid AND tarn_1.is_heard_of(expire) FOR KEY SHARE;
    _is_live := FOUND;
    IF _is_live AND _op = 1 THEN
        INSERT INTO tarn.slot (sid, lane, op) VALUES (_sid, _lane, 0) ON CONFLICT DO NOTHING;
    ELSIF NOT _is_live THEN
        DELETE FROM tarn.slot WHERE sid = _sid AND lane = _lane AND op = _op - 1;
    END IF;
    SELECT * INTO _slot FROM tarn.slot WHERE sid = _sid AND lane = _lane;
    IF _slot.op = _op AND _op > 0 THEN
        RETURN _slot.reply;
    ELSIF _slot.op = _op - 1 AND _is_live THEN
        RETURN NULL;
    END IF;
    RETURN tarn_1.refuse(116);
END $$;

-- Store the answer of operation _op, in the transaction that carried it out, and with it which quotas
-- the directories of its usage stand under. _has_quotas: the volume's dir_quota, if the caller has the
-- flags at hand.
CREATE FUNCTION tarn_1.lane_end(_sid int8, _lane int4, _op int8, _reply tarn.reply,
                                _has_quotas bool DEFAULT NULL)
RETURNS tarn.reply
LANGUAGE plpgsql AS $$
BEGIN
    IF cardinality(_reply.usage) > 2 AND coalesce(_has_quotas, (tarn_1.flags()).dir_quota) THEN
        _reply.usage := tarn_1.with_quotas(_reply.usage);
    END IF;
    UPDATE tarn.slot SET op = _op, reply = _reply
     WHERE sid = _sid AND lane = _lane AND op = _op - 1;
    IF NOT FOUND THEN
        RAISE EXCEPTION 'operation % of lane %/% was carried out by another attempt, or its session'
                        ' was ended', _op, _sid, _lane USING ERRCODE = '40001';
    END IF;
    RETURN _reply;
END $$;

-- Ask about an operation that nobody will send again, under its number: its answer if it was carried
-- out; else ECANCELED (125), and it never will be, though a copy may still be on its way.
CREATE FUNCTION tarn_1.lane_void(_sid int8, _lane int4, _op int8) RETURNS tarn.reply
LANGUAGE plpgsql AS $$
DECLARE
    _r tarn.reply := tarn_1.lane_begin(_sid, _lane, _op);
BEGIN
    RETURN CASE WHEN _r.err IS NULL THEN tarn_1.lane_end(_sid, _lane, _op, tarn_1.refuse(125))
                ELSE _r END;
END $$;

-- Bytes that a regular file of this length occupies in the accounting: whole 4 KiB, at least one.
CREATE FUNCTION tarn_1.space(_length int8) RETURNS int8
LANGUAGE sql IMMUTABLE PARALLEL SAFE AS $$
    SELECT CASE WHEN _length <= 0 THEN 4096 ELSE (_length + 4095) / 4096 * 4096 END
$$;

-- The first inode of the trash; it and everything above it is trash, hour directories included.
CREATE FUNCTION tarn_1.trash() RETURNS int8
LANGUAGE sql IMMUTABLE PARALLEL SAFE AS $$ SELECT 9223372032828243968 $$;

-- A row of jfs_node as an answer without usage. An upgraded volume has NULL where the format means
-- 0, and uid, gid and rdev are unsigned numbers kept in signed columns.
CREATE FUNCTION tarn_1.attributes(_n public.jfs_node) RETURNS tarn.reply
LANGUAGE sql IMMUTABLE PARALLEL SAFE AS $$
    SELECT ROW(0, _n.inode, _n.type, _n.flags, _n.mode, _n.uid::int8 & 4294967295,
               _n.gid::int8 & 4294967295, _n.atime, _n.mtime, _n.ctime,
               coalesce(_n.atimensec, 0), coalesce(_n.mtimensec, 0), coalesce(_n.ctimensec, 0),
               _n.nlink, _n.length, coalesce(_n.rdev::int8 & 4294967295, 0),
               coalesce(_n.parent, 0), coalesce(_n.access_acl_id, 0),
               coalesce(_n.default_acl_id, 0), coalesce(_n.tier_id, 0), NULL)::tarn.reply
$$;

-- The time in the unit of jfs_node: microseconds since the epoch.
CREATE FUNCTION tarn_1.clock_us() RETURNS int8
LANGUAGE sql VOLATILE PARALLEL SAFE AS $$
    SELECT (extract(epoch FROM clock_timestamp()) * 1000000)::int8
$$;

-- The ctime of a change at _now of an inode that has ctime _old. A client tells late answers from new
-- ones by it, so it grows with every change, also when a client or a former server had a clock that
-- is ahead of ours.
CREATE FUNCTION tarn_1.next_ctime(_old int8, _now int8) RETURNS int8
LANGUAGE sql IMMUTABLE PARALLEL SAFE AS $$ SELECT greatest(_now, _old + 1) $$;

-- Whether this column of jfs_node has been widened by hand, as some volumes have it.
CREATE FUNCTION tarn_1.is_wide(_column text) RETURNS bool
LANGUAGE plpgsql STABLE PARALLEL SAFE AS $$
BEGIN
    RETURN EXISTS (SELECT FROM pg_catalog.pg_attribute
                    WHERE attrelid = 'public.jfs_node'::pg_catalog.regclass
                      AND attname = _column
                      AND atttypid = 'pg_catalog.int8'::pg_catalog.regtype);
END $$;

-- Whether an unsigned 32-bit number can be kept in this column of jfs_node. Stock volumes have
-- int4 columns, where only half of the numbers fit. The catalog is asked for the other half only.
CREATE FUNCTION tarn_1.fits(_column text, _value int8) RETURNS bool
LANGUAGE sql STABLE PARALLEL SAFE AS $$
    SELECT CASE WHEN _value BETWEEN 0 AND 2147483647 THEN true
                ELSE _value BETWEEN 0 AND 4294967295 AND tarn_1.is_wide(_column) END
$$;
