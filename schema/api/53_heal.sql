-- How a mirror notices what PostgreSQL does not tell it, and how a copy is made anew beside the one
-- that serves.
--
--   lost_by     what happened                                                   copied anew by itself
--   gap         a heartbeat is missing: rows were left out                      yes
--   slot        the slot is lost, gone, or was made again                       yes
--   went_back   the primary was restored from an older state                    once its epoch is raised
--   identity    there is another cluster, or another volume, at that address    never: a person decides
--   given_up    deletions did not wait for this mirror                          no: it heals by catching up

---------------------------------------------------------------------- what a primary is asked for

-- Since when this server counts: a crash makes all counts begin anew.
CREATE FUNCTION tarn_1.counted_since() RETURNS timestamptz
LANGUAGE sql STABLE AS $$ SELECT stats_reset FROM pg_stat_bgwriter $$;

-- Where the timeline that is written now left the one before; NULL where the role may not read that,
-- and on the first.
CREATE FUNCTION tarn_1.timeline_begin(_timeline int8) RETURNS pg_lsn
LANGUAGE plpgsql STABLE AS $$
DECLARE
    _path text := format('pg_wal/%s.history', upper(lpad(to_hex(_timeline), 8, '0')));
BEGIN
    RETURN (SELECT split_part(line, E'\t', 2)::pg_lsn
              FROM regexp_split_to_table(pg_read_file(_path, 0, 1000000, true), E'\n')
                   WITH ORDINALITY AS history (line, position)
             WHERE line ~ '^[0-9]+\t' ORDER BY position DESC LIMIT 1);
EXCEPTION WHEN insufficient_privilege THEN
    RETURN NULL;
END $$;

-- All that the mirror _site with the slot _slot compares with what it remembers, as JSON. The
-- position is one that is on disk: it never goes back, unless the server does.
CREATE FUNCTION tarn_1.primary_says(_slot text, _site text) RETURNS TABLE (said text)
LANGUAGE sql STABLE AS $$
    SELECT json_build_object(
        'site', l.name, 'role', l.role,
        'epoch', (SELECT s.epoch FROM tarn.site s WHERE s.name = l.name),
        'uuid', (SELECT value::jsonb ->> 'UUID' FROM public.jfs_setting WHERE name = 'format'),
        'trash_days', (SELECT (value::jsonb ->> 'TrashDays')::int8 FROM public.jfs_setting
                        WHERE name = 'format'),
        'system_identifier', tarn_1.system_identifier(),
        'timeline', t.timeline, 'timeline_begin', tarn_1.timeline_begin(t.timeline),
        'lsn', pg_current_wal_flush_lsn(),
        'counted_since', tarn_1.counted_since(),
        'slot', (SELECT json_build_object('count', c.total_txns, 'was_reset', c.stats_reset IS NOT NULL)
                   FROM pg_stat_replication_slots c JOIN pg_replication_slots p USING (slot_name)
                  WHERE c.slot_name = _slot),
        'given_up', (SELECT json_build_object('lsn', g.lsn, 'at', g.at)
                       FROM tarn.given_up g WHERE g.site = _site))::text
      FROM tarn.local_site l, (SELECT tarn_1.timeline()) AS t (timeline)
$$;

-- A mirror says which version of the tarn.* tables it has.
CREATE FUNCTION tarn_1.site_reports(_site text, _version int4) RETURNS void
LANGUAGE sql VOLATILE AS $$
    INSERT INTO tarn.site_version AS v (site, version, heard_at)
    VALUES (_site, _version, clock_timestamp())
    ON CONFLICT (site) DO UPDATE SET version = excluded.version, heard_at = excluded.heard_at
$$;

-- Leave a gap in the heartbeat on purpose: whoever has followed this database before it was restored
-- has rows that are not here, and must learn of it even when the numbers happen to fit.
CREATE FUNCTION tarn_1.beat_break() RETURNS void
LANGUAGE sql VOLATILE AS $$
    UPDATE tarn.heartbeat h SET seq = h.seq + 1000000, epoch = s.epoch, at = clock_timestamp(),
                                lsn = pg_current_wal_insert_lsn()
      FROM tarn.local_site l JOIN tarn.site s ON s.name = l.name WHERE h.site = l.name
$$;

-- Mirrors that have passed what was deleted without them, and those that have left, are forgiven.
CREATE FUNCTION tarn_1.forgive() RETURNS void
LANGUAGE sql VOLATILE AS $$
    DELETE FROM tarn.given_up g
     WHERE NOT EXISTS (SELECT FROM tarn.follower f
                        WHERE f.site = g.site AND (f.before IS NULL OR f.before < g.lsn))
$$;

------------------------------------------------------------------------- what a mirror notices

