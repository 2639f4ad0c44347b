/* Packets in packets: GRE with ERSPAN and PPTP, VXLAN, GENEVE, GTP-U, Teredo, L2TP, authentication headers.
 *
 * The packet around a tunnel stands until an IP header was found in it, so a decoder that does not know what it sees
 * just ends the loop. */
#include "core.h"

/* ERSPAN: a mirrored frame.  Type II has 8 bytes in front of it, III 12 and, told by their last bit, 8 more; I none
 * (draft-foschiano-erspan). */
static enum layer erspan(struct cursor *c, struct packet *p, unsigned type)
{
    const uint8_t *h = cursor_take(c, type == 1 ? 0 : type == 2 ? 8 : 12);
    if (!h || (type == 3 && h[11] & 1 && !cursor_skip(c, 8)))
        return LAYER_NONE;
    p->carrier = TSCOPE_TUNNEL_ERSPAN;
    return LAYER_ETHERNET;
}

/* RFC 2784 and 2890; version 1 (RFC 2637) carries PPP and may acknowledge.  Source routing is long deprecated and not
 * followed. */
enum layer decode_gre(struct cursor *c, struct packet *p)
{
    enum { CHECKSUM = 0x80, ROUTING = 0x40, KEY = 0x20, SEQUENCE = 0x10, ACKNOWLEDGES = 0x80 };
    const uint8_t *h = cursor_take(c, 4);
    if (!h || h[0] & ROUTING || (h[1] & 7) > 1)
        return LAYER_NONE;
    bool acknowledges = (h[1] & 7) == 1 && h[1] & ACKNOWLEDGES;
    size_t options = (h[0] & CHECKSUM ? 4u : 0u) + (h[0] & KEY ? 4u : 0u) + (h[0] & SEQUENCE ? 4u : 0u) +
                     (acknowledges ? 4u : 0u);
    uint16_t type = load_be16(h + 2);
    if (!cursor_skip(c, options) || type < 1536)
        return LAYER_NONE;
    p->carrier = TSCOPE_TUNNEL_GRE;
    if (type == 0x88be)
        return erspan(c, p, h[0] & SEQUENCE ? 2 : 1);
    if (type == 0x22eb)
        return erspan(c, p, 3);
    return layer_of_ethertype(type);
}

/* RFC 7348: flags with the one that says "network id is valid", then a frame.  With the P flag of the generic extension
 * (draft-ietf-nvo3-vxlan-gpe) the last of the first four bytes says what follows. */
enum layer decode_vxlan(struct cursor *c, struct packet *p)
{
    const uint8_t *h = cursor_take(c, 8);
    if (!h || !(h[0] & 0x08))
        return LAYER_NONE;
    p->carrier = TSCOPE_TUNNEL_VXLAN;
    if (!(h[0] & 0x04) || h[3] == 3)
        return LAYER_ETHERNET;
    return h[3] == 1 ? LAYER_IPV4 : h[3] == 2 ? LAYER_IPV6 : LAYER_NONE;
}

/* RFC 8926: version 0, options in words of four bytes. */
enum layer decode_geneve(struct cursor *c, struct packet *p)
{
    const uint8_t *h = cursor_take(c, 8);
    if (!h || h[0] >> 6 || !cursor_skip(c, (size_t)(h[0] & 63) * 4))
        return LAYER_NONE;
    p->carrier = TSCOPE_TUNNEL_GENEVE;
    return layer_of_ethertype(load_be16(h + 2));
}

/* 3GPP TS 29.281: version 1, message 255; any of three flags adds four bytes, the last of which begins a chain of
 * extension headers, each with its length in words first and the type of the next last. */
enum layer decode_gtpu(struct cursor *c, struct packet *p)
{
    const uint8_t *h = cursor_take(c, 8);
    if (!h || h[0] >> 4 != 3 || h[1] != 255)
        return LAYER_NONE;
    const uint8_t *options = h[0] & 7 ? cursor_take(c, 4) : NULL;
    if (h[0] & 7 && !options)
        return LAYER_NONE;
    uint8_t next = h[0] & 4 ? options[3] : 0;
    while (next) {                                     /* advances >= 4 */
        size_t length = cursor_left(c) ? (size_t)*c->at * 4 : 0;
        const uint8_t *extension = length ? cursor_take(c, length) : NULL;
        if (!extension)
            return LAYER_NONE;
        next = extension[length - 1];
    }
    p->carrier = TSCOPE_TUNNEL_GTP_U;
    return LAYER_RAW;
}

