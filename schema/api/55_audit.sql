-- The audit: is each row of each published table at this mirror what it is at the primary?
--
-- Both sites answer the same questions about a table, which is described by a JSON object that the
-- mirror makes once from the columns of both (audit_plan): relation; key, its columns and types,
-- the replica identity; ordered, how many leading ones of them are ordered alike everywhere, which
-- text is not; columns, those that both sites have, by name. A key is a JSON array of texts.
--
-- A row's version is the place and the transaction of its tuple: the same version is the same row,
-- unchanged in between. How a difference is told from a delay stands at audit_judge(), how a row is
-- written here without disturbing apply at audit_repair(). Who calls what when: mirror/audit*.c.

---------------------------------------------------------------------------- asked of both sites

-- A number that only equal hash functions agree on: they depend on the order of bytes of the machine.
CREATE FUNCTION tarn_1.audit_probe() RETURNS TABLE (probe int8)
LANGUAGE sql STABLE AS $$
    SELECT hash_record_extended(ROW(1::int8, 'tarn'::text COLLATE "C", '\x00ff'::bytea), 0)
$$;

-- The published tables as JSON, in order of name. Asked of the primary.
CREATE FUNCTION tarn_1.audit_tables() RETURNS TABLE (tables text)
LANGUAGE sql STABLE SET search_path = '' AS $$
    SELECT coalesce(json_agg(json_build_object(
               'relation', t.relation::text, 'rows', greatest(c.reltuples, 0)::int8,
               'key', k.names, 'types', k.types, 'ordered', k.ordered, 'columns', a.names)
               ORDER BY t.relation::text COLLATE "C"), '[]')::text
      FROM tarn_1.published_tables() t
      JOIN pg_catalog.pg_class c ON c.oid = t.relation
      JOIN pg_catalog.pg_index i
        ON i.indrelid = c.oid
       AND CASE c.relreplident WHEN 'i' THEN i.indisreplident ELSE i.indisprimary END
      CROSS JOIN LATERAL (
           SELECT json_agg(ka.attname ORDER BY n.position) AS names,
                  json_agg(pg_catalog.format_type(ka.atttypid, NULL) ORDER BY n.position) AS types,
                  coalesce(min(n.position) FILTER (WHERE ka.attcollation <> 0) - 1, count(*))
                      AS ordered
             FROM unnest(i.indkey::int2[]) WITH ORDINALITY AS n (number, position)
             JOIN pg_catalog.pg_attribute ka ON ka.attrelid = c.oid AND ka.attnum = n.number) k
      CROSS JOIN LATERAL (
           SELECT json_agg(ca.attname ORDER BY ca.attname) AS names
             FROM pg_catalog.pg_attribute ca
            WHERE ca.attrelid = c.oid AND ca.attnum > 0 AND NOT ca.attisdropped) a
$$;

-- The first _count columns of the key as a list, each with _prefix before it.
CREATE FUNCTION tarn_1.audit_key(_table jsonb, _count int4, _prefix text) RETURNS text
LANGUAGE sql IMMUTABLE AS $$
    SELECT string_agg(format('%s%I', _prefix, k.name), ', ' ORDER BY k.position)
      FROM jsonb_array_elements_text(_table -> 'key') WITH ORDINALITY AS k (name, position)
     WHERE k.position <= _count
$$;

-- The first _count values of a key as a list of literals of their types.
CREATE FUNCTION tarn_1.audit_literals(_table jsonb, _count int4, _key jsonb) RETURNS text
LANGUAGE sql IMMUTABLE AS $$
    SELECT string_agg(format('%L::%s', k.value, t.type), ', ' ORDER BY k.position)
      FROM jsonb_array_elements_text(_key) WITH ORDINALITY AS k (value, position)
      JOIN jsonb_array_elements_text(_table -> 'types') WITH ORDINALITY AS t (type, position)
        USING (position)
     WHERE k.position <= _count
$$;

-- The key of row t as a JSON array of texts, of its first _count columns.
CREATE FUNCTION tarn_1.audit_key_of_row(_table jsonb, _count int4) RETURNS text
LANGUAGE sql IMMUTABLE AS $$
    SELECT 'json_build_array(' || string_agg(format('t.%I::text', k.name), ', ' ORDER BY k.position)
           || ')'
      FROM jsonb_array_elements_text(_table -> 'key') WITH ORDINALITY AS k (name, position)
     WHERE k.position <= _count
