/* The scan as a whole: bytes in, frames to packets to flows, tables out. */
#include "scan.h"

#include <errno.h>
#include <unistd.h>

#include "memory.h"

enum {
    CHUNK = 256 * 1024,           /* read at once: more does not stay in the second-level cache */
    PAGE = 4096,
    ROOM = CHUNK + MAX_RECORD + 2 * PAGE,
    BATCH_FLOWS = 16384,
    BATCH_FRAMES = 4 << 20,       /* bytes of frames; a batch goes beyond it by less than a group */
    AHEAD = 8
};

/* ---------------------------------------------------------------- making and ending */

static uint64_t or_default(uint64_t value, uint64_t fallback)
{
    return value ? value : fallback;
}

static bool set_options(struct tscope_scan *s, const struct tscope_options *given)
{
    struct tscope_options *o = &s->options;
    *o = *given;
    o->max_flows = or_default(o->max_flows, 1 << 20);
    o->trace_bytes = or_default(o->trace_bytes, 128 << 20);
    o->candidate_bytes = or_default(o->candidate_bytes, 64 << 20);
    o->context_entries = or_default(o->context_entries, 1 << 18);
    o->batch_packets = (uint32_t)or_default(o->batch_packets, 16384);
    memcpy(s->key.word, o->key, sizeof s->key.word);
    for (unsigned i = 0; i < 2; i++)                   /* a multiplier of few bits would mix nothing */
        s->key.word[i] = digest_finish(s->key.word[i] + i) ^ 0x9e3779b97f4a7c15u;
    return o->max_flows < (uint64_t)1 << 31 && o->context_entries < (uint64_t)1 << 31 &&
           o->batch_packets < (uint32_t)1 << 28;
}

int tscope_new(const struct tscope_options *options, struct tscope_scan **scan)
{
    *scan = NULL;
    struct tscope_scan *s = mem_new(1, sizeof *s);
    if (!s)
        return TSCOPE_E_MEMORY;
    s->store.arena = &s->arena;
    candidates_init(&s->candidates);
    s->sum.first_ns = s->sum.last_ns = s->last_ns = TSCOPE_NO_NS;
    int code = set_options(s, options) ? TSCOPE_OK : TSCOPE_E_OPTION;
    if (!code)
        code = flows_init(s);
    if (!code)
        code = traces_init(&s->traces, s->options.trace_bytes);
    if (!code)
        code = fragments_init(s);
    if (!code)
        code = transactions_init(s);
    if (!code)
        code = context_init(s);
    if (!code)
        code = dns_streams_init(s);
    if (!code)
        code = learned_init(s);
    if (!code)
        code = context_answers_init(s);
    if (code) {
        tscope_free(s);
        return code;
    }
    *scan = s;
    return TSCOPE_OK;
}

void tscope_free(struct tscope_scan *s)
{
    if (!s)
        return;
    reader_end(&s->reader);
    flows_end(s);
    traces_end(&s->traces);
    transactions_end(s);
    dns_streams_end(s);
    learned_end(s);
    dns_table_end(s);
    context_end(s);
    context_answers_end(s);
    candidates_end(&s->candidates);
    fragments_end(s);
    tries_end(&s->tries);
    arena_end(&s->arena);
    mem_free(s->output.packets);
    mem_free(s->output.flows);
    mem_free(s->output.answers);
    mem_free(s->output.text);
    mem_free(s->output.frames);
    mem_free(s->buffer);
    mem_free(s);
}

void note(struct tscope_scan *s, int code, uint64_t offset, uint64_t need, uint64_t have)
{
    if (s->sum.n_notices < MAX_NOTICES)
        s->notices[s->sum.n_notices] = (struct tscope_notice){
            .code = code, .offset = offset, .frame = s->sum.frames, .need = need, .have = have};
    s->sum.n_notices++;
}

void out_of_memory(struct tscope_scan *s)
{
    if (s->failure != TSCOPE_E_MEMORY)
        note(s, TSCOPE_E_MEMORY, s->offset, 0, 0);
    s->failure = TSCOPE_E_MEMORY;
}

/* ---------------------------------------------------------------- a packet */

static void count_anomalies(struct tscope_scan *s, uint32_t anomalies)
{
    for (; anomalies; anomalies &= anomalies - 1)
        s->sum.anomaly_count[__builtin_ctz(anomalies)]++;
}

