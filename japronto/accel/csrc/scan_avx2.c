/* The scanner for AVX2: thirty-two octets at a time. */
#include "scan_parts.h"

#if JP_X86_64
#include <immintrin.h>

#define JP_SCAN jp_scan_avx2
#define JP_TARGET __attribute__((target("avx2,bmi")))
#define JP_BLOCK 32

typedef __m256i jp_block;

JP_TARGET static inline jp_block load(const uint8_t *at)
{
    return _mm256_loadu_si256((const __m256i *)at);
}

JP_TARGET static inline jp_block twice(const uint8_t *columns)
{
    return _mm256_broadcastsi128_si256(_mm_loadu_si128((const __m128i *)columns));
}

JP_TARGET static inline uint32_t outside(jp_block block, const uint8_t *columns)
{
    const __m256i bits = _mm256_setr_epi8(1, 2, 4, 8, 16, 32, 64, -128, 0, 0, 0, 0, 0, 0, 0, 0,
                                          1, 2, 4, 8, 16, 32, 64, -128, 0, 0, 0, 0, 0, 0, 0, 0);
    __m256i high = _mm256_and_si256(_mm256_srli_epi16(block, 4), _mm256_set1_epi8(15));
    __m256i row = _mm256_shuffle_epi8(bits, high);
    __m256i column = _mm256_shuffle_epi8(twice(columns), block);
    __m256i out = _mm256_cmpeq_epi8(_mm256_and_si256(row, column), _mm256_setzero_si256());
    return (uint32_t)_mm256_movemask_epi8(out);
}

#include "scan_blocks.h"
#endif
