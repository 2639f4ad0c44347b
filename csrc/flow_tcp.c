/* What a TCP segment changes in its flow: sequence numbers, the handshake, the trigger, marks, the trace.
 *
 * Nothing here judges.  Sequence numbers are compared on their circle; `next_seq` of a side is the byte after the
 * highest one that it sent, or that the other end acknowledged (so bytes missing from the capture count once). */
#include "scan.h"

enum {
    FIRST_ROWS = 24,              /* handshake, hello, certificates, first data: always traced */
    ROWS_AFTER_RESET = 16,        /* of each sender */
    ROWS_UNANSWERED = 64,         /* of server packets while the trigger is unanswered */
    KEPT_ROWS = 256,              /* of a trace, for packets that are neither reset, FIN nor SYN */
    BIG_JUMP = 1 << 24            /* an acknowledgement further ahead is not believed */
};

/* ---------------------------------------------------------------- life of a flow */

bool flow_starts_anew(const struct flow *f, const struct packet *p)
{
    if (p->protocol != 6 || (p->flags & (TSCOPE_SYN | TSCOPE_ACK | TSCOPE_RST)) != TSCOPE_SYN)
        return false;
    const struct side *self = &f->side[p->from], *other = &f->side[!p->from];
    if (self->flags & TSCOPE_SYN)
        return p->seq != f->rare[p->from].isn;
    /* A SYN amid a flow whose own SYN was not seen: the port was used again.  A simultaneous open is no new flow. */
    return self->packets || other->bytes || f->closed;
}

int64_t flow_timeout(const struct flow *f)
{
    if (f->facts & TSCOPE_FACT_HANDSHAKE)
        return 300 * SECOND;
    return f->head.key.protocol == 6 && (f->side[0].bytes || f->side[1].bytes) ? 300 * SECOND : FLOW_PATIENCE;
}

/* 30 s after a reset or both FINs: late genuine data is the proof of a forged reset. */
static void set_deadline(struct tscope_scan *s, struct flow *f, const struct packet *p)
{
    if (f->closed)
        return;
    bool fins = (f->side[0].flags & TSCOPE_FIN) && (f->side[1].flags & TSCOPE_FIN);
    f->closed = (p->flags & TSCOPE_RST) || fins;
    f->head.deadline = s->clock.now + (f->closed ? 30 * SECOND : flow_timeout(f));
}

void flow_client(struct flow *f, unsigned end, unsigned by)
{
    if (by >= f->client_by)
        return;
    f->client = (uint8_t)end;
    f->client_by = (uint8_t)by;
}

static bool service_port(uint16_t port)
{
    return port < 1024 || port == 8080 || port == 8443;
}

static void find_client(struct flow *f, const struct packet *p)
{
    if (f->client_by <= TSCOPE_BY_SYN_ACK)
        return;
    if ((p->flags & TSCOPE_SYN) && !(p->flags & TSCOPE_RST)) {
        bool answer = (p->flags & TSCOPE_ACK) != 0;
        flow_client(f, answer ? !p->from : p->from, answer ? TSCOPE_BY_SYN_ACK : TSCOPE_BY_SYN);
        return;
    }
    bool own = service_port(p->source_port), other = service_port(p->destination_port);
    if (own != other)
        flow_client(f, own ? !p->from : p->from, TSCOPE_BY_PORT);
}

/* ---------------------------------------------------------------- history letters (Zeek's) */

/* Each letter stands once for each end: fourteen at most. */
static void add_letter(struct flow *f, unsigned from, enum letter letter)
{
    unsigned code = letter | from << 3;
    uint16_t bit = (uint16_t)(1u << code);
    if (f->history_seen & bit)
        return;
    f->history_seen |= bit;
    f->history |= (uint64_t)code << (4 * f->history_length++);
}

static void add_history(struct flow *f, const struct packet *p, bool retransmitted)
{
    unsigned flags = p->flags;
    if (flags & (TSCOPE_SYN | TSCOPE_RST | TSCOPE_FIN)) {
        if (flags & TSCOPE_SYN)
            add_letter(f, p->from, flags & TSCOPE_ACK ? LETTER_SYN_ACK : LETTER_SYN);
        if (flags & TSCOPE_RST)
            add_letter(f, p->from, LETTER_RST);
        if (flags & TSCOPE_FIN)
            add_letter(f, p->from, LETTER_FIN);
        if (flags & (TSCOPE_SYN | TSCOPE_RST))
            return;
    }
    if (p->payload_length)
        add_letter(f, p->from, retransmitted ? LETTER_AGAIN : LETTER_DATA);
    else if (flags & TSCOPE_ACK)
        add_letter(f, p->from, LETTER_ACK);
}

