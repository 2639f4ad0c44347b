/* DNS messages (RFC 1035; EDNS: RFC 6891): the question, and digests of the answers.
 *
 * Compression pointers may only lead backward, a name follows at most MAX_POINTERS of them, and a message as a whole
 * may cost MAX_STEPS labels: legal chains of pointers would otherwise make one packet take seconds. */
#include "core.h"

enum { HEADER = 12, MAX_POINTERS = 128, MAX_STEPS = 65536 };
enum { TYPE_A = 1, TYPE_NS = 2, TYPE_CNAME = 5, TYPE_PTR = 12, TYPE_AAAA = 28, TYPE_OPT = 41, TYPE_DNAME = 39 };

struct walk {
    struct cursor all;            /* the whole message: where pointers lead */
    unsigned steps;
};

static uint8_t lower(uint8_t ch)
{
    return ch >= 'A' && ch <= 'Z' ? (uint8_t)(ch | 0x20) : ch;
}

static void put_label(struct cursor label, struct dns_message *m, uint64_t *digest)
{
    uint8_t length = (uint8_t)cursor_left(&label);
    *digest = digest_bytes(*digest, &length, 1);
    if (m && m->name_length && (size_t)m->name_length + 1 < sizeof m->name)
        m->name[m->name_length++] = '.';
    while (cursor_left(&label)) {                              /* advances >= 1 */
        uint8_t ch = lower(cursor_u8(&label));
        *digest = digest_bytes(*digest, &ch, 1);
        if (!m || (size_t)m->name_length + 2 > sizeof m->name)
            continue;
        if (ch == '.' || ch == '\\')
            m->name[m->name_length++] = '\\';
        m->name[m->name_length++] = ch;
    }
}

/* Steps over a name, following its pointers; writes it to `m` unless that is NULL. */
static bool take_name(struct walk *w, struct cursor *c, struct dns_message *m, uint64_t *digest)
{
    struct cursor at = *c;
    bool jumped = false;
    size_t total = 0;
    *digest = DIGEST_START;
    for (unsigned pointers = 0; w->steps < MAX_STEPS; w->steps++) {     /* bounded by steps */
        const uint8_t *start = at.at, *h = cursor_take(&at, 1);
        if (!h)
            return false;
        if (*h == 0) {
            if (!jumped)
                *c = at;
            *digest = digest_finish(*digest);
            return true;
        }
        if (*h >= 0xc0) {
            uint16_t to = (uint16_t)((*h & 0x3f) << 8);
            if (!cursor_left(&at) || ++pointers > MAX_POINTERS)
                return false;
            to = (uint16_t)(to | cursor_u8(&at));
            if (!jumped)
                *c = at;
            jumped = true;
            if (to >= (size_t)(start - w->all.at))             /* only backward: every step makes progress */
                return false;
            at = w->all;
            cursor_skip(&at, to);
            continue;
        }
        total += (size_t)*h + 1;
        if (*h >= 0x40 || total > MAX_NAME || cursor_left(&at) < *h)
            return false;
        put_label(cursor_sub(&at, *h), m, digest);
    }
    return false;
}

uint8_t address_kind(const uint8_t a[16])
{
    static const uint8_t mapped[12] = {0, 0, 0, 0, 0, 0, 0, 0, 0, 0, 0xff, 0xff};
    if (memcmp(a, mapped, 12) != 0) {
        static const uint8_t zero[15] = {0};
        if (!memcmp(a, zero, 15))
            return a[15] == 0 ? TSCOPE_ADDR_UNSPECIFIED : a[15] == 1 ? TSCOPE_ADDR_LOOPBACK : TSCOPE_ADDR_RESERVED;
        if (a[0] == 0xff)
            return TSCOPE_ADDR_MULTICAST;
        if (a[0] == 0xfe && (a[1] & 0xc0) == 0x80)
            return TSCOPE_ADDR_LINK_LOCAL;
        if ((a[0] & 0xfe) == 0xfc)
            return TSCOPE_ADDR_PRIVATE;
        if (a[0] == 0x20 && a[1] == 0x01 && a[2] == 0x0d && a[3] == 0xb8)
            return TSCOPE_ADDR_DOCUMENTATION;
        return (a[0] & 0xe0) == 0x20 || !memcmp(a, "\0\x64\xff\x9b", 4) ? TSCOPE_ADDR_GLOBAL : TSCOPE_ADDR_RESERVED;
    }
    const uint8_t *b = a + 12;
    uint32_t v = load_be32(b);
    if (v == 0)
        return TSCOPE_ADDR_UNSPECIFIED;
    if (b[0] == 127)
        return TSCOPE_ADDR_LOOPBACK;
    if (b[0] == 10 || (v & 0xfff00000) == 0xac100000 || (v & 0xffff0000) == 0xc0a80000)
        return TSCOPE_ADDR_PRIVATE;
    if ((v & 0xffff0000) == 0xa9fe0000)
        return TSCOPE_ADDR_LINK_LOCAL;
    if ((v & 0xffc00000) == 0x64400000)
        return TSCOPE_ADDR_SHARED;
    if ((v & 0xffffff00) == 0xc0000200 || (v & 0xffffff00) == 0xc6336400 || (v & 0xffffff00) == 0xcb007100)
        return TSCOPE_ADDR_DOCUMENTATION;
    if ((v & 0xfffe0000) == 0xc6120000)
        return TSCOPE_ADDR_BENCHMARK;
    if ((b[0] & 0xf0) == 0xe0)
        return TSCOPE_ADDR_MULTICAST;
    return b[0] == 0 || b[0] >= 240 ? TSCOPE_ADDR_RESERVED : TSCOPE_ADDR_GLOBAL;
}

