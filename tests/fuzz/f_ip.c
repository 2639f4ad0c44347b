/* IP packets with their extension headers and fragments: each a length byte pair and its bytes, whose version and header
 * length are put right where the length's top bit says so.  Decoded one by one, then scanned together. */
#include <stdlib.h>
#include <string.h>

#include "frame.h"

/* Lengths and addresses that let packets meet; where the second byte is odd, as fragments of one datagram. */
static void mend(uint8_t *packet, size_t size)
{
    bool fragment = size > 1 && packet[1] & 1;
    if (size < 20)
        return;
    if (packet[0] & 0x80 && size >= 40) {
        packet[0] = 0x60;
        if (fragment)
            packet[6] = 44;
        if (fragment && size >= 48) {
            packet[40] = 17;
            packet[42] = 0;
            packet[43] &= 0x79;
            memset(packet + 44, 0, 4);
        }
        packet[4] = (uint8_t)((size - 40) >> 8);
        packet[5] = (uint8_t)(size - 40);
        memset(packet + 8, 0, 31);
        packet[39] = 1;
    } else {
        packet[0] = (uint8_t)(0x45 + ((packet[0] & 0x30) == 0x30));
        packet[2] = (uint8_t)(size >> 8);
        packet[3] = (uint8_t)size;
        memset(packet + 12, 10, 8);
        if (fragment) {
            packet[4] = packet[5] = 0;
            packet[6] &= 0x20;
            packet[7] &= 0x0f;
            packet[9] = 17;
        }
    }
}

int LLVMFuzzerTestOneInput(const uint8_t *data, size_t size)
{
    static struct outcome out;
    struct choices c = {data, data + size};
    struct capture capture;
    uint8_t cut = choose_u8(&c);
    capture_start(&capture, LINK_RAW);
    while (choices_left(&c) > 2 && capture.frames < 64) {
        uint16_t head = choose_u16(&c);
        size_t n, missing = head >> 13 & 3;
        const uint8_t *bytes = choose_bytes(&c, head & 0x7ff, &n);
        uint8_t *packet = exact_copy(bytes, n);
        struct packet p;
        if (head & 0x8000)
            mend(packet, n);
        decode_frame(LINK_RAW, packet, n, n + missing, &p);
        decode_frame(LINK_RAW, packet, cut % (n + 1), n, &p);
        capture_frame(&capture, packet, n, n + missing);
        capture.now_ns += (int64_t)(head >> 11 & 3) * 20000000000;
        free(packet);
    }
    struct how how = {.max_flows = cut & 3, .fail_after = -1};
    scan_twice(capture.bytes, capture.size, &how, cut, &out);
    HOLDS(out.sum.frames == capture.frames);
    capture_end(&capture);
    return 0;
}
