/* An ICMP error that quotes a packet of a flow: how far that packet came. */
#include "scan.h"

enum { MAX_ROWS = 16 };

void flow_icmp(struct tscope_scan *s, struct flow *f, const struct packet *p)
{
    struct tscope_trace *row = f->icmp_rows < MAX_ROWS ? trace_add(s, f) : NULL;
    if (!row)
        return;
    f->icmp_rows++;
    *row = (struct tscope_trace){
        .frame = p->frame, .time_ns = p->time_ns, .since_other_ns = TSCOPE_NO_NS, .seq = p->seq,
        .seq_offset = INT32_MIN, .ack_offset = INT32_MIN, .ip_id = (uint16_t)p->ack, .flags = p->source_port,
        .what = TSCOPE_WHAT_ICMP, .ttl = p->ttl, .tos = p->tos,
        .from_server = !p->from};                      /* the error comes from the other direction */
}
