-- The steps of a promotion, in the order of mirror/promote.h; why they are what they are is told at the
-- top of 54_promote.sql. Each may be carried out again after a lost answer or a killed command.

------------------------------------------------------------------------------- steps at the mirror

-- A change of roles: what was remembered of a primary was another one's, or that of another slot, and
-- what a primary keeps about its mirrors is begun anew.
CREATE FUNCTION tarn_1.forget_roles() RETURNS void
LANGUAGE sql VOLATILE AS $$
    DELETE FROM tarn.primary_memory;
    DELETE FROM tarn.doomed;
    DELETE FROM tarn.follower;
    DELETE FROM tarn.follower_report;
    DELETE FROM tarn.given_up;
    DELETE FROM tarn.site_version;
    DELETE FROM tarn.upkeep_run;
    UPDATE tarn.local_site SET lost_by = NULL, detail = NULL;
$$;

-- The promotion that is under way, or the last one. No row: none so far.
CREATE FUNCTION tarn_1.promotion()
RETURNS TABLE (kind text, is_open bool, old_site text, old_url text, old_bucket text,
               has_fenced bool, marker int8, marker_lsn text, applied_lsn text, epoch int8,
               has_switched bool)
LANGUAGE sql STABLE AS $$
    SELECT p.kind, p.ended_at IS NULL, p.old_site, p.old_url, p.old_bucket, p.has_fenced, p.marker,
           p.marker_lsn::text, p.applied_lsn::text, p.epoch, p.switched_at IS NOT NULL
      FROM tarn.promotion p ORDER BY p.id DESC LIMIT 1
$$;

-- Begin a promotion, or go on with the one that is open. _old_bucket NULL: the same as this site's.
CREATE FUNCTION tarn_1.promotion_begin(_kind text, _old_url text, _old_bucket text)
RETURNS TABLE (is_new bool)
LANGUAGE plpgsql AS $$
DECLARE
    _old tarn.site := (SELECT s FROM tarn.site s WHERE s.role = 'primary');
BEGIN
    UPDATE tarn.promotion SET kind = _kind WHERE ended_at IS NULL AND switched_at IS NULL;
    IF EXISTS (SELECT FROM tarn.promotion WHERE ended_at IS NULL) THEN
        RETURN QUERY SELECT false;
        RETURN;
    END IF;
    INSERT INTO tarn.promotion (id, kind, old_site, old_system, old_url, old_bucket)
    SELECT coalesce(max(p.id), 0) + 1, _kind, _old.name, _old.system_identifier, _old_url,
           _old_bucket
      FROM tarn.promotion p;
    RETURN QUERY SELECT true;
END $$;

-- What others will follow, made before it is needed: it does no harm at a mirror.
CREATE FUNCTION tarn_1.promote_publish() RETURNS void
LANGUAGE plpgsql AS $$
DECLARE
    _was_there bool := EXISTS (SELECT FROM pg_publication WHERE pubname = 'tarn');
BEGIN
    PERFORM tarn_1.set_identities();
    PERFORM tarn_1.publish();
    UPDATE tarn.promotion SET has_published = NOT _was_there
     WHERE ended_at IS NULL AND NOT _was_there;
END $$;

-- One promotion, demotion or rejoin at a time, for as long as the connection lives.
CREATE FUNCTION tarn_1.promote_lock() RETURNS TABLE (is_ours bool)
LANGUAGE sql VOLATILE AS $$ SELECT pg_try_advisory_lock(hashtext('tarn'), 4) $$;

CREATE FUNCTION tarn_1.promotion_fenced() RETURNS void
LANGUAGE sql VOLATILE AS $$ UPDATE tarn.promotion SET has_fenced = true WHERE ended_at IS NULL $$;

CREATE FUNCTION tarn_1.promotion_marked(_marker int8, _lsn text) RETURNS void
LANGUAGE sql VOLATILE AS $$
    UPDATE tarn.promotion SET marker = _marker, marker_lsn = _lsn::pg_lsn WHERE ended_at IS NULL
$$;

