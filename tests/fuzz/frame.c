#include "frame.h"

#include <stdlib.h>
#include <string.h>

static void same_packet(const struct packet *a, const struct packet *b)
{
    HOLDS(!memcmp(&a->key, &b->key, sizeof a->key));
    HOLDS(a->payload == b->payload && a->payload_have == b->payload_have && a->payload_length == b->payload_length);
    HOLDS(a->seq == b->seq && a->ack == b->ack && a->anomalies == b->anomalies && a->flags == b->flags);
    HOLDS(a->window == b->window && a->options_digest == b->options_digest && a->ip_id == b->ip_id);
    HOLDS(a->source_port == b->source_port && a->destination_port == b->destination_port);
    HOLDS(a->options_length == b->options_length && a->protocol == b->protocol && a->ip_version == b->ip_version);
    HOLDS(a->ttl == b->ttl && a->tos == b->tos && a->ip_flags == b->ip_flags && a->from == b->from);
    HOLDS(a->fragment == b->fragment && a->fragment_id == b->fragment_id);
    HOLDS(a->tunnel == b->tunnel && a->outer_ip == b->outer_ip);
    HOLDS(a->has_ports == b->has_ports && a->quotes == b->quotes && a->vlan == b->vlan);
    HOLDS(!a->quotes || !memcmp(a->outer, b->outer, sizeof a->outer));
}

static void check_packet(const struct packet *p, const uint8_t *frame, size_t size)
{
    HOLDS(p->from <= 1 && p->has_ports <= 1 && p->quotes <= 1);
    HOLDS(!p->has_ports || p->protocol == 6 || p->protocol == 17);
    HOLDS(!p->has_ports || p->ip_version == 4 || p->ip_version == 6);
    HOLDS(!p->has_ports || memcmp(p->key.address[0], p->key.address[1], 16) || p->key.port[0] <= p->key.port[1]);
    HOLDS(p->outer_ip < MAX_IP_HEADERS);
    if (!p->has_ports && !p->fragment)
        return;
    HOLDS(p->payload >= frame && p->payload <= frame + size);
    HOLDS(p->payload_have <= (size_t)(frame + size - p->payload));
    HOLDS(p->payload_have <= p->payload_length || (p->anomalies & (TSCOPE_AN_TCP_HEADER | TSCOPE_AN_UDP_LENGTH)));
    HOLDS(!p->has_ports || p->key.port[p->from] == p->source_port);
    HOLDS(!p->has_ports || p->key.port[!p->from] == p->destination_port);
}

void decode_frame(uint32_t link_type, const uint8_t *data, size_t size, size_t wire, struct packet *p)
{
    static const struct hash_key keys[2] = {{{1, 3}}, {{0x0123456789abcdef, 0xfedcba9876543211}}};
    uint8_t *frame = exact_copy(data, size);
    struct interface interface = {.link_type = link_type, .layer = layer_of_link(link_type)};
    struct record record = {.data = frame, .time_ns = 1, .captured_length = (uint32_t)size,
                            .wire_length = (uint32_t)wire};
    struct packet other;
    memset(p, 0, sizeof *p);
    memset(&other, 0xff, sizeof other);
    decode(&record, &interface, &keys[0], p);
    decode(&record, &interface, &keys[1], &other);
    same_packet(p, &other);
    check_packet(p, frame, size);
    p->payload = NULL;
    free(frame);
}