/* ---------------------------------------------------------------- the trace */

/* Of a lone packet only the digest was kept. */
uint32_t payload_digest(const struct packet *p)
{
    size_t n = p->payload_have < 32 ? p->payload_have : 32;
    return n ? (uint32_t)digest_words(p->payload, n) : p->payload_digest;
}

struct before flow_before(const struct flow *f, const struct packet *p)
{
    const struct side *self = &f->side[p->from], *other = &f->side[!p->from];
    return (struct before){.self_next = self->next_seq, .other_next = other->next_seq, .self_known = self->seq_known,
                           .other_known = other->seq_known};
}

/* A copy has the IP ID and sequence number of its original.  Workload: bare ACKs that repeat each other (a third of the
 * packets of `small`) sent the search through rows that are not in the cache; of those that come soon enough to be
 * copies three in four are kept from it. */
static uint32_t traced_bit(const struct packet *p)
{
    return (uint32_t)1 << (((p->seq + p->ip_id) * 0x9e3779b1u) >> 27);
}

/* Resets, FINs and SYNs are always telling, so a sender could fill a trace with them; what comes after them, and proves
 * them forged, has its place kept. */
static bool crowded(struct flow *f)
{
    if (f->trace_count < MAX_TRACE - KEPT_ROWS)
        return false;
    f->facts |= TSCOPE_FACT_TRACE_FULL;
    return true;
}

bool flow_trace(struct tscope_scan *s, struct flow *f, const struct packet *p, struct before b, unsigned what)
{
    if ((p->flags & (TSCOPE_SYN | TSCOPE_FIN | TSCOPE_RST)) && crowded(f))
        return false;
    struct tscope_trace *row = trace_add(s, f);
    if (!row)
        return false;
    const struct side *other = &f->side[!p->from];
    f->side[p->from].traced_bits |= traced_bit(p);
    bool acks = b.other_known && (p->flags & TSCOPE_ACK);
    *row = (struct tscope_trace){
        .frame = p->frame, .time_ns = p->time_ns, .seq = p->seq, .ack = p->ack,
        .since_other_ns = other->packets ? p->time_ns - other->last_ns : TSCOPE_NO_NS,
        .seq_offset = b.self_known ? serial_minus(p->seq, b.self_next) : INT32_MIN,
        .ack_offset = acks ? serial_minus(p->ack, b.other_next) : INT32_MIN, .payload_length = p->payload_length,
        .payload_digest = payload_digest(p), .window = p->window, .ip_id = p->ip_id, .flags = p->flags,
        .what = (uint16_t)what, .options_digest = p->options_digest, .options_length = p->options_length,
        .from_server = p->from, .ttl = p->ttl, .tos = p->tos, .ip_flags = p->ip_flags};
    if (p->anomalies & TSCOPE_AN_PAYLOAD_CUT)
        row->what |= TSCOPE_WHAT_CUT;
    return true;
}

/* The sender's latest packet, before a reset that is to be compared with it. */
static void trace_reference(struct tscope_scan *s, struct flow *f, unsigned from)
{
    const struct side *self = &f->side[from];
    struct tscope_trace *row = self->packets && !crowded(f) ? trace_add(s, f) : NULL;
    if (!row)
        return;
    *row = (struct tscope_trace){
        .frame = self->last_frame, .time_ns = self->last_ns, .since_other_ns = TSCOPE_NO_NS, .seq = self->next_seq,
        .seq_offset = INT32_MIN, .ack_offset = INT32_MIN, .window = self->window, .ip_id = self->ip_id,
        .flags = self->last_flags, .what = TSCOPE_WHAT_REFERENCE, .ttl = self->ttl, .from_server = (uint8_t)from};
}

static bool unanswered(const struct flow *f)
{
    return f->trigger != TSCOPE_TRIGGER_NONE && f->answer_ns == TSCOPE_NO_NS;
}