-- Stop to apply; answers whether a worker is still at it. Asked until it says no.
CREATE FUNCTION tarn_1.promote_pause() RETURNS TABLE (is_working bool)
LANGUAGE plpgsql AS $$
DECLARE
    _sub record;
BEGIN
    SELECT s.oid, s.subname, s.subenabled INTO _sub
      FROM pg_subscription s JOIN tarn.local_site l ON l.subscription = s.subname
     WHERE s.subdbid = (SELECT oid FROM pg_database WHERE datname = current_database());
    IF _sub.subenabled THEN
        EXECUTE format('ALTER SUBSCRIPTION %I DISABLE', _sub.subname);
        RETURN QUERY SELECT true; -- the worker must see that, which takes a commit
        RETURN;
    END IF;
    RETURN QUERY
    SELECT count(pg_terminate_backend(a.pid)) > 0
      FROM pg_stat_subscription t JOIN pg_stat_activity a ON a.pid = t.pid
     WHERE t.subid = _sub.oid;
END $$;

CREATE FUNCTION tarn_1.promote_resume() RETURNS void
LANGUAGE plpgsql AS $$
DECLARE
    _name text := (SELECT s.subname FROM pg_subscription s
                     JOIN tarn.local_site l ON l.subscription = s.subname
                    WHERE s.subdbid = (SELECT oid FROM pg_database
                                        WHERE datname = current_database()));
BEGIN
    IF _name IS NOT NULL THEN
        EXECUTE format('ALTER SUBSCRIPTION %I ENABLE', _name);
    END IF;
END $$;

-- Note whose slot is going to be made. One that this promotion has not made is somebody's who follows
-- this site, or has been left behind by an earlier change of roles: to make that anew would lose rows.
CREATE FUNCTION tarn_1.promotion_slot(_site text) RETURNS void
LANGUAGE plpgsql AS $$
BEGIN
    IF EXISTS (SELECT FROM pg_replication_slots WHERE slot_name = 'tarn_' || _site)
       AND NOT EXISTS (SELECT FROM tarn.promotion p
                        WHERE p.ended_at IS NULL AND _site = ANY (p.slots)) THEN
        RAISE EXCEPTION 'this server has a slot "tarn_%" already: repoint or seed mirror "%" first,'
                        ' then drop it', _site, _site;
    END IF;
    UPDATE tarn.promotion SET slots = array_append(array_remove(slots, _site), _site)
     WHERE ended_at IS NULL;
END $$;

-- Make the slot of a site that has followed the old primary to its end; apply has stopped, so it begins
-- after all that came from there and before all that is written here. One that an interrupted promotion
-- has left may be older than what came since, and is made anew. Alone in its transaction.
CREATE FUNCTION tarn_1.promote_slot(_site text) RETURNS TABLE (lsn text)
LANGUAGE plpgsql AS $$
BEGIN
    IF (SELECT role FROM tarn.local_site) = 'primary' THEN
        RAISE EXCEPTION 'this database is the primary already';
    END IF;
    PERFORM tarn_1.slot_drop('tarn_' || _site);
    RETURN QUERY SELECT m.lsn FROM tarn_1.slot_make('tarn_' || _site) AS m;
END $$;

-- What the object tarn/epoch will say once promote_switch() has been called with the same _above.
CREATE FUNCTION tarn_1.promote_claim(_above int8)
RETURNS TABLE (epoch int8, system_identifier text, timeline int8, next_chunk int8)
LANGUAGE sql STABLE AS $$
    SELECT e, tarn_1.system_identifier(),
           (SELECT timeline_id::int8 FROM pg_control_checkpoint()), e << 40
      FROM tarn_1.next_epoch(_above) AS e
$$;

-- Sessions of the old primary that held files which are unlinked: they come here as silent sessions,
-- so that the jobs of this site end them and remove those files.
CREATE FUNCTION tarn_1.sustained() RETURNS TABLE (rows text)
LANGUAGE sql STABLE AS $$
    SELECT coalesce(jsonb_agg(jsonb_build_object('sid', s.sid, 'inode', s.inode)), '[]')::text
      FROM public.jfs_sustained s
$$;

