#include "fs/mount/ids.h"

#include <errno.h>
#include <grp.h>
#include <pwd.h>
#include <stdatomic.h>
#include <stdio.h>
#include <stdlib.h>
#include <string.h>

#include "fs/base/array.h"
#include "fs/base/log.h"

#define NAME_SERVICE_BYTES ((size_t)64 << 10)
#define NO_ID              0xFFFFFFFFu

struct pair {
    uint32_t local, volume;
};

/* Users, or groups, in the order of their numbers here and of those in the volume. */
struct side {
    struct pair *by_local, *by_volume;
    size_t count, capacity;
};

struct map {
    struct side users, groups;
    struct map *older; /* a request may still be looking into it: kept to the end */
};

struct squash {
    bool is_on;
    uint32_t uid, gid;
};

struct ids {
    struct squash root, all; /* set at open */
    char *map_path;          /* set at open; NULL: no mapping */
    _Atomic(struct map *) map;
};

/* ---- looking up ---- */

static int compare_local(const void *a, const void *b)
{
    const uint32_t x = ((const struct pair *)a)->local, y = ((const struct pair *)b)->local;
    return (x > y) - (x < y);
}

static int compare_volume(const void *a, const void *b)
{
    const uint32_t x = ((const struct pair *)a)->volume, y = ((const struct pair *)b)->volume;
    return (x > y) - (x < y);
}

static const struct pair *find(const struct pair *pairs, size_t count, struct pair key,
                               int (*compare)(const void *, const void *))
{
    return count ? bsearch(&key, pairs, count, sizeof(key), compare) : NULL;
}

static uint32_t to_volume(const struct side *side, uint32_t id)
{
    const struct pair *mine =
        find(side->by_local, side->count, (struct pair){.local = id}, compare_local);
    if (mine)
        return mine->volume;
    return find(side->by_volume, side->count, (struct pair){.volume = id}, compare_volume)
               ? ID_NOBODY
               : id;
}

static uint32_t to_local(const struct side *side, uint32_t id)
{
    const struct pair *mine =
        find(side->by_volume, side->count, (struct pair){.volume = id}, compare_volume);
    if (mine)
        return mine->local;
    return find(side->by_local, side->count, (struct pair){.local = id}, compare_local) ? ID_NOBODY
                                                                                        : id;
}

static const struct map *map_of(const struct ids *ids)
{
    return ids ? atomic_load_explicit(&ids->map, memory_order_acquire) : NULL;
}

uint32_t ids_user_in(const struct ids *ids, uint32_t uid)
{
    const struct map *map = map_of(ids);
    return map ? to_volume(&map->users, uid) : uid;
}

uint32_t ids_group_in(const struct ids *ids, uint32_t gid)
{
    const struct map *map = map_of(ids);
    return map ? to_volume(&map->groups, gid) : gid;
}

uint32_t ids_user_out(const struct ids *ids, uint32_t uid)
{
    const struct map *map = map_of(ids);
    return map ? to_local(&map->users, uid) : uid;
}

uint32_t ids_group_out(const struct ids *ids, uint32_t gid)
{
    const struct map *map = map_of(ids);
    return map ? to_local(&map->groups, gid) : gid;
}

void ids_rule_in(const struct ids *ids, struct acl_rule *rule)
{
    for (uint32_t i = 0; map_of(ids) && i < rule->user_count; i++)
        rule->entries[i].id = ids_user_in(ids, rule->entries[i].id);
    for (uint32_t i = 0; map_of(ids) && i < rule->group_count; i++)
        rule->entries[rule->user_count + i].id =
            ids_group_in(ids, rule->entries[rule->user_count + i].id);
}

void ids_rule_out(const struct ids *ids, struct acl_rule *rule)
{
    for (uint32_t i = 0; map_of(ids) && i < rule->user_count; i++)
        rule->entries[i].id = ids_user_out(ids, rule->entries[i].id);
    for (uint32_t i = 0; map_of(ids) && i < rule->group_count; i++)
        rule->entries[rule->user_count + i].id =
            ids_group_out(ids, rule->entries[rule->user_count + i].id);
}