bool is_local_name(const uint8_t *name, size_t length)
{
    /* RFC 6761, 6762, 7686, 8375, 9476; what home routers and offices use; the tree of addresses, much of which is
     * private. */
    static const char *const zones[] = {"local", "localhost", "invalid", "test", "onion", "alt", "internal", "arpa",
                                        "lan", "home", "localdomain", "domain", "corp", "intranet", "private",
                                        "workgroup"};
    size_t at = length;
    while (at && name[at - 1] != '.')
        at--;
    for (size_t i = 0; i < sizeof zones / sizeof *zones; i++)
        if (strlen(zones[i]) == length - at && !memcmp(name + at, zones[i], length - at))
            return true;
    return at == 0;
}

static void note_address(struct tscope_message *row, const uint8_t address[16], uint64_t digest)
{
    if (row->n_addresses < 4)
        memcpy(row->addresses[row->n_addresses], address, 16);
    if (row->n_addresses == 0)
        row->address_kind = address_kind(address);
    if (row->n_addresses < UINT16_MAX)
        row->n_addresses++;
    row->addresses_digest += digest;
}

/* Data of an answer record: addresses are kept, names are compared without their compression, the rest as bytes. */
static void read_answer(struct walk *w, uint16_t type, struct cursor data, struct tscope_message *row)
{
    uint8_t kind[2] = {(uint8_t)(type >> 8), (uint8_t)type};
    uint64_t digest = digest_bytes(DIGEST_START, kind, 2), name;
    uint8_t address[16] = {0, 0, 0, 0, 0, 0, 0, 0, 0, 0, 0xff, 0xff};
    size_t length = cursor_left(&data);
    bool is_name = type == TYPE_CNAME || type == TYPE_NS || type == TYPE_PTR || type == TYPE_DNAME;
    struct cursor target = data;                               /* moves even where the name cannot be followed */
    if (is_name && take_name(w, &target, NULL, &name)) {
        digest = digest_finish(digest ^ name);
        row->n_cnames = (uint16_t)(row->n_cnames + (type == TYPE_CNAME && row->n_cnames < UINT16_MAX));
    } else {
        const uint8_t *bytes = cursor_take(&data, length);
        digest = digest_finish(digest_bytes(digest, bytes, length));
        if (type == TYPE_A && length == 4)
            memcpy(address + 12, bytes, 4);
        if (type == TYPE_AAAA && length == 16)
            memcpy(address, bytes, 16);
        if ((type == TYPE_A && length == 4) || (type == TYPE_AAAA && length == 16))
            note_address(row, address, digest);
    }
    row->records_digest += digest;
}

static bool read_record(struct walk *w, struct cursor *c, bool answer, struct tscope_message *row)
{
    uint64_t owner;
    const uint8_t *h = take_name(w, c, NULL, &owner) ? cursor_take(c, 10) : NULL;
    if (!h || load_be16(h + 8) > cursor_left(c))
        return false;
    uint16_t type = load_be16(h);
    struct cursor data = cursor_sub(c, load_be16(h + 8));
    if (type == TYPE_OPT) {
        row->what |= TSCOPE_MSG_EDNS;
        row->edns_size = load_be16(h + 2);
    }
    if (!answer)
        return true;
    if (row->first_type == 0) {
        row->first_type = type;
        row->record_ttl = load_be32(h + 4);
    }
    read_answer(w, type, data, row);
    return true;
}

static bool read_question(struct walk *w, struct cursor *c, struct dns_message *m, bool first)
{
    uint64_t digest;
    bool named = take_name(w, c, first ? m : NULL, &digest);
    const uint8_t *h = named ? cursor_take(c, 4) : NULL;
    if (h && first) {
        m->name_digest = digest;
        m->type = load_be16(h);
        m->class_ = load_be16(h + 2);
        m->has_question = true;
    }
    if (first && !named)
        m->name_length = 0;                                    /* a part of a name is another name */
    return h != NULL;
}

