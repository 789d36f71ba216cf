#include "tests/unit/fs_vfs/world.h"

#include <errno.h>
#include <fcntl.h>
#include <linux/falloc.h>
#include <pthread.h>
#include <stdlib.h>
#include <string.h>

#include "fs/base/clock.h"
#include "fs/base/crc32c.h"
#include "fs/base/hash.h"
#include "fs/base/wire.h"
#include "fs/meta/copy.h"

enum { NODES = 20000, CHUNKS = 8, ROOT_NODE = 1 };

struct chunk {
    bool exists;
    uint32_t count, capacity;
    struct slice_record *records;
};

struct node {
    struct node_attr attr; /* ino 0: free */
    char name[64];         /* empty: unlinked */
    struct chunk chunks[CHUNKS];
};

/* A slice: its sums. Its blocks are in the other map. */
struct sums {
    uint32_t size, count;
    uint32_t *values;
};

struct meta {
    int unused;
};

struct volume {
    uint32_t block_bytes;
    struct meta meta;
    pthread_mutex_t mutex; /* guards what follows */
    struct node *nodes;
    uint64_t next_ino, next_slice, now_us;
    struct map64 *blocks; /* slice << 10 | indx → malloc'ed bytes */
    struct map64 *sums;
};

const uint64_t chunk_none = UINT64_MAX;

static struct volume the_volume;
struct world_switches world;

static void enter(void)
{
    pthread_mutex_lock(&the_volume.mutex);
}

static void leave(void)
{
    pthread_mutex_unlock(&the_volume.mutex);
}

/* A clock that never stands still, so that every change has a time of its own. */
static struct timespec now(void)
{
    const uint64_t us = ++the_volume.now_us;
    return (struct timespec){(time_t)(us / 1000000), (long)(us % 1000000) * 1000};
}

static struct node *node_of(ino_num ino)
{
    return ino < NODES && the_volume.nodes[ino].attr.ino ? &the_volume.nodes[ino] : NULL;
}

/* ---- the world's own verbs ---- */

static void must(enum rc rc)
{
    if (rc)
        abort();
}

void world_open(const struct world_options *options)
{
    struct err e = ERR_INIT;
    the_volume = (struct volume){.block_bytes = options->block_bytes,
                                 .next_ino = 2,
                                 .next_slice = 1,
                                 .now_us = 1700000000000000};
    pthread_mutex_init(&the_volume.mutex, NULL);
    the_volume.nodes = calloc(NODES, sizeof(struct node));
    the_volume.nodes[ROOT_NODE].attr = (struct node_attr){
        .ino = META_ROOT, .type = NODE_DIRECTORY, .mode = 0777, .nlink = 2, .parent = META_ROOT};
    must(map64_open(&the_volume.blocks, &e));
    must(map64_open(&the_volume.sums, &e));
    memset(&world, 0, sizeof(world));
}

static _Bool free_block(uint64_t key, void *value, void *ctx)
{
    (void)key;
    (void)ctx;
    free(value);
    return true;
}

static _Bool free_sums(uint64_t key, void *value, void *ctx)
{
    struct sums *sums = value;
    (void)key;
    (void)ctx;
    free(sums->values);
    free(sums);
    return true;
}

void world_close(void)
{
    for (int i = 0; i < NODES; i++)
        for (int c = 0; c < CHUNKS; c++)
            free(the_volume.nodes[i].chunks[c].records);
    free(the_volume.nodes);
    map64_each(the_volume.blocks, free_block, NULL);
    map64_each(the_volume.sums, free_sums, NULL);
    map64_close(&the_volume.blocks);
    map64_close(&the_volume.sums);
    pthread_mutex_destroy(&the_volume.mutex);
}

struct volume *world_volume(void)
{
    return &the_volume;
}

static void append(struct node *node, uint32_t indx, struct slice_record record)
{
    struct chunk *chunk = &node->chunks[indx];
    chunk->exists = true;
    if (chunk->count == chunk->capacity) {
        chunk->capacity = chunk->capacity ? chunk->capacity * 2 : 4;
        chunk->records = realloc(chunk->records, chunk->capacity * sizeof(*chunk->records));
    }
    chunk->records[chunk->count++] = record;
}

