/* Candidates that wait for judgement.
 *
 * They are judged when the capture has been seen whole, since what other flows did is part of the evidence.  Until then
 * they wait in chunks; chunks beyond the cap go to a temporary file that has no name.  A chunk becomes a batch without
 * being copied again. */
#include <errno.h>
#include <stdio.h>
#include <stdlib.h>
#include <unistd.h>

#include "memory.h"
#include "scan.h"

enum { CHUNK_UNITS = 4096, CHUNK_BYTES = 4 << 20 };

void candidates_init(struct candidates *c)
{
    c->spill = -1;
}

static void free_rows(struct tscope_batch *b)
{
    mem_free(b->packets);
    mem_free(b->flows);
    mem_free(b->flow_context);
    mem_free(b->answers);
    mem_free(b->answer_context);
    mem_free(b->trace);
    mem_free(b->transactions);
    mem_free(b->transaction_context);
    mem_free(b->messages);
    mem_free(b->tries);
    mem_free(b->learned);
    mem_free(b->failed);
    mem_free(b->dns);
    mem_free(b->records);
    mem_free(b->text);
    mem_free(b->frames);
    memset(b, 0, sizeof *b);
}

void tscope_batch_free(struct tscope_batch *batch)
{
    if (!batch)
        return;
    free_rows(batch);
    mem_free(batch);
}

void candidates_end(struct candidates *c)
{
    for (size_t i = 0; i < c->n_chunks; i++)
        free_rows(&c->chunks[i].batch);
    mem_free(c->chunks);
    if (c->spill >= 0)
        close(c->spill);
    c->chunks = NULL;
    c->n_chunks = 0;
    c->spill = -1;
}

/* ---------------------------------------------------------------- spilling */

/* The tables of a chunk, in the order in which they are spilled. */
struct part {
    void **rows;
    size_t bytes;
};

enum { PARTS = 7 };

static void parts_of(struct tscope_batch *b, struct part parts[PARTS])
{
    parts[0] = (struct part){(void **)&b->flows, b->n_flows * sizeof *b->flows};
    parts[1] = (struct part){(void **)&b->trace, b->n_trace * sizeof *b->trace};
    parts[2] = (struct part){(void **)&b->transactions, b->n_transactions * sizeof *b->transactions};
    parts[3] = (struct part){(void **)&b->transaction_context, b->n_transactions * sizeof *b->transaction_context};
    parts[4] = (struct part){(void **)&b->messages, b->n_messages * sizeof *b->messages};
    parts[5] = (struct part){(void **)&b->text, b->n_text};
    parts[6] = (struct part){(void **)&b->answers, b->n_flows * sizeof *b->answers};
}

static bool open_spill(struct candidates *c)
{
    const char *folder = getenv("TMPDIR");
    char path[4096];
    if (snprintf(path, sizeof path, "%s/tamperscope-XXXXXX", folder && *folder ? folder : "/tmp") >= (int)sizeof path)
        return false;
    c->spill = mkstemp(path);
    if (c->spill >= 0)
        unlink(path);
    return c->spill >= 0;
}

static bool write_all(struct candidates *c, const uint8_t *data, size_t length)
{
    while (length) {                                   /* advances >= 1 */
        ssize_t n = pwrite(c->spill, data, length, (off_t)c->spill_end);
        if (n < 0 && errno == EINTR)
            continue;
        if (n <= 0)
            return false;
        data += n;
        length -= (size_t)n;
        c->spill_end += (uint64_t)n;
    }
    return true;
}

static bool read_all(int descriptor, uint8_t *data, size_t length, uint64_t at)
{
    while (length) {                                   /* advances >= 1 */
        ssize_t n = pread(descriptor, data, length, (off_t)at);
        if (n < 0 && errno == EINTR)
            continue;
        if (n <= 0)
            return false;
        data += n;
        length -= (size_t)n;
        at += (uint64_t)n;
    }
    return true;
}

static void spill_chunk(struct tscope_scan *s, struct chunk *chunk)
{
    struct candidates *c = &s->candidates;
    struct part parts[PARTS];
    if (c->spill < 0 && !open_spill(c)) {
        note(s, TSCOPE_E_SPILL, s->offset, 0, (uint64_t)errno);
        return;
    }
    chunk->spilled_at = c->spill_end;
    parts_of(&chunk->batch, parts);
    for (unsigned i = 0; i < PARTS; i++)
        if (!write_all(c, *parts[i].rows, parts[i].bytes)) {
            note(s, TSCOPE_E_SPILL, s->offset, parts[i].bytes, (uint64_t)errno);
            return;                                    /* it stays in memory: the cap gives way, not the evidence */
        }
    for (unsigned i = 0; i < PARTS; i++) {
        mem_free(*parts[i].rows);
        *parts[i].rows = NULL;
    }
    chunk->spilled = true;
    c->held -= chunk->bytes;
}

