/* What one flow cannot show: tables over the whole capture, bounded, the least recently used out first.
 *
 * Workload: some updates for each flow that ends, none per packet.  An entry that was evicted means "no baseline", never
 * "no difference": a look-up that finds nothing gives zeroes. */
#include "memory.h"
#include "scan.h"

#define NEAR_NS (120 * SECOND)    /* "near" is this stretch of time and its neighbours */

/* ---------------------------------------------------------------- entries */

struct server_key {
    uint8_t address[16];
    uint16_t port;
    uint8_t protocol, zero[5];
};

struct server {
    struct server_key key;
    int64_t min_rtt_ns;
    uint32_t flows, reached, reset;
    uint8_t ttl_min, ttl_max, rst_ttl_min, rst_ttl_max;
};

enum near_kind { NEAR_SERVER = 1, NEAR_SERVER_NAME, NEAR_PAIR, NEAR_CLIENT, NAME_ANYWHERE };

struct near_key {
    uint64_t name;
    int64_t stretch;
    uint8_t address[2][16];
    uint16_t port;
    uint8_t protocol, kind, zero[4];
};

struct near {
    struct near_key key;
    uint32_t count[3];            /* by enum fate */
};

enum fate { FATE_REACHED, FATE_SILENT, FATE_RESET, FATE_UNKNOWN };

enum { RTT_BUCKETS = 40, TTL_VALUES = 4, RECENT = 8 };

struct resolver {
    uint8_t address[16];
    int64_t min_rtt_ns;
    struct answered last;
    uint32_t answered, unanswered, conflicting, special, global_, ip_id_copied, timed;
    uint32_t ttl_count[TTL_VALUES];
    uint8_t ttl[TTL_VALUES];
    uint16_t rtt[RTT_BUCKETS];    /* half octaves of microseconds */
};

struct answer {
    uint64_t transaction, resolver;
    uint64_t address[4];          /* digests */
    uint32_t n;
};

struct answers {
    uint64_t name, type;
    uint64_t seen;                /* the latest RECENT of them are kept */
    struct answer recent[RECENT];
};

struct address {
    uint8_t resolver[16], address[16];
    uint64_t first_name, last_name;
    uint32_t names;               /* about how many different ones */
};

_Static_assert(sizeof(struct server_key) == 24 && sizeof(struct near_key) == 56, "whole words");

int context_init(struct tscope_scan *s)
{
    struct context *c = &s->context;
    uint32_t limit = (uint32_t)s->options.context_entries;
    if (table_init(&c->servers, sizeof(struct server), 3, limit, &s->key) ||
        table_init(&c->near, sizeof(struct near), 7, limit, &s->key) ||
        table_init(&c->resolvers, sizeof(struct resolver), 2, limit, &s->key) ||
        table_init(&c->answers, sizeof(struct answers), 2, limit, &s->key) ||
        table_init(&c->addresses, sizeof(struct address), 4, limit, &s->key))
        return TSCOPE_E_MEMORY;
    return TSCOPE_OK;
}

void context_end(struct tscope_scan *s)
{
    struct context *c = &s->context;
    table_end(&c->servers);
    table_end(&c->near);
    table_end(&c->resolvers);
    table_end(&c->answers);
    table_end(&c->addresses);
    mem_free(c->log);
}

uint64_t context_evicted(const struct tscope_scan *s)
{
    const struct context *c = &s->context;
    return c->servers.evicted + c->near.evicted + c->resolvers.evicted + c->answers.evicted + c->addresses.evicted;
}

/* The entry for a key; NULL: no memory, and then there is no baseline. */
static void *entry(struct table *t, const void *key, bool *made)
{
    uint32_t index = table_put(t, key, made);
    return index == TABLE_NONE ? NULL : table_at(t, index);
}

static const void *lookup(const struct table *t, const void *key)
{
    uint32_t index = table_find(t, key);
    return index == TABLE_NONE ? NULL : table_at(t, index);
}

/* A count without the candidate's own part, which an eviction may have taken already. */
static uint32_t without(uint32_t count, bool own)
{
    return count - (own && count);
}

