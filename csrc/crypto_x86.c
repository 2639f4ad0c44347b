/* The same three loops in instructions that x86-64 processors have had since 2010 (AES-NI, PCLMULQDQ) and 2016 (SHA).
 *
 * Each function is compiled for its instructions alone, and called only where the processor says that it has them: the
 * library still runs everywhere.  Other machines, and builds with TSCOPE_PLAIN_C, take the plain code, in which an Initial
 * costs about five times as much. */
#include "crypto.h"

#if defined __x86_64__ && !defined TSCOPE_PLAIN_C

#include <cpuid.h>
#include <immintrin.h>
#include <string.h>

#define FOR_SHA __attribute__((target("sha,sse4.1,ssse3")))
#define FOR_AES __attribute__((target("aes,sse4.1,ssse3")))
#define FOR_CLMUL __attribute__((target("pclmul,sse4.1,ssse3")))

static inline __m128i load(const void *p)
{
    return _mm_loadu_si128((const __m128i *)p);
}

static inline void store(void *p, __m128i v)
{
    _mm_storeu_si128((__m128i *)p, v);
}

/* ---------------------------------------------------------------- SHA-256 */

/* The instructions want the eight words as (a, b, e, f) and (c, d, g, h), highest first. */
FOR_SHA static void sha_compress(uint32_t state[8], const uint8_t block[SHA256_BLOCK])
{
    const __m128i swap = _mm_set_epi64x(0x0c0d0e0f08090a0b, 0x0405060700010203);
    __m128i badc = _mm_shuffle_epi32(load(state), 0xb1), hgfe = _mm_shuffle_epi32(load(state + 4), 0x1b);
    __m128i abef = _mm_alignr_epi8(badc, hgfe, 8), cdgh = _mm_blend_epi16(hgfe, badc, 0xf0);
    const __m128i abef_before = abef, cdgh_before = cdgh;
    __m128i w0 = _mm_shuffle_epi8(load(block), swap), w1 = _mm_shuffle_epi8(load(block + 16), swap);
    __m128i w2 = _mm_shuffle_epi8(load(block + 32), swap), w3 = _mm_shuffle_epi8(load(block + 48), swap);
    for (unsigned i = 0; i < 64; i += 4) {             /* four rounds, and the four words that come 16 later */
        __m128i sum = _mm_add_epi32(w0, load(SHA256_ROUND + i));
        cdgh = _mm_sha256rnds2_epu32(cdgh, abef, sum);
        abef = _mm_sha256rnds2_epu32(abef, cdgh, _mm_shuffle_epi32(sum, 0x0e));
        __m128i next = _mm_add_epi32(_mm_sha256msg1_epu32(w0, w1), _mm_alignr_epi8(w3, w2, 4));
        w0 = w1;
        w1 = w2;
        w2 = w3;
        w3 = _mm_sha256msg2_epu32(next, w3);
    }
    __m128i feba = _mm_shuffle_epi32(_mm_add_epi32(abef, abef_before), 0x1b);
    __m128i dchg = _mm_shuffle_epi32(_mm_add_epi32(cdgh, cdgh_before), 0xb1);
    store(state, _mm_blend_epi16(feba, dchg, 0xf0));
    store(state + 4, _mm_alignr_epi8(dchg, feba, 8));
}

/* ---------------------------------------------------------------- AES */

enum { WIDE = 4 };                                     /* blocks at once: an AESENC takes four times as long as it blocks */

/* The key stream of WIDE counter blocks. */
FOR_AES static void stream_blocks(const struct aes_key *key, __m128i block[WIDE])
{
    __m128i k = load(key->round[0]);
    __m128i a = _mm_xor_si128(block[0], k), b = _mm_xor_si128(block[1], k);
    __m128i c = _mm_xor_si128(block[2], k), d = _mm_xor_si128(block[3], k);
    for (unsigned round = 1; round < AES_ROUNDS; round++) {
        k = load(key->round[round]);
        a = _mm_aesenc_si128(a, k);
        b = _mm_aesenc_si128(b, k);
        c = _mm_aesenc_si128(c, k);
        d = _mm_aesenc_si128(d, k);
    }
    k = load(key->round[AES_ROUNDS]);
    block[0] = _mm_aesenclast_si128(a, k);
    block[1] = _mm_aesenclast_si128(b, k);
    block[2] = _mm_aesenclast_si128(c, k);
    block[3] = _mm_aesenclast_si128(d, k);
}

FOR_AES static void aesni_ctr(const struct aes_key *key, const uint8_t nonce[GCM_NONCE], uint32_t counter,
                              uint8_t *data, size_t length)
{
    __m128i first = _mm_setzero_si128(), block[WIDE];
    memcpy(&first, nonce, GCM_NONCE);
    for (size_t at = 0; at < length; at += sizeof block, counter += WIDE) {
        uint8_t rest[sizeof block];
        for (unsigned i = 0; i < WIDE; i++)
            block[i] = _mm_insert_epi32(first, (int)__builtin_bswap32(counter + i), 3);
        stream_blocks(key, block);
        size_t n = length - at;
        uint8_t *to = n < sizeof block ? memcpy(rest, data + at, n) : data + at;
        for (unsigned i = 0; i < WIDE; i++)
            store(to + AES_BLOCK * i, _mm_xor_si128(load(to + AES_BLOCK * i), block[i]));
        if (n < sizeof block)
            memcpy(data + at, rest, n);
    }
}

