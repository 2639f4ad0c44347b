/* Of an X.509 certificate (RFC 5280, in DER) the names of issuer and subject, and its time.  Nothing is verified: what is
 * read here is what the sender of the certificate claims. */
#include "answer.h"

enum {
    DER_INTEGER = 2, DER_OID = 6, DER_OCTETS = 4, DER_SEQUENCE = 0x30, DER_SET = 0x31, DER_VERSION = 0xa0,
    DER_EXTENSIONS = 0xa3, DER_BOOLEAN = 1, DER_UTC_TIME = 0x17, DER_TIME = 0x18, DER_DNS_NAME = 0x82,
    MAX_WORD = 96
};

/* The next value, with its tag; *body is what of it is there.  False: it is not there whole, or is no DER. */
static bool take(struct cursor *c, uint8_t *tag, struct cursor *body)
{
    const uint8_t *h = cursor_take(c, 2);
    *body = cursor_over(c->at, 0);
    *tag = 0;
    if (!h)
        return false;
    size_t length = h[1];
    if (length >= 0x80) {
        size_t bytes = length & 0x7f;
        const uint8_t *more = bytes && bytes <= 3 ? cursor_take(c, bytes) : NULL;
        if (!more)
            return false;
        length = 0;
        for (size_t i = 0; i < bytes; i++)
            length = length << 8 | more[i];
    }
    *tag = h[0];
    bool whole = length <= cursor_left(c);
    *body = cursor_sub(c, length);
    return whole;
}

static bool take_tag(struct cursor *c, uint8_t wanted, struct cursor *body)
{
    uint8_t tag;
    return take(c, &tag, body) && tag == wanted;
}

/* Common name and organisation of a Name: the last of each, the most specific. */
static void read_name(struct cursor name, struct word *common, struct word *organisation)
{
    struct cursor set, pair, oid, value;
    uint8_t tag;
    while (take_tag(&name, DER_SET, &set) && take_tag(&set, DER_SEQUENCE, &pair)) {   /* advances >= 2 */
        if (!take_tag(&pair, DER_OID, &oid) || !take(&pair, &tag, &value))
            return;
        const uint8_t *id = cursor_take(&oid, 3);
        if (!id || id[0] != 0x55 || id[1] != 0x04)
            continue;
        size_t n = cursor_left(&value) < MAX_WORD ? cursor_left(&value) : MAX_WORD;
        struct word text = {value.at, (uint32_t)n};
        if (id[2] == 3)
            *common = text;
        else if (id[2] == 10)
            *organisation = text;
    }
}

/* Days since 1970 of a date in the Gregorian calendar. */
static int64_t days(int64_t year, unsigned month, unsigned day)
{
    year -= month <= 2;
    int64_t era = year / 400;
    unsigned of_era = (unsigned)(year - era * 400), of_year = (153 * (month + (month > 2 ? -3u : 9u)) + 2) / 5 + day - 1;
    return era * 146097 + of_era * 365 + of_era / 4 - of_era / 100 + of_year - 719468;
}

/* UTCTime or GeneralizedTime (section 4.1.2.5) in seconds since the epoch; 0: malformed. */
static int64_t read_time(struct cursor *c)
{
    struct cursor text;
    uint8_t tag;
    if (!take(c, &tag, &text) || (tag != DER_UTC_TIME && tag != DER_TIME))
        return 0;
    unsigned field[7] = {0};
    size_t digits = tag == DER_TIME ? 14 : 12, skip = tag == DER_TIME ? 0 : 1;
    const uint8_t *at = cursor_take(&text, digits);
    for (size_t i = 0; at && i < digits; i += 2) {
        if (at[i] < '0' || at[i] > '9' || at[i + 1] < '0' || at[i + 1] > '9')
            return 0;
        field[i / 2 + skip] = (unsigned)(at[i] - '0') * 10 + (unsigned)(at[i + 1] - '0');
    }
    if (!at || field[2] < 1 || field[2] > 12 || field[3] < 1 || field[3] > 31)
        return 0;
    int64_t year = skip ? (field[1] < 50 ? 2000 : 1900) + field[1] : field[0] * 100 + field[1];
    return days(year, field[2], field[3]) * 86400 + field[4] * 3600 + field[5] * 60 + field[6];
}

