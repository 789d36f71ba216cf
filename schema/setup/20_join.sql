-- The same for a mirror: what the target database is, before and while it becomes one.

-- 'empty'    no table of a volume
-- 'leftover' tables of a volume without a row, and nothing says whose: a join that died early
-- 'joining'  a mirror of ours that has never been consistent: everything may be made anew
-- 'mirror'   a mirror that has been consistent
-- 'primary'  a primary
-- 'volume'   a volume that is not ours
CREATE OR REPLACE FUNCTION pg_temp.target_state() RETURNS text
LANGUAGE plpgsql AS $$
DECLARE
    _site  jsonb := pg_temp.local_site();
    _table name;
    _found bool := false;
    _full  bool;
BEGIN
    IF _site IS NOT NULL THEN
        RETURN CASE WHEN _site ->> 'role' = 'primary' THEN 'primary'
                    WHEN _site ->> 'ready_at' IS NULL THEN 'joining'
                    ELSE 'mirror' END;
    END IF;
    FOR _table IN SELECT relname FROM pg_temp.volume_tables() LOOP
        _found := true;
        EXECUTE format('SELECT EXISTS (SELECT FROM public.%I)', _table) INTO _full;
        IF _full THEN
            RETURN 'volume';
        END IF;
    END LOOP;
    RETURN CASE WHEN _found THEN 'leftover' ELSE 'empty' END;
END $$;

-- Is there a subscription of that name in this database?
CREATE OR REPLACE FUNCTION pg_temp.has_subscription(_subscription text) RETURNS bool
LANGUAGE sql STABLE AS $$
    SELECT EXISTS (SELECT FROM pg_subscription s JOIN pg_database d ON d.oid = s.subdbid
                    WHERE d.datname = current_database() AND s.subname = _subscription)
$$;

-- May this role subscribe by itself? pg_create_subscription exists from 16 on; before, only a
-- superuser may.
CREATE OR REPLACE FUNCTION pg_temp.may_subscribe() RETURNS bool
LANGUAGE plpgsql STABLE AS $$
BEGIN
    IF (SELECT rolsuper FROM pg_roles WHERE rolname = current_user) THEN
        RETURN true;
    END IF;
    RETURN EXISTS (SELECT FROM pg_roles WHERE rolname = 'pg_create_subscription'
                                          AND pg_has_role(oid, 'USAGE'))
           AND has_database_privilege(current_database(), 'CREATE');
END $$;

-- How many tables a subscription of this server copies at a time.
CREATE OR REPLACE FUNCTION pg_temp.copy_workers() RETURNS int4
LANGUAGE sql STABLE AS $$ SELECT current_setting('max_sync_workers_per_subscription')::int4 $$;

CREATE OR REPLACE FUNCTION pg_temp.subscriber_privileges()
RETURNS TABLE (level text, topic text, finding text, mend text)
LANGUAGE plpgsql AS $$
DECLARE
    _has_role bool := EXISTS (SELECT FROM pg_roles WHERE rolname = 'pg_create_subscription');
BEGIN
    topic := 'privileges';
    IF NOT has_database_privilege(current_database(), 'CREATE')
       OR NOT has_schema_privilege('public', 'CREATE') THEN
        level := 'problem';
        finding := format('role "%s" may not make tables in database "%s"', current_user,
                          current_database());
        mend := format('GRANT CREATE ON DATABASE %I TO %I; GRANT CREATE ON SCHEMA public TO %I;',
                       current_database(), current_user, current_user);
    ELSIF pg_temp.may_subscribe() THEN
        level := 'ok';
        finding := format('role "%s" may subscribe', current_user);
    ELSE
        level := 'advice';
        finding := format('role "%s" may not create a subscription: the join will print one'
                          ' statement for a superuser, and wait for it', current_user);
        mend := CASE WHEN _has_role THEN format('GRANT pg_create_subscription TO %I;', current_user)
                     ELSE 'join as a superuser, or let one run that statement' END;
    END IF;
    RETURN NEXT;
    mend := NULL;
    IF level = 'ok' AND NOT (SELECT rolsuper FROM pg_roles WHERE rolname = current_user)
       AND current_setting('log_statement') = 'all' THEN
        level := 'advice';
        topic := 'log_statement';
        finding := 'log_statement is all: a password of the primary would be written to the log of'
                   ' this server, and only a superuser may keep it out';
        mend := 'ALTER SYSTEM SET log_statement = ''ddl''; SELECT pg_reload_conf(); during the join';
        RETURN NEXT;
    END IF;
END $$;

-- What this server has left: one worker applies, and each table of the first copy has another.
CREATE OR REPLACE FUNCTION pg_temp.subscriber_room()
RETURNS TABLE (level text, topic text, finding text, mend text)
LANGUAGE plpgsql AS $$
DECLARE
    _copy    int4 := pg_temp.copy_workers();
    _logical int4 := current_setting('max_logical_replication_workers')::int4;
    _used    int8 := (SELECT count(*) FROM pg_subscription);
    _all     int4 := current_setting('max_worker_processes')::int4;
    _origins int8 := coalesce(current_setting('max_active_replication_origins', true),
                              current_setting('max_replication_slots'))::int8
                     - (SELECT count(*) FROM pg_replication_origin);
