#include "fs/base/utf8.h"

#include <stdbool.h>
#include <stdint.h>

static bool is_within(uint8_t byte, uint8_t low, uint8_t high)
{
    return byte >= low && byte <= high;
}

/*
 * The second byte has a narrower range after four lead bytes: that is what keeps out overlong
 * forms, surrogates and numbers past U+10FFFF.
 */
static bool is_second(uint8_t lead, uint8_t second)
{
    switch (lead) {
    case 0xE0:
        return is_within(second, 0xA0, 0xBF);
    case 0xED:
        return is_within(second, 0x80, 0x9F);
    case 0xF0:
        return is_within(second, 0x90, 0xBF);
    case 0xF4:
        return is_within(second, 0x80, 0x8F);
    default:
        return is_within(second, 0x80, 0xBF);
    }
}

static size_t length_promised(uint8_t lead)
{
    if (lead < 0x80)
        return 1;
    if (is_within(lead, 0xC2, 0xDF))
        return 2;
    if (is_within(lead, 0xE0, 0xEF))
        return 3;
    return is_within(lead, 0xF0, 0xF4) ? 4 : 0;
}

size_t utf8_sequence(const void *text, size_t size)
{
    const uint8_t *at = text;
    size_t length = size == 0 ? 0 : length_promised(at[0]);
    if (length <= 1)
        return length;
    if (length > size || !is_second(at[0], at[1]))
        return 0;
    for (size_t i = 2; i < length; i++)
        if (!is_within(at[i], 0x80, 0xBF))
            return 0;
    return length;
}
