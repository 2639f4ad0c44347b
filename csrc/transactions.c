/* DNS transactions: a question and its answers, kept until it is settled.
 *
 * A second answer is the proof of a forged first one, so a transaction waits 5 s after its first answer; without any it
 * ends 30 s after its last query.  Times are packet time, as for flows. */
#include "scan.h"

enum { MAX_MESSAGES = 16, MAX_LIVE = 1 << 18 };
static const int64_t SETTLE = 5 * SECOND, PATIENCE = 30 * SECOND;

struct transaction_key {
    uint64_t flow;
    uint64_t name;
    uint16_t id, type, zero[2];
};

struct live {
    struct transaction_key key;
    struct wheel_link link;
    int64_t deadline;
    struct tscope_transaction row;
    struct tscope_message *messages;
    uint8_t *name;
    int32_t id_before, id_after;  /* IP IDs of the resolver's answers around its own; -1: none */
};
_Static_assert(sizeof(struct transaction_key) == 24, "three words");

static struct live *live_at(const struct transactions *t, uint32_t index)
{
    return table_at(&t->live, index);
}

static struct wheel_link *link_of(void *owner, uint32_t index)
{
    return &live_at(owner, index)->link;
}

int transactions_init(struct tscope_scan *s)
{
    struct transactions *t = &s->transactions;
    wheel_init(&t->wheel, link_of, t, 0);
    return table_init(&t->live, sizeof(struct live), 3, MAX_LIVE, &s->key);
}

/* Messages are held in twice the room whenever they fill it: 2, 4, 8, 16. */
static uint32_t room_for(uint32_t messages)
{
    uint32_t room = 2;
    while (room < messages)
        room *= 2;
    return room;
}

static void give_back(struct tscope_scan *s, struct live *l)
{
    store_give(&s->store, l->messages, room_for(l->row.message_count) * sizeof *l->messages);
    store_give(&s->store, l->name, l->row.name_length);
}

void transactions_end(struct tscope_scan *s)
{
    struct table *t = &s->transactions.live;
    if (!t->slots)
        return;
    for (uint32_t i = table_oldest(t); i != TABLE_NONE; i = table_newer(t, i)) {
        struct live *l = table_at(t, i);
        give_back(s, l);
    }
    table_end(t);
}

/* ---------------------------------------------------------------- marks, when all is there */

static bool special(uint8_t kind)
{
    return kind > TSCOPE_ADDR_GLOBAL && kind != TSCOPE_ADDR_DOCUMENTATION;
}

static uint32_t marks_of_answer(const struct tscope_transaction *t, const struct tscope_message *m)
{
    uint32_t marks = 0;
    if (special(m->address_kind))
        marks |= TSCOPE_MARK_SPECIAL_ADDRESS;
    if ((t->type == 1 || t->type == 28) && m->first_type && m->first_type != t->type && m->first_type != 5)
        marks |= TSCOPE_MARK_WRONG_TYPE;
    if (m->what & TSCOPE_MSG_MALFORMED)
        marks |= TSCOPE_MARK_MALFORMED;
    return marks;
}

static bool differ(const struct tscope_message *a, const struct tscope_message *b)
{
    return a->rcode != b->rcode || a->records_digest != b->records_digest || a->flags != b->flags;
}

static void set_marks(struct live *l)
{
    struct tscope_transaction *t = &l->row;
    const struct tscope_message *query = NULL, *first = NULL;
    for (uint32_t i = 0; i < t->message_count; i++) {
        const struct tscope_message *m = &l->messages[i];
        if (m->what & TSCOPE_MSG_DUPLICATE)
            continue;
        if (!m->is_answer) {
            query = m;
            continue;
        }
        t->marks |= marks_of_answer(t, m);
        if (query && query->ip_id && m->ip_id == query->ip_id)
            t->marks |= TSCOPE_MARK_IP_ID_COPIED;
        if (first)
            t->marks |= TSCOPE_MARK_ANSWERED_TWICE | (differ(first, m) ? TSCOPE_MARK_ANSWERS_DIFFER : 0);
        else
            first = m;
    }
    if (!t->answers)
        t->marks |= TSCOPE_MARK_UNANSWERED_QUERY;
    if (!t->queries)
        t->marks |= TSCOPE_MARK_UNASKED;
}

static void discard(struct tscope_scan *s, uint32_t index)
{
    give_back(s, live_at(&s->transactions, index));
    table_remove(&s->transactions.live, index);
}

