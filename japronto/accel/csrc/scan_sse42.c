/* The scanner for SSE4.2: sixteen octets at a time.
 *
 * Not with the string instructions that SSE4.2 is known for.  PCMPESTRI takes eight ranges, and tchar
 * has nine; and a shuffle, of SSSE3, answers sooner. */
#include "scan_parts.h"

#if JP_X86_64
#include <immintrin.h>

#define JP_SCAN jp_scan_sse42
#define JP_TARGET __attribute__((target("sse4.2")))
#define JP_BLOCK 16

typedef __m128i jp_block;

JP_TARGET static inline jp_block load(const uint8_t *at)
{
    return _mm_loadu_si128((const __m128i *)at);
}

JP_TARGET static inline uint32_t outside(jp_block block, const uint8_t *columns)
{
    const __m128i bits = _mm_setr_epi8(1, 2, 4, 8, 16, 32, 64, -128, 0, 0, 0, 0, 0, 0, 0, 0);
    __m128i high = _mm_and_si128(_mm_srli_epi16(block, 4), _mm_set1_epi8(15));
    __m128i row = _mm_shuffle_epi8(bits, high);
    __m128i column = _mm_shuffle_epi8(load(columns), block);
    __m128i out = _mm_cmpeq_epi8(_mm_and_si128(row, column), _mm_setzero_si128());
    return (uint32_t)_mm_movemask_epi8(out);
}

#include "scan_blocks.h"
#endif
