#include "fs/base/hash.h"
#include "fs/base/wire.h"
#include "fs/meta/pg_impl.h"
#include "tests/unit/check.h"
#include "tests/unit/fs_meta/fake_result.h"

static const char *const column[] = {"v"};

TEST("int8 arrays come back as they were encoded, the empty one as well")
{
    static const int64_t values[] = {0, 1, -1, INT64_MAX, INT64_MIN};
    for (size_t n = 0; n <= 5; n++) {
        auto_buf struct buf scratch;
        buf_init(&scratch, 4096);
        struct pg_param p;
        struct err e = ERR_INIT;
        CHECK_OK(pg_int8_array(&scratch, values, n, &p, &e), &e);
        auto_result struct pg_result *r = fake_result(column, 1);
        fake_set(r, "v", p.data, (size_t)p.size);
        auto_free int64_t *back = NULL;
        size_t count;
        CHECK_OK(pg_get_int8_array(r, 0, 0, &back, &count, &e), &e);
        CHECK_EQ(count, n);
        for (size_t i = 0; i < n; i++)
            CHECK_EQ(back[i], values[i]);
    }
}

TEST("SQL NULL is an empty array")
{
    auto_result struct pg_result *r = fake_result(column, 1);
    int64_t *back = NULL;
    size_t count = 9;
    struct err e = ERR_INIT;
    CHECK_OK(pg_get_int8_array(r, 0, 0, &back, &count, &e), &e);
    CHECK(back == NULL);
    CHECK_EQ(count, 0);
    CHECK_EQ(pg_get_int8(r, 0, 0), 0);
    CHECK(pg_get_text(r, 0, 0) == NULL);
    CHECK_EQ(pg_column(r, "absent"), -1);
    CHECK_EQ(pg_get_int4(r, 0, -1), 0);
}

TEST("a cut or bent array is corrupt and never read past its end")
{
    static const int64_t values[] = {1, 2, 3};
    auto_buf struct buf scratch;
    buf_init(&scratch, 4096);
    struct pg_param p;
    struct err e = ERR_INIT;
    CHECK_OK(pg_int8_array(&scratch, values, 3, &p, &e), &e);
    for (uint32_t round = 0; round < 20000; round++) {
        uint8_t bent[128];
        memcpy(bent, p.data, (size_t)p.size);
        uint64_t random = hash_u64(round);
        size_t size = round % 2 ? (size_t)p.size : random % (size_t)p.size;
        bent[(random >> 16) % (size_t)p.size] ^= (uint8_t)(1 << ((random >> 8) % 8));
        auto_result struct pg_result *r = fake_result(column, 1);
        fake_set(r, "v", bent, size);
        auto_free int64_t *back = NULL;
        size_t count;
        if (pg_get_int8_array(r, 0, 0, &back, &count, &e) == RC_OK)
            CHECK(count == 0 || 20 + 12 * count == size);
    }
}

TEST("scalars are big-endian and empty bytes are not NULL")
{
    struct pg_param p = pg_int8(-2);
    CHECK(p.data == pg_in_small);
    CHECK_EQ((int64_t)wire_u64(p.small), -2);
    p = pg_bytea((struct bytes){NULL, 0});
    CHECK(p.data != NULL);
    CHECK_EQ(p.size, 0);
    CHECK(pg_text(NULL).data == NULL);
}
