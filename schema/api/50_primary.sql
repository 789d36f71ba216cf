-- The primary's side: adoption, publication, heartbeat, slots, and what a joining mirror asks.

-- The tables that travel. Left out: what belongs to the sessions of one site (session2, flock,
-- plock, sustained) and what nobody at a mirror reads (change_log, delegation_token). A table that
-- an old volume does not have is left out as well; adopt() adds it once it is there.
CREATE FUNCTION tarn_1.replicated_tables() RETURNS TABLE (relation regclass)
LANGUAGE sql STABLE AS $$
    SELECT found.relation
      FROM unnest('{public.jfs_setting, public.jfs_counter, public.jfs_node, public.jfs_edge,
                    public.jfs_symlink, public.jfs_xattr, public.jfs_chunk, public.jfs_chunk_ref,
                    public.jfs_delslices, public.jfs_delfile, public.jfs_dir_stats,
                    public.jfs_dir_quota, public.jfs_user_group_quota, public.jfs_detached_node,
                    public.jfs_acl, tarn.site, tarn.heartbeat, tarn.slot, tarn.mark,
                    tarn.block_sum, tarn.token, tarn.warm_rule, tarn.job}'::text[])
               WITH ORDINALITY AS listed (name, position),
           LATERAL (SELECT to_regclass(listed.name)) AS found (relation)
     WHERE found.relation IS NOT NULL
     ORDER BY listed.position
$$;

-- Changes are found again at a mirror by what identifies a row to the file system, not by the
-- surrogate id: the change feed has to know the name that was deleted. Answers the tables changed.
CREATE FUNCTION tarn_1.set_identities() RETURNS SETOF text
LANGUAGE plpgsql AS $$
DECLARE
    _need record;
BEGIN
    FOR _need IN
        SELECT c.oid::regclass AS relation, x.relname AS index
          FROM (VALUES ('jfs_edge', '{parent,name}'::name[]), ('jfs_xattr', '{inode,name}'),
                       ('jfs_chunk', '{inode,indx}')) AS wanted (relation, columns)
          JOIN pg_class c ON c.oid = to_regclass('public.' || wanted.relation)
          CROSS JOIN LATERAL (
               SELECT i.indexrelid, i.indisreplident
                 FROM pg_index i
                WHERE i.indrelid = c.oid AND i.indisunique AND i.indimmediate AND i.indisvalid
                  AND i.indpred IS NULL AND i.indexprs IS NULL
                  AND wanted.columns = (SELECT array_agg(a.attname ORDER BY key.position)
                                          FROM unnest(i.indkey::int2[]) WITH ORDINALITY
                                                   AS key (number, position)
                                          JOIN pg_attribute a ON a.attrelid = i.indrelid
                                           AND a.attnum = key.number AND a.attnotnull)
                ORDER BY i.indisreplident DESC, i.indexrelid LIMIT 1) AS chosen
          JOIN pg_class x ON x.oid = chosen.indexrelid
         WHERE NOT (c.relreplident = 'i' AND chosen.indisreplident)
    LOOP
        EXECUTE format('ALTER TABLE %s REPLICA IDENTITY USING INDEX %I',
                       _need.relation, _need.index);
        RETURN NEXT format('replica identity of %s is "%s"', _need.relation, _need.index);
    END LOOP;
END $$;

-- An explicit list, and never TRUNCATE. Answers whether anything changed.
CREATE FUNCTION tarn_1.publish() RETURNS bool
LANGUAGE plpgsql AS $$
DECLARE
    _list text := (SELECT string_agg(relation::text, ', ') FROM tarn_1.replicated_tables());
