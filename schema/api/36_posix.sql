-- What a mount needs for POSIX beside the operations themselves: the rules of access control lists
-- by their number, and access times.

-- A rule in the encoded form of format §11, of which the parts are kept apart in the table. Rules
-- never change, so a client keeps what it got for good. EIO: an inode names a rule that is missing.
CREATE FUNCTION tarn_1.acl_rule(_id int4) RETURNS TABLE (err int4, rule bytea)
LANGUAGE sql STABLE PARALLEL SAFE AS $$
    SELECT CASE WHEN a.id IS NULL THEN 5 ELSE 0 END,
           substring(int4send(coalesce(a.owner, 65535)) FROM 3)
           || substring(int4send(coalesce(a."group", 65535)) FROM 3)
           || substring(int4send(coalesce(a.mask, 65535)) FROM 3)
           || substring(int4send(coalesce(a.other, 65535)) FROM 3)
           || int4send(length(coalesce(a.named_users, '')) / 6) || coalesce(a.named_users, '')
           || int4send(length(coalesce(a.named_groups, '')) / 6) || coalesce(a.named_groups, '')
      FROM (SELECT) AS always LEFT JOIN public.jfs_acl AS a ON a.id = _id
$$;
