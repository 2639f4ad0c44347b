/* A scan from bytes to folded tables, with the claims that hold for every capture. */
#include <stdio.h>
#include <stdlib.h>
#include <string.h>
#include <sys/mman.h>
#include <unistd.h>

#include "fuzz.h"
#include "memory.h"

/* Of the address sanitizer; gcc brings the function and not the header, and a build for coverage has neither. */
__attribute__((weak)) size_t __sanitizer_get_current_allocated_bytes(void);

static size_t allocated(void)
{
    return __sanitizer_get_current_allocated_bytes ? __sanitizer_get_current_allocated_bytes() : 0;
}

struct run {
    struct tscope_scan *scan;
    struct outcome *out;
    uint64_t packet_rows, flow_rows, in_flows, candidate_rows;
    uint64_t last_number;
    bool memory_may_fail;
};

static uint64_t fold(uint64_t h, const void *data, size_t size)
{
    const uint8_t *at = data;
    for (size_t i = 0; i < size; i++)
        h = (h ^ at[i]) * 0x100000001b3u;
    return h;
}

/* ---------------------------------------------------------------- tables */

static void take_packets(struct run *r, const struct tscope_batch *b)
{
    uint64_t captured = 0;
    for (size_t i = 0; i < b->n_packets; i++) {
        const struct tscope_packet *p = &b->packets[i];
        HOLDS(p->frame == ++r->packet_rows);
        HOLDS(p->ip_version == 0 || p->ip_version == 4 || p->ip_version == 6);
        HOLDS(p->protocol == 0 || p->ip_version != 0);
        r->in_flows += p->flow != 0 && (p->protocol == 6 || p->protocol == 17);
        r->out->packets = fold(r->out->packets, p, sizeof *p);
        if (p->captured_length)
            r->out->packets = fold(r->out->packets, b->frames + captured, p->captured_length);
        captured += p->captured_length;
    }
    HOLDS(captured == b->n_frames);
}

static void check_flow(const struct tscope_flow *f, const struct tscope_batch *b)
{
    HOLDS(f->number >= 1 && f->first_frame >= 1);
    HOLDS(f->last_frame <= f->final_frame && f->first_frame <= f->final_frame);
    HOLDS((size_t)f->name_offset + f->name_length <= b->n_text);
    HOLDS((f->name_length == 0) == (f->name_from == TSCOPE_NAME_NONE));
    HOLDS(f->trigger_acked <= f->trigger_length);
    HOLDS((f->trigger != TSCOPE_TRIGGER_NONE) == (f->trigger_frame != 0));
    HOLDS(f->trigger_frame <= f->final_frame);
    HOLDS(f->history[sizeof f->history - 1] == 0);
    HOLDS(f->final_by >= TSCOPE_FINAL_IDLE && f->final_by <= TSCOPE_FINAL_END);
    HOLDS(f->outcome <= TSCOPE_OUT_SLOW && f->stage <= TSCOPE_STAGE_TRANSFER);
    for (size_t i = 0; i < 2; i++)
        HOLDS(f->resets[i] <= f->packets[i] && f->ttl_min[i] <= f->ttl_max[i]);
}

static uint64_t fold_flow(uint64_t h, const struct tscope_flow *f, const uint8_t *text)
{
    struct tscope_flow row = *f;
    row.name_offset = row.trace_offset = 0;            /* where it lies follows from the batch */
    h = fold(h, &row, sizeof row);
    return f->name_length ? fold(h, text + f->name_offset, f->name_length) : h;
}

static void take_flows(struct run *r, const struct tscope_batch *b)
{
    for (size_t i = 0; i < b->n_flows; i++) {
        const struct tscope_flow *f = &b->flows[i];
        check_flow(f, b);
        r->flow_rows++;
        if (f->number == 1) {
            r->out->first_flow = *f;
            for (size_t k = 0; k < f->name_length && k < sizeof r->out->first_name; k++)
                r->out->first_name[k] = b->text[f->name_offset + k];
        }
        r->out->flows = fold_flow(r->out->flows, f, b->text);
    }
}