BEGIN
    IF NOT EXISTS (SELECT FROM pg_publication WHERE pubname = 'tarn') THEN
        EXECUTE format('CREATE PUBLICATION tarn FOR TABLE %s'
                       ' WITH (publish = ''insert, update, delete'')', _list);
        RETURN true;
    END IF;
    IF NOT EXISTS ((SELECT relation FROM tarn_1.replicated_tables()
                    EXCEPT SELECT relation FROM tarn_1.published_tables())
                   UNION ALL
                   (SELECT relation FROM tarn_1.published_tables()
                    EXCEPT SELECT relation FROM tarn_1.replicated_tables()))
       AND EXISTS (SELECT FROM pg_publication
                    WHERE pubname = 'tarn' AND NOT puballtables AND NOT pubtruncate
                      AND pubinsert AND pubupdate AND pubdelete) THEN
        RETURN false;
    END IF;
    EXECUTE format('ALTER PUBLICATION tarn SET TABLE %s', _list);
    ALTER PUBLICATION tarn SET (publish = 'insert, update, delete');
    RETURN true;
END $$;

-- What mirrors follow.
CREATE FUNCTION tarn_1.published_tables() RETURNS TABLE (relation regclass)
LANGUAGE sql STABLE AS $$
    SELECT r.prrelid::regclass
      FROM pg_publication_rel r JOIN pg_publication p ON p.oid = r.prpubid AND p.pubname = 'tarn'
$$;

-- Which cluster this is; a restored copy elsewhere has another number.
CREATE FUNCTION tarn_1.system_identifier() RETURNS text
LANGUAGE sql STABLE AS $$ SELECT system_identifier::text FROM pg_control_system() $$;

-- The timeline that is written now; the control file learns of a new one a checkpoint later.
CREATE FUNCTION tarn_1.timeline() RETURNS int8
LANGUAGE sql STABLE AS $$
    SELECT ('x' || left(pg_walfile_name(pg_current_wal_lsn()), 8))::bit(32)::int8
$$;

-- Where this server is, and in which epoch the volume, as far as is known here.
CREATE FUNCTION tarn_1.position()
RETURNS TABLE (epoch int8, system_identifier text, timeline int8, lsn text, xid int8)
LANGUAGE sql STABLE AS $$
    SELECT coalesce((SELECT max(s.epoch) FROM tarn.site s), 0), tarn_1.system_identifier(),
           tarn_1.timeline(), pg_current_wal_lsn()::text,
           pg_snapshot_xmax(pg_current_snapshot())::text::int8
$$;

-- Make this database the primary named _name (NULL: as it is called, at first 'primary'). Repeating
-- it changes nothing; answers one row for each thing that it did change. A short lock_timeout:
-- waiting behind a long transaction of a stock client would stop every other client meanwhile.
CREATE FUNCTION tarn_1.adopt(_name text) RETURNS TABLE (step text)
LANGUAGE plpgsql SET lock_timeout = '5s' AS $$
DECLARE
    _old  text := (SELECT name FROM tarn.local_site);
    _site text := coalesce(_name, _old, 'primary');
BEGIN
    IF _old <> _site THEN
        -- Mirrors know the primary's rows by their name.
        IF EXISTS (SELECT FROM tarn.site WHERE role = 'mirror') THEN
            RAISE EXCEPTION 'site "%" has mirrors and cannot be renamed to "%"', _old, _site;
        END IF;
        UPDATE tarn.local_site SET name = _site;
        UPDATE tarn.site SET name = _site WHERE name = _old;
        UPDATE tarn.heartbeat SET site = _site WHERE site = _old;
        step := format('site "%s" is now called "%s"', _old, _site);
        RETURN NEXT;
    END IF;
    FOR step IN SELECT * FROM tarn_1.set_identities() LOOP
        RETURN NEXT;
    END LOOP;
    IF _old IS NULL THEN
        INSERT INTO tarn.local_site (name, role, state, ready_at)
        VALUES (_site, 'primary', 'PRIMARY', now());
        INSERT INTO tarn.site (name, role, epoch, system_identifier)
        VALUES (_site, 'primary', 0, tarn_1.system_identifier());
        INSERT INTO tarn.heartbeat (site, epoch, seq, at, lsn)
        VALUES (_site, 0, 0, clock_timestamp(), pg_current_wal_insert_lsn());
        step := format('site "%s" is the primary, epoch 0', _site);
        RETURN NEXT;
    END IF;
    -- Stock clients make the statistics of the root when they miss them, by counting; what others
    -- have not flushed yet would then be counted twice. Now is a quieter moment than the first write.
    IF (SELECT (value::jsonb ->> 'DirStats')::bool FROM public.jfs_setting WHERE name = 'format')
       AND NOT EXISTS (SELECT FROM public.jfs_dir_stats WHERE inode = 1) THEN
        PERFORM tarn_1.recount(1);
        step := 'statistics of the root are counted';
        RETURN NEXT;
    END IF;
    PERFORM tarn_1.flags_refresh();
    IF tarn_1.publish() THEN
        step := 'publication "tarn" lists ' || (SELECT count(*) FROM tarn_1.replicated_tables())
                || ' tables';
        RETURN NEXT;
    END IF;