$$;

-- The compared columns of row t: _format 't.%I', or with a cast.
CREATE FUNCTION tarn_1.audit_columns(_table jsonb, _format text) RETURNS text
LANGUAGE sql IMMUTABLE AS $$
    SELECT string_agg(format(_format, c.name), ', ' ORDER BY c.position)
      FROM jsonb_array_elements_text(_table -> 'columns') WITH ORDINALITY AS c (name, position)
$$;

-- The condition that row t is behind _after and not behind _upto; NULL: no border there.
CREATE FUNCTION tarn_1.audit_between(_table jsonb, _after text, _upto text) RETURNS text
LANGUAGE sql IMMUTABLE AS $$
    SELECT coalesce('(' || k.names || ') > ('
                    || tarn_1.audit_literals(_table, k.count, _after::jsonb) || ')', 'true')
           || ' AND '
           || coalesce('(' || k.names || ') <= ('
                       || tarn_1.audit_literals(_table, k.count, _upto::jsonb) || ')', 'true')
      FROM (SELECT n, tarn_1.audit_key(_table, n, 't.')
              FROM (SELECT (_table ->> 'ordered')::int4) AS o (n)) AS k (count, names)
$$;

-- The next range: rows behind _after, not behind _upto, about _limit of them (NULL: all). Answers
-- their number, a sum of their hashes that does not depend on order, the last key (NULL: the range
-- goes to _upto), and how long it took: whoever asks the primary takes care not to be a burden.
CREATE FUNCTION tarn_1.audit_range(_table text, _after text, _upto text, _limit int8)
RETURNS TABLE (row_count int8, digest text, last text, busy_us int8)
LANGUAGE plpgsql STABLE SET search_path = '' SET bytea_output = 'hex' AS $$
DECLARE
    _begun   timestamptz := clock_timestamp();
    _spec    jsonb := _table;
    _ordered int4 := (_spec ->> 'ordered')::int4;
    _keys    text := tarn_1.audit_key(_spec, _ordered, 't.');
BEGIN
    IF _ordered > 0 AND _limit IS NOT NULL THEN
        EXECUTE format('SELECT %s::text FROM %s t WHERE %s ORDER BY %s OFFSET %s LIMIT 1',
                       tarn_1.audit_key_of_row(_spec, _ordered), _spec ->> 'relation',
                       tarn_1.audit_between(_spec, _after, _upto), _keys, _limit - 1)
           INTO last;
    END IF;
    EXECUTE format('SELECT count(*), coalesce(sum(hash_record_extended(ROW(%s), 0)), 0)::text'
                   '  FROM %s t WHERE %s',
                   tarn_1.audit_columns(_spec, 't.%I'), _spec ->> 'relation',
                   tarn_1.audit_between(_spec, _after, coalesce(last, _upto)))
       INTO row_count, digest;
    busy_us := extract(epoch FROM clock_timestamp() - _begun) * 1000000;
    RETURN NEXT;
END $$;

-- Each row of a range as {k: key, v: version, h: hash}.
CREATE FUNCTION tarn_1.audit_list(_table text, _after text, _upto text)
RETURNS TABLE (list text, busy_us int8)
LANGUAGE plpgsql STABLE SET search_path = '' SET bytea_output = 'hex' AS $$
DECLARE
    _begun timestamptz := clock_timestamp();
    _spec  jsonb := _table;
BEGIN
    EXECUTE format('SELECT coalesce(json_agg(json_build_object(''k'', %s, ''v'','
                   '                t.xmin::text || t.ctid::text,'
                   '                ''h'', hash_record_extended(ROW(%s), 0)::text)), ''[]'')::text'
                   '  FROM %s t WHERE %s',
                   tarn_1.audit_key_of_row(_spec, jsonb_array_length(_spec -> 'key')),
                   tarn_1.audit_columns(_spec, 't.%I'), _spec ->> 'relation',
                   tarn_1.audit_between(_spec, _after, _upto))
       INTO list;
    busy_us := extract(epoch FROM clock_timestamp() - _begun) * 1000000;
    RETURN NEXT;
END $$;

