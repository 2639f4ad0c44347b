/* QUIC datagrams of one flow.  The input gives packets' ids, numbers and frames; the target protects them as a client does,
 * so that the bytes behind the tag are reached, and may change a byte afterwards or send bytes of the input as they are.
 * Claims: as f_feed; no more sets of keys are derived than the core allows a flow. */
#include <stdlib.h>
#include <string.h>

#include "fuzz.h"
#include "quic.h"

enum { DATAGRAMS = 8, HEADER = 5 + 1 + 8 + 1 + 1 + 2 };

static const uint32_t VERSIONS[4] = {1, 0x6b3343cf, 0xff00001d, 0x0a0a0a0a};

/* A long header up to the packet number, which is `number` of four bytes; *at is where that stands. */
static size_t put_header(uint8_t *out, uint32_t version, uint8_t id, uint32_t number, size_t body, size_t *at)
{
    size_t n = 0, length = 4 + body + GCM_TAG;
    out[n++] = version == VERSIONS[1] ? 0xd3 : 0xc3;
    store_be32(out + n, version);
    n += 4;
    out[n++] = 8;
    memset(out + n, id, 8);
    n += 8;
    out[n++] = 0;                                      /* source id */
    out[n++] = 0;                                      /* token */
    out[n++] = (uint8_t)(0x40 | length >> 8);
    out[n++] = (uint8_t)length;
    *at = n;
    store_be32(out + n, number);
    return n + 4;
}

static size_t protect(struct quic *q, uint8_t *out, uint32_t version, uint8_t id, uint32_t number,
                      const uint8_t *frames, size_t n_frames)
{
    static struct quic_keys keys;
    uint8_t target[8], nonce[GCM_NONCE], mask[AES_BLOCK];
    size_t at, head = put_header(out, version, id, number, n_frames, &at);
    memset(target, id, sizeof target);
    if (n_frames)
        memcpy(out + head, frames, n_frames);
    if (!quic_derive(q, version, target, sizeof target, &keys))
        return head + n_frames;
    memcpy(nonce, keys.nonce, sizeof nonce);
    for (unsigned i = 0; i < 4; i++)
        nonce[GCM_NONCE - 1 - i] ^= (uint8_t)(number >> 8 * i);
    gcm_seal(&q->crypto, &keys.packet, nonce, out, head, out + head, n_frames);
    aes_encrypt(&q->crypto, &keys.header, out + at + 4, mask);
    out[0] ^= mask[0] & 0x0f;
    for (unsigned i = 0; i < 4; i++)
        out[at + i] ^= mask[1 + i];
    return head + n_frames + GCM_TAG;
}

/* One datagram of the input's choice; its length. */
static size_t make_datagram(struct choices *c, struct quic *q, uint8_t *out)
{
    uint8_t bits = choose_u8(c), id = choose_u8(c) & 3, number = choose_u8(c);
    size_t have, wanted = choose_u16(c) & 0x3ff;
    const uint8_t *bytes = choose_bytes(c, wanted, &have);
    if (bits & 0x80) {                                 /* no packet at all, or one that somebody else made */
        if (have)
            memcpy(out, bytes, have);
        return have;
    }
    size_t size = protect(q, out, VERSIONS[bits & 3], id, number, bytes, have);
    if (bits & 0x40)
        out[choose_u16(c) % size] ^= choose_u8(c);
    if ((bits & 0x20) && size < 1200) {                /* padded outside of the packet */
        memset(out + size, 0, 1200 - size);
        size = 1200;
    }
    return size;
}

int LLVMFuzzerTestOneInput(const uint8_t *data, size_t size)
{
    static struct quic q;
    static uint8_t datagram[4096], packet[MADE_ROOM];
    static struct outcome out;
    struct choices c = {data, data + size};
    struct capture capture;
    uint64_t cut = choose_u16(&c) | 1;
    uint8_t server = choose_u8(&c);                    /* which datagrams the server sends */
    capture_start(&capture, LINK_RAW);
    for (unsigned i = 0; i < DATAGRAMS && choices_left(&c); i++) {
        bool back = server >> i & 1;
        size_t n = make_datagram(&c, &q, datagram);
        struct made m = {.version = 4, .protocol = 17, .ttl = 64, .ends = {back ? 2 : 1, back ? 1 : 2},
                         .ports = {back ? 443 : 40000, back ? 40000 : 443}, .ip_id = (uint16_t)i, .payload = datagram,
                         .n_payload = n};
        size_t length = make_packet(&m, packet);
        capture_frame(&capture, packet, length, length);
        capture.now_ns += 1000000;
    }
    struct how how = {.key = 1, .fail_after = -1};
    scan_twice(capture.bytes, capture.size, &how, cut, &out);
    HOLDS(out.first_flow.name_length <= 255);
    capture_end(&capture);
    return 0;
}