END $$;

-- One agent at a time, for as long as the connection lives.
CREATE FUNCTION tarn_1.agent_lock() RETURNS TABLE (is_ours bool)
LANGUAGE sql VOLATILE AS $$ SELECT pg_try_advisory_lock(hashtext('tarn'), 3) $$;

-- The beat of each second. The number has no gap within an epoch, and one row stands for all
-- commits before it: a mirror that misses a number has missed rows.
CREATE FUNCTION tarn_1.beat() RETURNS TABLE (epoch int8, seq int8, lsn text)
LANGUAGE sql VOLATILE AS $$
    UPDATE tarn.heartbeat h
       SET seq = h.seq + 1, at = clock_timestamp(), lsn = pg_current_wal_insert_lsn(),
           epoch = s.epoch, system_identifier = tarn_1.system_identifier(),
           timeline = tarn_1.timeline(),
           xid = pg_snapshot_xmax(pg_current_snapshot())::text::int8
      FROM tarn.local_site l JOIN tarn.site s ON s.name = l.name
     WHERE h.site = l.name AND l.role = 'primary'
    RETURNING h.epoch, h.seq, h.lsn::text
$$;

-- Who holds this database's numbers: compared with the object tarn/epoch of the bucket.
CREATE FUNCTION tarn_1.epoch()
RETURNS TABLE (site text, epoch int8, system_identifier text, timeline int8, next_chunk int8)
LANGUAGE sql STABLE AS $$
    SELECT s.name, s.epoch, tarn_1.system_identifier(),
           (SELECT timeline_id::int8 FROM pg_control_checkpoint()),
           (SELECT value FROM public.jfs_counter WHERE name = 'nextChunk')
      FROM tarn.local_site l JOIN tarn.site s ON s.name = l.name
     WHERE l.role = 'primary'
$$;

-- Our slots, one row each; the agent adds how many seconds each lags.
CREATE FUNCTION tarn_1.slots()
RETURNS TABLE (slot text, site text, active bool, wal_status text, confirmed_lsn text,
               current_lsn text, lag_bytes int8, safe_bytes int8, lag_seconds float8)
LANGUAGE sql STABLE AS $$
    SELECT s.slot_name::text, substr(s.slot_name, 6), s.active, s.wal_status,
           s.confirmed_flush_lsn::text, pg_current_wal_lsn()::text,
           greatest(pg_current_wal_lsn() - s.confirmed_flush_lsn, 0)::int8, s.safe_wal_size,
           CASE WHEN s.confirmed_flush_lsn >= pg_current_wal_lsn() THEN 0
                ELSE extract(epoch FROM r.replay_lag) END::float8
      FROM pg_replication_slots s LEFT JOIN pg_stat_replication r ON r.pid = s.active_pid
     WHERE s.database = current_database() AND s.plugin = 'pgoutput' AND NOT s.temporary
       AND s.slot_name LIKE 'tarn\_%'
     ORDER BY s.slot_name
$$;

