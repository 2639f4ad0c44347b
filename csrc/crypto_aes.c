/* AES-128 (FIPS 197) and GCM (SP 800-38D) in plain C.
 *
 * One table of 1 KiB serves rounds, last round and key schedule: entry x is the column (2s, s, s, 3s) of s = S-box(x). */
#include "crypto.h"

#include <string.h>

#include "cursor.h"

static const uint32_t COLUMN[256] = {
    0xc66363a5, 0xf87c7c84, 0xee777799, 0xf67b7b8d, 0xfff2f20d, 0xd66b6bbd, 0xde6f6fb1, 0x91c5c554,
    0x60303050, 0x02010103, 0xce6767a9, 0x562b2b7d, 0xe7fefe19, 0xb5d7d762, 0x4dababe6, 0xec76769a,
    0x8fcaca45, 0x1f82829d, 0x89c9c940, 0xfa7d7d87, 0xeffafa15, 0xb25959eb, 0x8e4747c9, 0xfbf0f00b,
    0x41adadec, 0xb3d4d467, 0x5fa2a2fd, 0x45afafea, 0x239c9cbf, 0x53a4a4f7, 0xe4727296, 0x9bc0c05b,
    0x75b7b7c2, 0xe1fdfd1c, 0x3d9393ae, 0x4c26266a, 0x6c36365a, 0x7e3f3f41, 0xf5f7f702, 0x83cccc4f,
    0x6834345c, 0x51a5a5f4, 0xd1e5e534, 0xf9f1f108, 0xe2717193, 0xabd8d873, 0x62313153, 0x2a15153f,
    0x0804040c, 0x95c7c752, 0x46232365, 0x9dc3c35e, 0x30181828, 0x379696a1, 0x0a05050f, 0x2f9a9ab5,
    0x0e070709, 0x24121236, 0x1b80809b, 0xdfe2e23d, 0xcdebeb26, 0x4e272769, 0x7fb2b2cd, 0xea75759f,
    0x1209091b, 0x1d83839e, 0x582c2c74, 0x341a1a2e, 0x361b1b2d, 0xdc6e6eb2, 0xb45a5aee, 0x5ba0a0fb,
    0xa45252f6, 0x763b3b4d, 0xb7d6d661, 0x7db3b3ce, 0x5229297b, 0xdde3e33e, 0x5e2f2f71, 0x13848497,
    0xa65353f5, 0xb9d1d168, 0x00000000, 0xc1eded2c, 0x40202060, 0xe3fcfc1f, 0x79b1b1c8, 0xb65b5bed,
    0xd46a6abe, 0x8dcbcb46, 0x67bebed9, 0x7239394b, 0x944a4ade, 0x984c4cd4, 0xb05858e8, 0x85cfcf4a,
    0xbbd0d06b, 0xc5efef2a, 0x4faaaae5, 0xedfbfb16, 0x864343c5, 0x9a4d4dd7, 0x66333355, 0x11858594,
    0x8a4545cf, 0xe9f9f910, 0x04020206, 0xfe7f7f81, 0xa05050f0, 0x783c3c44, 0x259f9fba, 0x4ba8a8e3,
    0xa25151f3, 0x5da3a3fe, 0x804040c0, 0x058f8f8a, 0x3f9292ad, 0x219d9dbc, 0x70383848, 0xf1f5f504,
    0x63bcbcdf, 0x77b6b6c1, 0xafdada75, 0x42212163, 0x20101030, 0xe5ffff1a, 0xfdf3f30e, 0xbfd2d26d,
    0x81cdcd4c, 0x180c0c14, 0x26131335, 0xc3ecec2f, 0xbe5f5fe1, 0x359797a2, 0x884444cc, 0x2e171739,
    0x93c4c457, 0x55a7a7f2, 0xfc7e7e82, 0x7a3d3d47, 0xc86464ac, 0xba5d5de7, 0x3219192b, 0xe6737395,
    0xc06060a0, 0x19818198, 0x9e4f4fd1, 0xa3dcdc7f, 0x44222266, 0x542a2a7e, 0x3b9090ab, 0x0b888883,
    0x8c4646ca, 0xc7eeee29, 0x6bb8b8d3, 0x2814143c, 0xa7dede79, 0xbc5e5ee2, 0x160b0b1d, 0xaddbdb76,
    0xdbe0e03b, 0x64323256, 0x743a3a4e, 0x140a0a1e, 0x924949db, 0x0c06060a, 0x4824246c, 0xb85c5ce4,
    0x9fc2c25d, 0xbdd3d36e, 0x43acacef, 0xc46262a6, 0x399191a8, 0x319595a4, 0xd3e4e437, 0xf279798b,
    0xd5e7e732, 0x8bc8c843, 0x6e373759, 0xda6d6db7, 0x018d8d8c, 0xb1d5d564, 0x9c4e4ed2, 0x49a9a9e0,
    0xd86c6cb4, 0xac5656fa, 0xf3f4f407, 0xcfeaea25, 0xca6565af, 0xf47a7a8e, 0x47aeaee9, 0x10080818,
    0x6fbabad5, 0xf0787888, 0x4a25256f, 0x5c2e2e72, 0x381c1c24, 0x57a6a6f1, 0x73b4b4c7, 0x97c6c651,
    0xcbe8e823, 0xa1dddd7c, 0xe874749c, 0x3e1f1f21, 0x964b4bdd, 0x61bdbddc, 0x0d8b8b86, 0x0f8a8a85,
    0xe0707090, 0x7c3e3e42, 0x71b5b5c4, 0xcc6666aa, 0x904848d8, 0x06030305, 0xf7f6f601, 0x1c0e0e12,
    0xc26161a3, 0x6a35355f, 0xae5757f9, 0x69b9b9d0, 0x17868691, 0x99c1c158, 0x3a1d1d27, 0x279e9eb9,
    0xd9e1e138, 0xebf8f813, 0x2b9898b3, 0x22111133, 0xd26969bb, 0xa9d9d970, 0x078e8e89, 0x339494a7,
    0x2d9b9bb6, 0x3c1e1e22, 0x15878792, 0xc9e9e920, 0x87cece49, 0xaa5555ff, 0x50282878, 0xa5dfdf7a,
    0x038c8c8f, 0x59a1a1f8, 0x09898980, 0x1a0d0d17, 0x65bfbfda, 0xd7e6e631, 0x844242c6, 0xd06868b8,
    0x824141c3, 0x299999b0, 0x5a2d2d77, 0x1e0f0f11, 0x7bb0b0cb, 0xa85454fc, 0x6dbbbbd6, 0x2c16163a,
};

