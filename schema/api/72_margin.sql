-- How near each mirror is to the end of what the primary keeps for it: WAL, and deleted objects.

-- What deletions did not wait for any more, noted before they are carried out: whoever comes back
-- behind this position may read what is gone.
CREATE FUNCTION tarn_1.give_up() RETURNS void
LANGUAGE sql VOLATILE AS $$
    INSERT INTO tarn.given_up AS g (site, lsn, at)
    SELECT f.site, pg_current_wal_insert_lsn(), clock_timestamp()
      FROM tarn_1.followers() f WHERE NOT f.is_awaited
     ORDER BY f.site
        ON CONFLICT (site) DO UPDATE SET lsn = excluded.lsn, at = excluded.at
$$;

-- Our slots (tarn_1.slots()), with what tells how near the end each is. limit_bytes: how much WAL a
-- slot may hold up, NULL: the whole disk. silent_seconds: since it last came forward.
-- deletion_margin_seconds: how much longer until stock clients, who ask nobody, remove what is still
-- read there.
CREATE FUNCTION tarn_1.slot_watch()
RETURNS TABLE (slot text, site text, active bool, wal_status text, confirmed_lsn text,
               current_lsn text, lag_bytes int8, safe_bytes int8, limit_bytes int8, lag_seconds float8,
               silent_seconds int8, trash_days int8, deletion_margin_seconds int8, is_awaited bool,
               given_up_at text, version int4)
LANGUAGE sql STABLE AS $$
    SELECT s.slot, s.site, s.active, s.wal_status, s.confirmed_lsn, s.current_lsn, s.lag_bytes,
           s.safe_bytes,
           (SELECT NULLIF(g.setting::int8, -1) * 1048576 FROM pg_settings g
             WHERE g.name = 'max_slot_wal_keep_size'),
           s.lag_seconds, coalesce(f.silent_s, 0), t.days,
           t.days * 86400 - greatest(coalesce(f.silent_s, 0), coalesce(s.lag_seconds, 0)::int8),
           coalesce(f.is_awaited, true), g.at::text, v.version
      FROM tarn_1.slots() s
      LEFT JOIN tarn_1.followers() f ON f.site = s.site
      LEFT JOIN tarn.given_up g ON g.site = s.site
      LEFT JOIN tarn.site_version v ON v.site = s.site
     CROSS JOIN (SELECT coalesce((SELECT (value::jsonb ->> 'TrashDays')::int8 FROM public.jfs_setting
                                   WHERE name = 'format'), 0)) AS t (days)
     ORDER BY s.slot
$$;
