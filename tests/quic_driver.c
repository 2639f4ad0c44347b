/* Scans captures as the library does, and says what of QUIC the core holds: built with sanitizers by test_quic.py.
 *
 *     quic_driver FILE       names, the most derivations of a flow, flows that wait, bytes that they hold
 *     quic_driver FILE N     the same with allocation 0, 1, ... N - 1 failing, each in a scan of its own */
#include <stdio.h>
#include <stdlib.h>

#include "memory.h"
#include "scan.h"

static void tell(const struct tscope_scan *s)
{
    unsigned names = 0, derivations = 0, waiting = 0;
    for (uint32_t i = 0; i < s->flows.all.used; i++) {
        const struct flow *f = flow_at(&s->flows, i);
        names += f->head.link.filed && f->name_from == TSCOPE_NAME_QUIC_SNI;
        waiting += f->head.link.filed && f->stream;
        if (f->quic_derivations > derivations)
            derivations = f->quic_derivations;
    }
    printf("%u %u %u %zu\n", names, derivations, waiting, s->stream_bytes);
}

static void scan(const uint8_t *data, size_t length, bool speak)
{
    struct tscope_options options = {.max_flows = 1 << 16, .emit = TSCOPE_FLOWS};
    struct tscope_scan *s;
    struct tscope_batch *batch;
    size_t used, at = 0;
    if (tscope_new(&options, &s))
        return;
    for (int code = TSCOPE_FULL; at < length && code == TSCOPE_FULL; at += used) {
        code = tscope_feed(s, data + at, length - at, &used);
        if (!tscope_take(s, TSCOPE_FLOWS, &batch))
            tscope_batch_free(batch);
    }
    if (speak)
        tell(s);
    tscope_end(s);
    tscope_free(s);
}

int main(int argc, char **argv)
{
    static uint8_t data[64 << 20];
    FILE *file = argc > 1 ? fopen(argv[1], "rb") : NULL;
    if (!file)
        return 2;
    size_t length = fread(data, 1, sizeof data, file);
    fclose(file);
    long failures = argc > 2 ? strtol(argv[2], NULL, 10) : 0;
    for (long i = 0; i < failures; i++) {
        mem_fail_after(i);
        scan(data, length, false);
    }
    mem_fail_after(-1);
    scan(data, length, true);
    return 0;
}
