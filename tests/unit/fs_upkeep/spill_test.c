#include "fs/upkeep/spill.h"

#include "tests/unit/check.h"

TEST("blocks come back from a spill in order, as often as it is rewound")
{
    struct err e = ERR_INIT;
    auto_spill struct spill s = {NULL, 0};
    for (uint64_t i = 0; i < 10000; i++)
        CHECK_OK(spill_add(&s, &(struct spilled){{i, (uint32_t)i % 7, 4096}, i * 2}, &e), &e);
    CHECK_EQ(s.count, 10000);
    for (int round = 0; round < 2; round++) {
        struct spilled items[333];
        size_t count = 1;
        uint64_t next = 0;
        CHECK_OK(spill_rewind(&s, &e), &e);
        while (count > 0) {
            CHECK_OK(spill_read(&s, items, 333, &count, &e), &e);
            for (size_t i = 0; i < count; i++, next++) {
                CHECK_EQ(items[i].block.slice, next);
                CHECK_EQ(items[i].stored_bytes, next * 2);
            }
        }
        CHECK_EQ(next, 10000);
    }
}

TEST("a spill that nothing was put into is empty")
{
    struct err e = ERR_INIT;
    auto_spill struct spill s = {NULL, 0};
    struct spilled item;
    size_t count = 1;
    CHECK_OK(spill_rewind(&s, &e), &e);
    CHECK_OK(spill_read(&s, &item, 1, &count, &e), &e);
    CHECK_EQ(count, 0);
}