static void widen(uint8_t *min, uint8_t *max, uint8_t from, uint8_t to)
{
    if (from && (!*min || from < *min))
        *min = from;
    if (to > *max)
        *max = to;
}

/* ---------------------------------------------------------------- flows */

static uint64_t digest_name(const uint8_t *name, size_t length)
{
    return length ? digest_finish(digest_bytes(DIGEST_START, name, length)) : 0;
}

/* How the trigger fared: a flow cut short by the capture's end says nothing. */
static enum fate fate_of(const struct tscope_flow *row)
{
    if (row->trigger < TSCOPE_TRIGGER_TLS_HELLO || row->trigger > TSCOPE_TRIGGER_QUIC_INITIAL)
        return FATE_UNKNOWN;
    if (row->answer_ns != TSCOPE_NO_NS)
        return FATE_REACHED;
    if (row->resets[1])
        return FATE_RESET;
    bool short_ = (row->facts & TSCOPE_FACT_CUT_BY_END) && row->final_ns - row->trigger_ns < 3 * SECOND;
    return short_ || (row->facts & TSCOPE_FACT_ONE_WAY && row->protocol == 6) ? FATE_UNKNOWN : FATE_SILENT;
}

/* Who met which fate where and when: what `near` counts.  Most captures have no candidate and never ask, so flows are
 * only logged at first, and counted when the log is full or a candidate is to be judged. */
struct fate_row {
    uint8_t server[16], client[16];
    uint64_t name;
    int32_t stretch;
    uint16_t port;
    uint8_t protocol, fate;
};
_Static_assert(sizeof(struct fate_row) == 48, "no padding");
enum { LOG_ROWS = 1 << 16 };

static struct fate_row fate_row(const struct tscope_flow *row, uint64_t name, enum fate fate)
{
    struct fate_row r = {.name = name, .stretch = (int32_t)(row->trigger_ns / NEAR_NS), .port = row->server_port,
                         .protocol = row->protocol, .fate = (uint8_t)fate};
    memcpy(r.server, row->server, 16);
    memcpy(r.client, row->client, 16);
    return r;
}

static struct near_key near_key(const struct fate_row *r, enum near_kind kind, int64_t stretch)
{
    struct near_key k = {.kind = (uint8_t)kind, .stretch = stretch};
    if (kind == NEAR_SERVER || kind == NEAR_SERVER_NAME || kind == NEAR_PAIR) {
        memcpy(k.address[0], r->server, 16);
        k.port = r->port;
        k.protocol = r->protocol;
    }
    if (kind == NEAR_PAIR || kind == NEAR_CLIENT)
        memcpy(k.address[1], r->client, 16);
    if (kind == NEAR_SERVER_NAME || kind == NAME_ANYWHERE)
        k.name = r->name;
    return k;
}

static void count_near(struct tscope_scan *s, const struct fate_row *r)
{
    for (int kind = NEAR_SERVER; kind <= NAME_ANYWHERE; kind++) {
        if (!r->name && (kind == NEAR_SERVER_NAME || kind == NAME_ANYWHERE))
            continue;
        bool made;
        struct near_key key = near_key(r, (enum near_kind)kind, kind == NAME_ANYWHERE ? 0 : r->stretch);
        struct near *n = entry(&s->context.near, &key, &made);
        if (n)
            n->count[r->fate]++;
    }
}

void context_settle(struct tscope_scan *s)
{
    struct context *c = &s->context;
    for (uint32_t i = 0; i < c->n_log; i++)
        count_near(s, &c->log[i]);
    c->n_log = 0;
}

static void log_fate(struct tscope_scan *s, const struct fate_row *r)
{
    struct context *c = &s->context;
    if (c->n_log == LOG_ROWS)
        context_settle(s);
    if (c->n_log == c->room_log) {
        uint32_t room = c->room_log ? 2 * c->room_log : 256;
        struct fate_row *log = mem_resize(c->log, room, sizeof *log);
        if (!log)
            return;
        c->log = log;
        c->room_log = room;
    }
    c->log[c->n_log++] = *r;
}

static struct server_key server_key(const struct tscope_flow *row)
{
    struct server_key k = {.port = row->server_port, .protocol = row->protocol};
    memcpy(k.address, row->server, 16);
    return k;
}

