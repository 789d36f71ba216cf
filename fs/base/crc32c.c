#include "fs/base/crc32c.h"

#include <pthread.h>
#include <stdbool.h>
#include <string.h>

#if defined(__aarch64__)
#include <sys/auxv.h>
#endif

/*
 * Three ways to the same number: instructions with three streams in flight (the CRC instruction
 * has a latency of three cycles, so one stream uses a third of it), and eight tables at a time.
 * The streams are joined by multiplying with x^(8·length) mod P, by tables as well.
 */
#define POLYNOMIAL   0x82F63B78U /* reflected */
#define STREAM_BYTES 1024

typedef uint32_t (*crc_fn)(uint32_t crc, const uint8_t *at, size_t size);

static uint32_t slices[8][256]; /* CRC of a byte followed by 0…7 zero bytes */
static uint32_t shift[4][256];  /* a CRC, byte by byte, followed by STREAM_BYTES zero bytes */
static crc_fn chosen;
static pthread_once_t once = PTHREAD_ONCE_INIT;

static uint64_t load64(const uint8_t *at)
{
    uint64_t word;
    memcpy(&word, at, sizeof(word));
    return word;
}

static uint32_t by_table(uint32_t crc, const uint8_t *at, size_t size)
{
    for (; size >= 8; at += 8, size -= 8) {
        uint32_t low = crc ^ ((uint32_t)at[0] | (uint32_t)at[1] << 8 | (uint32_t)at[2] << 16 |
                              (uint32_t)at[3] << 24);
        crc = slices[7][low & 0xFF] ^ slices[6][low >> 8 & 0xFF] ^ slices[5][low >> 16 & 0xFF] ^
              slices[4][low >> 24] ^ slices[3][at[4]] ^ slices[2][at[5]] ^ slices[1][at[6]] ^
              slices[0][at[7]];
    }
    for (; size > 0; at++, size--)
        crc = slices[0][(crc ^ *at) & 0xFF] ^ crc >> 8;
    return crc;
}

#if defined(__x86_64__)

#define ACCELERATED       __attribute__((target("sse4.2")))
#define STEP64(crc, word) ((uint32_t)__builtin_ia32_crc32di((crc), (word)))
#define STEP8(crc, byte)  __builtin_ia32_crc32qi((crc), (byte))

static bool is_accelerated(void)
{
    return __builtin_cpu_supports("sse4.2");
}

#elif defined(__aarch64__)

#include <arm_acle.h>

#define ACCELERATED       __attribute__((target("+crc")))
#define STEP64(crc, word) __crc32cd((crc), (word))
#define STEP8(crc, byte)  __crc32cb((crc), (byte))

static bool is_accelerated(void)
{
    return (getauxval(AT_HWCAP) & HWCAP_CRC32) != 0;
}

#endif

#if defined(ACCELERATED)

/* crc as it is after STREAM_BYTES zero bytes. */
static uint32_t shifted(uint32_t crc)
{
    return shift[0][crc & 0xFF] ^ shift[1][crc >> 8 & 0xFF] ^ shift[2][crc >> 16 & 0xFF] ^
           shift[3][crc >> 24];
}

ACCELERATED static uint32_t by_instruction(uint32_t crc, const uint8_t *at, size_t size)
{
    const size_t stream = STREAM_BYTES;
    for (; size >= 3 * stream; at += 3 * stream, size -= 3 * stream) {
        uint32_t second = 0;
        uint32_t third = 0;
        for (size_t i = 0; i < stream; i += 8) {
            crc = STEP64(crc, load64(at + i));
            second = STEP64(second, load64(at + stream + i));
            third = STEP64(third, load64(at + 2 * stream + i));
        }
        crc = shifted(shifted(crc) ^ second) ^ third;
    }
    for (; size >= 8; at += 8, size -= 8)
        crc = STEP64(crc, load64(at));
    for (; size > 0; at++, size--)
        crc = STEP8(crc, *at);
    return crc;
}

static crc_fn choose(void)
{
    return is_accelerated() ? by_instruction : by_table;
}

#else

static crc_fn choose(void)
{
    return by_table;
}

#endif

static uint32_t after_zeros(uint32_t crc, size_t count)
{
    static const uint8_t zeros[64];
    for (; count > 0; count -= sizeof(zeros))
        crc = by_table(crc, zeros, sizeof(zeros));
    return crc;
}

static void prepare(void)
{
    for (uint32_t byte = 0; byte < 256; byte++) {
        uint32_t crc = byte;
        for (int bit = 0; bit < 8; bit++)
            crc = crc >> 1 ^ (crc & 1 ? POLYNOMIAL : 0);
        slices[0][byte] = crc;
    }
    for (int zeros = 1; zeros < 8; zeros++)
        for (int byte = 0; byte < 256; byte++) {
            uint32_t before = slices[zeros - 1][byte];
            slices[zeros][byte] = slices[0][before & 0xFF] ^ before >> 8;
        }
    for (int place = 0; place < 4; place++)
        for (uint32_t byte = 0; byte < 256; byte++)
            shift[place][byte] = after_zeros(byte << (8 * place), STREAM_BYTES);
    chosen = choose();
}

uint32_t crc32c(uint32_t crc, const void *data, size_t size)
{
    (void)pthread_once(&once, prepare);
    return ~chosen(~crc, data, size);
}

uint32_t crc32c_by_table(uint32_t crc, const void *data, size_t size)
{
    (void)pthread_once(&once, prepare);
    return ~by_table(~crc, data, size);
}
