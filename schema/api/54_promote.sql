-- Promotion: a mirror becomes the primary, and the primary a mirror. What follows is the contract of
-- mirror/promote*, mirror/rejoin and primary/epoch.
--
-- NUMBERS. A slice id names immutable objects, so an id that is given out twice is a silent wrong
-- byte; a session, inode, ACL or token id given out twice is somebody else's file or right. It would
-- happen whenever a database that has forgotten numbers goes on counting: after a forced promotion
-- (what was not replicated is forgotten) and after a restore. Therefore:
--
--   1. Numbers belong to epochs. Epoch e gives out inodes and slices from e * 2^40 on, sessions from
--      e * 2^32, trash hours, ACLs and tokens from e * 2^20. Promotion and restore begin an epoch
--      before the first write under it.
--   2. A new epoch lies above every number that this database, the bucket's object tarn/epoch or, if
--      it can be asked, the old primary knows of: not only above their epochs. A volume that was
--      loaded from a dump may count far above what its epoch says (epoch_floor()).
--   3. An epoch belongs to one site: site number n, modulo 8, begins only epochs that are n modulo 8.
--      So two mirrors that are both promoted by force while they cannot see each other, or a primary
--      that is restored meanwhile, give out different numbers. The first primary is number 0; a site
--      that joins is given the next number, for good (number_site(); the mark 'promote/site/NAME').
--      Beyond eight sites two of them share a number and must not be promoted past each other.
--   4. A range that a client has taken in an earlier epoch stays the client's, and may be used under
--      a later one: its counter had passed the range before, and nothing counts there any more.
--   5. A copy of a database cannot be told from it by its numbers. That is what tarn/epoch in the
--      bucket is for: epoch, cluster, timeline and the next slice id. Who is behind it does not run.
--   6. An ACL id is an int4, so there are 2047 epochs.
--
-- Sequences of bigserial columns do not replicate: they are moved past what the tables hold. Their
-- numbers mean nothing, except those of ACLs, which rule 1 covers.
--
-- FENCING. A primary is fenced by default_transaction_read_only of its database and by the end of
-- every session that was begun before: what holds nothing then cannot commit. The sessions of
-- programs of ours write none the less where they say write_anyway(). The marker written after the
-- fence is the last commit of the old primary. Once it is a mirror, a trigger refuses what stock
-- clients, who survive all this, still try to write.
--
-- STEPS of a planned promotion, in mirror/promote.c. Each may be carried out again.

-- This session may write though the database is read-only by default.
CREATE FUNCTION tarn_1.write_anyway() RETURNS void
LANGUAGE sql VOLATILE AS $$
    SELECT set_config('default_transaction_read_only', 'off', false)
$$;

------------------------------------------------------------------------------------------- numbers

CREATE FUNCTION tarn_1.number_site(_name text) RETURNS void
LANGUAGE sql VOLATILE AS $$
    INSERT INTO tarn.mark AS m (name, value, at)
    SELECT 'promote/site/' || _name, n.value, clock_timestamp()
      FROM tarn_1.mark('promote/sites') AS n
        ON CONFLICT (name) DO UPDATE SET value = excluded.value, at = excluded.at
$$;

-- The epoch in which the highest number that is known here, or _above, was given out.
CREATE FUNCTION tarn_1.epoch_floor(_above int8) RETURNS int8
LANGUAGE sql STABLE AS $$
    SELECT greatest(_above, 0,
        (SELECT max(s.epoch) FROM tarn.site s),
        (SELECT max(h.epoch) FROM tarn.heartbeat h),
        (SELECT max(c.value >> CASE c.name WHEN 'nextSession' THEN 32 WHEN 'nextTrash' THEN 20
                                           ELSE 40 END)
           FROM public.jfs_counter c
          WHERE c.name IN ('nextInode', 'nextChunk', 'nextSession', 'nextTrash')),
        (SELECT max(r.chunkid) >> 40 FROM public.jfs_chunk_ref r),
        (SELECT max(n.inode) >> 40 FROM public.jfs_node n WHERE n.inode < tarn_1.trash()),
        (SELECT (max(n.inode) - tarn_1.trash()) >> 20 FROM public.jfs_node n
          WHERE n.inode >= tarn_1.trash()),
        (SELECT max(s.sid) >> 32 FROM public.jfs_session2 s),
        (SELECT max(s.sid) >> 32 FROM tarn.slot s),
        (SELECT max(a.id)::int8 >> 20 FROM public.jfs_acl a),
        (SELECT q.last_value >> 20 FROM public.jfs_acl_id_seq q),
        (SELECT max(t.id) >> 20 FROM tarn.token t))