-- The rows of these keys, as audit_list() shows them; _with_values: with d, the columns by name as
-- texts.
CREATE FUNCTION tarn_1.audit_rows(_table text, _keys text, _with_values bool)
RETURNS TABLE (list text, busy_us int8)
LANGUAGE plpgsql STABLE
SET search_path = '' SET bytea_output = 'hex' SET timezone = 'UTC' SET datestyle = 'ISO' AS $$
DECLARE
    _begun  timestamptz := clock_timestamp();
    _spec   jsonb := _table;
    _values text := '';
    _wanted text;
BEGIN
    IF _with_values THEN
        _values := format(', ''d'', json_object(%L::text[], ARRAY[%s])',
                          ARRAY(SELECT jsonb_array_elements_text(_spec -> 'columns')),
                          tarn_1.audit_columns(_spec, 't.%I::text'));
    END IF;
    SELECT string_agg(format('t.%I = (w.k ->> %s)::%s', k.name, k.position - 1, y.type), ' AND ')
      INTO _wanted
      FROM jsonb_array_elements_text(_spec -> 'key') WITH ORDINALITY AS k (name, position)
      JOIN jsonb_array_elements_text(_spec -> 'types') WITH ORDINALITY AS y (type, position)
        USING (position);
    EXECUTE format('SELECT coalesce(json_agg(json_build_object(''k'', w.k, ''v'','
                   '                t.xmin::text || t.ctid::text,'
                   '                ''h'', hash_record_extended(ROW(%s), 0)::text%s)), ''[]'')::text'
                   '  FROM jsonb_array_elements($1) AS w (k) JOIN %s t ON %s',
                   tarn_1.audit_columns(_spec, 't.%I'), _values, _spec ->> 'relation', _wanted)
       INTO list USING _keys::jsonb;
    busy_us := extract(epoch FROM clock_timestamp() - _begun) * 1000000;
    RETURN NEXT;
END $$;

-- Transactions that hold the table for writing: all of them now, or (_among) those of a list that
-- still do. What they have committed may be in the log, and so at a mirror, before anybody sees it
-- here; once none of a list is left, everything is seen that was in the log when the list was made.
CREATE FUNCTION tarn_1.audit_writers(_table text, _among text) RETURNS TABLE (writers text)
LANGUAGE sql STABLE SET search_path = '' AS $$
    SELECT coalesce(json_agg(DISTINCT l.virtualtransaction), '[]')::text
      FROM pg_catalog.pg_locks l
     WHERE l.locktype = 'relation' AND l.granted AND l.pid IS DISTINCT FROM pg_backend_pid()
       AND l.database = (SELECT d.oid FROM pg_catalog.pg_database d
                          WHERE d.datname = current_database())
       AND l.relation = to_regclass(_table::jsonb ->> 'relation')
       AND l.mode IN ('RowExclusiveLock', 'ShareRowExclusiveLock', 'ExclusiveLock',
                      'AccessExclusiveLock')
       AND (_among IS NULL OR _among::jsonb ? l.virtualtransaction)
$$;

------------------------------------------------------------------------- what the mirror judges

-- The primary's tables against ours: one row each. table_text is what the functions above take;
-- is_here: it is followed, and its first copy is done. missing and surplus are columns that only the
-- primary, only the mirror has.
CREATE FUNCTION tarn_1.audit_plan(_tables text)
RETURNS TABLE (relation text, table_text text, is_here bool, estimate int8, missing text,
               surplus text)
LANGUAGE sql STABLE SET search_path = '' AS $$
    SELECT p.t ->> 'relation',
           (p.t || jsonb_build_object('columns', c.shared))::text,
           EXISTS (SELECT FROM pg_catalog.pg_subscription_rel r
                     JOIN pg_catalog.pg_subscription s ON s.oid = r.srsubid
                     JOIN tarn.local_site l ON l.subscription = s.subname
                    WHERE r.srrelid = c.ours AND r.srsubstate = 'r'
                      AND s.subdbid = (SELECT d.oid FROM pg_catalog.pg_database d
                                        WHERE d.datname = current_database())),
           (p.t ->> 'rows')::int8, c.missing, c.surplus
      FROM jsonb_array_elements(_tables::jsonb) AS p (t)
      CROSS JOIN LATERAL (
           SELECT jsonb_agg(theirs.name ORDER BY theirs.name)
                      FILTER (WHERE ours.name IS NOT NULL AND theirs.name IS NOT NULL) AS shared,
                  string_agg(theirs.name, ', ') FILTER (WHERE ours.name IS NULL) AS missing,
                  string_agg(ours.name, ', ') FILTER (WHERE theirs.name IS NULL) AS surplus,
                  to_regclass(p.t ->> 'relation') AS ours
             FROM jsonb_array_elements_text(p.t -> 'columns') AS theirs (name)
             FULL JOIN (SELECT a.attname::text FROM pg_catalog.pg_attribute a
                         WHERE a.attrelid = to_regclass(p.t ->> 'relation') AND a.attnum > 0
                           AND NOT a.attisdropped) AS ours (name) ON ours.name = theirs.name) c
     ORDER BY (p.t ->> 'relation') COLLATE "C"
