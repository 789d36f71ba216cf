#include "fs/upkeep/census.h"

#include "tests/unit/check.h"

TEST("the place of an id is where it stands, or where it would")
{
    const int64_t ids[] = {3, 5, 5, 9};
    CHECK_EQ(census_place(ids, 4, 1), 0);
    CHECK_EQ(census_place(ids, 4, 3), 0);
    CHECK_EQ(census_place(ids, 4, 4), 1);
    CHECK_EQ(census_place(ids, 4, 5), 1);
    CHECK_EQ(census_place(ids, 4, 9), 3);
    CHECK_EQ(census_place(ids, 4, UINT64_MAX), 4);
    CHECK_EQ(census_place(ids, 0, 5), 0);
}
