/* The ClientHello in the Initial packets of QUIC version 1 (RFC 9000, RFC 9001), 2 (RFC 9369) and the later drafts.
 *
 * An Initial is encrypted with keys that follow from its destination connection id: whoever sees the client's first one
 * can read them all.  Nothing counts before its tag is verified, so a forged or damaged packet gives no name, and a
 * packet that opens with the client's keys is the client's.
 *
 * Nearly every hello lies whole in the first datagram and is read where it was decrypted: nothing is remembered.  Where
 * it does not (a post-quantum key share needs two), the flow's stream keeps the keys and what came so far.  Deriving keys
 * is dear and an id costs its sender nothing, so a flow gets MAX_DERIVATIONS of them. */
#include "scan.h"

enum {
    VERSION_2 = 0x6b3343cf,
    SHORTEST = 1200,              /* a datagram with an Initial of the client (RFC 9000 section 14.1) */
    MAX_COALESCED = 16, MAX_DERIVATIONS = 8, MAX_DATAGRAMS = 64, MAX_CRYPTO = 65536,
    PACKETS_WANTED = 8,           /* of a flow, in which an Initial must appear */
    PACKETS_WAITED = 256,         /* of a flow, in which the rest of its hello must */
    PORT_HTTPS = 443,
    SAMPLE_AT = 4                 /* behind the packet number's place, as if it took four bytes (RFC 9001 section 5.4.2) */
};

enum packet_type { INITIAL, ZERO_RTT, HANDSHAKE, RETRY };

enum frame_type { PADDING = 0, PING = 1, ACK = 2, ACK_ECN = 3, CRYPTO = 6 };

/* What one datagram brought. */
struct taken {
    bool authentic;               /* a packet of it opened with the client's keys */
    bool grew;                    /* it has bytes of the hello that were not there before */
};

/* ---------------------------------------------------------------- versions and keys */

enum { SALT_1, SALT_2, SALT_23, SALT_29, NO_SALT };

static const uint8_t SALT[QUIC_SALTS][20] = {
    [SALT_1] = {0x38, 0x76, 0x2c, 0xf7, 0xf5, 0x59, 0x34, 0xb3, 0x4d, 0x17,
                0x9a, 0xe6, 0xa4, 0xc8, 0x0c, 0xad, 0xcc, 0xbb, 0x7f, 0x0a},
    [SALT_2] = {0x0d, 0xed, 0xe3, 0xde, 0xf7, 0x00, 0xa6, 0xdb, 0x81, 0x93,
                0x81, 0xbe, 0x6e, 0x26, 0x9d, 0xcb, 0xf9, 0xbd, 0x2e, 0xd9},
    [SALT_23] = {0xc3, 0xee, 0xf7, 0x12, 0xc7, 0x2e, 0xbb, 0x5a, 0x11, 0xa7,
                 0xd2, 0x43, 0x2b, 0xb4, 0x63, 0x65, 0xbe, 0xf9, 0xf5, 0x02},
    [SALT_29] = {0xaf, 0xbf, 0xec, 0x28, 0x99, 0x93, 0xd2, 0x4c, 0x9e, 0x97,
                 0x86, 0xf1, 0x9c, 0x61, 0x11, 0xe0, 0x43, 0x90, 0xa8, 0x99},
};

static unsigned salt_of(uint32_t version)
{
    static const struct { uint32_t first, last; unsigned salt; } known[] = {
        {1, 1, SALT_1}, {VERSION_2, VERSION_2, SALT_2}, {0xff000017, 0xff00001c, SALT_23},
        {0xff00001d, 0xff000020, SALT_29}, {0xff000021, 0xff000022, SALT_1}};
    for (unsigned i = 0; i < sizeof known / sizeof known[0]; i++)
        if (version >= known[i].first && version <= known[i].last)
            return known[i].salt;
    return NO_SALT;
}

static void make_ready(struct quic *q)
{
    q->crypto = crypto_of_machine();
    for (unsigned i = 0; i < QUIC_SALTS; i++)
        hmac_set_key(&q->crypto, &q->salts[i], SALT[i], sizeof SALT[i]);
    q->ready = true;
}

