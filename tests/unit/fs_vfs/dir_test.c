/* Listings over a volume in memory. */
#include <stdlib.h>

#include "fs/base/clock.h"
#include "fs/vfs/state.h"
#include "tests/unit/check.h"
#include "tests/unit/fs_vfs/world.h"

enum { FILES = 5000, DOTS = 2 };

static const struct vfs_caller caller = {1000, 1000, 1, false};

static struct {
    struct block_cache *cache;
    struct vfs *vfs;
} mounted;

static void create(unsigned n)
{
    struct err e = ERR_INIT;
    struct node_attr attr;
    char name[16];
    (void)snprintf(name, sizeof(name), "f%05u", n);
    const struct meta_create what = {.parent = META_ROOT,
                                     .name = {(const uint8_t *)name, strlen(name)},
                                     .type = NODE_FILE,
                                     .mode = 0644};
    CHECK_OK(vfs_mknod(mounted.vfs, &caller, &what, &attr, &e), &e);
}

static enum rc unlink_name(const char *name, struct err *e)
{
    const struct bytes bytes = {(const uint8_t *)name, strlen(name)};
    return vfs_unlink(mounted.vfs, &caller, META_ROOT, bytes, e);
}

static void begin(unsigned files)
{
    struct err e = ERR_INIT;
    const struct world_options options = {.block_bytes = 65536};
    world_open(&options);
    const struct block_cache_options cache = {.volume = world_volume(), .memory_bytes = 1 << 20};
    CHECK_OK(block_cache_open(&mounted.cache, &cache, &e), &e);
    const struct vfs_options vfs = {.volume = world_volume(), .cache = mounted.cache};
    CHECK_OK(vfs_open(&mounted.vfs, &vfs, &e), &e);
    atomic_store(&mounted.vfs->quickest_page_ms, 0); /* near, however busy this machine is */
    for (unsigned i = 0; i < files; i++)
        create(i);
}

static void end(void)
{
    struct err e = ERR_INIT;
    CHECK_OK(vfs_close(&mounted.vfs, &e), &e);
    block_cache_close(&mounted.cache);
    world_close();
}

static struct vfs_dir *opened(void)
{
    struct err e = ERR_INIT;
    struct vfs_dir *dir = NULL;
    CHECK_OK(vfs_opendir(mounted.vfs, META_ROOT, &dir, &e), &e);
    return dir;
}

/* The number in the name at a position; -1 at the end, -2 for a dot. */
static int number_at(struct vfs_dir *dir, uint64_t offset, uint64_t *next)
{
    struct err e = ERR_INIT;
    const struct dir_entry *entry = NULL;
    char name[256];
    uint64_t age_ms = 0;
    CHECK_OK(vfs_readdir(dir, offset, true, &entry, &age_ms, next, &e), &e);
    CHECK(age_ms < 600000 || age_ms == UINT64_MAX);
    if (!entry)
        return -1;
    if (entry->name[0] == '.')
        return -2;
    memcpy(name, entry->name, entry->name_size);
    name[entry->name_size] = '\0';
    return (int)strtol(name + 1, NULL, 10);
}

TEST("every entry comes once, after the dots")
{
    uint64_t offset = 0;
    begin(FILES);
    struct vfs_dir *dir = opened();
    CHECK_EQ(number_at(dir, 0, &offset), -2);
    CHECK_EQ(number_at(dir, offset, &offset), -2);
    for (int i = 0; i < FILES; i++)
        CHECK_EQ(number_at(dir, offset, &offset), i);
    CHECK_EQ(number_at(dir, offset, &offset), -1);
    vfs_releasedir(&dir);
    end();
}

TEST("an empty directory has its dots")
{
    uint64_t offset = 0;
    begin(0);
    struct vfs_dir *dir = opened();
    CHECK_EQ(number_at(dir, 0, &offset), -2);
    CHECK_EQ(number_at(dir, offset, &offset), -2);
    CHECK_EQ(number_at(dir, offset, &offset), -1);
    vfs_releasedir(&dir);
    end();
}

