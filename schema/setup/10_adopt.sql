-- What is looked at before anything of ours is installed: functions of this session alone
-- (pg_temp), so that a refused database is left exactly as it was.
--
-- Each finding is one row: level 'ok' | 'advice' | 'problem', a topic, one sentence, and the command
-- that mends it (NULL when there is nothing to mend).

CREATE OR REPLACE FUNCTION pg_temp.volume_tables() RETURNS SETOF pg_class
LANGUAGE sql STABLE AS $$
    SELECT * FROM pg_class
     WHERE relnamespace = 'public'::regnamespace AND relkind = 'r' AND relname LIKE 'jfs\_%'
$$;

-- The row of tarn.local_site as JSON; NULL where there is no such table or row.
CREATE OR REPLACE FUNCTION pg_temp.local_site() RETURNS jsonb
LANGUAGE plpgsql AS $$
DECLARE
    _site jsonb;
BEGIN
    IF to_regclass('tarn.local_site') IS NOT NULL THEN
        EXECUTE 'SELECT to_jsonb(s) FROM tarn.local_site s' INTO _site;
    END IF;
    RETURN _site;
END $$;

-- The format row; NULL where there is none.
CREATE OR REPLACE FUNCTION pg_temp.format_row() RETURNS jsonb
LANGUAGE plpgsql AS $$
DECLARE
    _text text;
BEGIN
    IF to_regclass('public.jfs_setting') IS NOT NULL THEN
        EXECUTE 'SELECT value FROM public.jfs_setting WHERE name = ''format''' INTO _text;
    END IF;
    RETURN _text::jsonb;
END $$;

-- The digest of the functions that are installed here; NULL: none, or nobody knows which.
CREATE OR REPLACE FUNCTION pg_temp.installed_api(_schema text) RETURNS text
LANGUAGE sql STABLE AS $$ SELECT obj_description(to_regnamespace(_schema), 'pg_namespace') $$;

-- What is the same at both kinds of site.
CREATE OR REPLACE FUNCTION pg_temp.server_findings()
RETURNS TABLE (level text, topic text, finding text, mend text)
LANGUAGE plpgsql AS $$
BEGIN
    topic := 'server';
    IF current_setting('server_version_num')::int NOT BETWEEN 140000 AND 189999 THEN
        level := 'problem';
        finding := format('PostgreSQL %s: 14 to 18 are supported', current_setting('server_version'));
        mend := 'move the database to PostgreSQL 15 with pg_dump and pg_restore';
    ELSE
        level := 'ok';
        finding := format('PostgreSQL %s', current_setting('server_version'));
    END IF;
    RETURN NEXT;
    mend := NULL;
    IF pg_is_in_recovery() THEN
        level := 'problem';
        finding := 'this server is a standby and cannot be written';
        mend := 'give the URL of the server that it follows';
        RETURN NEXT;
    END IF;
    topic := 'wal_writer_delay';
    IF current_setting('wal_writer_delay')::interval > '10ms' THEN
        level := 'advice';
        finding := format('wal_writer_delay is %s: changes become visible to the change feed that'
                          ' much later', current_setting('wal_writer_delay'));
        mend := 'ALTER SYSTEM SET wal_writer_delay = ''10ms''; SELECT pg_reload_conf();';
        RETURN NEXT;
    END IF;
END $$;

-- A volume that we can serve: in schema public under the prefix jfs_, of a known version, with the
-- columns that the functions name.
CREATE OR REPLACE FUNCTION pg_temp.volume_findings()
RETURNS TABLE (level text, topic text, finding text, mend text)
LANGUAGE plpgsql AS $$
DECLARE
    _format  jsonb := pg_temp.format_row();
    _other   text;
    _missing text;
