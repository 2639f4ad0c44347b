/* IPv4 (RFC 791) and IPv6 (RFC 8200). */
#include "core.h"

static enum layer ip_odd(struct packet *p, uint32_t anomaly)
{
    p->anomalies |= anomaly;
    return LAYER_NONE;
}

static void map_address(uint8_t out[16], const uint8_t *ipv4)
{
    memset(out, 0, 10);
    out[10] = out[11] = 0xff;
    memcpy(out + 12, ipv4, 4);
}

/* The cursor shall end where the packet ends: what follows is padding of the link.  `claimed` is what the header says
 * is left; more than the capture has means that it was cut, more than the frame ever had that the header is wrong. */
static void limit_to(struct cursor *c, struct packet *p, size_t claimed)
{
    size_t have = cursor_left(c);
    if (claimed > have) {
        p->anomalies |= TSCOPE_AN_PAYLOAD_CUT;
        if (p->captured_length >= p->wire_length) {
            p->anomalies |= TSCOPE_AN_IP_HEADER;
            claimed = have;
        }
    }
    p->payload_length = (uint32_t)claimed;
    cursor_limit(c, claimed);
}

/* A part of a datagram: kept as it is until the others are there (fragments.c). */
enum layer decode_fragment(struct cursor *c, struct packet *p)
{
    p->payload = c->at;
    p->payload_have = (uint32_t)cursor_left(c);
    if (p->ip_version == 4)
        p->fragment_id = p->ip_id;
    return ip_odd(p, TSCOPE_AN_IP_FRAGMENT);
}

enum layer decode_ipv4(struct cursor *c, struct packet *p)
{
    size_t before = cursor_left(c);
    const uint8_t *h = cursor_take(c, 20);
    if (!h)
        return ip_odd(p, TSCOPE_AN_IP_CUT);
    if (h[0] >> 4 != 4)
        return ip_odd(p, TSCOPE_AN_IP_VERSION);
    size_t header = (size_t)(h[0] & 15) * 4, total = load_be16(h + 2);
    if (total == 0)                                    /* segmentation offload: the card was to fill it in */
        total = before > 65535 ? 65535 : before;
    if (header < 20 || total < header)
        return ip_odd(p, TSCOPE_AN_IP_HEADER);
    p->ip_version = 4;
    p->tos = h[1];
    p->ip_id = load_be16(h + 4);
    uint16_t fragment = load_be16(h + 6);
    p->ip_flags = (uint8_t)((fragment & 0x2000 ? 1 : 0) | (fragment & 0x4000 ? 2 : 0) | (fragment & 0x8000 ? 4 : 0));
    p->ttl = h[8];
    map_address(p->key.address[0], h + 12);
    map_address(p->key.address[1], h + 16);
    p->protocol = h[9];
    if (!cursor_skip(c, header - 20))
        return ip_odd(p, TSCOPE_AN_IP_CUT);
    limit_to(c, p, total - header);
    if (fragment & 0x3fff) {
        p->fragment = (uint16_t)(fragment << 3 | (fragment & 0x2000 ? 1 : 0));
        return LAYER_FRAGMENT;
    }
    return layer_of_ip_protocol(h[9], p);
}

/* Length of an extension header in bytes, or 0 where `type` is none that is stepped over. */
static size_t extension_length(uint8_t type, const uint8_t *h)
{
    switch (type) {
    case 0: case 43: case 60: case 135: case 139: case 140:
        return ((size_t)h[1] + 1) * 8;
    case 51:
        return ((size_t)h[1] + 2) * 4;
    case 44:
        return 8;
    default:
        return 0;
    }
}

static bool is_extension(uint8_t type)
{
    static const uint8_t anything[2];
    return extension_length(type, anything) != 0;
}

static enum layer after_extensions(struct cursor *c, struct packet *p, uint8_t next)
{
    for (unsigned n = 0; is_extension(next); n++) {    /* advances >= 8 */
        struct cursor peek = *c;
        const uint8_t *h = cursor_take(&peek, 8);
        if (!h || n == MAX_EXTENSIONS)
            return ip_odd(p, TSCOPE_AN_IP6_EXTENSION);
        size_t length = extension_length(next, h);
        if (!cursor_skip(c, length))
            return ip_odd(p, TSCOPE_AN_IP6_EXTENSION);
        p->payload_length -= length < p->payload_length ? (uint32_t)length : p->payload_length;
        if (next == 44 && (load_be16(h + 2) & 0xfff9)) {
            p->protocol = h[0];
            p->fragment = load_be16(h + 2) & 0xfff9;
            p->fragment_id = load_be32(h + 4);
            return LAYER_FRAGMENT;
        }
        next = h[0];
    }
    return layer_of_ip_protocol(next, p);
}

/* What stands in a datagram that was put together from fragments. */
enum layer decode_ip_rest(struct cursor *c, struct packet *p)
{
    return p->ip_version == 6 ? after_extensions(c, p, p->protocol) : layer_of_ip_protocol(p->protocol, p);
}

enum layer decode_ipv6(struct cursor *c, struct packet *p)
{
    const uint8_t *h = cursor_take(c, 40);
    if (!h)
        return ip_odd(p, TSCOPE_AN_IP_CUT);
    if (h[0] >> 4 != 6)
        return ip_odd(p, TSCOPE_AN_IP_VERSION);
    p->ip_version = 6;
    p->tos = (uint8_t)((h[0] & 15) << 4 | h[1] >> 4);
    p->ttl = h[7];
    memcpy(p->key.address, h + 8, 32);
    size_t length = load_be16(h + 4);
    limit_to(c, p, length ? length : cursor_left(c));  /* 0: jumbo or offload */
    return is_extension(h[6]) ? after_extensions(c, p, h[6]) : layer_of_ip_protocol(h[6], p);
}