$$;

-- Keys whose rows are not alike in two lists.
CREATE FUNCTION tarn_1.audit_unequal(_ours text, _theirs text) RETURNS TABLE (key text)
LANGUAGE sql STABLE AS $$
    SELECT coalesce(o.e -> 'k', t.e -> 'k')::text
      FROM jsonb_array_elements(_ours::jsonb) AS o (e)
      FULL JOIN jsonb_array_elements(_theirs::jsonb) AS t (e) ON t.e -> 'k' = o.e -> 'k'
     WHERE o.e -> 'h' IS DISTINCT FROM t.e -> 'h'
$$;

-- Four lists of the same rows, read in this order: here (_ours); at the primary (_theirs), once all
-- transactions that wrote the table when _ours was read had ended; here again (_ours_then), once a
-- marker that was written after _theirs had arrived; at the primary again (_theirs_then), after its
-- writers had ended once more. The history of one row is a line, at both sites the same, and:
--   * a row that is the same version in both lists of the mirror stood there at every point of that
--     line between them, _theirs is one of the points, and so _theirs must equal it;
--   * a row that is the same version in both lists of the primary stood there at every point
--     between them, _ours_then is one of the points, and so must equal it.
-- What contradicts that is different, whoever writes meanwhile, and however fast. Where neither
-- says anything the row moves and is looked at again.
CREATE FUNCTION tarn_1.audit_judge(_keys text, _ours text, _theirs text, _ours_then text,
                                   _theirs_then text)
RETURNS TABLE (different text, moving text, different_count int8, moving_count int8)
LANGUAGE sql STABLE AS $$
    WITH seen AS MATERIALIZED (
        SELECT w.k, o.e AS ours, t.e AS theirs, p.e AS ours_then, q.e AS theirs_then
          FROM jsonb_array_elements(_keys::jsonb) AS w (k)
          LEFT JOIN jsonb_array_elements(_ours::jsonb) AS o (e) ON o.e -> 'k' = w.k
          LEFT JOIN jsonb_array_elements(_theirs::jsonb) AS t (e) ON t.e -> 'k' = w.k
          LEFT JOIN jsonb_array_elements(_ours_then::jsonb) AS p (e) ON p.e -> 'k' = w.k
          LEFT JOIN jsonb_array_elements(_theirs_then::jsonb) AS q (e) ON q.e -> 'k' = w.k
    ), judged AS (
        SELECT s.k,
               coalesce(s.ours -> 'v' = s.ours_then -> 'v'
                        AND s.ours -> 'h' IS DISTINCT FROM s.theirs -> 'h'
                        OR s.theirs -> 'v' = s.theirs_then -> 'v'
                        AND s.ours_then -> 'h' IS DISTINCT FROM s.theirs -> 'h', false)
                   AS is_different,
               s.theirs -> 'h' IS NOT DISTINCT FROM s.ours -> 'h'
               OR s.theirs -> 'h' IS NOT DISTINCT FROM s.ours_then -> 'h' AS is_equal
          FROM seen s
    )
    SELECT coalesce(jsonb_agg(j.k) FILTER (WHERE j.is_different), '[]')::text,
           coalesce(jsonb_agg(j.k) FILTER (WHERE NOT j.is_different AND NOT j.is_equal),
                    '[]')::text,
           count(*) FILTER (WHERE j.is_different),
           count(*) FILTER (WHERE NOT j.is_different AND NOT j.is_equal)
      FROM judged j
$$;

------------------------------------------------------------------------------- what is written down

