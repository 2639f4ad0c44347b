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
    uint32_t flows, reached, reset, connected;
    uint8_t ttl_min, ttl_max, rst_ttl[RST_TTLS];
};

/* An address, whatever the port. */
struct host {
    uint8_t address[16];
    uint32_t min_rtt_us;          /* 0: none */
    uint8_t ttl_min, ttl_max, zero[2];
};

enum near_kind {
    NEAR_SERVER = 1, NEAR_SERVER_NAME, NEAR_PAIR, NEAR_CLIENT, NAME_ANYWHERE, NEAR_PORT, NEAR_CLIENT_QUIC
};

struct near_key {
    uint64_t name;
    int64_t stretch;
    uint8_t address[2][16];
    uint16_t port;
    uint8_t protocol, kind, zero[4];
};

struct near {
    struct near_key key;
    int64_t last_ns;              /* latest answer of a reached flow; 0: none */
    int64_t connected_ns;         /* beginning of the latest flow that was connected */
    uint64_t connected_slots;     /* when such flows began: a bit for each 64th of the stretch */
    uint32_t count[4];            /* by enum fate; of them all, the disturbed ones under DISTURBED */
    uint32_t large;               /* of those reached */
    uint32_t heard;               /* of those silent: the server acknowledged something */
    uint32_t connect[4];          /* by enum connect; [CONNECT_NONE] is not counted */
};

enum fate { FATE_REACHED, FATE_SILENT, FATE_RESET, FATE_UNKNOWN };
enum { DISTURBED = 3 };
enum connect { CONNECT_NONE, CONNECTED, IGNORED, PROHIBITED };
enum { LARGE = 32 << 10 };        /* beyond what boxes let pass that cut deliveries (up to 25 KB) */

/* A reset unlike its sender, too early, or followed by its sender's own packets. */
enum {
    ODD_MARKS = TSCOPE_MARK_RST_UNLIKE | TSCOPE_MARK_SENDS_AFTER_RST | TSCOPE_MARK_RST_TOO_EARLY | TSCOPE_MARK_RST_FLAGS |
                TSCOPE_MARK_RST_IP_ID
};

_Static_assert(sizeof(struct server_key) == 24 && sizeof(struct host) == 24 && sizeof(struct near_key) == 56, "whole words");

int context_init(struct tscope_scan *s)
{
    struct context *c = &s->context;
    uint32_t limit = (uint32_t)s->options.context_entries;
    if (table_init(&c->servers, sizeof(struct server), 3, limit, &s->key) ||
        table_init(&c->hosts, sizeof(struct host), 2, limit, &s->key) ||
        table_init(&c->near, sizeof(struct near), 7, limit, &s->key))
        return TSCOPE_E_MEMORY;
    return context_dns_init(s);
}

void context_end(struct tscope_scan *s)
{
    struct context *c = &s->context;
    table_end(&c->servers);
    table_end(&c->hosts);
    table_end(&c->near);
    mem_free(c->log);
    context_dns_end(s);
}

uint64_t context_evicted(const struct tscope_scan *s)
{
    const struct context *c = &s->context;
    return c->servers.evicted + c->hosts.evicted + c->near.evicted + context_dns_evicted(s);
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
    if (row->marks & TSCOPE_MARK_STALLED)
        return FATE_SILENT;
    if (row->answer_ns != TSCOPE_NO_NS)
        return FATE_REACHED;
    if (row->resets[1])
        return FATE_RESET;
    if (row->protocol == 17 && !(row->facts & TSCOPE_FACT_TRIGGER_REPEATED))
        return FATE_UNKNOWN;                           /* TCP won the race, or one packet was lost */
    bool short_ = (row->facts & TSCOPE_FACT_CUT_BY_END) && row->final_ns - row->trigger_ns < 3 * SECOND;
    return short_ || (row->facts & TSCOPE_FACT_ONE_WAY && row->protocol == 6) ? FATE_UNKNOWN : FATE_SILENT;
}

/* Who met which fate where and when: what `near` counts.  Most captures have no candidate and never ask, so flows are
 * only logged at first, and counted when the log is full or a candidate is to be judged. */
struct fate_row {
    uint8_t server[16], client[16];
    uint64_t name;
    int64_t answer_ns, first_ns;
    int32_t stretch;
    uint32_t rtt_us;
    uint16_t port;
    uint8_t protocol, fate, connect, large, heard, disturbed;
    uint8_t ttl_min, ttl_max, zero[6];
};
_Static_assert(sizeof(struct fate_row) == 80, "no padding");
enum { LOG_ROWS = 1 << 16 };

