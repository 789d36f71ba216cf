-- The mirror's side: the subscription, its supervision, and the alarm that cannot be slept through.

-- Each beat of the primary must follow the one before. A number left out means that rows were left
-- out: a slot that was made again by hand loses them silently, and no error counter moves. This
-- runs inside the apply worker, so not even a burst of beats during catch-up is missed.
CREATE FUNCTION tarn_1.heartbeat_arrived() RETURNS trigger
LANGUAGE plpgsql SET search_path = pg_catalog AS $$
BEGIN
    IF NEW.seq <> OLD.seq + 1 OR NEW.epoch < OLD.epoch THEN
        UPDATE tarn.local_site
           SET state = 'LOST', lost_by = 'gap',
               detail = format('heartbeat %s of epoch %s followed %s of epoch %s: rows are missing',
                               NEW.seq, NEW.epoch, OLD.seq, OLD.epoch)
         WHERE role = 'mirror'
           -- Who waits for the epoch of a primary that went back need not wait any more.
           AND (state NOT IN ('LOST', 'REJOINING')
                OR state = 'LOST' AND lost_by = 'went_back' AND NEW.epoch > OLD.epoch);
    END IF;
    RETURN NULL;
END $$;

-- Watch the heartbeat. ENABLE ALWAYS: the apply worker fires no other triggers.
CREATE FUNCTION tarn_1.watch_heartbeat() RETURNS void
LANGUAGE plpgsql AS $$
BEGIN
    DROP TRIGGER IF EXISTS tarn_heartbeat ON tarn.heartbeat;
    CREATE TRIGGER tarn_heartbeat AFTER UPDATE ON tarn.heartbeat
        FOR EACH ROW EXECUTE FUNCTION tarn_1.heartbeat_arrived();
    ALTER TABLE tarn.heartbeat ENABLE ALWAYS TRIGGER tarn_heartbeat;
END $$;

-- This database begins to be the mirror _name. Repeating it, after an interrupted join, is fine.
-- _source_url: of the mirror that it follows instead of the primary; NULL: the primary itself.
CREATE FUNCTION tarn_1.mirror_begin(_name text, _local_bucket text, _origin_bucket text,
                                    _primary_url text, _source_url text)
RETURNS TABLE (system_identifier text)
LANGUAGE plpgsql AS $$
BEGIN
    INSERT INTO tarn.local_site AS l (name, role, state, local_bucket, origin_bucket, primary_url,
                                      source_url, subscription)
    VALUES (_name, 'mirror', 'JOINING', _local_bucket, _origin_bucket, _primary_url, _source_url,
            'tarn_' || _name)
    ON CONFLICT (only_row) DO UPDATE
        SET state = 'JOINING', local_bucket = excluded.local_bucket,
            origin_bucket = excluded.origin_bucket, primary_url = excluded.primary_url,
            source_url = excluded.source_url, subscription = excluded.subscription,
            detail = NULL, lost_by = NULL
      WHERE l.role = 'mirror' AND l.name = excluded.name AND l.ready_at IS NULL;
    IF NOT FOUND THEN
        RAISE EXCEPTION 'this database is another site already';
    END IF;
    PERFORM tarn_1.watch_heartbeat();
    PERFORM tarn_1.guard_if_fenced();
    -- Other mirrors may follow this one.
    PERFORM tarn_1.publish();
    RETURN QUERY SELECT tarn_1.system_identifier();
END $$;

-- Keep this session's statements and their parameters out of the server's log and statistics, as far
-- as the role may: one of them is a password. Undone by unhush().
CREATE FUNCTION tarn_1.hushed_settings() RETURNS TABLE (name text, value text)
LANGUAGE sql IMMUTABLE AS $$
    VALUES ('log_statement', 'none'), ('log_min_duration_statement', '-1'),
           ('log_min_duration_sample', '-1'), ('log_transaction_sample_rate', '0'),
           ('log_duration', 'off'), ('log_parameter_max_length', '0'),
           ('log_parameter_max_length_on_error', '0'), ('log_min_error_statement', 'panic'),
           ('debug_print_parse', 'off'), ('debug_print_rewritten', 'off'),
           ('debug_print_plan', 'off'), ('auto_explain.log_min_duration', '-1'),
           ('pg_stat_statements.track', 'none'), ('pgaudit.log', 'none')
$$;

CREATE FUNCTION tarn_1.hush() RETURNS void
LANGUAGE plpgsql AS $$
DECLARE
    _s record;
