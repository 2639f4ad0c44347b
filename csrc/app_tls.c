/* The ClientHello of TLS (RFC 8446 section 4.1.2; SNI: RFC 6066 section 3), over any number of records. */
#include "tls.h"

enum {
    RECORD_HEADER = 5, HANDSHAKE_HEADER = 4, CONTENT_HANDSHAKE = 22, CLIENT_HELLO = 1,
    EXTENSION_SNI = 0, EXTENSION_ECH = 0xfe0d, EXTENSION_ESNI = 0xffce
};

static void read_sni(struct cursor c, struct hello *out)
{
    struct cursor list, name;
    if (!tls_vector(&c, 2, &list))
        return;
    while (cursor_left(&list) >= 3) {                          /* advances >= 3 */
        uint8_t type = cursor_u8(&list);
        if (!tls_vector(&list, 2, &name))
            return;
        if (type != 0)
            continue;
        size_t length = cursor_left(&name) < MAX_NAME ? cursor_left(&name) : MAX_NAME;
        const uint8_t *bytes = cursor_take(&name, length);
        memcpy(out->name, bytes, length);
        out->name_length = (uint16_t)length;
        out->has_sni = length != 0;
        return;
    }
}

static bool read_hello(struct cursor c, struct hello *out)
{
    struct cursor part, extensions;
    if (!cursor_skip(&c, 34) || !tls_vector(&c, 1, &part) || !tls_vector(&c, 2, &part) ||
        !tls_vector(&c, 1, &part))
        return false;
    if (!cursor_left(&c))
        return true;                                           /* before TLS 1.2 extensions could be left out */
    bool whole = tls_vector(&c, 2, &extensions);
    const uint8_t *h;
    while ((h = cursor_take(&extensions, 2))) {                /* advances >= 4 */
        uint16_t type = load_be16(h);
        if (!tls_vector(&extensions, 2, &part))
            return false;
        if (type == EXTENSION_SNI)
            read_sni(part, out);
        if (type == EXTENSION_ECH || type == EXTENSION_ESNI)
            out->has_ech = true;
    }
    return whole;
}

/* Steps over one record; *body is what of it is there.  False: no handshake record. */
static bool take_record(struct cursor *c, struct cursor *body, size_t *missing)
{
    const uint8_t *h = cursor_take(c, RECORD_HEADER);
    if (!h || h[0] != CONTENT_HANDSHAKE || h[1] != 3)
        return false;
    size_t length = load_be16(h + 3);
    *body = cursor_sub(c, length);
    *missing = length - cursor_left(body);
    return true;
}

static enum parsed more(struct hello *out, size_t have, size_t missing)
{
    out->length = (uint32_t)(have + missing);
    return PARSED_MORE;
}

/* A record's first bytes tell whether it is worth waiting for the rest. */
static bool may_be_hello(const uint8_t *data, size_t length)
{
    static const uint8_t start[] = {CONTENT_HANDSHAKE, 3};
    for (size_t i = 0; i < length && i < sizeof start; i++)
        if (data[i] != start[i])
            return false;
    return length < 6 || data[5] == CLIENT_HELLO || (data[3] == 0 && data[4] < 1);
}

static void clear(struct hello *out)
{
    memset(out, 0, offsetof(struct hello, name));
    out->has_sni = out->has_ech = false;
    out->name_length = 0;
}

enum parsed tls_handshake_hello(const uint8_t *message, size_t length, struct hello *out)
{
    clear(out);
    if (length && message[0] != CLIENT_HELLO)
        return PARSED_NO;
    size_t whole = HANDSHAKE_HEADER + (length < HANDSHAKE_HEADER ? 0 : (size_t)load_be24(message + 1));
    if (whole > MAX_HELLO)
        return PARSED_NO;
    if (length < whole)
        return more(out, length, whole - length);
    out->length = (uint32_t)whole;
    struct cursor body = cursor_over(message + HANDSHAKE_HEADER, whole - HANDSHAKE_HEADER);
    return read_hello(body, out) ? PARSED_YES : PARSED_NO;
}

enum parsed tls_client_hello(const uint8_t *data, size_t length, uint8_t *scratch, struct hello *out)
{
    clear(out);
    if (!may_be_hello(data, length))
        return PARSED_NO;
    struct cursor c = cursor_over(data, length), body;
    size_t gathered = 0, wanted = HANDSHAKE_HEADER, missing = 0;
    while (gathered < wanted) {                                /* advances >= 5 */
        if (cursor_left(&c) < RECORD_HEADER)
            return more(out, length, RECORD_HEADER - cursor_left(&c));
        if (!take_record(&c, &body, &missing))
            return PARSED_NO;
        size_t n = cursor_left(&body);
        if (n > MAX_HELLO - gathered)
            n = MAX_HELLO - gathered;
        memcpy(scratch + gathered, body.at, n);
        gathered += n;
        if (gathered >= HANDSHAKE_HEADER) {
            if (scratch[0] != CLIENT_HELLO)
                return PARSED_NO;
            wanted = HANDSHAKE_HEADER + (size_t)load_be24(scratch + 1);
            if (wanted > MAX_HELLO)
                return PARSED_NO;
        }
        if (missing && gathered < wanted)
            return more(out, length, missing < wanted - gathered ? missing : wanted - gathered);
    }
    enum parsed result = tls_handshake_hello(scratch, wanted, out);
    out->length = (uint32_t)(length - cursor_left(&c) - (gathered - wanted));
    return result;
}
