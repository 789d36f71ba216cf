#include <stdatomic.h>
#include <stdlib.h>
#include <string.h>

#include "fs/base/clock.h"
#include "fs/base/hash.h"
#include "fs/store/layers.h"
#include "fs/store/wrap.h"

#define RULES_MAX 16
#define DELAY_MS  50

enum verb { VERB_GET, VERB_PUT, VERB_HEAD, VERB_REMOVE, VERB_LIST, VERB_COUNT };
enum kind {
    KIND_UNAVAILABLE,
    KIND_TIMEOUT,
    KIND_LOST,
    KIND_FLIP,
    KIND_CUT,
    KIND_DELAY,
    KIND_COUNT
};

static const char *const verb_names[VERB_COUNT] = {"get", "put", "head", "remove", "list"};
static const char *const kind_names[KIND_COUNT] = {"unavailable", "timeout", "lost",
                                                   "flip",        "cut",     "delay"};

struct rule {
    enum verb verb;
    enum kind kind;
    double probability;
};

struct fault_store {
    struct wrap wrap;
    struct rule rules[RULES_MAX];
    unsigned count;
    uint64_t seed;
    _Atomic uint64_t drawn;
};

/* What goes wrong in one call. */
struct mishap {
    bool has[KIND_COUNT];
    uint64_t random;
};

static uint64_t draw(struct fault_store *s)
{
    return hash_u64(s->seed + atomic_fetch_add_explicit(&s->drawn, 1, memory_order_relaxed));
}

static struct mishap mishap_of(struct fault_store *s, enum verb verb)
{
    struct mishap m = {.random = draw(s)};
    for (unsigned i = 0; i < s->count; i++) {
        const struct rule *rule = &s->rules[i];
        double chance = (double)(draw(s) >> 11) / (double)(1ULL << 53);
        if (rule->verb == verb && chance < rule->probability)
            m.has[rule->kind] = true;
    }
    return m;
}

/* What happens before the store below is asked. */
static enum rc strike(const struct mishap *m, const char *key, uint64_t deadline_ms, struct err *e)
{
    if (m->has[KIND_DELAY]) {
        const uint64_t wake_ms = clock_deadline(DELAY_MS);
        clock_sleep_until(wake_ms < deadline_ms ? wake_ms : deadline_ms);
    }
    if (m->has[KIND_UNAVAILABLE])
        return err_fail(e, RC_UNAVAILABLE, "fault: store does not answer for \"%s\"", key);
    if (m->has[KIND_TIMEOUT])
        return err_fail(e, RC_TIMEOUT, "fault: time-out for \"%s\"", key);
    return RC_OK;
}

/* Damage the bytes that a store gives or is given; returns the size that is left. */
static size_t damage(const struct mishap *m, uint8_t *data, size_t size)
{
    if (size > 0 && m->has[KIND_FLIP])
        data[m->random % size] ^= (uint8_t)(1U << (m->random >> 32) % 8);
    if (size > 0 && m->has[KIND_CUT])
        size = m->random % size;
    return size;
}

static enum rc answer(const struct mishap *m, enum rc rc, const char *key, struct err *e)
{
    if (rc == RC_OK && m->has[KIND_LOST])
        return err_fail(e, RC_UNCERTAIN, "fault: answer for \"%s\" lost", key);
    return rc;
}

static enum rc fault_get(struct store *base, const char *key, uint64_t offset, uint64_t length,
                         struct buf *out, uint64_t deadline_ms, struct err *e)
{
    struct fault_store *s = (struct fault_store *)base;
    const struct mishap m = mishap_of(s, VERB_GET);
    const size_t before = out->size;
    enum rc rc = strike(&m, key, deadline_ms, e);
    if (rc == RC_OK)
        rc = store_get(s->wrap.below, key, offset, length, out, deadline_ms, e);
    if (rc == RC_OK && out->size > before)
        out->size = before + damage(&m, out->data + before, out->size - before);
    return rc;
}