BEGIN
    topic := 'volume';
    level := 'problem';
    IF _format IS NULL THEN
        SELECT c.oid::regclass::text INTO _other
          FROM pg_class c JOIN pg_namespace n ON n.oid = c.relnamespace
         WHERE c.relkind = 'r' AND c.relname LIKE 'jfs\_%setting'
           AND (n.nspname, c.relname) <> ('public', 'jfs_setting')
           AND n.nspname NOT LIKE 'pg\_%' LIMIT 1;
        IF _other IS NULL THEN
            finding := format('database "%s" holds no volume', current_database());
            mend := 'tarn-primary format URL NAME --bucket DIR/';
        ELSE
            finding := format('the volume of %s lives in another schema or carries a table prefix;'
                              ' only schema public with prefix jfs_ is supported', _other);
            mend := 'move the tables to schema public of a database of their own, and drop'
                    ' search_path and table_prefix from the URL of every client';
        END IF;
        RETURN NEXT;
        RETURN;
    END IF;
    IF coalesce((_format ->> 'MetaVersion')::int, 1) > 1 THEN
        finding := format('MetaVersion %s is newer than this program knows',
                          _format ->> 'MetaVersion');
        mend := 'use a newer release of Tarn';
        RETURN NEXT;
    END IF;
    SELECT string_agg(need.relation || '.' || need.attribute, ', ' ORDER BY 1) INTO _missing
      FROM (VALUES ('jfs_node', 'atimensec'), ('jfs_node', 'mtimensec'), ('jfs_node', 'ctimensec'),
                   ('jfs_node', 'access_acl_id'), ('jfs_node', 'default_acl_id'),
                   ('jfs_node', 'tier_id'), ('jfs_edge', 'id'), ('jfs_symlink', 'target'),
                   ('jfs_xattr', 'id'), ('jfs_chunk', 'id'), ('jfs_chunk_ref', 'refs'),
                   ('jfs_delslices', 'slices'), ('jfs_delfile', 'expire'),
                   ('jfs_session2', 'expire'), ('jfs_sustained', 'sid'), ('jfs_flock', 'ltype'),
                   ('jfs_plock', 'records'), ('jfs_dir_stats', 'used_inodes'),
                   ('jfs_dir_quota', 'used_inodes'), ('jfs_user_group_quota', 'used_inodes'),
                   ('jfs_detached_node', 'added'), ('jfs_acl', 'named_groups'),
                   ('jfs_counter', 'value'))
           AS need (relation, attribute)
     WHERE NOT EXISTS (SELECT FROM pg_attribute
                        WHERE attrelid = to_regclass('public.' || need.relation)
                          AND attname = need.attribute AND NOT attisdropped);
    IF _missing IS NOT NULL THEN
        finding := format('the tables are those of an older client: %s is missing', _missing);
        mend := 'mount the volume read-write once with a JuiceFS client of version 1.4 or newer';
        RETURN NEXT;
    END IF;
    level := 'ok';
    mend := NULL;
    finding := format('volume "%s", UUID %s', _format ->> 'Name', _format ->> 'UUID');
    RETURN NEXT;
    topic := 'trash';
    IF coalesce((_format ->> 'TrashDays')::int, 0) < 1 THEN
        level := 'advice';
        finding := 'TrashDays is 0: a stock JuiceFS client deletes blocks at once, also those that a'
                   ' mirror still needs';
        mend := 'juicefs config URL --trash-days 1';
    ELSE
        finding := format('TrashDays is %s: beside stock clients a mirror must lag less than that',
                          _format ->> 'TrashDays');
    END IF;
    RETURN NEXT;
END $$;

-- Keys by which a changed row is found again at a mirror.
CREATE OR REPLACE FUNCTION pg_temp.key_findings()
RETURNS TABLE (level text, topic text, finding text, mend text)
LANGUAGE plpgsql AS $$
BEGIN
    topic := 'keys';
    level := 'problem';
    FOR finding, mend IN
        SELECT format('%s has no unique index on (%s) whose columns are NOT NULL',
                      need.relation, array_to_string(need.columns, ', ')),
               format('CREATE UNIQUE INDEX "%s" ON public.%s (%s);',
                      need.index, need.relation, array_to_string(need.columns, ', '))
          FROM (VALUES ('jfs_edge', 'UQE_jfs_edge_edge', '{parent,name}'::name[]),
                       ('jfs_xattr', 'UQE_jfs_xattr_name', '{inode,name}'),
                       ('jfs_chunk', 'UQE_jfs_chunk_chunk', '{inode,indx}'))
               AS need (relation, index, columns)
         WHERE NOT EXISTS (
               SELECT FROM pg_index i
                WHERE i.indrelid = to_regclass('public.' || need.relation)
                  AND i.indisunique AND i.indimmediate AND i.indisvalid
                  AND i.indpred IS NULL AND i.indexprs IS NULL
                  AND need.columns = (SELECT array_agg(a.attname ORDER BY key.position)
                                        FROM unnest(i.indkey::int2[]) WITH ORDINALITY
                                                 AS key (number, position)
                                        JOIN pg_attribute a
                                          ON a.attrelid = i.indrelid AND a.attnum = key.number
                                         AND a.attnotnull))
        UNION ALL
        SELECT format('%s has no primary key', c.relname),
               'mount the volume read-write once with a JuiceFS client of version 1.0 or newer'
          FROM pg_temp.volume_tables() c
         WHERE NOT EXISTS (SELECT FROM pg_index i WHERE i.indrelid = c.oid AND i.indisprimary)
    LOOP
        RETURN NEXT;
    END LOOP;
    IF finding IS NULL THEN
        level := 'ok';
        finding := 'every table has the keys that replication needs';
        RETURN NEXT;
    END IF;
