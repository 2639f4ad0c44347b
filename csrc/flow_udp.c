/* What a UDP datagram changes in its flow. */
#include "scan.h"

enum { FIRST_ROWS = 6, ROWS_UNHEARD = 16, PORT_DNS = 53 };

static void find_client(struct flow *f, const struct packet *p)
{
    bool own = p->source_port < 1024, other = p->destination_port < 1024;
    if (own != other)
        flow_client(f, own ? !p->from : p->from, TSCOPE_BY_PORT);
}

/* The trigger is the client's first Initial, with what other Initials add to its hello. */
static unsigned find_trigger(struct tscope_scan *s, struct flow *f, const struct packet *p)
{
    unsigned what = f->name_state == NAME_DONE ? 0 : quic_take(s, f, p);
    if (!f->trigger)
        return 0;
    if (p->from != f->client) {
        if (f->answer_ns == TSCOPE_NO_NS)
            f->answer_ns = p->time_ns;
        if (f->side[p->from].packets < FIRST_ROWS)
            quic_take_answer(f, p);
    } else {
        if (f->answer_ns == TSCOPE_NO_NS && !what && quic_is_initial(p))
            f->facts |= TSCOPE_FACT_TRIGGER_REPEATED;
        quiet_repeat(f, p);
    }
    return what;
}

void flow_udp(struct tscope_scan *s, struct flow *f, const struct packet *p)
{
    struct side *self = &f->side[p->from];
    f->anomalies |= p->anomalies;
    find_client(f, p);
    bool dns = p->source_port == PORT_DNS || p->destination_port == PORT_DNS;
    if (dns)                                           /* its messages tell more than a trace */
        transactions_packet(s, f, p);
    unsigned what = dns ? 0 : find_trigger(s, f, p);
    bool early = f->side[0].packets + f->side[1].packets < FIRST_ROWS;
    bool unheard = !early && f->trigger && f->silent_rows < ROWS_UNHEARD && quiet_is_telling(f, p);
    f->silent_rows += unheard;
    if (!dns && (early || unheard))
        flow_trace(s, f, p, flow_before(f, p), what);
    if (!self->ttl_max)
        f->rare[p->from].ttl_first = self->ttl_min = self->ttl_max = p->ttl;
    if (p->ttl < self->ttl_min)
        self->ttl_min = p->ttl;
    if (p->ttl > self->ttl_max)
        self->ttl_max = p->ttl;
    self->packets++;
    self->bytes += p->payload_length;
    self->last_ns = p->time_ns;
    self->last_frame = p->frame;
    self->ip_id = p->ip_id;
    f->head.deadline = s->clock.now + flow_timeout(f);
}
