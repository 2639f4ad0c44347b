/* pcapng: blocks of a type, a length, a body and the length again.  draft-ietf-opsawg-pcapng.
 * Sections may change the byte order; interfaces are numbered per section in the file and over the whole input here. */
#include "core.h"

enum {
    BLOCK_SECTION = 0x0a0d0d0a, BLOCK_INTERFACE = 1, BLOCK_PACKET = 2, BLOCK_SIMPLE = 3, BLOCK_ENHANCED = 6,
    OPTION_END = 0, OPTION_TSRESOL = 9, OPTION_TSOFFSET = 14,
    BLOCK_OVERHEAD = 12
};

static const uint64_t NO_TICKS = UINT64_MAX;           /* of a packet without time */

static const uint64_t POWERS_OF_TEN[20] = {
    1u, 10u, 100u, 1000u, 10000u, 100000u, 1000000u, 10000000u, 100000000u, 1000000000u, 10000000000u, 100000000000u,
    1000000000000u, 10000000000000u, 100000000000000u, 1000000000000000u, 10000000000000000u, 100000000000000000u,
    1000000000000000000u, 10000000000000000000u};

/* if_tsresol: a power of ten, or of two with the top bit set.  False: it cannot be represented. */
static bool set_resolution(struct interface *i, uint8_t resolution)
{
    unsigned power = resolution & 0x7f;
    i->per_second = 0;
    i->multiply = i->divide = 1;
    if (resolution & 0x80) {
        if (power > 63)
            return false;
        i->per_second = (uint64_t)1 << power;
        return true;
    }
    if (power > 19)
        return false;
    if (power <= 9)
        i->multiply = POWERS_OF_TEN[9 - power];
    else
        i->divide = POWERS_OF_TEN[power - 9];
    return true;
}

static int64_t saturate(uint64_t ns)
{
    return ns > (uint64_t)MAX_TIME ? MAX_TIME : (int64_t)ns;
}

static int64_t to_ns(const struct interface *i, uint64_t ticks)
{
    uint64_t ns;
    if (i->per_second) {
        uint64_t seconds = ticks / i->per_second, rest = ticks % i->per_second;
        __extension__ typedef unsigned __int128 wide;
        uint64_t fraction = (uint64_t)((wide)rest * (uint64_t)SECOND / i->per_second);
        if (__builtin_mul_overflow(seconds, (uint64_t)SECOND, &ns) || __builtin_add_overflow(ns, fraction, &ns))
            return MAX_TIME;
    } else if (__builtin_mul_overflow(ticks, i->multiply, &ns)) {
        return MAX_TIME;
    } else {
        ns /= i->divide;
    }
    int64_t shifted;
    if (__builtin_add_overflow(saturate(ns), i->offset_ns, &shifted) || shifted > MAX_TIME)
        return MAX_TIME;
    return shifted < -MAX_TIME ? -MAX_TIME : shifted;
}

static bool read_interface_options(struct reader *r, struct cursor *c, struct interface *i)
{
    const uint8_t *h;
    while ((h = cursor_take(c, 4))) {                           /* advances >= 4 */
        uint16_t code = load_u16(h, r->swapped), length = load_u16(h + 2, r->swapped);
        struct cursor value = cursor_sub(c, ((size_t)length + 3) & ~(size_t)3);
        if (code == OPTION_END)
            break;
        const uint8_t *v = cursor_take(&value, length);
        if (code == OPTION_TSRESOL && length == 1 && v && !set_resolution(i, *v))
            return false;
        if (code == OPTION_TSOFFSET && length == 8 && v &&
            __builtin_mul_overflow((int64_t)load_u64(v, r->swapped), SECOND, &i->offset_ns))
            return false;
    }
    return true;
}

static enum found read_interface(struct reader *r, struct cursor c)
{
    struct interface i = {.multiply = 1000, .divide = 1};
    const uint8_t *h = cursor_take(&c, 8);
    if (!h)
        return reader_fault(r, TSCOPE_E_BLOCK_LENGTH, 0, 20, 12 + cursor_left(&c));
    i.link_type = load_u16(h, r->swapped);
    i.snap_length = load_u32(h + 4, r->swapped);
    if (!read_interface_options(r, &c, &i))
        return reader_fault(r, TSCOPE_E_RESOLUTION, 0, 0, 0);
    if (!reader_add_interface(r, &i))
        return reader_fault(r, TSCOPE_E_MEMORY, 0, 0, 0);
    return FOUND_OTHER;
}

/* A block that cannot be used, while the next one can: told, and stepped over. */
static enum found step_over(struct reader *r, int code, uint64_t need, uint64_t have)
{
    reader_fault(r, code, 0, need, have);
    r->flawed = true;
    return FOUND_OTHER;
}