/* Whether this packet is one of the telling ones. */
static bool is_telling(struct flow *f, struct side *self, const struct side *other, const struct packet *p, unsigned what)
{
    if (self->packets + other->packets < FIRST_ROWS || (p->flags & (TSCOPE_SYN | TSCOPE_FIN | TSCOPE_RST)))
        return true;
    if ((self->flags | other->flags) & (TSCOPE_RST | TSCOPE_FIN)) {
        if (self->after_reset >= ROWS_AFTER_RESET)
            return false;
        self->after_reset++;
        return true;
    }
    if (f->silent_rows >= ROWS_UNANSWERED)
        return false;
    if (!unanswered(f)) {
        bool repeat = (what & TSCOPE_WHAT_RETRANSMISSION) && quiet_is_telling(f, p);
        f->silent_rows += repeat;
        return repeat;
    }
    if (p->from == f->client && !(what & TSCOPE_WHAT_RETRANSMISSION))
        return false;
    f->silent_rows++;
    return true;
}

/* What was traced of a flow that goes well is let go when its first packets are over, or when both ends have closed it:
 * the pages serve the next one. */
static void release_when_well(struct tscope_scan *s, struct flow *f)
{
    unsigned flags = f->side[0].flags | f->side[1].flags;
    answer_settle(s, f);
    if (f->marks || f->answer_ns == TSCOPE_NO_NS || (flags & TSCOPE_RST) || ((flags & TSCOPE_FIN) && !f->closed))
        return;
    trace_release(&s->traces, f);
    if (!(s->options.emit & TSCOPE_FLOWS))
        answer_end(s, f);
    f->side[0].traced = f->side[1].traced = false;
    f->side[0].traced_bits = f->side[1].traced_bits = 0;
    f->facts |= TSCOPE_FACT_TRACE_RELEASED;
}

/* ---------------------------------------------------------------- resets */

static uint32_t marks_of_reset(const struct flow *f, const struct side *self, const struct side *other,
                               const struct packet *p)
{
    bool server = p->from != f->client;
    uint32_t marks = 0;
    if (server && (other->flags & TSCOPE_SYN) && !self->ttl_max && !other->bytes)
        return TSCOPE_MARK_RST_ON_SYN;
    if (self->ttl_max && (p->ttl < self->ttl_min || p->ttl > self->ttl_max))
        marks |= TSCOPE_MARK_RST_UNLIKE;
    if (self->in_reset_run)
        marks |= TSCOPE_MARK_RST_REPEATED;
    if (self->seq_known && p->seq != self->next_seq && !(other->ack_known && p->seq == other->last_ack))
        marks |= TSCOPE_MARK_RST_SEQUENCE;
    if (p->payload_length)
        marks |= TSCOPE_MARK_RST_PAYLOAD;
    if (p->flags & ~(unsigned)(TSCOPE_RST | TSCOPE_ACK | TSCOPE_ECE | TSCOPE_CWR))
        marks |= TSCOPE_MARK_RST_FLAGS;
    bool answered = other->packets && p->ip_id == other->ip_id;
    if (p->ip_id && (answered || (self->packets && !self->in_reset_run && p->ip_id == self->ip_id)))
        marks |= TSCOPE_MARK_RST_IP_ID;
    if (!server && f->trigger && !(p->flags & TSCOPE_ACK) && !(self->flags & TSCOPE_FIN) &&
        p->time_ns - f->trigger_ns < f->rtt_client_ns / 4 * 3)
        marks |= TSCOPE_MARK_RST_TOO_EARLY;
    if (server && f->trigger && !(self->flags & TSCOPE_FIN)) {
        marks |= TSCOPE_MARK_RST_AFTER_TRIGGER;
        if (f->rtt_server_ns > 0 && p->time_ns - f->trigger_ns < f->rtt_server_ns / 4 * 3)
            marks |= TSCOPE_MARK_RST_TOO_EARLY;
    }
    return marks;
}

static bool take_reset(struct tscope_scan *s, struct flow *f, struct side *self, const struct side *other,
                       const struct packet *p)
{
    if (self->packets && !self->traced)
        trace_reference(s, f, p->from);
    bool traced = flow_trace(s, f, p, flow_before(f, p), self->resets ? TSCOPE_WHAT_AFTER_RST : 0);
    flow_mark(s, f, marks_of_reset(f, self, other, p));
    if (p->from != f->client && (!f->trigger || (self->flags & TSCOPE_FIN)))
        f->rare[p->from].plain_rst_ttl = p->ttl;
    self->resets++;
    self->flags |= p->flags;
    self->in_reset_run = true;
    add_history(f, p, false);
    return traced;
}

/* ---------------------------------------------------------------- sequence numbers, handshake, trigger */