bool quic_derive(struct quic *q, uint32_t version, const uint8_t *id, uint8_t id_length, struct quic_keys *out)
{
    static const char *const label[2][3] = {{"quic key", "quic iv", "quic hp"}, {"quicv2 key", "quicv2 iv", "quicv2 hp"}};
    const char *const *names = label[version == VERSION_2];
    unsigned salt = salt_of(version);
    uint8_t secret[SHA256_SIZE], key[16];
    struct hmac_key hashed;
    if (salt == NO_SALT || id_length > QUIC_MAX_ID)
        return false;
    if (!q->ready)
        make_ready(q);
    hmac(&q->crypto, &q->salts[salt], id, id_length, secret);
    hmac_set_key(&q->crypto, &hashed, secret, sizeof secret);
    hkdf_expand_label(&q->crypto, &hashed, "client in", secret, sizeof secret);
    hmac_set_key(&q->crypto, &hashed, secret, sizeof secret);
    hkdf_expand_label(&q->crypto, &hashed, names[0], key, sizeof key);
    aes_set_key(&out->packet, key);
    hkdf_expand_label(&q->crypto, &hashed, names[1], out->nonce, sizeof out->nonce);
    hkdf_expand_label(&q->crypto, &hashed, names[2], key, sizeof key);
    aes_set_key(&out->header, key);
    memcpy(out->id, id, id_length);
    out->id_length = id_length;
    out->version = version;
    out->next_number = 0;
    return true;
}

/* ---------------------------------------------------------------- headers */

/* Version 2 has the same four types, turned by one (RFC 9369 section 3.2). */
static enum packet_type type_of(uint8_t first, uint32_t version)
{
    unsigned type = first >> 4 & 3;
    return (enum packet_type)(version == VERSION_2 ? (type + 3) & 3 : type);
}

/* A datagram that begins with a long header and may have an Initial: mostly in front, but not by rule. */
bool quic_may_hold_initial(const struct packet *p)
{
    return p->payload_length >= SHORTEST && p->payload_have >= 6 && (p->payload[0] & 0xc0) == 0xc0;
}

bool quic_is_initial(const struct packet *p)
{
    if (!quic_may_hold_initial(p))
        return false;
    uint32_t version = load_be32(p->payload + 1);
    return version != 0 && type_of(p->payload[0], version) == INITIAL;
}

/* RFC 9000 section 16. */
static bool take_varint(struct cursor *c, uint64_t *value)
{
    const uint8_t *first = cursor_take(c, 1);
    size_t more = first ? ((size_t)1 << (*first >> 6)) - 1 : 0;
    const uint8_t *rest = cursor_take(c, more);
    if (!first || !rest)
        return false;
    *value = *first & 0x3f;
    for (size_t i = 0; i < more; i++)
        *value = *value << 8 | rest[i];
    return true;
}

/* The packet at a cursor. */
struct header {
    const uint8_t *start;
    const uint8_t *id;            /* the destination's */
    size_t number_at;             /* offset of its packet number */
    size_t size;                  /* all of it that is there */
    uint32_t version;
    enum packet_type type;
    uint8_t id_length;
    bool cut;                     /* it goes on behind the captured bytes */
};

static bool take_id(struct cursor *c, const uint8_t **id, uint8_t *length)
{
    const uint8_t *n = cursor_take(c, 1);
    if (!n || *n > QUIC_MAX_ID)
        return false;
    *length = *n;
    *id = cursor_take(c, *n);
    return *id != NULL;
}

/* Reads a long header (RFC 9000 section 17.2) and steps over its packet.  False where there is none that has a length,
 * or of a version that is not known. */
static bool take_packet(struct cursor *c, struct header *h)
{
    const uint8_t *source;
    uint8_t source_length;
    uint64_t length, token;
    h->start = c->at;
    const uint8_t *fixed = cursor_take(c, 5);
    if (!fixed || (fixed[0] & 0xc0) != 0xc0)
        return false;
    h->version = load_be32(fixed + 1);
    h->type = type_of(fixed[0], h->version);
    if (salt_of(h->version) == NO_SALT || h->type == RETRY || !take_id(c, &h->id, &h->id_length) ||
        !take_id(c, &source, &source_length))
        return false;
    if (h->type == INITIAL && (!take_varint(c, &token) || token > cursor_left(c) || !cursor_skip(c, (size_t)token)))
        return false;
    if (!take_varint(c, &length))
        return false;
    h->number_at = (size_t)(c->at - h->start);
    h->cut = length > cursor_left(c);
    cursor_skip(c, h->cut ? cursor_left(c) : (size_t)length);
    h->size = (size_t)(c->at - h->start);
    return true;
}

