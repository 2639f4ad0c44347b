/* The flow table: who belongs to which flow, and when a flow is over.
 *
 * Workload: one look-up a packet, a new flow every 4 to 25 packets, up to a million live.  Slots of 8 bytes (tag of the
 * hash, index) are probed linearly and kept at most half full; records lie in blocks that never move.  Slots start
 * small and double: growing costs less than the page faults of a big table that is not needed.
 *
 * A flow becomes final at a frame, by packet time: see flow_timeout.  When the table is full the unmarked flow whose
 * time-out is nearest goes first, marked ones only after all of those. */
#include "memory.h"
#include "scan.h"

static struct wheel_link *link_of(void *owner, uint32_t index)
{
    return &flow_at(owner, index)->link;
}

int flows_init(struct tscope_scan *s)
{
    struct flows *t = &s->flows;
    t->limit = (uint32_t)s->options.max_flows;
    t->free = NONE;
    t->mask = 1023;
    t->slots = mem_new((size_t)t->mask + 1, sizeof *t->slots);
    wheel_init(&t->plain, link_of, t, 0);
    wheel_init(&t->marked, link_of, t, 0);
    return t->slots ? TSCOPE_OK : TSCOPE_E_MEMORY;
}

void flows_end(struct tscope_scan *s)
{
    struct flows *t = &s->flows;
    for (uint32_t i = 0; i < t->used; i++) {
        struct flow *f = flow_at(t, i);
        if (f->alive) {
            stream_end(s, f);
            mem_free(f->name);
        }
    }
    for (uint32_t i = 0; i < t->n_blocks; i++)
        mem_free(t->blocks[i]);
    mem_free(t->blocks);
    mem_free(t->slots);
}

void flow_prefetch_slot(const struct flows *t, uint64_t hash)
{
    __builtin_prefetch(&t->slots[(uint32_t)hash & t->mask]);
}

/* The first slot of the right tag is nearly always the right flow. */
void flow_prefetch(const struct flows *t, uint64_t hash)
{
    struct table_slot slot = t->slots[(uint32_t)hash & t->mask];
    if (slot.index && slot.tag == (uint32_t)hash) {
        const char *f = (const char *)flow_at(t, slot.index - 1);
        __builtin_prefetch(f);
        __builtin_prefetch(f + 64);
        __builtin_prefetch(f + 128);
        __builtin_prefetch(f + 192);
    }
}

static bool is_same(const struct flow_key *a, const struct flow_key *b)
{
    uint64_t x[5], y[5];
    memcpy(x, a, sizeof x);
    memcpy(y, b, sizeof y);
    return !((x[0] ^ y[0]) | (x[1] ^ y[1]) | (x[2] ^ y[2]) | (x[3] ^ y[3]) | (x[4] ^ y[4]));
}

/* The slot that holds this key, or the empty one where it belongs. */
static uint32_t slot_of(const struct flows *t, uint32_t tag, const struct flow_key *key)
{
    uint32_t slot = tag & t->mask;
    for (;; slot = (slot + 1) & t->mask) {
        struct table_slot found = t->slots[slot];
        if (!found.index || (found.tag == tag && is_same(&flow_at(t, found.index - 1)->key, key)))
            return slot;
    }
}

static void clear_slot(struct flows *t, uint32_t slot)
{
    uint32_t hole = slot;
    for (uint32_t next = (slot + 1) & t->mask; t->slots[next].index; next = (next + 1) & t->mask) {
        if (((next - t->slots[next].tag) & t->mask) >= ((next - hole) & t->mask)) {
            t->slots[hole] = t->slots[next];
            hole = next;
        }
    }
    t->slots[hole] = (struct table_slot){0, 0};
}

static bool grow_slots(struct flows *t)
{
    struct table_slot *old = t->slots;
    uint32_t old_mask = t->mask;
    struct table_slot *slots = mem_new(2 * ((size_t)old_mask + 1), sizeof *slots);
    if (!slots)
        return false;
    t->slots = slots;
    t->mask = 2 * old_mask + 1;
    for (uint32_t i = 0; i <= old_mask; i++) {
        if (!old[i].index)
            continue;
        uint32_t slot = old[i].tag & t->mask;
        while (t->slots[slot].index)
            slot = (slot + 1) & t->mask;
        t->slots[slot] = old[i];
    }
    mem_free(old);
    return true;
}