static void append_hole(struct node *node, uint64_t off, uint64_t len)
{
    if (len)
        append(
            node, (uint32_t)(off / META_CHUNK_BYTES),
            (struct slice_record){.pos = (uint32_t)(off % META_CHUNK_BYTES), .len = (uint32_t)len});
}

static void touch(struct node *node)
{
    node->attr.mtime = node->attr.ctime = now();
}

/* ---- volume ---- */

struct meta *volume_meta(struct volume *volume)
{
    return &volume->meta;
}

uint32_t volume_block_bytes(const struct volume *volume)
{
    return volume->block_bytes;
}

const char *volume_uuid(const struct volume *volume)
{
    (void)volume;
    return "00000000-1111-2222-3333-444455556666";
}

enum rc volume_follow(struct volume *volume, struct err *e)
{
    (void)volume, (void)e;
    return RC_OK;
}

bool volume_hash_prefix(const struct volume *volume)
{
    (void)volume;
    return false;
}

static uint32_t sums_in(const struct volume *volume, uint32_t size)
{
    const uint32_t per_sum = meta_sum_bytes(volume->block_bytes);
    return (size + per_sum - 1) / per_sum;
}

void volume_sum_block(const struct volume *volume, const uint8_t *plain, uint32_t size,
                      uint32_t *out)
{
    const uint32_t per_sum = meta_sum_bytes(volume->block_bytes);
    for (uint32_t at = 0; at < size; at += per_sum)
        *out++ = crc32c(0, plain + at, size - at < per_sum ? size - at : per_sum);
}

struct block_sums volume_block_sums(const struct volume *volume, const struct slice_sums *sums,
                                    uint32_t indx)
{
    if (!sums)
        return (struct block_sums){NULL, 0};
    const uint32_t per_block = sums_in(volume, volume->block_bytes);
    const uint32_t size = block_size(sums->size, volume->block_bytes, indx);
    return (struct block_sums){sums->sums + (size_t)indx * per_block, sums_in(volume, size)};
}

enum rc volume_get_block(struct volume *volume, struct block_id block, struct block_sums sums,
                         uint8_t *plain, uint64_t deadline_ms, struct err *e)
{
    uint32_t found[64];
    (void)deadline_ms;
    clock_sleep_until(clock_deadline(atomic_load(&world.get_delay_ms)));
    atomic_fetch_add(&world.gets, 1);
    enter();
    const uint8_t *bytes = map64_get(volume->blocks, block.slice << 10 | block.indx);
    if (bytes)
        memcpy(plain, bytes, block.size);
    leave();
    if (!bytes)
        return err_fail(e, RC_NOT_FOUND, "no block %llu_%u", (unsigned long long)block.slice,
                        block.indx);
    volume_sum_block(volume, plain, block.size, found);
    if (sums.sums && (sums.count != sums_in(volume, block.size) ||
                      memcmp(found, sums.sums, sums.count * sizeof(*found)) != 0))
        return err_fail(e, RC_CORRUPT, "block %llu_%u", (unsigned long long)block.slice,
                        block.indx);
    return RC_OK;
}

static bool takes_failure(_Atomic unsigned *left)
{
    unsigned n = atomic_load(left);
    while (n && !atomic_compare_exchange_weak(left, &n, n - 1))
        ;
    return n != 0;
}

enum rc volume_put_block(struct volume *volume, struct block_id block, const uint8_t *plain,
                         uint64_t deadline_ms, struct err *e)
{
    (void)deadline_ms;
    clock_sleep_until(clock_deadline(atomic_load(&world.put_delay_ms)));
    atomic_fetch_add(&world.puts, 1);
    if (takes_failure(&world.failing_puts))
        return err_fail(e, RC_UNAVAILABLE, "as the test wants it");
    uint8_t *copy = malloc(block.size);
    memcpy(copy, plain, block.size);
    enter();
    free(map64_remove(volume->blocks, block.slice << 10 | block.indx));
    enum rc rc = map64_put(volume->blocks, block.slice << 10 | block.indx, copy, e);
    leave();
    return rc;
}