-- Begin a run, or (_resumes) go on with the last one of this kind that did not come to its end. One
-- at a time, for as long as the connection lives: is_ours says whether it is this one.
CREATE FUNCTION tarn_1.audit_begin(_kind text, _resumes bool)
RETURNS TABLE (is_ours bool, site text, run int8, relation text, place text, tables int4,
               items int8, moving int8)
LANGUAGE plpgsql AS $$
DECLARE
    _run tarn.audit_run;
BEGIN
    site := (SELECT l.name FROM tarn.local_site l);
    is_ours := pg_try_advisory_lock(hashtext('tarn'), 8);
    IF is_ours THEN
        SELECT r.* INTO _run FROM tarn.audit_run r
         WHERE _resumes AND r.kind = _kind AND r.ended_at IS NULL
           AND r.id = (SELECT max(n.id) FROM tarn.audit_run n WHERE n.kind = _kind);
        IF NOT FOUND THEN
            INSERT INTO tarn.audit_run (id, kind)
            SELECT coalesce(max(r.id), 0) + 1, _kind FROM tarn.audit_run r RETURNING * INTO _run;
            DELETE FROM tarn.audit_run r WHERE r.id <= _run.id - 30;
        END IF;
        run := _run.id;
        relation := _run.relation;
        place := _run.position;
        tables := _run.tables;
        items := _run.items;
        moving := _run.moving;
    END IF;
    RETURN NEXT;
END $$;

CREATE FUNCTION tarn_1.audit_note(_run int8, _relation text, _place text, _tables int4, _items int8,
                                  _moving int8) RETURNS void
LANGUAGE sql AS $$
    UPDATE tarn.audit_run
       SET relation = _relation, position = _place, tables = _tables, items = _items,
           moving = _moving, touched_at = clock_timestamp()
     WHERE id = _run
$$;

CREATE FUNCTION tarn_1.audit_end(_run int8) RETURNS void
LANGUAGE sql AS $$
    UPDATE tarn.audit_run SET ended_at = clock_timestamp(), touched_at = clock_timestamp()
     WHERE id = _run
$$;

-- A value as a person is shown it.
CREATE FUNCTION tarn_1.audit_short(_value text) RETURNS text
LANGUAGE sql IMMUTABLE AS $$
    SELECT CASE WHEN _value IS NULL THEN 'NULL'
                WHEN length(_value) > 64
                THEN left(_value, 48) || '... (' || length(_value) || ' characters)'
                ELSE _value END
$$;

-- Write down that these rows are different. _judged: our rows as audit_judge() saw them last; _ours
-- and _theirs: with values. Answers how many findings the run has by now.
CREATE FUNCTION tarn_1.audit_find(_run int8, _table text, _keys text, _judged text, _ours text,
                                  _theirs text) RETURNS TABLE (findings int8)
LANGUAGE plpgsql AS $$
BEGIN
    INSERT INTO tarn.audit_finding AS f (run, relation, key, kind, columns, ours, theirs, version)
    SELECT _run, _table::jsonb ->> 'relation', w.k::text,
           CASE WHEN t.e IS NULL THEN 'extra' WHEN o.e IS NULL THEN 'missing' ELSE 'changed' END,
           CASE WHEN o.e IS NOT NULL AND t.e IS NOT NULL THEN coalesce(d.names, '') END,
           CASE WHEN o.e IS NOT NULL THEN coalesce(left(d.ours, 1000), '') END,
           CASE WHEN t.e IS NOT NULL THEN coalesce(left(d.theirs, 1000), '') END,
           j.e ->> 'v'
      FROM jsonb_array_elements(_keys::jsonb) AS w (k)
      LEFT JOIN jsonb_array_elements(_judged::jsonb) AS j (e) ON j.e -> 'k' = w.k
      LEFT JOIN jsonb_array_elements(_ours::jsonb) AS o (e) ON o.e -> 'k' = w.k
      LEFT JOIN jsonb_array_elements(_theirs::jsonb) AS t (e) ON t.e -> 'k' = w.k
      CROSS JOIN LATERAL (
           SELECT string_agg(c.name, ', ' ORDER BY c.position),
                  string_agg(c.name || '=' || tarn_1.audit_short(o.e -> 'd' ->> c.name), ', '
                             ORDER BY c.position),
                  string_agg(c.name || '=' || tarn_1.audit_short(t.e -> 'd' ->> c.name), ', '
                             ORDER BY c.position)
             FROM jsonb_array_elements_text(_table::jsonb -> 'columns')
                      WITH ORDINALITY AS c (name, position)
            WHERE o.e -> 'd' ->> c.name IS DISTINCT FROM t.e -> 'd' ->> c.name)
                 AS d (names, ours, theirs)
    ON CONFLICT (run, relation, key) DO UPDATE
        SET kind = excluded.kind, version = excluded.version, is_repaired = false,
            columns = excluded.columns, ours = excluded.ours, theirs = excluded.theirs;
    RETURN QUERY SELECT count(*) FROM tarn.audit_finding f WHERE f.run = _run;