/* RFC 4380 section 5.1.1: authentication and origin indication may stand in front of the IPv6 packet. */
enum layer decode_teredo(struct cursor *c, struct packet *p)
{
    struct cursor peek = *c;
    const uint8_t *h = cursor_take(&peek, 4);
    if (h && load_be16(h) == 1) {
        if (!cursor_skip(&peek, (size_t)h[2] + h[3] + 9))
            return LAYER_NONE;
        *c = peek;
        h = cursor_take(&peek, 4);
    }
    if (h && load_be16(h) == 0 && !cursor_skip(c, 8))
        return LAYER_NONE;
    if (!cursor_left(c) || *c->at >> 4 != 6)
        return LAYER_NONE;
    p->carrier = TSCOPE_TUNNEL_TEREDO;
    return LAYER_IPV6;
}

/* RFC 2661 section 3.1: data messages of version 2, with the fields that their flags announce. */
enum layer decode_l2tp(struct cursor *c, struct packet *p)
{
    enum { CONTROL = 0x80, LENGTH = 0x40, SEQUENCE = 0x08, OFFSET = 0x02 };
    const uint8_t *h = cursor_take(c, 2);
    if (!h || h[0] & CONTROL || (h[1] & 15) != 2)
        return LAYER_NONE;
    if (!cursor_skip(c, 4u + (h[0] & LENGTH ? 2u : 0u) + (h[0] & SEQUENCE ? 4u : 0u)))
        return LAYER_NONE;
    const uint8_t *offset = h[0] & OFFSET ? cursor_take(c, 2) : NULL;
    if (h[0] & OFFSET && (!offset || !cursor_skip(c, load_be16(offset))))
        return LAYER_NONE;
    p->carrier = TSCOPE_TUNNEL_L2TP;
    return LAYER_PPP;
}

/* RFC 4302: not hidden, only signed. */
enum layer decode_ah(struct cursor *c, struct packet *p)
{
    struct cursor peek = *c;
    const uint8_t *h = cursor_take(&peek, 12);
    size_t length = h ? ((size_t)h[1] + 2) * 4 : 0;
    if (length < 12 || !cursor_skip(c, length)) {
        p->anomalies |= TSCOPE_AN_TRANSPORT_CUT;
        return LAYER_NONE;
    }
    p->payload_length -= length < p->payload_length ? (uint32_t)length : p->payload_length;
    return layer_of_ip_protocol(h[0], p);
}

/* A whole IPv6 packet behind a UDP header of any port, with an address of Teredo's own prefix (RFC 4380 section 2.6) or
 * of its link: servers and relays listen where they like. */
static bool is_teredo(const struct packet *p)
{
    struct cursor c = cursor_over(p->payload, p->payload_have);
    const uint8_t *h = cursor_take(&c, 40);
    if (!h || h[0] >> 4 != 6 || load_be16(h + 4) + 40u != p->payload_length)
        return false;
    return load_be32(h + 8) == 0x20010000 || load_be32(h + 24) == 0x20010000;
}

enum layer layer_of_udp_port(const struct packet *p)
{
    switch (p->destination_port) {
    case 4789: case 4790: case 8472:    /* 4790: the generic extension; 8472: Linux before there was a number */
        return LAYER_VXLAN;
    case 6081:
        return LAYER_GENEVE;
    case 6635:                  /* RFC 7510 */
        return LAYER_MPLS;
    case 1701:
        return LAYER_L2TP;
    default:
        break;
    }
    if (p->destination_port == 2152 || p->source_port == 2152)
        return LAYER_GTPU;
    if (p->destination_port == 3544 || p->source_port == 3544)
        return LAYER_TEREDO;
    return is_teredo(p) ? LAYER_TEREDO : LAYER_NONE;
}