TEST("a directory that is still open at the end is let go of")
{
    uint64_t next;
    begin(3);
    CHECK(number_at(opened(), DOTS, &next) == 0);
    end(); /* a leak otherwise, which the sanitizer reports */
}

TEST("a position that was given can be gone back to")
{
    uint64_t offset, next;
    begin(FILES);
    struct vfs_dir *dir = opened();
    for (offset = 0; number_at(dir, offset, &next) != -1; offset = next)
        ;
    for (uint64_t n = 0; n < FILES; n += 617)
        CHECK_EQ(number_at(dir, DOTS + n, &next), n);
    for (uint64_t n = FILES - 1; n > 700; n -= 617)
        CHECK_EQ(number_at(dir, DOTS + n, &next), n);
    vfs_releasedir(&dir);
    end();
}

TEST("entries removed and made while listing change nothing for the others")
{
    struct err e = ERR_INIT;
    uint64_t offset = DOTS;
    static unsigned seen[FILES];
    char name[16];
    begin(FILES);
    struct vfs_dir *dir = opened();
    for (int n = number_at(dir, offset, &offset); n != -1; n = number_at(dir, offset, &offset)) {
        if (n < FILES)
            seen[n]++;
        (void)snprintf(name, sizeof(name), "f%05d", n);
        CHECK_OK(unlink_name(name, &e), &e);
        if (n % 50 == 0 && n < FILES)
            create(FILES + (unsigned)n);
    }
    for (int n = 0; n < FILES; n++)
        CHECK_EQ(seen[n], 1);
    vfs_releasedir(&dir);
    end();
}

static bool is_overtaken(struct vfs_dir *dir, uint64_t offset)
{
    struct err e = ERR_INIT;
    const struct dir_entry *entry = NULL;
    uint64_t age_ms = 0, next;
    CHECK_OK(vfs_readdir(dir, offset, true, &entry, &age_ms, &next, &e), &e);
    CHECK(entry != NULL);
    return age_ms == UINT64_MAX;
}

TEST("an entry that was changed since its page was read is told from the others")
{
    struct err e = ERR_INIT;
    begin(10);
    struct vfs_dir *dir = opened();
    CHECK(!is_overtaken(dir, DOTS));
    CHECK_OK(unlink_name("f00004", &e), &e);
    for (unsigned n = 0; n < 10; n++)
        CHECK_EQ(is_overtaken(dir, DOTS + n), n == 4);
    create(4);
    CHECK(is_overtaken(dir, DOTS + 4));
    vfs_releasedir(&dir);
    dir = opened();
    CHECK(!is_overtaken(dir, DOTS + 4));
    vfs_releasedir(&dir);
    end();
}

/* ---- one page ahead: the pages of FILES are 256, 4096 and 648 ---- */

enum { FIRST_PAGE = 256, WHOLE_PAGE = 4096, PAGES = 3 };

/* Entries that are left from a position on. */
static unsigned rest(struct vfs_dir *dir, uint64_t offset)
{
    unsigned count = 0;
    while (number_at(dir, offset, &offset) != -1)
        count++;
    return count;
}

/* Until whoever asks ahead has its answer. */
static void let_land(void)
{
    pool_drain(mounted.vfs->listers);
}

TEST("the next page is asked for before it is needed, and no page twice")
{
    uint64_t next;
    begin(FILES);
    struct vfs_dir *dir = opened();
    CHECK_EQ(number_at(dir, DOTS, &next), 0);
    let_land();
    CHECK_EQ(world.readdirs, 2);
    CHECK_EQ(number_at(dir, DOTS + FIRST_PAGE, &next), FIRST_PAGE);
    let_land();
    CHECK_EQ(world.readdirs, PAGES);
    CHECK_EQ(rest(dir, DOTS), FILES);
    CHECK(world.readdirs <= 2 * PAGES);
    vfs_releasedir(&dir);
    end();
}

