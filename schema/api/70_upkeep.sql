-- The upkeep of a volume: what its clients leave behind (format §3, §4, §7.7 to §7.10, §9, §16).
--
-- Every function here may be called again when its answer was lost: it looks for work and does it,
-- and what is done is not found again. So none needs a lane. Work comes in batches with a limit, and
-- rows of jfs_chunk_ref are locked by ascending id, as stock clients lock them.
--
-- A slice ends in three steps. Whoever takes away its last reference enters it in tarn.doomed, in
-- the same transaction. doomed_take() hands it out once every mirror is past that moment. When its
-- objects are gone, doomed_done() removes its rows: never before, or nobody would know of them.

----------------------------------------------------------------------------------- whose turn it is

CREATE FUNCTION tarn_1.clock_s() RETURNS int8
LANGUAGE sql VOLATILE PARALLEL SAFE AS $$ SELECT extract(epoch FROM clock_timestamp())::int8 $$;

-- Take the gate that all clients of a volume share, stock ones too (format §3): one of them does the
-- job each _every_s seconds. Asked without the lock first, for mostly it is too early.
CREATE FUNCTION tarn_1.gate_take(_gate text, _every_s int8) RETURNS bool
LANGUAGE plpgsql AS $$
DECLARE
    _now  int8 := tarn_1.clock_s();
    _last int8 := (SELECT c.value FROM public.jfs_counter AS c WHERE c.name = _gate);
BEGIN
    IF _last > _now - _every_s THEN
        RETURN false;
    END IF;
    INSERT INTO public.jfs_counter (name, value) VALUES (_gate, 0) ON CONFLICT (name) DO NOTHING;
    SELECT c.value INTO _last FROM public.jfs_counter AS c WHERE c.name = _gate FOR UPDATE;
    IF _last > _now - _every_s THEN
        RETURN false;
    END IF;
    UPDATE public.jfs_counter SET value = _now WHERE name = _gate;
    IF (tarn_1.flags()).change_log THEN
        PERFORM tarn_1.log_change(0, 0, format('SET(%s,%s)', _gate, _now));
    END IF;
    RETURN true;
END $$;

-- Begin a job, if it is due: by the gate of stock clients or, for jobs that they do not know
-- (_gate NULL), by when it last began. _runner names this very beginning, so that asking again
-- after a lost answer is answered alike. Never at a mirror.
CREATE FUNCTION tarn_1.job_begin(_job text, _gate text, _every_s int8, _runner text)
RETURNS TABLE (is_ours bool)
LANGUAGE plpgsql AS $$
DECLARE
    _run tarn.upkeep_run;
BEGIN
    SELECT * INTO _run FROM tarn.upkeep_run AS r WHERE r.job = _job;
    IF _run.runner = _runner THEN
        RETURN QUERY SELECT true;
        RETURN;
    ELSIF NOT EXISTS (SELECT FROM tarn.local_site AS l WHERE l.role = 'primary')
          OR _gate IS NULL AND _run.started_at > clock_timestamp() - _every_s * interval '1 s'
          OR _gate IS NOT NULL AND NOT tarn_1.gate_take(_gate, _every_s) THEN
        RETURN QUERY SELECT false;
        RETURN;
    END IF;
    INSERT INTO tarn.upkeep_run AS r (job, runner, started_at)
    VALUES (_job, _runner, clock_timestamp())
        ON CONFLICT (job) DO UPDATE
       SET runner = _runner, started_at = clock_timestamp(), ended_at = NULL, is_ok = NULL,
           items = NULL, note = NULL
     -- Somebody else may have begun between our look and now.
     WHERE _gate IS NOT NULL OR r.started_at <= clock_timestamp() - _every_s * interval '1 s';
    RETURN QUERY SELECT FOUND;
END $$;

CREATE FUNCTION tarn_1.job_end(_job text, _runner text, _is_ok bool, _items int8, _note text)
RETURNS void
LANGUAGE sql VOLATILE AS $$
    UPDATE tarn.upkeep_run
       SET ended_at = clock_timestamp(), is_ok = _is_ok, items = _items, note = _note,
           succeeded_at = CASE WHEN _is_ok THEN clock_timestamp() ELSE succeeded_at END
     WHERE job = _job AND runner = _runner
