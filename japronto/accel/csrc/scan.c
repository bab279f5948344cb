/* Which levels there are, and which one this processor can run.
 *
 * What a level is worth, in instructions for each of many pipelined heads (gcc 12, -O2):
 *
 *                                   scalar  SSE4.2  AVX2
 *     of 40 octets, with a Host        453     307   298
 *     of 751 octets, of a browser     5904    1687  1130
 *
 * and where its fields are those of the head ahead of it
 *
 *     of 40 octets, with a Host        180     185   187
 *     of 751 octets, of a browser      786     417   361
 */
#include "scan_parts.h"

static jp_scan_function *const scans[JP_LEVELS] = {
    [JP_SCALAR] = jp_scan_scalar,
#if JP_X86_64
    [JP_SSE42] = jp_scan_sse42,
    [JP_AVX2] = jp_scan_avx2,
#endif
};

int jp_has(enum jp_level level)
{
#if JP_X86_64
    if (level == JP_SSE42)
        return __builtin_cpu_supports("sse4.2") != 0;
    if (level == JP_AVX2)
        return __builtin_cpu_supports("avx2") && __builtin_cpu_supports("bmi");
#endif
    return level == JP_SCALAR;
}

enum jp_level jp_best(void)
{
    enum jp_level level = JP_LEVELS - 1;
    while (!jp_has(level))
        level--;
    return level;
}

size_t jp_scan(enum jp_level level, const uint8_t *buffer, size_t length, size_t start,
               const jp_bounds *bounds, jp_head *heads, size_t heads_max)
{
    if (length > UINT32_MAX) /* the places in jp_head end there */
        length = UINT32_MAX;
    if (length < JP_BLOCK_MAX || bounds->head_bytes < JP_BLOCK_MAX)
        level = JP_SCALAR;
    return scans[level](buffer, length, start, bounds, heads, heads_max);
}
