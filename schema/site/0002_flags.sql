-- What the functions of every operation need to know of the volume's settings, as columns, so that
-- none of them has to take the format row apart. Exactly one row, or none before the first session;
-- tarn_1.flags_refresh() keeps it. Local: it is made of tables that travel.
CREATE TABLE tarn.volume_flags (
    only_row    bool PRIMARY KEY DEFAULT true CHECK (only_row),
    trash_days  int8 NOT NULL,  -- 0: no trash
    change_log  bool NOT NULL,
    dir_stats   bool NOT NULL,
    owner_quota bool NOT NULL,  -- usage is counted for users and groups
    acl         bool NOT NULL,
    dir_quota   bool NOT NULL,  -- some directory has a quota, with limits or without
    capacity    int8 NOT NULL,  -- bytes; 0: no limit
    inodes      int8 NOT NULL   -- 0: no limit
);

INSERT INTO tarn.migration (version, name) VALUES (2, 'flags');