BEGIN
    FOR _s IN SELECT * FROM tarn_1.hushed_settings() LOOP
        BEGIN
            PERFORM set_config(_s.name, _s.value, false);
        EXCEPTION WHEN insufficient_privilege OR undefined_object THEN
            NULL;
        END;
    END LOOP;
END $$;

CREATE FUNCTION tarn_1.unhush() RETURNS void
LANGUAGE plpgsql AS $$
DECLARE
    _s record;
BEGIN
    FOR _s IN SELECT * FROM tarn_1.hushed_settings() LOOP
        BEGIN
            EXECUTE 'RESET ' || _s.name;
        EXCEPTION WHEN insufficient_privilege OR undefined_object THEN
            NULL;
        END;
    END LOOP;
END $$;

-- The statement that subscribes through the slot that has been made already.
CREATE FUNCTION tarn_1.subscribe_statement(_conninfo text) RETURNS TABLE (statement text)
LANGUAGE sql STABLE AS $$
    SELECT format('CREATE SUBSCRIPTION %I CONNECTION %L PUBLICATION tarn'
                  ' WITH (create_slot = false, slot_name = %L)', l.subscription, _conninfo,
                  l.subscription)
      FROM tarn.local_site l WHERE l.role = 'mirror'
$$;

-- Subscribe. Errors are raised anew without their context, which would show the connection string
-- with its password.
CREATE FUNCTION tarn_1.subscribe(_conninfo text) RETURNS void
LANGUAGE plpgsql AS $$
BEGIN
    EXECUTE (SELECT statement FROM tarn_1.subscribe_statement(tarn_1.guarded_conninfo(_conninfo)));
    PERFORM tarn_1.subscribed();
EXCEPTION WHEN OTHERS THEN
    RAISE EXCEPTION USING ERRCODE = SQLSTATE, MESSAGE = SQLERRM;
END $$;

-- The subscription is there, whoever made it.
CREATE FUNCTION tarn_1.subscribed() RETURNS void
LANGUAGE sql AS $$
    UPDATE tarn.local_site SET state = 'COPYING' WHERE role = 'mirror' AND state = 'JOINING'
$$;

CREATE FUNCTION tarn_1.has_subscription() RETURNS TABLE (is_there bool)
LANGUAGE sql STABLE AS $$
    SELECT EXISTS (SELECT FROM pg_subscription s JOIN tarn.local_site l ON s.subname = l.subscription
                    WHERE s.subdbid = (SELECT oid FROM pg_database
                                        WHERE datname = current_database()))
$$;

-- How to reach the server that is followed, with its secret: for this process's memory only. Where
-- the role may not read that, the URL without it. No row: there is no subscription.
CREATE FUNCTION tarn_1.conninfo() RETURNS TABLE (conninfo text)
LANGUAGE plpgsql STABLE AS $$
BEGIN
    RETURN QUERY
    SELECT s.subconninfo FROM pg_subscription s JOIN tarn.local_site l ON s.subname = l.subscription
     WHERE s.subdbid = (SELECT oid FROM pg_database WHERE datname = current_database());
EXCEPTION WHEN insufficient_privilege THEN
    RETURN QUERY
    SELECT coalesce(l.source_url, l.primary_url) FROM pg_subscription s
      JOIN tarn.local_site l ON s.subname = l.subscription
     WHERE s.subdbid = (SELECT oid FROM pg_database WHERE datname = current_database());
END $$;

-- The primary's URL, where this mirror follows another mirror; else it is the one that is followed.
CREATE FUNCTION tarn_1.home_url() RETURNS TABLE (url text)
LANGUAGE sql STABLE AS $$
    SELECT l.primary_url FROM tarn.local_site l WHERE l.source_url IS NOT NULL
$$;

-- Each table of the first copy: how far it is. state as in pg_subscription_rel, 'r' is ready.
CREATE FUNCTION tarn_1.copy_progress()
RETURNS TABLE (relation text, is_ready bool, bytes int8, tuples int8)
LANGUAGE sql STABLE SET search_path = '' AS $$
    SELECT r.srrelid::regclass::text, r.srsubstate = 'r', coalesce(p.bytes_processed, 0),
           coalesce(p.tuples_processed, 0)
      FROM pg_subscription_rel r
      JOIN pg_subscription s ON s.oid = r.srsubid
      JOIN tarn.local_site l ON l.subscription = s.subname
      LEFT JOIN pg_stat_progress_copy p ON p.relid = r.srrelid AND p.datname = current_database()
     WHERE s.subdbid = (SELECT oid FROM pg_database WHERE datname = current_database())
     ORDER BY 1