CREATE FUNCTION tarn_1.primary_status() RETURNS TABLE (status text)
LANGUAGE plpgsql STABLE AS $$
BEGIN
    RETURN QUERY
    SELECT json_build_object(
        'site', l.name, 'role', l.role, 'state', l.state,
        'volume', (SELECT json_build_object('name', f ->> 'Name', 'uuid', f ->> 'UUID',
                                            'trash_days', (f ->> 'TrashDays')::int)
                     FROM (SELECT value::jsonb FROM public.jfs_setting WHERE name = 'format')
                          AS setting (f)),
        'epoch', s.epoch, 'system_identifier', s.system_identifier,
        'agent_running', EXISTS (SELECT FROM pg_locks
                                  WHERE locktype = 'advisory' AND granted AND objsubid = 2
                                    AND database = (SELECT oid FROM pg_database
                                                     WHERE datname = current_database())
                                    AND classid = (hashtext('tarn')::int8 & 4294967295)::oid
                                    AND objid = 3),
        'heartbeat', (SELECT json_build_object('seq', h.seq, 'lsn', h.lsn,
                             'age_seconds', round(extract(epoch FROM clock_timestamp() - h.at), 3))
                        FROM tarn.heartbeat h WHERE h.site = l.name),
        'max_slot_wal_keep_size', current_setting('max_slot_wal_keep_size'),
        'mirrors', coalesce((SELECT json_agg(json_build_object('name', m.name, 'epoch', m.epoch,
                                                               'joined_at', m.joined_at)
                                             ORDER BY m.name)
                               FROM tarn.site m WHERE m.role = 'mirror'), '[]'),
        'slots', coalesce((SELECT json_agg(to_json(w)) FROM tarn_1.slot_watch() w), '[]'),
        'given_up', coalesce((SELECT json_agg(json_build_object('site', g.site, 'lsn', g.lsn,
                                                                'at', g.at) ORDER BY g.site)
                                FROM tarn.given_up g), '[]'))::text
      FROM tarn.local_site l JOIN tarn.site s ON s.name = l.name;
END $$;

---------------------------------------------------------------- what a mirror asks its primary

-- The functions that write for a mirror run as their owner, so that the role of a mirror needs no
-- more than REPLICATION and SELECT. Raises for whoever has neither that nor the right to write
-- markers by himself.
CREATE FUNCTION tarn_1.require_site() RETURNS void
LANGUAGE plpgsql STABLE SET search_path = pg_catalog, pg_temp AS $$
BEGIN
    IF NOT has_table_privilege(session_user, 'tarn.mark', 'INSERT')
       AND NOT (SELECT rolsuper OR rolreplication FROM pg_roles WHERE rolname = session_user) THEN
        RAISE EXCEPTION 'role "%" is none that mirrors follow as', session_user
            USING ERRCODE = 'insufficient_privilege', HINT = 'ALTER ROLE NAME REPLICATION';
    END IF;
END $$;

CREATE FUNCTION tarn_1.clock() RETURNS TABLE (us int8, system_identifier text)
LANGUAGE sql VOLATILE AS $$
    SELECT (extract(epoch FROM clock_timestamp()) * 1000000)::int8, tarn_1.system_identifier()
$$;

-- Note the mirror in the list of sites. Answers false when the name belongs to another cluster.
CREATE FUNCTION tarn_1.register(_name text, _system text) RETURNS TABLE (is_ours bool)
LANGUAGE plpgsql SECURITY DEFINER SET search_path = pg_catalog, pg_temp AS $$
BEGIN
    PERFORM tarn_1.require_site();
    -- From an earlier life behind another mirror; it would stand for a slot.
    DELETE FROM tarn.follower_report WHERE site = _name;
    INSERT INTO tarn.site (name, role, epoch, system_identifier)
    SELECT _name, 'mirror', s.epoch, _system
      FROM tarn.local_site l JOIN tarn.site s ON s.name = l.name
    ON CONFLICT (name) DO NOTHING;
    IF FOUND THEN
        PERFORM tarn_1.number_site(_name);
    END IF;
    RETURN QUERY SELECT EXISTS (SELECT FROM tarn.site
                                 WHERE name = _name AND role = 'mirror'
                                   AND system_identifier = _system);
