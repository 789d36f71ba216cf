#include "fs/base/wire.h"

#include "tests/unit/check.h"

TEST("integers are big-endian in bytes and come back as they were")
{
    uint8_t at[8];
    wire_put_u64(at, 0x0102030405060708U);
    CHECK_BYTES(at, 8, "\1\2\3\4\5\6\7\10", 8);
    CHECK(wire_u64(at) == 0x0102030405060708U);
    wire_put_u32(at, 0xFFFEFDFCU);
    CHECK(wire_u32(at) == 0xFFFEFDFCU);
    wire_put_u16(at, 0xABCD);
    CHECK_EQ(wire_u16(at), 0xABCD);
    CHECK_EQ(at[0], 0xAB);
}

TEST("a reader reads to the last byte and is not short")
{
    struct wire_reader r = wire_reader(BYTES_OF("\0\1\0\0\0\2\0\0\0\0\0\0\0\3xyz"));
    CHECK_EQ(wire_read_u16(&r), 1);
    CHECK_EQ(wire_read_u32(&r), 2);
    CHECK_EQ(wire_read_u64(&r), 3);
    struct bytes rest = wire_read_bytes(&r, 3);
    CHECK_BYTES(rest.data, rest.size, "xyz", 3);
    CHECK(!r.is_short);
    CHECK_EQ(r.left, 0);
}

TEST("a read past the end yields zeros and stays short, even for what would fit")
{
    struct wire_reader r = wire_reader(BYTES_OF("\1\2\3"));
    CHECK_EQ(wire_read_u32(&r), 0);
    CHECK(r.is_short);
    CHECK_EQ(wire_read_u16(&r), 0);
    CHECK(wire_read_bytes(&r, 1).data == NULL);
    CHECK_EQ(wire_read_bytes(&r, 0).size, 0);
}

TEST("a length from a peer as large as it can be is short, not an overflow")
{
    struct wire_reader r = wire_reader(BYTES_OF("abc"));
    struct bytes none = wire_read_bytes(&r, SIZE_MAX);
    CHECK(none.data == NULL && none.size == 0 && r.is_short);
}