static unsigned place_in_stream(struct flow *f, struct side *self, const struct packet *p)
{
    uint32_t length = p->payload_length + ((p->flags & TSCOPE_SYN) != 0) + ((p->flags & TSCOPE_FIN) != 0);
    unsigned what = 0;
    if (!self->seq_known) {
        self->seq_known = true;
        self->next_seq = p->seq + length;
        return 0;
    }
    int32_t offset = serial_minus(p->seq, self->next_seq);
    if (offset > 0) {
        what = TSCOPE_WHAT_AHEAD;
        if (offset < BIG_JUMP)
            f->rare[p->from].missing += (uint32_t)offset;
    } else if (offset < 0 && length) {
        bool probe = offset == -1 && p->payload_length <= 1 && !(p->flags & (TSCOPE_SYN | TSCOPE_FIN));
        what = probe ? TSCOPE_WHAT_KEEP_ALIVE : TSCOPE_WHAT_RETRANSMISSION;
        if (!probe && p->payload_length)
            f->rare[p->from].retransmissions++;
        f->rare[p->from].missing -= length < f->rare[p->from].missing ? length : f->rare[p->from].missing;
    } else if (offset == -1 && !length) {
        what = TSCOPE_WHAT_KEEP_ALIVE;
    }
    if (serial_minus(p->seq + length, self->next_seq) > 0)
        self->next_seq = p->seq + length;
    return what;
}

static void take_ack(struct flow *f, struct side *self, struct side *other, const struct packet *p)
{
    if (!(p->flags & TSCOPE_ACK))
        return;
    self->last_ack = p->ack;
    self->ack_known = true;
    int32_t ahead = other->seq_known ? serial_minus(p->ack, other->next_seq) : 0;
    if (!other->seq_known) {
        other->seq_known = true;
        other->next_seq = p->ack;
    } else if (ahead > 0 && ahead < BIG_JUMP) {        /* acknowledged, but not in the capture */
        f->rare[!p->from].missing += (uint32_t)ahead;
        other->next_seq = p->ack;
    }
    if (p->from == f->client || !f->trigger)
        return;
    int32_t taken = serial_minus(p->ack, f->trigger_seq);
    if (taken > (int32_t)f->trigger_acked)
        f->trigger_acked = (uint32_t)taken < f->trigger_length ? (uint32_t)taken : f->trigger_length;
    if ((f->facts & TSCOPE_FACT_TRIGGER_REPEATED) && taken < (int32_t)f->trigger_length)
        f->late_unacked = true;
}

static void take_handshake(struct tscope_scan *s, struct flow *f, const struct side *self, const struct packet *p)
{
    bool from_client = p->from == f->client;
    if (p->flags & TSCOPE_SYN) {
        if ((p->flags & TSCOPE_ACK) && (self->flags & TSCOPE_SYN) && f->rare[p->from].isn != p->seq)
            flow_mark(s, f, TSCOPE_MARK_SYN_ACK_CONFLICT);
        if (!(self->flags & TSCOPE_SYN))
            f->rare[p->from].isn = p->seq;
        if (from_client) {
            f->facts |= TSCOPE_FACT_SYN;
            f->syn_ns = p->time_ns;
        } else if (p->flags & TSCOPE_ACK) {
            if (f->syn_ns != TSCOPE_NO_NS && f->rtt_server_ns == TSCOPE_NO_NS)
                f->rtt_server_ns = p->time_ns - f->syn_ns;
            f->facts |= TSCOPE_FACT_SYN_ACK;
            f->syn_ack_ns = p->time_ns;
        }
    } else if (from_client && (f->facts & TSCOPE_FACT_SYN_ACK) && (p->flags & TSCOPE_ACK) &&
               f->rtt_client_ns == TSCOPE_NO_NS) {
        f->rtt_client_ns = p->time_ns - f->syn_ack_ns;
        if (f->facts & TSCOPE_FACT_SYN)
            f->facts |= TSCOPE_FACT_HANDSHAKE;
    }
}

/* The trigger is what the client sends before the server's first payload, from its first byte on. */
static unsigned take_client_payload(struct tscope_scan *s, struct flow *f, const struct side *self,
                                    const struct packet *p, unsigned what)
{
    bool whole = (self->flags & TSCOPE_SYN) != 0;
    if (!f->trigger && f->answer_ns == TSCOPE_NO_NS && (whole || f->name_state != NAME_DONE)) {
        f->trigger = TSCOPE_TRIGGER_DATA;
        f->trigger_frame = p->frame;
        f->trigger_ns = p->time_ns;
        f->trigger_seq = whole ? f->rare[p->from].isn + 1 : p->seq;
    }
    if (f->trigger && f->answer_ns == TSCOPE_NO_NS) {
        int32_t length = serial_minus(p->seq + p->payload_length, f->trigger_seq);   /* without a FIN */
        if (length > (int32_t)f->trigger_length && length < BIG_JUMP)
            f->trigger_length = (uint32_t)length;
        if (what & TSCOPE_WHAT_RETRANSMISSION)
            f->facts |= TSCOPE_FACT_TRIGGER_REPEATED;
        else
            what |= TSCOPE_WHAT_TRIGGER;
    }
    if (f->name_state != NAME_DONE && p->payload_have)
        stream_take(s, f, p);
    return what;
}