END $$;

-- Drop the slot, ending whoever still reads from it.
CREATE FUNCTION tarn_1.slot_drop(_slot text) RETURNS TABLE (is_dropped bool)
LANGUAGE plpgsql AS $$
DECLARE
    _pid int;
BEGIN
    FOR _attempt IN 1 .. 50 LOOP
        SELECT active_pid INTO _pid FROM pg_replication_slots WHERE slot_name = _slot;
        IF NOT FOUND THEN
            RETURN QUERY SELECT _attempt > 1;
            RETURN;
        END IF;
        PERFORM pg_terminate_backend(_pid) WHERE _pid IS NOT NULL;
        BEGIN
            PERFORM pg_drop_replication_slot(_slot);
        EXCEPTION WHEN object_in_use THEN
            PERFORM pg_sleep(0.1);
        END;
    END LOOP;
    RAISE EXCEPTION 'replication slot "%" stays in use', _slot;
END $$;

-- The mirror's slot, apart from CREATE SUBSCRIPTION: which could not run in a transaction, and
-- would wait for itself where both databases are in one cluster. Must be the first statement of
-- its transaction.
CREATE FUNCTION tarn_1.slot_make(_slot text) RETURNS TABLE (lsn text)
LANGUAGE sql VOLATILE AS $$
    SELECT made.lsn::text FROM pg_create_logical_replication_slot(_slot, 'pgoutput') AS made
$$;

-- NULL in wal_status: there is no such slot. tables: how many are published.
CREATE FUNCTION tarn_1.slot_of(_slot text)
RETURNS TABLE (active bool, wal_status text, lag_bytes int8, current_lsn text, tables int4)
LANGUAGE sql STABLE AS $$
    SELECT s.active, s.wal_status, s.lag_bytes, pg_current_wal_lsn()::text,
           (SELECT count(*)::int4 FROM tarn_1.published_tables())
      FROM (SELECT 1) AS one LEFT JOIN tarn_1.slots() s ON s.slot = _slot
$$;

CREATE FUNCTION tarn_1.unregister(_name text) RETURNS TABLE (is_gone bool)
LANGUAGE sql VOLATILE SECURITY DEFINER SET search_path = pg_catalog, pg_temp AS $$
    SELECT tarn_1.require_site();
    DELETE FROM tarn.follower_report WHERE site = _name;
    DELETE FROM tarn.site WHERE name = _name AND role = 'mirror' RETURNING true
$$;

-- A mirror of a mirror has no slot here, and says by itself how far it has come: deletions wait for
-- it as for the others. A site that is not registered says nothing.
CREATE FUNCTION tarn_1.follower_report(_site text, _lsn text) RETURNS TABLE (is_noted bool)
LANGUAGE plpgsql SECURITY DEFINER SET search_path = pg_catalog, pg_temp AS $$
BEGIN
    PERFORM tarn_1.require_site();
    INSERT INTO tarn.follower_report AS r (site, lsn)
    SELECT s.name, _lsn::pg_lsn FROM tarn.site s WHERE s.name = _site AND s.role = 'mirror'
    ON CONFLICT (site) DO UPDATE SET lsn = excluded.lsn, reported_at = excluded.reported_at;
    RETURN QUERY SELECT FOUND;
END $$;

-- How much was written here since a beat that a mirror has: _lsn and _xid are the beat's. The beat
-- itself and what other databases of the server did count as well, so these are bounds.
CREATE FUNCTION tarn_1.written_since(_lsn text, _xid int8)
RETURNS TABLE (bytes int8, transactions int8)
LANGUAGE sql STABLE AS $$
    SELECT greatest(pg_current_wal_lsn() - _lsn::pg_lsn, 0)::int8,
           greatest(pg_snapshot_xmax(pg_current_snapshot())::text::int8 - _xid, 0)
$$;

