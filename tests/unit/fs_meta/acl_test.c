#include "fs/meta/acl.h"

#include <errno.h>
#include <stdlib.h>

#include "tests/fuzz/meta_targets.h"
#include "tests/unit/check.h"

#define NOBODY            0xff, 0xff, 0xff, 0xff
#define OWNER(bits)       0x01, 0, (bits), 0, NOBODY
#define USER(id, bits)    0x02, 0, (bits), 0, (id), 0, 0, 0
#define GROUP_OWNER(bits) 0x04, 0, (bits), 0, NOBODY
#define GROUP(id, bits)   0x08, 0, (bits), 0, (id), 0, 0, 0
#define MASK(bits)        0x10, 0, (bits), 0, NOBODY
#define OTHER(bits)       0x20, 0, (bits), 0, NOBODY
#define ATTRIBUTE(...)                                                                             \
    {                                                                                              \
        2, 0, 0, 0, __VA_ARGS__                                                                    \
    }

static struct acl_rule *read_attribute(const uint8_t *data, size_t size)
{
    struct err e = ERR_INIT;
    struct acl_rule *rule = NULL;
    CHECK_OK(acl_from_attribute((struct bytes){data, size}, &rule, &e), &e);
    return rule;
}

static void check_refused(const uint8_t *data, size_t size, int posix)
{
    struct err e = ERR_INIT;
    struct acl_rule *rule = NULL;
    CHECK_RC(acl_from_attribute((struct bytes){data, size}, &rule, &e), RC_REFUSED);
    CHECK_EQ(e.posix, posix);
    CHECK(rule == NULL);
}

TEST("an attribute becomes the format's bytes and comes back")
{
    static const uint8_t given[] = ATTRIBUTE(OWNER(7), USER(10, 5), USER(11, 6), GROUP_OWNER(5),
                                             GROUP(50, 4), MASK(7), OTHER(4));
    static const uint8_t encoded[] = {0, 7, 0, 5, 0,  7, 0, 4, 0, 0, 0, 2, 0, 0, 0,  10, 0,
                                      5, 0, 0, 0, 11, 0, 6, 0, 0, 0, 1, 0, 0, 0, 50, 0,  4};
    struct err e = ERR_INIT;
    auto_free struct acl_rule *rule = read_attribute(given, sizeof(given));
    auto_buf struct buf bytes, back;
    buf_init(&bytes, ACL_BYTES_MAX);
    buf_init(&back, ACL_BYTES_MAX);
    CHECK_OK(acl_encode(rule, &bytes, &e), &e);
    CHECK_BYTES(bytes.data, bytes.size, encoded, sizeof(encoded));

    auto_free struct acl_rule *stored = NULL;
    CHECK_OK(acl_decode(buf_bytes(&bytes), &stored, &e), &e);
    auto_free struct acl_rule *copy = acl_copy(stored);
    CHECK_OK(acl_to_attribute(copy, &back, &e), &e);
    CHECK_BYTES(back.data, back.size, given, sizeof(given));
}

TEST("a list without a mask keeps that it has none")
{
    static const uint8_t given[] = ATTRIBUTE(OWNER(7), GROUP_OWNER(5), OTHER(4));
    auto_free struct acl_rule *rule = read_attribute(given, sizeof(given));
    CHECK_EQ(rule->mask, ACL_UNSET);
    struct err e = ERR_INIT;
    auto_buf struct buf back;
    buf_init(&back, ACL_BYTES_MAX);
    CHECK_OK(acl_to_attribute(rule, &back, &e), &e);
    CHECK_BYTES(back.data, back.size, given, sizeof(given));
}

TEST("an attribute without entries asks to remove the list")
{
    static const uint8_t given[] = {2, 0, 0, 0};
    CHECK(read_attribute(given, sizeof(given)) == NULL);
}

TEST("a list that Linux refuses is refused with EINVAL")
{
    static const uint8_t no_mask[] = ATTRIBUTE(OWNER(7), USER(10, 5), GROUP_OWNER(5), OTHER(4));
    static const uint8_t no_other[] = ATTRIBUTE(OWNER(7), GROUP_OWNER(5));
    static const uint8_t no_owner[] = ATTRIBUTE(GROUP_OWNER(5), OTHER(0));
    static const uint8_t unordered[] =
        ATTRIBUTE(OWNER(7), GROUP_OWNER(5), USER(10, 5), MASK(7), OTHER(4));
    static const uint8_t two_owners[] = ATTRIBUTE(OWNER(7), OWNER(7), GROUP_OWNER(5), OTHER(4));
    static const uint8_t two_masks[] =
        ATTRIBUTE(OWNER(7), GROUP_OWNER(5), MASK(7), MASK(7), OTHER(4));
    static const uint8_t bad_bits[] = ATTRIBUTE(OWNER(8), GROUP_OWNER(5), OTHER(4));
    static const uint8_t bad_tag[] = ATTRIBUTE(OWNER(7), 0x03, 0, 5, 0, NOBODY, OTHER(4));
    static const uint8_t no_id[] =
        ATTRIBUTE(OWNER(7), 0x02, 0, 5, 0, NOBODY, GROUP_OWNER(5), MASK(7), OTHER(4));
    static const uint8_t cut[] = {2, 0, 0, 0, OWNER(7), 4, 0, 5};
    check_refused(no_mask, sizeof(no_mask), EINVAL);
    check_refused(no_other, sizeof(no_other), EINVAL);
    check_refused(no_owner, sizeof(no_owner), EINVAL);
    check_refused(unordered, sizeof(unordered), EINVAL);
    check_refused(two_owners, sizeof(two_owners), EINVAL);
    check_refused(two_masks, sizeof(two_masks), EINVAL);
    check_refused(bad_bits, sizeof(bad_bits), EINVAL);
    check_refused(bad_tag, sizeof(bad_tag), EINVAL);
    check_refused(no_id, sizeof(no_id), EINVAL);
    check_refused(cut, sizeof(cut), EINVAL);
    check_refused(cut, 0, EINVAL);
}

TEST("an attribute of another version is not supported")
{
    static const uint8_t given[] = {3, 0, 0, 0, OWNER(7), GROUP_OWNER(5), OTHER(4)};
    check_refused(given, sizeof(given), EOPNOTSUPP);
}

TEST("stored bytes that are no rule are corrupt")
{
    static const uint8_t long_count[] = {0, 7, 0, 5, 0, 7, 0, 4, 0xff, 0xff, 0xff, 0xff};
    static const uint8_t bad_bits[] = {0, 9, 0, 5, 0, 7, 0, 4, 0, 0, 0, 0, 0, 0, 0, 0};
    static const uint8_t trailing[] = {0, 7, 0, 5, 0, 7, 0, 4, 0, 0, 0, 0, 0, 0, 0, 0, 1};
    struct err e = ERR_INIT;
    struct acl_rule *rule = NULL;
    CHECK_RC(acl_decode((struct bytes){long_count, sizeof(long_count)}, &rule, &e), RC_CORRUPT);
    CHECK_RC(acl_decode((struct bytes){bad_bits, sizeof(bad_bits)}, &rule, &e), RC_CORRUPT);
    CHECK_RC(acl_decode((struct bytes){trailing, sizeof(trailing)}, &rule, &e), RC_CORRUPT);
    CHECK_RC(acl_decode((struct bytes){trailing, 0}, &rule, &e), RC_CORRUPT);
    CHECK_OK(acl_decode((struct bytes){trailing, sizeof(trailing) - 1}, &rule, &e), &e);
    free(rule);
}

TEST("the corpus of access control lists keeps its promises")
{
    check_corpus("acl", fuzz_acl);
}