static void check_trace(const struct tscope_flow *f, const struct tscope_trace *rows)
{
    uint64_t last = 0;
    for (size_t i = 0; i < f->trace_count; i++) {
        HOLDS(rows[i].from_server <= 1 && rows[i].frame >= 1 && rows[i].frame <= f->final_frame);
        HOLDS(!(rows[i].what & TSCOPE_WHAT_REFERENCE) || rows[i].frame <= f->last_frame);
        if (rows[i].what & TSCOPE_WHAT_REFERENCE)
            continue;
        HOLDS(rows[i].frame >= last);
        last = rows[i].frame;
    }
}

static void take_tries(struct run *r, const struct tscope_batch *b)
{
    uint64_t h = r->out->tries, told = r->out->learned;    /* apart: a batch may end between rows of one kind */
    for (size_t i = 0; i < b->n_tries; i++) {
        struct tscope_try t = b->tries[i];
        HOLDS((size_t)t.name_offset + t.name_length <= b->n_text);
        HOLDS(t.flow && t.outcome <= TSCOPE_OUT_SLOW && t.stage <= TSCOPE_STAGE_TRANSFER);
        if (t.name_length)
            h = fold(h, b->text + t.name_offset, t.name_length);
        t.name_offset = 0;
        h = fold(h, &t, sizeof t);
    }
    for (size_t i = 0; i < b->n_learned; i++) {
        struct tscope_learned l = b->learned[i];
        HOLDS((size_t)l.name_offset + l.name_length <= b->n_text);
        if (l.name_length)
            told = fold(told, b->text + l.name_offset, l.name_length);
        l.name_offset = 0;
        told = fold(told, &l, sizeof l);
    }
    for (size_t i = 0; i < b->n_failed; i++)
        HOLDS(b->failed[i] < b->n_tries && (i == 0 || b->failed[i] > b->failed[i - 1]));
    r->out->tries = h;
    r->out->learned = told;
}

static void take_candidates(struct run *r, const struct tscope_batch *b)
{
    uint64_t h = r->out->candidates;
    for (size_t i = 0; i < b->n_flows; i++) {
        const struct tscope_flow *f = &b->flows[i];
        check_flow(f, b);
        HOLDS((size_t)f->trace_offset + f->trace_count <= b->n_trace);
        if (f->trace_count)
            check_trace(f, b->trace + f->trace_offset);
        h = fold_flow(h, f, b->text);
        h = fold(h, &b->flow_context[i], sizeof b->flow_context[i]);
        if (f->trace_count)
            h = fold(h, b->trace + f->trace_offset, f->trace_count * sizeof *b->trace);
    }
    for (size_t i = 0; i < b->n_transactions; i++) {
        struct tscope_transaction t = b->transactions[i];
        HOLDS((size_t)t.name_offset + t.name_length <= b->n_text);
        HOLDS((size_t)t.message_offset + t.message_count <= b->n_messages);
        HOLDS(t.first_frame <= t.last_frame && t.last_frame <= t.final_frame);
        HOLDS(t.queries + t.answers >= 1);
        if (t.name_length)
            h = fold(h, b->text + t.name_offset, t.name_length);
        if (t.message_count)
            h = fold(h, b->messages + t.message_offset, t.message_count * sizeof *b->messages);
        h = fold(h, &b->transaction_context[i], sizeof b->transaction_context[i]);
        t.name_offset = t.message_offset = 0;
        h = fold(h, &t, sizeof t);
    }
    r->candidate_rows += b->n_flows + b->n_transactions;
    r->out->candidates = h;
}

static void take_dns(struct run *r, const struct tscope_batch *b)
{
    for (size_t i = 0; i < b->n_dns; i++) {
        struct tscope_dns m = b->dns[i];
        HOLDS((size_t)m.name_offset + m.name_length <= b->n_text && m.frame >= 1 && m.flow >= 1);
        HOLDS((size_t)m.record_offset + m.record_count <= b->n_records);
        uint64_t h = m.name_length ? fold(r->out->messages, b->text + m.name_offset, m.name_length) : r->out->messages;
        for (size_t k = 0; k < m.record_count; k++) {
            struct tscope_record record = b->records[m.record_offset + k];
            HOLDS((size_t)record.text_offset + record.text_length <= b->n_text);
            if (record.text_length)
                h = fold(h, b->text + record.text_offset, record.text_length);
            record.text_offset = 0;
            h = fold(h, &record, sizeof record);
        }
        m.name_offset = m.record_offset = 0;
        r->out->dns = fold(r->out->dns, &m, sizeof m);
        m.frame = 0;                                   /* what was said, whenever */
        m.time_ns = 0;
        r->out->messages = fold(h, &m, sizeof m);
    }
}