-- Move a marker on: whoever reads the value, or a higher one, has all that was committed before.
CREATE FUNCTION tarn_1.mark(_name text) RETURNS TABLE (value int8, epoch int8)
LANGUAGE sql VOLATILE SECURITY DEFINER SET search_path = pg_catalog, pg_temp AS $$
    SELECT tarn_1.require_site();
    INSERT INTO tarn.mark AS m (name, value, at, epoch, system_identifier, timeline, lsn)
    SELECT _name, 1, clock_timestamp(), p.epoch, p.system_identifier, p.timeline,
           pg_current_wal_insert_lsn()
      FROM tarn_1.position() p
    ON CONFLICT (name) DO UPDATE
        SET value = m.value + 1, at = excluded.at, epoch = excluded.epoch,
            system_identifier = excluded.system_identifier, timeline = excluded.timeline,
            lsn = excluded.lsn
    RETURNING m.value, m.epoch
$$;

-- Bytes of each published table, and its rows as the planner knows them, for the progress of the
-- first copy. The empty search_path makes
-- names come out in full, here and below: two sites compare them.
CREATE FUNCTION tarn_1.table_sizes() RETURNS TABLE (relation text, bytes int8, tuples int8)
LANGUAGE sql STABLE SET search_path = '' AS $$
    SELECT t.relation::text, pg_table_size(t.relation), greatest(c.reltuples, 0)::int8
      FROM tarn_1.replicated_tables() t JOIN pg_class c ON c.oid = t.relation
$$;

-- Over how many buckets blocks are spread, 0: one. A mirror's own bucket has as many.
CREATE FUNCTION tarn_1.shards() RETURNS TABLE (shards int4)
LANGUAGE sql STABLE AS $$
    SELECT coalesce((value::jsonb ->> 'Shards')::int4, 0) FROM public.jfs_setting
     WHERE name = 'format'
$$;