/* ---- files ---- */

static enum rc refuse(struct err *e, int posix)
{
    return err_refused(e, posix, "refused by the test's world");
}

static enum rc answer(const struct node *node, struct node_attr *out, struct err *e)
{
    if (node)
        *out = node->attr;
    leave();
    return node ? RC_OK : refuse(e, ENOENT);
}

enum rc meta_getattr(struct meta *meta, ino_num ino, struct node_attr *out, struct err *e)
{
    (void)meta;
    enter();
    return answer(node_of(ino), out, e);
}

static struct bytes pack_records(const struct chunk *chunk)
{
    uint8_t *packed = malloc(chunk->count * 24 + 1);
    for (uint32_t i = 0; i < chunk->count; i++)
        slice_record_put(packed + (size_t)i * 24, &chunk->records[i]);
    return (struct bytes){packed, chunk->count * 24};
}

static int by_id(const void *a, const void *b)
{
    const uint64_t x = *(const uint64_t *)a, y = *(const uint64_t *)b;
    return x < y ? -1 : x > y;
}

/* The sums of the slices that a chunk names, each once, in the order of their ids. */
static struct bytes pack_sums(const struct chunk *chunk)
{
    size_t size = 0, count = 0;
    uint64_t *ids = calloc(chunk->count + 1, sizeof(*ids));
    for (uint32_t i = 0; i < chunk->count; i++)
        ids[count++] = chunk->records[i].id;
    qsort(ids, count, sizeof(*ids), by_id);
    uint8_t *packed = malloc(chunk->count * (16 + 4 * 1024) + 1);
    for (size_t i = 0; i < count; i++) {
        const struct sums *sums = map64_get(the_volume.sums, ids[i]);
        if (!sums || (i && ids[i] == ids[i - 1]))
            continue;
        wire_put_u64(packed + size, ids[i]);
        wire_put_u32(packed + size + 8, sums->size);
        wire_put_u32(packed + size + 12, sums->count);
        size += 16;
        for (uint32_t k = 0; k < sums->count; k++, size += 4)
            wire_put_u32(packed + size, sums->values[k]);
    }
    free(ids);
    return (struct bytes){packed, size};
}

static enum rc view_of(const struct node *node, uint32_t indx, struct chunk_view **out,
                       struct err *e)
{
    *out = NULL;
    if (indx >= CHUNKS || !node->chunks[indx].exists)
        return RC_OK;
    const struct bytes records = pack_records(&node->chunks[indx]);
    const struct bytes sums = pack_sums(&node->chunks[indx]);
    enum rc rc = chunk_view_new(indx, records, sums, out, e);
    free((void *)(uintptr_t)records.data);
    free((void *)(uintptr_t)sums.data);
    return rc;
}

/* Any function of all records does as a digest. */
static void digest_of(const struct node *node, uint8_t out[16])
{
    uint64_t sum = 0;
    for (uint32_t c = 0; c < CHUNKS; c++) {
        sum = hash_u64(sum + node->chunks[c].exists);
        if (node->chunks[c].count)
            sum = hash_u64(sum + hash_bytes(node->chunks[c].records,
                                            node->chunks[c].count * sizeof(struct slice_record)));
    }
    memcpy(out, &sum, 8);
    memcpy(out + 8, &sum, 8);
}

enum rc meta_open_file(struct meta *meta, ino_num ino, bool for_write, struct meta_opened *out,
                       struct err *e)
{
    (void)meta;
    (void)for_write;
    atomic_fetch_add(&world.opens, 1);
    enter();
    const struct node *node = node_of(ino);
    enum rc rc = node ? view_of(node, 0, &out->view, e) : refuse(e, ENOENT);
    if (node) {
        out->attr = node->attr;
        digest_of(node, out->digest);
    }
    leave();
    return rc;
}

