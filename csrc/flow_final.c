/* A flow is over: its row, its last marks, its outcome; then it goes to whoever wants it. */
#include "memory.h"
#include "scan.h"

static uint32_t last_marks(const struct flow *f, const struct side *client, const struct side *server)
{
    uint32_t marks = 0;
    bool named = f->trigger == TSCOPE_TRIGGER_TLS_HELLO || f->trigger == TSCOPE_TRIGGER_HTTP_REQUEST ||
                 f->trigger == TSCOPE_TRIGGER_QUIC_INITIAL;
    if (named && f->answer_ns == TSCOPE_NO_NS)
        marks |= TSCOPE_MARK_UNANSWERED;
    if (f->trigger && f->late_unacked && f->trigger_acked < f->trigger_length)
        marks |= TSCOPE_MARK_TRIGGER_UNACKED;
    if (f->head.key.protocol == 6 && (client->flags & TSCOPE_SYN) && !server->packets)
        marks |= TSCOPE_MARK_SYN_UNANSWERED;
    return marks | quiet_marks(f);
}

static uint32_t last_facts(const struct flow *f, const struct side *client, const struct side *server, unsigned final_by)
{
    uint32_t facts = 0;
    if (!client->packets || !server->packets)
        facts |= TSCOPE_FACT_ONE_WAY;
    if (final_by == TSCOPE_FINAL_END || final_by == TSCOPE_FINAL_EVICTED)
        facts |= TSCOPE_FACT_CUT_BY_END;
    if (f->anomalies & TSCOPE_AN_PAYLOAD_CUT)
        facts |= TSCOPE_FACT_SNAP_CUT;
    if (f->rare[f->client].missing)
        facts |= TSCOPE_FACT_UNSEEN_CLIENT;
    if (f->rare[!f->client].missing)
        facts |= TSCOPE_FACT_UNSEEN_SERVER;
    return facts;
}

static void set_outcome(struct tscope_flow *row, const struct side *server)
{
    bool tcp = row->protocol == 6, dns = row->protocol == 17 && row->server_port == 53;
    bool answered = row->answer_ns != TSCOPE_NO_NS;
    row->stage = TSCOPE_STAGE_NONE;
    row->outcome = TSCOPE_OUT_UNKNOWN;
    if (dns) {
        row->stage = TSCOPE_STAGE_DNS;
        row->outcome = row->packets[1] ? TSCOPE_OUT_OK : TSCOPE_OUT_NO_ANSWER;
    } else if (answered) {
        row->stage = TSCOPE_STAGE_TRANSFER;
        row->outcome = row->resets[1] && !(server->flags & TSCOPE_FIN) ? TSCOPE_OUT_RESET : TSCOPE_OUT_OK;
    } else if (row->trigger) {
        row->stage = row->trigger == TSCOPE_TRIGGER_HTTP_REQUEST ? TSCOPE_STAGE_AFTER_REQUEST : TSCOPE_STAGE_AFTER_NAME;
        row->outcome = row->resets[1] ? TSCOPE_OUT_RESET : TSCOPE_OUT_TIMEOUT;
    } else if (tcp && (row->facts & TSCOPE_FACT_SYN_ACK)) {
        row->stage = TSCOPE_STAGE_HANDSHAKE;
        row->outcome = row->resets[1] ? TSCOPE_OUT_RESET : row->bytes[1] ? TSCOPE_OUT_OK : TSCOPE_OUT_UNKNOWN;
    } else if (tcp && (row->facts & TSCOPE_FACT_SYN)) {
        row->stage = TSCOPE_STAGE_SYN;
        row->outcome = row->marks & TSCOPE_MARK_RST_ON_SYN ? TSCOPE_OUT_REFUSED
                       : row->packets[1]                   ? TSCOPE_OUT_UNKNOWN
                                                           : TSCOPE_OUT_TIMEOUT;
    }
    if ((row->facts & TSCOPE_FACT_ONE_WAY) && !row->packets[0])
        row->outcome = TSCOPE_OUT_UNKNOWN;
}

static void set_history(struct tscope_flow *row, const struct flow *f)
{
    uint64_t letters = f->history;
    for (unsigned i = 0; i < f->history_length; i++, letters >>= 4) {
        bool client = (letters >> 3 & 1) == f->client;
        row->history[i] = (client ? "SHRFDTA" : "shrfdta")[letters & 7];
    }
}

