/* Link headers: Ethernet with VLAN tags, Linux cooked v1 and v2, BSD loopback, raw IP. */
#include "core.h"

static enum layer link_cut(struct packet *p)
{
    p->anomalies |= TSCOPE_AN_LINK_CUT;
    return LAYER_NONE;
}

static enum layer by_ethertype(uint16_t type, struct packet *p)
{
    enum layer next = layer_of_ethertype(type);
    if (next == LAYER_NONE)
        p->anomalies |= TSCOPE_AN_NOT_IP;
    return next;
}

/* IEEE 802.3: addresses and type; a length below 1536 instead of a type is LLC and never IP here. */
enum layer decode_ethernet(struct cursor *c, struct packet *p)
{
    const uint8_t *h = cursor_take(c, 14);
    return h ? by_ethertype(load_be16(h + 12), p) : link_cut(p);
}

/* IEEE 802.1Q and 802.1ad: the outermost tag is kept. */
enum layer decode_vlan(struct cursor *c, struct packet *p)
{
    const uint8_t *h = cursor_take(c, 4);
    if (!h)
        return link_cut(p);
    if (p->vlan == 0xffff)
        p->vlan = load_be16(h) & 0x0fff;
    return by_ethertype(load_be16(h + 2), p);
}

/* LINKTYPE_LINUX_SLL: 16 bytes, protocol last. */
enum layer decode_sll(struct cursor *c, struct packet *p)
{
    const uint8_t *h = cursor_take(c, 16);
    return h ? by_ethertype(load_be16(h + 14), p) : link_cut(p);
}

/* LINKTYPE_LINUX_SLL2: 20 bytes, protocol first. */
enum layer decode_sll2(struct cursor *c, struct packet *p)
{
    const uint8_t *h = cursor_take(c, 20);
    return h ? by_ethertype(load_be16(h), p) : link_cut(p);
}

/* LINKTYPE_NULL and LOOP: an address family in the byte order of whoever wrote the file, so the IP version that
 * follows is asked instead. */
enum layer decode_null(struct cursor *c, struct packet *p)
{
    return cursor_skip(c, 4) ? decode_raw(c, p) : link_cut(p);
}

enum layer decode_raw(struct cursor *c, struct packet *p)
{
    if (!cursor_left(c))
        return link_cut(p);
    switch (*c->at >> 4) {
    case 4:
        return LAYER_IPV4;
    case 6:
        return LAYER_IPV6;
    default:
        p->anomalies |= TSCOPE_AN_NOT_IP;
        return LAYER_NONE;
    }
}
