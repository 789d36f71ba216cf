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

CREATE OR REPLACE FUNCTION pg_temp.subscriber_findings()
RETURNS TABLE (level text, topic text, finding text, mend text)
LANGUAGE plpgsql AS $$
DECLARE
    _may bool := (SELECT rolsuper FROM pg_roles WHERE rolname = current_user);
BEGIN
    topic := 'privileges';
    -- pg_create_subscription exists from 16 on; before, only a superuser may subscribe.
    IF NOT _may AND EXISTS (SELECT FROM pg_roles WHERE rolname = 'pg_create_subscription') THEN
        _may := pg_has_role('pg_create_subscription', 'USAGE')
                AND has_database_privilege(current_database(), 'CREATE');
    END IF;
    IF _may THEN
        level := 'ok';
        finding := format('role "%s" may subscribe', current_user);
    ELSE
        level := 'problem';
        finding := format('role "%s" may not create a subscription', current_user);
        mend := format('ALTER ROLE %I SUPERUSER;', current_user);
    END IF;
    RETURN NEXT;
    mend := NULL;
    topic := 'wal_level';
    IF current_setting('wal_level') <> 'logical' THEN
        level := 'advice';
        finding := format('wal_level of the mirror is %s: no change feed, and no promotion without a'
                          ' restart', current_setting('wal_level'));
        mend := 'ALTER SYSTEM SET wal_level = ''logical''; then restart the mirror''s PostgreSQL';
        RETURN NEXT;
    END IF;
    topic := 'workers';
    IF current_setting('max_logical_replication_workers')::int
       <= (SELECT count(*) FROM pg_subscription) THEN
        level := 'problem';
        finding := format('max_logical_replication_workers is %s, and %s subscriptions exist already',
                          current_setting('max_logical_replication_workers'),
                          (SELECT count(*) FROM pg_subscription));
        mend := 'ALTER SYSTEM SET max_logical_replication_workers = 8; then restart the mirror''s'
                ' PostgreSQL';
        RETURN NEXT;
    END IF;
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
