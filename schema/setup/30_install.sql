-- What fs/meta needs to bring the other files into a database. OR REPLACE, because one connection
-- may install several parts.

-- One installer at a time, to the end of the transaction.
CREATE OR REPLACE FUNCTION pg_temp.install_lock() RETURNS void
LANGUAGE sql AS $$ SELECT pg_catalog.pg_advisory_xact_lock(pg_catalog.hashtext('tarn'), 2) $$;

-- The last migration of site/ that was applied here; 0: none.
CREATE OR REPLACE FUNCTION pg_temp.site_version() RETURNS int4
LANGUAGE plpgsql AS $$
DECLARE
    _version int4 := 0;
BEGIN
    IF to_regclass('tarn.migration') IS NOT NULL THEN
        SELECT coalesce(max(version), 0) INTO _version FROM tarn.migration;
    END IF;
    RETURN _version;
END $$;

-- What the names of the volume's tables begin with, schema included: 'public.jfs_', or
-- 'other.jfs_prefix_' for a volume made with search_path= or table_prefix=. One row for each volume.
CREATE OR REPLACE FUNCTION pg_temp.volume_locations() RETURNS TABLE (location text)
LANGUAGE sql STABLE AS $$
    SELECT quote_ident(n.nspname) || '.' || left(s.relname, -length('setting'))
      FROM pg_catalog.pg_class AS s
           JOIN pg_catalog.pg_namespace AS n ON n.oid = s.relnamespace
     WHERE s.relkind = 'r' AND s.relname ~ '^jfs_([a-z0-9_]+_)?setting$'
       AND EXISTS (SELECT FROM pg_catalog.pg_class AS o
                    WHERE o.relnamespace = s.relnamespace AND o.relkind = 'r'
                      AND o.relname = left(s.relname, -length('setting')) || 'node')
$$;

-- Remove the functions, but remember the triggers of a mirror that call them: dropping a function
-- takes its triggers along without a word, and a syncer without its trigger copies nothing more.
-- The same for the roles that may use the schema: mirrors replicate as one of them.
CREATE OR REPLACE FUNCTION pg_temp.api_begin(_schema text) RETURNS void
LANGUAGE plpgsql AS $$
BEGIN
    CREATE TEMP TABLE kept_trigger ON COMMIT DROP AS
    SELECT t.tgrelid::regclass::text AS relation, t.tgname AS name,
           pg_get_triggerdef(t.oid) AS definition,
           CASE t.tgenabled WHEN 'A' THEN 'ENABLE ALWAYS' WHEN 'R' THEN 'ENABLE REPLICA'
                            WHEN 'D' THEN 'DISABLE' ELSE 'ENABLE' END AS firing
      FROM pg_catalog.pg_trigger AS t
           JOIN pg_catalog.pg_proc AS p ON p.oid = t.tgfoid
     WHERE p.pronamespace = to_regnamespace(_schema) AND NOT t.tgisinternal;
    CREATE TEMP TABLE kept_grant ON COMMIT DROP AS
    SELECT CASE g.grantee WHEN 0 THEN 'PUBLIC' ELSE g.grantee::regrole::text END AS grantee
      FROM pg_catalog.pg_namespace AS n, aclexplode(n.nspacl) AS g
     WHERE n.nspname = _schema AND g.privilege_type = 'USAGE' AND g.grantee <> n.nspowner;
    EXECUTE format('DROP SCHEMA IF EXISTS %I CASCADE', _schema);
END $$;

-- Put the triggers back and leave the digest, by which clients tell one text from another.
CREATE OR REPLACE FUNCTION pg_temp.api_end(_schema text, _digest text) RETURNS void
LANGUAGE plpgsql AS $$
DECLARE
    _t record;
BEGIN
    FOR _t IN SELECT * FROM pg_temp.kept_trigger LOOP
        EXECUTE _t.definition;
        EXECUTE format('ALTER TABLE %s %s TRIGGER %I', _t.relation, _t.firing, _t.name);
    END LOOP;
    FOR _t IN SELECT * FROM pg_temp.kept_grant LOOP
        EXECUTE format('GRANT USAGE ON SCHEMA %I TO %s', _schema, _t.grantee);
    END LOOP;
    EXECUTE format('COMMENT ON SCHEMA %I IS %L', _schema, _digest);
END $$;
