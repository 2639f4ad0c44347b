/* What the parsers of both ends' handshake messages share. */
#ifndef TSCOPE_TLS_H
#define TSCOPE_TLS_H

#include "core.h"

/* A vector behind its length of one or two bytes (RFC 8446 section 3.4); false where less than all of it is there, and
 * then what is there. */
static inline bool tls_vector(struct cursor *c, unsigned length_bytes, struct cursor *out)
{
    const uint8_t *h = cursor_take(c, length_bytes);
    *out = cursor_over(c->at, 0);
    if (!h)
        return false;
    size_t length = length_bytes == 1 ? h[0] : load_be16(h);
    bool whole = length <= cursor_left(c);
    *out = cursor_sub(c, length);
    return whole;
}

#endif