static void settle(struct tscope_scan *s, uint32_t index, unsigned final_by)
{
    struct transactions *t = &s->transactions;
    struct live *l = live_at(t, index);
    wheel_remove(&t->wheel, index);
    l->row.final_frame = s->sum.frames;
    l->row.final_by = (uint8_t)final_by;
    l->row.final_ns = s->clock.now;
    if (final_by == TSCOPE_FINAL_END || final_by == TSCOPE_FINAL_EVICTED)
        l->row.facts |= TSCOPE_TFACT_CUT_BY_END;
    if (l->row.facts & TSCOPE_TFACT_TCP) {             /* no race to judge: only a witness for what the name is */
        if (s->options.emit & TSCOPE_CANDIDATES)
            context_witness(s, &l->row, l->messages, l->name);
    } else {
        set_marks(l);
    }
    if ((s->options.emit & TSCOPE_CANDIDATES) && !(l->row.facts & TSCOPE_TFACT_TCP)) {
        context_transaction(s, &l->row, l->messages, l->name);
        if ((l->row.marks & s->options.transaction_marks) &&
            !candidates_transaction(s, &l->row, l->messages, l->name, l->id_before, l->id_after))
            out_of_memory(s);
    }
    if (s->options.emit & TSCOPE_TRIES)
        tries_transaction(s, &l->row, l->messages, l->name);
    discard(s, index);
}

/* ---------------------------------------------------------------- messages */

static void start(struct tscope_scan *s, struct live *l, const struct flow *f, const struct packet *p)
{
    const struct dns_message *m = &s->dns;
    bool answer = m->row.is_answer;
    struct tscope_transaction *t = &l->row;
    t->number = ++s->transactions.started;
    t->flow = f->number;
    t->first_frame = p->frame;
    t->first_ns = p->time_ns;
    t->flow_first_ns = f->first_ns;
    t->query_ns = t->answer_ns = TSCOPE_NO_NS;
    memcpy(t->client, answer ? packet_destination(p) : packet_source(p), 16);
    memcpy(t->server, answer ? packet_source(p) : packet_destination(p), 16);
    t->client_port = answer ? p->destination_port : p->source_port;
    t->server_port = answer ? p->source_port : p->destination_port;
    t->interface = p->interface;
    t->id = m->id;
    t->type = m->type;
    t->class_ = m->class_;
    t->protocol = p->protocol;
    t->ip_version = p->ip_version;
    if (is_local_name(m->name, m->name_length))
        t->facts |= TSCOPE_TFACT_LOCAL_NAME;
    if (p->protocol == 6)
        t->facts |= TSCOPE_TFACT_TCP;
    l->id_before = l->id_after = -1;
    l->name = store_take(&s->store, m->name_length);
    if (l->name) {
        memcpy(l->name, m->name, m->name_length);
        t->name_length = m->name_length;
    } else {
        s->sum.names_dropped++;
    }
}

static bool is_copy(const struct live *l, const struct tscope_message *row)
{
    const struct tscope_message *last = l->row.message_count ? &l->messages[l->row.message_count - 1] : NULL;
    return last && last->is_answer == row->is_answer && last->flags == row->flags && last->ip_id == row->ip_id &&
           last->records_digest == row->records_digest && last->payload_length == row->payload_length &&
           row->time_ns - last->time_ns < (row->ip_id ? SECOND / 20 : SECOND / 1000);
}

static bool add_message(struct tscope_scan *s, struct live *l, const struct tscope_message *row)
{
    uint32_t n = l->row.message_count;
    if (n == MAX_MESSAGES) {
        l->row.facts |= TSCOPE_TFACT_MESSAGES_FULL;
        return true;
    }
    if (!n || n == room_for(n)) {
        struct tscope_message *grown = store_take(&s->store, room_for(n + 1) * sizeof *grown);
        if (!grown)
            return false;
        if (n) {
            memcpy(grown, l->messages, n * sizeof *grown);
            store_give(&s->store, l->messages, n * sizeof *grown);
        }
        l->messages = grown;
    }
    l->messages[n] = *row;
    l->row.message_count++;
    return true;
}

static void take_query(struct live *l, const struct packet *p)
{
    struct tscope_transaction *t = &l->row;
    if (!t->queries) {
        t->query_frame = p->frame;
        t->query_ns = p->time_ns;
        t->client_ttl = p->ttl;
    }
    t->queries++;
}

/* The resolver's answers number themselves: this one's neighbours are told to both. */
static void take_neighbour(struct tscope_scan *s, struct live *l, struct answered before,
                           uint16_t ip_id)
{
    struct transactions *t = &s->transactions;
    l->id_before = before.ip_id;
    if (before.ip_id < 0 || before.index >= t->live.fresh)
        return;
    struct live *previous = live_at(t, before.index);
    if (previous->row.number == before.number && previous != l)
        previous->id_after = ip_id;
}

static void take_answer(struct tscope_scan *s, struct live *l, const struct packet *p, uint32_t index)
{
    struct tscope_transaction *t = &l->row;
    if (!t->answers && t->protocol == 17) {
        int64_t rtt = t->queries ? p->time_ns - t->query_ns : TSCOPE_NO_NS;
        struct answered now = {t->number, index, p->ip_id}, before;
        if (context_answer(s, t->server, rtt, now, &before))
            t->marks |= TSCOPE_MARK_TOO_FAST;
        take_neighbour(s, l, before, p->ip_id);
    }
    if (!t->answers)
        t->answer_ns = p->time_ns;
    t->answers++;
}