BEGIN
    topic := 'workers';
    level := CASE WHEN _logical <= _used THEN 'problem'
                  WHEN _logical < _used + 1 + _copy OR _all <= _logical THEN 'advice'
                  ELSE 'ok' END;
    finding := CASE level WHEN 'problem' THEN
        format('max_logical_replication_workers is %s, and %s subscriptions exist already', _logical,
               _used)
    WHEN 'advice' THEN
        format('max_logical_replication_workers is %s of max_worker_processes %s, for %s'
               ' subscriptions that are there, this one, and %s tables copied at a time', _logical,
               _all, _used, _copy)
    ELSE format('%s replication workers are free', _logical - _used) END;
    IF level <> 'ok' THEN
        mend := format('ALTER SYSTEM SET max_logical_replication_workers = %s; ALTER SYSTEM SET'
                       ' max_worker_processes = %s; then restart the mirror''s PostgreSQL',
                       _used + 1 + greatest(_copy, 4), _used + 9 + greatest(_copy, 4));
    END IF;
    RETURN NEXT;
    mend := NULL;
    topic := 'origins';
    IF _origins < 2 THEN
        level := CASE WHEN _origins < 1 THEN 'problem' ELSE 'advice' END;
        finding := format('%s replication origins are free at the mirror: a subscription needs one,'
                          ' and one for each table that is being copied', greatest(_origins, 0));
        mend := format('ALTER SYSTEM SET max_replication_slots = %s; then restart the mirror''s'
                       ' PostgreSQL', current_setting('max_replication_slots')::int4 + 10);
        RETURN NEXT;
        mend := NULL;
    END IF;
    topic := 'copy';
    level := CASE WHEN _copy < 2 THEN 'advice' ELSE 'ok' END;
    finding := format('%s tables are copied at a time', _copy);
    IF _copy < 2 THEN
        mend := 'ALTER SYSTEM SET max_sync_workers_per_subscription = 4; SELECT pg_reload_conf();';
    END IF;
    RETURN NEXT;
END $$;

CREATE OR REPLACE FUNCTION pg_temp.subscriber_findings()
RETURNS TABLE (level text, topic text, finding text, mend text)
LANGUAGE plpgsql AS $$
BEGIN
    RETURN QUERY SELECT * FROM pg_temp.subscriber_privileges();
    RETURN QUERY SELECT * FROM pg_temp.subscriber_room();
    topic := 'wal_level';
    IF current_setting('wal_level') <> 'logical' THEN
        level := 'advice';
        finding := format('wal_level of the mirror is %s: no change feed, no mirror of this mirror,'
                          ' and no promotion without a restart', current_setting('wal_level'));
        mend := 'ALTER SYSTEM SET wal_level = ''logical''; then restart the mirror''s PostgreSQL';
        RETURN NEXT;
    END IF;
END $$;

-- What the tables that are here differ in from those of the primary (tarn_1.published_columns());
-- nothing while there are none, for they are made as the primary has them.
CREATE OR REPLACE FUNCTION pg_temp.column_findings(_columns text)
RETURNS TABLE (level text, topic text, finding text, mend text)
LANGUAGE sql STABLE SET search_path = '' AS $$
    WITH there AS (
        SELECT c.*, to_regclass(c.relation) AS here
          FROM jsonb_to_recordset(_columns::jsonb) AS c (relation text, name text, type text,
                                                         "default" text)
    ), compared AS (
        SELECT t.*, format_type(a.atttypid, a.atttypmod) AS own
          FROM there t
          LEFT JOIN pg_attribute a ON a.attrelid = t.here AND a.attname = t.name AND a.attnum > 0
                                  AND NOT a.attisdropped
         WHERE t.here IS NOT NULL
    )
    SELECT 'problem', 'schema',
           CASE WHEN own IS NULL THEN format('column %s of %s is missing here', name, relation)
                ELSE format('column %s of %s is %s here and %s at the primary', name, relation, own,
                            type) END,
           CASE WHEN own IS NULL THEN format('ALTER TABLE %s ADD COLUMN %I %s%s;', relation, name,
                                             type, coalesce(' DEFAULT ' || "default", ''))
                ELSE format('ALTER TABLE %s ALTER COLUMN %I TYPE %s;', relation, name, type) END
      FROM compared
     WHERE own IS DISTINCT FROM type
       -- A join that begins anew makes the volume's tables anew, and installs what is ours.
       AND pg_temp.target_state() = 'mirror'
    UNION ALL
    SELECT 'advice', 'schema',
           format('table %s is here and not at the primary: it is not followed', c.oid::regclass),
           NULL
      FROM pg_temp.volume_tables() c
     WHERE NOT EXISTS (SELECT FROM there t WHERE t.here = c.oid)
       AND c.relname NOT IN ('jfs_session2', 'jfs_flock', 'jfs_plock', 'jfs_sustained',
                             'jfs_change_log', 'jfs_delegation_token')
$$;

