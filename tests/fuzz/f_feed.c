/* A whole capture through the public interface: pieces of any size, small caps, every table taken, every mark a
 * candidate.  Eight bytes of choices come first, then the file.
 * Claims: other pieces, batches, another hash key and reading from a descriptor change nothing; nothing is lost. */
#include "fuzz.h"

int LLVMFuzzerTestOneInput(const uint8_t *data, size_t size)
{
    static struct outcome out, again;
    struct choices c = {data, data + size};
    uint16_t cut = choose_u16(&c);
    uint8_t flows = choose_u8(&c), entries = choose_u8(&c), frames = choose_u8(&c), bits = choose_u8(&c);
    uint16_t fail = choose_u16(&c);
    struct how how = {
        .max_flows = flows & 15, .context_entries = entries & 7, .max_frames = frames & 31 ? 0 : frames >> 5,
        .candidate_bytes = bits & 1, .trace_bytes = 1, .fail_after = -1};
    scan_twice(c.at, choices_left(&c), &how, cut, &out);
    if (bits & 2) {
        how.by_descriptor = true;
        scan(c.at, choices_left(&c), &how, &again);
        same_outcome(&out, &again);
        how.by_descriptor = false;
    }
    if (fail) {
        how.cut = bits & 4 ? cut : 0;
        how.fail_after = fail & 0x3ff;
        scan(c.at, choices_left(&c), &how, &again);
    }
    return 0;
}
