/* A list of segments through flow table and reassembly.  First come choices about the stream, then operations (segment,
 * copy, loss, swap, reset, time, anything at all), and what is left is the bytes that the client sends.
 *
 * Claims: other pieces, batches and another hash key change nothing; and while the input makes nothing but segments of
 * one connection, the flow has the name that the bytes give when they are looked at in order. */
#include <stdlib.h>
#include <string.h>

#include "core.h"
#include "fuzz.h"

enum { MAX_OPERATIONS = 200, STREAM = 20000, MAX_HOLES = 8 };

struct maker {
    struct choices c;
    struct capture capture;
    uint8_t stream[STREAM];
    uint8_t there[STREAM];
    size_t n_stream;
    uint8_t held[MADE_ROOM];                           /* a segment that comes after the next one */
    size_t n_held;
    uint32_t isn[2];
    uint8_t version;
    uint16_t ip_id;
    bool plain;                                        /* nothing happened that the model does not know */
};

static void send_packet(struct maker *m, const uint8_t *packet, size_t size, size_t wire)
{
    capture_frame(&m->capture, packet, size, wire);
    m->capture.now_ns += 1000000;
    if (!m->n_held)
        return;
    size_t n = m->n_held;
    m->n_held = 0;
    capture_frame(&m->capture, m->held, n, n);
}

static struct made segment(struct maker *m, bool from_server, unsigned flags)
{
    return (struct made){
        .version = m->version, .protocol = 6, .ttl = from_server ? 50 : 64,
        .ends = {from_server ? 2 : 1, from_server ? 1 : 2}, .ports = {from_server ? 443 : 4000, from_server ? 4000 : 443},
        .ip_id = ++m->ip_id, .flags = (uint16_t)flags, .window = 512, .seq = m->isn[from_server] + 1,
        .ack = flags & TSCOPE_ACK ? m->isn[!from_server] + 1 : 0};
}

static void send(struct maker *m, const struct made *made)
{
    static uint8_t packet[MADE_ROOM];
    size_t n = make_packet(made, packet);
    send_packet(m, packet, n, n);
}

static unsigned parts_there(const struct maker *m)
{
    unsigned parts = 0;
    for (size_t i = 0; i < m->n_stream; i++)
        parts += m->there[i] && (i == 0 || !m->there[i - 1]);
    return parts;
}

/* Bytes [at, at + length) of the client's stream; op says what becomes of them. */
static void client_data(struct maker *m, unsigned op)
{
    static uint8_t packet[MADE_ROOM];
    uint16_t where = choose_u16(&m->c);
    size_t at = m->n_stream ? where % m->n_stream : 0, most = m->n_stream - at;
    size_t length = (size_t)choose_u8(&m->c) * (where & 0x8000 ? 16 : 1);
    length = length < most ? length : most;
    struct made made = segment(m, false, TSCOPE_ACK | TSCOPE_PSH);
    made.seq += (uint32_t)at;
    made.payload = m->stream + at;
    made.n_payload = length;
    size_t n = make_packet(&made, packet);
    if (op == 1)                                       /* lost */
        return;
    memset(m->there + at, 1, length);
    if (parts_there(m) > MAX_HOLES)
        m->plain = false;
    if (op == 2 && !m->n_held) {                       /* swapped with the next */
        memcpy(m->held, packet, n);
        m->n_held = n;
        return;
    }
    send_packet(m, packet, n, n);
    if (op == 3)                                       /* copied */
        send_packet(m, packet, n, n);
}

static void server_data(struct maker *m)
{
    static const uint8_t zeroes[256];
    uint8_t at = choose_u8(&m->c);
    struct made made = segment(m, true, TSCOPE_ACK);
    made.seq += at;
    made.ack += choose_u16(&m->c);
    made.payload = zeroes;
    made.n_payload = choose_u8(&m->c);
    send(m, &made);
    m->plain = false;                                  /* an answer may end the search for a name */
}