static bool grow_blocks(struct flows *t)
{
    if ((t->n_blocks & (t->n_blocks - 1)) == 0) {
        struct flow **blocks = mem_resize(t->blocks, t->n_blocks ? 2 * (size_t)t->n_blocks : 1, sizeof *blocks);
        if (!blocks)
            return false;
        t->blocks = blocks;
    }
    t->blocks[t->n_blocks] = mem_new(FLOWS_PER_BLOCK, sizeof(struct flow));
    if (!t->blocks[t->n_blocks])
        return false;
    t->n_blocks++;
    return true;
}

static struct flow *free_flow(struct flows *t)
{
    uint32_t index = t->free;
    if (index != NONE) {
        t->free = flow_at(t, index)->link.later;
    } else {
        if (t->used == t->n_blocks * FLOWS_PER_BLOCK && !grow_blocks(t))
            return NULL;
        index = t->used++;
    }
    struct flow *f = flow_at(t, index);
    memset(f, 0, sizeof *f);
    f->index = index;
    return f;
}

static struct wheel *wheel_of(struct flows *t, const struct flow *f)
{
    return f->marks ? &t->marked : &t->plain;
}

/* Out of the table, judged and forgotten. */
static void drop(struct tscope_scan *s, struct flow *f, unsigned final_by)
{
    struct flows *t = &s->flows;
    wheel_remove(wheel_of(t, f), f->index);
    flow_final(s, f, final_by);
    clear_slot(t, slot_of(t, f->tag, &f->key));
    stream_end(s, f);
    mem_free(f->name);
    f->name = NULL;
    trace_release(&s->traces, f);
    f->alive = false;
    f->link.later = t->free;
    t->free = f->index;
    t->live--;
}

/* The flow to give up: its place in the wheel may be old, so the ones that were active since are filed again. */
static struct flow *victim(struct flows *t)
{
    struct wheel *w = t->plain.count ? &t->plain : &t->marked;
    for (;;) {                                         /* advances: a filed flow moves to a later bucket */
        struct flow *f = flow_at(t, wheel_earliest(w));
        int64_t tick = f->deadline >> 30;
        if (tick <= w->tick || (uint64_t)tick % WHEEL_BUCKETS == f->link.bucket || tick > w->tick + WHEEL_BUCKETS - 2)
            return f;
        wheel_remove(w, f->index);
        wheel_add(w, f->index, f->deadline);
    }
}

static void evict(struct tscope_scan *s)
{
    s->flows.evicted++;
    drop(s, victim(&s->flows), TSCOPE_FINAL_EVICTED);
}

static struct flow *start_flow(struct tscope_scan *s, const struct packet *p)
{
    struct flows *t = &s->flows;
    if (t->live >= t->limit)
        evict(s);
    if (t->live >= t->mask / 2 && !grow_slots(t))
        return NULL;
    struct flow *f = free_flow(t);
    if (!f)
        return NULL;
    f->key = p->key;
    f->tag = (uint32_t)p->hash;
    f->number = ++t->started;
    f->first_frame = p->frame;
    f->first_ns = p->time_ns;
    f->interface = p->interface;
    f->vlan = p->vlan;
    f->tunnel = p->tunnel;
    f->ip_version = p->ip_version;
    f->syn_ns = f->syn_ack_ns = f->rtt_server_ns = f->rtt_client_ns = f->answer_ns = TSCOPE_NO_NS;
    f->trace_first = f->trace_last = NONE;
    f->client = p->from;
    f->client_by = TSCOPE_BY_FIRST_SENDER;
    f->alive = true;
    t->slots[slot_of(t, (uint32_t)p->hash, &p->key)] = (struct table_slot){f->tag, f->index + 1};
    f->deadline = s->clock.now + flow_timeout(f);
    wheel_add(&t->plain, f->index, f->deadline);
    if (++t->live > t->peak)
        t->peak = t->live;
    return f;
}