/* What the judgements below and the context ask for. */
static void set_base(const struct tscope_scan *s, const struct flow *f, struct tscope_flow *row)
{
    row->facts = f->facts;
    row->marks = f->marks;
    row->final_ns = s->clock.now;
    row->trigger_ns = f->trigger ? f->trigger_ns : TSCOPE_NO_NS;
    row->answer_ns = f->answer_ns;
    row->rtt_server_ns = f->rtt_server_ns;
    row->rtt_client_ns = f->rtt_client_ns;
    memcpy(row->client, f->head.key.address[f->client], 16);
    memcpy(row->server, f->head.key.address[!f->client], 16);
    row->client_port = f->head.key.port[f->client];
    row->server_port = f->head.key.port[!f->client];
    row->protocol = f->head.key.protocol;
    row->trigger = f->trigger;
    row->name_length = f->name_length;
    row->first_ns = f->first_ns;
    for (unsigned i = 0; i < 2; i++) {
        unsigned end = i == 0 ? f->client : !f->client;
        row->packets[i] = f->side[end].packets;
        row->bytes[i] = f->side[end].bytes;
        row->resets[i] = f->side[end].resets;
        row->ttl_first[i] = f->rare[end].ttl_first;
        row->ttl_min[i] = f->side[end].ttl_min;
        row->ttl_max[i] = f->side[end].ttl_max;
    }
}

static void set_sides(struct tscope_flow *row, const struct flow *f)
{
    for (unsigned i = 0; i < 2; i++) {
        unsigned end = i == 0 ? f->client : !f->client;
        row->isn[i] = f->rare[end].isn;
        row->missing[i] = f->rare[end].missing;
        row->retransmissions[i] = f->rare[end].retransmissions;
        row->flags[i] = f->side[end].flags;
    }
}

/* The rest of a row that leaves the core.  Workload: of an ordinary scan's flows a few in a hundred. */
static void set_rest(const struct tscope_scan *s, const struct flow *f, struct tscope_flow *row)
{
    const struct side *client = &f->side[f->client], *server = &f->side[!f->client];
    bool later = !server->packets || (client->packets && client->last_frame > server->last_frame);
    const struct side *last = later ? client : server;
    row->number = f->number;
    row->first_frame = f->first_frame;
    row->last_frame = last->last_frame;
    row->last_ns = last->last_ns;
    row->final_frame = s->sum.frames;
    row->trigger_frame = f->trigger ? f->trigger_frame : 0;
    row->ip_version = f->is_ip6 ? 6 : 4;
    row->vlan = f->vlan;
    row->tunnel = f->tunnel;
    row->interface = f->interface;
    row->client_by = f->client_by;
    row->anomalies = f->anomalies;
    row->trigger_seq = f->trigger_seq;
    row->trigger_length = f->trigger_length;
    row->trigger_acked = f->trigger_acked;
    row->name_from = f->name_from;
    row->trace_count = f->trace_count;
    set_sides(row, f);
    set_history(row, f);
    set_outcome(row, server);
}

/* Where was this captured?  An end's initial TTLs are powers of two (or 255), and its answers come at once. */
static void count_vantage(struct tscope_scan *s, const struct tscope_flow *row)
{
    if (!(row->facts & TSCOPE_FACT_HANDSHAKE) || row->rtt_server_ns <= 0 || row->rtt_client_ns < 0)
        return;
    bool whole[2];
    for (unsigned i = 0; i < 2; i++) {
        uint8_t ttl = row->ttl_first[i];
        whole[i] = ttl == 64 || ttl == 128 || ttl == 255;
    }
    bool near_client = whole[0] && row->rtt_client_ns < row->rtt_server_ns / 4;
    bool near_server = whole[1] && row->rtt_server_ns < row->rtt_client_ns / 4;
    s->sum.vantage[near_client && !near_server ? 0 : near_server && !near_client ? 1 : !whole[0] && !whole[1] ? 2 : 3]++;
}

