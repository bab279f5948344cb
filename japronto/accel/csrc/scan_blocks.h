/* after() and line() by blocks of octets.  A template: the file of an instruction set includes it
 * after it has defined
 *
 * JP_TARGET, JP_SCAN          see scan_heads.h
 * JP_BLOCK                    how many octets are in a block, at most 32
 * jp_block, load(at)          a block, and how it is read
 * outside(block, columns)     a bit for each octet that is not in a set of ASCII characters; bit 0
 *                             stands for the first octet
 *
 * A set is told by its columns in an ASCII chart of eight rows and sixteen columns: bit 4 of
 * columns[3] says whether 0x43 is in it.  So one shuffle looks the columns up by the low halves of
 * all octets, another one the bits of the rows by their high halves: see Mula and Lemire, "Faster
 * Base64 Encoding and Decoding Using AVX2 Instructions", and the sets "shufti" of Hyperscan. */

static const uint8_t token_columns[16] = {
    0xe8, 0xfc, 0xf8, 0xfc, 0xfc, 0xfc, 0xfc, 0xfc, 0xf8, 0xf8, 0xf4, 0x54, 0xd0, 0x54, 0xf4, 0x70,
};
static const uint8_t path_columns[16] = {
    0xf8, 0xfc, 0xfc, 0xf8, 0xfc, 0xf8, 0xfc, 0xfc, 0xfc, 0xfc, 0xfc, 0xfc, 0xdc, 0xfc, 0xfc, 0x74,
};
static const uint8_t query_columns[16] = {
    0xf8, 0xfc, 0xfc, 0xf8, 0xfc, 0xfc, 0xfc, 0xfc, 0xfc, 0xfc, 0xfc, 0xfc, 0xfc, 0xfc, 0xfc, 0x7c,
};
static const uint8_t reg_name_columns[16] = {
    0xa8, 0xfc, 0xf8, 0xf8, 0xfc, 0xf8, 0xfc, 0xfc, 0xfc, 0xfc, 0xf4, 0x5c, 0x54, 0x5c, 0xd4, 0x70,
};
/* What a value may not hold; obs-text is no ASCII, so it is outside of this set, and allowed. */
static const uint8_t control_columns[16] = {
    0x03, 0x03, 0x03, 0x03, 0x03, 0x03, 0x03, 0x03, 0x03, 0x02, 0x03, 0x03, 0x03, 0x03, 0x03, 0x83,
};

/* A bit for each octet of a block that is not in set. */
JP_TARGET static inline uint32_t stops(jp_block block, enum jp_octet set)
{
    switch (set) {
    case JP_TOKEN:
        return outside(block, token_columns);
    case JP_PATH:
        return outside(block, path_columns);
    case JP_QUERY:
        return outside(block, query_columns);
    case JP_REG_NAME:
        return outside(block, reg_name_columns);
    default: /* JP_VALUE */
        return ~outside(block, control_columns) & (UINT32_MAX >> (32 - JP_BLOCK));
    }
}

/* The block that ends at end: for when fewer octets are left, together with those ahead of them. */
JP_TARGET static inline jp_block load_last(const uint8_t *end)
{
    return load(end - JP_BLOCK);
}

/* What stops() says of load_last(), with the octet at at as bit 0, and one more bit for end itself. */
JP_TARGET static inline uint32_t moved(uint32_t mask, const uint8_t *at, const uint8_t *end)
{
    return mask >> (JP_BLOCK - (end - at)) | 1u << (end - at);
}

JP_TARGET static inline const uint8_t *after(const uint8_t *at, const uint8_t *end, enum jp_octet set)
{
    for (; end - at >= JP_BLOCK; at += JP_BLOCK) {
        uint32_t mask = stops(load(at), set);
        if (mask)
            return at + __builtin_ctz(mask);
    }
    if (at == end)
        return end;
    return at + __builtin_ctz(moved(stops(load_last(end), set), at, end));
}

JP_TARGET static inline const uint8_t *line(const uint8_t *at, const uint8_t *end, const uint8_t **name_end)
{
    if (end - at < JP_BLOCK) {
        jp_block block = load_last(end);
        *name_end = at + __builtin_ctz(moved(stops(block, JP_TOKEN), at, end));
        return at + __builtin_ctz(moved(stops(block, JP_VALUE), at, end));
    }
    jp_block block = load(at);
    uint32_t mask = stops(block, JP_TOKEN);
    *name_end = mask ? at + __builtin_ctz(mask) : after(at + JP_BLOCK, end, JP_TOKEN);
    mask = stops(block, JP_VALUE);
    return mask ? at + __builtin_ctz(mask) : after(at + JP_BLOCK, end, JP_VALUE);
}

#include "scan_heads.h"