static void take_time(struct tscope_scan *s, struct packet *p)
{
    int64_t jump = 0;
    if (p->time_ns == TSCOPE_NO_NS) {
        p->anomalies |= TSCOPE_AN_NO_TIME;
        p->time_ns = s->last_ns;
        return;
    }
    if (s->sum.first_ns == TSCOPE_NO_NS)
        s->sum.first_ns = s->last_ns = p->time_ns;
    if (p->time_ns < s->last_ns - SECOND)
        p->anomalies |= TSCOPE_AN_TIME_BACK;
    s->sum.last_ns = s->last_ns = p->time_ns;
    if (!clock_advance(&s->clock, p->time_ns, &jump))
        return;
    note(s, TSCOPE_E_TIME_JUMP, s->offset, 0, (uint64_t)jump);
    if (jump < 0) {
        flows_clock_set_back(s);
        transactions_clock_set_back(s);
    }
}

static void emit_packet(struct tscope_scan *s, const struct packet *p, uint64_t flow)
{
    struct tscope_packet *row = &s->output.packets[s->output.n_packets++];
    *row = (struct tscope_packet){
        .frame = p->frame, .time_ns = p->anomalies & TSCOPE_AN_NO_TIME ? TSCOPE_NO_NS : p->time_ns, .flow = flow, .captured_length = p->captured_length,
        .wire_length = p->wire_length, .payload_length = p->has_ports ? p->payload_length : 0, .seq = p->seq,
        .ack = p->ack, .interface = p->interface, .anomalies = p->anomalies,
        .ip_id = p->ip_version == 4 ? p->ip_id : UINT32_MAX, .source_port = p->source_port,
        .destination_port = p->destination_port, .flags = p->flags, .window = p->window, .link_type = p->link_type,
        .vlan = p->vlan, .protocol = p->protocol, .ip_version = p->ip_version, .ttl = p->ttl, .tos = p->tos,
        .tunnel = p->tunnel, .outer_ip = p->outer_ip};
    memcpy(row->source, p->quotes ? p->outer[0] : packet_source(p), 16);
    memcpy(row->destination, p->quotes ? p->outer[1] : packet_destination(p), 16);
}

/* Keeps the captured bytes of a frame that has a row. */
static bool emit_frame(struct output *o, const uint8_t *data, uint32_t length)
{
    if (o->room_frames - o->n_frames < length) {
        size_t room = 2 * o->room_frames + length;
        uint8_t *grown = mem_resize(o->frames, room, 1);
        if (!grown)
            return false;
        o->frames = grown;
        o->room_frames = room;
    }
    if (length)
        memcpy(o->frames + o->n_frames, data, length);
    o->n_frames += length;
    return true;
}

static void take_packet(struct tscope_scan *s, struct packet *p, const uint8_t *data)
{
    uint64_t number = 0;
    s->sum.frames++;
    s->sum.captured_bytes += p->captured_length;
    p->frame = s->sum.frames;
    take_time(s, p);
    if (s->clock.now >> 30 != s->expired_at) {         /* timers look once a tick of their wheels */
        s->expired_at = s->clock.now >> 30;
        flows_expire(s);
        transactions_expire(s);
    }
    if (!p->has_ports && p->fragment)
        fragments_take(s, p);
    if (p->ip_version)
        s->sum.packets++;
    if (p->has_ports) {
        number = flow_take(s, p);
        if (!number) {
            out_of_memory(s);
            return;
        }
    }
    if (p->quotes) {
        struct flow *f = flow_quoted(s, p);
        if (f) {
            number = f->number;
            flow_icmp(s, f, p);
        }
    }
    if (p->anomalies)
        count_anomalies(s, p->anomalies);
    if (!(s->options.emit & TSCOPE_PACKETS))
        return;
    if ((s->options.emit & TSCOPE_FRAMES) && !emit_frame(&s->output, data, p->captured_length))
        out_of_memory(s);
    else
        emit_packet(s, p, number);
}

static void take_group(struct tscope_scan *s, unsigned n)
{
    for (unsigned i = 0; i < n && s->failure != TSCOPE_E_MEMORY; i++) {
        s->offset = s->starts[i];                      /* what is noted of a packet names its record, not its group */
        take_packet(s, &s->group[i], s->data[i]);
    }
}