$$;

-- Deletions wait for a silent mirror for _seconds.
CREATE FUNCTION tarn_1.keep_window_set(_seconds int8) RETURNS void
LANGUAGE sql VOLATILE AS $$
    UPDATE tarn.upkeep_setting SET keep_window = _seconds * interval '1 s'
     WHERE keep_window <> _seconds * interval '1 s'
$$;

-------------------------------------------------------------------------------------------- sessions

CREATE FUNCTION tarn_1.stale_sessions(_limit int4) RETURNS TABLE (sid int8)
LANGUAGE sql STABLE AS $$
    SELECT s.sid FROM public.jfs_session2 AS s
     WHERE s.expire < tarn_1.clock_s() ORDER BY s.expire LIMIT _limit
$$;

-- End a session whose time is over by the clock of the database. One that has been heard of since
-- is left alone: its row is locked before it is looked at again.
CREATE FUNCTION tarn_1.session_reap(_sid int8) RETURNS TABLE (is_reaped bool)
LANGUAGE plpgsql AS $$
BEGIN
    PERFORM FROM public.jfs_session2 AS s
      WHERE s.sid = _sid AND s.expire < tarn_1.clock_s() FOR UPDATE;
    is_reaped := FOUND;
    IF is_reaped THEN
        PERFORM tarn_1.session_close(_sid);
    END IF;
    RETURN NEXT;
END $$;

-- Lanes of sessions that a stock client has ended, which knows of nothing but the session's row, and of
-- those that ended with the primary before.
CREATE FUNCTION tarn_1.orphan_lanes() RETURNS TABLE (lanes int8)
LANGUAGE sql VOLATILE AS $$
    WITH gone AS (
        DELETE FROM tarn.slot AS l
         WHERE NOT EXISTS (SELECT FROM public.jfs_session2 AS s WHERE s.sid = l.sid)
           AND NOT tarn_1.is_settling(l.sid)
        RETURNING 1)
    SELECT count(*) FROM gone
$$;

------------------------------------------------------------------------------------- ends of slices

-- Take one reference for each (id, size) given, as often as it is given; 0 is a hole. Rows are
-- locked in ascending order before any is changed.
CREATE FUNCTION tarn_1.unref(_ids int8[], _sizes int4[]) RETURNS void
LANGUAGE plpgsql AS $$
BEGIN
    PERFORM FROM public.jfs_chunk_ref AS r
      WHERE r.chunkid = ANY (_ids) ORDER BY r.chunkid FOR NO KEY UPDATE;
    WITH gone AS (
        SELECT u.id, u.size, count(*)::int4 AS n
          FROM unnest(_ids, _sizes) AS u (id, size) WHERE u.id <> 0 GROUP BY 1, 2
    ), less AS (
        UPDATE public.jfs_chunk_ref AS r SET refs = r.refs - g.n
          FROM gone AS g WHERE r.chunkid = g.id AND r.size = g.size
        RETURNING r.chunkid, r.size, r.refs)
    INSERT INTO tarn.doomed (slice, size)
    SELECT l.chunkid, l.size FROM less AS l WHERE l.refs <= 0
        ON CONFLICT (slice) DO NOTHING;
END $$;

-- The same for the 24-byte records of chunks, in one string. A string that is cut off is no list
-- of records: then nothing is taken, and the slices are left to gc.
CREATE FUNCTION tarn_1.unref_records(_records bytea) RETURNS void
LANGUAGE plpgsql AS $$
DECLARE
    _flat  bytea := _records || ''::bytea;  -- out of its TOAST form once
    _ids   int8[];
    _sizes int4[];
BEGIN
    IF octet_length(_flat) % 24 <> 0 THEN
        RETURN;
    END IF;
    SELECT array_agg(tarn_1.be8(_flat, at + 4)), array_agg(tarn_1.be4(_flat, at + 12))
      INTO _ids, _sizes
      FROM generate_series(0, octet_length(_flat) - 24, 24) AS at;
    PERFORM tarn_1.unref(_ids, _sizes);
END $$;