static uint8_t substitute(uint32_t byte)
{
    return (uint8_t)(COLUMN[byte & 0xff] >> 8);
}

static uint32_t rotate_right(uint32_t v, unsigned bits)
{
    return v >> bits | v << (32 - bits);
}

static uint32_t substitute_word(uint32_t v)
{
    return (uint32_t)substitute(v >> 24) << 24 | (uint32_t)substitute(v >> 16) << 16 |
           (uint32_t)substitute(v >> 8) << 8 | substitute(v);
}

void aes_set_key(struct aes_key *key, const uint8_t bytes[16])
{
    uint32_t w[4], constant = 1;
    for (unsigned i = 0; i < 4; i++)
        w[i] = load_be32(bytes + 4 * i);
    memcpy(key->round[0], bytes, AES_BLOCK);
    for (unsigned round = 1; round <= AES_ROUNDS; round++) {
        w[0] ^= substitute_word(rotate_right(w[3], 24)) ^ constant << 24;
        for (unsigned i = 1; i < 4; i++)
            w[i] ^= w[i - 1];
        for (unsigned i = 0; i < 4; i++)
            store_be32(key->round[round] + 4 * i, w[i]);
        constant = constant & 0x80 ? constant << 1 ^ 0x11b : constant << 1;
    }
}

/* SubBytes, ShiftRows and MixColumns of one column. */
static uint32_t mix(uint32_t a, uint32_t b, uint32_t c, uint32_t d)
{
    return COLUMN[a >> 24] ^ rotate_right(COLUMN[b >> 16 & 0xff], 8) ^ rotate_right(COLUMN[c >> 8 & 0xff], 16) ^
           rotate_right(COLUMN[d & 0xff], 24);
}

