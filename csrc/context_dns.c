/* What one transaction cannot show: the habits of its resolver, what others were answered to its name, and who was
 * answered at all at the time.  Tables as in context.c, and likewise an entry that is not there means "no baseline".
 *
 * Transactions with answers that differ are counted apart: what may be forged is no baseline. */
#include "context.h"
#include "memory.h"

enum { RTT_BUCKETS = 40, TTL_VALUES = 4, RECENT = 8, CONTESTERS = 4, ENOUGH = 4 };
enum { TYPE_A = 1, TYPE_AAAA = 28, RCODE_SERVFAIL = 2, RCODE_NXDOMAIN = 3, RCODE_REFUSED = 5 };
enum { FLAG_AA = 0x0400, FLAG_TC = 0x0200, FLAG_RD = 0x0100, FLAG_RA = 0x0080 };

/* ---------------------------------------------------------------- entries */

/* One distance from which a resolver answers. */
struct distance {
    int64_t first_ns, last_ns;
    uint32_t count;
    uint32_t vouched;             /* answers from here that another distance gave for the same name, too */
    uint8_t ttl;
};

struct resolver {
    uint8_t address[16];
    int64_t min_rtt_ns;
    struct answered last;
    uint32_t answered, unanswered, conflicting, special, ordinary, ip_id_copied, timed;
    uint32_t authoritative, edns_asked, edns_answered;
    struct distance from[TTL_VALUES];
    uint16_t rtt[RTT_BUCKETS];    /* half octaves of microseconds */
};

enum content { CONTENT_OTHER, CONTENT_ORDINARY, CONTENT_SPECIAL, CONTENT_DENIED };

/* An answer to a name; the same one again from the same place is counted. */
struct answer {
    uint64_t transaction;         /* the latest */
    uint64_t resolver;            /* digest */
    uint64_t records;
    uint64_t address[4];          /* digests */
    uint32_t n, count;
    uint8_t ttl, content;
    bool odd;                     /* marked as strange: no witness for or against others */
};

struct answers {
    uint64_t name, type;
    uint64_t seen;                /* the latest RECENT different ones are kept */
    struct answer recent[RECENT];
};

struct address {
    uint64_t resolver, address;   /* digests; resolver 0: of any */
    uint64_t first_name, last_name;
    uint64_t contested[CONTESTERS];
    uint32_t names;               /* of one: about how many different ones */
    uint32_t n_contested;         /* of any: names that it was given to oddly, and others otherwise */
};

/* Who was answered when: logged first, as in context.c, and counted when a candidate is to be judged. */
struct dns_fate {
    uint8_t server[16], client[16];
    uint64_t name;
    int32_t stretch;
    uint16_t type;
    uint8_t fate, ttl;
    /* Of a silent one the TTL's place has how often it was asked. */
};
enum { FATE_ANSWERED, FATE_LATE, FATE_SILENT, FATES, FATE_UNKNOWN = FATES, LOG_ROWS = 1 << 16 };

enum near_kind { NEAR_RESOLVER, NEAR_PAIR, NEAR_NAME, NEAR_NAME_HERE, NEAR_TYPE, NEAR_TTL, NEAR_KINDS };

struct near_key {
    uint64_t name;
    int64_t stretch;
    uint8_t server[16], client[16];
    uint16_t type;
    uint8_t kind, ttl, zero[4];
};

struct near {
    struct near_key key;
    uint32_t count[FATES];
};

_Static_assert(sizeof(struct near_key) == 56 && sizeof(struct dns_fate) == 48, "no padding");

int context_dns_init(struct tscope_scan *s)
{
    uint32_t limit = (uint32_t)s->options.context_entries;
    if (table_init(&s->context.dns.resolvers, sizeof(struct resolver), 2, limit, &s->key) ||
        table_init(&s->context.dns.answers, sizeof(struct answers), 2, limit, &s->key) ||
        table_init(&s->context.dns.addresses, sizeof(struct address), 2, limit, &s->key) ||
        table_init(&s->context.dns.near, sizeof(struct near), 7, limit, &s->key))
        return TSCOPE_E_MEMORY;
    return TSCOPE_OK;
}