-- Enter what has no references and is not entered yet: tombstones, and what stock clients left.
CREATE FUNCTION tarn_1.doomed_scan(_limit int4) RETURNS TABLE (found int8)
LANGUAGE sql VOLATILE AS $$
    WITH entered AS (
        INSERT INTO tarn.doomed (slice, size)
        SELECT r.chunkid, r.size FROM public.jfs_chunk_ref AS r
         WHERE r.refs <= 0
           AND NOT EXISTS (SELECT FROM tarn.doomed AS d WHERE d.slice = r.chunkid)
         LIMIT _limit
            ON CONFLICT (slice) DO NOTHING
        RETURNING 1)
    SELECT count(*) FROM entered
$$;

-- Look at every mirror, at most once a second. A mirror without a slot is one that has lost it, or
-- one that follows another mirror and reports by itself.
CREATE FUNCTION tarn_1.followers_look() RETURNS void
LANGUAGE plpgsql AS $$
BEGIN
    DELETE FROM tarn.follower AS f
     WHERE NOT EXISTS (SELECT FROM tarn.site AS s WHERE s.role = 'mirror' AND s.name = f.site)
       AND NOT EXISTS (SELECT FROM tarn_1.slots() AS l WHERE l.site = f.site);
    INSERT INTO tarn.follower AS f (site, confirmed, before, looked_at, moved_at)
    SELECT m.site, coalesce(l.confirmed_lsn::pg_lsn, r.lsn), NULL, clock_timestamp(),
           clock_timestamp()
      FROM (SELECT s.name AS site FROM tarn.site AS s WHERE s.role = 'mirror'
            UNION SELECT site FROM tarn_1.slots()) AS m
           LEFT JOIN tarn_1.slots() AS l ON l.site = m.site
           LEFT JOIN tarn.follower_report AS r ON r.site = m.site
     ORDER BY m.site
        ON CONFLICT (site) DO UPDATE
       SET confirmed = EXCLUDED.confirmed, before = f.confirmed, looked_at = EXCLUDED.looked_at,
           moved_at = CASE WHEN EXCLUDED.confirmed > f.confirmed
                                OR EXCLUDED.confirmed >= pg_current_wal_lsn()
                           THEN EXCLUDED.looked_at ELSE f.moved_at END
     WHERE f.looked_at < clock_timestamp() - interval '1 s';
    PERFORM tarn_1.forgive();
END $$;

-- What the mirrors mean to deletions: site, whether deletions still wait for it, and since when it
-- is silent.
CREATE FUNCTION tarn_1.followers()
RETURNS TABLE (site text, is_awaited bool, silent_s int8, before pg_lsn)
LANGUAGE sql STABLE AS $$
    SELECT f.site, f.moved_at > clock_timestamp() - u.keep_window,
           extract(epoch FROM clock_timestamp() - f.moved_at)::int8, f.before
      FROM tarn.follower AS f, tarn.upkeep_setting AS u
$$;

-- The same after a look at them now: for whoever watches, also while nothing waits to be deleted.
CREATE FUNCTION tarn_1.followers_watch()
RETURNS TABLE (site text, is_awaited bool, silent_s int8, before pg_lsn)
LANGUAGE plpgsql AS $$
BEGIN
    PERFORM tarn_1.followers_look();
    RETURN QUERY SELECT * FROM tarn_1.followers();
END $$;

-- Hand out slices whose objects may be removed now, for _lease_s seconds. What has got a reference
-- after all, or has no row any more, is struck off instead.
CREATE FUNCTION tarn_1.doomed_take(_limit int4, _lease_s int4)
RETURNS TABLE (slice int8, size int4)
LANGUAGE plpgsql AS $$
DECLARE
    _horizon pg_lsn;  -- every mirror that is waited for is past it; NULL: there is none
    _free    int8[];