$$;

-- The next epoch that is this site's to begin, above _above and all that is known here.
CREATE FUNCTION tarn_1.next_epoch(_above int8) RETURNS int8
LANGUAGE plpgsql STABLE AS $$
DECLARE
    _number int8 := (SELECT m.value FROM tarn.mark m
                       JOIN tarn.local_site l ON m.name = 'promote/site/' || l.name);
    _epoch  int8 := tarn_1.epoch_floor(_above) + 1;
BEGIN
    _epoch := _epoch + (coalesce(_number, 0) % 8 - _epoch % 8 + 8) % 8;
    IF _epoch > 2047 THEN
        RAISE EXCEPTION 'epoch % would be too high for the ids of ACLs: dump the volume and load it'
                        ' into a new one', _epoch;
    END IF;
    RETURN _epoch;
END $$;

-- Move every sequence of the volume's tables past what the tables hold.
CREATE FUNCTION tarn_1.move_sequences() RETURNS void
LANGUAGE plpgsql SET search_path = '' AS $$
DECLARE
    _of record;
BEGIN
    FOR _of IN
        SELECT d.objid::pg_catalog.regclass AS sequence, c.oid::pg_catalog.regclass AS relation,
               a.attname
          FROM pg_catalog.pg_depend d
          JOIN pg_catalog.pg_class s ON s.oid = d.objid AND s.relkind = 'S'
          JOIN pg_catalog.pg_class c ON c.oid = d.refobjid AND c.relname LIKE 'jfs\_%'
           AND c.relnamespace = 'public'::pg_catalog.regnamespace
          JOIN pg_catalog.pg_attribute a ON a.attrelid = c.oid AND a.attnum = d.refobjsubid
         WHERE d.classid = 'pg_catalog.pg_class'::pg_catalog.regclass
           AND d.deptype IN ('a', 'i')
    LOOP
        EXECUTE format('SELECT pg_catalog.setval(%L, greatest((SELECT last_value FROM %s),'
                       ' (SELECT max(%I) FROM %s)))',
                       _of.sequence, _of.sequence, _of.attname, _of.relation);
    END LOOP;
END $$;

-- Everything that is numbered from here on is new. Rows of tarn.token are numbered by whoever makes
-- them: above epoch * 2^20, and above the highest there is.
CREATE FUNCTION tarn_1.begin_epoch(_epoch int8) RETURNS void
LANGUAGE plpgsql AS $$
BEGIN
    INSERT INTO public.jfs_counter AS c (name, value)
    VALUES ('nextInode', _epoch << 40), ('nextChunk', _epoch << 40),
           ('nextSession', _epoch << 32), ('nextTrash', _epoch << 20)
        ON CONFLICT (name) DO UPDATE SET value = greatest(c.value, excluded.value);
    PERFORM tarn_1.move_sequences();
    PERFORM setval('public.jfs_acl_id_seq',
                   greatest(_epoch << 20, (SELECT q.last_value FROM public.jfs_acl_id_seq q)));
    UPDATE tarn.site s
       SET epoch = _epoch, system_identifier = tarn_1.system_identifier()
      FROM tarn.local_site l WHERE s.name = l.name;
END $$;

-- Begin an epoch at the primary, after a restore or a move to another server. _above: what its bucket
-- says. Clients must be unmounted: they own ranges that the restored database has forgotten.
CREATE FUNCTION tarn_1.raise_epoch(_above int8) RETURNS TABLE (epoch int8)
LANGUAGE plpgsql AS $$
DECLARE
    _epoch int8 := tarn_1.next_epoch(_above);
BEGIN
    PERFORM tarn_1.begin_epoch(_epoch);
    RETURN QUERY SELECT _epoch;
END $$;

------------------------------------------------------------------------------------------- fencing