void context_flow(struct tscope_scan *s, const struct tscope_flow *row, const uint8_t *name, const uint8_t rst_ttl)
{
    enum fate fate = fate_of(row);
    if (fate != FATE_UNKNOWN) {
        struct fate_row r = fate_row(row, digest_name(name, row->name_length), fate);
        log_fate(s, &r);
    }
    if (row->protocol != 6)
        return;
    struct server_key key = server_key(row);
    bool made;
    struct server *v = entry(&s->context.servers, &key, &made);
    if (!v)
        return;
    if (made)
        v->min_rtt_ns = TSCOPE_NO_NS;
    v->flows++;
    v->reached += fate == FATE_REACHED;
    v->reset += fate == FATE_RESET;
    widen(&v->rst_ttl_min, &v->rst_ttl_max, rst_ttl, rst_ttl);
    if (row->marks)                                    /* what may be forged is no baseline */
        return;
    widen(&v->ttl_min, &v->ttl_max, row->ttl_min[1], row->ttl_max[1]);
    if (row->rtt_server_ns > 0 && (v->min_rtt_ns < 0 || row->rtt_server_ns < v->min_rtt_ns))
        v->min_rtt_ns = row->rtt_server_ns;
}

/* Counts of a kind around the candidate, itself left out. */
static void sum_near(const struct tscope_scan *s, const struct fate_row *r, enum near_kind kind, uint32_t count[3])
{
    bool anywhere = kind == NAME_ANYWHERE;
    int64_t at = anywhere ? 0 : r->stretch;
    count[0] = count[1] = count[2] = 0;
    for (int64_t stretch = at - !anywhere; stretch <= at + !anywhere; stretch++) {
        struct near_key key = near_key(r, kind, stretch);
        const struct near *n = lookup(&s->context.near, &key);
        for (unsigned i = 0; n && i < 3; i++)
            count[i] += n->count[i];
    }
    if (r->fate != FATE_UNKNOWN)
        count[r->fate] = without(count[r->fate], true);
}

void context_of_flow(struct tscope_scan *s, const struct tscope_flow *row, const uint8_t *text,
                     struct tscope_flow_context *out)
{
    enum fate own = fate_of(row);
    struct fate_row r = fate_row(row, digest_name(text + row->name_offset, row->name_length), own);
    uint32_t n[3];
    *out = (struct tscope_flow_context){.server_min_rtt_ns = TSCOPE_NO_NS};
    sum_near(s, &r, NEAR_SERVER, n);
    out->near_server_reached = n[0];
    out->near_server_silent = n[1];
    sum_near(s, &r, NEAR_PAIR, n);
    out->near_pair_reached = n[0];
    out->near_pair_silent = n[1];
    sum_near(s, &r, NEAR_CLIENT, n);
    out->near_client_reached = n[0];
    out->near_client_silent = n[1];
    if (r.name) {
        sum_near(s, &r, NEAR_SERVER_NAME, n);
        out->near_name_reached = n[0];
        out->near_name_silent = n[1];
        sum_near(s, &r, NAME_ANYWHERE, n);
        out->name_reached = n[0];
        out->name_silent = n[1];
        out->name_reset = n[2];
    }
    struct server_key key = server_key(row);
    const struct server *v = lookup(&s->context.servers, &key);
    if (!v)
        return;
    out->server_min_rtt_ns = v->min_rtt_ns;
    out->server_flows = without(v->flows, true);
    out->server_reached = without(v->reached, own == FATE_REACHED);
    out->server_reset = without(v->reset, own == FATE_RESET);
    out->server_ttl_min = v->ttl_min;
    out->server_ttl_max = v->ttl_max;
    out->server_rst_ttl_min = v->rst_ttl_min;
    out->server_rst_ttl_max = v->rst_ttl_max;
}

/* ---------------------------------------------------------------- resolvers */

static unsigned rtt_bucket(int64_t ns)
{
    uint64_t us = (uint64_t)ns / 1000 + 1;
    unsigned octave = 63 - (unsigned)__builtin_clzll(us);
    unsigned half = octave ? (us >> (octave - 1)) & 1 : 0;
    unsigned bucket = 2 * octave + half;
    return bucket < RTT_BUCKETS ? bucket : RTT_BUCKETS - 1;
}

