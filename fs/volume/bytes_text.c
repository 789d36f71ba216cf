#include "fs/volume/bytes_text.h"

#include <inttypes.h>
#include <stdio.h>

static const char units[] = "KMGTPE";
#define LAST_UNIT 5

void bytes_text(char out[BYTES_TEXT], uint64_t bytes)
{
    if (bytes < 1024) {
        snprintf(out, BYTES_TEXT, "%" PRIu64 " Bytes", bytes);
        return;
    }
    uint64_t rest = bytes;
    int unit = 0;
    for (; unit < LAST_UNIT && rest >= (uint64_t)1 << 20; unit++)
        rest >>= 10;
    snprintf(out, BYTES_TEXT, "%.2f %ciB (%" PRIu64 " Bytes)", (double)rest / 1024, units[unit],
             bytes);
}
