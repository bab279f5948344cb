/* What libFuzzer calls: every scanner must say the same as the scalar one, and something sensible.
 *
 * The first five octets of an input choose how the others are scanned; corpus.py writes such inputs, and
 * run.sh runs this.
 */
#include <stdio.h>
#include <stdlib.h>
#include <string.h>

#include "scan.h"

enum { CHOICES = 5, HEADS_MAX = 16 };

static void require(int holds, const char *what)
{
    if (!holds) {
        fprintf(stderr, "%s\n", what);
        abort();
    }
}

/* Whether the parts of a head stand in order, and between the octets that must be between them. */
static void check(const uint8_t *octets, const jp_head *head, const jp_bounds *bounds)
{
    require(head->start < head->method_end, "the method is empty");
    require(head->method_end + 1 == head->target, "the target does not follow the method");
    require(octets[head->target] == '/', "the target is not in origin-form");
    require(head->target < head->path_end && head->path_end <= head->target_end, "the path is empty");
    require(head->path_end == head->target_end || octets[head->path_end] == '?', "the query has no \"?\"");
    require(head->target_end + 11 == head->section + 1, "the version does not follow the target");
    require(octets[head->section] == '\n', "the section does not begin with LF");
    require(head->section < head->section_end && octets[head->section_end - 1] == '\n',
            "the section does not end with LF");
    require(head->section_end + 2 == head->end, "the empty line does not follow the section");
    require(memcmp(octets + head->section_end, "\r\n", 2) == 0, "the empty line is not CRLF");
    require(head->end - head->start <= bounds->head_bytes, "the head is longer than the bound");
    require(head->minor <= 1 && head->seen < 128, "there are unknown flags");
}

static size_t scan(enum jp_level level, const uint8_t *octets, size_t length, size_t start,
                   const jp_bounds *bounds, size_t heads_max, jp_head *heads)
{
    memset(heads, 0, HEADS_MAX * sizeof *heads);
    return jp_scan(level, octets, length, start, bounds, heads, heads_max);
}

int LLVMFuzzerTestOneInput(const uint8_t *data, size_t size);

int LLVMFuzzerTestOneInput(const uint8_t *data, size_t size)
{
    if (size < CHOICES)
        return 0;
    size_t length = size - CHOICES, heads_max = data[0] % (HEADS_MAX + 1), start = data[1];
    jp_bounds bounds = {.head_bytes = (uint32_t)(data[2] | data[3] << 8), .fields = data[4]};
    if (start > length)
        return 0;
    uint8_t *octets = malloc(length + !length); /* of its own, so that no octet around it may be read */
    require(octets != NULL, "there is no memory");
    memcpy(octets, data + CHOICES, length);

    jp_head right[HEADS_MAX], heads[HEADS_MAX];
    size_t found = scan(JP_SCALAR, octets, length, start, &bounds, heads_max, right);
    require(found <= heads_max, "there are more heads than asked for");
    for (size_t at = 0; at < found; start = right[at++].end) {
        require(right[at].start == start, "a head does not begin where the one ahead of it ends");
        require(right[at].end <= length, "a head ends behind the buffer");
        require(at == 0 || (right[at - 1].minor && right[at - 1].seen == JP_HOST),
                "a head stands behind one that is not trivial");
        check(octets, &right[at], &bounds);
    }
    for (enum jp_level level = JP_SCALAR + 1; level < JP_LEVELS; level++) {
        if (!jp_has(level))
            continue;
        size_t count = scan(level, octets, length, data[1], &bounds, heads_max, heads);
        require(count == found, "a scanner finds another number of heads");
        require(memcmp(heads, right, found * sizeof *heads) == 0, "a scanner finds other heads");
    }
    free(octets);
    return 0;
}
