/* Link headers: Ethernet with tags, LLC and SNAP, Linux cooked v1 and v2, BSD loopback, raw IP. */
#include "core.h"

enum layer layer_link_cut(struct packet *p)
{
    p->anomalies |= TSCOPE_AN_LINK_CUT;
    return LAYER_NONE;
}

enum layer layer_by_ethertype(uint16_t type, struct packet *p)
{
    enum layer next = layer_of_ethertype(type);
    if (next == LAYER_NONE && !p->ip_version)
        p->anomalies |= TSCOPE_AN_NOT_IP;
    return next;
}

/* IEEE 802.3: addresses and type; a length below 1536 instead of a type means LLC. */
enum layer decode_ethernet(struct cursor *c, struct packet *p)
{
    const uint8_t *h = cursor_take(c, 14);
    return h ? layer_by_ethertype(load_be16(h + 12), p) : layer_link_cut(p);
}

/* IEEE 802.1Q and 802.1ad: the outermost tag is kept. */
enum layer decode_vlan(struct cursor *c, struct packet *p)
{
    const uint8_t *h = cursor_take(c, 4);
    if (!h)
        return layer_link_cut(p);
    if (p->vlan == 0xffff)
        p->vlan = load_be16(h) & 0x0fff;
    return layer_by_ethertype(load_be16(h + 2), p);
}

/* LINKTYPE_LINUX_SLL: 16 bytes, protocol last. */
enum layer decode_sll(struct cursor *c, struct packet *p)
{
    const uint8_t *h = cursor_take(c, 16);
    return h ? layer_by_ethertype(load_be16(h + 14), p) : layer_link_cut(p);
}

/* LINKTYPE_LINUX_SLL2: 20 bytes, protocol first. */
enum layer decode_sll2(struct cursor *c, struct packet *p)
{
    const uint8_t *h = cursor_take(c, 20);
    return h ? layer_by_ethertype(load_be16(h), p) : layer_link_cut(p);
}

/* IEEE 802.2 with a SNAP header (RFC 1042, and 802.1H's own code), or IP by its own number in either. */
enum layer decode_llc(struct cursor *c, struct packet *p)
{
    const uint8_t *h = cursor_take(c, 3);
    if (!h)
        return layer_link_cut(p);
    if (h[0] == 0x06 && h[1] == 0x06)
        return LAYER_IPV4;
    const uint8_t *snap = h[0] == 0xaa && h[1] == 0xaa ? cursor_take(c, 5) : NULL;
    uint32_t organisation = snap ? load_be24(snap) : UINT32_MAX;
    return layer_by_ethertype(organisation == 0 || organisation == 0xf8 ? load_be16(snap + 3) : UINT16_MAX, p);
}

/* A tag of four bytes in front of the type proper: VN-Tag. */
enum layer decode_tag4(struct cursor *c, struct packet *p)
{
    const uint8_t *h = cursor_take(c, 6);
    return h ? layer_by_ethertype(load_be16(h + 4), p) : layer_link_cut(p);
}

/* IEEE 802.1BR: an E-Tag of six bytes. */
enum layer decode_etag(struct cursor *c, struct packet *p)
{
    const uint8_t *h = cursor_take(c, 8);
    return h ? layer_by_ethertype(load_be16(h + 6), p) : layer_link_cut(p);
}

/* IEEE 802.1ah: a service tag, then the customer's whole frame. */
enum layer decode_pbb(struct cursor *c, struct packet *p)
{
    return cursor_skip(c, 4) ? LAYER_ETHERNET : layer_link_cut(p);
}

/* LINKTYPE_NULL and LOOP: an address family in the byte order of whoever wrote the file, so the IP version that
 * follows is asked instead. */
enum layer decode_null(struct cursor *c, struct packet *p)
{
    return cursor_skip(c, 4) ? decode_raw(c, p) : layer_link_cut(p);
}

enum layer decode_raw(struct cursor *c, struct packet *p)
{
    if (!cursor_left(c))
        return layer_link_cut(p);
    switch (*c->at >> 4) {
    case 4:
        return LAYER_IPV4;
    case 6:
        return LAYER_IPV6;
    default:
        if (!p->ip_version)
            p->anomalies |= TSCOPE_AN_NOT_IP;
        return LAYER_NONE;
    }
}