static bool same_id(const struct header *h, const uint8_t *id, uint8_t length)
{
    return h->id_length == length && !memcmp(h->id, id, length);
}

/* ---------------------------------------------------------------- protection */

/* The packet number nearest to the one expected whose last bytes are these (RFC 9000 appendix A.3). */
static uint64_t whole_number(uint64_t expected, uint64_t last_bytes, unsigned n)
{
    uint64_t window = (uint64_t)1 << 8 * n, candidate = (expected & ~(window - 1)) | last_bytes;
    if (candidate + window / 2 <= expected)
        return candidate + window;
    if (candidate > expected + window / 2 && candidate >= window)
        return candidate - window;
    return candidate;
}

/* Takes off header protection (RFC 9001 section 5.4.1): the packet number, and how many bytes it takes. */
static uint64_t bare_number(struct quic *q, const struct quic_keys *k, uint8_t *packet, size_t at, unsigned *n)
{
    uint8_t mask[AES_BLOCK];
    uint64_t last_bytes = 0;
    aes_encrypt(&q->crypto, &k->header, packet + at + SAMPLE_AT, mask);
    packet[0] ^= mask[0] & 0x0f;
    *n = (packet[0] & 3u) + 1;
    for (unsigned i = 0; i < *n; i++) {
        packet[at + i] ^= mask[1 + i];
        last_bytes = last_bytes << 8 | packet[at + i];
    }
    return whole_number(k->next_number, last_bytes, *n);
}

/* Decrypts a packet into the scan's scratch; false where its tag is wrong (RFC 9001 section 5.3). */
static bool unprotect(struct tscope_scan *s, struct quic_keys *k, const struct header *h, struct cursor *frames)
{
    uint8_t *packet = s->scratch, nonce[GCM_NONCE];
    unsigned n;
    if (h->size < h->number_at + SAMPLE_AT + AES_BLOCK || h->size > sizeof s->scratch)
        return false;
    memcpy(packet, h->start, h->size);
    uint64_t number = bare_number(&s->quic, k, packet, h->number_at, &n);
    size_t head = h->number_at + n, body = h->size - head;
    memcpy(nonce, k->nonce, sizeof nonce);
    for (unsigned i = 0; i < 8; i++)
        nonce[GCM_NONCE - 1 - i] ^= (uint8_t)(number >> 8 * i);
    if (!gcm_open(&s->quic.crypto, &k->packet, nonce, packet, head, packet + head, body))
        return false;
    if (number >= k->next_number)
        k->next_number = number + 1;
    *frames = cursor_over(packet + head, body - GCM_TAG);
    return true;
}

static void give_up(struct tscope_scan *s, struct flow *f)
{
    f->name_state = NAME_DONE;
    stream_end(s, f);
}

/* The keys stay those of the client's first Initial when it takes up the id that the server chose (RFC 9001 section
 * 5.2), so those at hand are tried first.  An Initial that only the keys of its own id open begins a connection, or
 * begins it again after a Retry: its hello comes from the start. */
static bool open_initial(struct tscope_scan *s, struct flow *f, const struct header *h, struct cursor *frames)
{
    struct quic_keys *known = f->stream ? &f->stream->quic->keys : NULL;
    if (known && known->version == h->version) {
        if (unprotect(s, known, h, frames))
            return true;
        if (same_id(h, known->id, known->id_length))
            return false;
    }
    if (f->quic_derivations == MAX_DERIVATIONS) {
        give_up(s, f);
        return false;
    }
    f->quic_derivations++;
    if (!quic_derive(&s->quic, h->version, h->id, h->id_length, &s->quic.keys) ||
        !unprotect(s, &s->quic.keys, h, frames))
        return false;
    stream_end(s, f);
    return true;
}

/* ---------------------------------------------------------------- frames */

/* Runs of PADDING fill most of an Initial. */
static void skip_padding(struct cursor *c)
{
    uint64_t eight;
    while (cursor_left(c) >= sizeof eight) {           /* advances 8 */
        memcpy(&eight, c->at, sizeof eight);
        if (eight)
            break;
        c->at += sizeof eight;
    }
    while (c->at < c->end && *c->at == PADDING)        /* advances 1 */
        c->at++;
}

