/* The scanner for any processor: one octet at a time, by the table. */
#include "scan_parts.h"

#define JP_SCAN jp_scan_scalar
#define JP_TARGET

static inline const uint8_t *after(const uint8_t *at, const uint8_t *end, enum jp_octet set)
{
    while (at < end && jp_octets[*at] & set)
        at++;
    return at;
}

static inline const uint8_t *line(const uint8_t *at, const uint8_t *end, const uint8_t **name_end)
{
    *name_end = after(at, end, JP_TOKEN);
    return after(*name_end, end, JP_VALUE); /* every tchar may stand in a value, too */
}

#include "scan_heads.h"
