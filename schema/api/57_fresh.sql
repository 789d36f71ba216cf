-- What mounts at a mirror ask for, so that they neither believe what is old nor write where nobody
-- follows.
--
-- What a mirror shows is told by data, never by a position: PostgreSQL advances the position of a
-- subscription before the transaction can be seen. So a read and the rows that say how new it is come
-- from one snapshot: is_here() is called in the same statement as the function that reads, and all of
-- these are STABLE, which makes them see the statement's snapshot.

-- Whether the operations _ops in the lanes _lanes of session _sid, and _value of the marker _mark, have
-- arrived here. _value 0: no marker is asked for.
CREATE FUNCTION tarn_1.is_here(_sid int8, _lanes int8[], _ops int8[], _mark text, _value int8)
RETURNS bool
LANGUAGE plpgsql STABLE PARALLEL SAFE AS $$
BEGIN
    IF _value > 0 AND NOT EXISTS (SELECT FROM tarn.mark AS m
                                   WHERE m.name = _mark AND m.value >= _value) THEN
        RETURN false;
    END IF;
    RETURN NOT EXISTS (SELECT FROM unnest(_lanes, _ops) AS w (lane, op)
                         LEFT JOIN tarn.slot AS s ON s.sid = _sid AND s.lane = w.lane
                        WHERE s.op IS NULL OR s.op < w.op);
END $$;

-- At the primary: advance a marker. A reader that sees the value that is answered sees all that anybody
-- was told to be done before this was called.
CREATE FUNCTION tarn_1.barrier(_mark text) RETURNS TABLE (value int8)
LANGUAGE sql VOLATILE AS $$
    INSERT INTO tarn.mark AS m (name, value) VALUES (_mark, 1)
        ON CONFLICT (name) DO UPDATE SET value = m.value + 1, at = clock_timestamp()
        RETURNING m.value
$$;

-- Which role this database has now, for clients that were begun when it may have had another one.
-- epoch is the volume's, as far as it is known here. No row before adopt and join.
CREATE FUNCTION tarn_1.place()
RETURNS TABLE (site text, role text, state text, local_bucket text, origin_bucket text,
               former_bucket text, primary_url text, is_ready bool, epoch int8)
LANGUAGE sql STABLE AS $$
    SELECT l.name, l.role, l.state, l.local_bucket, l.origin_bucket, l.former_bucket,
           l.primary_url, l.role = 'primary' OR l.ready_at IS NOT NULL,
           coalesce((SELECT max(s.epoch) FROM tarn.site AS s WHERE s.role = 'primary'), 0)
      FROM tarn.local_site AS l
$$;