bool ids_squashes_all(const struct ids *ids)
{
    return ids && ids->all.is_on;
}

struct vfs_caller ids_caller(const struct ids *ids, uint32_t uid, uint32_t gid, uint32_t pid)
{
    const struct squash *squash = NULL;
    if (ids && ids->all.is_on)
        squash = &ids->all;
    else if (ids && ids->root.is_on && uid == 0)
        squash = &ids->root;
    if (squash)
        return (struct vfs_caller){squash->uid, squash->gid, pid, .is_squashed = true};
    return (struct vfs_caller){ids_user_in(ids, uid), ids_group_in(ids, gid), pid, false};
}

/* ---- reading the file ---- */

static void map_free(struct map *map)
{
    while (map) {
        struct map *older = map->older;
        free(map->users.by_local);
        free(map->users.by_volume);
        free(map->groups.by_local);
        free(map->groups.by_volume);
        free(map);
        map = older;
    }
}

static enum rc add_pair(struct side *side, struct pair pair, struct err *e)
{
    if (array_reserve(&side->by_local, &side->capacity, side->count + 1, sizeof(*side->by_local),
                      e))
        return err_note(e, "could not remember all names");
    side->by_local[side->count++] = pair;
    return RC_OK;
}

/* A number that two names share could not be turned back. */
static enum rc finish_side(struct side *side, const char *what, struct err *e)
{
    if (side->count == 0)
        return RC_OK;
    side->by_volume = malloc(side->count * sizeof(*side->by_volume));
    if (!side->by_volume)
        return err_fail(e, RC_NO_SPACE, "could not remember %zu names", side->count);
    memcpy(side->by_volume, side->by_local, side->count * sizeof(*side->by_volume));
    qsort(side->by_local, side->count, sizeof(struct pair), compare_local);
    qsort(side->by_volume, side->count, sizeof(struct pair), compare_volume);
    for (size_t i = 1; i < side->count; i++) {
        if (side->by_volume[i].volume == side->by_volume[i - 1].volume)
            return err_fail(e, RC_INVALID, "two %ss have the number %u in the volume", what,
                            side->by_volume[i].volume);
        if (side->by_local[i].local == side->by_local[i - 1].local)
            return err_fail(e, RC_INVALID, "two %ss have the number %u here", what,
                            side->by_local[i].local);
    }
    return RC_OK;
}

/* False: the name is not known here. */
static bool find_user(const char *name, uint32_t *id)
{
    struct passwd entry, *found = NULL;
    auto_free char *room = malloc(NAME_SERVICE_BYTES);
    if (!room || getpwnam_r(name, &entry, room, NAME_SERVICE_BYTES, &found) || !found)
        return false;
    *id = found->pw_uid;
    return true;
}

static bool find_group(const char *name, uint32_t *id)
{
    struct group entry, *found = NULL;
    auto_free char *room = malloc(NAME_SERVICE_BYTES);
    if (!room || getgrnam_r(name, &entry, room, NAME_SERVICE_BYTES, &found) || !found)
        return false;
    *id = found->gr_gid;
    return true;
}

static bool parse_id(const char *text, const char **end, uint32_t *out)
{
    char *stop;
    errno = 0;
    const unsigned long long value = strtoull(text, &stop, 10);
    *end = stop;
    *out = (uint32_t)value;
    return stop != text && text[0] >= '0' && text[0] <= '9' && errno == 0 && value < NO_ID;
}

/* One line, which is cut into its words. */
static enum rc take_line(struct map *map, char *line, struct err *e)
{
    static const char blanks[] = " \t\r\n";
    char *rest = NULL;
    const char *end;
    struct pair pair;
    line[strcspn(line, "#")] = 0;
    const char *kind = strtok_r(line, blanks, &rest);
    if (!kind)
        return RC_OK;
    const char *name = strtok_r(NULL, blanks, &rest);
    const char *number = strtok_r(NULL, blanks, &rest);
    const bool is_user = strcmp(kind, "user") == 0;
    if ((!is_user && strcmp(kind, "group") != 0) || !number ||
        !parse_id(number, &end, &pair.volume) || *end || strtok_r(NULL, blanks, &rest))
        return err_fail(e, RC_INVALID,
                        "expected \"user NAME VOLUME-ID\" or \"group NAME VOLUME-ID\"");
    if (!(is_user ? find_user(name, &pair.local) : find_group(name, &pair.local))) {
        log_info("%s \"%s\" of --map-ids is not known here", kind, name);
        return RC_OK;
    }
    return add_pair(is_user ? &map->users : &map->groups, pair, e);
}

