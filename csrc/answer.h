/* What a server says first in answer to a trigger: read from its bytes (app_http_response.c, app_tls_server.c), kept with
 * the flow (answer.c). */
#ifndef TSCOPE_ANSWER_H
#define TSCOPE_ANSWER_H

#include "core.h"

enum { MAX_ANSWER = 8192, ANSWER_WORDS = 4 };

/* Text inside of the bytes that were read. */
struct word {
    const uint8_t *at;
    uint32_t length;
};

/* The first thing that a server said.  Words lie in the bytes or the scratch that they were read from. */
struct said {
    uint32_t length;              /* PARSED_MORE: bytes needed to go on */
    uint32_t body_length;         /* as declared; UINT32_MAX: not */
    uint32_t extensions;          /* digest of the ServerHello's extensions, in order */
    int64_t not_before, not_after;/* of the certificate, seconds since the epoch; 0: not seen */
    uint16_t status, version, cipher;
    uint8_t kind;                 /* enum tscope_answer_kind */
    uint8_t alert_level, alert;
    uint8_t what;                 /* enum tscope_answer_what */
    struct word word[ANSWER_WORDS]; /* as in struct tscope_answer */
    struct cursor names;          /* the certificate's subjectAltName, where it is there */
};

/* A response head of HTTP/1 (RFC 9112), or HTML without one. */
enum parsed http_response(const uint8_t *data, size_t length, struct said *out);
/* A server's first flight of TLS: ServerHello and, before TLS 1.3, its certificate; or an alert.  `scratch` holds
 * MAX_ANSWER bytes. */
enum parsed tls_server(const uint8_t *data, size_t length, uint8_t *scratch, struct said *out);
/* The names of the first certificate in a Certificate message (RFC 5246 section 7.4.2, RFC 5280); false where bytes that
 * would tell are missing. */
bool x509_names(struct cursor message, struct said *out);
/* Whether the certificate is for this name (RFC 6125 section 6.4: a wildcard stands for the leftmost label). */
bool x509_is_for(const struct said *said, const uint8_t *name, size_t length);
/* Whether an organisation or common name is that of a certification authority that browsers trust. */
bool x509_public_issuer(struct word name);

#endif
