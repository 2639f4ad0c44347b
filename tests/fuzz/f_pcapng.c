/* The pcapng reader: two bytes of choices, then the file.  Where the second is odd the blocks' trailers and lengths are
 * put right as far as the file goes, so that what lies inside them is reached. */
#include <stdlib.h>
#include <string.h>

#include "reader.h"

static uint32_t get(const uint8_t *at, bool big)
{
    return big ? (uint32_t)at[0] << 24 | (uint32_t)at[1] << 16 | (uint32_t)at[2] << 8 | at[3]
               : (uint32_t)at[3] << 24 | (uint32_t)at[2] << 16 | (uint32_t)at[1] << 8 | at[0];
}

static void set(uint8_t *at, uint32_t value, bool big)
{
    for (unsigned i = 0; i < 4; i++)
        at[i] = (uint8_t)(value >> (big ? 24 - 8 * i : 8 * i));
}

static void mend(uint8_t *file, size_t size)
{
    static const uint8_t section[4] = {0x0a, 0x0d, 0x0d, 0x0a};
    bool big = false;
    if (size >= 4)
        memcpy(file, section, 4);
    for (size_t at = 0; size - at >= 12;) {
        if (!memcmp(file + at, section, 4) && size - at >= 28) {
            big = file[at + 8] & 1;
            set(file + at + 8, 0x1a2b3c4d, big);
            file[at + 12 + big] = 1;
            file[at + 13 - big] = 0;
        }
        uint32_t total = get(file + at + 4, big) & 0x3fc, least = memcmp(file + at, section, 4) ? 12 : 28;
        total = total < least ? least : total;
        if (total > size - at)
            return;
        set(file + at + 4, total, big);
        set(file + at + total - 4, total, big);
        at += total;
    }
}

int LLVMFuzzerTestOneInput(const uint8_t *data, size_t size)
{
    struct choices c = {data, data + size};
    uint8_t cut = choose_u8(&c), mending = choose_u8(&c);
    size_t n = choices_left(&c);
    uint8_t *file = exact_copy(c.at, n);
    if (mending & 1)
        mend(file, n);
    read_container(file, n, cut);
    free(file);
    return 0;
}
