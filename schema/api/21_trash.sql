-- What becomes of an inode that loses a name: into the trash, one link less, kept for those who
-- have it open, or gone (format §4, §7.10, §9).

-- The trash directory of the UTC hour, made by the first deletion in it. Two who make it at once:
-- the second waits for the first and then finds it; it has used up a number, which is harmless.
CREATE FUNCTION tarn_1.trash_hour(_now int8, _sid int8 DEFAULT 0, OUT hour int8, OUT is_new bool)
LANGUAGE plpgsql AS $$
DECLARE
    _name bytea := convert_to(to_char(to_timestamp(_now / 1000000) AT TIME ZONE 'UTC',
                                      'YYYY-MM-DD-HH24'), 'UTF8');
BEGIN
    is_new := false;
    LOOP
        SELECT e.inode INTO hour
          FROM public.jfs_edge e WHERE e.parent = tarn_1.trash() AND e.name = _name;
        EXIT WHEN FOUND;
        INSERT INTO public.jfs_counter AS c (name, value) VALUES ('nextTrash', 1)
        ON CONFLICT (name) DO UPDATE SET value = c.value + 1
        RETURNING tarn_1.trash() + c.value INTO hour;
        INSERT INTO public.jfs_edge (parent, name, inode, type)
        VALUES (tarn_1.trash(), _name, hour, 2) ON CONFLICT (parent, name) DO NOTHING;
        is_new := FOUND;
        EXIT WHEN is_new;
    END LOOP;
    IF is_new THEN
        INSERT INTO public.jfs_node (inode, type, flags, mode, uid, gid, atime, mtime, ctime,
                                     atimensec, mtimensec, ctimensec, nlink, length, rdev, parent,
                                     access_acl_id, default_acl_id, tier_id)
        VALUES (hour, 2, 0, 365, 0, 0, _now, _now, _now, 0, 0, 0, 2, 4096, 0, tarn_1.trash(),
                0, 0, 0);
        INSERT INTO public.jfs_dir_stats (inode, data_length, used_space, used_inodes)
        VALUES (hour, 0, 0, 0);
        IF (tarn_1.flags()).change_log THEN
            PERFORM tarn_1.log_change(_sid, hour - tarn_1.trash(), format(
                'CREATE(%s,%s,0,0,2,365,0,,linux,false):%s', tarn_1.trash(),
                tarn_1.log_name(_name), hour));
        END IF;
    END IF;
END $$;

-- The name that tells `juicefs restore` where a thing came from. The cut is in bytes.
CREATE FUNCTION tarn_1.trash_name(_parent int8, _ino int8, _name bytea) RETURNS bytea
LANGUAGE sql STABLE PARALLEL SAFE AS $$
    SELECT substring(convert_to(_parent || '-' || _ino || '-', 'UTF8') || _name FROM 1 FOR 255)
$$;

-- Into the trash with an inode whose edge _e has just been deleted. NULL when the trash has this
-- very name of the inode already, which happens to long names of one file that are cut alike.
CREATE FUNCTION tarn_1.bury(_e public.jfs_edge, _n tarn.reply, _now int8, _sid int8 DEFAULT 0)
RETURNS tarn.reply
LANGUAGE plpgsql AS $$
DECLARE
    _hour   int8;
    _is_new bool;
    _r      tarn.reply;
BEGIN
    SELECT h.hour, h.is_new INTO _hour, _is_new FROM tarn_1.trash_hour(_now, _sid) AS h;
    INSERT INTO public.jfs_edge (parent, name, inode, type)
    VALUES (_hour, tarn_1.trash_name(_e.parent, _e.inode, _e.name), _e.inode, _e.type)
    ON CONFLICT (parent, name) DO NOTHING;
    IF NOT FOUND THEN
        -- The only link of an inode cannot be in the trash and outside: somebody broke the volume,
        -- and to drop a link now could drop the data of the other.
        IF _n.nlink < 2 OR _n.type = 2 THEN
            RAISE EXCEPTION 'inode % is in the trash already', _e.inode USING ERRCODE = 'TN005';
        END IF;
        RETURN NULL;
    END IF;
    UPDATE public.jfs_node AS n
       SET parent = CASE WHEN parent > 0 THEN _hour ELSE parent END,
           ctime = tarn_1.next_ctime(ctime, _now), ctimensec = 0
     WHERE inode = _e.inode RETURNING (tarn_1.attributes(n)).* INTO _r;
    _r.usage := CASE WHEN _is_new THEN '{4096,1}'::int8[] ELSE '{0,0}' END
                || tarn_1.entry_usage(_e.parent, _n, -1) || tarn_1.entry_usage(_hour, _n, 1);
    RETURN _r;
END $$;

