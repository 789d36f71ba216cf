#include "tests/fuzz/meta_targets.h"

#include <stdlib.h>
#include <string.h>

#include "fs/meta/acl.h"

static void promise(bool is_kept)
{
    if (!is_kept)
        abort();
}

static bool is_same(const struct buf *b, struct bytes given)
{
    return b->size == given.size && memcmp(b->data, given.data, given.size) == 0;
}

static void check_encoded(struct bytes given)
{
    struct err e = ERR_INIT;
    auto_free struct acl_rule *rule = NULL;
    if (acl_decode(given, &rule, &e))
        return;
    auto_buf struct buf back;
    buf_init(&back, ACL_BYTES_MAX * 2);
    promise(acl_encode(rule, &back, &e) == RC_OK);
    promise(is_same(&back, given));
}

/* What the kernel keeps as id of an entry that needs none is not looked at. */
static void check_attribute(struct bytes given)
{
    struct err e = ERR_INIT;
    auto_free struct acl_rule *rule = NULL;
    if (acl_from_attribute(given, &rule, &e) || !rule)
        return;
    auto_buf struct buf once, twice;
    auto_free struct acl_rule *again = NULL;
    buf_init(&once, ACL_BYTES_MAX);
    buf_init(&twice, ACL_BYTES_MAX);
    promise(acl_to_attribute(rule, &once, &e) == RC_OK && once.size == given.size);
    promise(acl_from_attribute(buf_bytes(&once), &again, &e) == RC_OK && again);
    promise(acl_to_attribute(again, &twice, &e) == RC_OK && is_same(&twice, buf_bytes(&once)));
}

int fuzz_acl(const uint8_t *data, size_t size)
{
    if (size == 0)
        return 0;
    const struct bytes given = {data + 1, size - 1};
    if (data[0] & 1)
        check_attribute(given);
    else
        check_encoded(given);
    return 0;
}
