-- What the server that is to be followed says to a mirror before it joins. Each finding is a row as in
-- schema/setup: level 'ok' | 'advice' | 'problem', a topic, one sentence, and the command that mends
-- it. Names come out in full, whatever the search_path of the role.

-- What this server has left for a mirror called _name whose first copy runs in _workers parts.
CREATE FUNCTION tarn_1.room_findings(_name text, _workers int4)
RETURNS TABLE (level text, topic text, finding text, mend text)
LANGUAGE plpgsql STABLE AS $$
DECLARE
    _slots   int := current_setting('max_replication_slots')::int
                    - (SELECT count(*) FROM pg_replication_slots
                        WHERE slot_name <> 'tarn_' || _name);
    _senders int := current_setting('max_wal_senders')::int
                    - (SELECT count(*) FROM pg_stat_replication);
    _kept    text := current_setting('max_slot_wal_keep_size');
BEGIN
    topic := 'slots';
    level := CASE WHEN least(_slots, _senders) < 2 THEN 'problem'
                  WHEN least(_slots, _senders) < 1 + _workers THEN 'advice'
                  ELSE 'ok' END;
    finding := format('%s replication slots and %s senders are free at the primary', _slots, _senders)
               || CASE level WHEN 'ok' THEN ''
                             ELSE format(': a join needs 2 of each, and %s with %s tables copied at a'
                                         ' time', 1 + _workers, _workers) END;
    IF level <> 'ok' THEN
        mend := 'ALTER SYSTEM SET max_replication_slots = 20; ALTER SYSTEM SET max_wal_senders = 20;'
                ' then restart the primary''s PostgreSQL';
    END IF;
    RETURN NEXT;
    mend := NULL;
    topic := 'max_slot_wal_keep_size';
    IF _kept = '-1' THEN
        level := 'advice';
        finding := 'max_slot_wal_keep_size is unlimited: a mirror that stays away fills the'
                   ' primary''s disk';
        mend := 'ALTER SYSTEM SET max_slot_wal_keep_size = ''64GB''; SELECT pg_reload_conf(); with'
                ' half of what the disk of pg_wal has free';
    ELSE
        level := 'ok';
        finding := format('a mirror that is away may keep %s of WAL at the primary', _kept);
    END IF;
    RETURN NEXT;
END $$;

-- A slot of the same name: whose it is.
CREATE FUNCTION tarn_1.slot_findings(_name text)
RETURNS TABLE (level text, topic text, finding text, mend text)
LANGUAGE sql STABLE AS $$
    SELECT CASE WHEN s.database <> current_database() OR s.plugin <> 'pgoutput' THEN 'problem'
                ELSE 'advice' END,
           'slot',
           CASE WHEN s.slot_type <> 'logical' THEN
                    format('slot "%s" of this server is a physical one', s.slot_name)
                WHEN s.database <> current_database() THEN
                    format('slot "%s" of this server belongs to database "%s"', s.slot_name,
                           s.database)
                WHEN s.active THEN format('slot "%s" is in use: by the mirror that a join goes on'
                                          ' with, or by another one, which it would end', s.slot_name)
                ELSE format('slot "%s" is there and not in use: a new join drops it and makes it'
                            ' anew', s.slot_name) END,
           CASE WHEN s.database <> current_database() OR s.plugin <> 'pgoutput'
                THEN 'choose another --name' END
      FROM pg_replication_slots s WHERE s.slot_name = 'tarn_' || _name
$$;

-- What the role that asks may not do here.
CREATE FUNCTION tarn_1.follower_findings()
RETURNS TABLE (level text, topic text, finding text, mend text)
LANGUAGE plpgsql STABLE SET search_path = '' AS $$
DECLARE
    _hidden text := (SELECT string_agg(t.relation::text, ', ') FROM tarn_1.replicated_tables() t
                      WHERE NOT has_table_privilege(t.relation, 'SELECT'));
BEGIN
    topic := 'privileges';
    level := 'problem';
    IF NOT (SELECT rolsuper OR rolreplication FROM pg_roles WHERE rolname = current_user) THEN
        finding := format('role "%s" may not replicate from the primary', current_user);
        mend := format('ALTER ROLE %I REPLICATION;', current_user);
        RETURN NEXT;
    END IF;
    IF _hidden IS NOT NULL THEN
        finding := format('role "%s" may not read %s', current_user, _hidden);
        mend := format('GRANT SELECT ON ALL TABLES IN SCHEMA public, tarn TO %I;', current_user);
        RETURN NEXT;
    END IF;
    IF finding IS NULL THEN
        level := 'ok';
        finding := format('role "%s" may replicate and read what is published', current_user);
        RETURN NEXT;
    END IF;
END $$;

-- Is the line of this connection encrypted?
CREATE FUNCTION tarn_1.line_findings()
RETURNS TABLE (level text, topic text, finding text, mend text)
LANGUAGE sql STABLE AS $$
    SELECT CASE WHEN s.ssl OR l.is_local THEN 'ok' ELSE 'advice' END, 'tls',
           CASE WHEN s.ssl THEN format('the line to the primary is encrypted: %s', s.version)
                WHEN l.is_local THEN 'the primary is on the same machine'
                ELSE 'the line to the primary is not encrypted: metadata and names can be read on'
                     ' the way' END,
           CASE WHEN NOT (s.ssl OR l.is_local)
                THEN 'add sslmode=verify-full&sslrootcert=FILE to the URL' END
      FROM pg_stat_ssl s,
           (SELECT coalesce(inet_client_addr() <<= '127.0.0.0/8' OR inet_client_addr() = '::1', true))
               AS l (is_local)
     WHERE s.pid = pg_backend_pid()