static void handshake(struct maker *m, uint8_t bits)
{
    struct made syn = segment(m, false, TSCOPE_SYN), answer = segment(m, true, TSCOPE_SYN | TSCOPE_ACK);
    struct made ack = segment(m, false, TSCOPE_ACK);
    static const uint8_t options[12] = {2, 4, 5, 0xb4, 1, 1, 4, 2, 1, 3, 3, 7};
    syn.seq--;
    answer.seq--;
    syn.options = answer.options = options;
    syn.n_options = answer.n_options = sizeof options;
    if (bits & 1)
        send(m, &syn);
    if (bits & 2)
        send(m, &answer);
    if (bits & 4)
        send(m, &ack);
    m->plain = (bits & 7) == 7;
}

/* Any header fields, near what they should be or far from it. */
static void anything(struct maker *m)
{
    uint8_t bits = choose_u8(&m->c), near = choose_u8(&m->c);
    struct made made = segment(m, bits & 1, choose_u16(&m->c) & 0xfff);
    made.seq += bits & 2 ? choose_u32(&m->c) : (uint32_t)(near & 15) - 4;
    made.ack += bits & 4 ? choose_u32(&m->c) : (uint32_t)(near >> 4) - 4;
    made.ttl = bits & 8 ? choose_u8(&m->c) : made.ttl;
    made.window = bits & 16 ? choose_u16(&m->c) : made.window;
    made.ip_id = bits & 32 ? 7 : made.ip_id;
    made.ports[!(bits & 1)] = bits & 64 ? 80 + (near & 3) : 443;
    made.payload = m->stream;
    made.n_payload = bits & 128 ? choose_u16(&m->c) % (m->n_stream + 1) : 0;
    m->plain = false;
    send(m, &made);
}

static void reset(struct maker *m)
{
    uint8_t bits = choose_u8(&m->c);
    struct made made = segment(m, bits & 1, TSCOPE_RST | (bits & 2 ? TSCOPE_ACK : 0));
    made.seq += bits & 4 ? choose_u16(&m->c) : 0;
    made.ttl = bits & 8 ? 33 : made.ttl;
    made.ip_id = bits & 16 ? 0 : made.ip_id;
    m->plain = false;
    send(m, &made);
    if (bits & 32)
        send(m, &made);
}

static void pass_time(struct maker *m)
{
    static const int64_t steps[8] = {1000, 1000000, 100000000, 1000000000, 31000000000, 61000000000, 301000000000,
                                     4000000000000};
    uint8_t bits = choose_u8(&m->c);
    m->capture.now_ns += bits & 8 ? -steps[bits & 7] : steps[bits & 7];
    m->plain = m->plain && (bits & 8) == 0 && (bits & 7) < 4;
}

/* Another connection, or a datagram: flows beside the one that is looked at. */
static void another(struct maker *m)
{
    uint8_t end = choose_u8(&m->c), bits = choose_u8(&m->c);
    struct made made = segment(m, bits & 1, choose_u8(&m->c));
    made.ends[bits & 1] = end;
    made.protocol = bits & 2 ? 17 : 6;
    made.ports[!(bits & 1)] = bits & 4 ? 53 : 443;
    made.payload = m->stream;
    made.n_payload = bits & 8 ? (m->n_stream < 1300 ? m->n_stream : 1300) : 0;
    m->plain = m->plain && end != 1 && end != 2;
    send(m, &made);
}

static void operate(struct maker *m)
{
    uint8_t op = choose_u8(&m->c);
    switch (op & 15) {
    case 0: case 1: case 2: case 3: case 4: case 5:
        client_data(m, op & 15);
        break;
    case 6: case 7:
        server_data(m);
        break;
    case 8:
        reset(m);
        break;
    case 9: case 10:
        pass_time(m);
        break;
    case 11: case 12:
        another(m);
        break;
    default:
        anything(m);
    }
}

