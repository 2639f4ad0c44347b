/* The only code that touches capture bytes.
 *
 * A cursor runs from `at` to `end`; cursor_take either gives `count` readable bytes or NULL, and the loads below take a
 * pointer that cursor_take gave.  No length from the wire is ever added to a pointer: it is compared with what is left. */
#ifndef TSCOPE_CURSOR_H
#define TSCOPE_CURSOR_H

#include <stdbool.h>
#include <stddef.h>
#include <stdint.h>
#include <string.h>

struct cursor {
    const uint8_t *at;
    const uint8_t *end;
};

static inline struct cursor cursor_over(const uint8_t *data, size_t length)
{
    struct cursor c = {data, data + length};
    return c;
}

static inline size_t cursor_left(const struct cursor *c)
{
    return (size_t)(c->end - c->at);
}

/* The next `count` bytes, and step over them; NULL (and no step) where fewer are left. */
static inline const uint8_t *cursor_take(struct cursor *c, size_t count)
{
    if (count > cursor_left(c))
        return NULL;
    const uint8_t *taken = c->at;
    c->at += count;
    return taken;
}

static inline bool cursor_skip(struct cursor *c, size_t count)
{
    return cursor_take(c, count) != NULL;
}

/* Keep at most `count` bytes: what follows is padding. */
static inline void cursor_limit(struct cursor *c, size_t count)
{
    if (count < cursor_left(c))
        c->end = c->at + count;
}

/* A cursor over the next `count` bytes (or over what is left of them), stepping over them. */
static inline struct cursor cursor_sub(struct cursor *c, size_t count)
{
    size_t have = count < cursor_left(c) ? count : cursor_left(c);
    struct cursor sub = {c->at, c->at + have};
    c->at += have;
    return sub;
}

/* 0 where nothing is left: callers that must know ask cursor_left first. */
static inline uint8_t cursor_u8(struct cursor *c)
{
    const uint8_t *p = cursor_take(c, 1);
    return p ? *p : 0;
}

static inline uint16_t load_be16(const uint8_t *p)
{
    return (uint16_t)((uint16_t)p[0] << 8 | p[1]);
}

static inline uint32_t load_be24(const uint8_t *p)
{
    return (uint32_t)p[0] << 16 | (uint32_t)p[1] << 8 | p[2];
}

static inline uint32_t load_be32(const uint8_t *p)
{
    return (uint32_t)p[0] << 24 | (uint32_t)p[1] << 16 | (uint32_t)p[2] << 8 | p[3];
}

/* In the machine's order, or swapped: for file formats that come in both. */
static inline uint16_t load_u16(const uint8_t *p, bool swap)
{
    uint16_t v;
    memcpy(&v, p, sizeof v);
    return swap ? __builtin_bswap16(v) : v;
}

static inline uint32_t load_u32(const uint8_t *p, bool swap)
{
    uint32_t v;
    memcpy(&v, p, sizeof v);
    return swap ? __builtin_bswap32(v) : v;
}

static inline uint64_t load_u64(const uint8_t *p, bool swap)
{
    uint64_t v;
    memcpy(&v, p, sizeof v);
    return swap ? __builtin_bswap64(v) : v;
}

/* Serial number arithmetic (RFC 1982, RFC 9293 section 3.4): a minus b on the circle of 2^32. */
static inline int32_t serial_minus(uint32_t a, uint32_t b)
{
    return (int32_t)(a - b);
}

#endif
