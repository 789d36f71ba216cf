/*
 * Numbers as people write them: sizes and durations with units, exact to the last byte (no
 * floating point), and back again for --help and messages.
 */
#include "fs/base/conf_number.h"

#include <ctype.h>
#include <stdbool.h>
#include <stdio.h>
#include <string.h>
#include <strings.h>

struct unit {
    const char *name;
    int64_t factor;
};

static const struct unit size_units[] = {
    {"E", 1LL << 60}, {"P", 1LL << 50}, {"T", 1LL << 40}, {"G", 1LL << 30},
    {"M", 1LL << 20}, {"K", 1LL << 10}, {"B", 1},         {NULL, 0},
};

static const struct unit duration_units[] = {
    {"d", 86400000}, {"h", 3600000}, {"m", 60000}, {"s", 1000}, {"ms", 1}, {NULL, 0},
};

/* An amount in tenths, hundredths, … : digits · 10^-decimals. */
struct amount {
    int64_t digits;
    unsigned decimals;
};

/* Read "12" or "1.5" from *at, at most 15 digits. False if there is none. */
static bool read_amount(const char **at, struct amount *out)
{
    const char *start = *at;
    bool is_fraction = false;
    unsigned count = 0;
    *out = (struct amount){0};
    for (; isdigit((unsigned char)**at) || (**at == '.' && !is_fraction && count > 0); (*at)++) {
        if (**at == '.') {
            is_fraction = true;
            continue;
        }
        if (++count > 18)
            return false;
        out->digits = out->digits * 10 + (**at - '0');
        out->decimals += is_fraction;
    }
    return count > 0 && *at > start && (*at)[-1] != '.';
}

/* amount · factor, rounded down. False when it does not fit. */
static bool scale(struct amount amount, int64_t factor, int64_t *out)
{
    __int128 value = (__int128)amount.digits * factor;
    for (; amount.decimals > 0; amount.decimals--)
        value /= 10;
    if (value > INT64_MAX)
        return false;
    *out = (int64_t)value;
    return true;
}

static const struct unit *find_unit(const struct unit *units, const char *name, size_t length)
{
    for (; units->name; units++)
        if (strlen(units->name) == length && strncasecmp(units->name, name, length) == 0)
            return units;
    return NULL;
}

/* The factor of a size's suffix: "", "K", "KB", "KiB", …; 0 if it is none. */
static int64_t size_factor(const char *suffix, int64_t unit_bytes)
{
    size_t length = strlen(suffix);
    if (length == 0)
        return unit_bytes;
    bool is_long = strcasecmp(suffix + 1, "iB") == 0 || strcasecmp(suffix + 1, "B") == 0;
    const struct unit *unit = find_unit(size_units, suffix, is_long ? 1 : length);
    bool is_byte_of_byte = is_long && unit && unit->factor == 1;
    return unit && !is_byte_of_byte ? unit->factor : 0;
}

enum rc conf_parse_size(const char *text, int64_t unit_bytes, int64_t *out, struct err *e)
{
    const char *at = text;
    struct amount amount;
    int64_t factor = 0;
    if (read_amount(&at, &amount))
        factor = size_factor(at, unit_bytes);
    if (factor == 0)
        return err_fail(e, RC_INVALID, "\"%s\" is no size (such as 512K, 300M or 1.5G)", text);
    if (!scale(amount, factor, out))
        return err_fail(e, RC_INVALID, "\"%s\" is too large a size", text);
    return RC_OK;
}

/* One "1.5h" of a duration. A number without unit is only good alone. */
static bool read_term(const char **at, int64_t unit_ms, bool is_first, int64_t *out)
{
    struct amount amount;
    if (!read_amount(at, &amount))
        return false;
    if (**at == 0 && is_first)
        return scale(amount, unit_ms, out);

    size_t length = 0;
    while (isalpha((unsigned char)(*at)[length]))
        length++;
    const struct unit *unit = find_unit(duration_units, *at, length);
    *at += length;
    return unit && scale(amount, unit->factor, out);
}

enum rc conf_parse_duration(const char *text, int64_t unit_ms, int64_t *out, struct err *e)
{
    const char *at = text;
    int64_t total = 0;
    do {
        int64_t term = 0;
        if (!read_term(&at, unit_ms, at == text, &term) ||
            __builtin_add_overflow(total, term, &total))
            return err_fail(e, RC_INVALID, "\"%s\" is no duration (such as 500ms, 10s or 1h30m)",
                            text);
    } while (*at);
    *out = total;
    return RC_OK;
}

enum rc conf_parse_int(const char *text, int64_t *out, struct err *e)
{
    const char *at = text + (*text == '-');
    struct amount amount;
    if (!read_amount(&at, &amount) || *at || amount.decimals > 0)
        return err_fail(e, RC_INVALID, "\"%s\" is no whole number", text);
    *out = *text == '-' ? -amount.digits : amount.digits;
    return RC_OK;
}

int64_t conf_size_unit(const char *unit)
{
    return unit ? size_factor(unit, 1) : 1;
}

int64_t conf_duration_unit(const char *unit)
{
    const struct unit *found = unit ? find_unit(duration_units, unit, strlen(unit)) : NULL;
    return found ? found->factor : 1;
}

/* The largest unit that divides value without rest: what it was most likely written as. */
static void print_exact(char *out, size_t size, const struct unit *units, int64_t value)
{
    while (units[1].name && value % units->factor != 0)
        units++;
    (void)snprintf(out, size, "%lld%s", (long long)(value / units->factor), units->name);
}

void conf_print_value(char out[CONF_VALUE_BYTES], enum conf_type type, int64_t value)
{
    if (value == 0)
        (void)snprintf(out, CONF_VALUE_BYTES, "0");
    else if (type == CONF_SIZE)
        print_exact(out, CONF_VALUE_BYTES, size_units, value);
    else if (type == CONF_DURATION)
        print_exact(out, CONF_VALUE_BYTES, duration_units, value);
    else
        (void)snprintf(out, CONF_VALUE_BYTES, "%lld", (long long)value);
}
