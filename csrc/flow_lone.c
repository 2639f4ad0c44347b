/* Flows of one packet.
 *
 * Workload: scans and SYN floods, where three of four flows never have a second packet.  Such a flow costs two cache
 * lines, and is told (flow_tcp, flow_udp) only when its second packet comes, or in a scratch record when it is over. */
#include "scan.h"

enum { PORT_DNS = 53, PORT_QUIC = 443 };

/* Payload may hold a name or a transaction, and is gone afterwards; a reset may set marks, which the wheels know. */
bool lone_suits(const struct packet *p)
{
    if (p->protocol == 6)
        return !p->payload_length && !(p->flags & TSCOPE_RST);
    return p->source_port != PORT_DNS && p->destination_port != PORT_DNS && p->destination_port != PORT_QUIC &&
           !quic_may_hold_initial(p);
}

void lone_keep(struct lone *l, const struct packet *p)
{
    l->frame = p->frame;
    l->time_ns = p->time_ns;
    l->seq = p->seq;
    l->ack = p->ack;
    l->anomalies = p->anomalies;
    l->payload_length = p->payload_length;
    l->payload_digest = payload_digest(p);
    l->interface = (uint16_t)p->interface;
    l->flags = p->flags;
    l->window = p->window;
    l->ip_id = p->ip_id;
    l->vlan = p->vlan;
    l->options_digest = p->options_digest;
    l->options_length = p->options_length;
    l->ttl = p->ttl;
    l->tos = p->tos;
    l->tunnel = p->tunnel;
    l->ip_flags = p->ip_flags & 7;
    l->from = p->from != 0;
    l->is_ip6 = p->ip_version == 6;
}

void lone_packet(const struct lone *l, struct packet *p)
{
    packet_clear(p);
    p->key = l->head.key;
    p->hash = l->head.tag;
    p->protocol = l->head.key.protocol;
    p->source_port = l->head.key.port[l->from];
    p->destination_port = l->head.key.port[!l->from];
    p->from = l->from;
    p->ip_version = l->is_ip6 ? 6 : 4;
    p->has_ports = 1;
    p->frame = l->frame;
    p->time_ns = l->time_ns;
    p->seq = l->seq;
    p->ack = l->ack;
    p->anomalies = l->anomalies;
    p->payload_length = l->payload_length;
    p->payload_digest = l->payload_digest;
    p->interface = l->interface;
    p->flags = l->flags;
    p->window = l->window;
    p->ip_id = l->ip_id;
    p->vlan = l->vlan;
    p->options_digest = l->options_digest;
    p->options_length = l->options_length;
    p->ttl = l->ttl;
    p->tos = l->tos;
    p->tunnel = l->tunnel;
    p->ip_flags = l->ip_flags;
}