/* ---------------------------------------------------------------- bytes */

static bool tables_wait(const struct tscope_scan *s)
{
    return s->output.n_packets >= s->options.batch_packets || s->output.n_flows >= BATCH_FLOWS ||
           s->output.n_frames >= BATCH_FRAMES || tries_wait(&s->tries) ||
           dns_table_full(s);
}

static bool ready_for_packets(struct tscope_scan *s)
{
    if (!(s->options.emit & TSCOPE_PACKETS) || s->output.packets)
        return true;
    s->output.packets = mem_new(s->options.batch_packets, sizeof *s->output.packets);
    return s->output.packets != NULL;
}

/* The most packets that may be taken now. */
static unsigned group_size(const struct tscope_scan *s)
{
    uint64_t most = GROUP;
    if ((s->options.emit & TSCOPE_PACKETS) && s->options.batch_packets - s->output.n_packets < most)
        most = s->options.batch_packets - s->output.n_packets;
    if (s->options.max_frames && s->options.max_frames - s->sum.frames < most)
        most = s->options.max_frames - s->sum.frames;
    return (unsigned)(most < GROUP ? most : GROUP);
}

/* Packets are decoded together, so that the table's memory is on its way when their turn comes: the slot as soon as the
 * hash is known, the record AHEAD packets later, when the slot is there. */
static void fetch_ahead(struct tscope_scan *s, unsigned from, unsigned to)
{
    for (unsigned i = from; i < to; i++)
        if (s->group[i].has_ports)
            flow_prefetch(&s->flows, &s->group[i]);
}

/* Decodes up to `most` packets; how many.  *at moves behind their records, *found says why there are no more. */
static unsigned fill_group(struct tscope_scan *s, const uint8_t *data, size_t length, size_t *at, unsigned most,
                           enum found *found)
{
    unsigned n = 0;
    uint64_t base = s->offset - *at;
    struct reader *r = &s->reader;
    r->flawed = false;
    for (*found = FOUND_OTHER; n < most && *found != FOUND_MORE && *found != FOUND_FAULT && !r->flawed;) {
        struct record record;                          /* advances by the step, or ends */
        size_t step;
        r->offset = base + *at;
        *found = reader_next(r, data + *at, length - *at, &record, &step);
        *at += step;
        if (*found != FOUND_RECORD)
            continue;
        struct packet *p = &s->group[n];
        s->starts[n] = r->offset;
        s->data[n] = record.data;
        decode(&record, &r->interfaces[record.interface], &s->key, p);
        flow_prefetch_slot(&s->flows, p->hash);
        if (n >= AHEAD)
            fetch_ahead(s, n - AHEAD, n - AHEAD + 1);
        n++;
    }
    fetch_ahead(s, n > AHEAD ? n - AHEAD : 0, n);
    return n;
}

/* Takes records from a window until it is used up, tables wait or reading cannot go on. */
static int process(struct tscope_scan *s, const uint8_t *data, size_t length, size_t *used)
{
    size_t at = 0;
    int code = TSCOPE_OK;
    uint64_t base = s->offset;
    while (code == TSCOPE_OK && !tables_wait(s)) {
        unsigned most = group_size(s);
        enum found found;
        if (most == 0) {
            code = TSCOPE_END;
            break;
        }
        take_group(s, fill_group(s, data, length, &at, most, &found));
        s->offset = base + at;
        if (found == FOUND_FAULT || s->reader.flawed)
            note(s, s->reader.fault.code, s->reader.fault.offset, s->reader.fault.need, s->reader.fault.have);
        s->reader.flawed = false;
        if (found == FOUND_FAULT)
            s->failure = s->reader.fault.code;
        if (s->failure)
            code = s->failure;
        else if (found == FOUND_MORE)
            break;
    }
    *used = at;
    if (code == TSCOPE_OK && tables_wait(s))
        return TSCOPE_FULL;
    return code;
}

/* Where what is left over must lie for the next bytes to begin a page.  The kernel copies whole pages; a target some
 * bytes off makes each of its loads wait for a store that only looks like the same address: 3.5 times the time. */
static size_t start_for_page(const struct tscope_scan *s)
{
    return (size_t)(-((uintptr_t)s->buffer + s->filled) % PAGE);
}

