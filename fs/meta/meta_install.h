/*
 * meta_install - brings the files of schema/ into a database: each verb is one transaction under
 * an advisory lock, so that two installers, or one that dies, leave nothing half done.
 *
 * For tarn-primary (format, adopt) and tarn-mirror (join), as a role that owns the volume's tables.
 * No privileges are granted.
 *
 * Threads as struct pg · Blocking until deadline_ms
 */
#ifndef FS_META_META_INSTALL_H
#define FS_META_META_INSTALL_H

#include "fs/meta/pg.h"

/*
 * The tables of a new volume, the row format (see format_compose()), counters, root and trash.
 * RC_EXISTS: the database holds a volume.
 */
MUST_CHECK enum rc meta_install_volume(struct pg *pg, const char *format, uint64_t deadline_ms,
                                       struct err *e);

/*
 * For a load, whose transaction is the caller's: first the functions of schema/setup and the
 * installers' lock, then, in a database that is empty, the tables of a volume.
 */
MUST_CHECK enum rc meta_install_setup(struct pg *pg, uint64_t deadline_ms, struct err *e);
MUST_CHECK enum rc meta_install_tables(struct pg *pg, uint64_t deadline_ms, struct err *e);

/* The version of the tarn.* tables that this build brings. */
int meta_site_newest(void);

/* The tarn.* tables: every migration that is missing. RC_STALE: they are of a newer Tarn. */
MUST_CHECK enum rc meta_install_site(struct pg *pg, uint64_t deadline_ms, struct err *e);

/*
 * The functions: schema tarn_1 is dropped and made anew for the place where the volume's tables
 * are; triggers that call its functions are kept. Needs the volume's and the site's tables.
 *
 * RC_NOT_FOUND  the database holds no volume
 * RC_INVALID    it holds several
 */
MUST_CHECK enum rc meta_install_api(struct pg *pg, uint64_t deadline_ms, struct err *e);

#endif