BEGIN
    IF NOT EXISTS (SELECT FROM tarn.doomed)
       OR NOT EXISTS (SELECT FROM tarn.local_site AS l WHERE l.role = 'primary') THEN
        RETURN;
    END IF;
    PERFORM tarn_1.followers_look();
    _horizon := (SELECT min(coalesce(f.before, '0/0')) FROM tarn_1.followers() AS f
                  WHERE f.is_awaited);
    IF _horizon IS NOT NULL THEN
        -- The position is read after the snapshot of this statement was taken: whatever it sees
        -- was committed before.
        UPDATE tarn.doomed AS d SET lsn = pg_current_wal_insert_lsn()
         WHERE d.slice IN (SELECT n.slice FROM tarn.doomed AS n WHERE n.lsn IS NULL
                            ORDER BY n.slice LIMIT 10000 FOR UPDATE SKIP LOCKED);
    END IF;
    _free := ARRAY(SELECT d.slice FROM tarn.doomed AS d
                    WHERE d.leased_until < clock_timestamp()
                      AND (_horizon IS NULL OR d.lsn <= _horizon)
                    ORDER BY d.slice LIMIT _limit FOR UPDATE SKIP LOCKED);
    IF _free <> '{}' THEN
        PERFORM tarn_1.give_up();
    END IF;
    DELETE FROM tarn.doomed AS d
     WHERE d.slice = ANY (_free)
       AND NOT EXISTS (SELECT FROM public.jfs_chunk_ref AS r
                        WHERE r.chunkid = d.slice AND r.size = d.size AND r.refs <= 0);
    RETURN QUERY
    UPDATE tarn.doomed AS d SET leased_until = clock_timestamp() + _lease_s * interval '1 s'
     WHERE d.slice = ANY (_free) RETURNING d.slice, d.size;
END $$;

-- The objects of these slices are gone: so may their rows be. Answers how many were.
CREATE FUNCTION tarn_1.doomed_done(_slices int8[]) RETURNS TABLE (removed int8)
LANGUAGE plpgsql AS $$
DECLARE
    _is_logged bool := (tarn_1.flags()).change_log;
    _gone      record;
BEGIN
    removed := 0;
    PERFORM FROM public.jfs_chunk_ref AS r
      WHERE r.chunkid = ANY (_slices) ORDER BY r.chunkid FOR UPDATE;
    FOR _gone IN
        DELETE FROM public.jfs_chunk_ref AS r
         WHERE r.chunkid = ANY (_slices) AND r.refs <= 0 RETURNING r.chunkid, r.size
    LOOP
        removed := removed + 1;
        IF _is_logged THEN
            PERFORM tarn_1.log_change(0, 0, format('DELETESLICE(%s,%s)', _gone.chunkid, _gone.size));
        END IF;
    END LOOP;
    DELETE FROM tarn.block_sum AS b WHERE b.slice = ANY (_slices)
       AND NOT EXISTS (SELECT FROM public.jfs_chunk_ref AS r WHERE r.chunkid = b.slice);
    DELETE FROM tarn.doomed AS d WHERE d.slice = ANY (_slices);
    RETURN NEXT;
END $$;

-- These slices could not be removed now: somebody may try again in _pause_s seconds.
CREATE FUNCTION tarn_1.doomed_left(_slices int8[], _pause_s int4) RETURNS void
LANGUAGE sql VOLATILE AS $$
    UPDATE tarn.doomed SET leased_until = clock_timestamp() + _pause_s * interval '1 s'
     WHERE slice = ANY (_slices)
$$;

-- Remove the sums of slices that stock clients have deleted, among the _count sums after _after.
-- Answers where to go on; NULL at the end.
CREATE FUNCTION tarn_1.sums_sweep(_after int8, _count int4) RETURNS TABLE (next int8, removed int8)
LANGUAGE sql VOLATILE AS $$
    WITH page AS (
        SELECT b.slice FROM tarn.block_sum AS b WHERE b.slice > _after ORDER BY b.slice LIMIT _count
    ), gone AS (
        DELETE FROM tarn.block_sum AS b USING page AS p
         WHERE b.slice = p.slice
           AND NOT EXISTS (SELECT FROM public.jfs_chunk_ref AS r WHERE r.chunkid = b.slice)
        RETURNING 1)
    SELECT (SELECT max(p.slice) FROM page AS p), (SELECT count(*) FROM gone)
$$;

---------------------------------------------------------------------------------------------- files

-- Removed files whose data is still there, _older_s seconds after their removal or more.
CREATE FUNCTION tarn_1.dying_files(_older_s int8, _after int8, _limit int4)
RETURNS TABLE (ino int8)
LANGUAGE sql STABLE AS $$
    SELECT d.inode FROM public.jfs_delfile AS d
     WHERE d.inode > _after AND d.expire <= tarn_1.clock_s() - _older_s
     ORDER BY d.inode LIMIT _limit
