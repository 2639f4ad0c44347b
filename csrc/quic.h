/* What a scan and a flow remember of QUIC. */
#ifndef TSCOPE_QUIC_H
#define TSCOPE_QUIC_H

#include "crypto.h"

enum { QUIC_MAX_ID = 20, QUIC_SALTS = 4 };

/* The client's keys for Initials, of one version and of the connection id that its first Initial went to. */
struct quic_keys {
    struct aes_key packet, header;
    uint8_t nonce[GCM_NONCE];
    uint8_t id[QUIC_MAX_ID];
    uint8_t id_length;
    uint32_t version;
    uint64_t next_number;         /* one more than the largest packet number so far */
};

/* Of a flow whose hello is not complete yet. */
struct quic_stream {
    struct quic_keys keys;
    uint32_t bytes;               /* of CRYPTO frames */
    uint32_t datagrams;
};

/* Of a scan: made once, and scratch. */
struct quic {
    struct crypto crypto;
    struct hmac_key salts[QUIC_SALTS];
    struct quic_keys keys;        /* of the packet at hand, unless its flow has them */
    bool ready;
};

/* The client's keys for a connection id (RFC 9001 section 5.2, RFC 9369 section 3.3); false: a version not known. */
bool quic_derive(struct quic *q, uint32_t version, const uint8_t *id, uint8_t id_length, struct quic_keys *out);

#endif
