/* SHA-256 (FIPS 180-4), HMAC (RFC 2104) and HKDF-Expand-Label (RFC 8446 section 7.1).
 *
 * Workload: 14 compressions an Initial, nearly all of them over blocks that are made here.  So messages are of one block,
 * and a key's two blocks are hashed once for all messages under it. */
#include "crypto.h"

#include <string.h>

#include "cursor.h"

const uint32_t SHA256_ROUND[64] = {
    0x428a2f98, 0x71374491, 0xb5c0fbcf, 0xe9b5dba5, 0x3956c25b, 0x59f111f1, 0x923f82a4, 0xab1c5ed5,
    0xd807aa98, 0x12835b01, 0x243185be, 0x550c7dc3, 0x72be5d74, 0x80deb1fe, 0x9bdc06a7, 0xc19bf174,
    0xe49b69c1, 0xefbe4786, 0x0fc19dc6, 0x240ca1cc, 0x2de92c6f, 0x4a7484aa, 0x5cb0a9dc, 0x76f988da,
    0x983e5152, 0xa831c66d, 0xb00327c8, 0xbf597fc7, 0xc6e00bf3, 0xd5a79147, 0x06ca6351, 0x14292967,
    0x27b70a85, 0x2e1b2138, 0x4d2c6dfc, 0x53380d13, 0x650a7354, 0x766a0abb, 0x81c2c92e, 0x92722c85,
    0xa2bfe8a1, 0xa81a664b, 0xc24b8b70, 0xc76c51a3, 0xd192e819, 0xd6990624, 0xf40e3585, 0x106aa070,
    0x19a4c116, 0x1e376c08, 0x2748774c, 0x34b0bcb5, 0x391c0cb3, 0x4ed8aa4a, 0x5b9cca4f, 0x682e6ff3,
    0x748f82ee, 0x78a5636f, 0x84c87814, 0x8cc70208, 0x90befffa, 0xa4506ceb, 0xbef9a3f7, 0xc67178f2,
};

static const uint32_t START[8] = {
    0x6a09e667, 0xbb67ae85, 0x3c6ef372, 0xa54ff53a, 0x510e527f, 0x9b05688c, 0x1f83d9ab, 0x5be0cd19,
};

static inline uint32_t right(uint32_t v, unsigned bits)
{
    return v >> bits | v << (32 - bits);
}

/* The two sums are nested, so that three rotations need no copies: right(a, 2) ^ right(a, 13) ^ right(a, 22), say. */
static inline uint32_t sum0(uint32_t a)
{
    return right(right(right(a, 9) ^ a, 11) ^ a, 2);
}
static inline uint32_t sum1(uint32_t e)
{
    return right(right(right(e, 14) ^ e, 5) ^ e, 6);
}

static void schedule(uint32_t w[64], const uint8_t block[SHA256_BLOCK])
{
    for (unsigned i = 0; i < 16; i++)
        w[i] = load_be32(block + 4 * i);
    for (unsigned i = 16; i < 64; i++) {
        uint32_t a = w[i - 15], b = w[i - 2];
        w[i] = w[i - 16] + w[i - 7] + (right(right(a, 11) ^ a, 7) ^ a >> 3) + (right(right(b, 2) ^ b, 17) ^ b >> 10);
    }
}

/* One round without moving the eight words: the caller turns their names. */
#define ROUND(a, b, c, d, e, f, g, h, i)                                                                               \
    do {                                                                                                               \
        uint32_t t = (h) + sum1(e) + ((((f) ^ (g)) & (e)) ^ (g)) + SHA256_ROUND[i] + w[i];                              \
        (d) += t;                                                                                                      \
        (h) = t + sum0(a) + ((((a) | (c)) & (b)) | ((a) & (c)));                                                       \
    } while (0)

void sha256_compress(uint32_t state[8], const uint8_t block[SHA256_BLOCK])
{
    uint32_t w[64];
    uint32_t a = state[0], b = state[1], c = state[2], d = state[3];
    uint32_t e = state[4], f = state[5], g = state[6], h = state[7];
    schedule(w, block);
    for (unsigned i = 0; i < 64; i += 8) {
        ROUND(a, b, c, d, e, f, g, h, i);
        ROUND(h, a, b, c, d, e, f, g, i + 1);
        ROUND(g, h, a, b, c, d, e, f, i + 2);
        ROUND(f, g, h, a, b, c, d, e, i + 3);
        ROUND(e, f, g, h, a, b, c, d, i + 4);
        ROUND(d, e, f, g, h, a, b, c, i + 5);
        ROUND(c, d, e, f, g, h, a, b, i + 6);
        ROUND(b, c, d, e, f, g, h, a, i + 7);
    }
    const uint32_t after[8] = {a, b, c, d, e, f, g, h};
    for (unsigned i = 0; i < 8; i++)
        state[i] += after[i];
}

/* ---------------------------------------------------------------- HMAC, HKDF */

static void store_words(uint8_t *out, const uint32_t words[8])
{
    for (unsigned i = 0; i < 8; i++)
        store_be32(out + 4 * i, words[i]);
}

static void hash_pad(const struct crypto *c, uint32_t state[8], const uint8_t *bytes, size_t length, uint8_t pad)
{
    uint8_t block[SHA256_BLOCK];
    memset(block, pad, sizeof block);
    for (size_t i = 0; i < length; i++)
        block[i] ^= bytes[i];
    memcpy(state, START, sizeof START);
    c->compress(state, block);
}

void hmac_set_key(const struct crypto *c, struct hmac_key *key, const uint8_t *bytes, size_t length)
{
    hash_pad(c, key->inner, bytes, length, 0x36);
    hash_pad(c, key->outer, bytes, length, 0x5c);
}

/* The last block of a message of which one block, the key's, came before. */
static void hash_last(const struct crypto *c, const uint32_t before[8], const uint8_t *message, size_t length,
                      uint8_t out[SHA256_SIZE])
{
    uint8_t block[SHA256_BLOCK] = {0};
    uint32_t state[8];
    size_t bits = 8 * (SHA256_BLOCK + length);
    memcpy(state, before, sizeof state);
    memcpy(block, message, length);
    block[length] = 0x80;
    block[SHA256_BLOCK - 2] = (uint8_t)(bits >> 8);
    block[SHA256_BLOCK - 1] = (uint8_t)bits;
    c->compress(state, block);
    store_words(out, state);
}

void hmac(const struct crypto *c, const struct hmac_key *key, const uint8_t *message, size_t length,
          uint8_t out[SHA256_SIZE])
{
    uint8_t inner[SHA256_SIZE];
    hash_last(c, key->inner, message, length, inner);
    hash_last(c, key->outer, inner, sizeof inner, out);
}

void hkdf_expand_label(const struct crypto *c, const struct hmac_key *secret, const char *label, uint8_t *out,
                       size_t length)
{
    static const char prefix[] = "tls13 ";
    uint8_t info[HMAC_MESSAGE], block[SHA256_SIZE];
    size_t n = strlen(label), at = 3 + sizeof prefix - 1;
    info[0] = 0;
    info[1] = (uint8_t)length;
    info[2] = (uint8_t)(sizeof prefix - 1 + n);
    memcpy(info + 3, prefix, sizeof prefix - 1);
    memcpy(info + at, label, n);
    info[at + n] = 0;                                  /* the context's length */
    info[at + n + 1] = 1;                              /* the number of the first, and only, block */
    hmac(c, secret, info, at + n + 2, block);
    memcpy(out, block, length);
}
