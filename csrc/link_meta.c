/* Link types that put facts of the capturing machine in front: firewalls' logs, macOS, InfiniBand, switch chips. */
#include "core.h"

/* LINKTYPE_NFLOG: family, version, resource; then attributes of a length and a type in the order of the machine that
 * wrote them, each padded to four bytes.  Type 9 is the packet. */
enum layer decode_nflog(struct cursor *c, struct packet *p)
{
    const uint8_t *h = cursor_take(c, 4);
    for (h = h ? cursor_take(c, 4) : NULL; h; h = cursor_take(c, 4)) {     /* advances >= 4 */
        bool big = h[2] == 0;                          /* types are small, and none is 0 */
        size_t length = big ? load_be16(h) : (size_t)h[1] << 8 | h[0];
        unsigned type = big ? h[3] : h[2];
        if (length < 4)
            break;
        if (type == 9) {
            cursor_limit(c, length - 4);
            return LAYER_RAW;
        }
        cursor_skip(c, (length - 4 + 3) & ~(size_t)3);
    }
    return layer_link_cut(p);
}

/* LINKTYPE_PFLOG: the first byte is the header's length without its padding. */
enum layer decode_pflog(struct cursor *c, struct packet *p)
{
    size_t length = cursor_left(c) ? *c->at : 0;
    return length && cursor_skip(c, (length + 3) & ~(size_t)3) ? LAYER_RAW : layer_link_cut(p);
}

/* LINKTYPE_PKTAP: length and link type at offsets 0 and 8, little-endian on all machines that write it. */
enum layer decode_pktap(struct cursor *c, struct packet *p)
{
    struct cursor peek = *c;
    const uint8_t *h = cursor_take(&peek, 12);
    if (!h)
        return layer_link_cut(p);
    size_t length = (size_t)h[1] << 8 | h[0];
    enum layer next = layer_of_link((uint32_t)h[9] << 8 | h[8]);
    if (length < 12 || !cursor_skip(c, length))
        return layer_link_cut(p);
    return next == LAYER_NONE || next == LAYER_PKTAP ? layer_by_ethertype(UINT16_MAX, p) : next;
}

/* LINKTYPE_IPOIB: 40 bytes of route and address (RFC 4391), type, two reserved bytes. */
enum layer decode_ipoib(struct cursor *c, struct packet *p)
{
    const uint8_t *h = cursor_take(c, 44);
    return h ? layer_by_ethertype(load_be16(h + 40), p) : layer_link_cut(p);
}

/* LINKTYPE_DSA_TAG_BRCM: a switch chip's tag of four bytes between addresses and type. */
enum layer decode_brcm(struct cursor *c, struct packet *p)
{
    const uint8_t *h = cursor_take(c, 18);
    return h ? layer_by_ethertype(load_be16(h + 16), p) : layer_link_cut(p);
}
