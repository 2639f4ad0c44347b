/* Links of routers: PPP and PPPoE, Cisco HDLC, Frame Relay, MPLS. */
#include "core.h"

static enum layer not_ip(struct packet *p)
{
    return layer_by_ethertype(UINT16_MAX, p);
}

/* PPP's protocol numbers (RFC 1661 section 2; IANA). */
static enum layer layer_of_ppp(uint16_t protocol, struct packet *p)
{
    switch (protocol) {
    case 0x0021:
        return LAYER_IPV4;
    case 0x0057:
        return LAYER_IPV6;
    case 0x0281: case 0x0283:
        return LAYER_MPLS;
    default:
        return not_ip(p);
    }
}

/* RFC 1661 and 1662: address and control may be there, the protocol may be one odd byte. */
enum layer decode_ppp(struct cursor *c, struct packet *p)
{
    struct cursor peek = *c;
    const uint8_t *h = cursor_take(&peek, 2);
    if (!h)
        return layer_link_cut(p);
    if ((h[0] == 0x0f || h[0] == 0x8f) && h[1] == 0)   /* Cisco's HDLC on a line declared as PPP */
        return LAYER_HDLC;
    if (h[0] == 0xff && h[1] == 0x03)
        *c = peek;
    h = cursor_take(c, 1);
    if (h && h[0] & 1)
        return layer_of_ppp(h[0], p);
    const uint8_t *low = cursor_take(c, 1);
    return low ? layer_of_ppp((uint16_t)(h[0] << 8 | low[0]), p) : layer_link_cut(p);
}

/* LINKTYPE_PPP_WITH_DIR: one byte says the direction. */
enum layer decode_ppp_dir(struct cursor *c, struct packet *p)
{
    return cursor_skip(c, 1) ? LAYER_PPP : layer_link_cut(p);
}

/* RFC 2516: version and type, code 0 (session data), session, length. */
enum layer decode_pppoe(struct cursor *c, struct packet *p)
{
    const uint8_t *h = cursor_take(c, 6);
    if (!h)
        return layer_link_cut(p);
    if (h[0] != 0x11 || h[1] != 0)
        return not_ip(p);
    cursor_limit(c, load_be16(h + 4));
    p->carrier = TSCOPE_TUNNEL_PPPOE;
    return LAYER_PPP;
}

/* LINKTYPE_C_HDLC: address 0x0f or 0x8f, control 0, an Ethernet type; else it is PPP after all. */
enum layer decode_hdlc(struct cursor *c, struct packet *p)
{
    struct cursor peek = *c;
    const uint8_t *h = cursor_take(&peek, 4);
    if (!h)
        return layer_link_cut(p);
    if (h[0] == 0xff && h[1] == 0x03)
        return LAYER_PPP;
    *c = peek;
    return layer_by_ethertype(load_be16(h + 2), p);
}

/* RFC 2427: an address of two to four bytes, then either the control byte and a network layer's identifier or, as
 * Cisco has it, an Ethernet type. */
enum layer decode_frame_relay(struct cursor *c, struct packet *p)
{
    const uint8_t *h = cursor_take(c, 2);
    while (h && !(h[0] & 1) && !(h[1] & 1))            /* advances 1: the last byte of an address is odd */
        h = cursor_skip(c, 1) ? h + 1 : NULL;
    struct cursor peek = *c;
    const uint8_t *after = h ? cursor_take(&peek, 2) : NULL;
    if (!after)
        return layer_link_cut(p);
    if (after[0] != 0x03) {
        *c = peek;
        return layer_by_ethertype(load_be16(after), p);
    }
    cursor_skip(c, 1);
    if (after[1] == 0)                                 /* a padding byte makes the address even */
        cursor_skip(c, 1);
    const uint8_t *id = cursor_take(c, 1);
    const uint8_t *snap = id && *id == 0x80 ? cursor_take(c, 5) : NULL;
    if (snap)
        return layer_by_ethertype(load_be24(snap) == 0 ? load_be16(snap + 3) : UINT16_MAX, p);
    if (!id)
        return layer_link_cut(p);
    return *id == 0xcc ? LAYER_IPV4 : *id == 0x8e ? LAYER_IPV6 : not_ip(p);
}

/* RFC 3032, 5332: labels up to the bottom of the stack.  What follows tells itself by its first four bits (RFC 4928): an
 * IP version, 0 for a pseudowire's control word (RFC 4385), 1 for its control channel (RFC 5586); else a frame. */
enum layer decode_mpls(struct cursor *c, struct packet *p)
{
    const uint8_t *h = cursor_take(c, 4);
    while (h && !(h[2] & 1))                           /* advances 4 */
        h = cursor_take(c, 4);
    if (!h || !cursor_left(c))
        return layer_link_cut(p);
    p->carrier = TSCOPE_TUNNEL_MPLS;
    switch (*c->at >> 4) {
    case 4: case 6:
        return LAYER_RAW;
    case 0:
        return cursor_skip(c, 4) ? LAYER_ETHERNET : layer_link_cut(p);
    case 1:
        return not_ip(p);
    default:
        return LAYER_ETHERNET;
    }
}
