/* Where the heads of consecutive requests begin and end: the fast twin of japronto/pure/grammar.py.
 *
 * It finds what is common and right, and stops at everything else.  A head that it reports is
 * well-formed by RFC 9112 s.2 to s.5, in origin-form, HTTP/1.x, and within its bounds.  It does not
 * look twice at a head that is incomplete, faulty, in absolute-form or asterisk-form, a CONNECT,
 * percent-encoded in its path, over a bound, or has an empty line ahead of it: the reference
 * decides on that one, and the fast way goes on behind it.  So every fault is judged, and worded,
 * in one place.
 *
 * Nothing here allocates, fails, or holds state; all functions may be called from any thread.  No
 * octet outside of a buffer is read, neither ahead of it nor behind it.
 *
 * This file is read by build_parser.py as well: what is not a directive of the
 * preprocessor must be a declaration that cffi understands.
 */
#ifndef JAPRONTO_SCAN_H
#define JAPRONTO_SCAN_H

#include <stddef.h>
#include <stdint.h>

/* The instruction sets that there is a scanner for.  JP_SCALAR is C and runs everywhere. */
enum jp_level { JP_SCALAR, JP_SSE42, JP_AVX2, JP_LEVELS };

/* The fields that govern a connection; the flags of japronto/messages.py: Seen, which says more. */
enum jp_seen {
    JP_HOST = 1,        /* one Host line, and its value is well-formed */
    JP_HOST_FAULT = 2,  /* several, or a malformed value */
    JP_CONTENT_LENGTH = 4,
    JP_TRANSFER_ENCODING = 8,
    JP_CONNECTION = 16, /* a Connection line that says anything but "keep-alive" */
    JP_EXPECT = 32,
    JP_UPGRADE = 64
};

/* Where the parts of a head stand in the buffer, in octets from its start.
 *
 * The head is trivial when minor is 1 and seen is JP_HOST: no content follows, and the connection
 * persists.  What follows any other, japronto/pure/framing.py decides. */
typedef struct {
    uint32_t start;       /* of the head, which is the start of the method */
    uint32_t method_end;
    uint32_t target;      /* the request-target as received */
    uint32_t path_end;    /* behind the path: at the first '?' of the target, or at its end */
    uint32_t target_end;
    uint32_t section;     /* the LF ahead of the first field line */
    uint32_t section_end; /* behind the CRLF of the last field line */
    uint32_t end;         /* behind the empty line */
    uint8_t minor;        /* 0 for HTTP/1.0, 1 for all other HTTP/1.x */
    uint8_t seen;         /* flags of enum jp_seen */
} jp_head;

/* How much a head may have.  One that has more is left to the reference. */
typedef struct {
    uint32_t head_bytes; /* octets, with the empty line; the least bound on any line or section */
    uint32_t fields;     /* field lines */
} jp_bounds;

/* Whether the scanner of this level was built and this processor can run it. */
int jp_has(enum jp_level level);

/* The fastest level that jp_has() affirms. */
enum jp_level jp_best(void);

/* Find the heads of consecutive requests in buffer[start] to buffer[length - 1].
 *
 * Writes at most heads_max of them to heads and returns their number.  It stops early at a head that
 * is not for it, and *behind* one that is not trivial, since content may follow.
 *
 * level must be one that jp_has() affirms, and start at most length. */
size_t jp_scan(enum jp_level level, const uint8_t *buffer, size_t length, size_t start,
               const jp_bounds *bounds, jp_head *heads, size_t heads_max);

#endif