static struct live *find(struct tscope_scan *s, const struct flow *f, const struct packet *p, uint32_t *index)
{
    struct transactions *t = &s->transactions;
    struct transaction_key key = {.flow = f->number, .name = s->dns.name_digest, .id = s->dns.id, .type = s->dns.type};
    bool made;
    *index = table_find(&t->live, &key);
    if (*index != TABLE_NONE && s->clock.now > live_at(t, *index)->deadline) {
        settle(s, *index, TSCOPE_FINAL_IDLE);
        *index = TABLE_NONE;
    }
    if (*index == TABLE_NONE && t->live.count == t->live.limit) {
        t->evicted++;
        settle(s, table_oldest(&t->live), TSCOPE_FINAL_EVICTED);
    }
    *index = table_put(&t->live, &key, &made);
    if (*index == TABLE_NONE)
        return NULL;
    struct live *l = live_at(t, *index);
    if (made) {
        start(s, l, f, p);
        l->deadline = s->clock.now + PATIENCE;
        wheel_add(&t->wheel, *index, l->deadline);
    }
    return l;
}

static void set_name(struct tscope_scan *s, struct flow *f)
{
    const struct dns_message *m = &s->dns;
    if (f->name || !m->name_length || !(f->name = store_take(&s->store, m->name_length)))
        return;
    memcpy(f->name, m->name, m->name_length);
    f->name_length = m->name_length;
    f->name_from = TSCOPE_NAME_DNS_QUERY;
}

void transactions_packet(struct tscope_scan *s, struct flow *f, const struct packet *p)
{
    transactions_message(s, f, p, p->payload, p->payload_have, p->payload_length);
}

void transactions_message(struct tscope_scan *s, struct flow *f, const struct packet *p, const uint8_t *data, size_t have,
                          size_t length)
{
    struct dns_message *m = &s->dns;
    if (!dns_parse(data, have, length, m))
        return;
    if ((s->options.emit & TSCOPE_DNS) && !dns_table_add(s, f, p, data, have))
        out_of_memory(s);
    if ((m->row.flags >> 11 & 15) != 0)
        return;                                        /* only standard queries */
    if (m->row.what & TSCOPE_MSG_MALFORMED)
        s->sum.anomaly_count[14 - 1]++;
    m->row.frame = p->frame;
    m->row.time_ns = p->time_ns;
    m->row.ip_id = p->ip_id;
    m->row.ttl = p->ttl;
    m->row.tos = p->tos;
    m->row.ip_flags = p->ip_flags;
    unsigned client = m->row.is_answer ? !p->from : p->from;
    flow_client(f, client, TSCOPE_BY_QUERY);
    set_name(s, f);
    uint32_t index;
    struct live *l = find(s, f, p, &index);
    if (!l) {
        out_of_memory(s);
        return;
    }
    if (p->protocol == 17 && is_copy(l, &m->row))
        m->row.what |= TSCOPE_MSG_DUPLICATE;
    else if (m->row.is_answer)
        take_answer(s, l, p, index);
    else
        take_query(l, p);
    if (m->row.is_answer && m->row.n_addresses)
        learned_add(s, &l->row, &m->row, l->name);
    l->row.last_frame = p->frame;
    if (!add_message(s, l, &m->row))
        out_of_memory(s);
    if (!l->row.answers)
        l->deadline = s->clock.now + PATIENCE;
    else if (l->row.answers == 1 && m->row.is_answer)
        l->deadline = s->clock.now + SETTLE;
}

/* ---------------------------------------------------------------- time */

void transactions_expire(struct tscope_scan *s)
{
    struct transactions *t = &s->transactions;
    uint32_t index;
    if (!wheel_is_due(&t->wheel, s->clock.now))
        return;
    while ((index = wheel_due(&t->wheel, s->clock.now)) != WHEEL_NONE) {
        struct live *l = live_at(t, index);
        if (l->deadline > s->clock.now + PATIENCE)     /* from before the clock was set back */
            l->deadline = s->clock.now + PATIENCE;
        wheel_add(&t->wheel, index, l->deadline);
        if (l->deadline < s->clock.now)
            settle(s, index, TSCOPE_FINAL_IDLE);
    }
}

void transactions_clock_set_back(struct tscope_scan *s)
{
    wheel_rewind(&s->transactions.wheel, s->clock.now);
}

/* The end of the capture: in the order of last use, which follows from the packets alone. */
void transactions_finish(struct tscope_scan *s)
{
    struct table *t = &s->transactions.live;
    for (uint32_t i; (i = table_oldest(t)) != TABLE_NONE;)
        settle(s, i, s->clock.now > live_at(&s->transactions, i)->deadline ? TSCOPE_FINAL_IDLE : TSCOPE_FINAL_END);
}