-- The statements that make the volume's tables (_only: that one) as they are here: widened or added
-- columns, defaults, sequences, keys, all indexes and the replica identity. Tables that are not
-- published are made too, so that a stock read-only client and our functions find what they name.
CREATE FUNCTION tarn_1.volume_ddl(_only text) RETURNS TABLE (ddl text)
LANGUAGE sql STABLE SET search_path = '' AS $$
    WITH tables AS (
        SELECT c.oid, c.oid::regclass AS relation, c.relreplident
          FROM pg_class c
         WHERE c.relnamespace = 'public'::regnamespace AND c.relkind = 'r'
           AND c.relname LIKE 'jfs\_%'
           AND (_only IS NULL OR c.oid = to_regclass(_only))
    ), columns AS (
        SELECT a.attrelid, a.attnum, a.attname,
               format_type(a.atttypid, a.atttypmod) AS type, a.attnotnull,
               a.attidentity, a.attgenerated,
               pg_get_expr(d.adbin, d.adrelid) AS expression,
               CASE WHEN a.attcollation <> t.typcollation THEN l.oid::regcollation END
                   AS collated
          FROM tables
          JOIN pg_attribute a
            ON a.attrelid = tables.oid AND a.attnum > 0 AND NOT a.attisdropped
          JOIN pg_type t ON t.oid = a.atttypid
          LEFT JOIN pg_collation l ON l.oid = a.attcollation
          LEFT JOIN pg_attrdef d ON d.adrelid = a.attrelid AND d.adnum = a.attnum
    ), sequences AS (
        SELECT s.seqrelid::regclass AS name, s.*,
               dep.refobjid::regclass AS owner, a.attname
          FROM pg_depend dep
          JOIN tables ON tables.oid = dep.refobjid
          JOIN pg_sequence s ON s.seqrelid = dep.objid
          JOIN pg_attribute a
            ON a.attrelid = dep.refobjid AND a.attnum = dep.refobjsubid
         WHERE dep.classid = 'pg_class'::regclass AND dep.deptype = 'a'
    ), statements (step, ddl) AS (
        SELECT 1, format('CREATE SEQUENCE %s AS %s INCREMENT %s MINVALUE %s MAXVALUE %s'
                                    ' START %s CACHE %s', name,
                                    format_type(seqtypid, NULL), seqincrement, seqmin,
                                    seqmax, seqstart, seqcache)
          FROM sequences
        UNION ALL
        SELECT 2, format('CREATE TABLE %s (%s)', tables.relation,
                   (SELECT string_agg(
                               format('%I %s', attname, type)
                               || coalesce(' COLLATE ' || collated::text, '')
                               || CASE WHEN attgenerated <> '' THEN
                                           ' GENERATED ALWAYS AS (' || expression || ') STORED'
                                       WHEN expression IS NOT NULL THEN ' DEFAULT ' || expression
                                       ELSE '' END
                               || CASE attidentity
                                      WHEN 'a' THEN ' GENERATED ALWAYS AS IDENTITY'
                                      WHEN 'd' THEN ' GENERATED BY DEFAULT AS IDENTITY'
                                      ELSE '' END
                               || CASE WHEN attnotnull THEN ' NOT NULL' ELSE '' END,
                               ', ' ORDER BY attnum)
                      FROM columns WHERE attrelid = tables.oid))
          FROM tables
        UNION ALL
        SELECT 3, format('ALTER SEQUENCE %s OWNED BY %s.%I', name, owner, attname)
          FROM sequences
        UNION ALL
        SELECT 4, format('ALTER TABLE %s ADD CONSTRAINT %I %s', tables.relation,
                                    k.conname, pg_get_constraintdef(k.oid))
          FROM tables
          JOIN pg_constraint k ON k.conrelid = tables.oid AND k.contype IN ('p', 'u', 'c')
        UNION ALL
        SELECT 5, pg_get_indexdef(i.indexrelid)
          FROM tables JOIN pg_index i ON i.indrelid = tables.oid
         WHERE NOT EXISTS (SELECT FROM pg_constraint k
                            WHERE k.conindid = i.indexrelid AND k.contype IN ('p', 'u'))
        UNION ALL
        SELECT 6, format('ALTER TABLE %s REPLICA IDENTITY USING INDEX %I',
                                    tables.relation, x.relname)
          FROM tables
          JOIN pg_index i ON i.indrelid = tables.oid AND i.indisreplident
          JOIN pg_class x ON x.oid = i.indexrelid
         WHERE tables.relreplident = 'i'
    )
    SELECT string_agg(statements.ddl, E';\n' ORDER BY step, statements.ddl) || E';\n'
      FROM statements
$$;

-- The names of the published tables, as JSON: what a mirror compares with what it follows.
CREATE FUNCTION tarn_1.published_names() RETURNS TABLE (names text)
LANGUAGE sql STABLE SET search_path = '' AS $$
    SELECT json_agg(relation::text)::text FROM tarn_1.published_tables()
$$;

-- The columns of the published tables, as JSON: what a mirror compares its own with. missing: what
-- rows that are older than the column hold; is_computed: the table was written anew for it, so that
-- each may hold something else.
CREATE FUNCTION tarn_1.published_columns() RETURNS TABLE (columns text)
LANGUAGE sql STABLE SET search_path = '' AS $$
    SELECT json_agg(json_build_object(
               'relation', t.relation::text, 'name', a.attname,
               'type', format_type(a.atttypid, a.atttypmod),
               'default', CASE WHEN a.attgenerated = '' THEN
                              pg_get_expr(d.adbin, d.adrelid) END,
               'missing', CASE WHEN a.atthasmissing THEN a.attmissingval::text END,
               'is_generated', a.attgenerated <> '',
               'is_computed', a.atthasdef AND NOT a.atthasmissing,
               'not_null', a.attnotnull) ORDER BY a.attrelid, a.attnum)::text
      FROM tarn_1.published_tables() t
      JOIN pg_attribute a
        ON a.attrelid = t.relation AND a.attnum > 0 AND NOT a.attisdropped
      LEFT JOIN pg_attrdef d ON d.adrelid = a.attrelid AND d.adnum = a.attnum
$$;