/* RFC 9000 section 19.3. */
static bool skip_ack(struct cursor *c, uint8_t type)
{
    uint64_t largest, delay, ranges, first, value;
    if (!take_varint(c, &largest) || !take_varint(c, &delay) || !take_varint(c, &ranges) || !take_varint(c, &first) ||
        ranges > cursor_left(c))
        return false;
    for (uint64_t left = 2 * ranges + (type == ACK_ECN ? 3 : 0); left; left--)  /* advances >= 1 */
        if (!take_varint(c, &value))
            return false;
    return true;
}

/* The next CRYPTO frame (RFC 9000 section 19.6); false at the end, and at what closes or breaks the connection. */
static bool next_crypto(struct cursor *c, uint64_t *at, struct cursor *data)
{
    uint64_t length;
    while (cursor_left(c)) {                           /* advances >= 1 */
        uint8_t type = cursor_u8(c);
        if (type == PADDING) {
            skip_padding(c);
        } else if (type == CRYPTO) {
            if (!take_varint(c, at) || !take_varint(c, &length) || length > cursor_left(c))
                return false;
            *data = cursor_sub(c, (size_t)length);
            return true;
        } else if (type != PING && ((type != ACK && type != ACK_ECN) || !skip_ack(c, type))) {
            return false;
        }
    }
    return false;
}

/* Remembers the keys at hand and what of the hello is there. */
static bool start_stream(struct tscope_scan *s, struct flow *f)
{
    f->name_state = NAME_WAITS;
    f->facts |= TSCOPE_FACT_NAME_INCOMPLETE;
    f->stream = stream_new(s);
    if (!f->stream)
        return false;
    f->stream->quic = store_take(&s->store, sizeof *f->stream->quic);
    if (!f->stream->quic)
        return false;
    *f->stream->quic = (struct quic_stream){.keys = s->quic.keys};
    return true;
}

static uint32_t bytes_there(const struct stream *st)
{
    uint32_t sum = 0;
    for (uint32_t i = 0; i < st->n_parts; i++)
        sum += st->parts[i].to - st->parts[i].from;
    return sum;
}

static bool keep(struct tscope_scan *s, struct flow *f, uint64_t at, struct cursor data, struct taken *t)
{
    if (!f->stream && !start_stream(s, f))
        return false;
    uint32_t before = bytes_there(f->stream), length = (uint32_t)cursor_left(&data);
    f->stream->quic->bytes += length;
    if (f->stream->quic->bytes > MAX_CRYPTO)
        return false;
    if (at < MAX_HELLO && length && !stream_insert(s, f, f->stream, (uint32_t)at, data.at, length))
        return false;
    t->grew |= bytes_there(f->stream) > before;
    return true;
}

/* The hello as far as it is there without a hole. */
static enum parsed parse_kept(struct tscope_scan *s, struct flow *f)
{
    struct stream *st = f->stream;
    uint32_t there = st && st->n_parts && st->parts[0].from == 0 ? st->parts[0].to : 0;
    if (!st || !there || there < st->wanted)
        return PARSED_MORE;
    enum parsed result = tls_handshake_hello(st->data, there, &s->hello);
    st->wanted = s->hello.length;
    return result;
}

static enum parsed take_frames(struct tscope_scan *s, struct flow *f, struct cursor frames, struct taken *t)
{
    uint64_t at;
    struct cursor data;
    while (next_crypto(&frames, &at, &data)) {         /* advances >= 3 */
        if (!f->stream && at == 0) {                   /* mostly all of it: read where it lies */
            enum parsed result = tls_handshake_hello(data.at, cursor_left(&data), &s->hello);
            t->grew = true;
            if (result != PARSED_MORE)
                return result;
        }
        if (!keep(s, f, at, data, t))
            return PARSED_NO;
    }
    return parse_kept(s, f);
}

/* ---------------------------------------------------------------- datagrams */

