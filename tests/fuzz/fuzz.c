#include "fuzz.h"

#include <stdio.h>
#include <stdlib.h>
#include <string.h>

void fuzz_failed(const char *claim, const char *file, int line)
{
    fprintf(stderr, "%s:%d: does not hold: %s\n", file, line, claim);
    abort();
}

/* ---------------------------------------------------------------- choices */

const uint8_t *choose_bytes(struct choices *c, size_t wanted, size_t *have)
{
    const uint8_t *taken = c->at;
    *have = wanted < choices_left(c) ? wanted : choices_left(c);
    if (*have)
        c->at += *have;
    return taken;
}

uint8_t choose_u8(struct choices *c)
{
    return c->at < c->end ? *c->at++ : 0;
}

uint16_t choose_u16(struct choices *c)
{
    uint16_t high = choose_u8(c);
    return (uint16_t)(high << 8 | choose_u8(c));
}

uint32_t choose_u32(struct choices *c)
{
    uint32_t high = choose_u16(c);
    return high << 16 | choose_u16(c);
}

uint8_t *exact_copy(const uint8_t *data, size_t size)
{
    uint8_t *copy = malloc(size ? size : 1);
    if (!copy)
        abort();
    if (size)
        memcpy(copy, data, size);
    return copy;
}

/* xorshift64*: any state but 0. */
uint64_t next_random(uint64_t *state)
{
    *state ^= *state >> 12;
    *state ^= *state << 25;
    *state ^= *state >> 27;
    return *state * 0x2545f4914f6cdd1du;
}

/* ---------------------------------------------------------------- captures */

static void put(struct capture *c, const void *bytes, size_t size)
{
    if (c->room - c->size < size) {
        c->room = 2 * c->room + size + 1024;
        c->bytes = realloc(c->bytes, c->room);
        if (!c->bytes)
            abort();
    }
    if (size)
        memcpy(c->bytes + c->size, bytes, size);
    c->size += size;
}

void capture_start(struct capture *c, uint32_t link_type)
{
    const uint32_t header[6] = {0xa1b23c4d, 2 | 4 << 16, 0, 0, 262144, link_type};
    memset(c, 0, sizeof *c);
    c->now_ns = (int64_t)1700000000 * 1000000000;
    put(c, header, sizeof header);
}

void capture_frame(struct capture *c, const uint8_t *frame, size_t size, size_t wire)
{
    const uint32_t header[4] = {(uint32_t)(c->now_ns / 1000000000), (uint32_t)(c->now_ns % 1000000000),
                                (uint32_t)size, (uint32_t)wire};
    put(c, header, sizeof header);
    put(c, frame, size);
    c->frames++;
}

void capture_end(struct capture *c)
{
    free(c->bytes);
    c->bytes = NULL;
}

/* ---------------------------------------------------------------- packets */

static void put16(uint8_t *at, unsigned value)
{
    at[0] = (uint8_t)(value >> 8);
    at[1] = (uint8_t)value;
}

static void put32(uint8_t *at, uint32_t value)
{
    put16(at, value >> 16);
    put16(at + 2, value & 0xffff);
}

static uint32_t add_words(uint32_t sum, const uint8_t *data, size_t size)
{
    for (size_t i = 0; i < size; i++)
        sum += i & 1 ? data[i] : (uint32_t)data[i] << 8;
    return sum;
}

static uint16_t folded(uint32_t sum)
{
    while (sum >> 16)
        sum = (sum & 0xffff) + (sum >> 16);
    return (uint16_t)~sum;
}

static size_t put_ip(const struct made *m, uint8_t *out, size_t length)
{
    if (m->version == 6) {
        memset(out, 0, 40);
        out[0] = 0x60;
        put16(out + 4, (unsigned)length);
        out[6] = m->protocol;
        out[7] = m->ttl;
        for (size_t i = 0; i < 2; i++) {
            put32(out + 8 + 16 * i, 0x20010db8);
            out[23 + 16 * i] = m->ends[i];
        }
        return 40;
    }
    memset(out, 0, 20);
    out[0] = 0x45;
    put16(out + 2, (unsigned)length + 20);
    put16(out + 4, m->ip_id);
    out[8] = m->ttl;
    out[9] = m->protocol;
    put32(out + 12, 0xc0000200u | m->ends[0]);
    put32(out + 16, 0xc0000200u | m->ends[1]);
    put16(out + 10, folded(add_words(0, out, 20)));
    return 20;
}

static size_t put_transport(const struct made *m, uint8_t *out, size_t n_payload)
{
    if (m->protocol == 17) {
        memset(out, 0, 8);
        put16(out + 4, (unsigned)(8 + n_payload));
    } else if (m->protocol == 6) {
        memset(out, 0, 20);
        put32(out + 4, m->seq);
        put32(out + 8, m->ack);
        put16(out + 12, (unsigned)((20 + m->n_options) / 4 << 12) | (m->flags & 0xfff));
        put16(out + 14, m->window);
        if (m->n_options)
            memcpy(out + 20, m->options, m->n_options);
    } else {
        return 0;                                      /* the payload is all there is */
    }
    put16(out, m->ports[0]);
    put16(out + 2, m->ports[1]);
    return m->protocol == 6 ? 20 + m->n_options : 8;
}

static void set_checksum(const struct made *m, uint8_t *packet, size_t at, size_t length)
{
    static const uint8_t places[4] = {16, 6, 2, 2};
    unsigned which = m->protocol == 6 ? 0 : m->protocol == 17 ? 1 : m->protocol == 1 ? 2 : m->protocol == 58 ? 3 : 4;
    if (which == 4 || length < (size_t)places[which] + 2)
        return;
    uint32_t sum = which == 2 ? 0 : (uint32_t)(m->protocol + length);
    if (which != 2)
        sum = m->version == 6 ? add_words(sum, packet + 8, 32) : add_words(sum, packet + 12, 8);
    put16(packet + at + places[which], 0);
    put16(packet + at + places[which], folded(add_words(sum, packet + at, length)));
}

size_t make_packet(const struct made *m, uint8_t out[MADE_ROOM])
{
    size_t n = m->n_payload < MADE_ROOM - 200 ? m->n_payload : MADE_ROOM - 200;
    size_t ip = m->version == 6 ? 40 : 20;
    size_t header = put_transport(m, out + ip, n);
    put_ip(m, out, header + n);
    if (n)
        memcpy(out + ip + header, m->payload, n);
    set_checksum(m, out, ip, header + n);
    return ip + header + n;
}