$$;

-- Let go of the next _limit chunks of a removed file; after the last, of the file itself. Chunks
-- that somebody else is at are left to him. An inode that still has a node is no removed file,
-- whatever jfs_delfile says (EEXIST).
CREATE FUNCTION tarn_1.chunks_drop(_sid int8, _ino int8, _limit int4)
RETURNS TABLE (err int4, chunks int4, is_done bool)
LANGUAGE plpgsql AS $$
DECLARE
    _is_logged bool := (tarn_1.flags()).change_log;
    _records   bytea := '';
    _indxs     int4[] := '{}';
    _c         record;
BEGIN
    IF EXISTS (SELECT FROM public.jfs_node AS n WHERE n.inode = _ino) THEN
        RETURN QUERY SELECT 17, 0, false;
        RETURN;
    END IF;
    FOR _c IN SELECT c.indx, c.slices FROM public.jfs_chunk AS c WHERE c.inode = _ino
               ORDER BY c.indx LIMIT _limit FOR UPDATE SKIP LOCKED LOOP
        _indxs := _indxs || _c.indx;
        IF octet_length(_c.slices) % 24 = 0 THEN
            _records := _records || _c.slices;
        END IF;
        IF _is_logged THEN
            PERFORM tarn_1.log_change(_sid, 0, format('DELCHUNK(%s,%s)', _ino, _c.indx));
        END IF;
    END LOOP;
    PERFORM tarn_1.unref_records(_records);
    DELETE FROM public.jfs_chunk AS c WHERE c.inode = _ino AND c.indx = ANY (_indxs);
    is_done := NOT EXISTS (SELECT FROM public.jfs_chunk AS c WHERE c.inode = _ino);
    IF is_done THEN
        DELETE FROM public.jfs_delfile AS d WHERE d.inode = _ino;
    END IF;
    RETURN QUERY SELECT 0, cardinality(_indxs), is_done;
END $$;

------------------------------------------------------------------------ statistics of directories

-- What the statistics of a directory have to be, by counting.
CREATE FUNCTION tarn_1.dir_stats_count(_dir int8, OUT length int8, OUT space int8, OUT entries int8)
LANGUAGE sql STABLE AS $$
    SELECT coalesce(sum(n.length) FILTER (WHERE n.type = 1), 0)::int8,
           coalesce(sum(CASE n.type WHEN 1 THEN tarn_1.space(n.length) ELSE 4096 END), 0)::int8,
           count(*)
      FROM public.jfs_edge AS e JOIN public.jfs_node AS n ON n.inode = e.inode
     WHERE e.parent = _dir
$$;

-- Directories among the _limit ones after _after whose statistics are not what a count says, and in
-- the last row where to go on: dir 0. Most of them only wait for what clients have not flushed yet.
CREATE FUNCTION tarn_1.dir_stats_differ(_after int8, _limit int4)
RETURNS TABLE (next int8, dir int8, has_length int8, has_space int8, has_entries int8,
               length int8, space int8, entries int8)
LANGUAGE sql STABLE AS $$
    WITH page AS (
        SELECT s.* FROM public.jfs_dir_stats AS s
         WHERE s.inode > _after AND (tarn_1.flags()).dir_stats
           AND NOT EXISTS (SELECT FROM tarn.local_site AS l WHERE l.role <> 'primary')
         ORDER BY s.inode LIMIT _limit)
    SELECT p.inode, p.inode, p.data_length, p.used_space, p.used_inodes,
           c.length, c.space, c.entries
      FROM page AS p, tarn_1.dir_stats_count(p.inode) AS c
     WHERE (p.data_length, p.used_space, p.used_inodes)
           IS DISTINCT FROM (c.length, c.space, c.entries)
    UNION ALL
    SELECT max(p.inode), 0, 0, 0, 0, 0, 0, 0 FROM page AS p HAVING max(p.inode) IS NOT NULL
$$;