enum rc meta_slices(struct meta *meta, ino_num ino, uint32_t first, uint32_t count,
                    struct chunk_view **views, struct err *e)
{
    (void)meta;
    atomic_fetch_add(&world.slice_reads, 1);
    enter();
    const struct node *node = node_of(ino);
    enum rc rc = node ? RC_OK : refuse(e, ENOENT);
    for (uint32_t i = 0; !rc && i < count; i++)
        rc = view_of(node, first + i, &views[i], e);
    leave();
    clock_sleep_until(clock_deadline(atomic_load(&world.slices_delay_ms)));
    return rc;
}

static void store_sums(const struct meta_written *w)
{
    struct err e = ERR_INIT;
    struct sums *sums = calloc(1, sizeof(*sums));
    *sums = (struct sums){w->size, w->sums_count, malloc(w->sums_count * sizeof(uint32_t))};
    memcpy(sums->values, w->sums, w->sums_count * sizeof(uint32_t));
    must(map64_put(the_volume.sums, w->id, sums, &e));
}

static void commit(struct node *node, const struct meta_written *w)
{
    const uint64_t end = w->indx * META_CHUNK_BYTES + w->pos + w->size;
    const struct slice_record record = {w->pos, w->id, w->size, 0, w->size};

    /* Every block must be there, and every slice comes once. */
    for (uint32_t i = 0; i < block_count(w->size, the_volume.block_bytes); i++)
        if (!map64_get(the_volume.blocks, w->id << 10 | i))
            abort();
    if (map64_get(the_volume.sums, w->id) || w->sums_count != sums_in(&the_volume, w->size))
        abort();
    append(node, w->indx, record);
    store_sums(w);
    if (end > node->attr.length)
        node->attr.length = end;
    atomic_fetch_add(&world.slices_committed, 1);
}

/* What is known of a doubted commit: its number of slices, as the number of the operation. */
static enum rc settle_doubt(struct lane *doubt, struct node *node, size_t count,
                            struct node_attr *out, struct err *e)
{
    if (doubt->op != (int64_t)count)
        abort(); /* not the same request again */
    doubt->is_uncertain = false;
    return answer(node, out, e);
}

enum rc meta_write(struct meta *meta, ino_num ino, const struct meta_written *slices, size_t count,
                   struct timespec mtime, bool kill_suid, struct lane *doubt, struct node_attr *out,
                   struct err *e)
{
    (void)meta;
    (void)mtime;
    (void)kill_suid;
    enum rc rc = (enum rc)atomic_load(&world.commit_outcome);
    if (rc)
        return err_fail(e, rc, "as the test wants it");
    enter();
    struct node *node = node_of(ino);
    if (doubt->is_uncertain)
        return settle_doubt(doubt, node, count, out, e);
    for (size_t i = 0; node && i < count; i++)
        commit(node, &slices[i]);
    if (node)
        touch(node);
    atomic_fetch_add(&world.commits, 1);
    if (!atomic_exchange(&world.loses_commit_answer, false))
        return answer(node, out, e);
    *doubt = (struct lane){.op = (int64_t)count, .is_uncertain = true};
    leave();
    return err_fail(e, RC_UNAVAILABLE, "done, and the answer is lost");
}

void meta_write_given_up(struct meta *meta, struct lane *doubt)
{
    (void)meta;
    *doubt = (struct lane){.sid = 0};
}

/* §7.4 */
static void set_length(struct node *node, uint64_t length)
{
    const uint64_t old = node->attr.length, a = old < length ? old : length;
    const uint64_t b = old < length ? length : old;
    const uint64_t first = a / META_CHUNK_BYTES, last = b / META_CHUNK_BYTES;
    const uint64_t room = META_CHUNK_BYTES - a % META_CHUNK_BYTES;

    append_hole(node, a, b - a < room ? b - a : room);
    for (uint64_t c = first + 1; c < last; c++)
        if (node->chunks[c].exists)
            append_hole(node, c * META_CHUNK_BYTES, META_CHUNK_BYTES);
    if (last > first)
        append_hole(node, last * META_CHUNK_BYTES, b % META_CHUNK_BYTES);
    node->attr.length = length;
}