CREATE FUNCTION tarn_1.take_sustained(_rows text) RETURNS void
LANGUAGE sql VOLATILE AS $$
    WITH row AS (
        SELECT r.sid, r.inode FROM jsonb_to_recordset(_rows::jsonb) AS r (sid int8, inode int8)
    ), session AS (
        INSERT INTO public.jfs_session2 (sid, expire, info)
        SELECT DISTINCT row.sid, 1, convert_to('{"Version":"1.1.0"}', 'UTF8') FROM row
            ON CONFLICT DO NOTHING
    )
    INSERT INTO public.jfs_sustained (sid, inode)
    SELECT row.sid, row.inode FROM row
        ON CONFLICT DO NOTHING
$$;

-- The switch, all in one. _above: the epoch that the buckets and the old primary know of. The format
-- row, which names the bucket, is _format afterwards if it was _format_was (NULL: it stays).
-- _sustained: of a planned promotion; NULL when it is forced. Done before, it only answers.
CREATE FUNCTION tarn_1.promote_switch(_above int8, _format_was text, _format text,
                                      _sustained text)
RETURNS TABLE (epoch int8)
LANGUAGE plpgsql SET lock_timeout = '5s' AS $$
DECLARE
    _site  tarn.local_site;
    _job   tarn.promotion := (SELECT p FROM tarn.promotion p WHERE p.ended_at IS NULL);
    _epoch int8;
BEGIN
    SELECT * INTO _site FROM tarn.local_site FOR UPDATE;
    IF _site.role = 'primary' THEN
        RETURN QUERY SELECT _job.epoch;
        RETURN;
    ELSIF EXISTS (SELECT FROM pg_stat_subscription t JOIN pg_subscription s ON s.oid = t.subid
                   WHERE s.subname = _site.subscription AND t.pid IS NOT NULL
                     AND s.subdbid = (SELECT oid FROM pg_database
                                       WHERE datname = current_database())) THEN
        RAISE EXCEPTION 'changes are still being applied here' USING ERRCODE = '55P03';
    END IF;
    _epoch := tarn_1.next_epoch(_above);
    PERFORM tarn_1.slice_orders_turn(_job.old_bucket IS NOT NULL);
    DROP TRIGGER IF EXISTS tarn_heartbeat ON tarn.heartbeat;
    PERFORM tarn_1.guard_tables(false);
    UPDATE tarn.promotion p
       SET epoch = _epoch, switched_at = clock_timestamp(),
           applied_lsn = (SELECT tarn_1.applied_lsn(s.oid) FROM pg_subscription s
                           WHERE s.subname = _site.subscription
                             AND s.subdbid = (SELECT oid FROM pg_database
                                               WHERE datname = current_database())),
           heartbeat_seq = (SELECT h.seq FROM tarn.heartbeat h ORDER BY h.at DESC LIMIT 1)
     WHERE p.id = _job.id;
    IF _format IS NOT NULL THEN
        UPDATE public.jfs_setting SET value = _format WHERE name = 'format' AND value = _format_was;
        IF NOT FOUND THEN
            RAISE EXCEPTION 'the format row was changed meanwhile' USING ERRCODE = '40001';
        END IF;
    END IF;
    UPDATE tarn.local_site l
       SET role = 'primary', state = 'PRIMARY', detail = NULL, ready_at = clock_timestamp(),
           primary_url = NULL, source_url = NULL, local_bucket = NULL,
           origin_bucket = CASE WHEN _job.old_bucket IS NULL THEN l.origin_bucket END,
           former_bucket = _job.old_bucket;
    UPDATE tarn.site s SET role = 'primary' WHERE s.name = _site.name;
    IF _sustained IS NULL THEN
        DELETE FROM tarn.site s WHERE s.name = _job.old_site;
    ELSE
        UPDATE tarn.site s SET role = 'mirror' WHERE s.name = _job.old_site;
        PERFORM tarn_1.take_sustained(_sustained);
    END IF;
    PERFORM tarn_1.begin_epoch(_epoch);
    DELETE FROM tarn.heartbeat;
    INSERT INTO tarn.heartbeat (site, epoch, seq, at, lsn)
    VALUES (_site.name, _epoch, 0, clock_timestamp(), pg_current_wal_insert_lsn());
    PERFORM tarn_1.forget_roles();
    PERFORM tarn_1.flags_refresh();
    RETURN QUERY SELECT _epoch;
