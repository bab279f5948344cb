/* The grammar of a head.  A template: the file of each instruction set includes it once, after it
 * has defined
 *
 * JP_SCAN    the name for the jp_scan_function that comes of it
 * JP_TARGET  the attribute of a function that uses the instruction set
 *
 * and these functions, which read no octet at end or behind it:
 *
 * after(at, end, set)       where the first octet stands that is not in set; end if all are
 * line(at, end, &name_end)  where the first octet stands that no field value may hold, and into
 *                           name_end where the first stands that is no tchar; end if there is none
 *
 * All is inline, so that the masks of a block stay in registers. */
#include <stdbool.h>
#include <string.h>

#include "scan_fields.h"

/* request-line = method SP request-target SP HTTP-version                        (RFC 9112 s.3)
 * Returns where its LF stands, with at least two octets behind it, or NULL. */
JP_TARGET static inline const uint8_t *request_line(const uint8_t *buffer, const uint8_t *at,
                                                    const uint8_t *end, jp_head *head)
{
    const uint8_t *method = at;
    at = after(at, end, JP_TOKEN);
    if (at == method || end - at < 2 || memcmp(at, " /", 2) != 0)
        return NULL;
    if (at - method == 7 && memcmp(method, "CONNECT", 7) == 0)
        return NULL;
    head->start = (uint32_t)(method - buffer);
    head->method_end = (uint32_t)(at - buffer);
    head->target = head->method_end + 1;
    at = after(at + 1, end, JP_PATH);
    head->path_end = (uint32_t)(at - buffer);
    if (at < end && *at == '?')
        at = after(at, end, JP_QUERY);
    head->target_end = (uint32_t)(at - buffer);
    if (end - at < 13 || memcmp(at, " HTTP/1.", 8) != 0 || !(jp_octets[at[8]] & JP_DIGIT) ||
        memcmp(at + 9, "\r\n", 2) != 0)
        return NULL;
    head->minor = at[8] != '0';
    return at + 10;
}

/* *( field-line CRLF ) CRLF                                                      (RFC 9112 s.2.1)
 * Returns where the empty line stands, or NULL.  Each line is looked at only when two more octets
 * stand behind it: the empty line will need them. */
JP_TARGET static inline const uint8_t *field_lines(const uint8_t *at, const uint8_t *end, uint32_t fields_max,
                                                   uint8_t *flags)
{
    int seen = 0;
    for (uint32_t fields = 0; *at != '\r'; fields++) {
        const uint8_t *name_end;
        const uint8_t *line_end = line(at, end, &name_end);
        if (end - line_end < 4 || memcmp(line_end, "\r\n", 2) != 0)
            return NULL;
        if (name_end == at || *name_end != ':' || fields == fields_max)
            return NULL;
        ptrdiff_t size = name_end - at;
        if (size <= GOVERNING_MAX && governing[size] == (*at | 0x20))
            seen = govern(seen, at, name_end, line_end, end);
        at = line_end + 2;
    }
    *flags = (uint8_t)seen;
    return at[1] == '\n' ? at : NULL;
}

/* Whether the octets at section are those of the header section of another head, to the last. */
static inline bool same_section(const uint8_t *buffer, const uint8_t *section, const uint8_t *end,
                                const jp_head *other)
{
    size_t size = other->end - other->section;
    return size <= (size_t)(end - section) && memcmp(section, buffer + other->section, size) == 0;
}

/* Find the head at at; whether there is one, and it is for this scanner.  last is the one ahead of it, or
 * NULL: what one client sends in a row mostly has the same fields, and they are sooner compared than read; see
 * scan.c for the figures. */
JP_TARGET static inline bool whole_head(const uint8_t *buffer, const uint8_t *at, const uint8_t *end,
                                        const jp_bounds *bounds, const jp_head *last, jp_head *head)
{
    if (bounds->head_bytes < (size_t)(end - at))
        end = at + bounds->head_bytes;
    const uint8_t *section = request_line(buffer, at, end, head);
    if (!section)
        return false;
    if (last && same_section(buffer, section, end, last)) {
        head->section = (uint32_t)(section - buffer);
        head->section_end = head->section + (last->section_end - last->section);
        head->end = head->section_end + 2;
        head->seen = last->seen;
        return true;
    }
    const uint8_t *empty_line = field_lines(section + 1, end, bounds->fields, &head->seen);
    if (!empty_line)
        return false;
    head->section = (uint32_t)(section - buffer);
    head->section_end = (uint32_t)(empty_line - buffer);
    head->end = head->section_end + 2;
    return true;
}

JP_TARGET size_t JP_SCAN(const uint8_t *buffer, size_t length, size_t start, const jp_bounds *bounds,
                         jp_head *heads, size_t heads_max)
{
    const uint8_t *end = buffer + length;
    size_t found = 0;
    while (found < heads_max && start < length) {
        jp_head *head = &heads[found];
        if (!whole_head(buffer, buffer + start, end, bounds, found ? head - 1 : NULL, head))
            break;
        found++;
        start = head->end;
        if (head->seen != JP_HOST || !head->minor)
            break;
    }
    return found;
}