TEST("a whole listing asks for each page once")
{
    begin(FILES);
    struct vfs_dir *dir = opened();
    CHECK_EQ(rest(dir, DOTS), FILES);
    vfs_releasedir(&dir);
    let_land();
    CHECK_EQ(world.readdirs, PAGES);
    end();
}

TEST("a directory of one page is asked for once")
{
    begin(FIRST_PAGE - 1);
    struct vfs_dir *dir = opened();
    CHECK_EQ(rest(dir, DOTS), FIRST_PAGE - 1);
    vfs_releasedir(&dir);
    let_land();
    CHECK_EQ(world.readdirs, 1);
    end();
}

TEST("a directory is closed while its next page is on its way")
{
    uint64_t next;
    begin(FILES);
    struct vfs_dir *dir = opened();
    atomic_store(&world.readdir_delay_ms, 50);
    CHECK_EQ(number_at(dir, DOTS, &next), 0);
    vfs_releasedir(&dir);
    end();
}

TEST("a page ahead that failed before it was needed is asked for again")
{
    uint64_t next;
    begin(FILES);
    struct vfs_dir *dir = opened();
    atomic_store(&world.failing_readdir, 2);
    CHECK_EQ(number_at(dir, DOTS, &next), 0);
    let_land();
    CHECK_EQ(rest(dir, DOTS), FILES);
    vfs_releasedir(&dir);
    end();
}

TEST("what was changed after the next page was asked for is told from the others")
{
    struct err e = ERR_INIT;
    uint64_t next;
    begin(FILES);
    struct vfs_dir *dir = opened();
    CHECK_EQ(number_at(dir, DOTS, &next), 0);
    let_land();
    CHECK_OK(unlink_name("f00300", &e), &e);
    for (unsigned n = FIRST_PAGE; n < 400; n++)
        CHECK_EQ(is_overtaken(dir, DOTS + n), n == 300);
    vfs_releasedir(&dir);
    end();
}

TEST("who takes long over a page gets a fresh one, and none ahead any more")
{
    uint64_t next;
    begin(FILES);
    struct vfs_dir *dir = opened();
    CHECK_EQ(number_at(dir, DOTS, &next), 0);
    let_land();
    mounted.vfs->attr_ms = 10;
    clock_sleep_until(clock_deadline(20));
    CHECK_EQ(number_at(dir, DOTS + FIRST_PAGE, &next), FIRST_PAGE);
    let_land();
    CHECK_EQ(world.readdirs, 3);
    CHECK_EQ(rest(dir, DOTS + FIRST_PAGE), FILES - FIRST_PAGE);
    vfs_releasedir(&dir);
    end();
}

TEST("where every page takes long, pages are larger")
{
    uint64_t next;
    begin(FILES);
    atomic_store(&mounted.vfs->quickest_page_ms, UINT64_MAX);
    struct vfs_dir *dir = opened();
    atomic_store(&world.readdir_delay_ms, 20);
    CHECK_EQ(number_at(dir, DOTS, &next), 0);
    vfs_releasedir(&dir);
    let_land();
    atomic_store(&world.readdirs, 0);
    dir = opened();
    CHECK_EQ(rest(dir, DOTS), FILES);
    vfs_releasedir(&dir);
    let_land();
    CHECK_EQ(world.readdirs, 2);
    end();
}

TEST("a directory that was opened from afar is read again from near")
{
    begin(FILES);
    atomic_store(&mounted.vfs->quickest_page_ms, 1000);
    struct vfs_dir *dir = opened();
    CHECK_EQ(rest(dir, DOTS), FILES);
    CHECK_EQ(world.readdirs, 2);
    atomic_store(&mounted.vfs->quickest_page_ms, 0);
    CHECK_EQ(rest(dir, DOTS), FILES);
    vfs_releasedir(&dir);
    end();
}
