-- The syncer's queue: tarn.slice_state, one row for each slice whose blocks at this site are not
-- yet as the replicated metadata wants them.
--
--   who            does                                          to the row
--   apply          INSERT of a jfs_chunk_ref with refs > 0       want copy
--   apply          DELETE of a jfs_chunk_ref                     want delete, whatever it was
--   back-fill      walks what existed before the trigger         want copy, if there is no row
--   worker         slice_lease                                   a new fence, leased_until
--   worker         slice_done with its fence                     removed, or told that it is now
--                                                                wanted deleted
--   worker         slice_fail with its fence                     not_before in the future
--   worker         slice_left, which has lost its row            want delete, if the slice is gone
--
-- At a mirror that has become the primary what waits is still carried out. A client that stored blocks
-- in the old bucket just before may commit them here, so for two hours, twice what a client may take
-- from its first block to its commit, each new slice is looked at as well (slice_settle(), former_end()).
--
-- A worker whose lease ran out and was given to another finds another fence in the row, or no row:
-- whatever it says then changes nothing. What it stored meanwhile is right, because an object is
-- immutable and named by its slice; but others may have removed the slice before, so it says
-- slice_left, and what is of no use is removed again. A fence is the number of a transaction, for a
-- count would begin anew with the row.

-- Fired by the apply worker (ENABLE ALWAYS), whose search_path is empty.
CREATE FUNCTION tarn_1.slice_order() RETURNS trigger
LANGUAGE plpgsql AS $$
BEGIN
    IF TG_OP = 'DELETE' THEN
        -- A copy under way keeps its lease: its worker learns of this when it is done.
        INSERT INTO tarn.slice_state (slice, size, want) VALUES (OLD.chunkid, OLD.size, 'delete')
        ON CONFLICT (slice) DO UPDATE
            SET want = 'delete', attempts = 0, not_before = now(), last_error = NULL;
    ELSIF NEW.refs > 0 THEN
        INSERT INTO tarn.slice_state (slice, size, want) VALUES (NEW.chunkid, NEW.size, 'copy')
        ON CONFLICT (slice) DO NOTHING;
    END IF;
    RETURN NULL;
END $$;

-- Fired by whoever commits or deletes a slice at a primary that still reads from the bucket of the one
-- before it; with the rights of the owner, which clients do not have. The primary removes by itself what
-- is deleted; an order only has to learn of it.
CREATE FUNCTION tarn_1.slice_settle() RETURNS trigger
LANGUAGE plpgsql SECURITY DEFINER SET search_path = pg_catalog, pg_temp AS $$
BEGIN
    IF TG_OP = 'DELETE' THEN
        UPDATE tarn.slice_state SET want = 'delete', attempts = 0, not_before = now()
         WHERE slice = OLD.chunkid;
    ELSIF NEW.refs > 0 THEN
        INSERT INTO tarn.slice_state (slice, size, want) VALUES (NEW.chunkid, NEW.size, 'copy')
        ON CONFLICT (slice) DO NOTHING;
    END IF;
    RETURN NULL;
END $$;
REVOKE ALL ON FUNCTION tarn_1.slice_settle() FROM PUBLIC;

-- The mirror becomes the primary. Without a bucket of its own there was no trigger, and none is made.
CREATE FUNCTION tarn_1.slice_orders_turn(_has_former bool) RETURNS void
LANGUAGE plpgsql AS $$
BEGIN
    DROP TRIGGER IF EXISTS tarn_slice_order ON public.jfs_chunk_ref;
    IF _has_former THEN
        CREATE TRIGGER tarn_slice_settle AFTER INSERT OR DELETE ON public.jfs_chunk_ref
            FOR EACH ROW EXECUTE FUNCTION tarn_1.slice_settle();
    END IF;
END $$;

