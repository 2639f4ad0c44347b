/* DNS messages.  The first two bytes say how much of the rest is in the capture (the top bit: all), then comes one message;
 * it is parsed alone and sent to a resolver and back in a capture.
 * Claims: nothing shows through of the message before; a message cut short is never called malformed; its name is bounded
 * and without capitals. */
#include <stdlib.h>
#include <string.h>

#include "core.h"
#include "fuzz.h"

static bool parse(const uint8_t *data, size_t have, size_t size, uint8_t fill, struct dns_message *m)
{
    uint8_t *copy = exact_copy(data, have);
    memset(m, fill, sizeof *m);
    bool parsed = dns_parse(copy, have, size, m);
    free(copy);
    return parsed;
}

static void check(const struct dns_message *m, size_t have, size_t size)
{
    HOLDS(m->name_length <= sizeof m->name);
    for (size_t i = 0; i < m->name_length; i++)
        HOLDS(m->name[i] < 'A' || m->name[i] > 'Z');
    HOLDS(have == size ? !(m->row.what & TSCOPE_MSG_CUT) : !(m->row.what & TSCOPE_MSG_MALFORMED));
    HOLDS(!m->row.n_cnames || m->row.counts[1]);
    HOLDS(m->row.n_addresses + m->row.n_cnames <= m->row.counts[1]);
    HOLDS(m->row.rcode <= 15 && m->row.is_answer <= 1);
}

static void converse(const uint8_t *data, size_t have, size_t size, uint8_t cut)
{
    static uint8_t packet[MADE_ROOM];
    static struct outcome out;
    struct capture capture;
    capture_start(&capture, LINK_RAW);
    for (unsigned i = 0; i < 4; i++) {
        bool answer = i & 1;
        uint8_t *message = exact_copy(data, size);
        if (size > 2)
            message[2] = (uint8_t)((message[2] & 0x7f) | (answer ? 0x80 : 0));
        if (size > 12 && i == 3)
            message[size - 1] ^= cut & 7;
        struct made m = {.version = cut & 8 ? 6 : 4, .protocol = 17, .ttl = (uint8_t)(60 + i), .ip_id = (uint16_t)(i / 2),
                         .ends = {answer ? 53 : 1, answer ? 1 : 53}, .ports = {answer ? 53 : 4000, answer ? 4000 : 53},
                         .payload = message, .n_payload = size};
        size_t n = make_packet(&m, packet);
        capture_frame(&capture, packet, n - (size - have), n);
        capture.now_ns += 1000000 + (cut & 0x10 ? (int64_t)6000000000 : 0);
        free(message);
    }
    struct how how = {.fail_after = -1};
    scan_twice(capture.bytes, capture.size, &how, cut, &out);
    HOLDS(out.sum.frames == 4 && out.sum.flows == 1);
    capture_end(&capture);
}

int LLVMFuzzerTestOneInput(const uint8_t *data, size_t size)
{
    static struct dns_message m, again;
    struct choices c = {data, data + size};
    uint16_t part = choose_u16(&c);
    uint8_t cut = choose_u8(&c);
    size_t n = choices_left(&c) < 8192 ? choices_left(&c) : 8192, have = part & 0x8000 || part > n ? n : part;
    bool parsed = parse(c.at, have, n, 0, &m);
    HOLDS(parse(c.at, have, n, 0xa5, &again) == parsed);
    HOLDS(parsed == (have >= 12));
    if (parsed) {
        check(&m, have, n);
        HOLDS(!memcmp(&m.row, &again.row, sizeof m.row) && m.name_digest == again.name_digest);
        HOLDS(m.id == again.id && m.type == again.type && m.class_ == again.class_);
        HOLDS(m.name_length == again.name_length && !memcmp(m.name, again.name, m.name_length));
    }
    converse(c.at, have, n, cut);
    return 0;
}