-- Put right the statistics of a directory that were found wrong, long enough ago that no client can
-- still hold the difference: if both they and the count are what they were then.
CREATE FUNCTION tarn_1.dir_stats_mend(_dir int8, _has_length int8, _has_space int8,
                                      _has_entries int8, _length int8, _space int8, _entries int8)
RETURNS TABLE (is_mended bool)
LANGUAGE plpgsql AS $$
DECLARE
    _count record;
BEGIN
    PERFORM FROM public.jfs_dir_stats AS s
      WHERE s.inode = _dir AND s.data_length = _has_length AND s.used_space = _has_space
        AND s.used_inodes = _has_entries FOR UPDATE;
    is_mended := FOUND;
    _count := tarn_1.dir_stats_count(_dir);
    is_mended := is_mended AND _count.length = _length AND _count.space = _space
                 AND _count.entries = _entries;
    IF is_mended THEN
        UPDATE public.jfs_dir_stats AS s
           SET data_length = _length, used_space = _space, used_inodes = _entries
         WHERE s.inode = _dir;
        IF (tarn_1.flags()).change_log THEN
            PERFORM tarn_1.log_change(0, 0, format('DIRSTAT(%s,%s,%s,%s)', _dir, _length, _space,
                                                   _entries));
        END IF;
    END IF;
    RETURN NEXT;
END $$;

----------------------------------------------------------------------------------- the change log

-- Remove the next _limit entries that are older than the volume keeps them, or too many. Answers how
-- many they were. Entries are in the order of their ids but for those that were made at one time.
CREATE FUNCTION tarn_1.change_log_expire(_limit int4) RETURNS TABLE (expired int8)
LANGUAGE plpgsql AS $$
DECLARE
    _format jsonb := (SELECT s.value::jsonb FROM public.jfs_setting AS s WHERE s.name = 'format');
    _age    int8 := coalesce((_format ->> 'ChangeLogMaxAge')::int8, 0);
    _lines  int8 := coalesce((_format ->> 'ChangeLogMaxLines')::int8, 0);
    _excess int8 := 0;
BEGIN
    IF to_regclass('public.jfs_change_log') IS NULL THEN  -- an old volume has none
        RETURN QUERY SELECT 0::int8;
        RETURN;
    END IF;
    IF _lines > 0 THEN
        _excess := greatest((SELECT count(*) FROM public.jfs_change_log) - _lines, 0);
    END IF;
    WITH oldest AS (
        SELECT l.id, row_number() OVER (ORDER BY l.id) AS place,
               CASE WHEN l.entry ~ '^\d{1,18}\.' THEN split_part(l.entry, '.', 1)::int8 END AS at
          FROM (SELECT c.id, c.entry FROM public.jfs_change_log AS c ORDER BY c.id LIMIT _limit) AS l
    ), gone AS (
        DELETE FROM public.jfs_change_log AS c USING oldest AS o
         WHERE c.id = o.id
           AND (o.place <= _excess OR _age > 0 AND o.at < tarn_1.clock_s() - _age)
        RETURNING 1)
    SELECT count(*) INTO expired FROM gone;
    RETURN NEXT;
END $$;

---------------------------------------------------------------------------------------------- shown

-- The last run of each job and what waits for deletion, as JSON.
CREATE FUNCTION tarn_1.upkeep_status() RETURNS TABLE (status text)
LANGUAGE sql STABLE AS $$
    SELECT json_build_object(
        'jobs', coalesce((SELECT json_agg(json_build_object(
                    'job', r.job, 'started_at', r.started_at, 'ended_at', r.ended_at,
                    'succeeded_at', r.succeeded_at, 'ok', r.is_ok, 'items', r.items,
                    'note', r.note, 'runner', r.runner) ORDER BY r.job)
                  FROM tarn.upkeep_run AS r), '[]'),
        'doomed_slices', (SELECT count(*) FROM tarn.doomed),
        'doomed_bytes', (SELECT coalesce(sum(d.size), 0) FROM tarn.doomed AS d),
        'removed_files', (SELECT count(*) FROM public.jfs_delfile),
        'mirrors', coalesce((SELECT json_agg(json_build_object(
                    'site', f.site, 'awaited', f.is_awaited, 'silent_seconds', f.silent_s)
                    ORDER BY f.site) FROM tarn_1.followers() AS f), '[]'))::text
$$;