/* How the handshake fared.  A SYN that was not repeated may be a scan's. */
static enum connect connect_of(const struct tscope_flow *row)
{
    if (row->protocol != 6 || !(row->facts & TSCOPE_FACT_SYN))
        return CONNECT_NONE;
    if (row->facts & TSCOPE_FACT_SYN_ACK)
        return CONNECTED;
    if (row->marks & TSCOPE_MARK_PROHIBITED)
        return PROHIBITED;
    return (row->marks & TSCOPE_MARK_SYN_UNANSWERED) && row->packets[0] > 1 ? IGNORED : CONNECT_NONE;
}

static struct fate_row fate_row(const struct tscope_flow *row, uint64_t name, enum fate fate)
{
    int64_t at = row->trigger_ns == TSCOPE_NO_NS ? row->first_ns : row->trigger_ns;
    struct fate_row r = {.name = name, .stretch = (int32_t)(at / NEAR_NS), .port = row->server_port,
                         .protocol = row->protocol, .fate = (uint8_t)fate, .answer_ns = row->answer_ns,
                         .first_ns = row->first_ns, .connect = (uint8_t)connect_of(row), .large = row->bytes[1] >= LARGE};
    if (r.connect == CONNECTED && !(row->marks & ~(uint32_t)(TSCOPE_MARK_STALLED | TSCOPE_MARK_ISSUER_PRIVATE))) {
        r.rtt_us = row->rtt_server_ns > 0 ? (uint32_t)(row->rtt_server_ns / 1000) : 0;
        r.ttl_min = row->ttl_min[1];
        r.ttl_max = row->ttl_max[1];
    }
    r.disturbed = row->protocol == 6 && fate != FATE_UNKNOWN && (fate == FATE_RESET || (row->marks & ODD_MARKS));
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
    if (kind == NEAR_PAIR || kind == NEAR_CLIENT || kind == NEAR_CLIENT_QUIC)
        memcpy(k.address[1], r->client, 16);
    if (kind == NEAR_PORT)
        k.port = r->port;
    if (kind == NEAR_SERVER_NAME || kind == NAME_ANYWHERE)
        k.name = r->name;
    return k;
}

/* Whether a kind of entry takes note of such a flow. */
static bool is_of_kind(const struct fate_row *r, int kind)
{
    switch (kind) {
    case NEAR_SERVER_NAME: case NAME_ANYWHERE: return r->name && r->fate != FATE_UNKNOWN;
    case NEAR_PORT: return r->connect == CONNECTED;
    case NEAR_CLIENT_QUIC: return r->protocol == 17 && r->fate != FATE_UNKNOWN;
    default: return true;
    }
}

static unsigned slot_of(int64_t ns)
{
    int64_t into = ns % NEAR_NS;
    return into < 0 ? 0 : (unsigned)(into * 64 / NEAR_NS);
}

static void count_near(struct tscope_scan *s, const struct fate_row *r)
{
    for (int kind = NEAR_SERVER; kind <= NEAR_CLIENT_QUIC; kind++) {
        if (!is_of_kind(r, kind))
            continue;
        bool made;
        struct near_key key = near_key(r, (enum near_kind)kind, kind == NAME_ANYWHERE ? 0 : r->stretch);
        struct near *n = context_entry(&s->context.near, &key, &made);
        if (!n)
            continue;
        if (r->fate != FATE_UNKNOWN)
            n->count[r->fate]++;
        n->count[DISTURBED] += r->disturbed;
        n->heard += r->heard;
        if (r->fate == FATE_REACHED) {
            n->large += r->large;
            n->last_ns = r->answer_ns > n->last_ns ? r->answer_ns : n->last_ns;
        }
        if (r->connect == CONNECTED) {
            n->connected_ns = r->first_ns > n->connected_ns ? r->first_ns : n->connected_ns;
            n->connected_slots |= (uint64_t)1 << slot_of(r->first_ns);
        }
        n->connect[r->connect] += r->connect != CONNECT_NONE;
    }
}

static void count_host(struct tscope_scan *s, const struct fate_row *r)
{
    bool made;
    struct host *h = r->connect == CONNECTED ? context_entry(&s->context.hosts, r->server, &made) : NULL;
    if (!h)
        return;
    widen(&h->ttl_min, &h->ttl_max, r->ttl_min, r->ttl_max);
    if (r->rtt_us && (!h->min_rtt_us || r->rtt_us < h->min_rtt_us))
        h->min_rtt_us = r->rtt_us;
}