END $$;

-- End the subscription without asking the old primary: its slot stays there, with what was not applied.
CREATE FUNCTION tarn_1.promote_detach() RETURNS TABLE (had_subscription bool)
LANGUAGE plpgsql AS $$
DECLARE
    _name text := (SELECT s.subname FROM pg_subscription s
                     JOIN tarn.local_site l ON l.subscription = s.subname
                    WHERE s.subdbid = (SELECT oid FROM pg_database
                                        WHERE datname = current_database()));
BEGIN
    IF _name IS NOT NULL THEN
        EXECUTE format('ALTER SUBSCRIPTION %I DISABLE', _name);
        EXECUTE format('ALTER SUBSCRIPTION %I SET (slot_name = NONE)', _name);
        EXECUTE format('DROP SUBSCRIPTION %I', _name);
    END IF;
    RETURN QUERY SELECT _name IS NOT NULL;
END $$;

CREATE FUNCTION tarn_1.promotion_end() RETURNS void
LANGUAGE plpgsql AS $$
BEGIN
    UPDATE tarn.local_site SET subscription = NULL WHERE role = 'primary';
    UPDATE tarn.promotion SET ended_at = clock_timestamp() WHERE ended_at IS NULL;
END $$;

-- Undo what a promotion has made here before its switch.
CREATE FUNCTION tarn_1.promotion_abort() RETURNS TABLE (is_undone bool)
LANGUAGE plpgsql AS $$
DECLARE
    _job tarn.promotion := (SELECT p FROM tarn.promotion p WHERE p.ended_at IS NULL);
BEGIN
    IF _job.id IS NULL OR _job.switched_at IS NOT NULL THEN
        RETURN QUERY SELECT false;
        RETURN;
    END IF;
    PERFORM tarn_1.slot_drop('tarn_' || s) FROM unnest(_job.slots) AS s;
    IF _job.has_published THEN
        DROP PUBLICATION IF EXISTS tarn;
    END IF;
    PERFORM tarn_1.promote_resume();
    DELETE FROM tarn.promotion WHERE id = _job.id;
    RETURN QUERY SELECT true;
END $$;

-------------------------------------------------------------------------- steps at the old primary

-- What a promotion has to know of the primary before it begins.
-- override is what this site says instead of the format row, written the bucket that it writes to: both
-- as it finds them, which other sites may not.
CREATE FUNCTION tarn_1.demote_facts()
RETURNS TABLE (epoch int8, override text, written text)
LANGUAGE sql STABLE AS $$
    SELECT tarn_1.epoch_floor(0), l.origin_bucket,
           coalesce(l.origin_bucket, CASE WHEN b.bucket LIKE '/%' THEN 'file://' ELSE '' END || b.bucket)
      FROM tarn.local_site l,
           (SELECT value::jsonb ->> 'Bucket' FROM public.jfs_setting WHERE name = 'format')
               AS b (bucket)
$$;

-- The sites whose slots keep something here, and whether they hold everything up to _lsn.
CREATE FUNCTION tarn_1.drained(_lsn text) RETURNS TABLE (site text, is_active bool, is_drained bool)
LANGUAGE sql STABLE AS $$
    SELECT s.site, s.active, s.confirmed_lsn::pg_lsn >= _lsn::pg_lsn
      FROM tarn_1.slots() s WHERE s.wal_status <> 'lost'
$$;

-- Subscribe to the site that is going to be the primary, but do not begin: whether it can be reached
-- from here is known before anybody has stopped writing. Errors are raised anew without their
-- context, which would show the connection string with its password.
CREATE FUNCTION tarn_1.subscribe_ahead(_conninfo text) RETURNS void
LANGUAGE plpgsql AS $$
DECLARE
    _name text := (SELECT 'tarn_' || l.name FROM tarn.local_site l);
