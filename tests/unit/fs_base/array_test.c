#include "fs/base/array.h"

#include <stdint.h>
#include <stdlib.h>

#include "tests/unit/check.h"

TEST("what was added one by one is there, and memory was seldom asked for")
{
    struct err e = ERR_INIT;
    int *numbers = NULL;
    size_t count = 0, room = 0, moves = 0;
    for (int i = 0; i < 100000; i++) {
        const size_t before = room;
        CHECK_OK(array_reserve(&numbers, &room, count + 1, sizeof(*numbers), &e), &e);
        moves += room != before;
        numbers[count++] = i;
    }
    for (int i = 0; i < 100000; i++)
        CHECK_EQ(numbers[i], i);
    CHECK(moves < 20);
    free(numbers);
}

TEST("room is made for many at once, and not taken away")
{
    struct err e = ERR_INIT;
    char *bytes = NULL;
    size_t room = 0;
    CHECK_OK(array_reserve(&bytes, &room, 0, 1, &e), &e);
    CHECK(bytes == NULL);
    CHECK_OK(array_reserve(&bytes, &room, 5000, 1, &e), &e);
    CHECK(room >= 5000);
    const size_t had = room;
    CHECK_OK(array_reserve(&bytes, &room, 10, 1, &e), &e);
    CHECK_EQ(room, had);
    free(bytes);
}

TEST("more bytes than can be counted are refused, and the array stays")
{
    struct err e = ERR_INIT;
    uint64_t *numbers = NULL;
    size_t room = 0;
    CHECK_OK(array_reserve(&numbers, &room, 1, sizeof(*numbers), &e), &e);
    uint64_t *const before = numbers;
    const size_t had = room;
    CHECK_RC(array_reserve(&numbers, &room, SIZE_MAX / 8 + 1, sizeof(*numbers), &e), RC_NO_SPACE);
    CHECK_RC(array_reserve(&numbers, &room, SIZE_MAX, sizeof(*numbers), &e), RC_NO_SPACE);
    CHECK(numbers == before);
    CHECK_EQ(room, had);
    free(numbers);
}