-- At a primary: is the bucket of the one before it of no use any more? Then it is not read from again.
CREATE FUNCTION tarn_1.former_end() RETURNS TABLE (is_over bool)
LANGUAGE plpgsql SET lock_timeout = '2s' AS $$
BEGIN
    is_over := EXISTS (
        SELECT FROM tarn.local_site l, tarn.promotion p
         WHERE l.role = 'primary' AND l.former_bucket IS NOT NULL
           AND p.id = (SELECT max(n.id) FROM tarn.promotion n)
           AND p.switched_at < clock_timestamp() - interval '2 hours'
           AND NOT EXISTS (SELECT FROM tarn.slice_state)
           AND EXISTS (SELECT FROM tarn.cursor c
                        WHERE c.name = 'backfill' AND c.done_at IS NOT NULL));
    IF is_over THEN
        DROP TRIGGER IF EXISTS tarn_slice_settle ON public.jfs_chunk_ref;
        UPDATE tarn.local_site SET former_bucket = NULL;
    END IF;
    RETURN NEXT;
END $$;

-- Begin to take orders: to be called once every table is copied. Making the trigger waits for
-- transactions that are being applied, so a row is either seen by the trigger or older than it and
-- found by the back-fill. Calling it again changes nothing.
CREATE FUNCTION tarn_1.slice_orders_begin() RETURNS void
LANGUAGE plpgsql AS $$
BEGIN
    IF NOT EXISTS (SELECT FROM pg_catalog.pg_trigger
                    WHERE tgrelid = 'public.jfs_chunk_ref'::regclass
                      AND tgname = 'tarn_slice_order') THEN
        CREATE TRIGGER tarn_slice_order AFTER INSERT OR DELETE ON public.jfs_chunk_ref
            FOR EACH ROW EXECUTE FUNCTION tarn_1.slice_order();
        ALTER TABLE public.jfs_chunk_ref ENABLE ALWAYS TRIGGER tarn_slice_order;
    END IF;
    INSERT INTO tarn.cursor (name, position, goal)
    SELECT 'backfill', 0, coalesce(max(chunkid), 0) FROM public.jfs_chunk_ref
    ON CONFLICT (name) DO NOTHING;
END $$;

-- Order the next _count slices of history, unless _limit orders are waiting already. Answers
-- whether there is more to walk; false also when orders have not begun.
CREATE FUNCTION tarn_1.slice_backfill(_count int4, _limit int8) RETURNS bool
LANGUAGE plpgsql AS $$
DECLARE
    _position int8;
    _next     int8;
    _seen     int4;
BEGIN
    SELECT position INTO _position
      FROM tarn.cursor WHERE name = 'backfill' AND done_at IS NULL FOR UPDATE;
    IF NOT FOUND THEN
        RETURN false;
    END IF;
    IF (SELECT count(*) FROM (SELECT FROM tarn.slice_state LIMIT _limit) s) >= _limit THEN
        RETURN true;
    END IF;
    WITH page AS (
        SELECT chunkid, size, refs FROM public.jfs_chunk_ref
         WHERE chunkid > _position ORDER BY chunkid LIMIT _count
    ), ordered AS (
        INSERT INTO tarn.slice_state (slice, size, want)
        SELECT chunkid, size, 'copy' FROM page WHERE refs > 0
        ON CONFLICT (slice) DO NOTHING
    )
    SELECT count(*), max(chunkid) INTO _seen, _next FROM page;
    UPDATE tarn.cursor
       SET position = coalesce(_next, position), updated_at = now(),
           done_at = CASE WHEN _seen < _count THEN now() END
     WHERE name = 'backfill';
    RETURN _seen = _count;
END $$;

