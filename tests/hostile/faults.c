/* Reads a capture again and again; in run k the allocation number k fails.  A line a run: the codes of its calls. */
#include <stdio.h>
#include <stdlib.h>

#include "memory.h"
#include "tamperscope.h"

enum { PIECE = 700, MOST = 1 << 20 };

static uint8_t data[MOST];

struct result {
    int code;                     /* the worst of all calls */
    uint64_t frames, rows;
};

static void worse(struct result *r, int code)
{
    if (code < r->code)
        r->code = code;
}

static void take(struct tscope_scan *s, uint32_t kind, struct result *r)
{
    struct tscope_batch *batch = NULL;
    int code;
    while ((code = tscope_take(s, kind, &batch)) == TSCOPE_OK && batch) {
        r->rows += batch->n_packets + batch->n_flows + batch->n_trace + batch->n_messages;
        tscope_batch_free(batch);
    }
    worse(r, code);
}

static void read_all(struct tscope_scan *s, size_t length, struct result *r)
{
    for (size_t at = 0; at < length;) {
        size_t used = 0, n = length - at < PIECE ? length - at : PIECE;
        int code = tscope_feed(s, data + at, n, &used);
        worse(r, code);
        if (code != TSCOPE_OK && code != TSCOPE_FULL)
            return;
        if (code == TSCOPE_FULL)
            take(s, TSCOPE_PACKETS, r);
        at += used;
    }
}

static struct result run(size_t length, long k)
{
    static const struct tscope_options options = {
        .emit = TSCOPE_PACKETS | TSCOPE_FLOWS | TSCOPE_CANDIDATES, .batch_packets = 7, .flow_marks = UINT32_MAX,
        .transaction_marks = UINT32_MAX, .key = {1, 2, 3}};
    struct result r = {0, 0, 0};
    struct tscope_summary summary;
    struct tscope_scan *s = NULL;
    mem_fail_after(k);
    worse(&r, tscope_new(&options, &s));
    if (s) {
        read_all(s, length, &r);
        worse(&r, tscope_end(s));
        take(s, TSCOPE_PACKETS, &r);
        take(s, TSCOPE_FLOWS, &r);
        take(s, TSCOPE_CANDIDATES, &r);
        tscope_summarize(s, &summary);
        r.frames = summary.frames;
    }
    tscope_free(s);
    mem_fail_after(-1);
    return r;
}

int main(int count, char **argument)
{
    FILE *file = count == 3 ? fopen(argument[1], "rb") : NULL;
    if (!file)
        return 2;
    size_t length = fread(data, 1, sizeof data, file);
    fclose(file);
    for (long k = 0; k < atol(argument[2]); k++) {
        struct result r = run(length, k);
        printf("%d %llu %llu\n", r.code, (unsigned long long)r.frames, (unsigned long long)r.rows);
    }
    return 0;
}
