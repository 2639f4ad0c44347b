/* A TLS server's first flight: ServerHello (RFC 8446 section 4.1.3), alert (section 6), and before TLS 1.3 the names in
 * its certificate.  From TLS 1.3 on the certificate is encrypted and nothing passive can read it. */
#include "answer.h"
#include "tls.h"

enum {
    RECORD_HEADER = 5, CONTENT_CHANGE_CIPHER = 20, CONTENT_ALERT = 21, CONTENT_HANDSHAKE = 22, CONTENT_DATA = 23,
    SERVER_HELLO = 2, CERTIFICATE = 11, EXTENSION_VERSIONS = 43, TLS_1_3 = 0x0304
};

static bool read_hello(struct cursor c, struct said *out)
{
    struct cursor part, extensions;
    const uint8_t *version = cursor_take(&c, 2);
    if (!version || version[0] != 3 || !cursor_skip(&c, 32) || !tls_vector(&c, 1, &part))
        return false;
    const uint8_t *cipher = cursor_take(&c, 3);
    if (!cipher)
        return false;
    out->version = load_be16(version);
    out->cipher = load_be16(cipher);
    if (!cursor_left(&c))
        return true;
    bool whole = tls_vector(&c, 2, &extensions);
    uint64_t digest = DIGEST_START;
    const uint8_t *type;
    while ((type = cursor_take(&extensions, 2))) {             /* advances >= 4 */
        if (!tls_vector(&extensions, 2, &part))
            return false;
        digest = digest_bytes(digest, type, 2);
        if (load_be16(type) == EXTENSION_VERSIONS && cursor_left(&part) == 2)
            out->version = load_be16(part.at);
    }
    out->extensions = (uint32_t)digest_finish(digest);
    return whole;
}

/* The handshake messages that are there, up to the names in a certificate. */
static enum parsed read_messages(struct cursor c, struct said *out)
{
    const uint8_t *h;
    while ((h = cursor_take(&c, 4))) {                         /* advances >= 4 */
        size_t length = load_be24(h + 1);
        bool whole = length <= cursor_left(&c);
        struct cursor body = cursor_sub(&c, length);
        if (out->kind != TSCOPE_ANSWER_TLS) {
            if (h[0] != SERVER_HELLO || length > MAX_ANSWER / 2)
                return PARSED_NO;
            if (!whole)
                return PARSED_MORE;
            if (!read_hello(body, out))
                return PARSED_NO;
            out->kind = TSCOPE_ANSWER_TLS;
            if (out->version >= TLS_1_3)
                return PARSED_YES;
        } else if (h[0] == CERTIFICATE) {
            return x509_names(body, out) || whole ? PARSED_YES : PARSED_MORE;
        } else {
            return PARSED_YES;                                 /* a session taken up again, or no certificate at all */
        }
    }
    return PARSED_MORE;
}

enum parsed tls_server(const uint8_t *data, size_t length, uint8_t *scratch, struct said *out)
{
    memset(out, 0, sizeof *out);
    for (unsigned i = 0; i < ANSWER_WORDS; i++)
        out->word[i].at = data;
    out->names = cursor_over(data, 0);
    out->length = (uint32_t)length + 1;
    struct cursor c = cursor_over(data, length);
    size_t gathered = 0;
    bool ended = false;
    while (!ended && cursor_left(&c) >= RECORD_HEADER) {       /* advances >= 5 */
        const uint8_t *h = cursor_take(&c, RECORD_HEADER);
        size_t declared = load_be16(h + 3);
        bool whole = declared <= cursor_left(&c);
        struct cursor body = cursor_sub(&c, declared);
        if (h[0] == CONTENT_ALERT && h[1] == 3 && !gathered) {
            if (declared != 2)
                return PARSED_NO;
            if (!whole)
                return PARSED_MORE;
            out->kind = TSCOPE_ANSWER_TLS_ALERT;
            out->version = load_be16(h + 1);
            out->alert_level = body.at[0];
            out->alert = body.at[1];
            return PARSED_YES;
        }
        ended = h[0] != CONTENT_HANDSHAKE || h[1] != 3;
        if (ended)
            break;
        size_t n = cursor_left(&body) < MAX_ANSWER - gathered ? cursor_left(&body) : MAX_ANSWER - gathered;
        memcpy(scratch + gathered, body.at, n);
        gathered += n;
        if (!whole)
            break;
    }
    if (length && !gathered && (data[0] < CONTENT_ALERT || data[0] > CONTENT_HANDSHAKE))
        return PARSED_NO;
    enum parsed result = read_messages(cursor_over(scratch, gathered), out);
    if (result == PARSED_MORE && (ended || gathered == MAX_ANSWER))
        return out->kind ? PARSED_YES : PARSED_NO;
    return result;
}
