/* Keyed hashing of table keys.
 *
 * Workload: one hash a packet over 40 bytes.  A folded 64x64 multiply per word costs 6 instructions a packet where
 * SipHash costs 130; it has no proof, so the key is drawn per scan and never leaves it.  The key decides slots only:
 * no output may depend on it. */
#ifndef TSCOPE_HASH_H
#define TSCOPE_HASH_H

#include <stddef.h>
#include <stdint.h>
#include <string.h>

struct hash_key {
    uint64_t word[2];
};

static inline uint64_t hash_fold(uint64_t a, uint64_t b)
{
    __extension__ typedef unsigned __int128 wide;
    wide product = (wide)a * b;
    return (uint64_t)product ^ (uint64_t)(product >> 64);
}

/* In the machine's order.  By value: an array to copy into would cost a stack check in each function that hashes. */
static inline uint64_t hash_word(const uint8_t *at)
{
    uint64_t word;
    memcpy(&word, at, sizeof word);
    return word;
}

/* `words` words of 8 bytes, two to a multiplication. */
static inline uint64_t hash_words(const struct hash_key *key, const void *data, size_t words)
{
    const uint8_t *at = data;
    uint64_t h = key->word[0] ^ words;
    for (; words >= 2; words -= 2, at += 16)
        h = hash_fold(h ^ hash_word(at) ^ 0xa0761d6478bd642fu, key->word[1] ^ hash_word(at + 8));
    if (words)
        h = hash_fold(h ^ hash_word(at) ^ 0xe7037ed1a0b428dbu, key->word[1]);
    return hash_fold(h ^ 0x8ebc6af09c88c6e3u, key->word[1]);
}

/* The same of five words: the key of a flow, once a packet. */
static inline uint64_t hash_five(const struct hash_key *key, const uint64_t word[5])
{
    uint64_t h = hash_fold(key->word[0] ^ 5 ^ word[0] ^ 0xa0761d6478bd642fu, key->word[1] ^ word[1]);
    h = hash_fold(h ^ word[2] ^ 0xa0761d6478bd642fu, key->word[1] ^ word[3]);
    h = hash_fold(h ^ word[4] ^ 0xe7037ed1a0b428dbu, key->word[1]);
    return hash_fold(h ^ 0x8ebc6af09c88c6e3u, key->word[1]);
}

/* Bytes of any number. */
static inline uint64_t hash_bytes(const struct hash_key *key, const void *data, size_t length)
{
    const uint8_t *at = data;
    uint64_t h = hash_fold(key->word[0] ^ length, key->word[1] ^ 0xe7037ed1a0b428dbu);
    while (length) {
        uint64_t w = 0;
        size_t n = length < 8 ? length : 8;
        memcpy(&w, at, n);
        h = hash_fold(h ^ w ^ 0xa0761d6478bd642fu, key->word[1]);
        at += n;
        length -= n;
    }
    return hash_fold(h ^ 0x8ebc6af09c88c6e3u, key->word[1] ^ key->word[0]);
}

/* A digest that is the same for every key: for values that are compared and shown, not for tables (FNV-1a, 64 bits,
 * finished so that sums of digests do not cancel). */
static inline uint64_t digest_bytes(uint64_t h, const void *data, size_t length)
{
    const uint8_t *at = data;
    for (size_t i = 0; i < length; i++)
        h = (h ^ at[i]) * 0x100000001b3u;
    return h;
}

static inline uint64_t digest_finish(uint64_t h)
{
    h ^= h >> 33;
    h *= 0xff51afd7ed558ccdu;
    h ^= h >> 33;
    return h ? h : 1;
}

/* The same for short data, a word at a time. */
static inline uint64_t digest_words(const void *data, size_t length)
{
    const uint8_t *at = data;
    uint64_t h = length, rest = 0;
    for (; length >= 8; length -= 8, at += 8)
        h = digest_finish(h ^ hash_word(at));
    if (!length)
        return h;
    memcpy(&rest, at, length);
    return digest_finish(h ^ rest);
}

#define DIGEST_START 0xcbf29ce484222325u

#endif
