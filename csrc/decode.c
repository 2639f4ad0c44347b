/* From a record to a decoded packet: a loop over the layers.
 * A decoder that meets something odd sets an anomaly bit and ends the loop; what was decoded before it stands. */
#include "core.h"
#include "key.h"

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
    case 9: case 50:            /* PPP, PPP_HDLC */
        return LAYER_PPP;
    case 51:                    /* PPP_ETHER */
        return LAYER_PPPOE;
    case 104:
        return LAYER_HDLC;
    case 105:
        return LAYER_WLAN;
    case 107:
        return LAYER_FRAME_RELAY;
    case 113:
        return LAYER_SLL;
    case 117:
        return LAYER_PFLOG;
    case 119:
        return LAYER_PRISM;
    case 127:
        return LAYER_RADIOTAP;
    case 163:
        return LAYER_AVS;
    case 192:
        return LAYER_PPI;
    case 204:
        return LAYER_PPP_DIR;
    case 239:
        return LAYER_NFLOG;
    case 242:
        return LAYER_IPOIB;
    case 258: case 149:         /* PKTAP, and the number that macOS itself writes */
        return LAYER_PKTAP;
    case 276:
        return LAYER_SLL2;
    case 281:
        return LAYER_BRCM;
    default:
        return LAYER_NONE;
    }
}

enum layer layer_of_ethertype(uint16_t type)
{
    if (type == 0x0800)         /* these two before all: the search for the others takes several steps */
        return LAYER_IPV4;
    if (type == 0x86dd)
        return LAYER_IPV6;
    switch (type) {
    case 0x8100: case 0x88a8: case 0x9100: case 0x9200: case 0x9300:
        return LAYER_VLAN;
    case 0x8847: case 0x8848:
        return LAYER_MPLS;
    case 0x8864:
        return LAYER_PPPOE;
    case 0x880b:
        return LAYER_PPP;
    case 0x6558:                /* transparent Ethernet bridging */
        return LAYER_ETHERNET;
    case 0x88e7:
        return LAYER_PBB;
    case 0x893f:
        return LAYER_ETAG;
    case 0x8926:                /* VN-Tag */
        return LAYER_TAG4;
    case 0x8870:                /* LLC in a jumbo frame */
        return LAYER_LLC;
    default:
        return type < 1536 ? LAYER_LLC : LAYER_NONE;
    }
}

enum layer layer_of_ip_protocol(uint8_t protocol, struct packet *p)
{
    p->protocol = protocol;
    if (protocol == 6)
        return LAYER_TCP;
    if (protocol == 17)
        return LAYER_UDP;
    switch (protocol) {
    case 1: case 58:
        return LAYER_ICMP;
    case 4:
        p->carrier = TSCOPE_TUNNEL_IP_IN_IP;
        return LAYER_IPV4;
    case 41:
        p->carrier = p->ip_version == 4 ? TSCOPE_TUNNEL_6IN4 : TSCOPE_TUNNEL_IP_IN_IP;
        return LAYER_IPV6;
    case 47:
        return LAYER_GRE;
    case 51:
        return LAYER_AH;
    case 137:                   /* RFC 4023 */
        return LAYER_MPLS;
    default:
        p->anomalies |= TSCOPE_AN_TRANSPORT_OTHER;
        return LAYER_NONE;
    }
}

static inline void set_key(struct packet *p, const struct hash_key *key)
{
    if (p->has_ports) {
        p->key.port[0] = p->source_port;
        p->key.port[1] = p->destination_port;
        p->key.protocol = p->protocol;
    }
    if (p->has_ports || p->quotes) {
        const struct flow_key *k = &p->key;
        struct ends e = {.high = {hash_word(k->address[0]), hash_word(k->address[1])},
                         .low = {hash_word(k->address[0] + 8), hash_word(k->address[1] + 8)},
                         .port = {k->port[0], k->port[1]}};
        key_set(p, e, k->protocol, key);
    }
}

void decode_key(struct packet *p, const struct hash_key *key)
{
    set_key(p, key);
}

void decode(const struct record *r, const struct interface *i, const struct hash_key *key, struct packet *p)
{
    p->time_ns = r->time_ns;
    p->captured_length = r->captured_length;
    p->wire_length = r->wire_length;
    p->interface = r->interface;
    p->link_type = (uint16_t)i->link_type;
    p->vlan = 0xffff;
    p->likely = NULL;
    if (i->layer == LAYER_ETHERNET && decode_plain(r, key, p))
        return;
    struct cursor c = cursor_over(r->data, r->captured_length);
    packet_clear(p);
    decode_rest((enum layer)i->layer, &c, p);
    if (i->layer == LAYER_NONE)
        p->anomalies = TSCOPE_AN_LINKTYPE;
    set_key(p, key);
}
