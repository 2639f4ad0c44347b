/* A ClientHello at the start of a stream.  The first byte lets the rest be cut into records: then the input is handshake
 * bytes only.
 * Claims: scratch does not show through; a prefix of a whole hello asks for more, and for no more than there will be; what
 * follows the hello changes nothing. */
#include <stdlib.h>
#include <string.h>

#include "core.h"
#include "fuzz.h"

static enum parsed parse(const uint8_t *data, size_t size, uint8_t fill, struct hello *out)
{
    uint8_t *copy = exact_copy(data, size), *scratch = malloc(MAX_HELLO);
    HOLDS(scratch != NULL);
    memset(scratch, fill, MAX_HELLO);
    memset(out, fill, sizeof *out);
    enum parsed parsed = tls_client_hello(copy, size, scratch, out);
    HOLDS(parsed == PARSED_NO || out->name_length <= MAX_NAME);
    HOLDS(parsed != PARSED_MORE || out->length > size);
    HOLDS(parsed != PARSED_YES || out->length <= size);
    free(scratch);
    free(copy);
    return parsed;
}

static void same_hello(const struct hello *a, const struct hello *b)
{
    HOLDS(a->length == b->length && a->has_sni == b->has_sni && a->has_ech == b->has_ech);
    HOLDS(a->name_length == b->name_length && !memcmp(a->name, b->name, a->name_length));
}

/* Handshake bytes as records of a size that the first byte says. */
static size_t into_records(const uint8_t *data, size_t size, size_t each, uint8_t *out)
{
    size_t n = 0;
    for (size_t at = 0; at < size; at += each) {
        size_t part = size - at < each ? size - at : each;
        const uint8_t header[5] = {22, 3, 1, (uint8_t)(part >> 8), (uint8_t)part};
        memcpy(out + n, header, 5);
        memcpy(out + n + 5, data + at, part);
        n += 5 + part;
    }
    return n;
}

static void check(const uint8_t *data, size_t size)
{
    struct hello h, again;
    enum parsed parsed = parse(data, size, 0, &h);
    HOLDS(parse(data, size, 0xa5, &again) == parsed);
    if (parsed != PARSED_YES)
        return;
    same_hello(&h, &again);
    HOLDS(parse(data, h.length, 0, &again) == PARSED_YES);
    same_hello(&h, &again);
    size_t step = h.length < 64 ? 1 : h.length / 64;
    for (size_t n = 0; n < h.length; n += step) {
        HOLDS(parse(data, n, 0, &again) == PARSED_MORE);
        HOLDS(again.length <= h.length);
    }
}

int LLVMFuzzerTestOneInput(const uint8_t *data, size_t size)
{
    static uint8_t records[1 << 17];
    if (!size)
        return 0;
    size_t each = (size_t)data[0] * 4;
    if (!each) {
        check(data + 1, size - 1);
        return 0;
    }
    size_t n = size - 1 < 16384 ? size - 1 : 16384;
    check(records, into_records(data + 1, n, each, records));
    return 0;
}
