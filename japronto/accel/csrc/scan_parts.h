/* What the files scan*.c share among themselves. */
#ifndef JAPRONTO_SCAN_PARTS_H
#define JAPRONTO_SCAN_PARTS_H

#include "scan.h"

/* The compilers that can be asked for an instruction set function by function. */
#if defined(__x86_64__) && defined(__GNUC__)
#define JP_X86_64 1
#else
#define JP_X86_64 0
#endif

/* The sets of octets that the grammar is made of. */
enum jp_octet {
    JP_TOKEN = 1, /* tchar, RFC 9110 s.5.6.2 */
    JP_PATH = 2,  /* what a path may hold, but for "%", which must be decoded by the reference */
    JP_QUERY = 4, /* what a query may hold */
    JP_VALUE = 8, /* what a field value may hold, RFC 9110 s.5.5 */
    JP_REG_NAME = 16, /* unreserved / sub-delims, RFC 3986 s.2 */
    JP_HEX = 32,
    JP_DIGIT = 64
};

/* The sets that each octet is in. */
extern const uint8_t jp_octets[256];

/* The octets in the largest block that is read at once. */
enum { JP_BLOCK_MAX = 32 };

/* jp_scan() of one level.  Unless it is scalar, length and bounds->head_bytes must be at least
 * JP_BLOCK_MAX: what is shorter than a block is read together with octets that stand ahead of it. */
typedef size_t jp_scan_function(const uint8_t *buffer, size_t length, size_t start, const jp_bounds *bounds,
                                jp_head *heads, size_t heads_max);
jp_scan_function jp_scan_scalar;
#if JP_X86_64
jp_scan_function jp_scan_sse42;
jp_scan_function jp_scan_avx2;
#endif

#endif