static void take_server_payload(struct tscope_scan *s, struct flow *f, const struct packet *p, unsigned what)
{
    if (what & TSCOPE_WHAT_KEEP_ALIVE)
        return;
    if (!f->trigger) {
        answer_unasked(s, f, p);
    } else if (f->answer_ns == TSCOPE_NO_NS) {
        f->answer_ns = p->time_ns;
        answer_begin(s, f, p);
    } else if (kept_answer_of(f)) {
        answer_more(s, f, p);
    }
}

/* ---------------------------------------------------------------- copies */

static int64_t copy_within(const struct packet *p)
{
    return p->ip_id ? SECOND / 20 : SECOND / 1000;
}

/* The same frame again, from a mirror port or a second interface, is identical down to the IP ID and comes at once.
 * Most packets cannot be copies: they bring new bytes, or acknowledge new ones. */
static bool may_be_copy(const struct side *self, const struct packet *p)
{
    if (!self->packets)
        return false;
    if (p->payload_length || (p->flags & (TSCOPE_SYN | TSCOPE_FIN)))
        return serial_minus(p->seq, self->next_seq) < 0;
    return p->ack == self->last_ack || (p->flags & TSCOPE_RST);
}

static bool is_alike(const struct tscope_trace *row, const struct packet *p)
{
    return row->from_server == p->from && row->seq == p->seq && row->ack == p->ack && row->ip_id == p->ip_id &&
           row->flags == p->flags && row->window == p->window && row->payload_length == p->payload_length &&
           !(row->what & (TSCOPE_WHAT_REFERENCE | TSCOPE_WHAT_ICMP)) &&
           p->time_ns - row->time_ns < copy_within(p);
}

static bool is_last_again(const struct side *self, const struct packet *p)
{
    return p->flags == self->last_flags && p->ip_id == self->ip_id && p->window == self->window &&
           p->payload_length == self->last_length && p->ack == self->last_ack && p->seq == self->last_seq &&
           p->time_ns - self->last_ns < copy_within(p);
}

/* Resets are copies only where the flow's other packets come in copies too: several resets alike are what some
 * injectors send.  A bare ACK without an IP ID may well be sent twice. */
static bool is_copy(const struct tscope_scan *s, const struct flow *f, const struct side *self,
                    const struct side *other, const struct packet *p)
{
    if (!may_be_copy(self, p))
        return false;
    /* Nothing of this sender came so lately.  Workload: of the bare ACKs in `small` that repeat each other, 60 %; for the
     * others the trace has to be searched, which is out of the cache. */
    if (!self->copies && !self->out_of_order && p->time_ns - self->last_ns >= copy_within(p))
        return false;
    if ((p->flags & TSCOPE_RST) && 2 * ((uint32_t)self->copies + other->copies) < self->packets + other->packets)
        return false;
    if (!p->payload_length && !p->ip_id && !(p->flags & (TSCOPE_SYN | TSCOPE_FIN | TSCOPE_RST)))
        return false;
    return is_last_again(self, p) ||
           ((self->traced_bits & traced_bit(p)) && trace_has(&s->traces, f, p, is_alike));
}

static void remember(struct flow *f, struct side *self, const struct packet *p)
{
    self->out_of_order |= p->time_ns < self->last_ns;
    self->last_frame = p->frame;
    self->last_ns = p->time_ns;
    self->ip_id = p->ip_id;
    self->window = p->window;
    self->last_seq = p->seq;
    self->last_flags = p->flags;
    self->last_length = (uint16_t)p->payload_length;
    self->ttl = p->ttl;
    if (!(p->flags & TSCOPE_RST)) {
        if (!self->ttl_max)
            f->rare[p->from].ttl_first = self->ttl_min = self->ttl_max = p->ttl;
        if (p->ttl < self->ttl_min)
            self->ttl_min = p->ttl;
        if (p->ttl > self->ttl_max)
            self->ttl_max = p->ttl;
    }
}

