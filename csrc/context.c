/* What one flow cannot show: tables over the whole capture, bounded, the least recently used out first.
 *
 * Workload: some updates for each flow that ends, none per packet.  An entry that was evicted means "no baseline", never
 * "no difference": a look-up that finds nothing gives zeroes. */
#include "context.h"
#include "memory.h"

/* ---------------------------------------------------------------- entries */

enum { RST_TTLS = 4 };

struct server_key {
    uint8_t address[16];
    uint16_t port;
    uint8_t protocol, zero[5];
};

struct server {
    struct server_key key;
    int64_t min_rtt_ns;
    uint32_t flows, reached, reset;
    uint8_t ttl_min, ttl_max, rst_ttl[RST_TTLS];
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
    uint32_t count[4];            /* by enum fate; of them all, the disturbed ones under DISTURBED */
};

enum fate { FATE_REACHED, FATE_SILENT, FATE_RESET, FATE_UNKNOWN };
enum { DISTURBED = 3, FATE_DISTURBED = 0x80 };

/* A reset unlike its sender, too early, or followed by its sender's own packets. */
enum {
    ODD_MARKS = TSCOPE_MARK_RST_UNLIKE | TSCOPE_MARK_SENDS_AFTER_RST | TSCOPE_MARK_RST_TOO_EARLY | TSCOPE_MARK_RST_FLAGS |
                TSCOPE_MARK_RST_IP_ID
};

_Static_assert(sizeof(struct server_key) == 24 && sizeof(struct near_key) == 56, "whole words");

int context_init(struct tscope_scan *s)
{
    struct context *c = &s->context;
    uint32_t limit = (uint32_t)s->options.context_entries;
    if (table_init(&c->servers, sizeof(struct server), 3, limit, &s->key) ||
        table_init(&c->near, sizeof(struct near), 7, limit, &s->key))
        return TSCOPE_E_MEMORY;
    return context_dns_init(s);
}

void context_end(struct tscope_scan *s)
{
    struct context *c = &s->context;
    table_end(&c->servers);
    table_end(&c->near);
    mem_free(c->log);
    context_dns_end(s);
}

uint64_t context_evicted(const struct tscope_scan *s)
{
    const struct context *c = &s->context;
    return c->servers.evicted + c->near.evicted + context_dns_evicted(s);
}

static void widen(uint8_t *min, uint8_t *max, uint8_t from, uint8_t to)
{
    if (from && (!*min || from < *min))
        *min = from;
    if (to > *max)
        *max = to;
}

/* ---------------------------------------------------------------- flows */

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
    uint8_t protocol, fate;       /* enum fate, and FATE_DISTURBED */
};
_Static_assert(sizeof(struct fate_row) == 48, "no padding");
enum { LOG_ROWS = 1 << 16 };