$$;

CREATE FUNCTION tarn_1.mark_seen(_name text) RETURNS TABLE (value int8)
LANGUAGE sql STABLE AS $$ SELECT m.value FROM tarn.mark m WHERE m.name = _name $$;

-- Every table is there: now, and not before, the orders to copy blocks may begin. A copied row
-- would otherwise be an order each, for a history that a cursor walks more cheaply.
CREATE FUNCTION tarn_1.mirror_copied() RETURNS void
LANGUAGE plpgsql AS $$
BEGIN
    IF (SELECT local_bucket IS NOT NULL FROM tarn.local_site WHERE role = 'mirror') THEN
        PERFORM tarn_1.slice_orders_begin();
    END IF;
END $$;

-- The marker has arrived: one state of the primary is here whole, and mounts may begin.
CREATE FUNCTION tarn_1.mirror_ready() RETURNS TABLE (state text)
LANGUAGE sql VOLATILE AS $$
    UPDATE tarn.local_site l
       SET ready_at = now(), state = CASE l.state WHEN 'LOST' THEN l.state ELSE 'FOLLOWING' END
     WHERE l.role = 'mirror' AND l.ready_at IS NULL
    RETURNING l.state
$$;

-- Note what the agent has found. LOST stays until the mirror is seeded again, whoever saw it.
CREATE FUNCTION tarn_1.mirror_state(_state text, _detail text) RETURNS TABLE (state text)
LANGUAGE sql VOLATILE AS $$
    UPDATE tarn.local_site l SET state = _state, detail = _detail
     WHERE l.role = 'mirror' AND l.state NOT IN ('LOST', 'REJOINING', 'LEFT')
       AND (l.state, l.detail) IS DISTINCT FROM (_state, _detail)
    RETURNING l.state
$$;

-- Errors of apply and of the first copy so far; the counts exist from PostgreSQL 15 on.
CREATE FUNCTION tarn_1.subscription_errors(_subscription oid, OUT apply int8, OUT sync int8)
LANGUAGE plpgsql STABLE AS $$
BEGIN
    IF to_regclass('pg_catalog.pg_stat_subscription_stats') IS NOT NULL THEN
        EXECUTE 'SELECT apply_error_count, sync_error_count FROM pg_stat_subscription_stats'
                ' WHERE subid = $1' INTO apply, sync USING _subscription;
    END IF;
END $$;

-- How far apply has come by its replication origin: what is on disk here. NULL where the role may
-- not ask.
CREATE FUNCTION tarn_1.applied_lsn(_subscription oid) RETURNS pg_lsn
LANGUAGE plpgsql STABLE AS $$
BEGIN
    RETURN (SELECT remote_lsn FROM pg_replication_origin_status
             WHERE external_id = 'pg_' || _subscription);
EXCEPTION WHEN insufficient_privilege THEN
    RETURN NULL;
END $$;

-- All that this site knows about itself, from its own database alone.
CREATE FUNCTION tarn_1.mirror_facts()
RETURNS TABLE (name text, role text, state text, detail text, is_ready bool, ready_at text,
               primary_url text, local_bucket text, origin_bucket text,
               subscription text, has_subscription bool, is_enabled bool, worker_pid int4,
               tables_total int4, tables_ready int4, apply_errors int8, sync_errors int8,
               received_lsn text, applied_lsn text, waiting_bytes int8, message_age_ms int8,
               epoch int8, heartbeat_seq int8, heartbeat_lsn text, heartbeat_age_ms int8,
               slices_waiting int8, slices_failing int8, source_url text,
               heartbeat_system text, heartbeat_timeline int8, heartbeat_xid int8, lost_by text)
