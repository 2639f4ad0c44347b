/* The classic format: a 24-byte header, then records of a 16-byte header and data.
 * draft-ietf-opsawg-pcap.  Both byte orders, micro- and nanoseconds; Kuznetzov's records, which go on with interface,
 * protocol and packet type; versions before 2.4, in which the two lengths stood in the other order. */
#include "core.h"

enum { FILE_HEADER = 24, RECORD_HEADER = 16, KUZNETZOV_MORE = 8 };
enum { AS_WRITTEN, TURNED, TURNED_WHERE_LARGER };

enum { MICROSECONDS = 0xc3d4, NANOSECONDS = 0x3c4d, KUZNETZOV = 0xcd34 };  /* behind 0xa1b2 */

/* What the magic says, in the machine's byte order; 0: no capture. */
static uint32_t pcap_magic(uint32_t magic, bool *swapped)
{
    *swapped = magic >> 16 != 0xa1b2;
    if (*swapped)
        magic = __builtin_bswap32(magic);
    uint32_t kind = magic & 0xffff;
    bool known = kind == MICROSECONDS || kind == NANOSECONDS || kind == KUZNETZOV;
    return magic >> 16 == 0xa1b2 && known ? kind : 0;
}

enum found pcap_start(struct reader *r, const uint8_t *data, size_t length, size_t *used)
{
    struct cursor c = cursor_over(data, length);
    const uint8_t *magic = cursor_take(&c, 4);
    uint32_t kind = magic ? pcap_magic(load_u32(magic, false), &r->swapped) : 0;
    if (!kind)
        return reader_fault(r, TSCOPE_E_NOT_CAPTURE, 0, magic ? load_be32(magic) : 0, magic ? 4 : length);
    c = cursor_over(data, length);
    const uint8_t *h = cursor_take(&c, FILE_HEADER);
    if (!h) {
        r->need = FILE_HEADER;
        return FOUND_MORE;
    }
    uint16_t major = load_u16(h + 4, r->swapped), minor = load_u16(h + 6, r->swapped);
    if (major != 2)
        return reader_fault(r, TSCOPE_E_VERSION, 4, 2, (uint32_t)major << 16 | minor);
    r->nanoseconds = kind == NANOSECONDS;
    r->more_header = kind == KUZNETZOV ? KUZNETZOV_MORE : 0;
    r->turned = minor < 3 ? TURNED : minor == 3 ? TURNED_WHERE_LARGER : AS_WRITTEN;
    /* The high bits of the last word say whether frames end in a checksum: nothing that is looked at. */
    struct interface i = {.link_type = load_u32(h + 20, r->swapped) & 0x03ffffff,
                          .snap_length = load_u32(h + 16, r->swapped),
                          .multiply = r->nanoseconds ? 1 : 1000,
                          .divide = 1};
    if (!reader_add_interface(r, &i))
        return reader_fault(r, TSCOPE_E_MEMORY, 0, 0, 0);
    r->container = CONTAINER_PCAP;
    *used = FILE_HEADER;
    return FOUND_OTHER;
}

/* A record header that is a file header instead: files joined with cat. */
static bool second_header(const uint8_t *h)
{
    bool swapped;
    return pcap_magic(load_u32(h, false), &swapped) && load_u16(h + 4, swapped) == 2 &&
           load_u16(h + 6, swapped) == 4 && load_u32(h + 8, false) == 0 && load_u32(h + 12, false) == 0;
}

enum found pcap_next(struct reader *r, const uint8_t *data, size_t length, struct record *out, size_t *used)
{
    struct cursor c = cursor_over(data, length);
    const uint8_t *h = cursor_take(&c, RECORD_HEADER + r->more_header);
    if (!h) {
        r->need = RECORD_HEADER + r->more_header;
        return FOUND_MORE;
    }
    uint32_t captured = load_u32(h + 8, r->swapped);
    out->wire_length = load_u32(h + 12, r->swapped);
    if (r->turned && (r->turned == TURNED || captured > out->wire_length)) {
        uint32_t first = captured;
        captured = out->wire_length;
        out->wire_length = first;
    }
    if (captured > MAX_RECORD || (captured == 0 && second_header(h))) {
        bool second = captured == 0;
        return reader_fault(r, second ? TSCOPE_E_SECOND_HEADER : TSCOPE_E_RECORD_LENGTH, 0, captured, MAX_RECORD);
    }
    const uint8_t *frame = cursor_take(&c, captured);
    if (!frame) {
        r->need = RECORD_HEADER + r->more_header + (uint64_t)captured;
        return FOUND_MORE;
    }
    int64_t fraction = load_u32(h + 4, r->swapped);
    out->data = frame;
    out->captured_length = captured;
    out->time_ns = load_u32(h, r->swapped) * SECOND + (r->nanoseconds ? fraction : fraction * 1000);
    out->interface = 0;
    *used = RECORD_HEADER + r->more_header + captured;
    return FOUND_RECORD;
}