/* ---------------------------------------------------------------- GHASH */

/* The product of two elements, bytes reversed, before reduction: low and high half.  Multiplying reflected bits gives a
 * product that is one bit too far down, so it is moved up by one. */
FOR_CLMUL static inline void multiply(__m128i a, __m128i b, __m128i *low, __m128i *high)
{
    __m128i l = _mm_clmulepi64_si128(a, b, 0x00), h = _mm_clmulepi64_si128(a, b, 0x11);
    __m128i middle = _mm_xor_si128(_mm_clmulepi64_si128(a, b, 0x10), _mm_clmulepi64_si128(a, b, 0x01));
    l = _mm_xor_si128(l, _mm_slli_si128(middle, 8));
    h = _mm_xor_si128(h, _mm_srli_si128(middle, 8));
    __m128i l_carry = _mm_srli_epi64(l, 63), h_carry = _mm_srli_epi64(h, 63);
    *low = _mm_or_si128(_mm_slli_epi64(l, 1), _mm_slli_si128(l_carry, 8));
    *high = _mm_or_si128(_mm_or_si128(_mm_slli_epi64(h, 1), _mm_slli_si128(h_carry, 8)), _mm_srli_si128(l_carry, 8));
}

/* Modulo x^128 + x^7 + x^2 + x + 1: the low half comes back at 0, 1, 2 and 7 bits below the high one. */
FOR_CLMUL static inline __m128i reduce(__m128i low, __m128i high)
{
    __m128i out = _mm_xor_si128(_mm_xor_si128(_mm_slli_epi64(low, 63), _mm_slli_epi64(low, 62)),
                                _mm_slli_epi64(low, 57));
    low = _mm_xor_si128(low, _mm_slli_si128(out, 8));
    __m128i back = _mm_xor_si128(_mm_xor_si128(_mm_srli_epi64(low, 1), _mm_srli_epi64(low, 2)), _mm_srli_epi64(low, 7));
    return _mm_xor_si128(_mm_xor_si128(high, low), _mm_xor_si128(back, _mm_srli_si128(out, 8)));
}

FOR_CLMUL static inline __m128i times(__m128i a, __m128i b)
{
    __m128i low, high;
    multiply(a, b, &low, &high);
    return reduce(low, high);
}

FOR_CLMUL static __m128i absorb(__m128i h, __m128i y, const uint8_t *data, size_t length)
{
    const __m128i reverse = _mm_set_epi64x(0x0001020304050607, 0x08090a0b0c0d0e0f);
    uint8_t rest[AES_BLOCK] = {0};
    for (; length >= AES_BLOCK; data += AES_BLOCK, length -= AES_BLOCK)
        y = times(_mm_xor_si128(y, _mm_shuffle_epi8(load(data), reverse)), h);
    if (!length)
        return y;
    memcpy(rest, data, length);
    return times(_mm_xor_si128(y, _mm_shuffle_epi8(load(rest), reverse)), h);
}

FOR_CLMUL static void clmul_ghash(const uint8_t h[AES_BLOCK], const uint8_t *associated, size_t n_associated,
                                  const uint8_t *data, size_t length, uint8_t out[AES_BLOCK])
{
    const __m128i reverse = _mm_set_epi64x(0x0001020304050607, 0x08090a0b0c0d0e0f);
    __m128i key = _mm_shuffle_epi8(load(h), reverse);
    __m128i y = absorb(key, _mm_setzero_si128(), associated, n_associated);
    y = absorb(key, y, data, length);
    __m128i lengths = _mm_set_epi64x((long long)(8 * n_associated), (long long)(8 * length));
    y = times(_mm_xor_si128(y, lengths), key);
    store(out, _mm_shuffle_epi8(y, reverse));
}

/* ---------------------------------------------------------------- choice */

struct crypto crypto_of_machine(void)
{
    struct crypto c = crypto_portable();
    unsigned eax, ebx, ecx, edx;
    if (!__get_cpuid(1, &eax, &ebx, &ecx, &edx) || !(ecx & bit_SSSE3) || !(ecx & bit_SSE4_1))
        return c;
    if (ecx & bit_AES)
        c.ctr = aesni_ctr;
    if (ecx & bit_PCLMUL)
        c.ghash = clmul_ghash;
    if (__get_cpuid_count(7, 0, &eax, &ebx, &ecx, &edx) && (ebx & bit_SHA))
        c.compress = sha_compress;
    return c;
}

#else

struct crypto crypto_of_machine(void)
{
    return crypto_portable();
}

#endif
