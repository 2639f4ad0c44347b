/* What a server says first.  The first byte lets the rest be cut into records: then the input is handshake bytes only.
 * Claims: words lie in the bytes or the scratch that they were read from; scratch does not show through; whoever wants more
 * wants more than there is; what was told to be enough stays enough with more bytes; a certificate is for no empty name. */
#include <stdlib.h>
#include <string.h>

#include "answer.h"
#include "fuzz.h"

struct told {
    struct said said;
    uint8_t words[ANSWER_WORDS][256];
    enum parsed parsed;
};

static bool inside(const uint8_t *at, size_t length, const uint8_t *from, size_t size)
{
    return length <= size && at >= from && at <= from + (size - length);
}

static void tell(const uint8_t *data, size_t size, uint8_t fill, bool tls, struct told *out)
{
    uint8_t *copy = exact_copy(data, size), *scratch = malloc(MAX_ANSWER);
    HOLDS(scratch != NULL);
    memset(scratch, fill, MAX_ANSWER);
    memset(out, 0, sizeof *out);
    memset(&out->said, fill, sizeof out->said);
    out->parsed = tls ? tls_server(copy, size, scratch, &out->said) : http_response(copy, size, &out->said);
    HOLDS(out->parsed != PARSED_MORE || out->said.length > size);
    for (unsigned i = 0; out->parsed != PARSED_NO && i < ANSWER_WORDS; i++) {
        const struct word *word = &out->said.word[i];
        HOLDS(word->length <= 256);
        HOLDS(!word->length || inside(word->at, word->length, copy, size) ||
              inside(word->at, word->length, scratch, MAX_ANSWER));
        if (word->length)
            memcpy(out->words[i], word->at, word->length);
    }
    if (out->parsed == PARSED_YES && tls) {
        HOLDS(!x509_is_for(&out->said, copy, 0));
        (void)x509_is_for(&out->said, (const uint8_t *)"a.b.example", 11);
        (void)x509_public_issuer(out->said.word[1]);
    }
    free(scratch);
    free(copy);
}

static void same(const struct told *a, const struct told *b)
{
    HOLDS(a->parsed == b->parsed);
    if (a->parsed != PARSED_YES)
        return;
    HOLDS(a->said.kind == b->said.kind && a->said.what == b->said.what && a->said.status == b->said.status);
    HOLDS(a->said.version == b->said.version && a->said.cipher == b->said.cipher && a->said.alert == b->said.alert);
    HOLDS(a->said.not_before == b->said.not_before && a->said.not_after == b->said.not_after);
    for (unsigned i = 0; i < ANSWER_WORDS; i++)
        HOLDS(a->said.word[i].length == b->said.word[i].length &&
              !memcmp(a->words[i], b->words[i], a->said.word[i].length));
}

static void check(const uint8_t *data, size_t size, bool tls)
{
    static struct told once, again;
    tell(data, size, 0, tls, &once);
    tell(data, size, 0xa5, tls, &again);
    same(&once, &again);
    if (once.parsed == PARSED_NO)
        return;
    size_t step = size < 64 ? 1 : size / 64;
    bool enough = false;
    for (size_t n = 0; n <= size; n += step) {
        tell(data, n, 0, tls, &again);
        HOLDS(!enough || again.parsed == PARSED_YES);
        enough |= again.parsed == PARSED_YES;
    }
}

int LLVMFuzzerTestOneInput(const uint8_t *data, size_t size)
{
    static uint8_t records[1 << 17];
    if (!size)
        return 0;
    size_t each = (size_t)data[0] * 4, n = size - 1 < MAX_ANSWER ? size - 1 : MAX_ANSWER, length = 0;
    data++;
    if (!each) {
        check(data, n, true);
        check(data, n, false);
        return 0;
    }
    for (size_t at = 0; at < n; at += each) {
        size_t part = n - at < each ? n - at : each;
        const uint8_t header[5] = {22, 3, 3, (uint8_t)(part >> 8), (uint8_t)part};
        memcpy(records + length, header, 5);
        memcpy(records + length + 5, data + at, part);
        length += 5 + part;
    }
    check(records, length, true);
    return 0;
}