/* A hello around bytes of the input, so that most streams are about one. */
static void make_stream(struct maker *m, uint8_t kind, size_t wanted)
{
    static const uint8_t head[44] = {22, 3, 1, 0, 0, 1, 0, 0, 0, 3, 3};
    static const char request[] = "GET / HTTP/1.1\r\nHost: ";
    size_t n, start = kind == 1 ? sizeof head : kind == 2 ? sizeof request - 1 : 0;
    const uint8_t *bytes = choose_bytes(&m->c, wanted, &n);
    memcpy(m->stream, kind == 1 ? (const void *)head : request, start);
    if (n)
        memcpy(m->stream + start, bytes, n);
    m->n_stream = start + n;
    if (kind == 3)                                     /* long: what is cut off at MAX_HELLO */
        for (; n && m->n_stream < STREAM; m->n_stream++)
            m->stream[m->n_stream] = m->stream[m->n_stream - n];
    if (kind != 1)
        return;
    size_t length = m->n_stream - 5;
    m->stream[3] = (uint8_t)(length >> 8);
    m->stream[4] = (uint8_t)length;
    m->stream[7] = (uint8_t)((length - 4) >> 8);
    m->stream[8] = (uint8_t)(length - 4);
}

/* The name that the bytes give in order. */
static void check_name(const struct maker *m, const struct outcome *out)
{
    static uint8_t scratch[MAX_HELLO];
    struct hello h;
    size_t prefix = 0;
    uint32_t line = 0;
    while (prefix < m->n_stream && prefix < MAX_HELLO && m->there[prefix])
        prefix++;
    enum parsed parsed = tls_client_hello(m->stream, prefix, scratch, &h);
    bool tls = parsed == PARSED_YES;
    if (parsed == PARSED_NO)
        parsed = http_request(m->stream, prefix, &line, &h);
    size_t length = parsed == PARSED_YES ? h.name_length : 0;
    HOLDS(out->first_flow.name_length == length);
    HOLDS(!length || out->first_flow.name_from == (tls ? TSCOPE_NAME_TLS_SNI : TSCOPE_NAME_HTTP_HOST));
    for (size_t i = 0; i < length; i++) {
        uint8_t ch = h.name[i];
        HOLDS(out->first_name[i] == (ch >= 'A' && ch <= 'Z' ? ch | 0x20 : ch));
    }
}

int LLVMFuzzerTestOneInput(const uint8_t *data, size_t size)
{
    static struct maker m;
    static struct outcome out;
    memset(&m, 0, sizeof m);
    m.c = (struct choices){data, data + size};
    uint8_t cut = choose_u8(&m.c), bits = choose_u8(&m.c), kind = choose_u8(&m.c);
    m.version = bits & 8 ? 6 : 4;
    m.isn[0] = bits & 16 ? 0xffffff00 : 1000;
    m.isn[1] = bits & 32 ? 0xffffffff : 5000;
    make_stream(&m, kind & 3, (size_t)choose_u16(&m.c) & 0xfff);
    capture_start(&m.capture, LINK_RAW);
    handshake(&m, bits & 64 ? 7 : bits);
    while (choices_left(&m.c) && m.capture.frames < MAX_OPERATIONS)
        operate(&m);
    if (m.n_held)
        capture_frame(&m.capture, m.held, m.n_held, m.n_held);
    struct how how = {.max_flows = kind >> 2 & 3, .context_entries = kind >> 4 & 3, .candidate_bytes = kind >> 7,
                      .fail_after = -1};
    scan_twice(m.capture.bytes, m.capture.size, &how, cut, &out);
    HOLDS(out.sum.frames == m.capture.frames);
    if (m.plain && !how.max_flows)
        check_name(&m, &out);
    if (kind & 64) {                                   /* an allocation fails: nothing to compare, nothing to lose */
        how.fail_after = cut;
        scan(m.capture.bytes, m.capture.size, &how, &out);
    }
    capture_end(&m.capture);
    return 0;
}