enum rc meta_setattr(struct meta *meta, const struct meta_setattr *what, struct node_attr *out,
                     struct err *e)
{
    (void)meta;
    enter();
    struct node *node = node_of(what->ino);
    if (node && (what->mask & SETATTR_LENGTH) && what->length != node->attr.length) {
        set_length(node, what->length);
        touch(node);
    }
    if (node && (what->mask & SETATTR_MTIME))
        node->attr.mtime = what->mtime;
    if (node && (what->mask & SETATTR_MODE))
        node->attr.mode = what->mode;
    if (node)
        node->attr.ctime = now();
    return answer(node, out, e);
}

enum rc meta_fallocate(struct meta *meta, ino_num ino, int mode, uint64_t off, uint64_t len,
                       struct node_attr *out, struct err *e)
{
    (void)meta;
    enter();
    struct node *node = node_of(ino);
    const uint64_t old = node ? node->attr.length : 0;
    const uint64_t end = off + len < old ? off + len : old;
    if (node && (mode & (FALLOC_FL_PUNCH_HOLE | FALLOC_FL_ZERO_RANGE)))
        for (uint64_t at = off; at < end;) {
            const uint64_t room = META_CHUNK_BYTES - at % META_CHUNK_BYTES;
            const uint64_t n = end - at < room ? end - at : room;
            append_hole(node, at, n);
            at += n;
        }
    if (node && !(mode & FALLOC_FL_KEEP_SIZE) && off + len > old)
        node->attr.length = off + len;
    if (node)
        touch(node);
    return answer(node, out, e);
}

enum rc meta_next_chunk(struct meta *meta, ino_num ino, uint64_t indx, uint64_t *out, struct err *e)
{
    (void)meta;
    (void)e;
    enter();
    const struct node *node = node_of(ino);
    while (node && indx < CHUNKS && !node->chunks[indx].exists)
        indx++;
    *out = node && indx < CHUNKS ? indx : chunk_none;
    leave();
    return RC_OK;
}

/* Whole slices only, each in one chunk: what a record of the source is becomes one here. */
enum rc meta_copy_range(struct meta *meta, const struct meta_copy *what, uint64_t *copied,
                        struct node_attr *out, struct err *e)
{
    (void)meta;
    enter();
    const struct node *from = node_of(what->from);
    struct node *to = node_of(what->to);
    const struct chunk *chunk = &from->chunks[what->from_off / META_CHUNK_BYTES];
    for (uint32_t i = 0; i < chunk->count; i++) {
        struct slice_record record = chunk->records[i];
        record.pos += (uint32_t)(what->to_off % META_CHUNK_BYTES);
        append(to, (uint32_t)(what->to_off / META_CHUNK_BYTES), record);
    }
    *copied = what->len;
    if (what->to_off + what->len > to->attr.length)
        to->attr.length = what->to_off + what->len;
    touch(to);
    return answer(to, out, e);
}

static void remove_node(struct node *node)
{
    for (int c = 0; c < CHUNKS; c++)
        free(node->chunks[c].records);
    *node = (struct node){.attr.ino = 0};
}

enum rc meta_release(struct meta *meta, ino_num ino, struct err *e)
{
    (void)meta;
    (void)e;
    atomic_fetch_add(&world.releases, 1);
    enter();
    struct node *node = node_of(ino);
    if (node && node->attr.nlink == 0)
        remove_node(node);
    leave();
    return RC_OK;
}

enum rc meta_new_slice_id(struct meta *meta, uint64_t *out, struct err *e)
{
    (void)meta;
    (void)e;
    enter();
    *out = the_volume.next_slice++;
    leave();
    return RC_OK;
}

/* ---- names ---- */

static struct node *find_name(struct bytes name)
{
    for (uint64_t i = 2; i < the_volume.next_ino; i++) {
        struct node *node = &the_volume.nodes[i];
        if (node->attr.ino && strlen(node->name) == name.size &&
            memcmp(node->name, name.data, name.size) == 0)
            return node;
    }
    return NULL;
}