/* Room for `free_bytes` behind what lies in the buffer, beginning with a page where they are `read`. */
static bool reserve(struct tscope_scan *s, size_t free_bytes, bool read)
{
    size_t room = s->room ? s->room : ROOM;
    while (room - s->filled < free_bytes + PAGE)
        room *= 2;
    if (room != s->room) {
        uint8_t *buffer = mem_resize(s->buffer, room, 1);
        if (!buffer)
            return false;
        s->buffer = buffer;
        s->room = room;
    }
    size_t start = read ? start_for_page(s) : 0;
    if (start != s->start)
        memmove(s->buffer + start, s->buffer + s->start, s->filled);
    s->start = start;
    return true;
}

/* What lies in the buffer. */
static int process_buffer(struct tscope_scan *s)
{
    size_t used;
    int code = process(s, s->buffer + s->start, s->filled, &used);
    s->start += used;
    s->filled -= used;
    return code;
}

static int usable(struct tscope_scan *s)
{
    if (s->failure)
        return s->failure;
    if (s->ended)
        return TSCOPE_END;
    return ready_for_packets(s) ? TSCOPE_OK : TSCOPE_E_MEMORY;
}

/* Completes a record of which a part lies in the buffer; *used counts what was taken from `data`. */
static int feed_rest(struct tscope_scan *s, const uint8_t *data, size_t length, size_t *used)
{
    int code = TSCOPE_OK;
    while (s->filled && code == TSCOPE_OK && *used < length) {  /* advances >= 1 */
        size_t want = s->reader.need > s->filled ? (size_t)(s->reader.need - s->filled) : 1;
        size_t n = want < length - *used ? want : length - *used;
        if (!reserve(s, n, false)) {
            out_of_memory(s);
            return TSCOPE_E_MEMORY;
        }
        memcpy(s->buffer + s->start + s->filled, data + *used, n);
        s->filled += n;
        *used += n;
        s->sum.bytes += n;
        code = process_buffer(s);
    }
    return code;
}

int tscope_feed(struct tscope_scan *s, const uint8_t *data, size_t length, size_t *used)
{
    *used = 0;
    int code = usable(s);
    if (code == TSCOPE_OK && s->filled)
        code = process_buffer(s);
    if (code == TSCOPE_OK)
        code = feed_rest(s, data, length, used);
    if (code != TSCOPE_OK || *used == length)
        return code;
    size_t n;
    code = process(s, data + *used, length - *used, &n);
    *used += n;
    s->sum.bytes += n;
    if (code != TSCOPE_OK)
        return code;
    size_t rest = length - *used;
    if (rest && !reserve(s, rest, false)) {
        out_of_memory(s);
        return TSCOPE_E_MEMORY;
    }
    if (rest)
        memcpy(s->buffer + s->start + s->filled, data + *used, rest);
    s->filled += rest;
    s->sum.bytes += rest;
    *used = length;
    return TSCOPE_OK;
}

int tscope_read(struct tscope_scan *s, int descriptor, uint64_t max_bytes)
{
    int code = usable(s);
    uint64_t done = 0;
    if (code == TSCOPE_OK && s->filled)
        code = process_buffer(s);
    while (code == TSCOPE_OK && done < max_bytes) {
        if (!reserve(s, CHUNK, true)) {
            out_of_memory(s);
            return TSCOPE_E_MEMORY;
        }
        ssize_t n = read(descriptor, s->buffer + s->start + s->filled, CHUNK);
        if (n < 0 && errno == EINTR)
            return TSCOPE_OK;
        if (n < 0) {
            note(s, TSCOPE_E_READ, s->offset + s->filled, 0, (uint64_t)errno);
            return s->failure = TSCOPE_E_READ;
        }
        if (n == 0)
            return TSCOPE_END;
        s->filled += (size_t)n;
        s->sum.bytes += (uint64_t)n;
        done += (uint64_t)n;
        code = process_buffer(s);
    }
    return code;
}