void context_dns_end(struct tscope_scan *s)
{
    table_end(&s->context.dns.resolvers);
    table_end(&s->context.dns.answers);
    table_end(&s->context.dns.addresses);
    table_end(&s->context.dns.near);
    mem_free(s->context.dns.log);
}

uint64_t context_dns_evicted(const struct tscope_scan *s)
{
    return s->context.dns.resolvers.evicted + s->context.dns.answers.evicted + s->context.dns.addresses.evicted +
           s->context.dns.near.evicted;
}

/* ---------------------------------------------------------------- who was answered when */

static struct near_key near_key(const struct dns_fate *r, enum near_kind kind, int64_t stretch)
{
    struct near_key k = {.kind = (uint8_t)kind, .stretch = stretch};
    if (kind != NEAR_NAME)
        memcpy(k.server, r->server, 16);
    if (kind == NEAR_PAIR)
        memcpy(k.client, r->client, 16);
    if (kind == NEAR_TYPE)
        k.type = r->type;
    if (kind == NEAR_NAME || kind == NEAR_NAME_HERE) {
        k.name = r->name;
        k.type = r->type == TYPE_AAAA ? TYPE_A : r->type;      /* clients ask both at once */
    }
    if (kind == NEAR_TTL)
        k.ttl = r->ttl;
    return k;
}

static uint32_t weight_of(const struct dns_fate *r)
{
    return r->fate == FATE_SILENT ? r->ttl : 1;
}

void context_dns_settle(struct tscope_scan *s)
{
    for (uint32_t i = 0; i < s->context.dns.n_log; i++) {
        const struct dns_fate *r = &s->context.dns.log[i];
        for (int kind = 0; kind < NEAR_KINDS; kind++) {
            bool made;
            struct near_key key = near_key(r, (enum near_kind)kind, r->stretch);
            struct near *n = context_entry(&s->context.dns.near, &key, &made);
            if (n)
                n->count[r->fate] += weight_of(r);
        }
    }
    s->context.dns.n_log = 0;
}

/* Clients repeat a lost question under another number as well: where a name was answered in the same stretch of time, its
 * unanswered questions were lost, not ignored. */
static void join_repeats(struct tscope_scan *s)
{
    struct table *t = &s->context.dns.near;
    for (uint32_t i = table_oldest(t); i != TABLE_NONE; i = table_newer(t, i)) {
        const struct near *here = table_at(t, i);
        if (here->key.kind != NEAR_NAME_HERE || !(here->count[FATE_ANSWERED] + here->count[FATE_LATE]))
            continue;
        struct near_key key = {.kind = NEAR_RESOLVER, .stretch = here->key.stretch};
        memcpy(key.server, here->key.server, 16);
        uint32_t place = table_find(t, &key), n = here->count[FATE_SILENT];
        struct near *all = place == TABLE_NONE ? NULL : table_at(t, place);
        if (!all || all->count[FATE_SILENT] < n)
            continue;
        all->count[FATE_SILENT] -= n;
        all->count[FATE_LATE] += n;
    }
}

void context_dns_ready(struct tscope_scan *s)
{
    context_dns_settle(s);
    if (!s->context.dns.joined)
        join_repeats(s);
    s->context.dns.joined = true;
}

/* What is no question to a recursive resolver, or was cut short by the capture's end, says nothing. */
static uint8_t fate_of(const struct tscope_transaction *t, const struct tscope_message *m)
{
    const struct tscope_message *query = NULL, *answer = NULL;
    for (uint32_t i = 0; i < t->message_count && !answer; i++)
        *(m[i].is_answer ? &answer : &query) = &m[i];
    if (!query || !(query->flags & FLAG_RD))
        return FATE_UNKNOWN;
    if (answer && (!(answer->flags & FLAG_RA) || answer->rcode == RCODE_SERVFAIL || answer->rcode == RCODE_REFUSED))
        return FATE_UNKNOWN;
    if (!answer)
        return t->final_ns - query->time_ns < 3 * SECOND && t->queries < 2 ? FATE_UNKNOWN : FATE_SILENT;
    return answer->time_ns - t->query_ns >= SECOND && query->time_ns > t->query_ns ? FATE_LATE : FATE_ANSWERED;
}