static struct fate_row fate_row(const struct tscope_flow *row, uint64_t name, enum fate fate)
{
    struct fate_row r = {.name = name, .stretch = (int32_t)(row->trigger_ns / NEAR_NS), .port = row->server_port,
                         .protocol = row->protocol, .fate = (uint8_t)fate};
    if (row->protocol == 6 && (fate == FATE_RESET || (row->marks & ODD_MARKS)))
        r.fate |= FATE_DISTURBED;
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
        struct near *n = context_entry(&s->context.near, &key, &made);
        if (!n)
            continue;
        n->count[r->fate & ~FATE_DISTURBED]++;
        n->count[DISTURBED] += (r->fate & FATE_DISTURBED) != 0;
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

static void add_ttl(struct server *v, uint8_t ttl)
{
    for (unsigned i = 0; ttl && i < RST_TTLS; i++)
        if (v->rst_ttl[i] == ttl || !v->rst_ttl[i]) {
            v->rst_ttl[i] = ttl;
            return;
        }
}

void context_flow(struct tscope_scan *s, const struct tscope_flow *row, const uint8_t *name, const uint8_t rst_ttl)
{
    enum fate fate = fate_of(row);
    if (fate != FATE_UNKNOWN) {
        struct fate_row r = fate_row(row, context_digest(name, row->name_length), fate);
        log_fate(s, &r);
    }
    if (row->protocol != 6)
        return;
    struct server_key key = server_key(row);
    bool made;
    struct server *v = context_entry(&s->context.servers, &key, &made);
    if (!v)
        return;
    if (made)
        v->min_rtt_ns = TSCOPE_NO_NS;
    v->flows++;
    v->reached += fate == FATE_REACHED;
    v->reset += fate == FATE_RESET;
    add_ttl(v, rst_ttl);
    if (row->marks & ~(uint32_t)TSCOPE_MARK_ISSUER_PRIVATE)   /* what may be forged is no baseline */
        return;
    widen(&v->ttl_min, &v->ttl_max, row->ttl_min[1], row->ttl_max[1]);
    if (row->rtt_server_ns > 0 && (v->min_rtt_ns < 0 || row->rtt_server_ns < v->min_rtt_ns))
        v->min_rtt_ns = row->rtt_server_ns;
}

/* Counts of a kind around the candidate, itself left out. */
static void sum_near(const struct tscope_scan *s, const struct fate_row *r, enum near_kind kind, uint32_t count[4])
{
    bool anywhere = kind == NAME_ANYWHERE;
    int64_t at = anywhere ? 0 : r->stretch;
    memset(count, 0, 4 * sizeof *count);
    for (int64_t stretch = at - !anywhere; stretch <= at + !anywhere; stretch++) {
        struct near_key key = near_key(r, kind, stretch);
        const struct near *n = context_lookup(&s->context.near, &key);
        for (unsigned i = 0; n && i < 4; i++)
            count[i] += n->count[i];
    }
    unsigned fate = r->fate & ~(unsigned)FATE_DISTURBED;
    if (fate == FATE_UNKNOWN)
        return;
    count[fate] = context_without(count[fate], true);
    count[DISTURBED] = context_without(count[DISTURBED], (r->fate & FATE_DISTURBED) != 0);
}

void context_of_flow(struct tscope_scan *s, const struct tscope_flow *row, const uint8_t *text,
                     struct tscope_flow_context *out)
{
    enum fate own = fate_of(row);
    struct fate_row r = fate_row(row, context_digest(text + row->name_offset, row->name_length), own);
    uint32_t n[4];
    *out = (struct tscope_flow_context){.server_min_rtt_ns = TSCOPE_NO_NS};
    sum_near(s, &r, NEAR_SERVER, n);
    out->near_server_reached = n[0];
    out->near_server_silent = n[1];
    out->near_server_reset = n[2];
    out->near_server_disturbed = n[DISTURBED];
    sum_near(s, &r, NEAR_PAIR, n);
    out->near_pair_reached = n[0];
    out->near_pair_silent = n[1];
    out->near_pair_reset = n[2];
    sum_near(s, &r, NEAR_CLIENT, n);
    out->near_client_reached = n[0];
    out->near_client_silent = n[1];
    if (r.name) {
        sum_near(s, &r, NEAR_SERVER_NAME, n);
        out->near_name_reached = n[0];
        out->near_name_silent = n[1];
        out->near_name_reset = n[2];
        out->near_name_disturbed = n[DISTURBED];
        sum_near(s, &r, NAME_ANYWHERE, n);
        out->name_reached = n[0];
        out->name_silent = n[1];
        out->name_reset = n[2];
    }
    struct server_key key = server_key(row);
    const struct server *v = context_lookup(&s->context.servers, &key);
    if (!v)
        return;
    out->server_min_rtt_ns = v->min_rtt_ns;
    out->server_flows = context_without(v->flows, true);
    out->server_reached = context_without(v->reached, own == FATE_REACHED);
    out->server_reset = context_without(v->reset, own == FATE_RESET);
    out->server_ttl_min = v->ttl_min;
    out->server_ttl_max = v->ttl_max;
    memcpy(out->server_rst_ttl, v->rst_ttl, sizeof v->rst_ttl);
}
