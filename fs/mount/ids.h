/*
 * ids - whose numbers: what users and groups of this machine are called in the volume.
 *
 * Squashing replaces who asks: root, or everybody, acts as one user of the volume.
 *
 * Mapping translates numbers by name, for sites that number their users differently. A file gives,
 * line by line, the number that a user or group has in the volume; the number here comes from the
 * name service (NSS). It works in both directions, on callers, owners and access control lists. Ids
 * that no line names pass through, but for those that a line has taken for somebody else: they
 * become ID_NOBODY, or one user would be taken for another.
 *
 *     # comment
 *     user alice 10001
 *     group staff 10050
 *
 * Threads   any, while the struct lives; ids_reload() from one thread at a time
 * Blocking  ids_open() and ids_reload() ask the name service
 */
#ifndef FS_MOUNT_IDS_H
#define FS_MOUNT_IDS_H

#include <stdbool.h>
#include <stdint.h>

#include "fs/base/err.h"
#include "fs/meta/acl.h"
#include "fs/vfs/vfs.h"

#define ID_NOBODY 65534u

struct ids;

struct ids_options {
    const char *root_squash, *all_squash; /* "UID[:GID]"; NULL or "": off */
    const char *map_path;                 /* NULL or "": no mapping */
};

/*
 * *out stays NULL when there is nothing to squash or to map: every verb takes NULL for that.
 * RC_INVALID names the option, or the file and line, that cannot be used.
 */
MUST_CHECK enum rc ids_open(struct ids **out, const struct ids_options *options, struct err *e);
void ids_close(struct ids **ids);

/* Read the file and the names again. On a failure the old mapping stays. */
MUST_CHECK enum rc ids_reload(struct ids *ids, struct err *e);

/* Is everybody somebody else, so that the kernel's idea of permissions counts for nothing? */
bool ids_squashes_all(const struct ids *ids);

/* A caller as the volume knows it. */
struct vfs_caller ids_caller(const struct ids *ids, uint32_t uid, uint32_t gid, uint32_t pid);

/* Numbers of this machine → of the volume, and back. */
uint32_t ids_user_in(const struct ids *ids, uint32_t uid);
uint32_t ids_group_in(const struct ids *ids, uint32_t gid);
uint32_t ids_user_out(const struct ids *ids, uint32_t uid);
uint32_t ids_group_out(const struct ids *ids, uint32_t gid);

/* The named entries of a list, in place. */
void ids_rule_in(const struct ids *ids, struct acl_rule *rule);
void ids_rule_out(const struct ids *ids, struct acl_rule *rule);

#endif