static struct dns_fate fate_row(const struct tscope_transaction *t, const struct tscope_message *m, uint64_t name,
                                const struct tscope_message *a)
{
    struct dns_fate r = {.name = name, .stretch = (int32_t)(t->first_ns / NEAR_NS), .type = t->type,
                         .fate = fate_of(t, m),
                         .ttl = a ? a->ttl : (uint8_t)(t->queries < UINT8_MAX ? t->queries : UINT8_MAX)};
    memcpy(r.server, t->server, 16);
    memcpy(r.client, t->client, 16);
    return r;
}

static void log_fate(struct tscope_scan *s, const struct dns_fate *r)
{
    if (r->fate == FATE_UNKNOWN)
        return;
    if (s->context.dns.n_log == LOG_ROWS)
        context_dns_settle(s);
    if (s->context.dns.n_log == s->context.dns.room_log) {
        uint32_t room = s->context.dns.room_log ? 2 * s->context.dns.room_log : 256;
        struct dns_fate *log = mem_resize(s->context.dns.log, room, sizeof *log);
        if (!log)
            return;
        s->context.dns.log = log;
        s->context.dns.room_log = room;
    }
    s->context.dns.log[s->context.dns.n_log++] = *r;
}

/* Counts of a kind around the candidate, itself left out. */
static void sum_near(const struct tscope_scan *s, const struct dns_fate *r, enum near_kind kind, uint32_t count[FATES])
{
    memset(count, 0, FATES * sizeof *count);
    for (int64_t stretch = r->stretch - 1; stretch <= r->stretch + 1; stretch++) {
        struct near_key key = near_key(r, kind, stretch);
        const struct near *n = context_lookup(&s->context.dns.near, &key);
        for (unsigned i = 0; n && i < FATES; i++)
            count[i] += n->count[i];
    }
    if (r->fate != FATE_UNKNOWN)                       /* an eviction may have taken it already */
        count[r->fate] -= count[r->fate] < weight_of(r) ? count[r->fate] : weight_of(r);
}

/* ---------------------------------------------------------------- habits of a resolver */

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

static struct resolver *resolver_at(struct tscope_scan *s, const uint8_t address[16])
{
    bool made;
    struct resolver *r = context_entry(&s->context.dns.resolvers, address, &made);
    if (r && made) {
        r->min_rtt_ns = TSCOPE_NO_NS;
        r->last.ip_id = -1;
    }
    return r;
}

bool context_answer(struct tscope_scan *s, const uint8_t resolver[16], int64_t rtt_ns, struct answered now,
                    struct answered *before)
{
    struct resolver *r = resolver_at(s, resolver);
    *before = (struct answered){0, 0, -1};
    if (!r)
        return false;
    *before = r->last;
    r->last = now;
    if (rtt_ns < 0)
        return false;
    return r->timed >= ENOUGH && r->min_rtt_ns > 0 && rtt_ns < r->min_rtt_ns / 4;
}

static struct distance *distance_at(struct resolver *r, uint8_t ttl)
{
    for (unsigned i = 0; i < TTL_VALUES; i++)
        if (r->from[i].count && r->from[i].ttl == ttl)
            return &r->from[i];
    return NULL;
}

static const struct distance *usual_distance(const struct resolver *r)
{
    const struct distance *usual = &r->from[0];
    for (unsigned i = 1; i < TTL_VALUES; i++)
        if (r->from[i].count > usual->count)
            usual = &r->from[i];
    return usual;
}

