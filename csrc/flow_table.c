/* The flow table: who belongs to which flow, and when a flow is over.
 *
 * Workload: one look-up a packet, a new flow every 4 to 25 packets, up to a million live.  Slots of 8 bytes (tag of the
 * hash, item) are probed linearly and kept at most half full; records lie in two pools, for flows and for those of one
 * packet.  Slots start small and double: growing costs less than the page faults of a big table that is not needed.
 *
 * A flow becomes final at a frame, by packet time: see flow_timeout.  When the table is full the unmarked flow whose
 * time-out is nearest goes first, marked ones only after all of those. */
#include "memory.h"
#include "scan.h"

static struct lone *lone_at(const struct flows *t, uint32_t item)
{
    return pool_at(&t->lone, item & ~LONE, sizeof(struct lone));
}

static struct flow_head *head_at(const struct flows *t, uint32_t item)
{
    return item & LONE ? &lone_at(t, item)->head : &flow_at(t, item)->head;
}

static struct wheel_link *link_of(void *owner, uint32_t item)
{
    return &head_at(owner, item)->link;
}

int flows_init(struct tscope_scan *s)
{
    struct flows *t = &s->flows;
    t->limit = (uint32_t)s->options.max_flows;
    t->mask = 1023;
    t->slots = mem_table((size_t)t->mask + 1, sizeof *t->slots);
    pool_init(&t->all, sizeof(struct flow), &s->arena);
    pool_init(&t->lone, sizeof(struct lone), &s->arena);
    wheel_init(&t->plain, link_of, t, 0);
    wheel_init(&t->marked, link_of, t, 0);
    return t->slots ? TSCOPE_OK : TSCOPE_E_MEMORY;
}

static void give_back(struct tscope_scan *s, struct flow *f)
{
    answer_end(s, f);
    store_give(&s->store, f->name, f->name_length);
}

void flows_end(struct tscope_scan *s)
{
    struct flows *t = &s->flows;
    for (uint32_t i = 0; store_must_give && i < t->all.used; i++)
        if (flow_at(t, i)->head.link.filed)
            give_back(s, flow_at(t, i));
    pool_end(&t->all);
    pool_end(&t->lone);
    mem_free_table(t->slots, (size_t)t->mask + 1, sizeof *t->slots);
    t->slots = NULL;
    t->live = 0;
}

void flow_prefetch_slot(const struct flows *t, uint64_t hash)
{
    __builtin_prefetch(&t->slots[(uint32_t)hash & t->mask]);
}

/* The first slot of the right tag is nearly always the right flow.  An ordinary packet touches three lines of it besides
 * the head. */
void flow_prefetch(const struct flows *t, struct packet *p)
{
    struct table_slot slot = t->slots[(uint32_t)p->hash & t->mask];
    if (!slot.index || slot.tag != (uint32_t)p->hash)
        return;
    p->likely_item = slot.index - 1;
    p->likely = head_at(t, p->likely_item);
    const char *at = (const char *)p->likely;
    __builtin_prefetch(at);
    __builtin_prefetch(at + 64);
    if (p->likely_item & LONE)
        return;
    __builtin_prefetch(at + 128);
    __builtin_prefetch(at + 192);
}

static inline bool is_same(const struct flow_key *a, const struct flow_key *b)
{
    const uint8_t *x = (const uint8_t *)a, *y = (const uint8_t *)b;
    uint64_t unlike = 0;
    for (size_t at = 0; at < sizeof *a; at += 8)
        unlike |= hash_word(x + at) ^ hash_word(y + at);
    return !unlike;
}

