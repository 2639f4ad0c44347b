/* An ICMP error that quotes a packet of a flow: how far that packet came. */
#include "scan.h"

enum { MAX_ROWS = 16 };

/* Type and code of "administratively prohibited": RFC 1812 section 5.2.7.1 (of the network, of the host, by filtering),
 * RFC 4443 section 3.1 (by policy, source address failed policy, reject route). */
static bool is_prohibition(const struct packet *p)
{
    unsigned type = p->source_port >> 8, code = p->source_port & 0xff;
    if (p->ip_version == 6)
        return type == 1 && (code == 1 || code == 5 || code == 6);
    return type == 3 && (code == 9 || code == 10 || code == 13);
}

/* Who says it: an end, a neighbour of the end that was not reached, or any other router (0). */
static unsigned said_by(const struct packet *p)
{
    const uint8_t *sender = p->outer[0], *far = packet_destination(p);
    if (!memcmp(sender, far, 16) || !memcmp(sender, packet_source(p), 16))
        return TSCOPE_WHAT_BY_END;
    static const uint8_t mapped[12] = {[10] = 0xff, [11] = 0xff};
    return memcmp(sender, far, memcmp(far, mapped, 12) ? 6 : 15) ? 0 : TSCOPE_WHAT_BY_NEIGHBOUR;
}

void flow_icmp(struct tscope_scan *s, struct flow *f, const struct packet *p)
{
    struct tscope_trace *row = f->icmp_rows < MAX_ROWS ? trace_add(s, f) : NULL;
    if (!row)
        return;
    f->icmp_rows++;
    *row = (struct tscope_trace){
        .frame = p->frame, .time_ns = p->time_ns, .since_other_ns = TSCOPE_NO_NS, .seq = p->seq,
        .seq_offset = INT32_MIN, .ack_offset = INT32_MIN, .ip_id = (uint16_t)p->ack, .flags = p->source_port,
        .what = (uint16_t)(TSCOPE_WHAT_ICMP | said_by(p)), .ttl = p->ttl, .tos = p->tos,
        .from_server = !p->from};                      /* the error comes from the other direction */
    if (p->from == f->client && is_prohibition(p) && !(row->what & TSCOPE_WHAT_BY_END))
        flow_mark(s, f, TSCOPE_MARK_PROHIBITED);
}