END $$;

-- Write down what is no row: a table or columns that only the primary has, an object.
CREATE FUNCTION tarn_1.audit_find_other(_run int8, _relation text, _key text, _kind text,
                                        _text text) RETURNS void
LANGUAGE sql AS $$
    INSERT INTO tarn.audit_finding (run, relation, key, kind, theirs)
    VALUES (_run, _relation, _key, _kind, _text)
    ON CONFLICT (run, relation, key) DO UPDATE SET kind = excluded.kind, theirs = excluded.theirs
$$;

-- These are no longer different, apart from _still.
CREATE FUNCTION tarn_1.audit_mended(_run int8, _table text, _keys text, _still text) RETURNS void
LANGUAGE sql AS $$
    UPDATE tarn.audit_finding f SET is_repaired = true
      FROM jsonb_array_elements(_keys::jsonb) AS w (k)
     WHERE f.run = _run AND f.relation = _table::jsonb ->> 'relation' AND f.key = w.k::text
       AND NOT EXISTS (SELECT FROM jsonb_array_elements(_still::jsonb) AS s (k) WHERE s.k = w.k)
$$;

-- What a run has found, in order; a page behind (_relation, _key).
CREATE FUNCTION tarn_1.audit_findings(_run int8, _relation text, _key text, _count int4)
RETURNS TABLE (relation text, key text, kind text, columns text, ours text, theirs text,
               is_repaired bool)
LANGUAGE sql STABLE AS $$
    SELECT f.relation, f.key, f.kind, f.columns, f.ours, f.theirs, f.is_repaired
      FROM tarn.audit_finding f
     WHERE f.run = _run AND (f.relation, f.key) > (_relation, _key)
     ORDER BY f.relation, f.key LIMIT _count
$$;

-- The next rows of a table to be repaired, behind _after: as a JSON array, NULL when there are none.
CREATE FUNCTION tarn_1.audit_unrepaired(_run int8, _table text, _kind text, _after text, _count int4)
RETURNS TABLE (keys text, last text, key_count int8)
LANGUAGE sql STABLE AS $$
    SELECT jsonb_agg(p.key::jsonb)::text, max(p.key), count(*)
      FROM (SELECT f.key FROM tarn.audit_finding f
             WHERE f.run = _run AND f.relation = _table::jsonb ->> 'relation' AND f.kind = _kind
               AND f.key > _after AND NOT f.is_repaired
             ORDER BY f.key LIMIT _count) p
$$;

-- The last run that came to its end, of each kind: what status shows.
CREATE FUNCTION tarn_1.audit_last()
RETURNS TABLE (kind text, ended_at text, age_s int8, seconds int8, items int8, different int8,
               repaired int8, moving int8)
LANGUAGE sql STABLE AS $$
    SELECT r.kind, r.ended_at::text, extract(epoch FROM clock_timestamp() - r.ended_at)::int8,
           extract(epoch FROM r.ended_at - r.started_at)::int8, r.items, f.found, f.repaired,
           r.moving
      FROM tarn.audit_run r
      CROSS JOIN LATERAL (SELECT count(*), count(*) FILTER (WHERE a.is_repaired)
                            FROM tarn.audit_finding a WHERE a.run = r.id) AS f (found, repaired)
     WHERE r.id IN (SELECT max(n.id) FROM tarn.audit_run n
                     WHERE n.ended_at IS NOT NULL GROUP BY n.kind)
     ORDER BY r.kind DESC
$$;

-- The sums of one run.
CREATE FUNCTION tarn_1.audit_sums(_run int8) RETURNS TABLE (different int8, repaired int8)
LANGUAGE sql STABLE AS $$
    SELECT count(*), count(*) FILTER (WHERE f.is_repaired)
      FROM tarn.audit_finding f WHERE f.run = _run
$$;

