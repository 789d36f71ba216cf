-- The end of a volume: functions of this session alone, since what is installed goes with it.

-- Why the volume must not be destroyed; NULL: nothing stands against it. _force: only whether it is
-- the one that is meant.
CREATE OR REPLACE FUNCTION pg_temp.destroy_obstacle(_uuid text, _force bool) RETURNS text
LANGUAGE plpgsql AS $$
DECLARE
    _own   text := pg_temp.format_row() ->> 'UUID';
    _found text;
BEGIN
    IF _own IS DISTINCT FROM _uuid THEN
        RETURN format('the UUID of this volume is %s, not %s', _own, _uuid);
    ELSIF pg_temp.local_site() ->> 'role' = 'mirror' THEN
        RETURN 'this is a mirror: run tarn mirror leave, then drop the database';
    ELSIF _force THEN
        RETURN NULL;
    END IF;
    SELECT string_agg(s.name, ', ' ORDER BY s.name) INTO _found
      FROM tarn.site s WHERE s.role = 'mirror';
    IF _found IS NOT NULL THEN
        RETURN format('mirrors follow it: %s; run tarn mirror leave there first', _found);
    END IF;
    SELECT string_agg(format('%s at %s:%s', s.sid, i ->> 'HostName', i ->> 'MountPoint'), ', '
                      ORDER BY s.sid) INTO _found
      FROM public.jfs_session2 s, LATERAL (SELECT convert_from(s.info, 'UTF8')::jsonb) AS t (i)
     WHERE s.expire >= extract(epoch FROM clock_timestamp());
    IF _found IS NOT NULL THEN
        RETURN format('sessions are active: %s; unmount them first', _found);
    END IF;
    IF NOT pg_try_advisory_xact_lock(hashtext('tarn'), 3) THEN
        RETURN 'tarn primary run is running for it; stop it first';
    END IF;
    RETURN NULL;
END $$;

-- Drop the volume's tables and all that is ours. What stands against it now is raised.
CREATE OR REPLACE FUNCTION pg_temp.destroy_volume(_uuid text, _force bool) RETURNS void
LANGUAGE plpgsql AS $$
DECLARE
    _why   text;
    _table text;
BEGIN
    LOCK TABLE public.jfs_session2 IN ACCESS EXCLUSIVE MODE;
    _why := pg_temp.destroy_obstacle(_uuid, _force);
    IF _why IS NOT NULL THEN
        RAISE EXCEPTION '%', _why USING ERRCODE = 'object_in_use';
    END IF;
    DROP PUBLICATION IF EXISTS tarn;
    FOREACH _table IN ARRAY ARRAY['node', 'edge', 'symlink', 'xattr', 'chunk', 'chunk_ref',
        'delslices', 'delfile', 'session', 'session2', 'sustained', 'flock', 'plock', 'dir_stats',
        'dir_quota', 'user_group_quota', 'detached_node', 'acl', 'delegation_token', 'change_log',
        'counter', 'setting'] LOOP
        EXECUTE 'DROP TABLE IF EXISTS public.jfs_' || _table || ' CASCADE';
    END LOOP;
    DROP SCHEMA IF EXISTS tarn_1, tarn CASCADE;
END $$;