static enum rc read_lines(struct map *map, FILE *file, const char *path, struct err *e)
{
    char *line = NULL;
    size_t room = 0;
    enum rc rc = RC_OK;
    for (unsigned number = 1; !rc && getline(&line, &room, file) != -1; number++) {
        rc = take_line(map, line, e);
        if (rc)
            err_note(e, "%s:%u", path, number);
    }
    free(line);
    if (!rc && ferror(file))
        return err_os(e, errno, "could not read %s", path);
    return rc;
}

/* NULL: *e says why. */
static struct map *read_map(const char *path, struct err *e)
{
    struct map *map = calloc(1, sizeof(*map));
    if (!map) {
        (void)!err_fail(e, RC_NO_SPACE, "could not allocate the map of ids");
        return NULL;
    }
    FILE *file = fopen(path, "re");
    enum rc rc = file ? read_lines(map, file, path, e)
                      : err_os(e, errno, "could not open \"%s\" of --map-ids", path);
    if (file)
        fclose(file);
    if (!rc && (finish_side(&map->users, "user", e) || finish_side(&map->groups, "group", e)))
        rc = err_note(e, "%s", path);
    if (rc) {
        map_free(map);
        return NULL;
    }
    return map;
}

enum rc ids_reload(struct ids *ids, struct err *e)
{
    if (!ids || !ids->map_path)
        return RC_OK;
    struct map *map = read_map(ids->map_path, e);
    if (!map)
        return e->code;
    map->older = atomic_load_explicit(&ids->map, memory_order_acquire);
    atomic_store_explicit(&ids->map, map, memory_order_release);
    return RC_OK;
}

/* ---- options ---- */

static bool is_given(const char *option)
{
    return option && *option;
}

static enum rc parse_squash(const char *name, const char *text, struct squash *out, struct err *e)
{
    const char *end;
    if (!is_given(text))
        return RC_OK;
    *out = (struct squash){.is_on = true, .gid = ID_NOBODY};
    bool is_valid = parse_id(text, &end, &out->uid);
    if (is_valid && *end == ':')
        is_valid = parse_id(end + 1, &end, &out->gid);
    if (!is_valid || *end)
        return err_fail(e, RC_INVALID, "--%s must be UID or UID:GID, not \"%s\"", name, text);
    if (out->uid == 0 || out->gid == 0)
        return err_fail(e, RC_INVALID, "--%s cannot make anybody root", name);
    return RC_OK;
}

enum rc ids_open(struct ids **out, const struct ids_options *o, struct err *e)
{
    *out = NULL;
    if (!is_given(o->root_squash) && !is_given(o->all_squash) && !is_given(o->map_path))
        return RC_OK;
    struct ids *ids = calloc(1, sizeof(*ids));
    if (!ids)
        return err_fail(e, RC_NO_SPACE, "could not allocate the map of ids");
    if (is_given(o->map_path))
        ids->map_path = strdup(o->map_path);
    if ((is_given(o->map_path) && !ids->map_path) ||
        parse_squash("root-squash", o->root_squash, &ids->root, e) ||
        parse_squash("all-squash", o->all_squash, &ids->all, e) || ids_reload(ids, e)) {
        ids_close(&ids);
        return e->code ? e->code : err_fail(e, RC_NO_SPACE, "out of memory");
    }
    *out = ids;
    return RC_OK;
}

void ids_close(struct ids **ids)
{
    if (!*ids)
        return;
    map_free((*ids)->map);
    free((*ids)->map_path);
    free(*ids);
    *ids = NULL;
}
