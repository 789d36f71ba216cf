-- What a new volume holds before anybody mounts it.
--
-- The format row is made by the program, so the rest is a function of it. The function is of this
-- session alone: `SELECT pg_temp.seed_volume($1)` on the connection that ran these files, in the
-- same transaction, and nothing but the volume is left behind.

CREATE FUNCTION pg_temp.seed_volume(_format text) RETURNS void
LANGUAGE plpgsql AS $$
DECLARE
    _now int8 := extract(epoch FROM clock_timestamp()) * 1000000;
BEGIN
    INSERT INTO public.jfs_setting (name, value) VALUES ('format', _format);
    INSERT INTO public.jfs_counter (name, value)
    VALUES ('nextInode', 2), ('nextChunk', 1), ('nextSession', 0),
           ('usedSpace', 0), ('totalInodes', 0), ('nextCleanupSlices', 0);
    -- The root, and the trash where there is one. Neither has an edge.
    INSERT INTO public.jfs_node (inode, type, flags, mode, uid, gid, atime, mtime, ctime, nlink,
                                 length, rdev, parent, access_acl_id, default_acl_id, tier_id)
    SELECT inode, 2, 0, mode, 0, 0, _now, _now, _now, 2, 4096, 0, 1, 0, 0, 0
      FROM (VALUES (1, 511), (9223372032828243968, 365)) AS seed (inode, mode)
     WHERE inode = 1 OR (_format::jsonb ->> 'TrashDays')::int8 > 0;
    -- Counted at the first flush instead, it would hold what other clients have yet to flush, twice.
    INSERT INTO public.jfs_dir_stats (inode, data_length, used_space, used_inodes)
    SELECT 1, 0, 0, 0 WHERE (_format::jsonb ->> 'DirStats')::bool;
END $$;
