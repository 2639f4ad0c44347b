/* Nearly all frames: Ethernet, IPv4 without options or IPv6 without extensions, TCP or UDP, whole.
 *
 * Workload: each packet.  What the decoders of layers do one after the other is done here in one go, with every field
 * set once; whatever is not just so is left to them.  A frame decoded here gives the same row there
 * (tests/test_layers.py). */
#include "key.h"

/* Steps over the header, sets what it says, and leaves the cursor over what IP carries; 0 or the protocol. */
static inline uint8_t plain_ipv4(struct cursor *c, struct packet *p, struct ends *e)
{
    const uint8_t *h = cursor_take(c, 20);
    if (!h || h[0] != 0x45)
        return 0;
    size_t total = load_be16(h + 2);
    uint16_t fragment = load_be16(h + 6);
    if (total < 20 || total - 20 > cursor_left(c) || (fragment & 0x3fff))
        return 0;
    cursor_limit(c, total - 20);
    p->ip_version = 4;
    p->tos = h[1];
    p->ip_id = load_be16(h + 4);
    p->ip_flags = (uint8_t)(fragment >> 13 & 2) | (uint8_t)(fragment >> 13 & 4);
    p->ttl = h[8];
    e->high[0] = e->high[1] = 0;
    e->low[0] = KEY_IPV4(load_u32(h + 12, false));
    e->low[1] = KEY_IPV4(load_u32(h + 16, false));
    return h[9];
}

static inline uint8_t plain_ipv6(struct cursor *c, struct packet *p, struct ends *e)
{
    const uint8_t *h = cursor_take(c, 40);
    if (!h || h[0] >> 4 != 6)
        return 0;
    size_t length = load_be16(h + 4);
    if (length == 0 || length > cursor_left(c))
        return 0;
    cursor_limit(c, length);
    p->ip_version = 6;
    p->tos = (uint8_t)((h[0] & 15) << 4 | h[1] >> 4);
    p->ip_id = 0;
    p->ip_flags = 0;
    p->ttl = h[7];
    e->high[0] = load_u64(h + 8, false);
    e->low[0] = load_u64(h + 16, false);
    e->high[1] = load_u64(h + 24, false);
    e->low[1] = load_u64(h + 32, false);
    return h[6];
}

static inline bool plain_tcp(struct cursor *c, struct packet *p)
{
    const uint8_t *h = cursor_take(c, 20);
    size_t options = h ? (size_t)(h[12] >> 4) * 4 - 20 : SIZE_MAX;     /* less than 20: more than any cursor has */
    const uint8_t *o = cursor_take(c, options);
    if (!h || !o)
        return false;
    p->seq = load_be32(h + 4);
    p->ack = load_be32(h + 8);
    p->flags = load_be16(h + 12) & 0x0fff;
    p->window = load_be16(h + 14);
    p->options_length = (uint8_t)options;
    p->options_digest = options ? tcp_options_digest(cursor_over(o, options), p) : 0;
    return true;
}

static inline bool plain_udp(struct cursor *c, struct packet *p)
{
    const uint8_t *h = cursor_take(c, 8);
    size_t length = h ? load_be16(h + 4) : 0;
    if (length < 8 || length - 8 > cursor_left(c))
        return false;
    cursor_limit(c, length - 8);
    p->seq = p->ack = 0;
    p->flags = p->window = 0;
    p->options_length = 0;
    p->options_digest = 0;
    return true;
}

bool decode_plain(const struct record *r, const struct hash_key *key, struct packet *p)
{
    struct cursor c = cursor_over(r->data, r->captured_length);
    struct ends e;
    const uint8_t *h = cursor_take(&c, 14);
    uint16_t type = h ? load_be16(h + 12) : 0;
    uint8_t protocol = type == 0x0800 ? plain_ipv4(&c, p, &e) : type == 0x86dd ? plain_ipv6(&c, p, &e) : 0;
    const uint8_t *ports = c.at;
    memset(&p->anomalies, 0, offsetof(struct packet, outer) - offsetof(struct packet, anomalies));
    if (!(protocol == 6 ? plain_tcp(&c, p) : protocol == 17 && plain_udp(&c, p)))
        return false;
    p->source_port = load_be16(ports);
    p->destination_port = load_be16(ports + 2);
    p->payload = c.at;
    p->payload_length = p->payload_have = (uint32_t)cursor_left(&c);
    p->protocol = protocol;
    p->has_ports = 1;
    if (protocol == 17 && udp_may_be_tunnel(p))
        return false;
    e.port[0] = p->source_port;
    e.port[1] = p->destination_port;
    key_set(p, e, protocol, key);
    return true;
}
