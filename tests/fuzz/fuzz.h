/* What the fuzz targets share: choices read off the input, claims that abort, captures made of frames, and scans whose
 * tables are checked and folded into numbers that can be compared. */
#ifndef TSCOPE_FUZZ_H
#define TSCOPE_FUZZ_H

#include <stdbool.h>
#include <stddef.h>
#include <stdint.h>

#include "tamperscope.h"

int LLVMFuzzerTestOneInput(const uint8_t *data, size_t size);

/* A claim about the core.  Where it fails the process ends, as at a crash, and the input is kept. */
#define HOLDS(condition)                                                                                               \
    do {                                                                                                               \
        if (!(condition))                                                                                              \
            fuzz_failed(#condition, __FILE__, __LINE__);                                                               \
    } while (0)

_Noreturn void fuzz_failed(const char *claim, const char *file, int line);

/* ---------------------------------------------------------------- the input as a list of choices */

struct choices {
    const uint8_t *at, *end;
};

static inline size_t choices_left(const struct choices *c)
{
    return (size_t)(c->end - c->at);
}
uint8_t choose_u8(struct choices *c);                  /* zeroes once the input is used up */
uint16_t choose_u16(struct choices *c);
uint32_t choose_u32(struct choices *c);
const uint8_t *choose_bytes(struct choices *c, size_t wanted, size_t *have);

/* A block of exactly these bytes, so that a read behind its end is seen.  Never NULL; the caller frees it. */
uint8_t *exact_copy(const uint8_t *data, size_t size);
uint64_t next_random(uint64_t *state);

/* ---------------------------------------------------------------- captures made of frames */

enum { LINK_NULL = 0, LINK_ETHERNET = 1, LINK_RAW = 101, LINK_SLL = 113, LINK_SLL2 = 276 };

struct capture {
    uint8_t *bytes;
    size_t size, room;
    int64_t now_ns;                                    /* the time of the next frame */
    unsigned frames;
};

void capture_start(struct capture *c, uint32_t link_type);
void capture_frame(struct capture *c, const uint8_t *frame, size_t size, size_t wire);
void capture_end(struct capture *c);

/* A packet over IP.  Ends are small numbers: 192.0.2.<end> or 2001:db8::<end>. */
struct made {
    uint8_t version;                                   /* 4 or 6 */
    uint8_t protocol, ttl;
    uint8_t ends[2];                                   /* source, destination */
    uint16_t ports[2];
    uint16_t ip_id, flags, window;
    uint32_t seq, ack;
    const uint8_t *options;
    size_t n_options;                                  /* a multiple of 4, 40 at most */
    const uint8_t *payload;
    size_t n_payload;
};

enum { MADE_ROOM = 65536 };
/* Writes the packet and gives its length; payload that finds no room is left out. */
size_t make_packet(const struct made *m, uint8_t out[MADE_ROOM]);

/* ---------------------------------------------------------------- scans */

/* How to scan: what may differ between two scans without a difference in what comes out, and what may not. */
struct how {
    uint64_t key;                                      /* free */
    uint32_t batch_packets;                            /* free */
    uint64_t cut;                                      /* free; 0: one piece, else where pieces end */
    bool by_descriptor;                                /* free */
    uint64_t max_flows, trace_bytes, candidate_bytes, context_entries, max_frames;
    long fail_after;                                   /* of the allocations; negative: none fails */
};

/* What came out, folded table by table. */
struct outcome {
    uint64_t packets, flows, candidates, tries, learned, dns, notices, summary;
    uint64_t messages;                                 /* the dns table without frames and times */
    struct tscope_summary sum;
    struct tscope_flow first_flow;                     /* flow number 1 */
    uint8_t first_name[256];
    int code;                                          /* of the last call; negative: input could not be read on */
};

void scan(const uint8_t *data, size_t size, const struct how *how, struct outcome *out);
/* The tables of both are the same. */
void same_outcome(const struct outcome *a, const struct outcome *b);
/* Scan as `how` says, and again in other pieces and with another key: the outcome shall be the same. */
void scan_twice(const uint8_t *data, size_t size, const struct how *how, uint64_t cut, struct outcome *out);

#endif