static bool unspill(const struct candidates *c, struct chunk *chunk)
{
    struct part parts[PARTS];
    uint64_t at = chunk->spilled_at;
    parts_of(&chunk->batch, parts);
    for (unsigned i = 0; i < PARTS; i++) {
        *parts[i].rows = mem_new(parts[i].bytes, 1);
        if (!*parts[i].rows || !read_all(c->spill, *parts[i].rows, parts[i].bytes, at))
            return false;
        at += parts[i].bytes;
    }
    chunk->spilled = false;
    return true;
}

/* ---------------------------------------------------------------- adding */

static struct chunk *new_chunk(struct candidates *c)
{
    if (c->n_chunks == c->room) {
        size_t room = c->room ? 2 * c->room : 16;
        struct chunk *chunks = mem_resize(c->chunks, room, sizeof *chunks);
        if (!chunks)
            return NULL;
        c->chunks = chunks;
        c->room = room;
    }
    memset(&c->chunks[c->n_chunks], 0, sizeof *c->chunks);
    return &c->chunks[c->n_chunks++];
}

static bool is_full(const struct chunk *chunk)
{
    return chunk->batch.n_flows + chunk->batch.n_transactions >= CHUNK_UNITS || chunk->bytes >= CHUNK_BYTES;
}

/* The chunk to add to; the one before it may go to the file now. */
static struct chunk *open_chunk(struct tscope_scan *s)
{
    struct candidates *c = &s->candidates;
    struct chunk *last = c->n_chunks ? &c->chunks[c->n_chunks - 1] : NULL;
    if (last && !is_full(last))
        return last;
    if (last && c->held > s->options.candidate_bytes)
        spill_chunk(s, last);
    return new_chunk(c);
}

/* Room for `more` rows behind `count`; sizes double. */
static bool reserve(void **rows, size_t *room, size_t count, size_t more, size_t size)
{
    if (count + more <= *room)
        return true;
    size_t want = *room ? *room : 64;
    while (want < count + more)
        want *= 2;
    void *grown = mem_resize(*rows, want, size);
    if (!grown)
        return false;
    *rows = grown;
    *room = want;
    return true;
}

static bool add_text(struct chunk *chunk, const uint8_t *text, size_t length, uint32_t *offset)
{
    struct tscope_batch *b = &chunk->batch;
    if (!reserve((void **)&b->text, &chunk->room_text, b->n_text, length, 1))
        return false;
    *offset = (uint32_t)b->n_text;
    if (length)
        memcpy(b->text + b->n_text, text, length);
    b->n_text += length;
    return true;
}

static void grew(struct candidates *c, struct chunk *chunk, size_t bytes)
{
    chunk->bytes += bytes;
    c->held += bytes;
    c->count++;
}

bool candidates_flow(struct tscope_scan *s, const struct tscope_flow *row, const struct flow *f)
{
    struct chunk *chunk = open_chunk(s);
    if (!chunk)
        return false;
    struct tscope_batch *b = &chunk->batch;
    const struct kept_answer *a = kept_answer_of(f);
    struct tscope_answer answer = a ? a->row : (struct tscope_answer){0};
    uint32_t name_offset;
    if (!reserve((void **)&b->flows, &chunk->room_flows, b->n_flows, 1, sizeof *b->flows) ||
        !reserve((void **)&b->answers, &chunk->room_answers, b->n_flows, 1, sizeof *b->answers) ||
        !reserve((void **)&b->trace, &chunk->room_trace, b->n_trace, f->trace_count, sizeof *b->trace) ||
        !add_text(chunk, f->name, f->name_length, &name_offset) ||
        !add_text(chunk, a ? a->text : NULL, a ? answer_text(a) : 0, &answer.text_offset))
        return false;
    b->answers[b->n_flows] = answer;
    if (f->trace_count)
        trace_copy(&s->traces, f, b->trace + b->n_trace);
    struct tscope_flow *out = &b->flows[b->n_flows++];
    *out = *row;
    out->name_offset = name_offset;
    out->trace_offset = (uint32_t)b->n_trace;
    b->n_trace += f->trace_count;
    size_t text = f->name_length + (a ? answer_text(a) : 0);
    grew(&s->candidates, chunk, sizeof *row + sizeof answer + f->trace_count * sizeof *b->trace + text);
    return true;
}