static enum rc fault_put(struct store *base, const char *key, struct bytes data,
                         uint64_t deadline_ms, struct err *e)
{
    struct fault_store *s = (struct fault_store *)base;
    const struct mishap m = mishap_of(s, VERB_PUT);
    enum rc rc = strike(&m, key, deadline_ms, e);
    auto_buf struct buf copy;
    buf_init(&copy, data.size + 1);
    if (rc == RC_OK)
        rc = buf_add(&copy, data.data, data.size, e);
    if (rc)
        return rc;
    copy.size = damage(&m, copy.data, copy.size);
    rc = store_put(s->wrap.below, key, buf_bytes(&copy), deadline_ms, e);
    return answer(&m, rc, key, e);
}

static enum rc fault_head(struct store *base, const char *key, struct store_object *out,
                          uint64_t deadline_ms, struct err *e)
{
    struct fault_store *s = (struct fault_store *)base;
    const struct mishap m = mishap_of(s, VERB_HEAD);
    enum rc rc = strike(&m, key, deadline_ms, e);
    return rc ? rc : store_head(s->wrap.below, key, out, deadline_ms, e);
}

static enum rc fault_remove(struct store *base, const char *key, uint64_t deadline_ms,
                            struct err *e)
{
    struct fault_store *s = (struct fault_store *)base;
    const struct mishap m = mishap_of(s, VERB_REMOVE);
    enum rc rc = strike(&m, key, deadline_ms, e);
    if (rc == RC_OK)
        rc = store_remove(s->wrap.below, key, deadline_ms, e);
    return answer(&m, rc, key, e);
}

static enum rc fault_list(struct store *base, const char *prefix, const char *after,
                          store_visit visit, void *arg, uint64_t deadline_ms, struct err *e)
{
    struct fault_store *s = (struct fault_store *)base;
    const struct mishap m = mishap_of(s, VERB_LIST);
    enum rc rc = strike(&m, prefix, deadline_ms, e);
    return rc ? rc : store_list(s->wrap.below, prefix, after, visit, arg, deadline_ms, e);
}

static const struct store_ops fault_ops = {
    .name = "fault",
    .get = fault_get,
    .put = fault_put,
    .head = fault_head,
    .remove = fault_remove,
    .list = fault_list,
    .close = wrap_close,
};

/* The index of the word at *at, which ends at end; steps behind it. -1: none of them. */
static int read_word(const char **at, char end, const char *const *words, int count)
{
    for (int i = 0; i < count; i++) {
        const size_t size = strlen(words[i]);
        if (strncmp(*at, words[i], size) == 0 && (*at)[size] == end) {
            *at += size + 1;
            return i;
        }
    }
    return -1;
}

static bool makes_sense(enum verb verb, enum kind kind)
{
    if (kind == KIND_LOST)
        return verb == VERB_PUT || verb == VERB_REMOVE;
    if (kind == KIND_FLIP || kind == KIND_CUT)
        return verb == VERB_GET || verb == VERB_PUT;
    return true;
}

/* Read one verb:kind:probability and step behind it. */
static bool read_rule(const char **at, struct rule *out)
{
    int verb = read_word(at, ':', verb_names, VERB_COUNT);
    int kind = verb < 0 ? -1 : read_word(at, ':', kind_names, KIND_COUNT);
    if (kind < 0 || !makes_sense((enum verb)verb, (enum kind)kind))
        return false;
    char *end;
    double probability = strtod(*at, &end);
    bool is_number = end != *at && (*end == 0 || *end == ',');
    *at = *end == ',' ? end + 1 : end;
    *out = (struct rule){(enum verb)verb, (enum kind)kind, probability};
    return is_number && probability >= 0 && probability <= 1;
}

enum rc store_fault(struct store **out, struct store **below, const char *plan, uint64_t seed,
                    struct err *e)
{
    struct rule rules[RULES_MAX];
    unsigned count = 0;
    for (const char *at = plan; *at != 0; count++) {
        if (count == RULES_MAX || !read_rule(&at, &rules[count]))
            return err_fail(e, RC_INVALID, "fault plan \"%s\" is malformed", plan);
    }

    struct fault_store *s = wrap_new(sizeof(*s), &fault_ops, below, e);
    if (!s)
        return e->code;
    memcpy(s->rules, rules, count * sizeof(rules[0]));
    s->count = count;
    s->seed = seed;
    *out = &s->wrap.base;
    return RC_OK;
}