-- The primary beside this server (tarn_1.server_facts()).
CREATE OR REPLACE FUNCTION pg_temp.server_difference(_encoding text, _version int4)
RETURNS TABLE (level text, topic text, finding text, mend text)
LANGUAGE plpgsql AS $$
BEGIN
    topic := 'encoding';
    IF current_setting('server_encoding') NOT IN (_encoding, 'UTF8') THEN
        level := 'problem';
        finding := format('this database is %s and the primary''s is %s: a text that it cannot hold'
                          ' would stop apply', current_setting('server_encoding'), _encoding);
        mend := format('CREATE DATABASE NAME ENCODING ''%s'' TEMPLATE template0;', _encoding);
        RETURN NEXT;
        mend := NULL;
    END IF;
    topic := 'server';
    IF current_setting('server_version_num')::int / 10000 <> _version / 10000 THEN
        level := 'ok';
        finding := format('PostgreSQL %s at the primary and %s here: logical replication crosses'
                          ' versions', _version / 10000,
                          current_setting('server_version_num')::int / 10000);
        RETURN NEXT;
    END IF;
END $$;

-- Where the files of this server are, and since when it runs, so that a process on the same machine
-- can tell that they are its own; NULL where the role may not know.
CREATE OR REPLACE FUNCTION pg_temp.data_directory() RETURNS TABLE (path text, started_s int8)
LANGUAGE plpgsql AS $$
BEGIN
    RETURN QUERY SELECT current_setting('data_directory'),
                        extract(epoch FROM pg_postmaster_start_time())::int8;
EXCEPTION WHEN insufficient_privilege THEN
    RETURN QUERY SELECT NULL::text, 0::int8;
END $$;

CREATE OR REPLACE FUNCTION pg_temp.join_findings(_name text)
RETURNS TABLE (level text, topic text, finding text, mend text)
LANGUAGE plpgsql AS $$
DECLARE
    _state text := pg_temp.target_state();
    _site  jsonb := pg_temp.local_site();
BEGIN
    RETURN QUERY SELECT * FROM pg_temp.server_findings();
    RETURN QUERY SELECT * FROM pg_temp.subscriber_findings();
    topic := 'target';
    level := 'problem';
    IF _state = 'primary' THEN
        finding := format('database "%s" is the primary "%s"', current_database(), _site ->> 'name');
        mend := 'give the URL of an empty database at the mirror';
    ELSIF _state IN ('joining', 'mirror') AND _site ->> 'name' <> _name THEN
        finding := format('database "%s" is the mirror "%s"', current_database(), _site ->> 'name');
        mend := format('give --name %s, or an empty database', _site ->> 'name');
    ELSIF _state = 'volume' THEN
        finding := format('database "%s" already holds a volume', current_database());
        mend := 'give the URL of an empty database at the mirror';
    ELSE
        level := 'ok';
        finding := CASE _state
            WHEN 'empty' THEN 'the target database is empty'
            WHEN 'leftover' THEN 'the target database holds empty tables of an interrupted join'
            WHEN 'joining' THEN 'an interrupted join goes on'
            ELSE 'this mirror has been joined already' END;
    END IF;
    RETURN NEXT;
    mend := NULL;
    topic := 'name';
    IF EXISTS (SELECT FROM pg_subscription s JOIN pg_database d ON d.oid = s.subdbid
                WHERE s.subname = 'tarn_' || _name AND d.datname <> current_database()) THEN
        level := 'problem';
        finding := format('another database of this server is the mirror "%s" already', _name);
        mend := 'choose another --name';
        RETURN NEXT;
    END IF;
END $$;

-- Make room for the tables of the primary: only what never was a consistent mirror goes.
CREATE OR REPLACE FUNCTION pg_temp.drop_unfinished() RETURNS void
LANGUAGE plpgsql AS $$
DECLARE
    _state text := pg_temp.target_state();
    _name  text;
BEGIN
    IF _state NOT IN ('empty', 'leftover', 'joining') THEN
        RAISE EXCEPTION 'database "%" is not an unfinished mirror', current_database();
    END IF;
    -- Functions name the row types of the tables, so they go first and are installed again.
    FOR _name IN SELECT nspname FROM pg_namespace WHERE nspname ~ '^tarn_[0-9]+$' LOOP
        EXECUTE format('DROP SCHEMA %I CASCADE', _name);
    END LOOP;
    FOR _name IN SELECT relname FROM pg_temp.volume_tables() LOOP
        EXECUTE format('DROP TABLE public.%I', _name);
    END LOOP;
    IF _state = 'joining' THEN
        TRUNCATE tarn.site, tarn.heartbeat, tarn.slot, tarn.mark, tarn.block_sum, tarn.token,
                 tarn.warm_rule, tarn.job, tarn.slice_state, tarn.cursor;
    END IF;
END $$;

-- This server's clock and cluster, before tarn_1.clock() is there.
CREATE OR REPLACE FUNCTION pg_temp.clock() RETURNS TABLE (us int8, system_identifier text)
LANGUAGE sql VOLATILE AS $$
    SELECT (extract(epoch FROM clock_timestamp()) * 1000000)::int8, c.system_identifier::text
      FROM pg_control_system() c
$$;