/* The slot that holds this key, or the empty one where it belongs. */
static uint32_t slot_of(const struct flows *t, uint32_t tag, const struct flow_key *key)
{
    uint32_t slot = tag & t->mask;
    for (;; slot = (slot + 1) & t->mask) {
        struct table_slot found = t->slots[slot];
        if (!found.index || (found.tag == tag && is_same(&head_at(t, found.index - 1)->key, key)))
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
    struct table_slot *slots = mem_table(2 * ((size_t)old_mask + 1), sizeof *slots);
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
    mem_free_table(old, (size_t)old_mask + 1, sizeof *old);
    return true;
}

/* ---------------------------------------------------------------- beginning */

static struct wheel *wheel_of(struct flows *t, const struct flow *f)
{
    return f->marks ? &t->marked : &t->plain;
}

/* A flow's first packet makes it; f is zeroed. */
static void begin(struct flow *f, const struct packet *p, uint32_t index, uint64_t number)
{
    f->head.key = p->key;
    f->head.tag = (uint32_t)p->hash;
    f->index = index;
    f->number = number;
    f->first_frame = p->frame;
    f->first_ns = p->time_ns;
    f->interface = (uint16_t)p->interface;
    f->vlan = p->vlan;
    f->tunnel = p->tunnel;
    f->is_ip6 = p->ip_version == 6;
    f->syn_ns = f->syn_ack_ns = f->rtt_server_ns = f->rtt_client_ns = f->answer_ns = TSCOPE_NO_NS;
    f->trace_first = f->trace_last = NONE;
    f->client = p->from;
    f->client_by = TSCOPE_BY_FIRST_SENDER;
}

static void tell(struct tscope_scan *s, struct flow *f, const struct packet *p)
{
    if (p->protocol == 6)
        flow_tcp(s, f, p);
    else
        flow_udp(s, f, p);
}

/* What a lone flow would be, had its packet been told when it came. */
static void unfold(struct tscope_scan *s, const struct lone *l, struct flow *f, uint32_t index)
{
    struct packet p;
    lone_packet(l, &p);
    begin(f, &p, index, l->number);
    tell(s, f, &p);
    f->head.deadline = l->head.deadline;
}

static struct flow *make_whole(struct tscope_scan *s, uint32_t item)
{
    struct flows *t = &s->flows;
    uint32_t index;
    struct lone *l = lone_at(t, item);
    struct flow *f = pool_take(&t->all, &index);
    if (!f)
        return NULL;
    unfold(s, l, f, index);
    wheel_replace(&t->plain, item, index);
    t->slots[slot_of(t, l->head.tag, &l->head.key)].index = index + 1;
    pool_give(&t->lone, item & ~LONE);
    return f;
}

/* The flow of an item; it is lone no more. */
static inline struct flow *whole(struct tscope_scan *s, uint32_t item)
{
    return item & LONE ? make_whole(s, item) : flow_at(&s->flows, item);
}

/* ---------------------------------------------------------------- end */

static void judge_lone(struct tscope_scan *s, const struct lone *l, unsigned final_by)
{
    struct flow f;
    memset(&f, 0, sizeof f);
    unfold(s, l, &f, NONE);
    flow_final(s, &f, final_by);
    store_give(&s->store, f.name, f.name_length);      /* of a DNS answer */
    trace_release(&s->traces, &f);
}

static void judge(struct tscope_scan *s, uint32_t item, unsigned final_by)
{
    if (item & LONE)
        judge_lone(s, lone_at(&s->flows, item), final_by);
    else
        flow_final(s, flow_at(&s->flows, item), final_by);
}

static void free_flow(struct tscope_scan *s, struct flow *f)
{
    give_back(s, f);
    trace_release(&s->traces, f);
    pool_give(&s->flows.all, f->index);
}

/* Out of the table, judged and forgotten; no wheel holds it any more. */
static void drop(struct tscope_scan *s, uint32_t item, unsigned final_by)
{
    struct flows *t = &s->flows;
    const struct flow_head *head = head_at(t, item);
    judge(s, item, final_by);
    clear_slot(t, slot_of(t, head->tag, &head->key));
    if (item & LONE)
        pool_give(&t->lone, item & ~LONE);
    else
        free_flow(s, flow_at(t, item));
    t->live--;
}

static bool is_closed(const struct flows *t, uint32_t item)
{
    return !(item & LONE) && flow_at(t, item)->closed;
}

static unsigned final_by(const struct flows *t, uint32_t item)
{
    return is_closed(t, item) ? TSCOPE_FINAL_CLOSED : TSCOPE_FINAL_IDLE;
}

static int64_t patience_of(const struct flows *t, uint32_t item)
{
    return item & LONE ? FLOW_PATIENCE : flow_timeout(flow_at(t, item));
}

static int64_t last_ns(const struct flows *t, uint32_t item)
{
    if (item & LONE)
        return lone_at(t, item)->time_ns;
    const struct side *side = flow_at(t, item)->side;
    return side[0].last_ns > side[1].last_ns ? side[0].last_ns : side[1].last_ns;
}

/* Its time-out has passed; but a flow that began while a jump of the clock was still doubted counts from its own times. */
static bool is_over(const struct tscope_scan *s, uint32_t item)
{
    const struct flows *t = &s->flows;
    struct flow_head *head = head_at(t, item);
    if (s->clock.now <= head->deadline)
        return false;
    int64_t last = last_ns(t, item), patience = patience_of(t, item);
    if (!is_closed(t, item) && last <= s->clock.now && s->clock.now - last < patience)
        head->deadline = last + patience;
    return s->clock.now > head->deadline;
}

/* Takes an item out of the wheel where it waits. */
static void unfile(struct flows *t, uint32_t item)
{
    wheel_remove(item & LONE ? &t->plain : wheel_of(t, flow_at(t, item)), item);
}

/* The item to give up: its place in the wheel may be old, so the ones that were active since are filed again. */
static uint32_t victim(struct flows *t)
{
    struct wheel *w = t->plain.count ? &t->plain : &t->marked;
    for (;;) {                                         /* advances: a filed flow moves to a later bucket */
        uint32_t item = wheel_earliest(w);
        const struct flow_head *head = head_at(t, item);
        int64_t tick = head->deadline >> 30;
        if (tick <= w->tick || (uint64_t)tick % WHEEL_BUCKETS == head->link.bucket || tick > w->tick + WHEEL_BUCKETS - 2)
            return item;
        wheel_remove(w, item);
        wheel_add(w, item, head->deadline);
    }
}

static void evict(struct tscope_scan *s)
{
    uint32_t item = victim(&s->flows);
    s->flows.evicted++;
    unfile(&s->flows, item);
    drop(s, item, TSCOPE_FINAL_EVICTED);
}

/* ---------------------------------------------------------------- packets */

/* Enters a new item: its place is the empty slot where its key belongs. */
static void enter(struct tscope_scan *s, uint32_t item, const struct packet *p)
{
    struct flows *t = &s->flows;
    struct flow_head *head = head_at(t, item);
    head->key = p->key;
    head->tag = (uint32_t)p->hash;
    head->deadline = s->clock.now + FLOW_PATIENCE;
    t->slots[slot_of(t, head->tag, &p->key)] = (struct table_slot){head->tag, item + 1};
    wheel_add(&t->plain, item, head->deadline);
    t->started++;
    if (++t->live > t->peak)
        t->peak = t->live;
}

static bool start_lone(struct tscope_scan *s, const struct packet *p)
{
    uint32_t index;
    struct lone *l = pool_take(&s->flows.lone, &index);
    if (!l)
        return false;
    enter(s, index | LONE, p);
    l->number = s->flows.started;
    lone_keep(l, p);
    return true;
}

static bool start_whole(struct tscope_scan *s, const struct packet *p)
{
    uint32_t index;
    struct flow *f = pool_take(&s->flows.all, &index);
    if (!f)
        return false;
    enter(s, index, p);
    begin(f, p, index, s->flows.started);
    tell(s, f, p);
    return true;
}

static uint64_t start_flow(struct tscope_scan *s, const struct packet *p)
{
    struct flows *t = &s->flows;
    if (t->live >= t->limit)
        evict(s);
    if (t->live >= t->mask / 2 && !grow_slots(t))
        return 0;
    bool started = lone_suits(p) ? start_lone(s, p) : start_whole(s, p);
    return started ? t->started : 0;
}

/* The item of a packet's flow, or NONE.  The guess holds unless packets of the same group moved things: a record that
 * waits in a wheel and has this key is the flow. */
static inline uint32_t item_of(const struct flows *t, const struct packet *p)
{
    if (p->likely && p->likely->link.filed && is_same(&p->likely->key, &p->key))
        return p->likely_item;
    return t->slots[slot_of(t, (uint32_t)p->hash, &p->key)].index - 1;   /* 0 - 1 is NONE */
}

struct flow *flow_quoted(struct tscope_scan *s, const struct packet *p)
{
    struct flows *t = &s->flows;
    uint32_t item = item_of(t, p);
    return item == NONE || s->clock.now > head_at(t, item)->deadline ? NULL : whole(s, item);
}

uint64_t flow_take(struct tscope_scan *s, const struct packet *p)
{
    struct flows *t = &s->flows;
    uint32_t item = item_of(t, p);
    unsigned over;
    if (item == NONE)
        return start_flow(s, p);
    if (is_over(s, item)) {
        over = final_by(t, item);
    } else {
        struct flow *f = whole(s, item);
        if (!f)
            return 0;
        if (!flow_starts_anew(f, p)) {
            tell(s, f, p);
            return f->number;
        }
        item = f->index;
        over = TSCOPE_FINAL_REUSED;
    }
    unfile(t, item);
    drop(s, item, over);
    return start_flow(s, p);
}

/* ---------------------------------------------------------------- time */

void flow_mark(struct tscope_scan *s, struct flow *f, uint32_t marks)
{
    if (!f->marks && marks) {
        wheel_remove(&s->flows.plain, f->index);
        f->marks = marks;
        wheel_add(&s->flows.marked, f->index, f->head.deadline);
    }
    f->marks |= marks;
}

/* The next flow to expire is on its way into the cache while this one is judged; its slot follows when it is there. */
static void fetch_next(const struct flows *t, const struct wheel *w)
{
    uint32_t next = wheel_next(w);
    if (next == NONE)
        return;
    const struct flow_head *head = head_at(t, next);
    flow_prefetch_slot(t, head->tag);
    if (head->link.later == NONE)
        return;
    const char *after = (const char *)head_at(t, head->link.later);
    for (unsigned line = 0; line < (head->link.later & LONE ? 2 : 6); line++)
        __builtin_prefetch(after + (size_t)64 * line);
}

static void expire(struct tscope_scan *s, struct wheel *w)
{
    struct flows *t = &s->flows;
    uint32_t item;
    while ((item = wheel_due(w, s->clock.now)) != NONE) {
        struct flow_head *head = head_at(t, item);
        fetch_next(t, w);
        if (head->deadline > s->clock.now + 300 * SECOND)   /* from before the clock was set back */
            head->deadline = s->clock.now + patience_of(t, item);
        if (is_over(s, item))
            drop(s, item, final_by(t, item));
        else
            wheel_add(w, item, head->deadline);
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

/* The end of the capture: flows are judged in the order of their first frames, and then forgotten all at once.  Records
 * come in that order from each pool, but for those that were used again. */
struct place {
    uint64_t number;
    uint32_t item;
};

static uint32_t collect(const struct flows *t, struct place *out)
{
    uint32_t n = 0;
    for (uint32_t i = 0; i < t->lone.used; i++)
        if (lone_at(t, i)->head.link.filed)
            out[n++] = (struct place){lone_at(t, i)->number, i | LONE};
    for (uint32_t i = 0; i < t->all.used; i++)
        if (flow_at(t, i)->head.link.filed)
            out[n++] = (struct place){flow_at(t, i)->number, i};
    return n;
}

/* Where the run that begins at `from`, in ascending order, is over. */
static uint32_t end_of_run(const struct place *p, uint32_t from, uint32_t n)
{
    uint32_t end = from < n ? from + 1 : n;
    while (end < n && p[end - 1].number < p[end].number)
        end++;
    return end;
}

/* Merges neighbouring runs, one pass over all; how many runs it made. */
static uint32_t merge_runs(const struct place *from, struct place *to, uint32_t n)
{
    uint32_t runs = 0;
    for (uint32_t a = 0; a < n; runs++) {              /* advances >= 1 */
        uint32_t middle = end_of_run(from, a, n), b = middle, end = end_of_run(from, middle, n);
        while (a < middle || b < end)
            *to++ = a < middle && (b == end || from[a].number < from[b].number) ? from[a++] : from[b++];
        a = end;
    }
    return runs;
}

void flows_finish(struct tscope_scan *s)
{
    struct flows *t = &s->flows;
    uint32_t n = t->live;
    struct place *left = mem_resize(NULL, n, sizeof *left), *merged = mem_resize(NULL, n, sizeof *merged);
    if (left && merged) {
        collect(t, left);
        while (n && merge_runs(left, merged, n) > 1) {
            struct place *swap = left;
            left = merged;
            merged = swap;
        }
        for (uint32_t i = 0; i < n; i++) {
            uint32_t item = merged[i].item;
            bool over = s->clock.now > head_at(t, item)->deadline;     /* before the end; its timer had not looked yet */
            judge(s, item, over ? final_by(t, item) : TSCOPE_FINAL_END);
        }
    } else {
        out_of_memory(s);
    }
    mem_free(left);
    mem_free(merged);
    flows_end(s);
}