enum rc meta_lookup(struct meta *meta, ino_num parent, struct bytes name, struct node_attr *out,
                    struct err *e)
{
    (void)meta;
    (void)parent;
    enter();
    return answer(find_name(name), out, e);
}

enum rc meta_create(struct meta *meta, const struct meta_create *what, struct node_attr *out,
                    struct err *e)
{
    (void)meta;
    enter();
    struct node *node = find_name(what->name);
    if (node) {
        *out = node->attr;
        leave();
        return refuse(e, EEXIST);
    }
    node = &the_volume.nodes[the_volume.next_ino];
    memcpy(node->name, what->name.data, what->name.size);
    node->attr = (struct node_attr){.ino = the_volume.next_ino++,
                                    .type = what->type,
                                    .mode = what->mode,
                                    .nlink = 1,
                                    .parent = what->parent};
    touch(node);
    return answer(node, out, e);
}

enum rc meta_unlink(struct meta *meta, ino_num parent, struct bytes name, const ino_num *opened,
                    size_t opened_count, uint32_t uid, struct node_attr *out, struct err *e)
{
    (void)meta;
    (void)parent;
    (void)uid;
    enter();
    struct node *node = find_name(name);
    if (!node)
        return answer(NULL, out, e);
    bool is_open = false;
    for (size_t i = 0; i < opened_count; i++)
        is_open |= opened[i] == node->attr.ino;
    node->attr.nlink = 0;
    node->attr.ctime = now();
    node->name[0] = '\0';
    *out = node->attr;
    if (!is_open)
        remove_node(node);
    leave();
    return RC_OK;
}

enum rc meta_rename(struct meta *meta, ino_num parent, struct bytes name, ino_num new_parent,
                    struct bytes new_name, uint32_t flags, const ino_num *opened,
                    size_t opened_count, uint32_t uid, struct node_attr *out, struct err *e)
{
    struct node_attr ignored;
    struct err missing = ERR_INIT;
    (void)flags;
    (void)!meta_unlink(meta, new_parent, new_name, opened, opened_count, uid, &ignored, &missing);
    (void)parent;
    enter();
    struct node *node = find_name(name);
    if (node) {
        memset(node->name, 0, sizeof(node->name));
        memcpy(node->name, new_name.data, new_name.size);
        node->attr.ctime = now();
    }
    return answer(node, out, e);
}

static int by_name(const void *a, const void *b)
{
    const struct dir_entry *x = a, *y = b;
    return strcmp((const char *)x->name, (const char *)y->name);
}

static bool is_after(const char *name, struct bytes after)
{
    const size_t size = strlen(name), least = size < after.size ? size : after.size;
    const int order = least ? memcmp(name, after.data, least) : 0;
    return order > 0 || (order == 0 && size > after.size);
}

enum rc meta_readdir(struct meta *meta, ino_num dir, struct bytes after, bool with_attr,
                     struct dir_entry *out, uint32_t *count, struct err *e)
{
    (void)meta;
    (void)dir;
    const unsigned number = atomic_fetch_add(&world.readdirs, 1) + 1;
    clock_sleep_until(clock_deadline(atomic_load(&world.readdir_delay_ms)));
    if (number == atomic_load(&world.failing_readdir))
        return err_fail(e, RC_UNAVAILABLE, "as the test wants it");
    enter();
    uint32_t found = 0;
    struct dir_entry *all = calloc(the_volume.next_ino, sizeof(*all));
    for (uint64_t i = 2; i < the_volume.next_ino; i++) {
        const struct node *node = &the_volume.nodes[i];
        if (!node->attr.ino || !node->name[0] || !is_after(node->name, after))
            continue;
        all[found].name_size = (uint8_t)strlen(node->name);
        memcpy(all[found].name, node->name, sizeof(node->name));
        all[found].has_attr = with_attr;
        all[found++].attr = node->attr;
    }
    leave();
    qsort(all, found, sizeof(*all), by_name);
    *count = found < *count ? found : *count;
    memcpy(out, all, *count * sizeof(*all));
    free(all);
    return RC_OK;
}

