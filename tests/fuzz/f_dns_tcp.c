/* A stream of DNS messages over TCP, each with its length before it.  The first four bytes choose the steps of two
 * connections; the stream is what the server sends after a SYN+ACK.
 * Claim: whatever the segments are, and whatever of them comes twice, the same messages are told. */
#include <stdlib.h>
#include <string.h>

#include "core.h"
#include "fuzz.h"

enum { MOST = 24000 };

struct sent {
    struct capture capture;
    uint8_t packet[MADE_ROOM];
    uint32_t seq;
};

static void send(struct sent *t, uint16_t flags, const uint8_t *data, size_t size)
{
    struct made m = {.version = 4, .protocol = 6, .ttl = 60, .ip_id = (uint16_t)t->seq, .ends = {53, 1}, .ports = {53, 4000},
                     .seq = t->seq, .ack = 1, .flags = flags, .window = 1000, .payload = data, .n_payload = size};
    size_t n = make_packet(&m, t->packet);
    capture_frame(&t->capture, t->packet, n, n);
    t->capture.now_ns += 1000000;
    t->seq += (uint32_t)size + (flags & TSCOPE_SYN ? 1 : 0);
}

/* In segments of `steps` bytes, by turns; odd ones are sent twice. */
static void tell(const uint8_t *data, size_t size, const uint8_t steps[2], bool again, struct outcome *out)
{
    static struct sent t;
    memset(&t, 0, sizeof t);
    t.seq = 0xfffff000u;                               /* numbers wrap */
    capture_start(&t.capture, LINK_RAW);
    send(&t, TSCOPE_SYN | TSCOPE_ACK, NULL, 0);
    for (size_t at = 0, i = 0; at < size; i++) {
        size_t step = steps[i & 1] ? steps[i & 1] * (size_t)(steps[i & 1] > 200 ? 6 : 1) : 1400;
        size_t n = step < size - at ? step : size - at;
        send(&t, TSCOPE_ACK, data + at, n);
        if (again && (i & 1)) {
            t.seq -= (uint32_t)n;
            send(&t, TSCOPE_ACK, data + at, n);
        }
        at += n;
    }
    struct how how = {.fail_after = -1};
    scan_twice(t.capture.bytes, t.capture.size, &how, steps[0], out);
    capture_end(&t.capture);
}

int LLVMFuzzerTestOneInput(const uint8_t *data, size_t size)
{
    static struct outcome one, other;
    struct choices c = {data, data + size};
    uint8_t first[2], second[2];
    for (unsigned i = 0; i < 2; i++) {
        first[i] = choose_u8(&c);
        second[i] = choose_u8(&c);
    }
    size_t n = choices_left(&c) < MOST ? choices_left(&c) : MOST;
    uint8_t *copy = exact_copy(c.at, n);
    tell(copy, n, first, false, &one);
    tell(copy, n, second, true, &other);
    HOLDS(one.messages == other.messages);
    HOLDS(one.sum.transactions == other.sum.transactions);
    free(copy);
    return 0;
}