-- What a primary's agent has to know before it does anything.
CREATE FUNCTION tarn_1.primary_standing() RETURNS TABLE (role text, state text, detail text)
LANGUAGE sql STABLE AS $$ SELECT l.role, l.state, l.detail FROM tarn.local_site l $$;

-- Nobody begins to write from now on. _state is what tarn.local_site says while it lasts: FENCED by a
-- promotion, or READONLY by a lease that ran out. Answers the time from which on sessions are born
-- read-only, once this is committed.
CREATE FUNCTION tarn_1.fence(_state text, _detail text) RETURNS TABLE (is_new bool)
LANGUAGE plpgsql AS $$
BEGIN
    EXECUTE format('ALTER DATABASE %I SET default_transaction_read_only = on', current_database());
    UPDATE tarn.local_site SET state = _state, detail = _detail
     WHERE role = 'primary' AND state <> _state;
    RETURN QUERY SELECT FOUND;
END $$;

CREATE FUNCTION tarn_1.fence_time() RETURNS TABLE (at text)
LANGUAGE sql VOLATILE AS $$ SELECT clock_timestamp()::text $$;

-- End the sessions that began before the fence, except this one and what replicates; answers how many
-- there were. Zero twice in a row, a while apart: one that is just beginning is not shown yet.
CREATE FUNCTION tarn_1.fence_end_sessions(_before text) RETURNS TABLE (ended int8)
LANGUAGE sql VOLATILE AS $$
    SELECT count(pg_terminate_backend(a.pid))
      FROM pg_stat_activity a
     WHERE a.datname = current_database() AND a.pid <> pg_backend_pid()
       AND a.backend_type = 'client backend' AND a.backend_start <= _before::timestamptz
$$;

-- Lift the fence; _state: only one that was set as this.
CREATE FUNCTION tarn_1.unfence(_state text) RETURNS TABLE (is_lifted bool)
LANGUAGE plpgsql AS $$
BEGIN
    IF EXISTS (SELECT FROM tarn.local_site WHERE role = 'primary' AND state <> _state) THEN
        RETURN QUERY SELECT false;
        RETURN;
    END IF;
    EXECUTE format('ALTER DATABASE %I RESET default_transaction_read_only', current_database());
    UPDATE tarn.local_site SET state = 'PRIMARY', detail = NULL WHERE role = 'primary';
    RETURN QUERY SELECT true;
END $$;

-- A mirror's tables are written by replication alone. Made where a primary has become a mirror: its
-- clients are still there, and try again. Ours are told by it to look for the new primary, before they
-- take away a lane here that goes on there.
CREATE FUNCTION tarn_1.mirror_guard() RETURNS trigger
LANGUAGE plpgsql SET search_path = pg_catalog AS $$
BEGIN
    IF current_setting('application_name') LIKE 'tarn-mirror%'
       OR EXISTS (SELECT FROM tarn.local_site WHERE role = 'primary') THEN
        RETURN NULL;
    END IF;
    RAISE EXCEPTION 'this database is a mirror now: write to the primary' USING ERRCODE = '25006';
END $$;

CREATE FUNCTION tarn_1.guard_tables(_is_guarded bool) RETURNS void
LANGUAGE plpgsql AS $$
DECLARE
    _table regclass;
BEGIN
    -- A lock is taken only where there is something to do: readers would be waited for.
    FOR _table IN SELECT c.oid::regclass FROM pg_class c
                   WHERE c.relkind = 'r'
                     AND (c.relnamespace = 'public'::regnamespace AND c.relname LIKE 'jfs\_%'
                          OR c.oid IN (SELECT r.relation FROM tarn_1.replicated_tables() r))
                     AND _is_guarded <> EXISTS (SELECT FROM pg_trigger t
                                                 WHERE t.tgrelid = c.oid
                                                   AND t.tgname = 'tarn_mirror_guard') LOOP
        IF NOT _is_guarded THEN
            EXECUTE format('DROP TRIGGER tarn_mirror_guard ON %s', _table);
        ELSE
            EXECUTE format('CREATE TRIGGER tarn_mirror_guard BEFORE INSERT OR UPDATE OR DELETE'
                           ' OR TRUNCATE ON %s FOR EACH STATEMENT'
                           ' EXECUTE FUNCTION tarn_1.mirror_guard()', _table);
        END IF;
    END LOOP;
