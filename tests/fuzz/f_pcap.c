/* The pcap reader: two bytes of choices, then the file.  Where the second is odd its magic number is put right. */
#include <stdlib.h>
#include <string.h>

#include "reader.h"

int LLVMFuzzerTestOneInput(const uint8_t *data, size_t size)
{
    static const uint8_t magics[4][8] = {{0xd4, 0xc3, 0xb2, 0xa1, 2, 0, 4, 0}, {0xa1, 0xb2, 0xc3, 0xd4, 0, 2, 0, 4},
                                         {0x4d, 0x3c, 0xb2, 0xa1, 2, 0, 4, 0}, {0xa1, 0xb2, 0x3c, 0x4d, 0, 2, 0, 4}};
    struct choices c = {data, data + size};
    uint8_t cut = choose_u8(&c), magic = choose_u8(&c);
    size_t n = choices_left(&c);
    uint8_t *file = exact_copy(c.at, n);
    if ((magic & 1) && n >= 8)
        memcpy(file, magics[magic >> 1 & 3], 8);
    read_container(file, n, cut);
    free(file);
    return 0;
}
