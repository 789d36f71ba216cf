#include "fs/meta/acl.h"

#include <errno.h>
#include <stdlib.h>
#include <string.h>

#include "fs/base/wire.h"

enum {
    ENCODED_HEAD = 8,  /* owner, group, mask, other */
    ENCODED_COUNT = 4, /* before the users and before the groups */
    ENCODED_ENTRY = 6,

    ATTRIBUTE_VERSION = 2,
    ATTRIBUTE_HEAD = 4,
    ATTRIBUTE_ENTRY = 8,

    ALL_BITS = 7,
};

/* Tags of the attribute's entries, in the order in which they come. */
enum tag {
    TAG_OWNER = 0x01,
    TAG_USER = 0x02,
    TAG_GROUP_OWNER = 0x04,
    TAG_GROUP = 0x08,
    TAG_MASK = 0x10,
    TAG_OTHER = 0x20,
};
#define NO_ID 0xFFFFFFFFu

static struct acl_rule *rule_new(size_t entries)
{
    return calloc(1, sizeof(struct acl_rule) + entries * sizeof(struct acl_entry));
}

struct acl_rule *acl_copy(const struct acl_rule *rule)
{
    const size_t entries = (size_t)rule->user_count + rule->group_count;
    struct acl_rule *copy = rule_new(entries);
    if (copy)
        memcpy(copy, rule, sizeof(*rule) + entries * sizeof(*rule->entries));
    return copy;
}

static enum rc no_memory(struct err *e)
{
    return err_fail(e, RC_NO_SPACE, "could not allocate an access control list");
}

/* ---- the format's bytes ---- */

/* The entries that stand behind a count at *at; moves *at behind them. False: cut off. */
static bool take_count(struct bytes encoded, size_t *at, uint32_t *count)
{
    if (encoded.size - *at < ENCODED_COUNT)
        return false;
    *count = wire_u32(encoded.data + *at);
    *at += ENCODED_COUNT;
    if (*count > ACL_ENTRIES_MAX || *count > (encoded.size - *at) / ENCODED_ENTRY)
        return false;
    *at += (size_t)*count * ENCODED_ENTRY;
    return true;
}

/* False: bits that are none. */
static bool read_entries(const uint8_t *from, uint32_t count, struct acl_entry *to)
{
    for (uint32_t i = 0; i < count; i++, from += ENCODED_ENTRY) {
        to[i] = (struct acl_entry){wire_u32(from), wire_u16(from + 4)};
        if (to[i].bits > ALL_BITS)
            return false;
    }
    return true;
}

static bool are_bits(uint16_t bits)
{
    return bits <= ALL_BITS;
}

enum rc acl_decode(struct bytes encoded, struct acl_rule **out, struct err *e)
{
    uint32_t users = 0, groups = 0;
    size_t at = ENCODED_HEAD;

    *out = NULL;
    if (encoded.size < ENCODED_HEAD || !take_count(encoded, &at, &users) ||
        !take_count(encoded, &at, &groups) || at != encoded.size)
        return err_fail(e, RC_CORRUPT, "an access control list of %zu bytes is cut off or too long",
                        encoded.size);
    struct acl_rule *rule = rule_new((size_t)users + groups);
    if (!rule)
        return no_memory(e);
    rule->owner = wire_u16(encoded.data);
    rule->group = wire_u16(encoded.data + 2);
    rule->mask = wire_u16(encoded.data + 4);
    rule->other = wire_u16(encoded.data + 6);
    rule->user_count = users;
    rule->group_count = groups;
    const uint8_t *named = encoded.data + ENCODED_HEAD + ENCODED_COUNT;
    if (!are_bits(rule->owner) || !are_bits(rule->group) || !are_bits(rule->other) ||
        (rule->mask != ACL_UNSET && !are_bits(rule->mask)) ||
        !read_entries(named, users, rule->entries) ||
        !read_entries(named + (size_t)users * ENCODED_ENTRY + ENCODED_COUNT, groups,
                      rule->entries + users)) {
        free(rule);
        return err_fail(e, RC_CORRUPT, "an access control list has bits that are no permissions");
    }
    *out = rule;
    return RC_OK;
}

static enum rc add_named(struct buf *out, const struct acl_entry *entries, uint32_t count,
                         struct err *e)
{
    uint8_t bytes[ENCODED_ENTRY];
    wire_put_u32(bytes, count);
    enum rc rc = buf_add(out, bytes, ENCODED_COUNT, e);
    for (uint32_t i = 0; !rc && i < count; i++) {
        wire_put_u32(bytes, entries[i].id);
        wire_put_u16(bytes + 4, entries[i].bits);
        rc = buf_add(out, bytes, ENCODED_ENTRY, e);
    }
    return rc;
}

enum rc acl_encode(const struct acl_rule *rule, struct buf *out, struct err *e)
{
    uint8_t head[ENCODED_HEAD];
    wire_put_u16(head, rule->owner);
    wire_put_u16(head + 2, rule->group);
    wire_put_u16(head + 4, rule->mask);
    wire_put_u16(head + 6, rule->other);
    if (buf_add(out, head, sizeof(head), e) || add_named(out, rule->entries, rule->user_count, e) ||
        add_named(out, rule->entries + rule->user_count, rule->group_count, e))
        return e->code;
    return RC_OK;
}