-- Blocks whose slices ended while this was no mirror are found by a walk over the bucket
-- (syncer/sweep.h). What is here and has no row of jfs_chunk_ref, tombstones included, is known to
-- nobody: that is sure only where rows are not missing.
CREATE FUNCTION tarn_1.sweep_wanted() RETURNS bool
LANGUAGE sql STABLE AS $$
    SELECT EXISTS (SELECT FROM tarn.local_site l
                    WHERE l.role = 'mirror' AND l.ready_at IS NOT NULL
                      AND l.state IN ('FOLLOWING', 'STALLED'))
           AND EXISTS (SELECT FROM tarn.cursor c WHERE c.name = 'backfill')
           AND NOT EXISTS (SELECT FROM tarn.cursor c WHERE c.name = 'sweep')
$$;

-- Order those of the slices to be removed that nobody knows; answers how many they are.
CREATE FUNCTION tarn_1.slice_strays(_slices int8[], _sizes int4[]) RETURNS int8
LANGUAGE sql AS $$
    WITH ordered AS (
        INSERT INTO tarn.slice_state AS s (slice, size, want)
        SELECT o.slice, max(o.size), 'delete'
          FROM unnest(_slices, _sizes) AS o (slice, size)
         WHERE tarn_1.sweep_wanted()
           AND NOT EXISTS (SELECT FROM public.jfs_chunk_ref r WHERE r.chunkid = o.slice)
         GROUP BY o.slice
         ORDER BY o.slice
        ON CONFLICT (slice) DO UPDATE SET size = greatest(s.size, excluded.size)
         WHERE s.want = 'delete'
        RETURNING 1
    )
    SELECT count(*) FROM ordered
$$;

CREATE FUNCTION tarn_1.sweep_done() RETURNS void
LANGUAGE sql AS $$
    INSERT INTO tarn.cursor (name, position, done_at) VALUES ('sweep', 0, now())
    ON CONFLICT (name) DO NOTHING
$$;

-- Lease up to _count rows for _seconds. is_referenced guards a delete: a slice that is still
-- referenced is never removed.
CREATE FUNCTION tarn_1.slice_lease(_count int4, _seconds int4)
RETURNS TABLE (slice int8, size int4, want text, fence int8, attempts int4, is_referenced bool,
               sums bytea)
LANGUAGE sql AS $$
    WITH due AS (
        SELECT s.slice FROM tarn.slice_state s
         WHERE s.not_before <= clock_timestamp()
           AND (s.leased_until IS NULL OR s.leased_until < clock_timestamp())
         ORDER BY s.not_before LIMIT _count
           FOR UPDATE SKIP LOCKED
    ), leased AS (
        UPDATE tarn.slice_state s
           SET fence = pg_current_xact_id()::text::int8, attempts = s.attempts + 1,
               leased_until = clock_timestamp() + make_interval(secs => _seconds)
          FROM due WHERE s.slice = due.slice
        RETURNING s.slice, s.size, s.want, s.fence, s.attempts
    )
    SELECT l.slice, l.size, l.want, l.fence, l.attempts,
           EXISTS (SELECT FROM public.jfs_chunk_ref r WHERE r.chunkid = l.slice AND r.refs > 0),
           b.sums
      FROM leased l LEFT JOIN tarn.block_sum b ON b.slice = l.slice AND b.size = l.size
$$;

-- Is the lease still ours? Extends it then.
CREATE FUNCTION tarn_1.slice_renew(_slice int8, _fence int8, _seconds int4) RETURNS bool
LANGUAGE sql AS $$
    WITH renewed AS (
        UPDATE tarn.slice_state
           SET leased_until = clock_timestamp() + make_interval(secs => _seconds)
         WHERE slice = _slice AND fence = _fence
        RETURNING 1
    )
    SELECT EXISTS (SELECT FROM renewed)
$$;

-- The worker has done _did ('copy' or 'delete'). Answers 'done' when the row is gone, 'again' when
-- something else is wanted by now (the lease stays), 'lost' when another worker has the row.
CREATE FUNCTION tarn_1.slice_done(_slice int8, _fence int8, _did text) RETURNS text
LANGUAGE plpgsql AS $$
DECLARE
    _row tarn.slice_state;
