-- The settings of the volume that every operation asks for, and the change log of stock clients.
--
-- Settings are read from one row of ours. It is brought up to date by whoever changes them with a
-- command of ours and by the heartbeat of every session, so a change made by a stock client is seen
-- within a heartbeat, as among stock clients.

-- The settings as they stand in the volume's own tables.
CREATE FUNCTION tarn_1.flags_now() RETURNS tarn.volume_flags
LANGUAGE plpgsql STABLE AS $$
DECLARE
    _format jsonb := (SELECT s.value::jsonb FROM public.jfs_setting AS s WHERE s.name = 'format');
    _flags  tarn.volume_flags;
BEGIN
    _flags.only_row := true;
    _flags.trash_days := coalesce((_format ->> 'TrashDays')::int8, 0);
    _flags.change_log := coalesce((_format ->> 'ChangeLog')::bool, false);
    _flags.dir_stats := coalesce((_format ->> 'DirStats')::bool, false);
    _flags.owner_quota := coalesce((_format ->> 'UserGroupQuota')::bool, false);
    _flags.acl := coalesce((_format ->> 'EnableACL')::bool, false);
    _flags.dir_quota := EXISTS (SELECT FROM public.jfs_dir_quota);
    _flags.capacity := coalesce((_format ->> 'Capacity')::int8, 0);
    _flags.inodes := coalesce((_format ->> 'Inodes')::int8, 0);
    RETURN _flags;
END $$;

-- The settings as last refreshed. Before the first refresh they are made up anew each time.
CREATE FUNCTION tarn_1.flags() RETURNS tarn.volume_flags
LANGUAGE plpgsql STABLE AS $$
DECLARE
    _flags tarn.volume_flags;
BEGIN
    SELECT * INTO _flags FROM tarn.volume_flags;
    IF NOT FOUND THEN
        RETURN tarn_1.flags_now();
    END IF;
    RETURN _flags;
END $$;

-- lane_begin() and flags() in one query, for the operations that are most frequent: the settings when
-- operation _op is new. NULL when it is the lane's first or not new, or when the settings have not
-- been refreshed yet; then the two have to be asked.
CREATE FUNCTION tarn_1.lane_flags(_sid int8, _lane int4, _op int8) RETURNS tarn.volume_flags
LANGUAGE plpgsql STABLE AS $$
DECLARE
    _flags tarn.volume_flags;
BEGIN
    SELECT f.* INTO _flags
      FROM tarn.slot AS l JOIN public.jfs_session2 AS s ON s.sid = l.sid, tarn.volume_flags AS f
     WHERE l.sid = _sid AND l.lane = _lane AND l.op = _op - 1 AND tarn_1.is_heard_of(s.expire);
    RETURN _flags;
END $$;

-- Bring the row up to date when it is not. Whoever writes reads the tables again under the row's
-- lock, or what he read before could replace something newer.
CREATE FUNCTION tarn_1.flags_refresh() RETURNS void
LANGUAGE plpgsql AS $$
DECLARE
    _old tarn.volume_flags;
BEGIN
    SELECT * INTO _old FROM tarn.volume_flags;
    IF tarn_1.flags_now() IS NOT DISTINCT FROM _old THEN
        RETURN;
    END IF;
    INSERT INTO tarn.volume_flags SELECT f.* FROM tarn_1.flags_now() AS f
        ON CONFLICT (only_row) DO NOTHING;
    IF NOT FOUND THEN
        PERFORM FROM tarn.volume_flags FOR UPDATE;
        UPDATE tarn.volume_flags AS v
           SET (trash_days, change_log, dir_stats, owner_quota, acl, dir_quota, capacity, inodes)
               = (f.trash_days, f.change_log, f.dir_stats, f.owner_quota, f.acl, f.dir_quota,
                  f.capacity, f.inodes)
          FROM tarn_1.flags_now() AS f;
    END IF;
END $$;

-- Days that the trash is kept; 0: no trash.
CREATE FUNCTION tarn_1.trash_days() RETURNS int8
LANGUAGE plpgsql STABLE AS $$
BEGIN
    RETURN (tarn_1.flags()).trash_days;
END $$;

----------------------------------------------------------------------------------- change log

-- A name as it stands in an entry: whatever could be taken for something else as %XX.
CREATE FUNCTION tarn_1.log_name(_name bytea) RETURNS text
LANGUAGE sql IMMUTABLE PARALLEL SAFE AS $$
    SELECT coalesce(string_agg(
               CASE WHEN c < 32 OR c >= 127 OR c IN (34, 37, 40, 41, 44, 92)  -- " % ( ) , \
                    THEN '%' || upper(lpad(to_hex(c), 2, '0')) ELSE chr(c) END, '' ORDER BY at), '')
      FROM (SELECT at, get_byte(_name, at) AS c
              FROM generate_series(0, length(_name) - 1) AS at) AS bytes
$$;

-- Note a change (format §16) in the transaction that makes it: time, entry, session and the number
-- of the operation. For volumes whose flags say change_log, and only for those.
CREATE FUNCTION tarn_1.log_change(_sid int8, _op int8, _entry text) RETURNS void
LANGUAGE plpgsql AS $$
DECLARE
    _now int8 := tarn_1.clock_us();
BEGIN
    INSERT INTO public.jfs_change_log (entry)
    VALUES (format('%s.%s|%s|(%s,%s)', _now / 1000000, lpad((_now % 1000000 * 1000)::text, 9, '0'),
                   _entry, _sid, _op));
END $$;
