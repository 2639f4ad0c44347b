/* Known answers of what reads a server's first bytes. */
#include "answer.h"

#define CHECK(condition)                                                                                               \
    do {                                                                                                               \
        if (!(condition))                                                                                              \
            return __func__;                                                                                           \
    } while (0)

static bool is(struct word word, const char *text)
{
    return word.length == strlen(text) && !memcmp(word.at, text, word.length);
}

const char *selftest_response(void)
{
    static const char text[] = "HTTP/1.1 302 Found\r\nServer: x\r\nlocation:  http://b.example/ \r\nContent-Length: 30\r\n\r\n"
                               "<HTML><Title> Moved\n</title><p>";
    static const char page[] = " <html><title>Surf</title>";
    const uint8_t *bytes = (const uint8_t *)text;
    struct said said;
    size_t head = sizeof text - 1 - 31;
    CHECK(http_response(bytes, sizeof text - 1, &said) == PARSED_YES && said.status == 302 && said.body_length == 30);
    CHECK(is(said.word[0], "http://b.example/") && is(said.word[1], "x") && is(said.word[2], "Moved"));
    for (size_t i = 0; i < head; i++)
        CHECK(http_response(bytes, i, &said) == PARSED_MORE && said.length > i);
    CHECK(http_response(bytes, head, &said) == PARSED_YES && !said.word[2].length);
    CHECK(http_response((const uint8_t *)page, sizeof page - 1, &said) == PARSED_YES);
    CHECK(said.kind == TSCOPE_ANSWER_HTML && is(said.word[2], "Surf") && is(said.word[3], page + 1));
    CHECK(http_response((const uint8_t *)"SSH-2.0-x\r\n", 11, &said) == PARSED_NO);
    return NULL;
}

/* A ServerHello of TLS 1.2, and a certificate for "b.example" and "*.a.example" by "Box CA" of "Box". */
static const uint8_t FLIGHT[] = {
    22, 3, 3, 0, 49, 2, 0, 0, 45, 3, 3, 0, 0, 0, 0, 0, 0, 0, 0, 0, 0, 0, 0, 0, 0, 0, 0, 0, 0, 0, 0, 0, 0, 0, 0, 0,
    0, 0, 0, 0, 0, 0, 0, 0, 192, 47, 0, 0, 5, 255, 1, 0, 1, 0, 22, 3, 3, 0, 169, 11, 0, 0, 165, 0, 0, 162, 0, 0,
    159, 48, 129, 156, 48, 129, 143, 160, 3, 2, 1, 2, 2, 1, 5, 48, 4, 6, 2, 42, 3, 48, 31, 49, 12, 48, 10, 6, 3, 85,
    4, 10, 12, 3, 66, 111, 120, 49, 15, 48, 13, 6, 3, 85, 4, 3, 12, 6, 66, 111, 120, 32, 67, 65, 48, 32, 23, 13, 50,
    52, 48, 49, 50, 48, 49, 57, 48, 50, 48, 48, 90, 24, 15, 50, 48, 53, 48, 48, 49, 48, 49, 48, 48, 48, 48, 48, 48,
    90, 48, 20, 49, 18, 48, 16, 6, 3, 85, 4, 3, 12, 9, 98, 46, 101, 120, 97, 109, 112, 108, 101, 48, 10, 48, 4, 6,
    2, 42, 3, 3, 2, 0, 1, 163, 26, 48, 24, 48, 22, 6, 3, 85, 29, 17, 4, 15, 48, 13, 130, 11, 42, 46, 97, 46, 101,
    120, 97, 109, 112, 108, 101, 48, 4, 6, 2, 42, 3, 3, 2, 0, 1,
};

const char *selftest_tls_server(void)
{
    static uint8_t scratch[MAX_ANSWER];
    static const uint8_t alert[] = {21, 3, 3, 0, 2, 2, 40};
    struct said said;
    size_t known = sizeof FLIGHT;
    CHECK(tls_server(FLIGHT, sizeof FLIGHT, scratch, &said) == PARSED_YES && said.version == 0x0303 && said.cipher == 0xc02f);
    CHECK(is(said.word[0], "Box CA") && is(said.word[1], "Box") && is(said.word[2], "b.example") && !said.word[3].length);
    CHECK(said.not_before == 1705777320 && said.not_after == 2524608000);
    CHECK(x509_is_for(&said, (const uint8_t *)"x.A.example", 11) && x509_is_for(&said, (const uint8_t *)"b.example", 9));
    CHECK(!x509_is_for(&said, (const uint8_t *)"a.example", 9) && !x509_is_for(&said, (const uint8_t *)"x.y.a.example", 13));
    CHECK(!x509_public_issuer(said.word[1]));
    while (known && tls_server(FLIGHT, known - 1, scratch, &said) == PARSED_YES)
        known--;
    CHECK(known > 100 && known < sizeof FLIGHT);       /* the names stand before the certificate's end */
    for (size_t i = 0; i < known; i++)
        CHECK(tls_server(FLIGHT, i, scratch, &said) == PARSED_MORE && said.length > i);
    CHECK(tls_server(alert, sizeof alert, scratch, &said) == PARSED_YES && said.kind == TSCOPE_ANSWER_TLS_ALERT);
    CHECK(said.alert_level == 2 && said.alert == 40);
    CHECK(tls_server((const uint8_t *)"HTTP/1.1 400", 12, scratch, &said) == PARSED_NO);
    return NULL;
}