---------------------------------------------------------------------------------- what is repaired

-- Keep apply off a table until the end of this transaction. Once this has answered, the table holds
-- exactly what all transactions that have arrived made of it: one that is being applied and has
-- touched the table has ended, and none begins to. Readers are not disturbed.
CREATE FUNCTION tarn_1.audit_hold(_table text) RETURNS TABLE (is_replica bool)
LANGUAGE plpgsql AS $$
BEGIN
    PERFORM set_config('lock_timeout', '10s', true);
    EXECUTE format('LOCK TABLE %s IN SHARE ROW EXCLUSIVE MODE', _table::jsonb ->> 'relation');
    -- As apply writes, where the role may: a trigger of the administrator's own is not for copies.
    BEGIN
        PERFORM set_config('session_replication_role', 'replica', true);
        is_replica := true;
    EXCEPTION WHEN insufficient_privilege THEN
        is_replica := false;
    END;
    RETURN NEXT;
END $$;

-- Make these rows what they are at the primary. The table is held (audit_hold). _then: the primary's
-- rows as they were before a marker that has arrived here; _now: with values, read after the table
-- was held and those who wrote it at that time at the primary had ended.
--
-- A row that is the same version in both has not changed at the primary since the marker: all that
-- ever happened to it up to _now has been applied here, and all that will be applied later happened
-- after _now. So _now is what belongs here at this moment. Older than what is here it cannot be, and
-- apply goes on from it: the next change of the row updates or deletes it, and will not insert it.
-- A row that is gone at the primary is deleted if it is still the one that was judged: apply cannot
-- have made it since, for while it is here an insert of apply fails. What fits neither is left, to
-- be looked at again.
CREATE FUNCTION tarn_1.audit_repair(_run int8, _table text, _keys text, _then text, _now text)
RETURNS TABLE (written int8, deleted int8)
LANGUAGE plpgsql
SET search_path = '' SET bytea_output = 'hex' SET timezone = 'UTC' SET datestyle = 'ISO' AS $$
DECLARE
    _spec     jsonb := _table;
    _relation regclass := (_spec ->> 'relation')::regclass;
    _ours     jsonb;
    _good     jsonb;
    _gone     jsonb;
    _replaces bool;
    _match    text;
    _values   text;
    _sets     text;
BEGIN
    SELECT a.list INTO _ours FROM tarn_1.audit_rows(_table, _keys, false) a;
    SELECT coalesce(jsonb_agg(n.e), '[]') INTO _good
      FROM jsonb_array_elements(_now::jsonb) AS n (e)
      JOIN jsonb_array_elements(_then::jsonb) AS t (e)
        ON t.e -> 'k' = n.e -> 'k' AND t.e -> 'v' = n.e -> 'v';
    SELECT coalesce(jsonb_agg(jsonb_build_object('k', w.k)), '[]') INTO _gone
      FROM jsonb_array_elements(_keys::jsonb) AS w (k)
      JOIN jsonb_array_elements(_ours) AS o (e) ON o.e -> 'k' = w.k
      JOIN tarn.audit_finding f
        ON f.run = _run AND f.relation = _spec ->> 'relation' AND f.key = w.k::text
       AND f.version = o.e ->> 'v'
     WHERE NOT EXISTS (SELECT FROM jsonb_array_elements(_now::jsonb) AS n (e)
                        WHERE n.e -> 'k' = w.k);
    -- Where a row has another unique number beside its key, the old one goes before any new one
    -- comes. A heartbeat that is updated here would look like one that was left out.
    _replaces := _relation = to_regclass('tarn.heartbeat')
                 OR EXISTS (SELECT FROM pg_catalog.pg_index i
                             WHERE i.indrelid = _relation AND i.indisreplident AND NOT i.indisprimary);
    SELECT string_agg(format('t.%I = (w.e -> ''k'' ->> %s)::%s', k.name, k.position - 1, y.type),
                      ' AND ')
      INTO _match
      FROM jsonb_array_elements_text(_spec -> 'key') WITH ORDINALITY AS k (name, position)
      JOIN jsonb_array_elements_text(_spec -> 'types') WITH ORDINALITY AS y (type, position)
        USING (position);
    EXECUTE format('DELETE FROM %s t USING jsonb_array_elements($1) AS w (e) WHERE %s', _relation,
                   _match)
      USING CASE WHEN _replaces THEN _gone || _good ELSE _gone END;
    SELECT string_agg(format('(w.e -> ''d'' ->> %L)::%s', a.attname,
                             pg_catalog.format_type(a.atttypid, a.atttypmod)), ', '
                      ORDER BY c.position),
           string_agg(format('%1$I = excluded.%1$I', c.name), ', ')
               FILTER (WHERE NOT _spec -> 'key' ? c.name)
      INTO _values, _sets
      FROM jsonb_array_elements_text(_spec -> 'columns') WITH ORDINALITY AS c (name, position)
      JOIN pg_catalog.pg_attribute a ON a.attrelid = _relation AND a.attname = c.name;
    EXECUTE format('INSERT INTO %s (%s) SELECT %s FROM jsonb_array_elements($1) AS w (e)'
                   ' ON CONFLICT (%s) DO %s',
                   _relation, tarn_1.audit_columns(_spec, '%I'), _values,
                   tarn_1.audit_key(_spec, jsonb_array_length(_spec -> 'key'), ''),
                   coalesce('UPDATE SET ' || _sets, 'NOTHING'))
      USING _good;
    written := jsonb_array_length(_good);
    deleted := jsonb_array_length(_gone);
    RETURN NEXT;
