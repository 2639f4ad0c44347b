/* Link layers: two bytes name the type (small numbers: one of those that are decoded), one says how much of the frame
 * was not captured, the rest is the frame. */
#include "frame.h"

int LLVMFuzzerTestOneInput(const uint8_t *data, size_t size)
{
    static const uint16_t known[] = {1, 0, 108, 12, 14, 101, 228, 229, 113, 276, 9, 50, 51, 104, 105, 107, 117, 119,
                                     127, 163, 192, 109, 141, 169, 182, 204, 205, 226, 238, 253, 265, 280};
    struct choices c = {data, data + size};
    struct packet p;
    uint16_t type = choose_u16(&c);
    uint8_t missing = choose_u8(&c);
    uint32_t link_type = type < sizeof known / sizeof known[0] ? known[type] : type;
    size_t n = choices_left(&c);
    decode_frame(link_type, c.at, n, n + missing, &p);
    HOLDS(layer_of_link(link_type) != LAYER_NONE || p.anomalies == TSCOPE_AN_LINKTYPE);
    return 0;
}
