/* ICMP errors and what they quote: a flow of some packets, then errors that quote pieces of them or bytes of the input.
 * Claims: decoding stays inside the frame; an error starts no flow. */
#include <stdlib.h>
#include <string.h>

#include "frame.h"

enum { PACKETS = 4 };

struct quotable {
    uint8_t bytes[1024];
    size_t size;
};

static void add(struct capture *capture, const uint8_t *packet, size_t size, size_t wire)
{
    struct packet p;
    decode_frame(LINK_RAW, packet, size, wire, &p);
    capture_frame(capture, packet, size, wire);
    capture->now_ns += 1000000;
}

static void start_flow(struct choices *c, struct capture *capture, uint8_t version, struct quotable quotable[PACKETS])
{
    static uint8_t packet[MADE_ROOM];
    for (unsigned i = 0; i < PACKETS; i++) {
        uint8_t bits = choose_u8(c);
        struct made m = {
            .version = version, .protocol = bits & 1 ? 17 : 6, .ttl = 64, .ends = {bits & 2 ? 1 : 2, bits & 2 ? 2 : 1},
            .ports = {bits & 2 ? 40000 : 443, bits & 2 ? 443 : 40000}, .ip_id = (uint16_t)(100 + i),
            .flags = bits >> 2 & 0x1f, .seq = 1000 + i, .ack = 2000, .window = 512, .payload = (const uint8_t *)"payload",
            .n_payload = bits & 0x80 ? 7 : 0};
        size_t n = make_packet(&m, packet);
        add(capture, packet, n, n);
        memcpy(quotable[i].bytes, packet, n);
        quotable[i].size = n;
    }
}

/* An error: its first eight bytes, a piece of a packet of the flow with one byte changed, and bytes of the input. */
static size_t make_quote(struct choices *c, const struct quotable *q, uint8_t *out)
{
    uint8_t bits = choose_u8(c), at = choose_u8(c), change = choose_u8(c);
    static const uint8_t types[8] = {3, 11, 1, 2, 4, 5, 12, 0};
    size_t quoted = bits & 8 ? q->size : q->size < (size_t)(bits >> 4) * 6 ? q->size : (size_t)(bits >> 4) * 6, n;
    memset(out, 0, 8);
    out[0] = types[bits & 7];
    out[1] = change & 15;
    memcpy(out + 8, q->bytes, quoted);
    if (at < quoted)
        out[8 + at] ^= change;
    const uint8_t *more = choose_bytes(c, choose_u8(c) & 63, &n);
    if (n)
        memcpy(out + 8 + quoted, more, n);
    return 8 + quoted + n;
}

int LLVMFuzzerTestOneInput(const uint8_t *data, size_t size)
{
    static uint8_t error[4096], packet[MADE_ROOM];
    static struct outcome out;
    struct choices c = {data, data + size};
    struct capture capture;
    struct quotable quotable[PACKETS];
    uint8_t first = choose_u8(&c), version = first & 1 ? 6 : 4;
    capture_start(&capture, LINK_RAW);
    start_flow(&c, &capture, version, quotable);
    while (choices_left(&c) >= 4 && capture.frames < 64) {
        uint8_t bits = choose_u8(&c);
        struct made m = {.version = version, .protocol = version == 6 ? 58 : 1, .ttl = 60, .ends = {9, bits & 1 ? 2 : 1},
                         .payload = error};
        m.n_payload = make_quote(&c, &quotable[bits >> 1 & 3], error);
        size_t n = make_packet(&m, packet), cut = bits >> 3 & 31;
        size_t have = cut == 31 && n > 40 ? 40 : n > cut ? n - cut : n;
        capture.now_ns += bits == 0xff ? 400000000000 : 0;
        add(&capture, packet, have, n);
    }
    struct how how = {.fail_after = -1};
    scan_twice(capture.bytes, capture.size, &how, first, &out);
    HOLDS(out.sum.frames == capture.frames);
    HOLDS(out.sum.flows <= PACKETS);
    capture_end(&capture);
    return 0;
}
