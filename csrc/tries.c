/* What became of each flow and each DNS question, in a small row: for counting, whatever it was.
 *
 * Workload: every flow of a scan that counts, so a row is a fraction of a flow's own.  DNS flows are told by their
 * questions.  The addresses in answers are told, too: a flow without a name gets that of the question by which its client
 * learned the address. */
#include "memory.h"
#include "scan.h"

enum { PORT_DNS = 53, BATCH_TRIES = 16384 };

static bool grow(void **rows, size_t *room, size_t wanted, size_t size, size_t least)
{
    if (wanted <= *room)
        return true;
    size_t next = *room ? 2 * *room : least;
    while (next < wanted)
        next *= 2;
    void *grown = mem_resize(*rows, next, size);
    if (!grown)
        return false;
    *rows = grown;
    *room = next;
    return true;
}

/* Where a name stands in the batch's text, after putting it there; UINT32_MAX without memory. */
static uint32_t put_name(struct tries *t, const uint8_t *name, size_t length)
{
    size_t at = t->n_text;
    void *text = t->text;
    if (length && !grow(&text, &t->room_text, at + length, 1, 4096))
        return UINT32_MAX;
    t->text = text;
    if (length)
        memcpy(t->text + at, name, length);
    t->n_text += length;
    return (uint32_t)at;
}

static struct tscope_try *next_row(struct tries *t, const uint8_t *name, size_t length)
{
    void *rows = t->rows;
    bool grown = grow(&rows, &t->room, t->n + 1, sizeof *t->rows, 64);
    t->rows = rows;
    uint32_t at = grown ? put_name(t, name, length) : UINT32_MAX;
    if (at == UINT32_MAX)
        return NULL;
    struct tscope_try *row = &t->rows[t->n++];
    memset(row, 0, sizeof *row);
    row->name_offset = at;
    row->name_length = (uint16_t)length;
    return row;
}

static bool went_wrong(const struct tscope_try *t)
{
    return t->outcome > TSCOPE_OUT_OK && t->stage != TSCOPE_STAGE_TRANSFER;
}

/* Few rows fail, and only they can make an event: their places are told, so that a reader may look at them alone. */
static bool mark_failed(struct tscope_scan *s)
{
    struct tries *t = &s->tries;
    void *rows = t->failed;
    if (!went_wrong(&t->rows[t->n - 1]))
        return true;
    bool grown = grow(&rows, &t->room_failed, t->n_failed + 1, sizeof *t->failed, 16);
    t->failed = rows;
    if (grown)
        t->failed[t->n_failed++] = (uint32_t)(t->n - 1);
    s->sum.failed++;
    return grown;
}

static uint32_t microseconds(int64_t ns)
{
    int64_t us = ns / 1000;
    return us <= 0 ? 0 : us > UINT32_MAX ? UINT32_MAX : (uint32_t)us;
}

void tries_flow(struct tscope_scan *s, const struct flow *f, const struct tscope_flow *row)
{
    if (row->server_port == PORT_DNS)
        return;
    struct tscope_try *t = next_row(&s->tries, f->name, f->name_length);
    if (!t) {
        out_of_memory(s);
        return;
    }
    t->flow = f->number;
    t->first_ns = f->first_ns;
    memcpy(t->client, row->client, 16);
    memcpy(t->server, row->server, 16);
    t->facts = row->facts;
    t->rtt_us = microseconds(row->rtt_server_ns);
    for (unsigned i = 0; i < 2; i++) {
        t->packets += f->side[i].packets;
        t->retransmissions += f->rare[i].retransmissions;
    }
    t->server_port = row->server_port;
    t->protocol = row->protocol;
    t->name_from = f->name_from;
    t->outcome = row->outcome;
    t->stage = row->stage;
    if (!mark_failed(s))
        out_of_memory(s);
}

static bool learn(struct tries *t, const struct tscope_transaction *row, const struct tscope_message *m,
                  const struct tscope_try *question)
{
    for (unsigned i = 0; i < m->n_addresses && i < 4; i++) {
        void *rows = t->learned;
        bool grown = grow(&rows, &t->room_learned, t->n_learned + 1, sizeof *t->learned, 64);
        t->learned = rows;
        if (!grown)
            return false;
        struct tscope_learned *l = &t->learned[t->n_learned++];
        memset(l, 0, sizeof *l);
        l->time_ns = m->time_ns;
        memcpy(l->client, row->client, 16);
        memcpy(l->address, m->addresses[i], 16);
        l->name_offset = question->name_offset;
        l->name_length = question->name_length;
    }
    return true;
}

void tries_transaction(struct tscope_scan *s, const struct tscope_transaction *row, const struct tscope_message *messages,
                       const uint8_t *name)
{
    struct tries *tries = &s->tries;
    struct tscope_try *t = next_row(tries, name, row->name_length);
    if (!t) {
        out_of_memory(s);
        return;
    }
    t->flow = row->flow;
    t->transaction = row->number;
    t->first_ns = row->first_ns;
    memcpy(t->client, row->client, 16);
    memcpy(t->server, row->server, 16);
    t->facts = row->facts & TSCOPE_TFACT_CUT_BY_END ? TSCOPE_FACT_CUT_BY_END : 0;
    t->rtt_us = row->answers && row->queries ? microseconds(row->answer_ns - row->query_ns) : 0;
    t->packets = row->queries + row->answers;
    t->retransmissions = row->queries > 1 ? row->queries - 1 : 0;
    t->server_port = row->server_port;
    t->protocol = row->protocol;
    t->name_from = TSCOPE_NAME_DNS_QUERY;
    t->stage = TSCOPE_STAGE_DNS;
    t->outcome = !row->queries ? TSCOPE_OUT_UNKNOWN : row->answers ? TSCOPE_OUT_OK : TSCOPE_OUT_NO_ANSWER;
    if (!mark_failed(s)) {
        out_of_memory(s);
        return;
    }
    bool first = true;
    for (uint32_t i = 0; i < row->message_count; i++) {
        const struct tscope_message *m = &messages[i];
        if (!m->is_answer || (m->what & TSCOPE_MSG_DUPLICATE))
            continue;
        if (first)
            t->rcode = m->rcode;
        first = false;
        if (!learn(tries, row, m, t)) {
            out_of_memory(s);
            return;
        }
    }
}

bool tries_wait(const struct tries *t)
{
    return t->n >= BATCH_TRIES;
}

int tries_take(struct tries *t, struct tscope_batch **batch)
{
    if (!t->n)
        return TSCOPE_OK;
    struct tscope_batch *out = mem_new(1, sizeof *out);
    if (!out)
        return TSCOPE_E_MEMORY;
    out->tries = t->rows;
    out->n_tries = t->n;
    out->learned = t->learned;
    out->n_learned = t->n_learned;
    out->failed = t->failed;
    out->n_failed = t->n_failed;
    out->text = t->text;
    out->n_text = t->n_text;
    memset(t, 0, sizeof *t);
    *batch = out;
    return TSCOPE_OK;
}

void tries_end(struct tries *t)
{
    mem_free(t->rows);
    mem_free(t->learned);
    mem_free(t->failed);
    mem_free(t->text);
}
