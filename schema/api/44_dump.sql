-- The metadata of a volume, read whole: a directory at a time, in the order in which a dump is
-- written. The caller holds one snapshot (REPEATABLE READ) for all of it.

-- Entries of _dir after the name _after, in byte order; or, without _dir, the inode _ino itself under
-- an empty name. An entry whose node is missing has NULL in the node's columns. Lists are packed,
-- lengths are int4, big-endian:
--     xattrs: (length, name, length, value) …; chunks: (index, length, records) …
--     ACLs: owner, group, mask, other, then length and entries of the users, and of the groups
CREATE FUNCTION tarn_1.dump_entries(_dir int8, _after bytea, _limit int4, _ino int8)
RETURNS TABLE (name bytea, inode int8, type int4, has_node bool, flags int4, mode int4, uid int8,
               gid int8, atime int8, mtime int8, ctime int8, atimensec int4, mtimensec int4,
               ctimensec int4, nlink int4, length int8, rdev int8, tier int4, target bytea,
               xattrs bytea, chunks bytea, access_acl bytea, default_acl bytea)
LANGUAGE plpgsql STABLE AS $$
BEGIN
    RETURN QUERY
    SELECT x.name, x.inode, coalesce(n.type, x.type), n.inode IS NOT NULL, n.flags, n.mode,
           n.uid::int8 & 4294967295, n.gid::int8 & 4294967295, n.atime, n.mtime, n.ctime,
           n.atimensec, n.mtimensec, n.ctimensec, n.nlink, n.length, n.rdev::int8 & 4294967295,
           n.tier_id, l.target, a.packed, c.packed, tarn_1.dump_acl(n.access_acl_id),
           tarn_1.dump_acl(n.default_acl_id)
      FROM (SELECT * FROM (SELECT e.name, e.inode, e.type
                             FROM public.jfs_edge AS e
                            WHERE e.parent = _dir AND e.name > _after
                            ORDER BY e.name LIMIT _limit) AS page
             UNION ALL
            SELECT ''::bytea, _ino, 2 WHERE _ino IS NOT NULL) AS x
           LEFT JOIN public.jfs_node AS n ON n.inode = x.inode
           LEFT JOIN public.jfs_symlink AS l ON l.inode = x.inode AND n.type = 3
           LEFT JOIN LATERAL
           (SELECT string_agg(int4send(octet_length(t.name)) || convert_to(t.name, 'UTF8')
                              || int4send(octet_length(t.value)) || t.value, ''
                              ORDER BY t.name COLLATE "C") AS packed
              FROM public.jfs_xattr AS t WHERE t.inode = x.inode) AS a ON true
           LEFT JOIN LATERAL
           (SELECT string_agg(int4send(k.indx) || int4send(octet_length(k.slices)) || k.slices, ''
                              ORDER BY k.indx) AS packed
              FROM public.jfs_chunk AS k
             WHERE k.inode = x.inode AND k.indx * 67108864::int8 < n.length) AS c
               ON n.type = 1
     ORDER BY x.name;
END $$;

-- A rule as dump_entries() packs it; NULL for no rule.
CREATE FUNCTION tarn_1.dump_acl(_id int4) RETURNS bytea
LANGUAGE plpgsql STABLE AS $$
BEGIN
    IF coalesce(_id, 0) = 0 THEN
        RETURN NULL;
    END IF;
    RETURN (SELECT int4send(coalesce(a.owner, 0)) || int4send(coalesce(a."group", 0))
                   || int4send(coalesce(a.mask, 65535)) || int4send(coalesce(a.other, 0))
                   || int4send(octet_length(coalesce(a.named_users, '')))
                   || coalesce(a.named_users, '')
                   || int4send(octet_length(coalesce(a.named_groups, '')))
                   || coalesce(a.named_groups, '')
              FROM public.jfs_acl AS a WHERE a.id = _id);
END $$;

-- What stands before the tree, as members of a JSON object with their names; the limits of owners
-- only for a whole volume.
CREATE FUNCTION tarn_1.dump_head(_is_whole bool) RETURNS TABLE (member text, value text)
LANGUAGE plpgsql STABLE AS $$
DECLARE
    _c jsonb := (SELECT jsonb_object_agg(k.name, k.value) FROM public.jfs_counter AS k);
BEGIN
    RETURN QUERY SELECT 'Counters', json_build_object(
        'usedSpace', coalesce(_c -> 'usedSpace', '0'),
        'usedInodes', coalesce(_c -> 'totalInodes', '0'),
        'nextInodes', coalesce(_c -> 'nextInode', '0'),
        'nextChunk', coalesce(_c -> 'nextChunk', '0'),
        'nextSession', coalesce(_c -> 'nextSession', '0'),
        'nextTrash', coalesce(_c -> 'nextTrash', '0'),
        'lastChangelog', (SELECT coalesce(max(h.id), 0) FROM public.jfs_change_log AS h))::text;
    RETURN QUERY SELECT 'Sustained', coalesce(
        (SELECT json_agg(json_build_object('sid', s.sid, 'inodes', s.inodes))
           FROM (SELECT u.sid, json_agg(u.inode ORDER BY u.inode) AS inodes
                   FROM public.jfs_sustained AS u GROUP BY u.sid ORDER BY u.sid) AS s)::text, '[]');
    RETURN QUERY SELECT 'DelFiles', coalesce(
        (SELECT json_agg(json_build_object('inode', d.inode, 'length', d.length,
                                           'expire', d.expire) ORDER BY d.inode)
           FROM public.jfs_delfile AS d)::text, '[]');
    RETURN QUERY SELECT 'Quotas', json_object_agg(q.inode, json_build_object(
               'maxSpace', q.max_space, 'maxInodes', q.max_inodes) ORDER BY q.inode)::text
      FROM public.jfs_dir_quota AS q HAVING count(*) > 0;
    RETURN QUERY SELECT CASE q.qtype WHEN 1 THEN 'UserQuotas' ELSE 'GroupQuotas' END,
           json_object_agg(q.qkey, json_build_object(
               'maxSpace', q.max_space, 'maxInodes', q.max_inodes) ORDER BY q.qkey)::text
      FROM public.jfs_user_group_quota AS q
     WHERE _is_whole AND (q.max_space, q.max_inodes) <> (-1, -1)
     GROUP BY q.qtype ORDER BY q.qtype DESC;
END $$;