END $$;

-- Settings of a server that others replicate from.
CREATE OR REPLACE FUNCTION pg_temp.publisher_findings()
RETURNS TABLE (level text, topic text, finding text, mend text)
LANGUAGE plpgsql AS $$
DECLARE
    _slots   int := current_setting('max_replication_slots')::int
                    - (SELECT count(*) FROM pg_replication_slots);
    _senders int := current_setting('max_wal_senders')::int
                    - (SELECT count(*) FROM pg_stat_replication);
BEGIN
    topic := 'wal_level';
    IF current_setting('wal_level') = 'logical' THEN
        level := 'ok';
        finding := 'wal_level is logical';
    ELSE
        level := 'problem';
        finding := format('wal_level is %s: nothing can be replicated',
                          current_setting('wal_level'));
        mend := 'ALTER SYSTEM SET wal_level = ''logical''; then restart PostgreSQL';
    END IF;
    RETURN NEXT;
    level := 'advice';
    topic := 'max_replication_slots';
    IF _slots < 1 OR _senders < 1 THEN
        finding := format('%s replication slots and %s senders are free: a mirror needs one of each,'
                          ' and a few more while it makes its first copy', _slots, _senders);
        mend := 'ALTER SYSTEM SET max_replication_slots = 20; ALTER SYSTEM SET max_wal_senders = 20;'
                ' then restart PostgreSQL';
        RETURN NEXT;
    END IF;
    topic := 'max_slot_wal_keep_size';
    IF current_setting('max_slot_wal_keep_size') = '-1' THEN
        finding := 'max_slot_wal_keep_size is unlimited: a mirror that stays away fills this'
                   ' server''s disk';
        mend := 'ALTER SYSTEM SET max_slot_wal_keep_size = ''64GB''; SELECT pg_reload_conf();'
                ' with half of what the disk of pg_wal has free';
        RETURN NEXT;
    END IF;
    topic := 'isolation';
    IF current_setting('default_transaction_isolation') <> 'read committed' THEN
        finding := format('default_transaction_isolation is %s: clients retry far more often',
                          current_setting('default_transaction_isolation'));
        mend := format('ALTER DATABASE %I SET default_transaction_isolation = ''read committed'';',
                       current_database());
        RETURN NEXT;
    END IF;
END $$;

CREATE OR REPLACE FUNCTION pg_temp.privilege_findings()
RETURNS TABLE (level text, topic text, finding text, mend text)
LANGUAGE plpgsql AS $$
DECLARE
    _foreign text;
BEGIN
    topic := 'privileges';
    SELECT string_agg(relname, ', ' ORDER BY relname) INTO _foreign
      FROM pg_temp.volume_tables() WHERE NOT pg_has_role(relowner, 'USAGE');
    IF _foreign IS NOT NULL THEN
        level := 'problem';
        finding := format('role "%s" does not own %s', current_user, _foreign);
        mend := 'use the URL of the role that owns the volume''s tables';
    ELSIF NOT has_database_privilege(current_database(), 'CREATE') THEN
        level := 'problem';
        finding := format('role "%s" may not create a schema in database "%s"', current_user,
                          current_database());
        mend := format('GRANT CREATE ON DATABASE %I TO %I;', current_database(), current_user);
    ELSE
        level := 'ok';
        finding := format('role "%s" may change the volume''s tables', current_user);
    END IF;
    RETURN NEXT;
    -- "$user" then means our schema, and a stock client would make its next table there.
    IF current_user = 'tarn' AND current_setting('search_path') LIKE '%$user%' THEN
        level := 'advice';
        finding := 'the role has the name of our schema: new tables of stock clients would land in'
                   ' it';
        mend := 'ALTER ROLE tarn SET search_path = public;';
        RETURN NEXT;
    END IF;
