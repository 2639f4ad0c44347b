/* Known answers of each unit, shipped with it: one call says whether this build on this machine works. */
#include <stdio.h>

#include "core.h"
#include "memory.h"
#include "table.h"

#define CHECK(condition)                                                                                               \
    do {                                                                                                               \
        if (!(condition))                                                                                              \
            return __func__;                                                                                           \
    } while (0)

const char *selftest_cursor(void)
{
    static const uint8_t bytes[5] = {1, 2, 3, 4, 5};
    struct cursor c = cursor_over(bytes, 5);
    CHECK(load_be32(cursor_take(&c, 4)) == 0x01020304);
    CHECK(cursor_take(&c, 2) == NULL && cursor_left(&c) == 1);
    CHECK(cursor_u8(&c) == 5 && cursor_u8(&c) == 0);
    CHECK(cursor_take(&c, SIZE_MAX) == NULL && cursor_skip(&c, 0));
    CHECK(serial_minus(5, 0xfffffffe) == 7 && serial_minus(0xfffffffe, 5) == -7);
    CHECK(load_u16(bytes, false) != load_u16(bytes, true));
    return NULL;
}

const char *selftest_table(void)
{
    struct hash_key key = {{1, 3}};
    struct table t;
    bool made;
    CHECK(table_init(&t, 16, 1, 4, &key) == TSCOPE_OK);
    for (uint64_t i = 0; i < 6; i++)
        CHECK(table_put(&t, &i, &made) != TABLE_NONE && made);
    uint64_t gone = 1, there = 5, oldest = 2;
    CHECK(t.evicted == 2 && table_find(&t, &gone) == TABLE_NONE);
    CHECK(table_put(&t, &there, &made) != TABLE_NONE && !made);
    CHECK(*(uint64_t *)table_at(&t, table_oldest(&t)) == oldest);
    table_remove(&t, table_oldest(&t));
    CHECK(table_find(&t, &oldest) == TABLE_NONE && t.count == 3);
    table_end(&t);
    return NULL;
}

const char *selftest_memory(void)
{
    struct arena arena = {0};
    struct store store = {.arena = &arena};
    uint8_t *last = NULL;
    for (size_t bytes = 0; bytes <= STORE_MOST; bytes = 2 * bytes + 1) {
        uint8_t *a = store_take(&store, bytes), *b = store_take(&store, bytes);
        CHECK(a && b && a != b);
        memset(a, 1, bytes);
        memset(b, 2, bytes);
        CHECK(!bytes || (a[0] == 1 && a[bytes - 1] == 1));
        store_give(&store, b, bytes);
        last = store_take(&store, bytes);
        CHECK(store_must_give || last == b);           /* what was given back serves the next one */
        store_give(&store, last, bytes);
        store_give(&store, a, bytes);
    }
    for (unsigned i = 0; i < 5; i++) {                 /* into a third piece */
        uint8_t *block = arena_take(&arena, MEM_ARENA_MOST);
        CHECK(block && (uintptr_t)block % 64 == 0);
        block[0] = block[MEM_ARENA_MOST - 1] = 1;
    }
    CHECK(!arena_take(&arena, MEM_ARENA_MOST + 1) && !store_take(&store, STORE_MOST + 1));
    arena_end(&arena);
    uint64_t *table = mem_table(1 << 18, sizeof *table);
    CHECK(table && !table[0] && !table[(1 << 18) - 1]);
    mem_free_table(table, 1 << 18, sizeof *table);
    return NULL;
}

/* A ClientHello for "a.example" in one record. */
static const uint8_t HELLO[] = {
    22, 3, 1, 0, 67, 1, 0, 0, 63, 3, 3,
    0, 0, 0, 0, 0, 0, 0, 0, 0, 0, 0, 0, 0, 0, 0, 0, 0, 0, 0, 0, 0, 0, 0, 0, 0, 0, 0, 0, 0, 0, 0, 0,
    0, 0, 2, 0x13, 1, 1, 0, 0, 18, 0, 0, 0, 14, 0, 12, 0, 0, 9, 'a', '.', 'e', 'x', 'a', 'm', 'p', 'l', 'e',
    };

const char *selftest_tls(void)
{
    static uint8_t scratch[MAX_HELLO];
    struct hello h;
    uint8_t bytes[128];
    size_t length = 5 + 4 + 2 + 32 + 1 + 4 + 2 + 2 + 18;
    memcpy(bytes, HELLO, length);
    bytes[4] = (uint8_t)(length - 5);
    bytes[8] = (uint8_t)(length - 9);
    CHECK(tls_client_hello(bytes, length, scratch, &h) == PARSED_YES && h.length == length);
    CHECK(h.name_length == 9 && !memcmp(h.name, "a.example", 9) && !h.has_ech);
    for (size_t i = 0; i < length; i++)
        CHECK(tls_client_hello(bytes, i, scratch, &h) == PARSED_MORE && h.length > i);
    bytes[5] = 2;
    CHECK(tls_client_hello(bytes, length, scratch, &h) == PARSED_NO);
    return NULL;
}

const char *selftest_http(void)
{
    static const char text[] = "GET /x HTTP/1.1\r\nA: b\r\nhOst:  a.example:80 \r\n\r\n";
    const uint8_t *bytes = (const uint8_t *)text;
    struct hello h;
    uint32_t line = 0;
    CHECK(http_request(bytes, sizeof text - 1, &line, &h) == PARSED_YES);
    CHECK(h.name_length == 9 && !memcmp(h.name, "a.example", 9));
    for (uint32_t i = 0; i < 44; i++) {
        line = 0;
        CHECK(http_request(bytes, i, &line, &h) == PARSED_MORE);
    }
    line = 0;
    CHECK(http_request((const uint8_t *)"SSH-2.0-x\r\n", 11, &line, &h) == PARSED_NO);
    return NULL;
}

const char *selftest_dns(void)
{
    static const uint8_t answer[] = {
        0x12, 0x34, 0x81, 0x80, 0, 1, 0, 1, 0, 0, 0, 0, 1, 'A', 2, 'b', '.', 0, 0, 1, 0, 1,
        0xc0, 12, 0, 1, 0, 1, 0, 0, 0, 60, 0, 4, 10, 0, 0, 1};
    static struct dns_message m;
    CHECK(dns_parse(answer, sizeof answer, sizeof answer, &m) && m.id == 0x1234 && m.row.is_answer);
    CHECK(m.name_length == 5 && !memcmp(m.name, "a.b\\.", 5) && m.type == 1 && m.row.what == 0);
    CHECK(m.row.n_addresses == 1 && m.row.address_kind == TSCOPE_ADDR_PRIVATE && m.row.record_ttl == 60);
    uint8_t loop[sizeof answer];
    memcpy(loop, answer, sizeof answer);
    loop[23] = 22;                                     /* a pointer to itself */
    CHECK(dns_parse(loop, sizeof loop, sizeof loop, &m) && (m.row.what & TSCOPE_MSG_MALFORMED));
    CHECK(!dns_parse(answer, 11, sizeof answer, &m));
    return NULL;
}

const char *tscope_selftest(void)
{
    const char *(*const tests[])(void) = {selftest_cursor, selftest_memory, selftest_table, selftest_tls,  selftest_http,
                                          selftest_dns,    selftest_crypto, selftest_quic, selftest_response,
                                          selftest_tls_server};
    for (size_t i = 0; i < sizeof tests / sizeof tests[0]; i++) {
        const char *failed = tests[i]();
        if (failed)
            return failed;
    }
    return NULL;
}