BEGIN
    PERFORM tarn_1.subscription_forget(_name);
    EXECUTE format('CREATE SUBSCRIPTION %I CONNECTION %L PUBLICATION tarn WITH (enabled = false,'
                   ' create_slot = false, copy_data = false, slot_name = %L)',
                   _name, _conninfo, _name);
EXCEPTION WHEN OTHERS THEN
    RAISE EXCEPTION USING ERRCODE = SQLSTATE, MESSAGE = SQLERRM;
END $$;

CREATE FUNCTION tarn_1.subscription_forget(_name text) RETURNS void
LANGUAGE plpgsql AS $$
BEGIN
    IF EXISTS (SELECT FROM pg_subscription s JOIN pg_database d ON d.oid = s.subdbid
                WHERE s.subname = _name AND d.datname = current_database()) THEN
        EXECUTE format('ALTER SUBSCRIPTION %I DISABLE', _name);
        EXECUTE format('ALTER SUBSCRIPTION %I SET (slot_name = NONE)', _name);
        EXECUTE format('DROP SUBSCRIPTION %I', _name);
    END IF;
END $$;

-- Undo subscribe_ahead() and the fence.
CREATE FUNCTION tarn_1.demote_abort() RETURNS void
LANGUAGE plpgsql AS $$
BEGIN
    IF (SELECT role FROM tarn.local_site) = 'primary' THEN
        PERFORM tarn_1.subscription_forget('tarn_' || l.name) FROM tarn.local_site l;
        PERFORM tarn_1.unfence('FENCED');
    END IF;
END $$;

-- This primary is a mirror from now on, with all that the new primary had when it began. Mirrors that
-- still follow this site get what was written up to the fence and nothing behind it: without its
-- publication their slots give no more. Done before, it changes nothing.
CREATE FUNCTION tarn_1.demote(_primary_url text, _local_bucket text, _origin_bucket text)
RETURNS TABLE (is_new bool)
LANGUAGE plpgsql SET lock_timeout = '5s' AS $$
DECLARE
    _name       text;
    _had_former bool;
BEGIN
    SELECT l.name, l.former_bucket IS NOT NULL INTO _name, _had_former
      FROM tarn.local_site l WHERE l.role = 'primary' FOR UPDATE;
    IF NOT FOUND THEN
        RETURN QUERY SELECT false;
        RETURN;
    END IF;
    DROP PUBLICATION IF EXISTS tarn;
    DELETE FROM public.jfs_sustained;
    DELETE FROM public.jfs_flock;
    DELETE FROM public.jfs_plock;
    DELETE FROM public.jfs_session2;
    PERFORM tarn_1.forget_roles();
    UPDATE tarn.local_site
       SET role = 'mirror', state = 'FOLLOWING', detail = NULL, ready_at = clock_timestamp(),
           primary_url = _primary_url, source_url = NULL, subscription = 'tarn_' || _name,
           local_bucket = _local_bucket, origin_bucket = _origin_bucket, former_bucket = NULL;
    PERFORM tarn_1.watch_heartbeat();
    PERFORM tarn_1.guard_tables(true);
    -- What this bucket still lacks from an earlier promotion goes on to be ordered; all else that was
    -- written so far was written here.
    DROP TRIGGER IF EXISTS tarn_slice_settle ON public.jfs_chunk_ref;
    IF _local_bucket IS NOT NULL THEN
        PERFORM tarn_1.slice_orders_begin();
        UPDATE tarn.cursor SET done_at = now(), position = goal
         WHERE name = 'backfill' AND NOT _had_former;
    END IF;
    EXECUTE format('ALTER SUBSCRIPTION %I ENABLE', 'tarn_' || _name);
    EXECUTE format('ALTER DATABASE %I RESET default_transaction_read_only', current_database());
    RETURN QUERY SELECT true;
END $$;

------------------------------------------------------------------------- steps at the other mirrors

-- Follow another primary from here on: one that has made a slot for this site at marker _marker of the
-- old one, which has to be here. Nothing is copied, nothing is missing.
CREATE FUNCTION tarn_1.repoint(_conninfo text, _primary_url text, _old_site text, _new_site text,
                               _marker int8, _origin_bucket text, _former_bucket text)