static void read_extensions(struct cursor tbs, struct said *out)
{
    static const uint8_t alternative[] = {0x55, 0x1d, 0x11};
    struct cursor body, list, one, oid, value;
    uint8_t tag;
    if (!take_tag(&tbs, DER_SEQUENCE, &body))                  /* the key */
        return;
    while (take(&tbs, &tag, &body) && tag != DER_EXTENSIONS)   /* advances >= 2 */
        ;
    if (tag != DER_EXTENSIONS || !take_tag(&body, DER_SEQUENCE, &list))
        return;
    while (take_tag(&list, DER_SEQUENCE, &one) && take_tag(&one, DER_OID, &oid)) {   /* advances >= 2 */
        if (cursor_left(&oid) != 3 || memcmp(oid.at, alternative, 3))
            continue;
        if (!take(&one, &tag, &value) || (tag == DER_BOOLEAN && !take(&one, &tag, &value)) || tag != DER_OCTETS)
            return;
        struct cursor names;
        if (take_tag(&value, DER_SEQUENCE, &names))
            out->names = names;
        return;
    }
}

bool x509_names(struct cursor message, struct said *out)
{
    struct cursor outer, tbs, body, issuer, validity, subject;
    uint8_t tag;
    const uint8_t *length = cursor_take(&message, 6);
    if (!length)
        return false;
    struct cursor certificate = cursor_sub(&message, load_be24(length + 3));
    take(&certificate, &tag, &outer);                          /* these two may go on beyond what is there */
    if (tag != DER_SEQUENCE)
        return false;
    take(&outer, &tag, &tbs);
    if (tag != DER_SEQUENCE)
        return false;
    struct cursor before = tbs;
    if (!take(&tbs, &tag, &body))
        return false;
    if (tag != DER_VERSION)
        tbs = before;
    if (!take_tag(&tbs, DER_INTEGER, &body) || !take_tag(&tbs, DER_SEQUENCE, &body) ||
        !take_tag(&tbs, DER_SEQUENCE, &issuer) || !take_tag(&tbs, DER_SEQUENCE, &validity) ||
        !take_tag(&tbs, DER_SEQUENCE, &subject))
        return false;
    out->what |= TSCOPE_ANSWER_CERTIFICATE;
    if (cursor_left(&issuer) == cursor_left(&subject) && !memcmp(issuer.at, subject.at, cursor_left(&issuer)))
        out->what |= TSCOPE_ANSWER_SELF_SIGNED;
    read_name(issuer, &out->word[0], &out->word[1]);
    read_name(subject, &out->word[2], &out->word[3]);
    out->not_before = read_time(&validity);
    out->not_after = read_time(&validity);
    read_extensions(tbs, out);
    return true;
}

/* ---------------------------------------------------------------- for whom, by whom */

static uint8_t lower(uint8_t ch)
{
    return ch >= 'A' && ch <= 'Z' ? (uint8_t)(ch | 0x20) : ch;
}

static bool same_text(const uint8_t *a, const uint8_t *b, size_t length)
{
    for (size_t i = 0; i < length; i++)
        if (lower(a[i]) != lower(b[i]))
            return false;
    return true;
}

static bool matches(const uint8_t *pattern, size_t length, const uint8_t *name, size_t name_length)
{
    if (length > 2 && pattern[0] == '*' && pattern[1] == '.') {
        const uint8_t *dot = memchr(name, '.', name_length);
        if (!dot)
            return false;
        name_length -= (size_t)(dot - name);
        name = dot;
        pattern++;
        length--;
    }
    return length == name_length && same_text(pattern, name, length);
}

bool x509_is_for(const struct said *said, const uint8_t *name, size_t length)
{
    struct cursor names = said->names, one;
    uint8_t tag;
    if (!length)
        return false;
    while (take(&names, &tag, &one))                           /* advances >= 2 */
        if (tag == DER_DNS_NAME && matches(one.at, cursor_left(&one), name, length))
            return true;
    return said->word[2].length && matches(said->word[2].at, said->word[2].length, name, length);
}

bool x509_public_issuer(struct word name)
{
    static const struct { const char *text; size_t length; } known[] = {
#define ISSUER(text) {text, sizeof text - 1},
#include "public_issuers.def"
#undef ISSUER
    };
    for (size_t i = 0; i < sizeof known / sizeof known[0]; i++)
        if (name.length >= known[i].length && same_text(name.at, (const uint8_t *)known[i].text, known[i].length))
            return true;
    return false;
}
