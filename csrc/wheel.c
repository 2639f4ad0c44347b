#include "wheel.h"

void wheel_init(struct wheel *w, wheel_links link, void *owner, int64_t now_ns)
{
    w->link = link;
    w->owner = owner;
    w->tick = (now_ns >> 30) - 1;
    w->count = 0;
    for (unsigned i = 0; i < WHEEL_BUCKETS; i++)
        w->first[i] = w->last[i] = WHEEL_NONE;
}

void wheel_add(struct wheel *w, uint32_t item, int64_t deadline_ns)
{
    int64_t tick = deadline_ns >> 30;
    if (tick <= w->tick)
        tick = w->tick + 1;
    if (tick > w->tick + WHEEL_BUCKETS - 2)
        tick = w->tick + WHEEL_BUCKETS - 2;
    uint32_t bucket = (uint32_t)((uint64_t)tick % WHEEL_BUCKETS);
    struct wheel_link *l = w->link(w->owner, item);
    l->bucket = (uint16_t)bucket;
    l->filed = true;
    l->earlier = w->last[bucket];
    l->later = WHEEL_NONE;
    if (l->earlier == WHEEL_NONE)
        w->first[bucket] = item;
    else
        w->link(w->owner, l->earlier)->later = item;
    w->last[bucket] = item;
    w->count++;
}

void wheel_remove(struct wheel *w, uint32_t item)
{
    struct wheel_link *l = w->link(w->owner, item);
    if (l->earlier == WHEEL_NONE)
        w->first[l->bucket] = l->later;
    else
        w->link(w->owner, l->earlier)->later = l->later;
    if (l->later == WHEEL_NONE)
        w->last[l->bucket] = l->earlier;
    else
        w->link(w->owner, l->later)->earlier = l->earlier;
    l->filed = false;
    w->count--;
}

void wheel_replace(struct wheel *w, uint32_t item, uint32_t by)
{
    struct wheel_link *old = w->link(w->owner, item), *l = w->link(w->owner, by);
    *l = *old;
    old->filed = false;
    if (l->earlier == WHEEL_NONE)
        w->first[l->bucket] = by;
    else
        w->link(w->owner, l->earlier)->later = by;
    if (l->later == WHEEL_NONE)
        w->last[l->bucket] = by;
    else
        w->link(w->owner, l->later)->earlier = by;
}

uint32_t wheel_next(const struct wheel *w)
{
    return w->first[(uint64_t)(w->tick + 1) % WHEEL_BUCKETS];
}

uint32_t wheel_due(struct wheel *w, int64_t now_ns)
{
    int64_t now = now_ns >> 30, behind = now - 1 - w->tick;
    if (behind > 2 * WHEEL_BUCKETS)                    /* the clock jumped: one turn meets every item, in the same order */
        w->tick += (behind / WHEEL_BUCKETS - 1) * WHEEL_BUCKETS;
    while (w->tick + 1 < now) {                        /* a bucket is due when its second is over */
        uint32_t item = w->first[(uint64_t)(w->tick + 1) % WHEEL_BUCKETS];
        if (item != WHEEL_NONE) {
            wheel_remove(w, item);
            return item;
        }
        w->tick = w->count ? w->tick + 1 : now - 1;
    }
    return WHEEL_NONE;
}

void wheel_rewind(struct wheel *w, int64_t now_ns)
{
    int64_t tick = (now_ns >> 30) - 1;
    if (tick < w->tick)
        w->tick = tick;
}

uint32_t wheel_earliest(const struct wheel *w)
{
    for (int64_t i = 1; i <= WHEEL_BUCKETS; i++) {
        uint32_t item = w->first[(uint64_t)(w->tick + i) % WHEEL_BUCKETS];
        if (item != WHEEL_NONE)
            return item;
    }
    return WHEEL_NONE;
}