END $$;

-- New tables and columns have to be at the mirrors before the primary publishes them: apply stops at
-- what it does not know. Which version a mirror has, it has said itself.
CREATE OR REPLACE FUNCTION pg_temp.upgrade_findings(_newest int4)
RETURNS TABLE (level text, topic text, finding text, mend text)
LANGUAGE plpgsql AS $$
DECLARE
    _site record;
BEGIN
    IF to_regclass('tarn.site_version') IS NULL THEN
        RETURN; -- and nothing below is looked at, for it names what is not there
    END IF;
    IF (SELECT max(version) FROM tarn.migration) >= _newest THEN
        RETURN;
    END IF;
    FOR _site IN SELECT s.name, v.version FROM tarn.site s JOIN tarn.site_version v ON v.site = s.name
                  WHERE s.role = 'mirror' AND v.version < _newest ORDER BY s.name LOOP
        level := 'problem';
        topic := 'mirrors';
        finding := format('mirror "%s" has version %s of Tarn''s tables, and this Tarn brings %s: it'
                          ' would stop at what it does not know', _site.name, _site.version, _newest);
        mend := format('install this version at "%s" first, and restart tarn mirror run there',
                       _site.name);
        RETURN NEXT;
    END LOOP;
END $$;

-- Everything about making this database's volume a primary. Privileges come first: the rest reads
-- the volume's tables.
CREATE OR REPLACE FUNCTION pg_temp.adopt_findings()
RETURNS TABLE (level text, topic text, finding text, mend text)
LANGUAGE plpgsql AS $$
BEGIN
    RETURN QUERY SELECT * FROM pg_temp.server_findings();
    RETURN QUERY SELECT * FROM pg_temp.privilege_findings();
    IF EXISTS (SELECT FROM pg_temp.privilege_findings() f WHERE f.level = 'problem') THEN
        RETURN;
    END IF;
    RETURN QUERY SELECT * FROM pg_temp.volume_findings();
    IF pg_temp.format_row() IS NULL THEN
        RETURN;
    END IF;
    IF pg_temp.local_site() ->> 'role' = 'mirror' THEN
        RETURN QUERY SELECT 'problem', 'role',
            format('this database is the mirror "%s"', pg_temp.local_site() ->> 'name'),
            'give the URL of the primary';
    END IF;
    RETURN QUERY SELECT * FROM pg_temp.key_findings();
    RETURN QUERY SELECT * FROM pg_temp.publisher_findings();
END $$;

-- May a new volume be made here? A database without a format row is free only when it holds no
-- jfs_ table at all: another client may be in the middle of its own format.
CREATE OR REPLACE FUNCTION pg_temp.format_findings()
RETURNS TABLE (level text, topic text, finding text, mend text)
LANGUAGE plpgsql AS $$
BEGIN
    RETURN QUERY SELECT * FROM pg_temp.server_findings();
    RETURN QUERY SELECT * FROM pg_temp.publisher_findings();
    RETURN QUERY SELECT * FROM pg_temp.privilege_findings();
    IF EXISTS (SELECT FROM pg_temp.privilege_findings() f WHERE f.level = 'problem') THEN
        RETURN;
    ELSIF pg_temp.format_row() IS NOT NULL THEN
        RETURN QUERY SELECT 'problem', 'database',
            format('database "%s" already holds the volume "%s"', current_database(),
                   pg_temp.format_row() ->> 'Name'),
            'use another database; one holds one volume';
    ELSIF EXISTS (SELECT FROM pg_temp.volume_tables()) OR to_regnamespace('tarn') IS NOT NULL THEN
        RETURN QUERY SELECT 'problem', 'database',
            format('database "%s" already holds tables of a volume or of Tarn', current_database()),
            'use an empty database';
    ELSE
        RETURN QUERY SELECT 'ok', 'database', format('database "%s" is empty', current_database()),
            NULL::text;
    END IF;
END $$;
