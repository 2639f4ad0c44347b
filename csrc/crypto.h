/* AES-128-GCM, SHA-256 and HKDF, as far as QUIC Initials need them.
 *
 * The keys are no secrets: whoever sees an Initial can derive them (RFC 9001 section 5.2).  So tables may be looked up by
 * key and data, and nothing is wiped. */
#ifndef TSCOPE_CRYPTO_H
#define TSCOPE_CRYPTO_H

#include <stdbool.h>
#include <stddef.h>
#include <stdint.h>

enum { AES_BLOCK = 16, AES_ROUNDS = 10, GCM_TAG = 16, GCM_NONCE = 12, SHA256_SIZE = 32, SHA256_BLOCK = 64 };

static inline void store_be32(uint8_t *p, uint32_t v)
{
    p[0] = (uint8_t)(v >> 24);
    p[1] = (uint8_t)(v >> 16);
    p[2] = (uint8_t)(v >> 8);
    p[3] = (uint8_t)v;
}

struct aes_key {
    uint8_t round[AES_ROUNDS + 1][AES_BLOCK];
};

/* The three loops in which the time goes, in plain C or in instructions of the machine. */
struct crypto {
    /* One block into the state (FIPS 180-4 section 6.2.2). */
    void (*compress)(uint32_t state[8], const uint8_t block[SHA256_BLOCK]);
    /* Adds the key stream to the data; the first block's counter is `counter`, then one more each (SP 800-38A 6.5). */
    void (*ctr)(const struct aes_key *key, const uint8_t nonce[GCM_NONCE], uint32_t counter, uint8_t *data,
                size_t length);
    /* GHASH over both, each padded, and their lengths (SP 800-38D section 6.4). */
    void (*ghash)(const uint8_t h[AES_BLOCK], const uint8_t *associated, size_t n_associated, const uint8_t *data,
                  size_t length, uint8_t out[AES_BLOCK]);
};

/* crypto_aes.c, crypto_sha256.c: plain C.  crypto_x86.c: AES-NI, PCLMULQDQ and SHA extensions, where the processor has
 * them. */
void sha256_compress(uint32_t state[8], const uint8_t block[SHA256_BLOCK]);
void aes_ctr(const struct aes_key *key, const uint8_t nonce[GCM_NONCE], uint32_t counter, uint8_t *data, size_t length);
void ghash(const uint8_t h[AES_BLOCK], const uint8_t *associated, size_t n_associated, const uint8_t *data,
           size_t length, uint8_t out[AES_BLOCK]);
struct crypto crypto_portable(void);
struct crypto crypto_of_machine(void);

extern const uint32_t SHA256_ROUND[64];

void aes_set_key(struct aes_key *key, const uint8_t bytes[16]);
void aes_encrypt(const struct crypto *c, const struct aes_key *key, const uint8_t in[AES_BLOCK], uint8_t out[AES_BLOCK]);
/* Encrypts in place and writes the tag behind it. */
void gcm_seal(const struct crypto *c, const struct aes_key *key, const uint8_t nonce[GCM_NONCE],
              const uint8_t *associated, size_t n_associated, uint8_t *data, size_t length);
/* `length` counts the tag.  Decrypts in place; false, and nothing touched, where the tag is wrong. */
bool gcm_open(const struct crypto *c, const struct aes_key *key, const uint8_t nonce[GCM_NONCE],
              const uint8_t *associated, size_t n_associated, uint8_t *data, size_t length);

/* An HMAC key of at most one block, already hashed in both its places (RFC 2104). */
struct hmac_key {
    uint32_t inner[8], outer[8];
};

enum { HMAC_MESSAGE = SHA256_BLOCK - 9 };              /* what fits into one block with its length */

void hmac_set_key(const struct crypto *c, struct hmac_key *key, const uint8_t *bytes, size_t length);
void hmac(const struct crypto *c, const struct hmac_key *key, const uint8_t *message, size_t length,
          uint8_t out[SHA256_SIZE]);
/* HKDF-Expand-Label with an empty context (RFC 8446 section 7.1); label of at most 18 bytes, at most 32 bytes out. */
void hkdf_expand_label(const struct crypto *c, const struct hmac_key *secret, const char *label, uint8_t *out,
                       size_t length);

#endif