static uint32_t last(uint32_t a, uint32_t b, uint32_t c, uint32_t d)
{
    return (uint32_t)substitute(a >> 24) << 24 | (uint32_t)substitute(b >> 16) << 16 |
           (uint32_t)substitute(c >> 8) << 8 | substitute(d);
}

static void encrypt(const struct aes_key *key, const uint32_t in[4], uint8_t out[AES_BLOCK])
{
    const uint8_t *k = key->round[0];
    uint32_t a = in[0] ^ load_be32(k), b = in[1] ^ load_be32(k + 4);
    uint32_t c = in[2] ^ load_be32(k + 8), d = in[3] ^ load_be32(k + 12);
    for (unsigned round = 1; round < AES_ROUNDS; round++) {
        k = key->round[round];
        uint32_t next_a = mix(a, b, c, d) ^ load_be32(k), next_b = mix(b, c, d, a) ^ load_be32(k + 4);
        uint32_t next_c = mix(c, d, a, b) ^ load_be32(k + 8);
        d = mix(d, a, b, c) ^ load_be32(k + 12);
        a = next_a;
        b = next_b;
        c = next_c;
    }
    k = key->round[AES_ROUNDS];
    store_be32(out, last(a, b, c, d) ^ load_be32(k));
    store_be32(out + 4, last(b, c, d, a) ^ load_be32(k + 4));
    store_be32(out + 8, last(c, d, a, b) ^ load_be32(k + 8));
    store_be32(out + 12, last(d, a, b, c) ^ load_be32(k + 12));
}

static void add(uint8_t *data, const uint8_t stream[AES_BLOCK])
{
    uint64_t a[2], b[2];
    memcpy(a, data, sizeof a);
    memcpy(b, stream, sizeof b);
    a[0] ^= b[0];
    a[1] ^= b[1];
    memcpy(data, a, sizeof a);
}

void aes_ctr(const struct aes_key *key, const uint8_t nonce[GCM_NONCE], uint32_t counter, uint8_t *data, size_t length)
{
    uint32_t block[4] = {load_be32(nonce), load_be32(nonce + 4), load_be32(nonce + 8), counter};
    uint8_t stream[AES_BLOCK];
    for (; length >= AES_BLOCK; data += AES_BLOCK, length -= AES_BLOCK, block[3]++) {
        encrypt(key, block, stream);
        add(data, stream);
    }
    if (length)
        encrypt(key, block, stream);
    for (size_t i = 0; i < length; i++)
        data[i] ^= stream[i];
}

/* ---------------------------------------------------------------- GHASH */

/* An element of GF(2^128); bit 0 of the standard is the highest bit of `high`. */
struct element {
    uint64_t high, low;
};

/* Multiples of H by each value of a byte's upper and lower half: a byte costs two look-ups. */
struct multiples {
    struct element upper[16], lower[16];
};

static struct element times_x(struct element v)
{
    uint64_t carry = v.low & 1 ? (uint64_t)0xe1 << 56 : 0;
    return (struct element){v.high >> 1 ^ carry, v.low >> 1 | v.high << 63};
}

static void fill(struct element table[16], struct element *v)
{
    table[0] = (struct element){0, 0};
    for (unsigned bit = 8; bit; bit >>= 1, *v = times_x(*v))
        table[bit] = *v;
    for (unsigned i = 1; i < 16; i++) {                /* without its lowest bit, i is done already */
        struct element rest = table[i & (i - 1)], lowest = table[i & -i];
        table[i] = (struct element){rest.high ^ lowest.high, rest.low ^ lowest.low};
    }
}

static uint64_t load_be64(const uint8_t *p)
{
    return (uint64_t)load_be32(p) << 32 | load_be32(p + 4);
}

/* What four bits that are shifted out at the low end come back as, at the high end. */
static const uint64_t COMES_BACK[16] = {
    0x0000, 0x1c20, 0x3840, 0x2460, 0x7080, 0x6ca0, 0x48c0, 0x54e0,
    0xe100, 0xfd20, 0xd940, 0xc560, 0x9180, 0x8da0, 0xa9c0, 0xb5e0,
};