static bool take_segment(struct tscope_scan *s, struct flow *f, struct side *self, struct side *other,
                         const struct packet *p)
{
    struct before before = flow_before(f, p);
    unsigned what = self->resets ? TSCOPE_WHAT_AFTER_RST : 0;
    take_handshake(s, f, self, p);
    what |= place_in_stream(f, self, p);
    if (what & TSCOPE_WHAT_RETRANSMISSION)
        quiet_repeat(f, p);
    self->flags |= p->flags;
    if (p->payload_length && p->from == f->client)
        what = take_client_payload(s, f, self, p, what);
    else if (p->payload_length)
        take_server_payload(s, f, p, what);
    take_ack(f, self, other, p);
    if (self->resets)
        flow_mark(s, f, TSCOPE_MARK_SENDS_AFTER_RST);
    add_history(f, p, (what & TSCOPE_WHAT_RETRANSMISSION) != 0);
    return is_telling(f, self, other, p, what) && flow_trace(s, f, p, before, what);
}

static void take_copy(struct tscope_scan *s, struct flow *f, struct side *self, const struct packet *p)
{
    if (self->copies < UINT8_MAX)
        self->copies++;
    f->facts |= TSCOPE_FACT_COPIES;
    if ((p->flags & TSCOPE_RST) || self->packets < FIRST_ROWS)
        flow_trace(s, f, p, flow_before(f, p), TSCOPE_WHAT_DUPLICATE);
}

/* Beginning, name and answer are over and nothing odd was seen: from here on most segments change only numbers. */
static bool is_steady(const struct flow *f)
{
    const struct side *a = &f->side[0], *b = &f->side[1];
    unsigned ends = (unsigned)(a->flags | b->flags) & (TSCOPE_RST | TSCOPE_FIN);
    bool opened = (f->facts & TSCOPE_FACT_HANDSHAKE) || !(f->facts & TSCOPE_FACT_SYN_ACK);
    return f->answer_ns != TSCOPE_NO_NS && f->name_state == NAME_DONE && !is_dns(f) && f->trigger_acked == f->trigger_length &&
           a->packets + b->packets >= FIRST_ROWS && a->seq_known && b->seq_known && opened && !ends && !f->closed;
}

/* The next bytes of a steady flow, or an acknowledgement of some: nothing that the long way would note. */
static bool is_ordinary(const struct flow *f, const struct side *self, const struct side *other,
                        const struct packet *p)
{
    unsigned letter = 1u << ((p->payload_length ? 4 : 6) + 8 * p->from);
    return f->steady && (p->flags & ~(unsigned)TSCOPE_PSH) == TSCOPE_ACK && p->seq == self->next_seq &&
           serial_minus(p->ack, other->next_seq) <= 0 && (p->payload_length || p->ack != self->last_ack) &&
           p->ttl >= self->ttl_min && p->ttl <= self->ttl_max && (f->history_seen & letter) && !p->anomalies;
}

/* Three of four segments of long flows come here: 250 to 60 instructions. */
static void take_ordinary(const struct tscope_scan *s, struct flow *f, struct side *self, const struct packet *p)
{
    self->next_seq += p->payload_length;
    self->last_ack = p->ack;
    self->ack_known = true;
    self->flags |= p->flags;
    self->traced = false;
    self->packets++;
    self->bytes += p->payload_length;
    remember(f, self, p);
    f->head.deadline = s->clock.now + 300 * SECOND;    /* it has sent data */
}

void flow_tcp(struct tscope_scan *s, struct flow *restrict f, const struct packet *restrict p)
{
    struct side *self = &f->side[p->from], *other = &f->side[!p->from];
    if (is_ordinary(f, self, other, p)) {
        take_ordinary(s, f, self, p);
        return;
    }
    bool reset = (p->flags & TSCOPE_RST) != 0;
    find_client(f, p);
    f->anomalies |= p->anomalies;
    if (is_copy(s, f, self, other, p)) {
        take_copy(s, f, self, p);
        return;
    }
    self->traced = reset ? take_reset(s, f, self, other, p) : take_segment(s, f, self, other, p);
    if (p->payload_length && !reset && is_dns(f))
        dns_stream_take(s, f, p);
    other->in_reset_run = false;
    self->packets++;
    self->bytes += p->payload_length;
    remember(f, self, p);
    set_deadline(s, f, p);
    if (f->trace_count && (f->closed || self->packets + other->packets == FIRST_ROWS))
        release_when_well(s, f);
    f->steady = is_steady(f);
}
