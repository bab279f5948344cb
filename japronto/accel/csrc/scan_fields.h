/* The fields that govern a connection: which one a line is, and whether the value of Host is
 * well-formed.  japronto/pure/grammar.py: governing() says the same in regular expressions.
 *
 * A part of the template scan_heads.h, so that a Host is looked through by blocks as well; for a
 * short head it is a good part of the work. */

/* The longest name that governs is "transfer-encoding". */
enum { GOVERNING_MAX = 17 };

/* The first octet of the name that governs and has so many octets; 0 if none has. */
static const uint8_t governing[GOVERNING_MAX + 1] = {
    [4] = 'h', [6] = 'e', [7] = 'u', [10] = 'c', [14] = 'c', [17] = 't',
};

static inline uint64_t eight(const void *octets)
{
    uint64_t word;
    memcpy(&word, octets, sizeof word);
    return word;
}

static inline uint32_t four(const void *octets)
{
    uint32_t word;
    memcpy(&word, octets, sizeof word);
    return word;
}

/* Whether size octets are text, which has small letters and hyphens only, and at least four.
 *
 * Setting the bit 0x20 makes a letter small, and leaves a hyphen as it is.  It makes a hyphen of CR,
 * too, but there is none inside of a line.  The last word overlaps the one ahead of it. */
static inline bool is(const uint8_t *octets, const char *text, size_t size)
{
    const uint64_t small = 0x2020202020202020;
    if (size < 8) {
        size_t last = size - 4;
        return (four(octets) | (uint32_t)small) == four(text) &&
               (four(octets + last) | (uint32_t)small) == four(text + last);
    }
    for (size_t at = 0; at < size; at += 8) {
        size_t from = at + 8 <= size ? at : size - 8;
        if ((eight(octets + from) | small) != eight(text + from))
            return false;
    }
    return true;
}

static inline bool is_ows(uint8_t octet)
{
    return octet == ' ' || octet == '\t';
}

/* Take the OWS off both ends of a value. */
static inline void strip(const uint8_t **at, const uint8_t **end)
{
    while (*at < *end && is_ows(**at))
        ++*at;
    while (*at < *end && is_ows((*end)[-1]))
        --*end;
}

/* What follows looks for the end of a value, or of a part of it, without being told where that is:
 * there stands CR or OWS, which is in none of the sets. */

static inline const uint8_t *after_each(const uint8_t *at, enum jp_octet set)
{
    while (jp_octets[*at] & set)
        at++;
    return at;
}

/* reg-name = *( unreserved / pct-encoded / sub-delims )                       (RFC 3986 s.3.2.2)
 * Up to limit may be read. */
JP_TARGET static inline const uint8_t *after_reg_name(const uint8_t *at, const uint8_t *limit)
{
    for (;;) {
        at = after(at, limit, JP_REG_NAME);
        if (*at != '%' || !(jp_octets[at[1]] & JP_HEX) || !(jp_octets[at[2]] & JP_HEX))
            return at;
        at += 3;
    }
}

/* IPvFuture = "v" 1*HEXDIG "." 1*( unreserved / sub-delims / ":" )            (RFC 3986 s.3.2.2) */
static inline const uint8_t *after_ipvfuture(const uint8_t *at)
{
    const uint8_t *version = at + 1;
    at = after_each(version, JP_HEX);
    if (at == version || *at != '.')
        return NULL;
    const uint8_t *address = ++at;
    while (jp_octets[*at] & JP_REG_NAME || *at == ':')
        at++;
    return at == address ? NULL : at;
}

/* IPv6address, held to its characters, one of which must be a colon           (RFC 3986 s.3.2.2) */
static inline const uint8_t *after_ipv6address(const uint8_t *at)
{
    bool colon = false;
    for (; jp_octets[*at] & JP_HEX || *at == ':' || *at == '.'; at++)
        colon |= *at == ':';
    return colon ? at : NULL;
}

/* IP-literal = "[" ( IPv6address / IPvFuture ) "]"                            (RFC 3986 s.3.2.2) */
static inline const uint8_t *after_ip_literal(const uint8_t *at)
{
    at++;
    at = (*at | 0x20) == 'v' ? after_ipvfuture(at) : after_ipv6address(at);
    return at && *at == ']' ? at + 1 : NULL;
}

/* Host = uri-host [ ":" port ], with OWS around it                            (RFC 9110 s.7.2) */
JP_TARGET static inline bool is_host(const uint8_t *at, const uint8_t *end, const uint8_t *limit)
{
    strip(&at, &end);
    at = *at == '[' ? after_ip_literal(at) : after_reg_name(at, limit);
    if (at && *at == ':')
        at = after_each(at + 1, JP_DIGIT);
    return at == end;
}

static inline bool is_keep_alive(const uint8_t *at, const uint8_t *end)
{
    strip(&at, &end);
    return end - at == 10 && is(at, "keep-alive", 10);
}

/* The flags of the lines so far, seen, with those of one more line added.
 *
 * It goes from name to end, where its CR stands, and its name to name_end, where its colon stands;
 * the length and the first octet of the name are in the table above.  Up to limit may be read. */
JP_TARGET static inline int govern(int seen, const uint8_t *name, const uint8_t *name_end, const uint8_t *end,
                                   const uint8_t *limit)
{
    switch (name_end - name) {
    case 4:
        if (!is(name, "host", 4))
            return seen;
        if (seen & (JP_HOST | JP_HOST_FAULT) || !is_host(name_end + 1, end, limit))
            return (seen & ~JP_HOST) | JP_HOST_FAULT;
        return seen | JP_HOST;
    case 6:
        return is(name, "expect", 6) ? seen | JP_EXPECT : seen;
    case 7:
        return is(name, "upgrade", 7) ? seen | JP_UPGRADE : seen;
    case 10:
        return is(name, "connection", 10) && !is_keep_alive(name_end + 1, end) ? seen | JP_CONNECTION : seen;
    case 14:
        return is(name, "content-length", 14) ? seen | JP_CONTENT_LENGTH : seen;
    default:
        return is(name, "transfer-encoding", 17) ? seen | JP_TRANSFER_ENCODING : seen;
    }
}
