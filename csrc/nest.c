/* Headers within headers: what is left when the common ones were decoded.
 *
 * The innermost IP packet is the packet.  Its outer headers leave what they say of the way (VLAN, tunnel); when nothing
 * whole lies in a tunnel, the packet around it stands as it was.  A loop, bounded in headers and in IP headers. */
#include "core.h"

static enum layer decode_layer(enum layer layer, struct cursor *c, struct packet *p)
{
    switch (layer) {
#define LAYER(id, function)                                                                                            \
    case LAYER_##id:                                                                                                   \
        return function(c, p);
#include "layers.def"
#undef LAYER
    case LAYER_NONE:
        break;
    }
    return LAYER_NONE;
}

/* Everything that an IP header and what follows it fill in, except addresses. */
static void forget_inner(struct packet *p)
{
    p->payload = NULL;
    p->payload_have = p->payload_length = 0;
    p->seq = p->ack = p->fragment_id = 0;
    p->flags = p->window = p->options_digest = p->ip_id = p->source_port = p->destination_port = p->fragment = 0;
    p->options_length = p->protocol = p->ip_version = p->ip_flags = p->has_ports = 0;
}

/* An IP header that may lie in another one. */
static enum layer enter_ip(enum layer layer, struct cursor *c, struct packet *p)
{
    if (p->ip_version && p->outer_ip == MAX_IP_HEADERS - 1) {
        p->anomalies |= TSCOPE_AN_DEPTH;
        return LAYER_NONE;
    }
    struct packet outside = *p;
    forget_inner(p);
    layer = decode_layer(layer, c, p);
    if (!p->ip_version && outside.ip_version) {
        outside.anomalies = p->anomalies;
        *p = outside;
        return LAYER_NONE;
    }
    p->outer_ip = (uint8_t)(outside.outer_ip + (outside.ip_version != 0));
    p->tunnel = outside.carrier;
    return layer;
}

void decode_rest(enum layer layer, struct cursor *c, struct packet *p)
{
    for (unsigned depth = 0; layer != LAYER_NONE; depth++) {
        if (depth == MAX_LAYERS) {
            p->anomalies |= TSCOPE_AN_DEPTH;
            break;
        }
        layer = layer == LAYER_IPV4 || layer == LAYER_IPV6 ? enter_ip(layer, c, p) : decode_layer(layer, c, p);
    }
}
