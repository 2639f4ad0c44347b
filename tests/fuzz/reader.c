#include "reader.h"

#include <stdlib.h>
#include <string.h>

#include "core.h"

struct seen {
    uint64_t records, faults;
    uint32_t interfaces;
};

static void take_record(struct seen *seen, const struct reader *r, const struct record *record)
{
    HOLDS(record->interface < r->n_interfaces);
    HOLDS(record->captured_length <= MAX_RECORD);
    uint64_t h = digest_bytes(seen->records, record->data, record->captured_length);
    h = digest_bytes(h, &record->time_ns, sizeof record->time_ns);
    h = digest_bytes(h, &record->wire_length, sizeof record->wire_length);
    seen->records = digest_bytes(h, &record->interface, sizeof record->interface);
}

static void take_fault(struct seen *seen, const struct reader *r)
{
    uint64_t h = digest_bytes(seen->faults, &r->fault.code, sizeof r->fault.code);
    seen->faults = digest_bytes(h, &r->fault.offset, sizeof r->fault.offset);
}

/* Reads what lies in the window; true when reading is over. */
static bool read_window(struct reader *r, const uint8_t *data, size_t size, size_t *at, struct seen *seen)
{
    for (unsigned idle = 0;;) {
        struct record record;
        size_t used = 0, left = size - *at;
        uint8_t *window = exact_copy(data + *at, left);
        r->offset = *at;
        enum found found = reader_next(r, window, left, &record, &used);
        HOLDS(used <= left);
        if (found == FOUND_RECORD)
            take_record(seen, r, &record);
        if (found == FOUND_FAULT || r->flawed)
            take_fault(seen, r);
        free(window);
        *at += used;
        idle = used ? 0 : idle + 1;
        HOLDS(idle < 4);
        if (found == FOUND_FAULT)
            return true;
        if (found == FOUND_MORE) {
            HOLDS(left == 0 || r->need > left);
            return false;
        }
    }
}

static void read_windows(const uint8_t *data, size_t size, uint64_t cut, struct seen *seen)
{
    struct reader r;
    size_t at = 0, there = cut ? 0 : size;
    uint64_t state = cut;
    memset(&r, 0, sizeof r);
    memset(seen, 0, sizeof *seen);
    while (!read_window(&r, data, there, &at, seen) && there < size) {
        uint64_t random = next_random(&state);
        size_t n = (size_t)(random >> 8) % (random & 1 ? 16 : 512) + 1;
        there = n < size - there ? there + n : size;
    }
    seen->interfaces = r.n_interfaces;
    reader_end(&r);
}

void read_container(const uint8_t *data, size_t size, uint64_t cut)
{
    struct seen whole, pieces;
    read_windows(data, size, 0, &whole);
    read_windows(data, size, cut | 1, &pieces);
    HOLDS(whole.records == pieces.records);
    HOLDS(whole.faults == pieces.faults);
    HOLDS(whole.interfaces == pieces.interfaces);
}