static bool take(struct run *r, uint32_t kind, void (*rows)(struct run *, const struct tscope_batch *))
{
    struct tscope_batch *b = NULL;
    int code = tscope_take(r->scan, kind, &b);
    HOLDS(code == TSCOPE_OK || r->memory_may_fail);
    if (code != TSCOPE_OK || !b)
        return false;
    rows(r, b);
    tscope_batch_free(b);
    return true;
}

static void take_waiting(struct run *r)
{
    take(r, TSCOPE_PACKETS, take_packets);
    take(r, TSCOPE_FLOWS, take_flows);
    take(r, TSCOPE_TRIES, take_tries);
    take(r, TSCOPE_DNS, take_dns);
}

/* ---------------------------------------------------------------- input */

static void feed_piece(struct run *r, const uint8_t *data, size_t size)
{
    uint8_t *piece = exact_copy(data, size);
    size_t at = 0;
    for (unsigned idle = 0; at < size || idle == 0;) {
        size_t used = 0;
        r->out->code = tscope_feed(r->scan, piece + at, size - at, &used);
        HOLDS(used <= size - at);
        at += used;
        take_waiting(r);
        if (r->out->code != TSCOPE_FULL)
            break;
        idle = used ? 0 : idle + 1;
        HOLDS(idle < 100000);
    }
    HOLDS(r->out->code != TSCOPE_OK || at == size);
    free(piece);
}

static void feed_all(struct run *r, const uint8_t *data, size_t size, uint64_t cut)
{
    size_t at = 0;
    uint64_t state = cut;
    do {
        uint64_t random = cut ? next_random(&state) : 0;
        size_t n = size - at, most = random & 1 ? 8 : random & 2 ? 64 : random & 4 ? 1024 : 65536;
        if (cut && n > most)
            n = (size_t)((random >> 8) % most) + 1;
        feed_piece(r, data + at, n);
        at += n;
    } while (at < size && r->out->code == TSCOPE_OK);
}

static void read_all(struct run *r, const uint8_t *data, size_t size)
{
    int file = memfd_create("capture", 0);
    HOLDS(file >= 0 && write(file, data, size) == (ssize_t)size && lseek(file, 0, SEEK_SET) == 0);
    do {
        r->out->code = tscope_read(r->scan, file, 4096);
        take_waiting(r);
    } while (r->out->code == TSCOPE_OK || r->out->code == TSCOPE_FULL);
    close(file);
    if (r->out->code == TSCOPE_END)
        r->out->code = TSCOPE_OK;
}

/* ---------------------------------------------------------------- what is told beside the tables */

static void take_notices(struct run *r)
{
    struct tscope_notice notice;
    for (size_t i = 0; tscope_notice(r->scan, i, &notice) == TSCOPE_OK; i++) {
        HOLDS(notice.code < 0 && strcmp(tscope_code_name(notice.code), "unknown") != 0);
        HOLDS(notice.frame <= r->out->sum.frames);
        if (getenv("FUZZ_VERBOSE"))
            fprintf(stderr, "%s at %llu, frame %llu, need %llu, have %llu\n", tscope_code_name(notice.code),
                    (unsigned long long)notice.offset, (unsigned long long)notice.frame,
                    (unsigned long long)notice.need, (unsigned long long)notice.have);
        r->out->notices = fold(r->out->notices, &notice, sizeof notice);
    }
}