static int64_t median_rtt(const struct resolver *r)
{
    uint64_t below = 0;
    for (unsigned i = 0; i < RTT_BUCKETS; i++) {
        below += r->rtt[i];
        if (2 * below >= r->timed)
            return (int64_t)(((uint64_t)(2 + (i & 1)) << (i / 2)) / 2 * 1000);
    }
    return TSCOPE_NO_NS;
}

bool context_answer(struct tscope_scan *s, const uint8_t resolver[16], int64_t rtt_ns, struct answered now,
                    struct answered *before)
{
    bool made;
    struct resolver *r = entry(&s->context.resolvers, resolver, &made);
    *before = (struct answered){0, 0, -1};
    if (!r)
        return false;
    if (made) {
        r->min_rtt_ns = TSCOPE_NO_NS;
        r->last.ip_id = -1;
    }
    *before = r->last;
    r->last = now;
    if (rtt_ns < 0)
        return false;
    return r->timed >= 4 && r->min_rtt_ns > 0 && rtt_ns < r->min_rtt_ns / 4;
}

static void count_ttl(struct resolver *r, uint8_t ttl)
{
    for (unsigned i = 0; i < TTL_VALUES; i++)
        if (r->ttl[i] == ttl || !r->ttl_count[i]) {
            r->ttl[i] = ttl;
            r->ttl_count[i]++;
            return;
        }
}

static void count_rtt(struct resolver *r, int64_t ns)
{
    unsigned bucket = rtt_bucket(ns);
    if (r->rtt[bucket] < UINT16_MAX) {
        r->rtt[bucket]++;
        r->timed++;
    }
    if (r->min_rtt_ns < 0 || ns < r->min_rtt_ns)
        r->min_rtt_ns = ns;
}

static const struct tscope_message *first_answer(const struct tscope_transaction *t, const struct tscope_message *m)
{
    for (uint32_t i = 0; i < t->message_count; i++)
        if (m[i].is_answer)
            return &m[i];
    return NULL;
}

static uint64_t digest_address(const uint8_t address[16])
{
    return digest_finish(digest_bytes(DIGEST_START, address, 16));
}

static void remember_answer(struct tscope_scan *s, const struct tscope_transaction *t, const struct tscope_message *a,
                            uint64_t name)
{
    bool made;
    uint64_t key[2] = {name, t->type};
    struct answers *v = entry(&s->context.answers, key, &made);
    if (!v)
        return;
    struct answer *slot = &v->recent[v->seen++ % RECENT];
    *slot = (struct answer){.transaction = t->number, .resolver = digest_address(t->server)};
    for (; slot->n < 4 && slot->n < a->n_addresses; slot->n++)
        slot->address[slot->n] = digest_address(a->addresses[slot->n]);
}

static void remember_address(struct tscope_scan *s, const struct tscope_transaction *t, const struct tscope_message *a,
                             uint64_t name)
{
    bool made;
    uint8_t key[32];
    memcpy(key, t->server, 16);
    memcpy(key + 16, a->addresses[0], 16);
    struct address *v = entry(&s->context.addresses, key, &made);
    if (!v)
        return;
    if (made)
        v->first_name = name;
    if (made || (name != v->first_name && name != v->last_name))
        v->names++;
    v->last_name = name;
}

void context_transaction(struct tscope_scan *s, const struct tscope_transaction *t, const struct tscope_message *m,
                         const uint8_t *name)
{
    bool made;
    struct resolver *r = entry(&s->context.resolvers, t->server, &made);
    const struct tscope_message *a = first_answer(t, m);
    uint64_t digest = digest_name(name, t->name_length);
    if (a && a->n_addresses) {
        remember_answer(s, t, a, digest);
        remember_address(s, t, a, digest);
    }
    if (!r)
        return;
    if (made) {
        r->min_rtt_ns = TSCOPE_NO_NS;
        r->last.ip_id = -1;
    }
    if (!a) {
        r->unanswered++;
    } else if (t->marks & TSCOPE_MARK_ANSWERS_DIFFER) {
        r->conflicting++;
    } else {
        r->answered++;
        r->special += (t->marks & TSCOPE_MARK_SPECIAL_ADDRESS) != 0;
        r->global_ += a->address_kind == TSCOPE_ADDR_GLOBAL;
        r->ip_id_copied += (t->marks & TSCOPE_MARK_IP_ID_COPIED) != 0;
        count_ttl(r, a->ttl);
        if (t->queries && !(t->marks & TSCOPE_MARK_TOO_FAST))
            count_rtt(r, t->answer_ns - t->query_ns);
    }
}