/* ---- the attribute ---- */

/* The only little-endian numbers here: the kernel's. */
static uint16_t little_u16(const uint8_t *p)
{
    return (uint16_t)(p[0] | p[1] << 8);
}

static uint32_t little_u32(const uint8_t *p)
{
    return (uint32_t)little_u16(p) | (uint32_t)little_u16(p + 2) << 16;
}

/*
 * Take one entry, which must follow the tag *last. An entry of one kind comes once; the named ones
 * in any number.
 */
static bool take_entry(struct acl_rule *rule, const uint8_t *entry, uint16_t *last)
{
    const uint16_t tag = little_u16(entry);
    const uint16_t bits = little_u16(entry + 2);
    const uint32_t id = little_u32(entry + 4);
    const bool is_named = tag == TAG_USER || tag == TAG_GROUP;

    if (!are_bits(bits) || tag < *last || (tag == *last && !is_named) || (is_named && id == NO_ID))
        return false;
    *last = tag;
    switch (tag) {
    case TAG_OWNER:
        rule->owner = bits;
        return true;
    case TAG_GROUP_OWNER:
        rule->group = bits;
        return true;
    case TAG_MASK:
        rule->mask = bits;
        return true;
    case TAG_OTHER:
        rule->other = bits;
        return true;
    case TAG_USER:
        rule->entries[rule->user_count++] = (struct acl_entry){id, bits};
        return true;
    case TAG_GROUP:
        rule->entries[rule->user_count + rule->group_count++] = (struct acl_entry){id, bits};
        return true;
    default:
        return false;
    }
}

static bool is_complete(const struct acl_rule *rule)
{
    return rule->owner != ACL_UNSET && rule->group != ACL_UNSET && rule->other != ACL_UNSET &&
           (rule->mask != ACL_UNSET || rule->user_count + rule->group_count == 0);
}

enum rc acl_from_attribute(struct bytes value, struct acl_rule **out, struct err *e)
{
    *out = NULL;
    if (value.size < ATTRIBUTE_HEAD || (value.size - ATTRIBUTE_HEAD) % ATTRIBUTE_ENTRY != 0)
        return err_refused(e, EINVAL, "an access control list of %zu bytes", value.size);
    if (little_u32(value.data) != ATTRIBUTE_VERSION)
        return err_refused(e, EOPNOTSUPP, "an access control list of another version");
    const size_t count = (value.size - ATTRIBUTE_HEAD) / ATTRIBUTE_ENTRY;
    if (count == 0)
        return RC_OK;
    if (count > ACL_ENTRIES_MAX)
        return err_refused(e, EINVAL, "an access control list of %zu entries", count);
    struct acl_rule *rule = rule_new(count);
    if (!rule)
        return no_memory(e);
    rule->owner = rule->group = rule->mask = rule->other = ACL_UNSET;

    uint16_t last = 0;
    bool is_valid = true;
    for (size_t i = 0; is_valid && i < count; i++)
        is_valid = take_entry(rule, value.data + ATTRIBUTE_HEAD + i * ATTRIBUTE_ENTRY, &last);
    if (!is_valid || !is_complete(rule)) {
        free(rule);
        return err_refused(e, EINVAL, "an access control list that is malformed");
    }
    *out = rule;
    return RC_OK;
}

static enum rc add_entry(struct buf *out, enum tag tag, uint32_t id, uint16_t bits, struct err *e)
{
    const uint8_t entry[ATTRIBUTE_ENTRY] = {(uint8_t)tag,        0,
                                            (uint8_t)bits,       (uint8_t)(bits >> 8),
                                            (uint8_t)id,         (uint8_t)(id >> 8),
                                            (uint8_t)(id >> 16), (uint8_t)(id >> 24)};
    return buf_add(out, entry, sizeof(entry), e);
}

static enum rc add_all(struct buf *out, enum tag tag, const struct acl_entry *entries,
                       uint32_t count, struct err *e)
{
    enum rc rc = RC_OK;
    for (uint32_t i = 0; !rc && i < count; i++)
        rc = add_entry(out, tag, entries[i].id, entries[i].bits, e);
    return rc;
}

enum rc acl_to_attribute(const struct acl_rule *rule, struct buf *out, struct err *e)
{
    const uint8_t version[ATTRIBUTE_HEAD] = {ATTRIBUTE_VERSION, 0, 0, 0};
    if (buf_add(out, version, sizeof(version), e) ||
        add_entry(out, TAG_OWNER, NO_ID, rule->owner, e) ||
        add_all(out, TAG_USER, rule->entries, rule->user_count, e) ||
        add_entry(out, TAG_GROUP_OWNER, NO_ID, rule->group, e) ||
        add_all(out, TAG_GROUP, rule->entries + rule->user_count, rule->group_count, e))
        return e->code;
    if (rule->mask != ACL_UNSET && add_entry(out, TAG_MASK, NO_ID, rule->mask, e))
        return e->code;
    return add_entry(out, TAG_OTHER, NO_ID, rule->other, e);
}