bool candidates_transaction(struct tscope_scan *s, const struct tscope_transaction *row,
                            const struct tscope_message *messages, const uint8_t *name, int32_t id_before,
                            int32_t id_after)
{
    struct chunk *chunk = open_chunk(s);
    if (!chunk)
        return false;
    struct tscope_batch *b = &chunk->batch;
    size_t room = chunk->room_transactions;
    uint32_t name_offset;
    if (!reserve((void **)&b->transactions, &room, b->n_transactions, 1, sizeof *b->transactions) ||
        !reserve((void **)&b->transaction_context, &chunk->room_transactions, b->n_transactions, 1,
                 sizeof *b->transaction_context) ||
        !reserve((void **)&b->messages, &chunk->room_messages, b->n_messages, row->message_count,
                 sizeof *b->messages) ||
        !add_text(chunk, name, row->name_length, &name_offset))
        return false;
    if (row->message_count)                            /* none where there was no memory for the first */
        memcpy(b->messages + b->n_messages, messages, row->message_count * sizeof *messages);
    b->transaction_context[b->n_transactions] = (struct tscope_transaction_context){
        .ip_id_before = (uint16_t)id_before, .ip_id_after = (uint16_t)id_after,
        .ip_id_known = (uint8_t)((id_before >= 0) | (id_after >= 0) << 1)};
    struct tscope_transaction *out = &b->transactions[b->n_transactions++];
    *out = *row;
    out->name_offset = name_offset;
    out->message_offset = (uint32_t)b->n_messages;
    b->n_messages += row->message_count;
    grew(&s->candidates, chunk, sizeof *row + row->message_count * sizeof *messages + row->name_length);
    return true;
}

/* ---------------------------------------------------------------- taking */

/* Of flows that waited for the context those remain to which it gives the mark, or that have another one. */
static void drop_untelling(struct tscope_scan *s, struct tscope_batch *b)
{
    uint32_t asked = s->options.flow_marks;
    size_t kept = 0;
    for (size_t i = 0; i < b->n_flows; i++) {
        struct tscope_flow *row = &b->flows[i];
        const struct tscope_trace *trace = row->trace_count ? b->trace + row->trace_offset : NULL;
        if ((asked & TSCOPE_MARK_REFUSED) && (row->marks & QUIET_MARKS) && quiet_tells(row, trace, &b->flow_context[i]))
            row->marks |= TSCOPE_MARK_REFUSED;
        if (!(row->marks & asked))
            continue;
        b->flows[kept] = *row;
        b->answers[kept] = b->answers[i];
        b->answer_context[kept] = b->answer_context[i];
        b->flow_context[kept++] = b->flow_context[i];
    }
    s->candidates.count -= b->n_flows - kept;
    b->n_flows = kept;
}

static bool add_context(struct tscope_scan *s, struct tscope_batch *b)
{
    static const uint8_t no_text[1];
    const uint8_t *text = b->text ? b->text : no_text; /* NULL where no candidate of the batch has a name */
    b->flow_context = mem_new(b->n_flows, sizeof *b->flow_context);
    b->answer_context = mem_new(b->n_flows, sizeof *b->answer_context);
    if (!b->flow_context || !b->answer_context)
        return false;
    for (size_t i = 0; i < b->n_flows; i++) {
        context_of_flow(s, &b->flows[i], text, &b->flow_context[i]);
        context_of_answer(s, &b->flows[i], &b->answers[i], text, &b->answer_context[i]);
    }
    drop_untelling(s, b);
    for (size_t i = 0; i < b->n_transactions; i++) {
        const struct tscope_transaction *t = &b->transactions[i];
        const struct tscope_message *m = t->message_count ? b->messages + t->message_offset : NULL;
        context_of_transaction(s, t, m, text, &b->transaction_context[i]);
    }
    return true;
}

static int take_chunk(struct tscope_scan *s, struct tscope_batch **batch)
{
    struct candidates *c = &s->candidates;
    *batch = NULL;
    if (!s->ended || c->taken == c->n_chunks)
        return TSCOPE_OK;
    struct chunk *chunk = &c->chunks[c->taken];
    struct tscope_batch *out = mem_new(1, sizeof *out);
    if (!out)
        return TSCOPE_E_MEMORY;
    if (chunk->spilled && !unspill(c, chunk)) {
        mem_free(out);
        return TSCOPE_E_SPILL;
    }
    context_settle(s);
    context_dns_ready(s);
    if (!add_context(s, &chunk->batch)) {
        mem_free(out);
        return TSCOPE_E_MEMORY;
    }
    *out = chunk->batch;
    memset(&chunk->batch, 0, sizeof chunk->batch);
    c->taken++;
    *batch = out;
    return TSCOPE_OK;
}

int candidates_take(struct tscope_scan *s, struct tscope_batch **batch)
{
    for (;;) {                                         /* each time one chunk fewer is left */
        int code = take_chunk(s, batch);
        if (code || !*batch || (*batch)->n_flows || (*batch)->n_transactions)
            return code;
        tscope_batch_free(*batch);
    }
}