/* The candidate's own part is taken out again: it was counted when it settled. */
static void of_resolver(const struct resolver *r, const struct tscope_transaction *t, const struct tscope_message *a,
                        struct tscope_transaction_context *out)
{
    bool conflicting = a && (t->marks & TSCOPE_MARK_ANSWERS_DIFFER), consistent = a && !conflicting;
    out->min_rtt_ns = r->min_rtt_ns;
    out->median_rtt_ns = r->timed ? median_rtt(r) : TSCOPE_NO_NS;
    out->answered = without(r->answered, consistent);
    out->unanswered = without(r->unanswered, !a);
    out->conflicting = without(r->conflicting, conflicting);
    out->special = without(r->special, consistent && (t->marks & TSCOPE_MARK_SPECIAL_ADDRESS));
    out->global_ = without(r->global_, consistent && a->address_kind == TSCOPE_ADDR_GLOBAL);
    out->ip_id_copied = without(r->ip_id_copied, consistent && (t->marks & TSCOPE_MARK_IP_ID_COPIED));
    for (unsigned i = 0; i < TTL_VALUES; i++) {
        uint32_t n = without(r->ttl_count[i], consistent && r->ttl[i] == a->ttl);
        if (n > out->ttl_mode_count) {
            out->ttl_mode_count = n;
            out->ttl_mode = r->ttl[i];
        }
        if (a && r->ttl[i] == a->ttl)
            out->ttl_count = n;
    }
}

static bool shares_address(const struct answer *answer, const struct tscope_transaction *t,
                           const struct tscope_message *m)
{
    for (uint32_t i = 0; i < t->message_count; i++)
        for (unsigned k = 0; m[i].is_answer && k < 4 && k < m[i].n_addresses; k++)
            for (uint32_t n = 0; n < answer->n; n++)
                if (answer->address[n] == digest_address(m[i].addresses[k]))
                    return true;
    return false;
}

static void of_name(const struct answers *v, const struct tscope_transaction *t, const struct tscope_message *m,
                    struct tscope_transaction_context *out)
{
    uint64_t resolver = digest_address(t->server);
    for (uint64_t i = 0; i < RECENT && i < v->seen; i++) {
        const struct answer *answer = &v->recent[i];
        if (answer->transaction == t->number)
            continue;
        bool agrees = shares_address(answer, t, m), other = answer->resolver != resolver;
        out->name_agrees += agrees;
        out->name_differs += !agrees;
        out->other_resolver_agrees += agrees && other;
        out->other_resolver_differs += !agrees && other;
    }
}

void context_of_transaction(struct tscope_scan *s, const struct tscope_transaction *t, const struct tscope_message *m,
                            const uint8_t *text, struct tscope_transaction_context *out)
{
    const struct tscope_message *a = first_answer(t, m);
    uint64_t key[2] = {digest_name(text + t->name_offset, t->name_length), t->type};
    const struct resolver *r = lookup(&s->context.resolvers, t->server);
    out->min_rtt_ns = out->median_rtt_ns = TSCOPE_NO_NS;
    if (r)
        of_resolver(r, t, a, out);
    const struct answers *answers = lookup(&s->context.answers, key);
    if (answers && a)
        of_name(answers, t, m, out);
    if (!a || !a->n_addresses)
        return;
    uint8_t pair[32];
    memcpy(pair, t->server, 16);
    memcpy(pair + 16, a->addresses[0], 16);
    const struct address *v = lookup(&s->context.addresses, pair);
    out->address_names = v && v->names ? v->names - 1 : 0;
}