static void take_initial(struct tscope_scan *s, struct flow *f, const struct packet *p, const struct header *h,
                         struct taken *t)
{
    struct cursor frames;
    if (!open_initial(s, f, h, &frames))
        return;
    t->authentic = true;
    enum parsed result = take_frames(s, f, frames, t);
    if (result == PARSED_YES) {
        stream_found(s, f, p->from, TSCOPE_TRIGGER_QUIC_INITIAL);
        f->facts &= ~(uint32_t)TSCOPE_FACT_QUIC_UNREAD;
    }
    if (result != PARSED_MORE || (f->stream && ++f->stream->quic->datagrams > MAX_DATAGRAMS))
        give_up(s, f);
}

/* Packets that share a datagram go to one connection (RFC 9000 section 12.2): others are not looked at. */
static void take_datagram(struct tscope_scan *s, struct flow *f, const struct packet *p, struct taken *t)
{
    struct cursor c = cursor_over(p->payload, p->payload_have);
    struct header first, h;
    for (unsigned i = 0; i < MAX_COALESCED && f->name_state != NAME_DONE && take_packet(&c, &h); i++) {
        if (i == 0)
            first = h;
        if (!same_id(&h, first.id, first.id_length) || h.version != first.version)
            return;
        if (h.type == INITIAL && !h.cut)
            take_initial(s, f, p, &h, t);
        if (h.type == INITIAL && h.cut && p->payload_have < p->payload_length) {
            f->facts |= TSCOPE_FACT_NAME_INCOMPLETE;   /* cut by the snap length: no tag, and the rest will never come */
            give_up(s, f);
        }
    }
}

/* A version that is not read: in a long header, or as Google's own QUIC had it, behind flags and perhaps an id. */
static bool is_unread(const struct packet *p)
{
    if (!p->payload_have)                              /* also a lone packet's, whose payload is gone */
        return false;
    struct cursor c = cursor_over(p->payload, p->payload_have);
    const uint8_t *h = cursor_take(&c, 13);
    if (!h)
        return false;
    if (h[0] & 0x80)
        return p->destination_port == PORT_HTTPS && quic_is_initial(p) && salt_of(load_be32(h + 1)) == NO_SALT;
    const uint8_t *version = h[0] & 0x08 ? h + 9 : h + 1;
    return (h[0] & 0x41) == 0x01 && version[0] == 'Q' && version[1] == '0' && version[2] >= '0' && version[2] <= '9' &&
           version[3] >= '0' && version[3] <= '9';
}

/* An Initial is among a flow's first packets, or there is none. */
static void wait_longer(struct tscope_scan *s, struct flow *f)
{
    uint32_t most = f->name_state == NAME_WAITS ? PACKETS_WAITED : PACKETS_WANTED;
    if (f->side[0].packets + f->side[1].packets + 1 >= most)
        give_up(s, f);
}

unsigned quic_take(struct tscope_scan *s, struct flow *f, const struct packet *p)
{
    struct taken t = {false, false};
    bool first = !f->trigger;
    if (is_unread(p))
        f->facts |= TSCOPE_FACT_QUIC_UNREAD;
    if (!quic_may_hold_initial(p) || (!first && p->from != f->client)) {
        wait_longer(s, f);
        return 0;
    }
    take_datagram(s, f, p, &t);
    if (!t.authentic)
        wait_longer(s, f);
    if (first && (t.authentic || (p->destination_port == PORT_HTTPS && quic_is_initial(p)))) {
        flow_client(f, p->from, TSCOPE_BY_QUIC_INITIAL);
        f->trigger = TSCOPE_TRIGGER_QUIC_INITIAL;
        f->trigger_frame = p->frame;
        f->trigger_ns = p->time_ns;
        f->trigger_length = p->payload_length;
        return TSCOPE_WHAT_TRIGGER;
    }
    if (first || !t.grew || f->answer_ns != TSCOPE_NO_NS)
        return 0;
    f->trigger_length += p->payload_length;
    return TSCOPE_WHAT_TRIGGER;
}

void quic_take_answer(struct flow *f, const struct packet *p)
{
    if (!p->payload_have)
        return;
    struct cursor c = cursor_over(p->payload, p->payload_have);
    const uint8_t *h = cursor_take(&c, 5);
    if (!h || !(h[0] & 0x80))
        return;
    uint32_t version = load_be32(h + 1);
    if (!version)
        f->facts |= TSCOPE_FACT_QUIC_VERSIONS;
    else if (salt_of(version) != NO_SALT && type_of(h[0], version) == RETRY)
        f->facts |= TSCOPE_FACT_QUIC_RETRY;
}
