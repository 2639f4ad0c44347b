/* The key of a packet's flow: its two ends in an order that both directions share, and their hash. */
#ifndef TSCOPE_KEY_H
#define TSCOPE_KEY_H

#include "core.h"

/* The ends of a packet, sender first, in the machine's words as they lie in memory. */
struct ends {
    uint64_t high[2], low[2];     /* of the addresses */
    uint64_t port[2];
};

#if defined(__BYTE_ORDER__) && __BYTE_ORDER__ == __ORDER_BIG_ENDIAN__
#define KEY_PORT(end, port) ((port) << (48 - 16 * (end)))
#define KEY_PROTOCOL(protocol) ((uint64_t)(protocol) << 24)
#define KEY_IPV4(address) (0x0000ffff00000000u | (uint64_t)(address))
#else
#define KEY_PORT(end, port) ((port) << (16 * (end)))
#define KEY_PROTOCOL(protocol) ((uint64_t)(protocol) << 32)
#define KEY_IPV4(address) (0x00000000ffff0000u | (uint64_t)(address) << 32)
#endif

static inline void swap_where(uint64_t mask, uint64_t *a, uint64_t *b)
{
    uint64_t unlike = (*a ^ *b) & mask;
    *a ^= unlike;
    *b ^= unlike;
}

/* Which of the ends comes first is as good as random, so they are exchanged without a branch: a wrong guess costs the
 * processor some 20 cycles.  Words are hashed as they are stored: what was just written in halves cannot be loaded whole
 * at once. */
static inline void key_set(struct packet *p, struct ends e, uint8_t protocol, const struct hash_key *hash)
{
    bool turned = e.high[0] > e.high[1];
    if (e.high[0] == e.high[1])
        turned = e.low[0] > e.low[1] || (e.low[0] == e.low[1] && e.port[0] > e.port[1]);
    uint64_t mask = -(uint64_t)turned;
    swap_where(mask, &e.high[0], &e.high[1]);
    swap_where(mask, &e.low[0], &e.low[1]);
    swap_where(mask, &e.port[0], &e.port[1]);
    uint64_t words[5] = {e.high[0], e.low[0], e.high[1], e.low[1],
                         KEY_PORT(0, e.port[0]) | KEY_PORT(1, e.port[1]) | KEY_PROTOCOL(protocol)};
    p->hash = hash_five(hash, words);
    memcpy(&p->key, words, sizeof p->key);
    p->from = turned;
}

#endif