LANGUAGE sql STABLE AS $$
    SELECT l.name, l.role, l.state, l.detail, l.ready_at IS NOT NULL, l.ready_at::text,
           l.primary_url, l.local_bucket, l.origin_bucket,
           l.subscription, s.oid IS NOT NULL, s.subenabled, w.pid,
           r.total::int4, r.ready::int4, x.apply, x.sync,
           w.received_lsn::text, o.lsn::text,
           greatest(w.received_lsn - o.lsn, 0)::int8,
           (extract(epoch FROM clock_timestamp() - w.last_msg_receipt_time) * 1000)::int8,
           h.epoch, h.seq, h.lsn::text,
           greatest((extract(epoch FROM clock_timestamp() - h.at) * 1000)::int8, 0),
           q.waiting, q.failing, l.source_url, h.system_identifier, h.timeline, h.xid,
           l.lost_by
      FROM tarn.local_site l
      LEFT JOIN pg_subscription s
             ON s.subname = l.subscription
            AND s.subdbid = (SELECT oid FROM pg_database WHERE datname = current_database())
      LEFT JOIN LATERAL (SELECT t.pid, t.received_lsn, t.last_msg_receipt_time
                           FROM pg_stat_subscription t
                          WHERE t.subid = s.oid AND t.relid IS NULL AND t.pid IS NOT NULL
                          ORDER BY t.received_lsn DESC NULLS LAST LIMIT 1) w ON true
      LEFT JOIN LATERAL tarn_1.subscription_errors(s.oid) x ON s.oid IS NOT NULL
      LEFT JOIN LATERAL (SELECT tarn_1.applied_lsn(s.oid) AS lsn) o ON s.oid IS NOT NULL
      LEFT JOIN LATERAL (SELECT count(*) AS total,
                                count(*) FILTER (WHERE t.srsubstate = 'r') AS ready
                           FROM pg_subscription_rel t WHERE t.srsubid = s.oid) r ON true
      LEFT JOIN LATERAL (SELECT b.* FROM tarn.heartbeat b
                          ORDER BY b.at DESC LIMIT 1) h ON true
      LEFT JOIN LATERAL (SELECT count(*) AS waiting,
                                count(*) FILTER (WHERE t.last_error IS NOT NULL) AS failing
                           FROM tarn.slice_state t) q ON true
$$;

-- Which of the tables that the primary publishes (tarn_1.published_names()) this mirror does not
-- follow, and whether they are here: what a repeated adopt has published since the join.
CREATE FUNCTION tarn_1.tables_unfollowed(_names text)
RETURNS TABLE (relation text, is_here bool)
LANGUAGE sql STABLE AS $$
    SELECT n.relation, to_regclass(n.relation) IS NOT NULL
      FROM jsonb_array_elements_text(_names::jsonb) AS n (relation)
     WHERE NOT EXISTS (SELECT FROM pg_subscription_rel r
                         JOIN pg_subscription s ON s.oid = r.srsubid
                         JOIN tarn.local_site l ON l.subscription = s.subname
                        WHERE s.subdbid = (SELECT oid FROM pg_database
                                            WHERE datname = current_database())
                          AND r.srrelid = to_regclass(n.relation))
     ORDER BY 1
$$;

-- The statement that follows them. PostgreSQL takes it outside of functions and transactions only.
CREATE FUNCTION tarn_1.refresh_statement() RETURNS TABLE (statement text)
LANGUAGE sql STABLE AS $$
    SELECT format('ALTER SUBSCRIPTION %I REFRESH PUBLICATION', subscription)
      FROM tarn.local_site WHERE role = 'mirror'
$$;

-- End the subscription without asking the primary; its slot is dropped over there. The tables stay,
-- and mounts are refused: this is no mirror any more, but a join here begins anew.
CREATE FUNCTION tarn_1.mirror_leave() RETURNS TABLE (had_subscription bool)
LANGUAGE plpgsql AS $$
DECLARE
    _name text := (SELECT subscription FROM tarn.local_site WHERE role = 'mirror');
    _had  bool := EXISTS (SELECT FROM pg_subscription s JOIN pg_database d ON d.oid = s.subdbid
                           WHERE s.subname = _name AND d.datname = current_database());
BEGIN
    IF _had AND NOT EXISTS (SELECT FROM pg_subscription
                             WHERE subname = _name AND pg_has_role(subowner, 'USAGE')) THEN
        RAISE EXCEPTION 'the subscription is another role''s, which has to run: ALTER SUBSCRIPTION %'
                        ' DISABLE; ALTER SUBSCRIPTION % SET (slot_name = NONE);'
                        ' DROP SUBSCRIPTION %;', quote_ident(_name), quote_ident(_name),
                        quote_ident(_name)
            USING ERRCODE = 'insufficient_privilege';
    END IF;
    IF _had THEN
        EXECUTE format('ALTER SUBSCRIPTION %I DISABLE', _name);
        EXECUTE format('ALTER SUBSCRIPTION %I SET (slot_name = NONE)', _name);
        EXECUTE format('DROP SUBSCRIPTION %I', _name);
    END IF;
    DELETE FROM tarn.primary_memory;
    UPDATE tarn.local_site SET state = 'LEFT', detail = NULL, lost_by = NULL, ready_at = NULL
     WHERE role = 'mirror';
    RETURN QUERY SELECT _had;
END $$;