static void take_summary(struct run *r)
{
    struct tscope_summary *sum = &r->out->sum;
    uint32_t link_type, snap_length;
    uint64_t ticks;
    tscope_summarize(r->scan, sum);
    for (uint32_t i = 0; i < sum->n_interfaces; i++)
        HOLDS(tscope_interface(r->scan, i, &link_type, &snap_length, &ticks) == TSCOPE_OK && ticks);
    HOLDS(tscope_interface(r->scan, sum->n_interfaces, &link_type, &snap_length, &ticks) == TSCOPE_END);
    take_notices(r);
    struct tscope_summary told = *sum;
    told.bytes = 0;                                    /* after a fault: how much was fed, not what was found */
    r->out->summary = fold(0, &told, sizeof told);
}

/* Nothing is lost: each frame is a row, each flow a row, and a flow's packets are rows that name it. */
static void check_conservation(const struct run *r)
{
    const struct tscope_summary *sum = &r->out->sum;
    HOLDS(r->packet_rows == sum->frames);
    HOLDS(r->flow_rows == sum->flows);
    HOLDS(r->candidate_rows == sum->candidates);
    HOLDS(r->in_flows <= sum->packets && sum->packets <= sum->frames);
    HOLDS(sum->live_flows == 0 && sum->peak_flows <= sum->flows);
}

static void set_options(struct tscope_options *o, const struct how *how)
{
    *o = (struct tscope_options){
        .max_flows = how->max_flows, .trace_bytes = how->trace_bytes, .candidate_bytes = how->candidate_bytes,
        .context_entries = how->context_entries, .max_frames = how->max_frames,
        .batch_packets = how->batch_packets ? how->batch_packets : 64,
        .emit = TSCOPE_PACKETS | TSCOPE_FLOWS | TSCOPE_CANDIDATES | TSCOPE_FRAMES | TSCOPE_TRIES | TSCOPE_DNS,
        .flow_marks = UINT32_MAX,
        .transaction_marks = UINT32_MAX};
    memcpy(o->key, &how->key, sizeof how->key);
}

static void run_scan(struct run *r, const uint8_t *data, size_t size, const struct how *how)
{
    if (how->by_descriptor)
        read_all(r, data, size);
    else
        feed_all(r, data, size, how->cut);
    int ended = tscope_end(r->scan);
    HOLDS(ended == TSCOPE_OK || r->memory_may_fail);
    HOLDS(tscope_end(r->scan) == TSCOPE_OK || r->memory_may_fail);
    while (take(r, TSCOPE_PACKETS, take_packets))
        continue;
    while (take(r, TSCOPE_FLOWS, take_flows))
        continue;
    while (take(r, TSCOPE_TRIES, take_tries))
    while (take(r, TSCOPE_DNS, take_dns))
        continue;
    while (take(r, TSCOPE_CANDIDATES, take_candidates))
        continue;
    take_summary(r);
    if (!r->memory_may_fail)
        check_conservation(r);
}

void scan(const uint8_t *data, size_t size, const struct how *how, struct outcome *out)
{
    struct run r = {.out = out, .memory_may_fail = how->fail_after >= 0};
    struct tscope_options options;
    size_t held = allocated();
    memset(out, 0, sizeof *out);
    set_options(&options, how);
    mem_fail_after(how->fail_after);
    int code = tscope_new(&options, &r.scan);
    HOLDS(code == TSCOPE_OK || r.memory_may_fail);
    if (code == TSCOPE_OK)
        run_scan(&r, data, size, how);
    mem_fail_after(-1);
    tscope_free(r.scan);
    HOLDS(allocated() == held);
}

void same_outcome(const struct outcome *a, const struct outcome *b)
{
    HOLDS(a->packets == b->packets);
    HOLDS(a->flows == b->flows);
    HOLDS(a->notices == b->notices);
    HOLDS(a->candidates == b->candidates);
    HOLDS(a->tries == b->tries && a->learned == b->learned);
    HOLDS(a->dns == b->dns);
    HOLDS(a->summary == b->summary);
}

void scan_twice(const uint8_t *data, size_t size, const struct how *how, uint64_t cut, struct outcome *out)
{
    static struct outcome again;
    struct how other = *how;
    scan(data, size, how, out);
    other.key = ~how->key * 0x9e3779b97f4a7c15u;
    other.batch_packets = (uint32_t)(cut % 33) + 1;
    other.cut = cut | 1;
    scan(data, size, &other, &again);
    same_outcome(out, &again);
}