struct flow *flow_quoted(const struct tscope_scan *s, const struct packet *p)
{
    const struct flows *t = &s->flows;
    struct table_slot slot = t->slots[slot_of(t, (uint32_t)p->hash, &p->key)];
    struct flow *f = slot.index ? flow_at(t, slot.index - 1) : NULL;
    return f && s->clock.now <= f->deadline ? f : NULL;
}

/* Its time-out has passed; but a flow that began while a jump of the clock was still doubted counts from its own times. */
static bool is_over(const struct tscope_scan *s, struct flow *f)
{
    int64_t last = f->side[0].last_ns > f->side[1].last_ns ? f->side[0].last_ns : f->side[1].last_ns;
    if (!f->closed && last <= s->clock.now && s->clock.now - last < flow_timeout(f))
        f->deadline = last + flow_timeout(f);
    return s->clock.now > f->deadline;
}

struct flow *flow_of(struct tscope_scan *s, const struct packet *p)
{
    struct flows *t = &s->flows;
    struct table_slot slot = t->slots[slot_of(t, (uint32_t)p->hash, &p->key)];
    if (!slot.index)
        return start_flow(s, p);
    struct flow *f = flow_at(t, slot.index - 1);
    if (s->clock.now > f->deadline && is_over(s, f))
        drop(s, f, f->closed ? TSCOPE_FINAL_CLOSED : TSCOPE_FINAL_IDLE);
    else if (flow_starts_anew(f, p))
        drop(s, f, TSCOPE_FINAL_REUSED);
    else
        return f;
    return start_flow(s, p);
}

void flow_mark(struct tscope_scan *s, struct flow *f, uint32_t marks)
{
    if (!f->marks && marks) {
        wheel_remove(&s->flows.plain, f->index);
        f->marks = marks;
        wheel_add(&s->flows.marked, f->index, f->deadline);
    }
    f->marks |= marks;
}

static void expire(struct tscope_scan *s, struct wheel *w)
{
    uint32_t index;
    while ((index = wheel_due(w, s->clock.now)) != NONE) {
        struct flow *f = flow_at(&s->flows, index);
        if (f->deadline > s->clock.now + 300 * SECOND)  /* from before the clock was set back */
            f->deadline = s->clock.now + flow_timeout(f);
        bool over = f->deadline < s->clock.now && is_over(s, f);
        wheel_add(w, index, f->deadline);
        if (over)
            drop(s, f, f->closed ? TSCOPE_FINAL_CLOSED : TSCOPE_FINAL_IDLE);
    }
}

void flows_expire(struct tscope_scan *s)
{
    struct flows *t = &s->flows;
    if (wheel_is_due(&t->plain, s->clock.now))
        expire(s, &t->plain);
    if (wheel_is_due(&t->marked, s->clock.now))
        expire(s, &t->marked);
}

void flows_clock_set_back(struct tscope_scan *s)
{
    wheel_rewind(&s->flows.plain, s->clock.now);
    wheel_rewind(&s->flows.marked, s->clock.now);
}

/* The end of the capture: in the order of their first frames. */
void flows_finish(struct tscope_scan *s)
{
    struct flows *t = &s->flows;
    uint32_t n = 0, *left = mem_new(t->live, sizeof *left);
    if (!left) {
        out_of_memory(s);
        return;
    }
    for (uint32_t i = 0; i < t->used; i++)
        if (flow_at(t, i)->alive)
            left[n++] = i;
    /* Shell sort: records are nearly in order already, and nothing recurses. */
    for (uint32_t gap = n / 2; gap > 0; gap /= 2)
        for (uint32_t i = gap; i < n; i++) {
            uint32_t value = left[i], j = i;
            for (; j >= gap && flow_at(t, left[j - gap])->number > flow_at(t, value)->number; j -= gap)
                left[j] = left[j - gap];
            left[j] = value;
        }
    for (uint32_t i = 0; i < n; i++)
        drop(s, flow_at(t, left[i]), TSCOPE_FINAL_END);
    mem_free(left);
}
