/* Flows to which nothing came back, or nothing more: repeats into silence, SYNs ignored or rejected.
 *
 * Workload: repeats are few; of SYNs without an answer a scan or a flood has millions, so that only those wait for
 * judgement whose server is known to answer, and a bounded number of others until it is. */
#include "scan.h"

enum { UNHEARD_MAX = 200, STALLED_REPEATS = 3, SYNS = 3, MAX_UNPROVEN = 4096 };

void quiet_repeat(struct flow *f, const struct packet *p)
{
    const struct side *self = &f->side[p->from], *other = &f->side[!p->from];
    struct rare *rare = &f->rare[p->from];
    rare->unheard = other->last_ns > self->last_ns ? 1 : (uint8_t)(rare->unheard + (rare->unheard < UNHEARD_MAX));
}

bool quiet_is_telling(const struct flow *f, const struct packet *p)
{
    return p->from == f->client && p->time_ns - f->side[!p->from].last_ns >= SECOND;
}

uint32_t quiet_marks(const struct flow *f)
{
    const struct side *client = &f->side[f->client], *server = &f->side[!f->client];
    if (!f->trigger || f->answer_ns == TSCOPE_NO_NS || (server->flags & (TSCOPE_FIN | TSCOPE_RST)))
        return 0;
    bool stalled = f->rare[f->client].unheard >= STALLED_REPEATS && client->last_ns - server->last_ns >= 3 * SECOND;
    return stalled ? TSCOPE_MARK_STALLED : 0;
}

bool quiet_was_heard(const struct flow *f)
{
    const struct side *server = &f->side[!f->client];
    return f->trigger && server->packets && server->last_ns > f->trigger_ns && (server->last_flags & TSCOPE_ACK) &&
           !(server->last_flags & (TSCOPE_SYN | TSCOPE_RST));
}

bool quiet_may_tell(struct tscope_scan *s, const struct flow *f)
{
    const struct side *client = &f->side[f->client];
    uint32_t marks = f->marks & QUIET_MARKS;
    if (!marks || !(s->options.flow_marks & TSCOPE_MARK_REFUSED))
        return false;
    if (marks == TSCOPE_MARK_SYN_UNANSWERED && client->packets < SYNS)
        return false;
    if (context_has_connected(s, &f->head.key, !f->client))
        return true;
    return s->candidates.unproven < MAX_UNPROVEN && ++s->candidates.unproven;
}

/* The reset that answered the SYN, and how soon; NULL where the trace has none. */
static const struct tscope_trace *reset_on_syn(const struct tscope_flow *row, const struct tscope_trace *trace)
{
    for (uint32_t i = 0; i < row->trace_count; i++)
        if (trace[i].from_server && (trace[i].flags & TSCOPE_RST) &&
            !(trace[i].what & (TSCOPE_WHAT_ICMP | TSCOPE_WHAT_DUPLICATE | TSCOPE_WHAT_REFERENCE)))
            return &trace[i];
    return NULL;
}

bool quiet_tells(const struct tscope_flow *row, const struct tscope_trace *trace,
                 const struct tscope_flow_context *context)
{
    if (row->marks & TSCOPE_MARK_PROHIBITED)
        return context->near_client_connected != 0;
    if (row->marks & TSCOPE_MARK_SYN_UNANSWERED)
        return context->near_server_connected != 0;
    const struct tscope_trace *reset = reset_on_syn(row, trace);
    if (!reset || context->host_min_rtt_ns <= 0)
        return false;
    return reset->since_other_ns >= 0 && reset->since_other_ns < context->host_min_rtt_ns / 2 &&
           (reset->ttl < context->host_ttl_min || reset->ttl > context->host_ttl_max);
}