END $$;

-- A mirror that is begun in a fenced database: what the fence was for is done by the guard from now on.
CREATE FUNCTION tarn_1.guard_if_fenced() RETURNS void
LANGUAGE plpgsql AS $$
BEGIN
    IF EXISTS (SELECT FROM pg_db_role_setting s JOIN pg_database d ON d.oid = s.setdatabase
                WHERE d.datname = current_database() AND s.setrole = 0
                  AND 'default_transaction_read_only=on' = ANY (s.setconfig)) THEN
        PERFORM tarn_1.guard_tables(true);
        EXECUTE format('ALTER DATABASE %I RESET default_transaction_read_only',
                       current_database());
    END IF;
END $$;

---------------------------------------------------------------------------------- what is checked

-- May this mirror become the primary? _is_forced: the old one is given up.
CREATE FUNCTION tarn_1.promote_findings(_is_forced bool)
RETURNS TABLE (level text, topic text, finding text, mend text)
LANGUAGE plpgsql STABLE AS $$
DECLARE
    _site  tarn.local_site := (SELECT l FROM tarn.local_site l);
    _slots int := current_setting('max_replication_slots')::int
                  - (SELECT count(*) FROM pg_replication_slots);
    _wait  int8;
BEGIN
    topic := 'role';
    level := 'problem';
    IF _site.role IS DISTINCT FROM 'mirror' THEN
        finding := format('this database is %s', coalesce('the primary "' || _site.name || '"',
                                                          'no site of Tarn'));
        mend := 'give the URL of the mirror that is to become the primary';
        RETURN NEXT;
        RETURN;
    ELSIF _site.ready_at IS NULL THEN
        finding := format('mirror "%s" has never been consistent', _site.name);
        mend := 'finish it with tarn mirror join';
    ELSIF _site.state = 'LOST' THEN
        level := CASE WHEN _is_forced THEN 'advice' ELSE 'problem' END;
        finding := format('mirror "%s" is LOST: %s', _site.name, _site.detail);
        mend := 'seed it again, or promote another; with --force what is missing is missing';
    ELSE
        level := 'ok';
        finding := format('mirror "%s" is %s', _site.name, _site.state);
    END IF;
    RETURN NEXT;
    mend := NULL;
    IF NOT _is_forced AND NOT EXISTS (
           SELECT FROM pg_stat_subscription t
            WHERE t.subname = _site.subscription AND t.relid IS NULL AND t.pid IS NOT NULL)
       AND NOT EXISTS (SELECT FROM tarn.promotion p WHERE p.ended_at IS NULL) THEN
        topic := 'subscription';
        level := 'problem';
        finding := 'nothing is being applied: the subscription has no worker';
        mend := 'tarn mirror status says why; without the primary, --force';
        RETURN NEXT;
    END IF;
    topic := 'wal_level';
    level := CASE WHEN current_setting('wal_level') = 'logical' THEN 'ok'
                  WHEN _is_forced THEN 'advice' ELSE 'problem' END;
    finding := format('wal_level of this server is %s', current_setting('wal_level'));
    mend := CASE WHEN level <> 'ok' THEN 'ALTER SYSTEM SET wal_level = ''logical''; then restart'
                                         ' PostgreSQL: nobody can follow this site before' END;
    RETURN NEXT;
    topic := 'slots';
    level := CASE WHEN _slots >= (SELECT count(*) FROM tarn.site) THEN 'ok'
                  WHEN _is_forced THEN 'advice' ELSE 'problem' END;
    finding := format('%s replication slots are free', _slots);
    mend := CASE WHEN level <> 'ok' THEN 'ALTER SYSTEM SET max_replication_slots = 20; then restart'
                                         ' PostgreSQL' END;
    RETURN NEXT;
    topic := 'privileges';
    IF (SELECT rolsuper FROM pg_roles WHERE rolname = current_user) THEN
        level := 'ok';
        finding := format('role "%s" may promote', current_user);
        mend := NULL;
    ELSE
        level := 'problem';
        finding := format('role "%s" is no superuser', current_user);
        mend := 'give the URL of a superuser: roles are switched, which owners alone may not';
    END IF;
    RETURN NEXT;
    mend := NULL;
    topic := 'blocks';
    IF _site.local_bucket IS NOT NULL THEN
        SELECT count(*) INTO _wait FROM tarn.slice_state WHERE want = 'copy';
        level := CASE WHEN _wait = 0 AND EXISTS (SELECT FROM tarn.cursor WHERE name = 'backfill'
                                                   AND done_at IS NOT NULL)
                      THEN 'ok' ELSE 'advice' END;
        finding := format('%s slices are not yet in this site''s bucket', _wait)
                   || CASE WHEN level <> 'ok' AND _wait = 0 THEN ', and history is still walked'
                           ELSE '' END;
        mend := CASE WHEN level <> 'ok'
                     THEN 'tarn syncer run; it goes on after the promotion, and readers ask the old'
                          ' bucket meanwhile' END;
        RETURN NEXT;
    END IF;