/* ---- what the tests do not come to ---- */

enum rc meta_rmdir(struct meta *meta, ino_num parent, struct bytes name, uint32_t uid,
                   struct node_attr *out, struct err *e)
{
    (void)out;
    (void)meta;
    (void)parent;
    (void)name;
    (void)uid;
    return refuse(e, ENOTDIR);
}

enum rc meta_link(struct meta *meta, ino_num ino, ino_num parent, struct bytes name,
                  struct node_attr *out, struct err *e)
{
    (void)meta;
    (void)ino;
    (void)parent;
    (void)name;
    (void)out;
    return refuse(e, EPERM);
}

enum rc meta_readlink(struct meta *meta, ino_num ino, struct buf *out, struct err *e)
{
    (void)meta;
    (void)ino;
    (void)out;
    return refuse(e, EINVAL);
}

enum rc meta_access(struct meta *meta, ino_num ino, uint32_t uid, const uint32_t *gids,
                    size_t gid_count, int mask, struct err *e)
{
    (void)meta;
    (void)ino;
    (void)uid;
    (void)gids;
    (void)gid_count;
    (void)mask;
    (void)e;
    return RC_OK;
}

bool meta_statfs_known(struct meta *meta, struct meta_statfs *out)
{
    (void)meta;
    (void)out;
    return false;
}

enum rc meta_statfs_at(struct meta *meta, ino_num ino, struct meta_statfs *out,
                       struct meta_quota_room *room, struct err *e)
{
    (void)meta;
    (void)ino;
    (void)e;
    *out = (struct meta_statfs){0};
    *room = (struct meta_quota_room){.space = META_NO_LIMIT, .inodes = META_NO_LIMIT};
    return RC_OK;
}

enum rc meta_tmpfile(struct meta *meta, const struct meta_create *what, struct node_attr *out,
                     struct err *e)
{
    (void)meta;
    (void)what;
    (void)out;
    return refuse(e, EOPNOTSUPP);
}

enum rc meta_acl_rule(struct meta *meta, uint32_t id, struct acl_rule **out, struct err *e)
{
    (void)meta;
    (void)id;
    (void)out;
    return refuse(e, EIO);
}

enum rc meta_setfacl(struct meta *meta, const struct meta_setfacl *what, struct node_attr *out,
                     struct err *e)
{
    (void)meta;
    (void)what;
    (void)out;
    return refuse(e, EOPNOTSUPP);
}

enum rc meta_touch_atime(struct meta *meta, ino_num ino, bool is_strict, struct node_attr *out,
                         struct err *e)
{
    (void)meta;
    (void)ino;
    (void)is_strict;
    (void)out;
    return refuse(e, ENOENT);
}

enum rc meta_getxattr(struct meta *meta, ino_num ino, const char *name, struct buf *out,
                      struct err *e)
{
    (void)meta;
    (void)ino;
    (void)name;
    (void)out;
    return refuse(e, ENODATA);
}

enum rc meta_listxattr(struct meta *meta, ino_num ino, struct buf *out, struct err *e)
{
    (void)meta;
    (void)ino;
    (void)out;
    (void)e;
    return RC_OK;
}

enum rc meta_setxattr(struct meta *meta, ino_num ino, const char *name, struct bytes value,
                      int flags, struct err *e)
{
    (void)meta;
    (void)ino;
    (void)name;
    (void)value;
    (void)flags;
    return refuse(e, ENOTSUP);
}

enum rc meta_removexattr(struct meta *meta, ino_num ino, const char *name, struct err *e)
{
    (void)meta;
    (void)ino;
    (void)name;
    return refuse(e, ENODATA);
}

enum rc meta_flush_usage(struct meta *meta, struct err *e)
{
    (void)meta;
    (void)e;
    return RC_OK;
}