$$;

-- May a mirror called _name, in the cluster _system, follow this database? Rows as in schema/setup.
-- _home: it is the primary itself that is followed, and not another mirror.
CREATE FUNCTION tarn_1.join_findings(_name text, _system text, _workers int4, _home bool)
RETURNS TABLE (level text, topic text, finding text, mend text)
LANGUAGE plpgsql STABLE SET search_path = '' AS $$
DECLARE
    _site    tarn.local_site := (SELECT l FROM tarn.local_site l);
    _missing text;
    _owner   text;
BEGIN
    topic := 'primary';
    level := 'problem';
    IF _home AND _site.role = 'mirror' THEN
        finding := format('database "%s" is the mirror "%s"', current_database(), _site.name);
        mend := 'give the primary as --primary, and this one as --source to follow it';
    ELSIF NOT _home AND _site.role = 'mirror' AND _site.ready_at IS NULL THEN
        finding := format('mirror "%s" is not consistent yet', _site.name);
        mend := 'wait for it, or follow the primary itself';
    ELSIF _site.role IS NULL OR NOT EXISTS (SELECT FROM pg_publication WHERE pubname = 'tarn') THEN
        finding := format('database "%s" at the primary has not been adopted', current_database());
        mend := 'tarn primary adopt PRIMARY-URL';
    END IF;
    IF finding IS NOT NULL THEN
        RETURN NEXT;
        RETURN;
    END IF;
    SELECT string_agg(t.relation::text, ', ') INTO _missing
      FROM (SELECT relation FROM tarn_1.replicated_tables()
            EXCEPT SELECT relation FROM tarn_1.published_tables()) t;
    IF _missing IS NOT NULL THEN
        finding := format('%s is not published', _missing);
        mend := 'tarn primary adopt PRIMARY-URL';
    ELSE
        level := 'ok';
        finding := format('PostgreSQL %s, publication "tarn" with %s tables, %s MiB',
                          current_setting('server_version'),
                          (SELECT count(*) FROM tarn_1.published_tables()),
                          pg_database_size(current_database()) >> 20);
    END IF;
    RETURN NEXT;
    mend := NULL;
    IF current_setting('wal_level') <> 'logical' THEN
        level := 'problem';
        topic := 'wal_level';
        finding := format('wal_level of the primary is %s', current_setting('wal_level'));
        mend := 'ALTER SYSTEM SET wal_level = ''logical''; then restart the primary''s PostgreSQL';
        RETURN NEXT;
        mend := NULL;
    END IF;
    RETURN QUERY SELECT * FROM tarn_1.follower_findings();
    RETURN QUERY SELECT * FROM tarn_1.identity_findings();
    RETURN QUERY SELECT * FROM tarn_1.room_findings(_name, _workers);
    RETURN QUERY SELECT * FROM tarn_1.slot_findings(_name);
    RETURN QUERY SELECT * FROM tarn_1.line_findings();
    topic := 'name';
    SELECT system_identifier INTO _owner FROM tarn.site WHERE name = _name;
    IF _owner <> _system OR _site.name = _name
       OR EXISTS (SELECT FROM tarn.site WHERE name = _name AND role = 'primary') THEN
        level := 'problem';
        finding := format('another site is called "%s"', _name);
        mend := 'choose another --name';
        RETURN NEXT;
    END IF;
    topic := 'heartbeat';
    IF NOT EXISTS (SELECT FROM tarn.heartbeat WHERE at > clock_timestamp() - interval '10 s') THEN
        level := 'advice';
        finding := 'the primary''s agent is not running: the mirror will show itself as STALLED';
        mend := 'tarn primary run PRIMARY-URL';
        RETURN NEXT;
    END IF;
END $$;

-- The keys by which a changed row is found again at a mirror, as adopt has set them.
CREATE FUNCTION tarn_1.identity_findings()
RETURNS TABLE (level text, topic text, finding text, mend text)
LANGUAGE sql STABLE SET search_path = '' AS $$
    SELECT 'problem', 'keys',
           format('%s has no replica identity: its changes could not be followed', t.relation),
           'tarn primary adopt PRIMARY-URL'
      FROM tarn_1.published_tables() t JOIN pg_class c ON c.oid = t.relation
     WHERE c.relreplident = 'n'
        OR c.relreplident = 'd' AND NOT EXISTS (SELECT FROM pg_index i WHERE i.indrelid = c.oid
                                                                         AND i.indisprimary)
        OR c.relreplident = 'i' AND NOT EXISTS (SELECT FROM pg_index i WHERE i.indrelid = c.oid
                                                                         AND i.indisreplident)
$$;

-- Of which volume this is, and whether it is where writes go.
CREATE FUNCTION tarn_1.volume_uuid() RETURNS TABLE (uuid text, is_primary bool)
LANGUAGE sql STABLE AS $$
    SELECT s.value::jsonb ->> 'UUID',
           EXISTS (SELECT FROM tarn.local_site l WHERE l.role = 'primary')
      FROM public.jfs_setting s WHERE s.name = 'format'
$$;

-- What the other server has to be compared with.
CREATE FUNCTION tarn_1.server_facts()
RETURNS TABLE (encoding text, bytes int8, version int4)
LANGUAGE sql STABLE AS $$
    SELECT current_setting('server_encoding'), pg_database_size(current_database()),
           current_setting('server_version_num')::int4
$$;
