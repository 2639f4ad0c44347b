/* From a record to a decoded packet: a loop over the layers.
 * A decoder that meets something odd sets an anomaly bit and ends the loop; what was decoded before it stands. */
#include "core.h"

typedef enum layer (*decoder)(struct cursor *, struct packet *);

static const decoder decoders[] = {
#define LAYER(id, function) [LAYER_##id] = function,
#include "layers.def"
#undef LAYER
};

enum layer layer_of_link(uint32_t link_type)
{
    switch (link_type) {
    case 0:   /* NULL */
    case 108: /* LOOP */
        return LAYER_NULL;
    case 1:
        return LAYER_ETHERNET;
    case 12: case 14: case 101: /* RAW, and what BSDs wrote for it */
    case 228: case 229:         /* IPV4, IPV6 */
        return LAYER_RAW;
    case 113:
        return LAYER_SLL;
    case 276:
        return LAYER_SLL2;
    default:
        return LAYER_NONE;
    }
}

enum layer layer_of_ethertype(uint16_t type)
{
    switch (type) {
    case 0x0800:
        return LAYER_IPV4;
    case 0x86dd:
        return LAYER_IPV6;
    case 0x8100: case 0x88a8: case 0x9100:
        return LAYER_VLAN;
    default:
        return LAYER_NONE;
    }
}

enum layer layer_of_ip_protocol(uint8_t protocol, struct packet *p)
{
    p->protocol = protocol;
    switch (protocol) {
    case 6:
        return LAYER_TCP;
    case 17:
        return LAYER_UDP;
    case 1: case 58:
        return LAYER_ICMP;
    default:
        p->anomalies |= TSCOPE_AN_TRANSPORT_OTHER;
        return LAYER_NONE;
    }
}

/* The key names the smaller end first, so that both directions of a flow have the same. */
void set_key(struct packet *p, const uint8_t source[16], const uint8_t destination[16], uint16_t source_port,
             uint16_t destination_port, uint8_t protocol)
{
    int order = memcmp(source, destination, 16);
    if (order == 0)
        order = (int)source_port - (int)destination_port;
    unsigned from = order > 0;
    p->from = (uint8_t)from;
    memcpy(p->key.address[from], source, 16);
    memcpy(p->key.address[!from], destination, 16);
    p->key.port[from] = source_port;
    p->key.port[!from] = destination_port;
    p->key.protocol = protocol;
}

void decode(const struct record *r, uint32_t link_type, const struct hash_key *key, struct packet *p)
{
    struct cursor c = cursor_over(r->data, r->captured_length);
    memset(p, 0, sizeof *p);
    p->time_ns = r->time_ns;
    p->captured_length = r->captured_length;
    p->wire_length = r->wire_length;
    p->interface = r->interface;
    p->link_type = (uint16_t)link_type;
    p->vlan = 0xffff;
    enum layer layer = layer_of_link(link_type);
    if (layer == LAYER_NONE)
        p->anomalies = TSCOPE_AN_LINKTYPE;
    unsigned depth = 0;
    while (layer != LAYER_NONE) {
        if (depth++ == MAX_LAYERS) {
            p->anomalies |= TSCOPE_AN_DEPTH;
            break;
        }
        layer = decoders[layer](&c, p);
    }
    if (p->has_ports)
        set_key(p, p->source, p->destination, p->source_port, p->destination_port, p->protocol);
    if (p->has_ports || p->quotes)
        p->hash = hash_words(key, &p->key, sizeof p->key / 8);
}