enum rc meta_refresh(struct meta *meta, struct meta_vitals *out, struct err *e)
{
    (void)meta;
    (void)e;
    *out = (struct meta_vitals){0};
    return RC_OK;
}

bool meta_tend(struct meta *meta)
{
    (void)meta;
    return false;
}

enum rc meta_check_primary(struct meta *meta, struct err *e)
{
    (void)meta;
    (void)e;
    return RC_OK;
}

enum rc meta_session_renew(struct meta *meta, struct err *e)
{
    (void)meta;
    (void)e;
    return RC_OK;
}

uint64_t meta_session_id(const struct meta *meta)
{
    (void)meta;
    return 1;
}

/* ---- what others do ---- */

void world_write_elsewhere(ino_num ino, uint64_t off, uint32_t size, uint8_t byte)
{
    struct err e = ERR_INIT;
    struct node_attr attr;
    uint32_t sums[1024];
    uint64_t id = 0;
    const uint32_t block_bytes = the_volume.block_bytes;
    uint8_t *data = malloc(size);

    memset(data, byte, size);
    must(meta_new_slice_id(&the_volume.meta, &id, &e));
    for (uint32_t i = 0, at = 0; at < size; i++, at += block_bytes) {
        const struct block_id block = {id, i, block_size(size, block_bytes, i)};
        volume_sum_block(&the_volume, data + at, block.size,
                         sums + i * sums_in(&the_volume, block_bytes));
        must(volume_put_block(&the_volume, block, data + at, 0, &e));
    }
    const struct meta_written written = {.indx = (uint32_t)(off / META_CHUNK_BYTES),
                                         .pos = (uint32_t)(off % META_CHUNK_BYTES),
                                         .size = size,
                                         .id = id,
                                         .sums = sums,
                                         .sums_count = sums_in(&the_volume, size)};
    struct lane doubt = {.sid = 0};
    must(meta_write(&the_volume.meta, ino, &written, 1, (struct timespec){0}, false, &doubt, &attr,
                    &e));
    free(data);
}

void world_compact(ino_num ino)
{
    struct node *node = node_of(ino);
    struct chunk *chunk = &node->chunks[0];
    struct err e = ERR_INIT;
    uint64_t id = 0;
    uint32_t sums[1024];
    uint32_t size = 0;
    const uint32_t block_bytes = the_volume.block_bytes;

    for (uint32_t i = 0; i < chunk->count; i++)
        if (chunk->records[i].pos + chunk->records[i].len > size)
            size = chunk->records[i].pos + chunk->records[i].len;
    uint8_t *data = calloc(1, size);
    must(meta_new_slice_id(&the_volume.meta, &id, &e));
    for (uint32_t i = 0; i < chunk->count; i++) {
        const struct slice_record *r = &chunk->records[i];
        for (uint32_t k = 0; k < r->len; k++) {
            const uint32_t at = r->off + k;
            const uint8_t *block =
                r->id ? map64_get(the_volume.blocks, r->id << 10 | at / block_bytes) : NULL;
            data[r->pos + k] = block ? block[at % block_bytes] : 0;
        }
    }
    for (uint32_t i = 0; i < chunk->count; i++)
        for (uint64_t b = 0; chunk->records[i].id && b < 1024; b++)
            free(map64_remove(the_volume.blocks, chunk->records[i].id << 10 | b));
    for (uint32_t i = 0, at = 0; at < size; i++, at += block_bytes) {
        const struct block_id block = {id, i, block_size(size, block_bytes, i)};
        volume_sum_block(&the_volume, data + at, block.size,
                         sums + i * sums_in(&the_volume, block_bytes));
        must(volume_put_block(&the_volume, block, data + at, 0, &e));
    }
    free(data);
    const struct meta_written written = {
        .size = size, .id = id, .sums = sums, .sums_count = sums_in(&the_volume, size)};
    chunk->count = 0;
    append(node, 0, (struct slice_record){0, id, size, 0, size});
    store_sums(&written);
}

void world_remove_elsewhere(ino_num ino)
{
    enter();
    remove_node(node_of(ino));
    leave();
}