static enum found packet_of(struct reader *r, struct cursor c, uint32_t interface, uint64_t ticks, uint32_t captured,
                            uint32_t wire, struct record *out)
{
    uint32_t known = r->n_interfaces - r->section_start;
    if (interface >= known)
        return step_over(r, TSCOPE_E_INTERFACE, interface, known);
    const uint8_t *frame = captured > MAX_RECORD ? NULL : cursor_take(&c, captured);
    if (!frame)
        return step_over(r, TSCOPE_E_RECORD_LENGTH, captured, cursor_left(&c));
    const struct interface *i = &r->interfaces[r->section_start + interface];
    *out = (struct record){.data = frame, .captured_length = captured, .wire_length = wire,
                           .time_ns = ticks == NO_TICKS ? TSCOPE_NO_NS : to_ns(i, ticks), .interface = r->section_start + interface};
    return FOUND_RECORD;
}

static enum found read_packet(struct reader *r, uint32_t type, struct cursor c, struct record *out)
{
    const uint8_t *h = cursor_take(&c, type == BLOCK_SIMPLE ? 4 : 20);
    if (!h)
        return step_over(r, TSCOPE_E_BLOCK_LENGTH, 32, 12 + cursor_left(&c));
    if (type == BLOCK_SIMPLE) {                                /* no time, first interface, cut by its snap length */
        uint32_t wire = load_u32(h, r->swapped), captured = wire;
        if (captured > cursor_left(&c))
            captured = (uint32_t)cursor_left(&c);
        if (r->n_interfaces > r->section_start) {
            uint32_t snap = r->interfaces[r->section_start].snap_length;
            if (snap && captured > snap)
                captured = snap;
        }
        return packet_of(r, c, 0, NO_TICKS, captured, wire, out);
    }
    uint64_t ticks = (uint64_t)load_u32(h + 4, r->swapped) << 32 | load_u32(h + 8, r->swapped);
    uint32_t interface = type == BLOCK_PACKET ? load_u16(h, r->swapped) : load_u32(h, r->swapped);
    return packet_of(r, c, interface, ticks, load_u32(h + 12, r->swapped), load_u32(h + 16, r->swapped), out);
}

static enum found start_section(struct reader *r, struct cursor c)
{
    const uint8_t *h = cursor_take(&c, 8);
    if (!h)
        return reader_fault(r, TSCOPE_E_BLOCK_LENGTH, 0, 28, 12 + cursor_left(&c));
    uint16_t major = load_u16(h + 4, r->swapped), minor = load_u16(h + 6, r->swapped);
    if (major != 1)
        return reader_fault(r, TSCOPE_E_VERSION, 12, 1, (uint32_t)major << 16 | minor);
    r->section_start = r->n_interfaces;
    return FOUND_OTHER;
}

/* A section header says the byte order in its body, which the length before it is already written in. */
static bool section_order(struct reader *r, const uint8_t *order)
{
    uint32_t magic = load_u32(order, false);
    r->swapped = magic == 0x4d3c2b1a;
    return r->swapped || magic == 0x1a2b3c4d;
}

enum found pcapng_next(struct reader *r, const uint8_t *data, size_t length, struct record *out, size_t *used)
{
    struct cursor c = cursor_over(data, length);
    const uint8_t *h = cursor_take(&c, BLOCK_OVERHEAD);
    r->need = BLOCK_OVERHEAD;
    if (!h)
        return FOUND_MORE;
    bool section = load_u32(h, false) == BLOCK_SECTION;        /* reads alike in both orders */
    if (section && !section_order(r, h + 8))
        return reader_fault(r, TSCOPE_E_NOT_CAPTURE, 8, 0x1a2b3c4d, load_be32(h + 8));
    uint32_t type = load_u32(h, r->swapped), declared = load_u32(h + 4, r->swapped);
    if (declared < BLOCK_OVERHEAD || (section && declared < 28))
        return reader_fault(r, TSCOPE_E_BLOCK_LENGTH, 0, section ? 28 : BLOCK_OVERHEAD, declared);
    uint64_t total = ((uint64_t)declared + 3) & ~(uint64_t)3;  /* some writers pad the block but leave that out */
    bool wanted = section || type == BLOCK_INTERFACE || type == BLOCK_PACKET || type == BLOCK_SIMPLE ||
                  type == BLOCK_ENHANCED;
    if (total > MAX_BLOCK || !wanted) {
        if (wanted)
            return reader_fault(r, TSCOPE_E_BLOCK_LENGTH, 0, MAX_BLOCK, total);
        r->skip = total;
        return FOUND_OTHER;
    }
    r->need = total;
    if (total > length)
        return FOUND_MORE;
    c = cursor_over(data, total);
    cursor_skip(&c, 8);
    struct cursor body = cursor_sub(&c, total - BLOCK_OVERHEAD);
    const uint8_t *trailer = cursor_take(&c, 4);
    if (!trailer || load_u32(trailer, r->swapped) != declared)
        return reader_fault(r, TSCOPE_E_BLOCK_TRAILER, total - 4, declared,
                            trailer ? load_u32(trailer, r->swapped) : 0);
    *used = (size_t)total;
    if (section)
        return start_section(r, body);
    return type == BLOCK_INTERFACE ? read_interface(r, body) : read_packet(r, type, body, out);
}