/* Where all places are taken, one that was seen once gives way. */
static void count_distance(struct resolver *r, uint8_t ttl, int64_t now)
{
    struct distance *d = distance_at(r, ttl);
    for (unsigned i = 0; i < TTL_VALUES && !d; i++)
        if (r->from[i].count == 0)
            d = &r->from[i];
    for (unsigned i = 0; i < TTL_VALUES && !d; i++)
        if (r->from[i].count == 1)
            d = &r->from[i];
    if (!d)
        return;
    if (d->ttl != ttl || !d->count)
        *d = (struct distance){.ttl = ttl, .first_ns = now, .last_ns = now};
    d->count++;
    d->first_ns = now < d->first_ns ? now : d->first_ns;
    d->last_ns = now > d->last_ns ? now : d->last_ns;
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

static bool far_apart(uint8_t a, uint8_t b)
{
    return a > b ? a - b > 1 : b - a > 1;              /* one hop more or less is a balanced path */
}

/* From a distance that is rare beside the usual one, from which half of all answers come at least. */
static bool is_unusual(struct resolver *r, uint8_t ttl)
{
    const struct distance *usual = usual_distance(r), *own = distance_at(r, ttl);
    return usual->count >= ENOUGH && 2 * usual->count >= r->answered && far_apart(usual->ttl, ttl) &&
           (own ? own->count : 0) * 4 <= usual->count;
}

/* ---------------------------------------------------------------- answers to a name */

static const struct tscope_message *first_answer(const struct tscope_transaction *t, const struct tscope_message *m)
{
    for (uint32_t i = 0; i < t->message_count; i++)
        if (m[i].is_answer)
            return &m[i];
    return NULL;
}

static bool asked_with_edns(const struct tscope_transaction *t, const struct tscope_message *m)
{
    return t->message_count && !m[0].is_answer && (m[0].what & TSCOPE_MSG_EDNS);
}

static bool is_ordinary(uint8_t kind)
{
    return kind == TSCOPE_ADDR_GLOBAL || kind == TSCOPE_ADDR_DOCUMENTATION;
}

static uint8_t content_of(const struct tscope_message *a)
{
    if (a->n_addresses)
        return a->address_kind == TSCOPE_ADDR_UNSPECIFIED ? CONTENT_DENIED
               : is_ordinary(a->address_kind)             ? CONTENT_ORDINARY
                                                          : CONTENT_SPECIAL;
    bool empty = a->rcode == 0 && !a->counts[1] && !(a->flags & FLAG_TC) && !(a->what & TSCOPE_MSG_CUT);
    return a->rcode == RCODE_NXDOMAIN || empty ? CONTENT_DENIED : CONTENT_OTHER;
}

static uint64_t digest_address(const uint8_t address[16])
{
    return context_digest(address, 16);
}

static struct answer answer_of(const struct tscope_transaction *t, const struct tscope_message *a)
{
    struct answer out = {.transaction = t->number, .resolver = digest_address(t->server), .ttl = a->ttl,
                         .records = a->records_digest ^ a->rcode, .content = content_of(a), .count = 1,
                         .odd = (t->marks & (TSCOPE_MARK_ANSWER_TTL | TSCOPE_MARK_TOO_FAST)) != 0};
    for (; out.n < 4 && out.n < a->n_addresses; out.n++)
        out.address[out.n] = digest_address(a->addresses[out.n]);
    return out;
}

static bool is_same(const struct answer *a, const struct answer *b)
{
    return a->resolver == b->resolver && a->records == b->records && a->ttl == b->ttl && a->content == b->content &&
           a->odd == b->odd;
}

static bool share_address(const struct answer *a, const struct answer *b)
{
    for (uint32_t i = 0; i < a->n; i++)
        for (uint32_t k = 0; k < b->n; k++)
            if (a->address[i] == b->address[k])
                return true;
    return false;
}

static struct address *address_at(struct tscope_scan *s, uint64_t resolver, uint64_t address)
{
    bool made;
    uint64_t key[2] = {resolver, address};
    return context_entry(&s->context.dns.addresses, key, &made);
}

static void contest(struct tscope_scan *s, const struct answer *a, uint64_t name)
{
    struct address *v = address_at(s, 0, a->address[0]);
    if (!v)
        return;
    for (uint32_t i = 0; i < v->n_contested; i++)
        if (v->contested[i] == name)
            return;
    if (v->n_contested < CONTESTERS)
        v->contested[v->n_contested++] = name;
}

/* What the new answer and an earlier one to the same name say of each other. */
static void compare(struct tscope_scan *s, struct resolver *r, const struct answer *new, const struct answer *old,
                    uint64_t name)
{
    if (new->content != CONTENT_ORDINARY || old->content != CONTENT_ORDINARY)
        return;
    if (!share_address(new, old)) {
        if (new->odd != old->odd)
            contest(s, new->odd ? new : old, name);
    } else if (far_apart(new->ttl, old->ttl)) {
        struct distance *here = distance_at(r, new->ttl), *there = distance_at(r, old->ttl);
        if (here)
            here->vouched++;
        if (there && old->resolver == new->resolver)
            there->vouched++;
    }
}

static void remember_answer(struct tscope_scan *s, struct resolver *r, const struct tscope_transaction *t,
                            const struct tscope_message *a, uint64_t name)
{
    bool made;
    uint64_t key[2] = {name, t->type};
    struct answers *v = context_entry(&s->context.dns.answers, key, &made);
    struct answer new = answer_of(t, a), *place = NULL;
    if (!v)
        return;
    for (uint64_t i = 0; i < RECENT && i < v->seen; i++) {
        if (is_same(&v->recent[i], &new))
            place = &v->recent[i];
        compare(s, r, &new, &v->recent[i], name);
    }
    if (place)
        new.count = place->count + 1;
    else
        place = &v->recent[v->seen++ % RECENT];
    *place = new;
}

static void remember_address(struct tscope_scan *s, const struct answer *a, uint64_t name)
{
    struct address *v = address_at(s, a->resolver, a->address[0]);
    if (!v)
        return;
    if (!v->names)
        v->first_name = name;
    if (!v->names || (name != v->first_name && name != v->last_name))
        v->names++;
    v->last_name = name;
}

static void count_answer(struct resolver *r, const struct tscope_transaction *t, const struct tscope_message *m,
                         const struct tscope_message *a)
{
    uint32_t odd = TSCOPE_MARK_TOO_FAST | TSCOPE_MARK_SPECIAL_ADDRESS | TSCOPE_MARK_ANSWER_TTL;
    r->answered++;
    r->special += (t->marks & TSCOPE_MARK_SPECIAL_ADDRESS) != 0;
    r->ordinary += is_ordinary(a->address_kind);
    r->ip_id_copied += (t->marks & TSCOPE_MARK_IP_ID_COPIED) != 0;
    r->authoritative += (a->flags & FLAG_AA) != 0;
    if (asked_with_edns(t, m)) {
        r->edns_asked++;
        r->edns_answered += (a->what & TSCOPE_MSG_EDNS) != 0;
    }
    count_distance(r, a->ttl, t->answer_ns);
    if (t->queries && !(t->marks & odd))
        count_rtt(r, t->answer_ns - t->query_ns);
}

/* Asked of a resolver that answers others, and long enough ago. */
static bool is_ignored(const struct resolver *r, const struct tscope_transaction *t, const struct tscope_message *m)
{
    bool asked = t->queries && t->message_count && (m[0].flags & FLAG_RD);
    return r->answered && asked && !(t->facts & TSCOPE_TFACT_LOCAL_NAME) && t->final_ns - t->query_ns >= 3 * SECOND;
}

void context_transaction(struct tscope_scan *s, struct tscope_transaction *t, const struct tscope_message *m,
                         const uint8_t *name)
{
    struct resolver *r = resolver_at(s, t->server);
    const struct tscope_message *a = first_answer(t, m);
    uint64_t digest = context_digest(name, t->name_length);
    struct dns_fate fate = fate_row(t, m, digest, a);
    log_fate(s, &fate);
    if (!r)
        return;
    if (!a) {
        r->unanswered++;
        if (is_ignored(r, t, m))
            t->marks |= TSCOPE_MARK_IGNORED;
        return;
    }
    if (is_unusual(r, a->ttl))
        t->marks |= TSCOPE_MARK_ANSWER_TTL;
    if (t->marks & TSCOPE_MARK_ANSWERS_DIFFER) {
        r->conflicting++;
        return;
    }
    count_answer(r, t, m, a);
    if (a->n_addresses || t->type == TYPE_A || t->type == TYPE_AAAA)
        remember_answer(s, r, t, a, digest);
    if (a->n_addresses) {
        struct answer new = answer_of(t, a);
        remember_address(s, &new, digest);
    }
}

void context_witness(struct tscope_scan *s, const struct tscope_transaction *t, const struct tscope_message *m,
                     const uint8_t *name)
{
    const struct tscope_message *a = first_answer(t, m);
    struct resolver *r = a && a->n_addresses ? resolver_at(s, t->server) : NULL;
    if (r)
        remember_answer(s, r, t, a, context_digest(name, t->name_length));
}

/* ---------------------------------------------------------------- asking */

/* The candidate's own part is taken out again: it was counted when it settled. */
static void of_resolver(const struct resolver *r, const struct tscope_transaction *t, const struct tscope_message *m,
                        const struct tscope_message *a, struct tscope_transaction_context *out)
{
    bool conflicting = a && (t->marks & TSCOPE_MARK_ANSWERS_DIFFER), own = a && !conflicting;
    out->min_rtt_ns = r->min_rtt_ns;
    out->median_rtt_ns = r->timed ? median_rtt(r) : TSCOPE_NO_NS;
    out->timed = r->timed;
    out->answered = context_without(r->answered, own);
    out->unanswered = context_without(r->unanswered, !a);
    out->conflicting = context_without(r->conflicting, conflicting);
    out->special = context_without(r->special, own && (t->marks & TSCOPE_MARK_SPECIAL_ADDRESS));
    out->ordinary = context_without(r->ordinary, own && is_ordinary(a->address_kind));
    out->ip_id_copied = context_without(r->ip_id_copied, own && (t->marks & TSCOPE_MARK_IP_ID_COPIED));
    out->authoritative = context_without(r->authoritative, own && (a->flags & FLAG_AA));
    out->edns_asked = context_without(r->edns_asked, own && asked_with_edns(t, m));
    out->edns_answered = context_without(r->edns_answered,
                                         own && asked_with_edns(t, m) && (a->what & TSCOPE_MSG_EDNS));
    for (unsigned i = 0; i < TTL_VALUES; i++) {
        const struct distance *d = &r->from[i];
        uint32_t n = context_without(d->count, own && d->ttl == a->ttl);
        if (n > out->ttl_mode_count) {
            out->ttl_mode_count = n;
            out->ttl_mode = d->ttl;
            out->ttl_mode_around = (uint8_t)((d->first_ns < t->answer_ns) | (d->last_ns > t->answer_ns) << 1);
        }
        if (a && d->count && d->ttl == a->ttl) {
            out->ttl_count = n;
            out->ttl_vouched = d->vouched;
        }
    }
}

static bool agrees_with(const struct answer *answer, const struct tscope_transaction *t,
                        const struct tscope_message *m)
{
    for (uint32_t i = 0; i < t->message_count; i++) {
        struct answer own = answer_of(t, &m[i]);
        if (m[i].is_answer && share_address(&own, answer))
            return true;
    }
    return false;
}

static void of_name(const struct answers *v, const struct tscope_transaction *t, const struct tscope_message *m,
                    const struct tscope_message *a, struct tscope_transaction_context *out)
{
    struct answer first = answer_of(t, a);
    bool remembered = !(t->marks & TSCOPE_MARK_ANSWERS_DIFFER);
    for (uint64_t i = 0; i < RECENT && i < v->seen; i++) {
        const struct answer *answer = &v->recent[i];
        uint32_t n = context_without(answer->count, remembered && is_same(answer, &first));
        uint32_t other = answer->resolver != first.resolver && !answer->odd ? n : 0;
        if (answer->content == CONTENT_ORDINARY && !answer->odd) {
            out->name_ordinary += n;
            out->other_resolver_ordinary += other;
        }
        if (!answer->n)
            continue;
        bool agrees = agrees_with(answer, t, m);
        out->name_agrees += agrees ? n : 0;
        out->name_differs += agrees ? 0 : n;
        out->other_resolver_agrees += agrees ? other : 0;
        out->other_resolver_differs += agrees ? 0 : other;
    }
}

static void of_address(const struct tscope_scan *s, const struct answer *first, uint64_t name,
                       struct tscope_transaction_context *out)
{
    uint64_t here[2] = {first->resolver, first->address[0]}, any[2] = {0, first->address[0]};
    const struct address *v = context_lookup(&s->context.dns.addresses, here);
    out->address_names = v && v->names ? v->names - 1 : 0;
    v = context_lookup(&s->context.dns.addresses, any);
    for (uint32_t i = 0; v && i < v->n_contested; i++) {
        out->address_contested += v->contested[i] != name;
        out->address_contested_here |= v->contested[i] == name;
    }
}

static void of_time(const struct tscope_scan *s, const struct dns_fate *r, struct tscope_transaction_context *out)
{
    uint32_t n[FATES], here[FATES];
    sum_near(s, r, NEAR_RESOLVER, n);
    out->near_answered = n[FATE_ANSWERED];
    out->near_late = n[FATE_LATE];
    out->near_silent = n[FATE_SILENT];
    sum_near(s, r, NEAR_PAIR, n);
    out->near_pair_answered = n[FATE_ANSWERED];
    out->near_pair_late = n[FATE_LATE];
    out->near_pair_silent = n[FATE_SILENT];
    sum_near(s, r, NEAR_NAME_HERE, here);
    out->near_name_answered = here[FATE_ANSWERED] + here[FATE_LATE];
    out->near_name_silent = here[FATE_SILENT];
    sum_near(s, r, NEAR_NAME, n);
    out->near_other_answered = n[FATE_ANSWERED] + n[FATE_LATE] - out->near_name_answered;
    out->near_other_silent = n[FATE_SILENT] - out->near_name_silent;
    sum_near(s, r, NEAR_TYPE, n);
    out->near_type_answered = n[FATE_ANSWERED] + n[FATE_LATE];
    struct dns_fate usual = *r;
    usual.ttl = out->ttl_mode;
    usual.fate = r->ttl == usual.ttl ? r->fate : FATE_UNKNOWN;
    sum_near(s, &usual, NEAR_TTL, n);
    out->near_usual = n[FATE_ANSWERED] + n[FATE_LATE];
}

void context_of_transaction(struct tscope_scan *s, const struct tscope_transaction *t, const struct tscope_message *m,
                            const uint8_t *text, struct tscope_transaction_context *out)
{
    const struct tscope_message *a = first_answer(t, m);
    uint64_t name = context_digest(text + t->name_offset, t->name_length), key[2] = {name, t->type};
    const struct resolver *r = context_lookup(&s->context.dns.resolvers, t->server);
    out->min_rtt_ns = out->median_rtt_ns = TSCOPE_NO_NS;
    if (r)
        of_resolver(r, t, m, a, out);
    struct dns_fate fate = fate_row(t, m, name, a);
    of_time(s, &fate, out);
    const struct answers *answers = context_lookup(&s->context.dns.answers, key);
    if (answers && a)
        of_name(answers, t, m, a, out);
    if (!a || !a->n_addresses)
        return;
    struct answer first = answer_of(t, a);
    of_address(s, &first, name, out);
}