/* Eight bytes of a factor, the last one first. */
static inline struct element step(const struct multiples *m, struct element z, uint64_t bytes)
{
    for (unsigned i = 0; i < 8; i++, bytes >>= 8) {
        const struct element *u = &m->upper[bytes >> 4 & 15], *l = &m->lower[bytes & 15];
        uint64_t back = COMES_BACK[z.low & 15] << 44 ^ COMES_BACK[z.low >> 4 & 15] << 48;
        z.low = (z.low >> 8 | z.high << 56) ^ u->low ^ l->low;
        z.high = z.high >> 8 ^ back ^ u->high ^ l->high;
    }
    return z;
}

static struct element times_h(const struct multiples *m, struct element y)
{
    struct element z = {0, 0};
    z = step(m, z, y.low);
    return step(m, z, y.high);
}

static struct element absorb(const struct multiples *m, struct element y, const uint8_t *data, size_t length)
{
    uint8_t rest[AES_BLOCK] = {0};
    for (; length >= AES_BLOCK; data += AES_BLOCK, length -= AES_BLOCK)
        y = times_h(m, (struct element){y.high ^ load_be64(data), y.low ^ load_be64(data + 8)});
    if (!length)
        return y;
    memcpy(rest, data, length);
    return times_h(m, (struct element){y.high ^ load_be64(rest), y.low ^ load_be64(rest + 8)});
}

void ghash(const uint8_t h[AES_BLOCK], const uint8_t *associated, size_t n_associated, const uint8_t *data,
           size_t length, uint8_t out[AES_BLOCK])
{
    struct multiples m;
    struct element v = {load_be64(h), load_be64(h + 8)}, y = {0, 0};
    fill(m.upper, &v);
    fill(m.lower, &v);
    y = absorb(&m, y, associated, n_associated);
    y = absorb(&m, y, data, length);
    y = times_h(&m, (struct element){y.high ^ 8 * (uint64_t)n_associated, y.low ^ 8 * (uint64_t)length});
    for (unsigned i = 0; i < 2; i++) {
        store_be32(out + 8 * i, (uint32_t)((i ? y.low : y.high) >> 32));
        store_be32(out + 8 * i + 4, (uint32_t)(i ? y.low : y.high));
    }
}

/* ---------------------------------------------------------------- GCM */

struct crypto crypto_portable(void)
{
    return (struct crypto){sha256_compress, aes_ctr, ghash};
}

/* A counter block over zeroes is the cipher itself. */
void aes_encrypt(const struct crypto *c, const struct aes_key *key, const uint8_t in[AES_BLOCK], uint8_t out[AES_BLOCK])
{
    uint8_t block[AES_BLOCK] = {0};
    c->ctr(key, in, load_be32(in + GCM_NONCE), block, AES_BLOCK);
    memcpy(out, block, AES_BLOCK);
}

static void make_tag(const struct crypto *c, const struct aes_key *key, const uint8_t nonce[GCM_NONCE],
                     const uint8_t *associated, size_t n_associated, const uint8_t *data, size_t length,
                     uint8_t tag[GCM_TAG])
{
    uint8_t h[AES_BLOCK] = {0};
    aes_encrypt(c, key, h, h);
    c->ghash(h, associated, n_associated, data, length, tag);
    c->ctr(key, nonce, 1, tag, GCM_TAG);
}

void gcm_seal(const struct crypto *c, const struct aes_key *key, const uint8_t nonce[GCM_NONCE],
              const uint8_t *associated, size_t n_associated, uint8_t *data, size_t length)
{
    c->ctr(key, nonce, 2, data, length);
    make_tag(c, key, nonce, associated, n_associated, data, length, data + length);
}

bool gcm_open(const struct crypto *c, const struct aes_key *key, const uint8_t nonce[GCM_NONCE],
              const uint8_t *associated, size_t n_associated, uint8_t *data, size_t length)
{
    uint8_t tag[GCM_TAG];
    if (length < GCM_TAG)
        return false;
    length -= GCM_TAG;
    make_tag(c, key, nonce, associated, n_associated, data, length, tag);
    if (memcmp(tag, data + length, GCM_TAG))
        return false;
    c->ctr(key, nonce, 2, data, length);
    return true;
}
