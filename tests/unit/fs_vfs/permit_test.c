#include "fs/vfs/permit.h"

#include <stdlib.h>

#include "tests/unit/check.h"

static const struct vfs_caller owner = {10, 99, 1, true};
static const struct vfs_caller member = {11, 20, 1, true};
static const struct vfs_caller named = {12, 20, 1, true};
static const struct vfs_caller named_member = {13, 30, 1, true};
static const struct vfs_caller stranger = {14, 40, 1, true};
static const struct vfs_caller root = {0, 0, 1, true};

static struct node_attr file(uint32_t mode)
{
    return (struct node_attr){.type = NODE_FILE, .mode = mode, .uid = 10, .gid = 20};
}

TEST("without a list the first class that fits decides")
{
    const struct node_attr attr = file(0046);
    CHECK(!permit_by(&attr, NULL, &owner, PERMIT_READ));
    CHECK(permit_by(&attr, NULL, &member, PERMIT_READ));
    CHECK(!permit_by(&attr, NULL, &member, PERMIT_WRITE));
    CHECK(permit_by(&attr, NULL, &stranger, PERMIT_READ | PERMIT_WRITE));
    CHECK(!permit_by(&attr, NULL, &stranger, PERMIT_READ | PERMIT_EXEC));
}

TEST("root runs only what somebody may run, and searches every directory")
{
    struct node_attr attr = file(0);
    CHECK(permit_by(&attr, NULL, &root, PERMIT_READ | PERMIT_WRITE));
    CHECK(!permit_by(&attr, NULL, &root, PERMIT_EXEC));
    attr.mode = 0010;
    CHECK(permit_by(&attr, NULL, &root, PERMIT_EXEC));
    attr = (struct node_attr){.type = NODE_DIRECTORY, .uid = 10};
    CHECK(permit_by(&attr, NULL, &root, PERMIT_EXEC));
}

TEST("a list decides as acl(5) says")
{
    struct acl_rule *rule = calloc(1, sizeof(*rule) + 2 * sizeof(*rule->entries));
    *rule = (struct acl_rule){
        .owner = 7, .group = 4, .mask = 6, .other = 1, .user_count = 1, .group_count = 1};
    rule->entries[0] = (struct acl_entry){12, 7};
    rule->entries[1] = (struct acl_entry){30, 2};
    const struct node_attr attr = file(0761);

    CHECK(permit_by(&attr, rule, &owner, 7));
    /* A named user has what his entry and the mask both grant, whatever his groups have. */
    CHECK(permit_by(&attr, rule, &named, PERMIT_READ | PERMIT_WRITE));
    CHECK(!permit_by(&attr, rule, &named, PERMIT_EXEC));
    CHECK(permit_by(&attr, rule, &member, PERMIT_READ));
    CHECK(!permit_by(&attr, rule, &member, PERMIT_WRITE));
    CHECK(permit_by(&attr, rule, &named_member, PERMIT_WRITE));
    /* A member of a group whose entry does not reach is refused, though others may. */
    CHECK(!permit_by(&attr, rule, &named_member, PERMIT_EXEC));
    CHECK(permit_by(&attr, rule, &stranger, PERMIT_EXEC));
    CHECK(!permit_by(&attr, rule, &stranger, PERMIT_READ));
    free(rule);
}