BEGIN
    SELECT * INTO _row FROM tarn.slice_state WHERE slice = _slice FOR UPDATE;
    IF NOT FOUND OR _row.fence <> _fence THEN
        RETURN 'lost';
    END IF;
    IF _row.want <> _did THEN
        RETURN 'again';
    END IF;
    DELETE FROM tarn.slice_state WHERE slice = _slice;
    RETURN 'done';
END $$;

-- The worker could not: give the row back, to be tried again after _delay_s. Answers whether it was
-- the worker's.
CREATE FUNCTION tarn_1.slice_fail(_slice int8, _fence int8, _error text, _delay_s int4)
RETURNS bool
LANGUAGE sql AS $$
    WITH failed AS (
        UPDATE tarn.slice_state
           SET leased_until = NULL, last_error = _error,
               not_before = clock_timestamp() + make_interval(secs => _delay_s)
         WHERE slice = _slice AND fence = _fence
        RETURNING 1
    )
    SELECT EXISTS (SELECT FROM failed)
$$;

-- A worker that copied has lost its row, and may have stored blocks after others had removed them.
-- Numbers are not given out twice: a slice without a reference row is gone for good, and is ordered
-- to be removed once more. Whoever is at that now may be past those blocks, and loses the row.
CREATE FUNCTION tarn_1.slice_left(_slice int8, _size int4) RETURNS void
LANGUAGE sql AS $$
    INSERT INTO tarn.slice_state (slice, size, want)
    SELECT _slice, _size, 'delete'
     WHERE NOT EXISTS (SELECT FROM public.jfs_chunk_ref r WHERE r.chunkid = _slice)
    ON CONFLICT (slice) DO UPDATE
        SET fence = pg_current_xact_id()::text::int8, leased_until = NULL
$$;

-- What is left to do. has_begun: orders are being taken.
CREATE FUNCTION tarn_1.slice_backlog()
RETURNS TABLE (copies int8, deletes int8, leased int8, failing int8, oldest_s float8,
               has_begun bool, backfill_done bool, backfill_position int8, backfill_goal int8,
               last_error text)
LANGUAGE sql STABLE AS $$
    SELECT count(*) FILTER (WHERE s.want = 'copy'),
           count(*) FILTER (WHERE s.want = 'delete'),
           count(*) FILTER (WHERE s.leased_until >= clock_timestamp()),
           count(*) FILTER (WHERE s.last_error IS NOT NULL),
           coalesce(extract(epoch FROM clock_timestamp() - min(s.ordered_at)), 0)::float8,
           EXISTS (SELECT FROM tarn.cursor c WHERE c.name = 'backfill'),
           EXISTS (SELECT FROM tarn.cursor c WHERE c.name = 'backfill' AND c.done_at IS NOT NULL),
           coalesce((SELECT c.position FROM tarn.cursor c WHERE c.name = 'backfill'), 0),
           coalesce((SELECT c.goal FROM tarn.cursor c WHERE c.name = 'backfill'), 0),
           (SELECT f.last_error FROM tarn.slice_state f WHERE f.last_error IS NOT NULL LIMIT 1)
      FROM tarn.slice_state s
$$;

-- Slices that could not be brought into the wanted state so far, for the list a person reads.
CREATE FUNCTION tarn_1.slice_failures(_limit int4)
RETURNS TABLE (slice int8, want text, attempts int4, last_error text)
LANGUAGE sql STABLE AS $$
    SELECT s.slice, s.want, s.attempts, s.last_error
      FROM tarn.slice_state s WHERE s.last_error IS NOT NULL
     ORDER BY s.slice LIMIT _limit
$$;

-- Is there a row that a worker could lease now?
CREATE FUNCTION tarn_1.slice_is_due() RETURNS bool
LANGUAGE sql AS $$
    SELECT EXISTS (SELECT FROM tarn.slice_state s
                    WHERE s.not_before <= clock_timestamp()
                      AND (s.leased_until IS NULL OR s.leased_until < clock_timestamp()))
$$;