static bool grow_output(struct output *o, size_t text)
{
    if (o->n_flows == o->room_flows) {
        size_t room = o->room_flows ? 2 * o->room_flows : 256;
        struct tscope_flow *flows = mem_resize(o->flows, room, sizeof *flows);
        if (!flows)
            return false;
        o->flows = flows;
        o->room_flows = room;
    }
    if (o->room_answers < o->room_flows) {
        struct tscope_answer *answers = mem_resize(o->answers, o->room_flows, sizeof *answers);
        if (!answers)
            return false;
        o->answers = answers;
        o->room_answers = o->room_flows;
    }
    while (o->n_text + text > o->room_text) {
        size_t room = o->room_text ? 2 * o->room_text : 4096;
        uint8_t *bytes = mem_resize(o->text, room, 1);
        if (!bytes)
            return false;
        o->text = bytes;
        o->room_text = room;
    }
    return true;
}

static void emit(struct tscope_scan *s, const struct tscope_flow *row, const struct flow *f)
{
    struct output *o = &s->output;
    const struct kept_answer *a = kept_answer_of(f);
    size_t words = a ? answer_text(a) : 0;
    if (!grow_output(o, f->name_length + words)) {
        out_of_memory(s);
        return;
    }
    struct tscope_answer *answer = &o->answers[o->n_flows];
    memset(answer, 0, sizeof *answer);
    if (a)
        *answer = a->row;
    struct tscope_flow *out = &o->flows[o->n_flows++];
    *out = *row;
    out->trace_count = 0;
    out->name_offset = (uint32_t)o->n_text;
    if (f->name_length)
        memcpy(o->text + o->n_text, f->name, f->name_length);
    o->n_text += f->name_length;
    answer->text_offset = (uint32_t)o->n_text;
    if (words)
        memcpy(o->text + o->n_text, a->text, words);
    o->n_text += words;
}

/* The TTL of a reset of the server that answers no trigger, for a baseline: not where a forgery is possible. */
static uint8_t plain_reset_ttl(const struct flow *f, const struct tscope_flow *row)
{
    enum {
        DOUBTS = TSCOPE_MARK_SENDS_AFTER_RST | TSCOPE_MARK_RST_FLAGS | TSCOPE_MARK_RST_IP_ID | TSCOPE_MARK_RST_TOO_EARLY
    };
    bool opened = (row->marks & TSCOPE_MARK_RST_ON_SYN) && (row->facts & TSCOPE_FACT_SYN_ACK);
    bool doubtful = (row->marks & DOUBTS) || opened || (row->facts & TSCOPE_FACT_ONE_WAY);
    return doubtful ? 0 : f->rare[!f->client].plain_rst_ttl;
}

void flow_final(struct tscope_scan *s, struct flow *f, unsigned final_by)
{
    struct tscope_flow row;
    const struct side *client = &f->side[f->client], *server = &f->side[!f->client];
    answer_settle(s, f);
    f->marks |= last_marks(f, client, server);
    f->facts |= last_facts(f, client, server, final_by);
    bool candidate = (s->options.emit & TSCOPE_CANDIDATES) &&
                     ((f->marks & s->options.flow_marks) || quiet_may_tell(s, f));
    bool wanted = candidate || (s->options.emit & TSCOPE_FLOWS);
    if (wanted)
        memset(&row, 0, sizeof row);
    set_base(s, f, &row);
    row.final_by = (uint8_t)final_by;
    if (wanted)
        set_rest(s, f, &row);
    count_vantage(s, &row);
    if (row.trigger && (row.facts & (TSCOPE_FACT_ONE_WAY | TSCOPE_FACT_SNAP_CUT | TSCOPE_FACT_TRACE_TAKEN)))
        s->sum.not_judged++;
    if (s->options.emit & TSCOPE_CANDIDATES)           /* which counts by the name that the flow itself gives */
        context_flow(s, &row, f->name, plain_reset_ttl(f, &row), quiet_was_heard(f));
    if (s->options.emit & TSCOPE_TRIES) {
        if (!wanted) {
            set_sides(&row, f);
            set_outcome(&row, server);
        }
        tries_flow(s, f, &row);
    }
    if (wanted && !f->name) {
        learned_name(s, f);
        row.name_length = f->name_length;
        row.name_from = f->name_from;
    }
    if (s->options.emit & TSCOPE_FLOWS)
        emit(s, &row, f);
    if (candidate && !candidates_flow(s, &row, f))
        out_of_memory(s);
}