void context_settle(struct tscope_scan *s)
{
    struct context *c = &s->context;
    for (uint32_t i = 0; i < c->n_log; i++) {
        count_near(s, &c->log[i]);
        count_host(s, &c->log[i]);
    }
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

void context_flow(struct tscope_scan *s, const struct tscope_flow *row, const uint8_t *name, uint8_t rst_ttl, bool heard)
{
    enum fate fate = fate_of(row);
    if (fate != FATE_UNKNOWN || connect_of(row) != CONNECT_NONE) {
        struct fate_row r = fate_row(row, context_digest(name, row->name_length), fate);
        r.heard = heard && fate == FATE_SILENT;
        log_fate(s, &r);
    }
    if (row->trigger == TSCOPE_TRIGGER_QUIC_INITIAL && fate <= FATE_SILENT)
        s->context.quic[fate]++;
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
    v->connected += (row->facts & TSCOPE_FACT_SYN_ACK) != 0;
    add_ttl(v, rst_ttl);
    if (row->marks & ~(uint32_t)TSCOPE_MARK_ISSUER_PRIVATE)   /* what may be forged is no baseline */
        return;
    widen(&v->ttl_min, &v->ttl_max, row->ttl_min[1], row->ttl_max[1]);
    if (row->rtt_server_ns > 0 && (v->min_rtt_ns < 0 || row->rtt_server_ns < v->min_rtt_ns))
        v->min_rtt_ns = row->rtt_server_ns;
}

bool context_has_connected(const struct tscope_scan *s, const struct flow_key *key, unsigned server)
{
    struct server_key k = {.port = key->port[server], .protocol = key->protocol};
    memcpy(k.address, key->address[server], 16);
    const struct server *v = context_lookup(&s->context.servers, &k);
    return v && v->connected;
}

/* Sums of a kind around the candidate, itself left out. */
static struct near sum_near(const struct tscope_scan *s, const struct fate_row *r, enum near_kind kind)
{
    bool anywhere = kind == NAME_ANYWHERE;
    int64_t at = anywhere ? 0 : r->stretch;
    struct near sum = {.last_ns = 0};
    for (int64_t stretch = at - !anywhere; stretch <= at + !anywhere; stretch++) {
        struct near_key key = near_key(r, kind, stretch);
        const struct near *n = context_lookup(&s->context.near, &key);
        if (!n)
            continue;
        for (unsigned i = 0; i < 4; i++)
            sum.count[i] += n->count[i];
        for (unsigned i = 0; i < 4; i++)
            sum.connect[i] += n->connect[i];
        sum.large += n->large;
        sum.heard += n->heard;
        sum.last_ns = n->last_ns > sum.last_ns ? n->last_ns : sum.last_ns;
        sum.connected_ns = n->connected_ns > sum.connected_ns ? n->connected_ns : sum.connected_ns;
    }
    if (!is_of_kind(r, kind))
        return sum;
    if (r->fate != FATE_UNKNOWN)
        sum.count[r->fate] = context_without(sum.count[r->fate], true);
    sum.count[DISTURBED] = context_without(sum.count[DISTURBED], r->disturbed);
    sum.connect[r->connect] = context_without(sum.connect[r->connect], r->connect != CONNECT_NONE);
    return sum;
}

/* Did the server accept a connection while this flow was trying: in a slot between that of its first packet and that of
 * its last one, within two stretches. */
static bool connected_during(const struct tscope_scan *s, const struct fate_row *r, const struct tscope_flow *row)
{
    for (int64_t stretch = r->stretch; stretch <= r->stretch + 1; stretch++) {
        struct near_key key = near_key(r, NEAR_SERVER, stretch);
        const struct near *n = context_lookup(&s->context.near, &key);
        int64_t begin = stretch * NEAR_NS;
        for (unsigned i = 0; n && i < 64; i++) {
            int64_t from = begin + i * (NEAR_NS / 64);
            if ((n->connected_slots >> i & 1) && from > row->first_ns && from + NEAR_NS / 64 <= row->last_ns)
                return true;
        }
    }
    return false;
}

static int64_t or_none(int64_t ns)
{
    return ns ? ns : TSCOPE_NO_NS;
}

/* How QUIC fares, and TCP beside it. */
static void of_quic(const struct tscope_scan *s, const struct fate_row *r, struct tscope_flow_context *out)
{
    struct fate_row other = *r;
    other.protocol = r->protocol == 6 ? 17 : 6;
    other.fate = FATE_UNKNOWN;
    other.connect = CONNECT_NONE;
    other.disturbed = 0;
    out->near_other_reached = sum_near(s, &other, NEAR_PAIR).count[FATE_REACHED];
    struct near quic = sum_near(s, r, NEAR_CLIENT_QUIC);
    out->near_quic_reached = quic.count[FATE_REACHED];
    out->near_quic_silent = quic.count[FATE_SILENT];
    bool own = r->protocol == 17;
    out->quic_reached = context_without(s->context.quic[FATE_REACHED], own && r->fate == FATE_REACHED);
    out->quic_silent = context_without(s->context.quic[FATE_SILENT], own && r->fate == FATE_SILENT);
}

void context_of_flow(struct tscope_scan *s, const struct tscope_flow *row, const uint8_t *text,
                     struct tscope_flow_context *out)
{
    enum fate own = fate_of(row);
    size_t length = row->name_from == TSCOPE_NAME_DNS_ANSWER ? 0 : row->name_length;
    struct fate_row r = fate_row(row, context_digest(text + row->name_offset, length), own);
    *out = (struct tscope_flow_context){.server_min_rtt_ns = TSCOPE_NO_NS, .host_min_rtt_ns = TSCOPE_NO_NS};
    struct near server = sum_near(s, &r, NEAR_SERVER), pair = sum_near(s, &r, NEAR_PAIR);
    struct near client = sum_near(s, &r, NEAR_CLIENT), port = sum_near(s, &r, NEAR_PORT);
    out->near_server_reached = server.count[FATE_REACHED];
    out->near_server_silent = server.count[FATE_SILENT];
    out->near_server_reset = server.count[FATE_RESET];
    out->near_server_disturbed = server.count[DISTURBED];
    out->near_server_large = server.large;
    out->near_server_last_ns = or_none(server.last_ns);
    out->near_server_connected = server.connect[CONNECTED];
    out->near_server_ignored = server.connect[IGNORED];
    out->server_connected_during = r.connect == IGNORED && connected_during(s, &r, row);
    out->near_server_connected_ns = or_none(server.connected_ns);
    out->near_pair_reached = pair.count[FATE_REACHED];
    out->near_pair_silent = pair.count[FATE_SILENT];
    out->near_pair_reset = pair.count[FATE_RESET];
    out->near_pair_large = pair.large;
    out->near_pair_last_ns = or_none(pair.last_ns);
    out->near_pair_heard = pair.heard;
    out->near_pair_connected = pair.connect[CONNECTED];
    out->near_pair_connected_ns = or_none(pair.connected_ns);
    out->near_pair_ignored = pair.connect[IGNORED];
    out->near_client_reached = client.count[FATE_REACHED];
    out->near_client_silent = client.count[FATE_SILENT];
    out->near_client_last_ns = or_none(client.last_ns);
    out->near_client_connected = client.connect[CONNECTED];
    out->near_client_ignored = client.connect[IGNORED];
    out->near_client_prohibited = client.connect[PROHIBITED];
    out->near_client_connected_ns = or_none(client.connected_ns);
    out->near_port_connected = port.connect[CONNECTED] > server.connect[CONNECTED]
                                   ? port.connect[CONNECTED] - server.connect[CONNECTED] : 0;
    of_quic(s, &r, out);
    if (r.name) {
        struct near named = sum_near(s, &r, NEAR_SERVER_NAME), anywhere = sum_near(s, &r, NAME_ANYWHERE);
        out->near_name_reached = named.count[FATE_REACHED];
        out->near_name_silent = named.count[FATE_SILENT];
        out->near_name_reset = named.count[FATE_RESET];
        out->near_name_disturbed = named.count[DISTURBED];
        out->name_reached = anywhere.count[FATE_REACHED];
        out->name_silent = anywhere.count[FATE_SILENT];
        out->name_reset = anywhere.count[FATE_RESET];
    }
    const struct host *h = context_lookup(&s->context.hosts, r.server);
    if (h) {
        out->host_min_rtt_ns = h->min_rtt_us ? (int64_t)h->min_rtt_us * 1000 : TSCOPE_NO_NS;
        out->host_ttl_min = h->ttl_min;
        out->host_ttl_max = h->ttl_max;
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
