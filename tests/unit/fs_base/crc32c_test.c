#include "fs/base/crc32c.h"

#include "fs/base/hash.h"
#include "tests/unit/check.h"

TEST("CRC32C gives the sums of RFC 3720 B.4")
{
    uint8_t data[48] = {0};
    CHECK_EQ(crc32c(0, data, 32), 0x8A9136AA);
    memset(data, 0xFF, 32);
    CHECK_EQ(crc32c(0, data, 32), 0x62A8AB43);
    for (uint8_t i = 0; i < 32; i++)
        data[i] = i;
    CHECK_EQ(crc32c(0, data, 32), 0x46DD794E);
    for (uint8_t i = 0; i < 32; i++)
        data[i] = (uint8_t)(31 - i);
    CHECK_EQ(crc32c(0, data, 32), 0x113FDB5C);

    static const uint8_t read_pdu[48] = {
        0x01, 0xC0, 0, 0,    0, 0, 0, 0,    0,    0, 0, 0, 0, 0, 0, 0, 0x14, 0, 0, 0, 0, 0, 4, 0,
        0,    0,    0, 0x14, 0, 0, 0, 0x18, 0x28, 0, 0, 0, 0, 0, 0, 0, 0x02, 0, 0, 0, 0, 0, 0, 0};
    CHECK_EQ(crc32c(0, read_pdu, 48), 0xD9963A56);
    CHECK_EQ(crc32c(0, "123456789", 9), 0xE3069283);
}

TEST("the sum of nothing is nothing, and sums can be continued anywhere")
{
    static const char text[] = "the quick brown fox";
    CHECK_EQ(crc32c(0, NULL, 0), 0);
    uint32_t whole = crc32c(0, text, sizeof(text));
    for (size_t cut = 0; cut <= sizeof(text); cut++)
        CHECK_EQ(crc32c(crc32c(0, text, cut), text + cut, sizeof(text) - cut), whole);
}

/* Lengths around the borders of the three streams, and every alignment. */
TEST("instructions and tables agree for all lengths and alignments")
{
    static uint8_t data[8192 + 16];
    for (size_t i = 0; i < sizeof(data); i++)
        data[i] = (uint8_t)hash_u64(i);
    for (size_t size = 0; size < 8192; size += size < 64 ? 1 : 61)
        for (size_t offset = 0; offset < 9; offset += 4)
            CHECK_EQ(crc32c(7, data + offset, size), crc32c_by_table(7, data + offset, size));
    for (size_t size = 3070; size < 3080; size++)
        CHECK_EQ(crc32c(0, data, size), crc32c_by_table(0, data, size));
}