/* What is left in the buffer is a record whose end never came. */
static void note_rest(struct tscope_scan *s)
{
    bool stopped = s->options.max_frames && s->sum.frames >= s->options.max_frames;
    if (s->failure || stopped)
        return;
    bool started = s->reader.container != CONTAINER_UNKNOWN;
    if (!s->sum.bytes)
        note(s, TSCOPE_E_EMPTY, 0, 0, 0);
    else if (!started || (s->reader.container == CONTAINER_PCAPNG && s->offset == 0))
        note(s, TSCOPE_E_HEADER_CUT, 0, s->reader.need, s->filled);
    else if (s->filled || s->reader.skip)
        note(s, TSCOPE_E_RECORD_CUT, s->offset, s->reader.skip ? s->reader.skip + s->filled : s->reader.need, s->filled);
}

/* Frames whose link type is not known were counted, not understood: never an empty result without a word. */
static void note_link_types(struct tscope_scan *s)
{
    for (uint32_t i = 0; s->sum.anomaly_count[17] && i < s->reader.n_interfaces; i++)
        if (s->reader.interfaces[i].layer == LAYER_NONE)
            note(s, TSCOPE_E_LINKTYPE, 0, s->sum.anomaly_count[17], s->reader.interfaces[i].link_type);
}

int tscope_end(struct tscope_scan *s)
{
    if (s->ended)
        return TSCOPE_OK;
    note_rest(s);
    note_link_types(s);
    transactions_finish(s);
    flows_finish(s);
    traces_end(&s->traces);
    arena_end(&s->arena);
    s->ended = true;
    return s->failure == TSCOPE_E_MEMORY ? TSCOPE_E_MEMORY : TSCOPE_OK;
}

/* ---------------------------------------------------------------- tables out */

int tscope_take(struct tscope_scan *s, uint32_t kind, struct tscope_batch **batch)
{
    struct output *o = &s->output;
    *batch = NULL;
    if (kind == TSCOPE_CANDIDATES)
        return candidates_take(s, batch);
    if (kind == TSCOPE_TRIES)
        return tries_take(&s->tries, batch);
    if (kind == TSCOPE_DNS)
        return dns_table_take(s, batch);
    bool packets = kind == TSCOPE_PACKETS;
    if (packets ? !o->n_packets : !o->n_flows)
        return TSCOPE_OK;
    struct tscope_batch *out = mem_new(1, sizeof *out);
    if (!out)
        return TSCOPE_E_MEMORY;
    if (packets) {
        out->packets = o->packets;
        out->n_packets = o->n_packets;
        out->frames = o->frames;
        out->n_frames = o->n_frames;
        o->packets = NULL;
        o->frames = NULL;
        o->n_packets = o->n_frames = o->room_frames = 0;
    } else {
        out->flows = o->flows;
        out->n_flows = o->n_flows;
        out->answers = o->answers;
        out->text = o->text;
        out->n_text = o->n_text;
        o->flows = NULL;
        o->answers = NULL;
        o->text = NULL;
        o->n_flows = o->n_text = o->room_flows = o->room_answers = o->room_text = 0;
    }
    *batch = out;
    return TSCOPE_OK;
}

void tscope_summarize(const struct tscope_scan *s, struct tscope_summary *summary)
{
    *summary = s->sum;
    summary->flows = s->flows.started;
    summary->transactions = s->transactions.started;
    summary->candidates = s->candidates.count;
    summary->evicted_flows = s->flows.evicted;
    summary->evicted_transactions = s->transactions.evicted;
    summary->evicted_context = context_evicted(s) + context_answers_evicted(s);
    summary->datagrams_incomplete += s->fragments.datagrams.count;
    summary->container = s->reader.container;
    summary->n_interfaces = s->reader.n_interfaces;
    summary->live_flows = s->flows.live;
    summary->peak_flows = s->flows.peak;
}

int tscope_notice(const struct tscope_scan *s, size_t index, struct tscope_notice *notice)
{
    if (index >= s->sum.n_notices || index >= MAX_NOTICES)
        return TSCOPE_END;
    *notice = s->notices[index];
    return TSCOPE_OK;
}

int tscope_interface(const struct tscope_scan *s, uint32_t index, uint32_t *link_type, uint32_t *snap_length,
                     uint64_t *ticks)
{
    if (index >= s->reader.n_interfaces)
        return TSCOPE_END;
    *link_type = s->reader.interfaces[index].link_type;
    *snap_length = s->reader.interfaces[index].snap_length;
    *ticks = interface_ticks(&s->reader.interfaces[index]);
    return TSCOPE_OK;
}
