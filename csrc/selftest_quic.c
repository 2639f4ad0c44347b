/* Known answers of the ciphers and of QUIC: FIPS 180-4 and 197, SP 800-38D, RFC 9001 appendix A, RFC 9369 appendix A. */
#include "memory.h"
#include "scan.h"

#define CHECK(condition)                                                                                               \
    do {                                                                                                               \
        if (!(condition))                                                                                              \
            return __func__;                                                                                           \
    } while (0)

static uint8_t digit(char c)
{
    return (uint8_t)(c <= '9' ? c - '0' : c - 'a' + 10);
}

static size_t from_hex(const char *hex, uint8_t *out)
{
    size_t n = strlen(hex) / 2;
    for (size_t i = 0; i < n; i++)
        out[i] = (uint8_t)(digit(hex[2 * i]) << 4 | digit(hex[2 * i + 1]));
    return n;
}

static bool equals(const void *bytes, const char *hex)
{
    uint8_t expected[64];
    size_t n = from_hex(hex, expected);
    return !memcmp(bytes, expected, n);
}

/* AES-128-GCM with associated data and a part of a block at its end: case 4 of the GCM specification. */
static bool gcm_works(const struct crypto *c)
{
    uint8_t key_bytes[16], nonce[GCM_NONCE], associated[20], data[60 + GCM_TAG];
    struct aes_key key;
    from_hex("feffe9928665731c6d6a8f9467308308", key_bytes);
    from_hex("cafebabefacedbaddecaf888", nonce);
    size_t n = from_hex("feedfacedeadbeeffeedfacedeadbeefabaddad2", associated);
    size_t length = from_hex("d9313225f88406e5a55909c5aff5269a86a7a9531534f7da2e4c303d8a318a72"
                             "1c3c0c95956809532fcf0e2449a6b525b16aedf5aa0de657ba637b39", data);
    aes_set_key(&key, key_bytes);
    gcm_seal(c, &key, nonce, associated, n, data, length);
    if (!equals(data, "42831ec2217774244b7221b784d0d49ce3aa212f2c02a4e035c17e2329aca12e") ||
        !equals(data + length, "5bc94fbc3221a5db94fae95ae7121a47"))
        return false;
    data[0] ^= 1;
    if (gcm_open(c, &key, nonce, associated, n, data, length + GCM_TAG))
        return false;
    data[0] ^= 1;
    return gcm_open(c, &key, nonce, associated, n, data, length + GCM_TAG) && equals(data, "d9313225f88406e5");
}

static bool hash_works(const struct crypto *c)
{
    uint32_t state[8] = {0x6a09e667, 0xbb67ae85, 0x3c6ef372, 0xa54ff53a, 0x510e527f, 0x9b05688c, 0x1f83d9ab, 0x5be0cd19};
    uint8_t block[SHA256_BLOCK] = {'a', 'b', 'c', 0x80, [SHA256_BLOCK - 1] = 24}, out[SHA256_SIZE];
    struct hmac_key key;
    c->compress(state, block);
    if (state[0] != 0xba7816bf || state[7] != 0xf20015ad)
        return false;
    hmac_set_key(c, &key, (const uint8_t *)"Jefe", 4);  /* RFC 4231 section 4.3 */
    hmac(c, &key, (const uint8_t *)"what do ya want for nothing?", 28, out);
    return equals(out, "5bdcc146bf60754e6a042426089575c75a003f089d2739839dec58b964ec3843");
}

const char *selftest_crypto(void)
{
    const struct crypto choices[] = {crypto_portable(), crypto_of_machine()};
    for (unsigned i = 0; i < 2; i++) {
        const struct crypto *c = &choices[i];
        struct aes_key key;
        uint8_t bytes[16], block[AES_BLOCK];
        from_hex("000102030405060708090a0b0c0d0e0f", bytes);
        from_hex("00112233445566778899aabbccddeeff", block);
        aes_set_key(&key, bytes);
        aes_encrypt(c, &key, block, block);
        CHECK(equals(block, "69c4e0d86a7b0430d8cdb78070b4c55a"));
        CHECK(gcm_works(c) && hash_works(c));
    }
    return NULL;
}

/* RFC 9001 appendix A.2: its CRYPTO frame, of a hello for example.com. */
static const char FRAME[] =
    "060040f1010000ed0303ebf8fa56f12939b9584a3896472ec40bb863cfd3e86804fe3a47f06a2b69484c000004130113020100"
    "00c000000010000e00000b6578616d706c652e636f6dff01000100000a00080006001d00170018001000070005"
    "04616c706e000500050100000000003300260024001d00209370b2c9caa47fbabaf4559fedba753de171fa71f50f1ce1"
    "5d43e994ec74d748002b0003020304000d0010000e0403050306030203080408050806002d00020101001c00024001"
    "003900320408ffffffffffffffff05048000ffff07048000ffff08011001048000753009011"
    "00f088394c8f03e51570806048000ffff";

