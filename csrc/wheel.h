/* A timing wheel: items wait for their deadline in buckets of about a second (2^30 ns).
 *
 * Workload: every packet moves its flow's deadline.  An item is not moved then: it stays in its old bucket, and is
 * filed again when that comes up.  So a packet costs nothing here, and each item is looked at once per time-out.
 * Within a bucket items keep the order in which they were filed, which follows from the packets alone. */
#ifndef TSCOPE_WHEEL_H
#define TSCOPE_WHEEL_H

#include <stdbool.h>
#include <stdint.h>

#define WHEEL_NONE UINT32_MAX

enum { WHEEL_BUCKETS = 512 };     /* longer than the longest time-out, 300 s */

struct wheel_link {
    uint32_t earlier, later;      /* neighbours in the bucket */
    uint16_t bucket;
    bool filed;                   /* waits in a wheel */
};

/* Gives the link of an item; `owner` is whoever holds the items. */
typedef struct wheel_link *(*wheel_links)(void *owner, uint32_t item);

struct wheel {
    uint32_t first[WHEEL_BUCKETS], last[WHEEL_BUCKETS];
    int64_t tick;                 /* buckets up to this one are done */
    uint32_t count;
    wheel_links link;
    void *owner;
};

void wheel_init(struct wheel *w, wheel_links link, void *owner, int64_t now_ns);
void wheel_add(struct wheel *w, uint32_t item, int64_t deadline_ns);
void wheel_remove(struct wheel *w, uint32_t item);
/* Another item takes the place of one that waits. */
void wheel_replace(struct wheel *w, uint32_t item, uint32_t by);
/* The clock is at now_ns.  Gives the items of buckets that have come up, one a call and removed from the wheel, until
 * WHEEL_NONE; the caller looks at the real deadline, and adds the item again where it is later. */
uint32_t wheel_due(struct wheel *w, int64_t now_ns);
/* The item that wheel_due will give next if it stays in the same bucket, or WHEEL_NONE: to be fetched ahead. */
uint32_t wheel_next(const struct wheel *w);
/* The clock was set back: items wait where they are, and come up within one turn. */
void wheel_rewind(struct wheel *w, int64_t now_ns);
/* The item that waits in the earliest bucket, or WHEEL_NONE. */
uint32_t wheel_earliest(const struct wheel *w);

static inline bool wheel_is_due(const struct wheel *w, int64_t now_ns)
{
    return w->tick + 1 < (now_ns >> 30);
}

#endif