-- One link less of an inode that has more. A directory has one name, so it is never here.
CREATE FUNCTION tarn_1.drop_link(_e public.jfs_edge, _n tarn.reply, _now int8) RETURNS tarn.reply
LANGUAGE plpgsql AS $$
BEGIN
    _n.nlink := _n.nlink - 1;
    _n.ctime := tarn_1.next_ctime(_n.ctime, _now);
    UPDATE public.jfs_node SET nlink = _n.nlink, ctime = _n.ctime, ctimensec = 0
     WHERE inode = _n.ino;
    _n.ctimensec := 0;
    _n.usage := ARRAY[0, 0]::int8[] || tarn_1.entry_usage(_e.parent, _n, -1);
    RETURN _n;
END $$;

-- The last name of a file that this session has open: the data stay until it is closed, and so
-- does what the volume accounts for them.
CREATE FUNCTION tarn_1.sustain(_sid int8, _e public.jfs_edge, _n tarn.reply, _now int8)
RETURNS tarn.reply
LANGUAGE plpgsql AS $$
BEGIN
    INSERT INTO public.jfs_sustained (sid, inode) VALUES (_sid, _n.ino)
    ON CONFLICT (sid, inode) DO NOTHING;
    DELETE FROM public.jfs_xattr WHERE inode = _n.ino;
    RETURN tarn_1.drop_link(_e, _n, _now);
END $$;

-- The end of an inode. The data of a file are deleted later, by way of jfs_delfile. _has_owners: the
-- volume's owner_quota.
CREATE FUNCTION tarn_1.erase(_e public.jfs_edge, _n tarn.reply, _now int8, _has_owners bool)
RETURNS tarn.reply
LANGUAGE plpgsql AS $$
BEGIN
    IF _n.type = 1 THEN
        INSERT INTO public.jfs_delfile (inode, length, expire)
        VALUES (_n.ino, _n.length, _now / 1000000);
    ELSIF _n.type = 3 THEN
        DELETE FROM public.jfs_symlink WHERE inode = _n.ino;
    END IF;
    DELETE FROM public.jfs_xattr WHERE inode = _n.ino;
    DELETE FROM public.jfs_node WHERE inode = _n.ino;
    _n.nlink := 0;
    _n.ctime := _now;
    _n.ctimensec := 0;
    _n.usage := ARRAY[-tarn_1.space(tarn_1.counted_length(_n)), -1]
                || tarn_1.entry_usage(_e.parent, _n, -1);
    IF _has_owners AND _n.ino < tarn_1.trash() THEN
        _n.usage := _n.usage || tarn_1.owner_usage(
            _n.uid, _n.gid, -tarn_1.space(tarn_1.counted_length(_n)), -1);
    END IF;
    RETURN _n;
END $$;

-- An entry whose node is missing: only the name goes. Its data, if there are any, are left to
-- `gc`, for a lost node row is no order to delete them.
CREATE FUNCTION tarn_1.drop_corrupt(_e public.jfs_edge) RETURNS tarn.reply
LANGUAGE sql IMMUTABLE AS $$
    SELECT ROW(0, _e.inode, _e.type, 0, 0, 0, 0, 0, 0, 0, 0, 0, 0, 0, 0, 0, 0, 0, 0, 0,
               ARRAY[0, 0, _e.parent, 0, -4096, -1])::tarn.reply
$$;

-- Take away the edge _e that leads to the locked node _n (err 2: there is none), and do with the
-- node what follows from it. The answer is the inode as it is afterwards, with the usage.
--
-- NULL when the edge does not lead there any more; then nothing has been changed. _flags: the volume's,
-- if the caller has them at hand.
CREATE FUNCTION tarn_1.discard(_sid int8, _e public.jfs_edge, _n tarn.reply, _opened int8[],
                               _now int8, _flags tarn.volume_flags DEFAULT NULL)
RETURNS tarn.reply
LANGUAGE plpgsql AS $$
DECLARE
    _r tarn.reply;
BEGIN
    DELETE FROM public.jfs_edge WHERE parent = _e.parent AND name = _e.name AND inode = _e.inode;
    IF NOT FOUND THEN
        RETURN NULL;
    END IF;
    IF _e.type = 2 THEN
        DELETE FROM public.jfs_dir_stats WHERE inode = _e.inode;
        DELETE FROM public.jfs_dir_quota WHERE inode = _e.inode;
    END IF;
    IF _n.err <> 0 THEN
        RETURN tarn_1.drop_corrupt(_e);
    END IF;
    IF _flags.trash_days IS NULL THEN
        _flags := tarn_1.flags();
    END IF;
    IF _e.parent < tarn_1.trash() AND _n.flags & 32 = 0 AND _flags.trash_days > 0 THEN
        _r := tarn_1.bury(_e, _n, _now, _sid);
        IF _r.err IS NOT NULL THEN
            RETURN _r;
        END IF;
    END IF;
    IF _n.type <> 2 AND _n.nlink > 1 THEN
        RETURN tarn_1.drop_link(_e, _n, _now);
    ELSIF _n.type = 1 AND _n.ino = ANY (_opened) THEN
        RETURN tarn_1.sustain(_sid, _e, _n, _now);
    END IF;
    RETURN tarn_1.erase(_e, _n, _now, _flags.owner_quota);
END $$;