/* The datagram of that appendix: its header, the frame, padding, protected with the keys at hand. */
static size_t protect(const struct quic *q, const struct quic_keys *k, const char *header, uint8_t *out)
{
    uint8_t nonce[GCM_NONCE], mask[AES_BLOCK];
    size_t head = from_hex(header, out), body = 1162;
    from_hex(FRAME, out + head);
    memcpy(nonce, k->nonce, sizeof nonce);
    nonce[GCM_NONCE - 1] ^= 2;                         /* its packet number */
    gcm_seal(&q->crypto, &k->packet, nonce, out, head, out + head, body);
    aes_encrypt(&q->crypto, &k->header, out + head, mask);
    out[0] ^= mask[0] & 0x0f;
    for (unsigned i = 0; i < 4; i++)
        out[head - 4 + i] ^= mask[1 + i];
    return head + body + GCM_TAG;
}

static const char *read_sample(struct tscope_scan *s, const char *header, uint32_t version)
{
    static const uint8_t id[8] = {0x83, 0x94, 0xc8, 0xf0, 0x3e, 0x51, 0x57, 0x08};
    uint8_t datagram[1200] = {0};
    struct quic_keys k;
    struct flow f = {.answer_ns = TSCOPE_NO_NS, .client_by = TSCOPE_BY_FIRST_SENDER};
    CHECK(quic_derive(&s->quic, version, id, sizeof id, &k));
    size_t length = protect(&s->quic, &k, header, datagram);
    struct packet p = {.payload = datagram, .payload_have = (uint32_t)length, .payload_length = (uint32_t)length,
                       .destination_port = 443, .frame = 1};
    CHECK(length == sizeof datagram && quic_take(s, &f, &p) == TSCOPE_WHAT_TRIGGER && f.name_state == NAME_DONE);
    CHECK(f.name_length == 11 && !memcmp(f.name, "example.com", 11) && f.name_from == TSCOPE_NAME_QUIC_SNI);
    store_give(&s->store, f.name, f.name_length);
    f = (struct flow){.answer_ns = TSCOPE_NO_NS, .client_by = TSCOPE_BY_FIRST_SENDER};
    datagram[length - 1] ^= 1;
    CHECK(quic_take(s, &f, &p) == TSCOPE_WHAT_TRIGGER && !f.name && f.name_state == NAME_WANTED);
    return NULL;
}

static const char *check_keys(struct quic *q)
{
    static const uint8_t id[8] = {0x83, 0x94, 0xc8, 0xf0, 0x3e, 0x51, 0x57, 0x08};
    uint8_t datagram[1200] = {0};
    struct quic_keys k;
    CHECK(quic_derive(q, 1, id, sizeof id, &k));
    CHECK(equals(k.packet.round[0], "1f369613dd76d5467730efcbe3b1a22d") && equals(k.nonce, "fa044b2f42a3fd3b46fb255c") &&
          equals(k.header.round[0], "9f50449e04a0e810283a1e9933adedd2"));
    protect(q, &k, "c300000001088394c8f03e5157080000449e00000002", datagram);
    CHECK(equals(datagram, "c000000001088394c8f03e5157080000449e7b9aec34d1b1c98dd7689fb8ec11"));
    CHECK(equals(datagram + 1184, "e221af44860018ab0856972e194cd934"));
    CHECK(quic_derive(q, 0x6b3343cf, id, sizeof id, &k));
    CHECK(equals(k.packet.round[0], "8b1a0bc121284290a29e0971b5cd045d") && equals(k.nonce, "91f73e2351d8fa91660e909f") &&
          equals(k.header.round[0], "45b95e15235d6f45a6b19cbcb0294ba9"));
    CHECK(!quic_derive(q, 2, id, sizeof id, &k));
    return NULL;
}

const char *selftest_quic(void)
{
    struct tscope_scan *s = mem_new(1, sizeof *s);
    if (!s)
        return __func__;
    s->store.arena = &s->arena;
    const char *failed = check_keys(&s->quic);
    if (!failed)
        failed = read_sample(s, "c300000001088394c8f03e5157080000449e00000002", 1);
    if (!failed)
        failed = read_sample(s, "d36b3343cf088394c8f03e5157080000449e00000002", 0x6b3343cf);
    arena_end(&s->arena);
    mem_free(s);
    return failed;
}
