#include "fs/vfs/acl.h"

#include <stdlib.h>

#include "fs/vfs/state.h"

void acl_table_init(struct acl_table *t)
{
    lock_init(&t->lock, LOCK_VFS_TABLE);
}

void acl_table_deinit(struct acl_table *t)
{
    for (size_t i = 0; i < ACL_SLOTS; i++)
        free(t->slots[i].rule);
    lock_deinit(&t->lock);
}

static struct acl_rule *find(struct acl_table *t, uint32_t id)
{
    LOCK_SCOPE(&t->lock);
    const struct acl_slot *slot = &t->slots[id % ACL_SLOTS];
    return slot->id == id ? acl_copy(slot->rule) : NULL;
}

/* Best effort: what is not kept is fetched again. */
static void keep(struct acl_table *t, uint32_t id, const struct acl_rule *rule)
{
    struct acl_rule *mine = acl_copy(rule);
    if (!mine)
        return;
    LOCK_SCOPE(&t->lock);
    struct acl_slot *slot = &t->slots[id % ACL_SLOTS];
    free(slot->rule);
    *slot = (struct acl_slot){id, mine};
}

enum rc vfs_acl_rule(struct vfs *vfs, uint32_t id, struct acl_rule **out, struct err *e)
{
    *out = find(&vfs->acls, id);
    if (*out)
        return RC_OK;
    enum rc rc = meta_acl_rule(vfs->meta, id, out, e);
    if (!rc)
        keep(&vfs->acls, id, *out);
    return rc;
}
