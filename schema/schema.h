/*
 * schema - the SQL files, embedded, and the order in which they are applied.
 *
 * volume/  the JuiceFS tables of a new volume
 * site/    the tarn.* tables: numbered migrations, each applied once
 * setup/   functions of one session (pg_temp): what is checked before anything of ours is there
 * api/     the functions: schema tarn_1, dropped and made anew as a whole when their text changes
 *
 * Holds text only; fs/meta applies it.
 *
 * Threads any · Blocking never
 */
#ifndef SCHEMA_SCHEMA_H
#define SCHEMA_SCHEMA_H

#include <stddef.h>

struct schema_file {
    const char *name; /* "0001_site" */
    int version;      /* of a migration: the number its name begins with; else 0 */
    const char *text;
};

/* Each ordered by name. */
extern const struct schema_file schema_volume[];
extern const size_t schema_volume_count;
extern const struct schema_file schema_site[];
extern const size_t schema_site_count;
extern const struct schema_file schema_setup[];
extern const size_t schema_setup_count;
extern const struct schema_file schema_api[];
extern const size_t schema_api_count;

/* The schema that the functions of this build live in: "tarn_1". */
extern const char schema_api_name[];

/* A stable digest of all of schema_api, so that an installed copy can be told from another. */
extern const char schema_api_digest[];

#endif