END $$;

-- May this primary be made a mirror of its mirror _site?
CREATE FUNCTION tarn_1.demote_findings(_site text)
RETURNS TABLE (level text, topic text, finding text, mend text)
LANGUAGE plpgsql STABLE AS $$
DECLARE
    _is_super bool := (SELECT rolsuper FROM pg_roles WHERE rolname = current_user);
    _count    int8;
    _roles    text;
BEGIN
    topic := 'primary';
    level := 'problem';
    IF (SELECT role FROM tarn.local_site) IS DISTINCT FROM 'primary' THEN
        finding := format('database "%s" is no primary', current_database());
        mend := 'tarn mirror status says whom the mirror follows';
        RETURN NEXT;
        RETURN;
    END IF;
    SELECT s.lag_bytes INTO _count FROM tarn_1.slots() s
     WHERE s.site = _site AND s.wal_status <> 'lost';
    IF NOT FOUND THEN
        finding := format('the primary has no replication slot for "%s"', _site);
        mend := 'the mirror must be seeded again before it can be promoted';
    ELSE
        level := CASE WHEN _count < 16777216 THEN 'ok' ELSE 'advice' END;
        finding := format('primary "%s", the mirror is %s bytes behind',
                          (SELECT name FROM tarn.local_site), _count);
        mend := CASE WHEN level <> 'ok' THEN 'writers are stopped until that is applied; wait for it'
                END;
    END IF;
    RETURN NEXT;
    topic := 'privileges';
    IF _is_super THEN
        level := 'ok';
        finding := format('role "%s" may fence the primary', current_user);
        mend := NULL;
    ELSE
        level := 'problem';
        finding := format('role "%s" is no superuser of the primary', current_user);
        mend := 'give --primary with the URL of a superuser';
    END IF;
    RETURN NEXT;
    level := 'problem';
    topic := 'prepared transactions';
    SELECT count(*) INTO _count FROM pg_prepared_xacts WHERE database = current_database();
    IF _count > 0 THEN
        finding := format('%s prepared transactions could commit behind the fence', _count);
        mend := 'SELECT gid FROM pg_prepared_xacts; and COMMIT PREPARED or ROLLBACK PREPARED each';
        RETURN NEXT;
    END IF;
    topic := 'roles';
    SELECT string_agg(DISTINCT quote_ident(r.rolname), ', ') INTO _roles
      FROM pg_db_role_setting s JOIN pg_roles r ON r.oid = s.setrole,
           unnest(s.setconfig) AS c (setting)
     WHERE c.setting ILIKE 'default_transaction_read_only=%';
    IF _roles IS NOT NULL THEN
        finding := format('the fence would not hold %s: they have their own'
                          ' default_transaction_read_only', _roles);
        mend := 'ALTER ROLE … RESET default_transaction_read_only; also IN DATABASE';
        RETURN NEXT;
    END IF;
    topic := 'clients';
    SELECT count(*) INTO _count FROM public.jfs_session2 s
     WHERE s.expire > extract(epoch FROM clock_timestamp());
    level := 'ok';
    mend := NULL;
    finding := format('%s clients are mounted read-write; stock ones among them see EIO on writes'
                      ' from then on', _count);
    RETURN NEXT;
END $$;