-- Rows are missing here, or may be: stays until this copy is replaced. The first reason is kept, but
-- for the one that would pass by itself.
CREATE FUNCTION tarn_1.lose(_by text, _why text) RETURNS TABLE (is_new bool)
LANGUAGE sql VOLATILE AS $$
    UPDATE tarn.local_site l SET state = 'LOST', lost_by = _by, detail = _why
     WHERE l.role = 'mirror'
       AND (l.state NOT IN ('LOST', 'REJOINING', 'LEFT')
            OR l.state = 'LOST' AND l.lost_by = 'given_up' AND _by <> 'given_up')
    RETURNING true
$$;

-- What the primary says about our slot that cannot be true of the slot we follow; NULL: nothing.
-- Counts are compared only where both were counted without a break.
CREATE FUNCTION tarn_1.slot_was_remade(_old tarn.primary_memory, _said jsonb) RETURNS text
LANGUAGE sql STABLE AS $$
    SELECT format('the replication slot was dropped and made again: it has decoded %s transactions,'
                  ' and ours had decoded %s; rows between are missing',
                  _said #>> '{slot,count}', _old.slot_count)
     WHERE (_said #>> '{slot,count}')::int8 < _old.slot_count
       AND NOT (_said #>> '{slot,was_reset}')::bool
       AND (_said ->> 'counted_since')::timestamptz = _old.counted_since
$$;

-- Does the primary's timeline leave out what is applied here? NULL: no.
CREATE FUNCTION tarn_1.timeline_left(_old tarn.primary_memory, _said jsonb, _applied pg_lsn)
RETURNS text
LANGUAGE sql STABLE AS $$
    SELECT format('the primary is on timeline %s, which %s; %s of timeline %s is applied here',
                  _said ->> 'timeline',
                  coalesce('began at ' || (_said ->> 'timeline_begin'),
                           'began at a position that its role may not read'),
                  _applied, _old.timeline)
     WHERE (_said ->> 'timeline')::int8 <> _old.timeline
       AND coalesce(_applied > (_said ->> 'timeline_begin')::pg_lsn, true)
$$;

-- Compare what the primary says (tarn_1.primary_says()) with what is remembered, and remember it.
-- _applied: how far this mirror had come before it asked. Answers a row when this copy is lost.
CREATE FUNCTION tarn_1.primary_heard(_text text, _applied pg_lsn)
RETURNS TABLE (lost_by text, why text)
LANGUAGE plpgsql AS $$
DECLARE
    _said jsonb := _text::jsonb;
    _lsn  pg_lsn := (_text::jsonb ->> 'lsn')::pg_lsn;
    _uuid text := (SELECT value::jsonb ->> 'UUID' FROM public.jfs_setting WHERE name = 'format');
    _old  tarn.primary_memory;
BEGIN
    SELECT * INTO _old FROM tarn.primary_memory;
    lost_by := 'identity';
    IF _said ->> 'uuid' <> _uuid THEN
        why := format('the primary holds another volume, UUID %s instead of %s',
                      _said ->> 'uuid', _uuid);
    -- After a promotion another site is asked, and nothing said before counts.
    ELSIF _old.site = _said ->> 'site' THEN
        IF _old.system_identifier <> _said ->> 'system_identifier' THEN
            why := format('the primary "%s" is another cluster now, %s instead of %s', _old.site,
                          _said ->> 'system_identifier', _old.system_identifier);
        ELSE
            lost_by := 'went_back';
            why := CASE WHEN _lsn < greatest(_old.lsn, _applied) THEN
                format('the primary is at %s and was at %s: it was restored from an older state',
                       _lsn, greatest(_old.lsn, _applied)) END;
            why := coalesce(why, tarn_1.timeline_left(_old, _said, _applied));
        END IF;
        IF why IS NULL THEN
            lost_by := 'slot';
            why := tarn_1.slot_was_remade(_old, _said);
        END IF;
    END IF;
    IF why IS NOT NULL THEN
        RETURN NEXT;
        RETURN;
    END IF;
    INSERT INTO tarn.primary_memory (site, system_identifier, timeline, lsn, slot_count,
                                     counted_since)
    VALUES (_said ->> 'site', _said ->> 'system_identifier', (_said ->> 'timeline')::int8, _lsn,
            (_said #>> '{slot,count}')::int8, (_said ->> 'counted_since')::timestamptz)
    ON CONFLICT (only_row) DO UPDATE
        SET site = excluded.site, system_identifier = excluded.system_identifier,
            timeline = excluded.timeline, lsn = excluded.lsn, slot_count = excluded.slot_count,
            counted_since = excluded.counted_since, heard_at = clock_timestamp();
    -- Deletions that did not wait for us end what we may serve, until we are past them.
    IF _applied < (_said #>> '{given_up,lsn}')::pg_lsn THEN
        lost_by := 'given_up';
        why := format('the primary has not waited for this mirror since %s: objects of what is read'
                      ' here may be gone, until %s is applied', _said #>> '{given_up,at}',
                      _said #>> '{given_up,lsn}');
        RETURN NEXT;
    END IF;
END $$;

-- The mirror has caught up with the deletions that did not wait for it.
CREATE FUNCTION tarn_1.given_up_is_over() RETURNS TABLE (is_over bool)
LANGUAGE sql VOLATILE AS $$
    UPDATE tarn.local_site l SET state = 'STALLED', lost_by = NULL, detail = NULL
     WHERE l.role = 'mirror' AND l.state = 'LOST' AND l.lost_by = 'given_up'
    RETURNING true
$$;

------------------------------------------------------------------------ the line and its worker

-- A connection string that notices a line that swallows everything: with what libpq is to be told
-- and is not told yet.
CREATE FUNCTION tarn_1.guarded_conninfo(_conninfo text) RETURNS text
LANGUAGE sql IMMUTABLE AS $$
    SELECT _conninfo || coalesce(
               (SELECT string_agg(CASE WHEN n = 1 AND strpos(_conninfo, '?') = 0 THEN '?' ELSE '&' END
                                  || word, '' ORDER BY n)
                  FROM (SELECT word, row_number() OVER () AS n
                          FROM unnest('{connect_timeout=10, keepalives_idle=10, keepalives_interval=5,
                                        keepalives_count=3, tcp_user_timeout=30000}'::text[]) AS word
                         WHERE _conninfo ~ '^postgres(ql)?://'
                           AND _conninfo !~ ('[?&]' || split_part(word, '=', 1) || '=')) AS missing),
               '')
$$;

-- Give the subscription of an earlier join the same. Answers a row when it was changed. Read where it
-- is kept, for what conninfo() answers to others has no password.
CREATE FUNCTION tarn_1.guard_subscription() RETURNS TABLE (is_changed bool)
LANGUAGE plpgsql AS $$
DECLARE
    _name     text := (SELECT l.subscription FROM tarn.local_site l);
    _conninfo text;
BEGIN
    SELECT s.subconninfo INTO _conninfo FROM pg_subscription s
     WHERE s.subname = _name
       AND s.subdbid = (SELECT oid FROM pg_database WHERE datname = current_database());
    IF tarn_1.guarded_conninfo(_conninfo) <> _conninfo THEN
        EXECUTE format('ALTER SUBSCRIPTION %I CONNECTION %L', _name,
                       tarn_1.guarded_conninfo(_conninfo));
        RETURN QUERY SELECT true;
    END IF;
EXCEPTION
    WHEN insufficient_privilege THEN
        NULL; -- then its owner has to do it
    WHEN OTHERS THEN
        -- Without the context, which would show the password.
        RAISE EXCEPTION USING ERRCODE = SQLSTATE, MESSAGE = SQLERRM;
END $$;

-- End an apply worker that waits for a server that has been silent: the next one connects anew.
CREATE FUNCTION tarn_1.worker_end() RETURNS TABLE (is_ended bool)
LANGUAGE sql VOLATILE AS $$
    SELECT pg_terminate_backend(t.pid)
      FROM pg_stat_subscription t
      JOIN pg_subscription s ON s.oid = t.subid
      JOIN tarn.local_site l ON l.subscription = s.subname
     WHERE s.subdbid = (SELECT oid FROM pg_database WHERE datname = current_database())
       AND t.pid IS NOT NULL AND t.relid IS NULL
$$;

-- Stop or go on with the subscription: what is LOST is left as it is, at the last good point.
CREATE FUNCTION tarn_1.follow_switch(_on bool) RETURNS TABLE (is_changed bool)
LANGUAGE plpgsql AS $$
DECLARE
    _name text := (SELECT l.subscription FROM tarn.local_site l JOIN pg_subscription s
                       ON s.subname = l.subscription AND s.subenabled <> _on
                    WHERE s.subdbid = (SELECT oid FROM pg_database WHERE datname = current_database()));
BEGIN
    IF _name IS NOT NULL THEN
        EXECUTE format('ALTER SUBSCRIPTION %I %s', _name, CASE WHEN _on THEN 'ENABLE' ELSE 'DISABLE' END);
    END IF;
    RETURN QUERY SELECT _name IS NOT NULL;
END $$;

-- The end of the server's log, where this role may read it: the file of the collector, or the one
-- that the server's stderr is. NULL: it goes elsewhere, or the role may not (pg_monitor and
-- pg_read_server_files are needed). A file has a size; a pipe, which must not be read, has none.
CREATE FUNCTION tarn_1.log_tail(_bytes int8) RETURNS text
LANGUAGE plpgsql VOLATILE AS $$
DECLARE
    _path text;
    _size int8;
    _tail bytea;
BEGIN
    _path := coalesce(pg_current_logfile('stderr'), '/proc/self/fd/2');
    _size := (SELECT size FROM pg_stat_file(_path, true));
    IF coalesce(_size, 0) = 0 THEN
        RETURN NULL;
    END IF;
    _tail := pg_read_binary_file(_path, greatest(_size - _bytes, 0), _bytes, true);
    BEGIN
        -- The first line may be a part of one, and begin within a character.
        RETURN convert_from(substr(_tail, position('\x0a'::bytea IN _tail)), 'UTF8');
    EXCEPTION WHEN character_not_in_repertoire OR untranslatable_character THEN
        RETURN convert_from(_tail, 'LATIN1');
    END;
EXCEPTION WHEN OTHERS THEN
    RETURN NULL; -- whatever stands in the way, the error is in the log all the same
END $$;

-- The last error of apply as PostgreSQL has logged it, row and transaction included, in one line.
-- Without the log: where to look.
CREATE FUNCTION tarn_1.apply_error() RETURNS TABLE (is_verbatim bool, message text)
LANGUAGE plpgsql AS $$
DECLARE
    _origin text := (SELECT format('"pg_%s"', s.oid) FROM pg_subscription s
                       JOIN tarn.local_site l ON l.subscription = s.subname
                      WHERE s.subdbid = (SELECT oid FROM pg_database WHERE datname = current_database()));
    _text   text := tarn_1.log_tail(262144);
BEGIN
    WITH lines AS (
        SELECT line, n FROM regexp_split_to_table(_text, E'\n') WITH ORDINALITY AS l (line, n)
    ), ending AS (
        SELECT max(n) AS n FROM lines
         WHERE strpos(line, 'processing remote data for replication origin ' || _origin) > 0
    ), beginning AS (
        SELECT max(lines.n) AS n FROM lines, ending
         WHERE lines.n <= ending.n AND line ~ '(ERROR|FATAL):  '
    )
    SELECT true, string_agg(regexp_replace(line, '^.*?(ERROR|DETAIL|CONTEXT|HINT):  ', ''), '; '
                            ORDER BY lines.n)
      INTO is_verbatim, message
      FROM lines, beginning, ending WHERE lines.n BETWEEN beginning.n AND ending.n;
    IF message IS NULL THEN
        is_verbatim := false;
        message := format('the log of the mirror''s PostgreSQL says why, in the lines that name'
                          ' replication origin %s; an agent that connects as a superuser shows them'
                          ' here', _origin);
    END IF;
    RETURN NEXT;
END $$;

---------------------------------------------------------------- columns that the primary changed
--
--   at the primary                   here
--   added                            added, and rows that were there get what they got over there
--   added, its old rows computed     added; those rows are for tarn mirror audit --repair
--   dropped                          stays, and no row need fill it
--   widened (int4 to int8, …)        widened
--   renamed, or anything else        a statement for a person: a guess could lose what is in it

-- One statement of a change, tried by itself. Answers why it cannot be, NULL: it is done. What only
-- waits for a lock is raised, to be tried again.
CREATE FUNCTION tarn_1.try_change(_statement text) RETURNS text
LANGUAGE plpgsql SET lock_timeout = '5s' AS $$
BEGIN
    EXECUTE _statement;
    RETURN NULL;
EXCEPTION
    WHEN lock_not_available OR deadlock_detected OR query_canceled THEN RAISE;
    WHEN OTHERS THEN RETURN SQLERRM;
END $$;

-- What differs between the columns that the primary publishes (tarn_1.published_columns()) and ours.
-- kind: 'add', 'widen', 'loosen', or 'person' for what only a person can decide. plain: a column
-- without its default, for where that cannot be had; apply brings every value anyhow.
CREATE FUNCTION tarn_1.column_changes(_columns text)
RETURNS TABLE (kind text, relation text, name text, statement text, plain text, problem text)
LANGUAGE sql STABLE SET search_path = '' AS $$
    WITH theirs AS (
        SELECT c.*, to_regclass(c.relation) AS oid
          FROM jsonb_to_recordset(_columns::jsonb)
               AS c (relation text, name text, type text, "default" text, missing text, not_null bool,
                     is_generated bool, is_computed bool)
         WHERE to_regclass(c.relation) IS NOT NULL
    ), ours AS (
        SELECT a.attrelid AS oid, a.attrelid::regclass::text AS relation, a.attname::text AS name,
               format_type(a.atttypid, a.atttypmod) AS type,
               a.attnotnull AND NOT a.atthasdef AND a.attidentity = '' AS must_be_given
          FROM pg_attribute a
         WHERE a.attrelid IN (SELECT theirs.oid FROM theirs) AND a.attnum > 0 AND NOT a.attisdropped
    ), missing AS (
        SELECT t.*, EXISTS (SELECT FROM ours o WHERE o.oid = t.oid AND o.type = t.type
                               AND NOT EXISTS (SELECT FROM theirs x
                                                WHERE x.oid = o.oid AND x.name = o.name))
                    AND t."default" IS NULL AND t.missing IS NULL AS may_be_renamed
          FROM theirs t
         WHERE NOT t.is_generated
           AND NOT EXISTS (SELECT FROM ours o WHERE o.oid = t.oid AND o.name = t.name)
    )
    SELECT CASE WHEN m.may_be_renamed THEN 'person' ELSE 'add' END, m.relation, m.name,
           CASE WHEN m.may_be_renamed THEN
               format('ALTER TABLE %s RENAME COLUMN … TO %I; -- or, if it is new: ALTER TABLE %s ADD'
                      ' COLUMN %I %s', m.oid, m.name, m.oid, m.name, m.type)
           ELSE
               format('ALTER TABLE %s ADD COLUMN %I %s', m.oid, m.name, m.type)
               || coalesce(' DEFAULT ' || CASE WHEN m.missing IS NULL THEN m."default"
                      ELSE format('%L::%s', (m.missing::text[])[1], m.type) END, '')
               || CASE WHEN m.not_null AND coalesce(m.missing, m."default") IS NOT NULL
                       THEN ' NOT NULL' ELSE '' END
               || CASE WHEN m.missing IS NULL THEN ''
                       WHEN m."default" IS NULL
                       THEN format('; ALTER TABLE %s ALTER COLUMN %I DROP DEFAULT', m.oid, m.name)
                       ELSE format('; ALTER TABLE %s ALTER COLUMN %I SET DEFAULT %s', m.oid, m.name,
                                   m."default") END
           END,
           format('ALTER TABLE %s ADD COLUMN %I %s', m.oid, m.name, m.type),
           CASE WHEN m.may_be_renamed THEN 'a column of the same type is gone at the primary: renamed?'
                WHEN m.is_computed AND m.missing IS NULL AND m."default" IS NOT NULL
                     AND m."default" !~ '^(''[^'']*''|[-(0-9.)]+|true|false|NULL)(::.*)?$'
                THEN 'rows that were there before hold what the primary computed for each' END
      FROM missing m
    UNION ALL
    SELECT CASE WHEN (o.type, t.type) IN (('smallint', 'integer'), ('smallint', 'bigint'),
                                          ('integer', 'bigint'), ('real', 'double precision'))
                     OR o.type LIKE 'character varying%' AND t.type IN ('text', 'character varying')
                     OR o.type ~ '^character varying\(' AND t.type ~ '^character varying\('
                        AND substring(o.type FROM '\d+')::int < substring(t.type FROM '\d+')::int
                THEN 'widen' ELSE 'person' END,
           o.relation, o.name,
           format('ALTER TABLE %s ALTER COLUMN %I TYPE %s', o.relation, o.name, t.type), NULL,
           format('it is %s here and %s at the primary', o.type, t.type)
      FROM ours o JOIN theirs t ON t.oid = o.oid AND t.name = o.name AND t.type <> o.type
    UNION ALL
    SELECT 'loosen', o.relation, o.name,
           format('ALTER TABLE %s ALTER COLUMN %I DROP NOT NULL', o.relation, o.name), NULL,
           'it is not at the primary'
      FROM ours o
     WHERE o.must_be_given
       AND NOT EXISTS (SELECT FROM theirs t WHERE t.oid = o.oid AND t.name = o.name)
$$;

-- Bring our columns into the primary's shape as far as that can lose nothing, and list the rest in
-- tarn.mend_statement. Answers one row for each column that was changed or that a person has to see.
CREATE FUNCTION tarn_1.mend_columns(_columns text)
RETURNS TABLE (kind text, relation text, name text, problem text)
LANGUAGE plpgsql AS $$
DECLARE
    _c       record;
    _why     text;
    _before  text[] := ARRAY(SELECT m.relation || '.' || m.name FROM tarn.mend_statement m);
BEGIN
    DELETE FROM tarn.mend_statement m WHERE m.name <> '' AND m.problem NOT LIKE 'rows that%';
    FOR _c IN SELECT * FROM tarn_1.column_changes(_columns) LOOP
        _why := CASE WHEN _c.kind = 'person' THEN _c.problem
                     ELSE tarn_1.try_change(_c.statement) END;
        IF _c.kind = 'add' AND _why IS NOT NULL AND tarn_1.try_change(_c.plain) IS NULL THEN
            _c.problem := 'rows that were there before, and its default: ' || _why;
            _why := NULL;
        END IF;
        kind := CASE WHEN _why IS NULL THEN _c.kind ELSE 'person' END;
        IF _why IS NOT NULL OR _c.kind = 'add' AND _c.problem IS NOT NULL THEN
            INSERT INTO tarn.mend_statement
            VALUES (_c.relation, _c.name,
                    CASE WHEN _why IS NOT NULL THEN _c.statement || ';'
                         ELSE 'tarn mirror audit --repair MIRROR-URL' END,
                    coalesce(_why, _c.problem))
            ON CONFLICT ON CONSTRAINT mend_statement_pkey DO NOTHING;
        END IF;
        relation := _c.relation;
        name := _c.name;
        problem := _why;
        IF kind <> 'person' OR NOT (_c.relation || '.' || _c.name) = ANY (_before) THEN
            RETURN NEXT;
        END IF;
    END LOOP;
END $$;

----------------------------------------------------------------- a new copy beside the one that serves
--
--   step        what is done                                              killed here, the next one
--   wanted      the row tarn.reseed is written                            goes on
--   making      database, tables, functions, slot, subscription           begins it anew
--   copying     PostgreSQL copies; the agent looks                        goes on
--   switching   settings are carried over, names are exchanged at once    does it again
--   switched    the old copy ends its subscription and is dropped         does it again

-- The row of a copy that is wanted; a row that is there already is kept. The names are cut so that
-- they stay within 63 bytes.
CREATE FUNCTION tarn_1.reseed_want(_reason text, _keeps_old bool) RETURNS void
LANGUAGE sql VOLATILE AS $$
    INSERT INTO tarn.reseed (database, old_database, keeps_old, reason)
    VALUES (left(current_database(), 40) || '_reseed',
            left(current_database(), 40) || '_lost_' || to_char(clock_timestamp(), 'YYYYMMDDHH24MISS'),
            _keeps_old, _reason)
    ON CONFLICT (only_row) DO NOTHING;
    UPDATE tarn.local_site l SET state = 'REJOINING', detail = _reason
     WHERE l.role = 'mirror' AND l.state <> 'REJOINING';
$$;

-- What is under way; no row: nothing. is_there: the new database exists; is_ours: and we made it.
CREATE FUNCTION tarn_1.reseed_row()
RETURNS TABLE (database text, old_database text, keeps_old bool, reason text, step text,
               bytes_done int8, bytes_total int8, tables_done int4, tables_total int4,
               problem text, is_switched bool, is_there bool, is_ours bool, old_is_there bool)
LANGUAGE sql STABLE AS $$
    SELECT r.database, r.old_database, r.keeps_old, r.reason, r.step, r.bytes_done, r.bytes_total,
           r.tables_done, r.tables_total, r.problem, r.switched_at IS NOT NULL, d.oid IS NOT NULL,
           coalesce(shobj_description(d.oid, 'pg_database') = 'tarn: a mirror that is made anew',
                    r.step = 'making'),
           EXISTS (SELECT FROM pg_database o WHERE o.datname = r.old_database)
      FROM tarn.reseed r LEFT JOIN pg_database d ON d.datname = r.database
$$;

CREATE FUNCTION tarn_1.reseed_note(_step text, _problem text) RETURNS void
LANGUAGE sql VOLATILE AS $$
    UPDATE tarn.reseed SET step = coalesce(_step, step), problem = _problem
     WHERE (step, problem) IS DISTINCT FROM (coalesce(_step, step), _problem)
$$;

CREATE FUNCTION tarn_1.reseed_progress(_bytes_done int8, _bytes_total int8, _tables_done int4,
                                       _tables_total int4) RETURNS void
LANGUAGE sql VOLATILE AS $$
    UPDATE tarn.reseed
       SET step = 'copying', problem = NULL, bytes_done = _bytes_done, bytes_total = _bytes_total,
           tables_done = _tables_done, tables_total = _tables_total
$$;

-- The statements that make the new database, as this one is; each is to be sent by itself.
CREATE FUNCTION tarn_1.reseed_create() RETURNS TABLE (make text, mark text)
LANGUAGE sql STABLE AS $$
    SELECT format('CREATE DATABASE %I OWNER %I TEMPLATE template0 ENCODING %L LC_COLLATE %L LC_CTYPE %L',
                  r.database, pg_get_userbyid(d.datdba), pg_encoding_to_char(d.encoding),
                  d.datcollate, d.datctype),
           format('COMMENT ON DATABASE %I IS ''tarn: a mirror that is made anew''', r.database)
      FROM tarn.reseed r, pg_database d WHERE d.datname = current_database()
$$;

-- The privileges that were granted here on the volume's and our tables and schemas, as statements.
CREATE FUNCTION tarn_1.granted() RETURNS TABLE (statement text)
LANGUAGE sql STABLE AS $$
    SELECT format('GRANT %s ON %s TO %s%s', a.privilege_type, o.object,
                  CASE WHEN a.grantee = 0 THEN 'PUBLIC' ELSE quote_ident(pg_get_userbyid(a.grantee)) END,
                  CASE WHEN a.is_grantable THEN ' WITH GRANT OPTION' ELSE '' END)
      FROM (SELECT format('SCHEMA %I', n.nspname), n.nspacl, n.nspowner FROM pg_namespace n
             WHERE n.nspname IN ('public', 'tarn', 'tarn_1')
            UNION ALL
            SELECT format('TABLE %s', c.oid::regclass), c.relacl, c.relowner FROM pg_class c
             WHERE c.relkind = 'r' AND (c.relnamespace = 'tarn'::regnamespace
                                        OR c.relnamespace = 'public'::regnamespace
                                           AND c.relname LIKE 'jfs\_%')) AS o (object, acl, owner),
           LATERAL aclexplode(o.acl) a
     WHERE a.grantee <> o.owner
$$;

-- The settings and privileges of this database, as statements about the new one.
CREATE FUNCTION tarn_1.database_settings() RETURNS TABLE (statement text)
LANGUAGE sql STABLE AS $$
    SELECT format('ALTER %s SET %I TO %s',
                  CASE WHEN s.setrole = 0 THEN format('DATABASE %I', r.database)
                       ELSE format('ROLE %I IN DATABASE %I', pg_get_userbyid(s.setrole), r.database)
                  END, split_part(c.item, '=', 1),
                  CASE WHEN split_part(c.item, '=', 1) IN ('search_path', 'temp_tablespaces',
                            'session_preload_libraries', 'local_preload_libraries')
                       THEN substr(c.item, strpos(c.item, '=') + 1)
                       ELSE quote_literal(substr(c.item, strpos(c.item, '=') + 1)) END)
      FROM tarn.reseed r, pg_db_role_setting s, unnest(s.setconfig) AS c (item)
     WHERE s.setdatabase = (SELECT oid FROM pg_database WHERE datname = current_database())
    UNION ALL
    SELECT format('GRANT %s ON DATABASE %I TO %s', a.privilege_type, r.database,
                  CASE WHEN a.grantee = 0 THEN 'PUBLIC' ELSE quote_ident(pg_get_userbyid(a.grantee)) END)
      FROM tarn.reseed r, pg_database d, LATERAL aclexplode(d.datacl) a
     WHERE d.datname = current_database() AND a.grantee <> d.datdba
    UNION ALL
    SELECT format('REVOKE CONNECT ON DATABASE %I FROM PUBLIC', r.database)
      FROM tarn.reseed r, pg_database d
     WHERE d.datname = current_database() AND d.datacl IS NOT NULL
       AND NOT EXISTS (SELECT FROM aclexplode(d.datacl) a
                        WHERE a.grantee = 0 AND a.privilege_type = 'CONNECT')
$$;

-- What belongs to this site and not to the volume, as a script for the new copy: privileges, what
-- this site has set for itself, and what becomes of this copy.
CREATE FUNCTION tarn_1.reseed_script() RETURNS TABLE (script text)
LANGUAGE sql STABLE AS $$
    SELECT coalesce((SELECT string_agg(statement || E';\n', '') FROM tarn_1.granted()), '')
        || coalesce((SELECT string_agg(statement || E';\n', '') FROM tarn_1.database_settings()), '')
        || format('INSERT INTO tarn.rule_override SELECT * FROM jsonb_populate_recordset('
                  'NULL::tarn.rule_override, %L) ON CONFLICT DO NOTHING;', coalesce(
                  (SELECT jsonb_agg(to_jsonb(o)) FROM tarn.rule_override o), '[]'))
        || format('INSERT INTO tarn.cache_member SELECT * FROM jsonb_populate_recordset('
                  'NULL::tarn.cache_member, %L) ON CONFLICT DO NOTHING;', coalesce(
                  (SELECT jsonb_agg(to_jsonb(m)) FROM tarn.cache_member m), '[]'))
        || format('DELETE FROM tarn.reseed; INSERT INTO tarn.reseed (database, old_database, keeps_old,'
                  ' reason, step, switched_at) VALUES (%L, %L, %L, %L, ''switched'', now());',
                  r.database, r.old_database, r.keeps_old, r.reason)
      FROM tarn.reseed r
$$;

-- Exchange the names, as one transaction, to be sent from a third database. Who renames a database
-- locks it first, so that nobody who comes back meanwhile gets in.
CREATE FUNCTION tarn_1.switch_script() RETURNS TABLE (script text)
LANGUAGE sql STABLE AS $$
    SELECT string_agg(
               format('SELECT pg_terminate_backend(pid) FROM pg_stat_activity WHERE datname = %L;'
                      'ALTER DATABASE %I RENAME TO %I;', names.old, names.old, names.new), ''
               ORDER BY names.n)
           || format('COMMENT ON DATABASE %I IS NULL;', current_database())
      FROM tarn.reseed r,
           LATERAL (VALUES (1, current_database()::text, r.old_database),
                           (2, r.database, current_database()::text)) AS names (n, old, new)
$$;

-- Slices by number, from _after on: what this copy knows of, as text, for the new one to compare.
CREATE FUNCTION tarn_1.slice_page(_after int8, _count int4)
RETURNS TABLE (slices text, sizes text, last int8)
LANGUAGE sql STABLE AS $$
    SELECT array_agg(p.chunkid)::text, array_agg(p.size)::text, max(p.chunkid)
      FROM (SELECT c.chunkid, c.size FROM public.jfs_chunk_ref c
             WHERE c.chunkid > _after ORDER BY c.chunkid LIMIT _count) p
$$;

-- Order to remove the blocks of those slices that this copy, made anew, does not know: their end was
-- missed. Numbers are not given out twice, so none of them will come.
CREATE FUNCTION tarn_1.order_removals(_slices text, _sizes text) RETURNS TABLE (ordered int8)
LANGUAGE sql VOLATILE AS $$
    WITH ordered AS (
        INSERT INTO tarn.slice_state (slice, size, want)
        SELECT old.slice, old.size, 'delete'
          FROM unnest(_slices::int8[], _sizes::int4[]) AS old (slice, size)
         WHERE NOT EXISTS (SELECT FROM public.jfs_chunk_ref c WHERE c.chunkid = old.slice)
        ON CONFLICT (slice) DO NOTHING
        RETURNING 1)
    SELECT count(*) FROM ordered
$$;

CREATE FUNCTION tarn_1.reseed_end() RETURNS TABLE (had_one bool)
LANGUAGE sql VOLATILE AS $$ DELETE FROM tarn.reseed RETURNING true $$;

-- To be sent by itself: no function may drop a database.
CREATE FUNCTION tarn_1.drop_statement(_database text) RETURNS TABLE (statement text)
LANGUAGE sql STABLE AS $$
    SELECT format('DROP DATABASE IF EXISTS %I WITH (FORCE)', _database)
$$;

---------------------------------------------------------------------------------- what is shown

-- What the status of a mirror shows of all this, as JSON. deletion_margin_seconds: how much further
-- this mirror may fall behind before a stock client at the primary, which asks nobody, removes what
-- is still read here.
CREATE FUNCTION tarn_1.heal_document() RETURNS TABLE (document text)
LANGUAGE sql STABLE AS $$
    SELECT json_build_object(
        'lost_by', l.lost_by,
        'version', (SELECT max(m.version) FROM tarn.migration m),
        'trash_days', f.trash_days,
        'deletion_margin_seconds',
            f.trash_days * 86400 - extract(epoch FROM clock_timestamp() - h.at)::int8,
        'statements', coalesce((SELECT json_agg(json_build_object(
                'relation', m.relation, 'column', m.name, 'statement', m.statement,
                'problem', m.problem) ORDER BY m.relation, m.name) FROM tarn.mend_statement m), '[]'),
        'reseed', (SELECT json_build_object(
                'step', r.step, 'reason', r.reason, 'database', r.database,
                'old_database', r.old_database, 'wanted_at', r.wanted_at,
                'bytes_done', r.bytes_done, 'bytes_total', r.bytes_total,
                'tables_done', r.tables_done, 'tables_total', r.tables_total,
                'problem', r.problem) FROM tarn.reseed r))::text
      FROM tarn.local_site l
      LEFT JOIN LATERAL (SELECT (s.value::jsonb ->> 'TrashDays')::int8 AS trash_days
                           FROM public.jfs_setting s WHERE s.name = 'format') f ON true
      LEFT JOIN LATERAL (SELECT b.at FROM tarn.heartbeat b ORDER BY b.at DESC LIMIT 1) h ON true
$$;

-- Mirrors that follow this copy have their slots in its database, which cannot go before them: they
-- find them gone, and are copied anew from the one that takes its place.
CREATE FUNCTION tarn_1.slots_end() RETURNS TABLE (slot text)
LANGUAGE plpgsql AS $$
BEGIN
    FOR slot IN SELECT s.slot FROM tarn_1.slots() s LOOP
        PERFORM tarn_1.slot_drop(slot);
        RETURN NEXT;
    END LOOP;
END $$;