RETURNS TABLE (is_done bool)
LANGUAGE plpgsql AS $$
DECLARE
    _site tarn.local_site := (SELECT l FROM tarn.local_site l WHERE l.role = 'mirror');
BEGIN
    IF _site.name IS NULL OR NOT EXISTS (
           SELECT FROM tarn.mark m WHERE m.name = 'promote/' || _new_site AND m.value >= _marker) THEN
        RETURN QUERY SELECT false;
        RETURN;
    END IF;
    PERFORM tarn_1.subscription_forget(_site.subscription);
    DELETE FROM tarn.primary_memory;
    EXECUTE format('CREATE SUBSCRIPTION %I CONNECTION %L PUBLICATION tarn WITH'
                   ' (create_slot = false, copy_data = false, slot_name = %L)',
                   _site.subscription, _conninfo, _site.subscription);
    UPDATE tarn.local_site
       SET primary_url = _primary_url, source_url = NULL, origin_bucket = _origin_bucket,
           former_bucket = _former_bucket;
    RETURN QUERY SELECT true;
EXCEPTION WHEN OTHERS THEN
    RAISE EXCEPTION USING ERRCODE = SQLSTATE, MESSAGE = SQLERRM;
END $$;

------------------------------------------------------------------------------ after a forced switch

-- What a site that was primary has committed and _site has not applied: the messages of pgoutput, one
-- row each, as its slot keeps them. Nothing is consumed.
CREATE FUNCTION tarn_1.tail(_slot text, _limit int4) RETURNS TABLE (lsn text, data bytea)
LANGUAGE sql VOLATILE AS $$
    SELECT c.lsn::text, c.data
      FROM pg_logical_slot_peek_binary_changes(_slot, NULL, _limit, 'proto_version', '1',
                                               'publication_names', 'tarn') AS c
$$;

-- All that was looked at up to _lsn is saved: the slot need not keep it any more.
CREATE FUNCTION tarn_1.tail_saved(_slot text, _lsn int8) RETURNS void
LANGUAGE sql VOLATILE AS $$
    SELECT pg_replication_slot_advance(_slot, '0/0'::pg_lsn + _lsn::numeric)
$$;

-- How far this site has applied, or had applied when it was promoted, what _old_site has written: a
-- position there, in bytes. 0: nobody knows, so everything that the slot keeps counts as new.
CREATE FUNCTION tarn_1.promote_applied(_old_site text) RETURNS TABLE (applied int8)
LANGUAGE sql STABLE AS $$
    SELECT coalesce((SELECT p.applied_lsn FROM tarn.promotion p
                      WHERE p.old_site = _old_site AND p.switched_at IS NOT NULL
                      ORDER BY p.id DESC LIMIT 1),
                    (SELECT tarn_1.applied_lsn(s.oid) FROM pg_subscription s
                       JOIN tarn.local_site l ON l.subscription = s.subname
                      WHERE s.subdbid = (SELECT oid FROM pg_database
                                          WHERE datname = current_database())),
                    '0/0'::pg_lsn) - '0/0'::pg_lsn
$$;

CREATE FUNCTION tarn_1.sites() RETURNS TABLE (name text, role text, epoch int8)
LANGUAGE sql STABLE AS $$ SELECT s.name, s.role, s.epoch FROM tarn.site s ORDER BY s.name $$;

-- A site that was primary and whose differences are saved gives itself up: a join into it begins anew.
-- The fence stays until the tables of the mirror are there and guarded (guard_if_fenced()).
CREATE FUNCTION tarn_1.rejoin_give_up() RETURNS void
LANGUAGE plpgsql SET lock_timeout = '5s' AS $$
BEGIN
    PERFORM tarn_1.slot_drop(s.slot) FROM tarn_1.slots() s;
    DROP PUBLICATION IF EXISTS tarn;
    DELETE FROM tarn.promotion;
    UPDATE tarn.local_site
       SET role = 'mirror', state = 'JOINING', detail = NULL, ready_at = NULL, primary_url = NULL,
           former_bucket = NULL, subscription = 'tarn_' || name;
END $$;
