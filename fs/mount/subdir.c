#include "fs/mount/subdir.h"

#include <errno.h>
#include <string.h>

static bool is_refused_with(const struct err *e, int posix)
{
    return e->code == RC_REFUSED && e->posix == posix;
}

/* One directory on the way. Somebody else may be making the same one. */
static enum rc step_down(struct meta *meta, ino_num *at, struct bytes name, bool may_make,
                         struct err *e)
{
    struct node_attr attr = {0};
    const struct meta_create make = {
        .parent = *at, .name = name, .type = NODE_DIRECTORY, .mode = 0777};
    enum rc rc = meta_lookup(meta, *at, name, &attr, e);
    if (rc && is_refused_with(e, ENOENT) && may_make) {
        *e = (struct err)ERR_INIT;
        rc = meta_create(meta, &make, &attr, e);
        if (rc && is_refused_with(e, EEXIST) && attr.ino)
            rc = RC_OK;
    }
    if (!rc && attr.type != NODE_DIRECTORY)
        return err_fail(e, RC_INVALID, "\"%.*s\" is not a directory", (int)name.size,
                        (const char *)name.data);
    *at = attr.ino;
    return rc;
}

enum rc subdir_find(struct meta *meta, const char *path, bool may_make, ino_num *out, struct err *e)
{
    const char *rest = path;
    *out = META_ROOT;
    while (rest && *rest) {
        const size_t size = strcspn(rest, "/");
        const struct bytes name = {(const uint8_t *)rest, size};
        if (size && step_down(meta, out, name, may_make, e))
            return err_note(e, "could not find subdir \"%s\"", path);
        rest += size + (rest[size] == '/');
    }
    return RC_OK;
}
