/* TCP (RFC 9293), UDP (RFC 768), ICMP (RFC 792) and ICMPv6 (RFC 4443).
 * On entry payload_length is what IP says is left, header of the transport included. */
#include "core.h"

static enum layer transport_cut(struct packet *p)
{
    p->anomalies |= TSCOPE_AN_TRANSPORT_CUT;
    return LAYER_NONE;
}

static void set_payload(struct cursor *c, struct packet *p, size_t header)
{
    p->payload_length = header < p->payload_length ? p->payload_length - (uint32_t)header : 0;
    p->payload = c->at;
    p->payload_have = (uint32_t)cursor_left(c);
    p->has_ports = 1;
}

enum { TIMESTAMPS_ONLY = 0x5453 };                     /* the digest of the commonest list, taken without a loop */

/* Kinds and lengths in their order: what a stack always does alike, and a forger's stack does otherwise. */
uint16_t tcp_options_digest(struct cursor c, struct packet *p)
{
    static const uint8_t timestamps[4] = {1, 1, 8, 10};
    uint64_t h = DIGEST_START;
    if (cursor_left(&c) == 12 && !memcmp(c.at, timestamps, 4))
        return TIMESTAMPS_ONLY;
    while (cursor_left(&c)) {                          /* advances >= 1 */
        uint8_t option[2] = {cursor_u8(&c), 1};
        if (option[0] == 0)
            break;
        if (option[0] != 1) {
            option[1] = cursor_u8(&c);
            if (option[1] < 2 || !cursor_skip(&c, (size_t)option[1] - 2)) {
                p->anomalies |= TSCOPE_AN_TCP_OPTIONS;
                break;
            }
        }
        h = digest_bytes(h, option, 2);
    }
    uint16_t folded = (uint16_t)(digest_finish(h) >> 48);
    return folded ? folded : 1;
}

enum layer decode_tcp(struct cursor *c, struct packet *p)
{
    const uint8_t *h = cursor_take(c, 20);
    if (!h)
        return transport_cut(p);
    size_t header = (size_t)(h[12] >> 4) * 4;
    p->source_port = load_be16(h);
    p->destination_port = load_be16(h + 2);
    p->seq = load_be32(h + 4);
    p->ack = load_be32(h + 8);
    p->flags = load_be16(h + 12) & 0x0fff;
    p->window = load_be16(h + 14);
    if (header < 20 || header > p->payload_length) {
        p->anomalies |= TSCOPE_AN_TCP_HEADER;
        cursor_limit(c, 0);
        set_payload(c, p, p->payload_length);
        return LAYER_NONE;
    }
    p->options_length = (uint8_t)(header - 20);
    struct cursor options = cursor_sub(c, header - 20);
    if (cursor_left(&options))
        p->options_digest = tcp_options_digest(options, p);
    set_payload(c, p, header);
    return LAYER_NONE;
}

/* One bit for each port modulo 64 that layer_of_udp_port knows: most datagrams need not ask it. */
bool udp_may_be_tunnel(const struct packet *p)
{
    const uint64_t known = 1ull << 4789 % 64 | 1ull << 4790 % 64 | 1ull << 8472 % 64 | 1ull << 6081 % 64 |
                           1ull << 6635 % 64 | 1ull << 1701 % 64 | 1ull << 2152 % 64 | 1ull << 3544 % 64;
    return (known >> (p->source_port & 63) | known >> (p->destination_port & 63)) & 1 ||
           (p->payload_have && *p->payload >> 4 == 6);
}

enum layer decode_udp(struct cursor *c, struct packet *p)
{
    const uint8_t *h = cursor_take(c, 8);
    if (!h)
        return transport_cut(p);
    p->source_port = load_be16(h);
    p->destination_port = load_be16(h + 2);
    size_t length = load_be16(h + 4);
    if (length == 0)                                   /* jumbo, or offload */
        length = p->payload_length;
    if (length < 8 || (length > p->payload_length && !p->fragment)) {   /* a first fragment is less than its datagram */
        p->anomalies |= TSCOPE_AN_UDP_LENGTH;
        length = p->payload_length < 8 ? 8 : p->payload_length;
    }
    cursor_limit(c, length - 8);
    p->payload_length = (uint32_t)length;
    set_payload(c, p, 8);
    return udp_may_be_tunnel(p) ? layer_of_udp_port(p) : LAYER_NONE;
}

/* Errors quote the packet that drew them; ICMPv6 numbers its errors below 128. */
static bool is_icmp_error(const struct packet *p, uint8_t type)
{
    if (p->protocol == 58)
        return type >= 1 && type <= 4;
    return type == 3 || type == 4 || type == 5 || type == 11 || type == 12;
}

/* The quoted header and the first 8 bytes behind it, which is all that must be there: ports, sequence number. */
static void read_quote(struct cursor c, struct packet *p)
{
    struct packet quoted = {.captured_length = p->captured_length, .wire_length = p->wire_length};
    enum layer next = p->protocol == 58 ? decode_ipv6(&c, &quoted) : decode_ipv4(&c, &quoted);
    const uint8_t *h = next == LAYER_TCP || next == LAYER_UDP ? cursor_take(&c, 8) : NULL;
    if (!h)
        return;
    memcpy(p->outer, p->key.address, sizeof p->outer);
    p->key = quoted.key;
    p->key.port[0] = load_be16(h);
    p->key.port[1] = load_be16(h + 2);
    p->key.protocol = quoted.protocol;
    p->seq = next == LAYER_TCP ? load_be32(h + 4) : 0;
    p->ack = quoted.ip_id;
    p->quotes = 1;
}

enum layer decode_icmp(struct cursor *c, struct packet *p)
{
    const uint8_t *h = cursor_take(c, 8);
    if (!h)
        return transport_cut(p);
    p->source_port = load_be16(h);                     /* type and code */
    if (is_icmp_error(p, h[0]))
        read_quote(*c, p);
    return LAYER_NONE;
}