static bool read_sections(struct walk *w, struct cursor *c, struct dns_message *m)
{
    for (unsigned i = 0; i < m->row.counts[0]; i++)            /* advances >= 5 */
        if (!read_question(w, c, m, i == 0))
            return false;
    for (unsigned section = 1; section < 4; section++)
        for (unsigned i = 0; i < m->row.counts[section]; i++)  /* advances >= 11 */
            if (!read_record(w, c, section == 1, &m->row))
                return false;
    return true;
}

bool dns_parse(const uint8_t *data, size_t have, size_t length, struct dns_message *m)
{
    struct walk w = {.all = cursor_over(data, have)};
    struct cursor c = w.all;
    memset(&m->row, 0, sizeof m->row);
    m->name_digest = DIGEST_START;
    m->name_length = m->type = m->class_ = 0;
    m->has_question = false;
    const uint8_t *h = cursor_take(&c, HEADER);
    if (!h)
        return false;
    m->id = load_be16(h);
    m->row.flags = load_be16(h + 2);
    for (unsigned i = 0; i < 4; i++)
        m->row.counts[i] = load_be16(h + 4 + 2 * i);
    m->row.is_answer = m->row.flags >> 15 != 0;
    m->row.rcode = m->row.flags & 15;
    m->row.payload_length = (uint32_t)length;
    bool whole = read_sections(&w, &c, m);
    if (!m->has_question)
        m->row.what |= TSCOPE_MSG_NO_QUESTION;
    if (!whole)
        m->row.what |= have < length ? TSCOPE_MSG_CUT : TSCOPE_MSG_MALFORMED;
    else if (cursor_left(&c))
        m->row.what |= TSCOPE_MSG_TRAILING;
    return true;
}

/* ---------------------------------------------------------------- records one by one */

/* Where in the data of a type its first name stands; -1: it has none that is told. */
static int name_at(uint16_t type)
{
    switch (type) {
    case TYPE_NS: case TYPE_CNAME: case TYPE_PTR: case TYPE_DNAME: case 6:
        return 0;
    case 15:                                           /* MX: preference */
        return 2;
    case 33:                                           /* SRV: priority, weight, port */
        return 6;
    default:
        return -1;
    }
}

static void join_strings(struct cursor data, struct dns_record *out)
{
    while (cursor_left(&data)) {                       /* advances >= 1 */
        size_t n = cursor_u8(&data);
        n = n < cursor_left(&data) ? n : cursor_left(&data);
        size_t room = sizeof out->text - out->length, kept = n < room ? n : room;
        memcpy(out->text + out->length, cursor_take(&data, n), kept);
        out->length = (uint16_t)(out->length + kept);
    }
}

static void read_data(struct walk *w, struct cursor data, struct dns_record *out)
{
    struct dns_message scratch;
    uint64_t digest;
    size_t length = cursor_left(&data);
    int at = name_at(out->type);
    out->length = 0;
    if ((out->type == TYPE_A && length == 4) || (out->type == TYPE_AAAA && length == 16)) {
        memcpy(out->text, cursor_take(&data, length), length);
        out->length = (uint16_t)length;
    } else if (out->type == 16) {
        join_strings(data, out);
    } else if (at >= 0 && cursor_skip(&data, (size_t)at)) {
        scratch.name_length = 0;
        if (!take_name(w, &data, &scratch, &digest))
            return;
        memcpy(out->text, scratch.name, scratch.name_length);
        out->length = scratch.name_length;
    }
}

bool dns_answers(const uint8_t *data, size_t have, bool (*take)(void *owner, const struct dns_record *), void *owner)
{
    struct walk w = {.all = cursor_over(data, have)};
    struct cursor c = w.all;
    struct dns_record record;
    uint64_t digest;
    const uint8_t *h = cursor_take(&c, HEADER);
    for (unsigned i = h ? load_be16(h + 4) : 0; i; i--)        /* advances >= 5 */
        if (!take_name(&w, &c, NULL, &digest) || !cursor_take(&c, 4))
            return true;
    for (unsigned i = h ? load_be16(h + 6) : 0; i; i--) {      /* advances >= 11 */
        const uint8_t *r = take_name(&w, &c, NULL, &digest) ? cursor_take(&c, 10) : NULL;
        if (!r || load_be16(r + 8) > cursor_left(&c))
            return true;
        record.type = load_be16(r);
        record.class_ = load_be16(r + 2);
        record.ttl = load_be32(r + 4);
        read_data(&w, cursor_sub(&c, load_be16(r + 8)), &record);
        if (!take(owner, &record))
            return false;
    }
    return true;
}