END $$;

----------------------------------------------------------------------------------------- objects

-- The primary, for whoever opens the volume there.
CREATE FUNCTION tarn_1.audit_home() RETURNS TABLE (url text)
LANGUAGE sql STABLE AS $$
    SELECT coalesce((SELECT h.url FROM tarn_1.home_url() h),
                    (SELECT c.conninfo FROM tarn_1.conninfo() c))
$$;

-- Is nothing known of this slice?
CREATE FUNCTION tarn_1.audit_is_unknown(_slice int8) RETURNS TABLE (is_unknown bool)
LANGUAGE sql STABLE AS $$
    SELECT NOT EXISTS (SELECT FROM public.jfs_chunk_ref r WHERE r.chunkid = _slice)
           AND NOT EXISTS (SELECT FROM tarn.slice_state s WHERE s.slice = _slice)
$$;

CREATE FUNCTION tarn_1.audit_unknown(_run int8, _key text, _text text, _is_removed bool)
RETURNS void
LANGUAGE sql AS $$
    INSERT INTO tarn.audit_finding (run, relation, key, kind, theirs, is_repaired)
    VALUES (_run, 'objects', _key, 'unknown object', _text, _is_removed)
    ON CONFLICT (run, relation, key) DO NOTHING
$$;

-- A block of a slice is missing or damaged. Answers what it is: 'found' was written down, 'ordered'
-- as well and the syncer will copy it; 'waiting' is on its way anyhow, 'gone' nobody needs any more.
-- (_is_here: in the bucket of this site.)
CREATE FUNCTION tarn_1.audit_block(_run int8, _slice int8, _text text, _kind text, _is_here bool,
                                   _orders bool) RETURNS TABLE (verdict text)
LANGUAGE plpgsql AS $$
DECLARE
    _size int4;
BEGIN
    SELECT r.size INTO _size FROM public.jfs_chunk_ref r WHERE r.chunkid = _slice AND r.refs > 0;
    IF _is_here AND _size IS NULL THEN
        RETURN QUERY SELECT 'gone';
        RETURN;
    END IF;
    IF _is_here AND EXISTS (SELECT FROM tarn.slice_state s
                             WHERE s.slice = _slice AND s.want = 'copy'
                               AND NOT EXISTS (SELECT FROM tarn.audit_finding f
                                                WHERE f.run = _run AND f.relation = 'objects'
                                                  AND f.columns = _slice::text)) THEN
        RETURN QUERY SELECT 'waiting';
        RETURN;
    END IF;
    IF _orders THEN
        INSERT INTO tarn.slice_state (slice, size, want) VALUES (_slice, _size, 'copy')
        ON CONFLICT (slice) DO NOTHING;
    END IF;
    INSERT INTO tarn.audit_finding (run, relation, key, kind, columns, theirs, is_repaired)
    VALUES (_run, 'objects', _text, _kind, _slice::text, NULL, _orders)
    ON CONFLICT (run, relation, key) DO NOTHING;
    RETURN QUERY SELECT CASE WHEN _orders THEN 'ordered' ELSE 'found' END;
END $$;
