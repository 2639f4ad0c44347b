/* IEEE 802.11 data frames, and the headers that capture programs put in front of them.  All of it is little-endian. */
#include "core.h"

enum { PROTECTED = 0x40, ORDER = 0x80, QOS = 0x80, NO_DATA = 0x40, AGGREGATE = 0x80 };

static uint16_t load_le16(const uint8_t *p)
{
    return (uint16_t)(p[1] << 8 | p[0]);
}

/* IEEE 802.11 section 9.2.3: three addresses or four, QoS and HT control where the frame has them.  Encrypted frames,
 * management and control hold no packet.  Of an aggregate the first frame is read. */
static enum layer decode_data(struct cursor *c, struct packet *p, bool padded)
{
    const uint8_t *h = cursor_take(c, 24);
    if (!h)
        return layer_link_cut(p);
    if ((h[0] & 0x0c) != 0x08 || h[0] & NO_DATA || h[1] & PROTECTED)
        return layer_by_ethertype(UINT16_MAX, p);
    size_t address = (h[1] & 3) == 3 ? 6 : 0, quality = h[0] & QOS ? 2 : 0;
    size_t control = quality && h[1] & ORDER ? 4 : 0;
    size_t header = 24 + address + quality + control;
    const uint8_t *rest = cursor_take(c, header - 24 + (padded ? (0 - header) & 3 : 0));
    if (!rest)
        return layer_link_cut(p);
    if (quality && rest[address] & AGGREGATE && !cursor_skip(c, 14))
        return layer_link_cut(p);
    return LAYER_LLC;
}

enum layer decode_wlan(struct cursor *c, struct packet *p)
{
    return decode_data(c, p, false);
}

/* radiotap.org: version 0, the length of all, then words that say which fields follow.  Only the second field, flags, is
 * looked for: bit 5 says that the 802.11 header is padded to four bytes. */
enum layer decode_radiotap(struct cursor *c, struct packet *p)
{
    struct cursor peek = *c;
    const uint8_t *h = cursor_take(&peek, 8);
    if (!h || load_le16(h + 2) < 8 || !cursor_skip(c, load_le16(h + 2)))
        return layer_link_cut(p);
    bool has_time = h[4] & 1, has_flags = h[4] & 2;
    size_t at = 8;
    for (const uint8_t *word = h + 4; word && word[3] & 0x80; at += 4)     /* advances 4 */
        word = cursor_take(&peek, 4);
    const uint8_t *skipped = cursor_take(&peek, has_time ? ((0 - at) & 7) + 8 : 0);
    const uint8_t *flags = has_flags && skipped ? cursor_take(&peek, 1) : NULL;
    return decode_data(c, p, flags && *flags & 0x20);
}

/* AVS capture header: its length stands in network order behind the version. */
enum layer decode_avs(struct cursor *c, struct packet *p)
{
    struct cursor peek = *c;
    const uint8_t *h = cursor_take(&peek, 8);
    return h && cursor_skip(c, load_be32(h + 4)) ? LAYER_WLAN : layer_link_cut(p);
}

/* Prism: message code and length in the order of the machine that captured; under this number also AVS. */
enum layer decode_prism(struct cursor *c, struct packet *p)
{
    struct cursor peek = *c;
    const uint8_t *h = cursor_take(&peek, 8);
    if (!h)
        return layer_link_cut(p);
    if (load_be32(h) >> 12 == 0x80211)
        return LAYER_AVS;
    size_t length = h[4] | h[5] ? load_le16(h + 4) : load_be16(h + 6);
    return cursor_skip(c, length) ? LAYER_WLAN : layer_link_cut(p);
}

/* Per-Packet Information: version, flags, length, the link type of what follows. */
enum layer decode_ppi(struct cursor *c, struct packet *p)
{
    struct cursor peek = *c;
    const uint8_t *h = cursor_take(&peek, 8);
    if (!h || load_le16(h + 2) < 8 || !cursor_skip(c, load_le16(h + 2)))
        return layer_link_cut(p);
    enum layer next = layer_of_link(load_le16(h + 4));
    return next == LAYER_NONE ? layer_by_ethertype(UINT16_MAX, p) : next;
}
