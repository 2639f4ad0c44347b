/* What a UDP datagram changes in its flow. */
#include "scan.h"

enum { FIRST_ROWS = 6, PORT_DNS = 53 };

/* A QUIC long header of type Initial (RFC 9000 section 17.2.2; version 2: RFC 9369 section 3.2). */
static bool is_quic_initial(const struct packet *p)
{
    struct cursor c = cursor_over(p->payload, p->payload_have);
    const uint8_t *h = cursor_take(&c, 6);
    if (!h || (h[0] & 0xc0) != 0xc0 || p->payload_length < 1200)
        return false;
    uint32_t version = load_be32(h + 1);
    uint8_t type = (h[0] >> 4) & 3;
    return version == 0x6b3343cf ? type == 1 : version != 0 && type == 0;
}

static void find_client(struct flow *f, const struct packet *p)
{
    bool own = p->source_port < 1024, other = p->destination_port < 1024;
    if (own != other)
        flow_client(f, own ? !p->from : p->from, TSCOPE_BY_PORT);
}

static unsigned find_trigger(struct flow *f, const struct packet *p)
{
    if (!f->trigger && p->destination_port == 443 && is_quic_initial(p)) {
        flow_client(f, p->from, TSCOPE_BY_QUIC_INITIAL);
        f->trigger = TSCOPE_TRIGGER_QUIC_INITIAL;
        f->trigger_frame = p->frame;
        f->trigger_ns = p->time_ns;
        f->trigger_length = p->payload_length;
        return TSCOPE_WHAT_TRIGGER;
    }
    if (f->trigger && f->answer_ns == TSCOPE_NO_NS) {
        if (p->from == f->client)
            f->facts |= TSCOPE_FACT_TRIGGER_REPEATED;
        else
            f->answer_ns = p->time_ns;
    }
    return 0;
}

void flow_udp(struct tscope_scan *s, struct flow *f, const struct packet *p)
{
    struct side *self = &f->side[p->from];
    f->anomalies |= p->anomalies;
    find_client(f, p);
    bool dns = p->source_port == PORT_DNS || p->destination_port == PORT_DNS;
    if (dns)                                           /* its messages tell more than a trace */
        transactions_packet(s, f, p);
    unsigned what = find_trigger(f, p);
    if (!dns && f->side[0].packets + f->side[1].packets < FIRST_ROWS)
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
