/* DNS over TCP (RFC 1035 section 4.2.2; RFC 7766): each message has its length before it, several may follow one another
 * on one connection, and each may lie in any number of segments.
 *
 * Nearly every message comes whole in one segment and is read where it lies.  Only where it does not, a buffer is made,
 * of at most MAX_HELLO bytes: longer messages, which are zone transfers, are stepped over.  Streams stand in a table of
 * their own, so that other flows pay nothing; the least recently used one gives way. */
#include "memory.h"
#include "scan.h"

enum { MAX_STREAMS = 1024, LEAST = 12 };

struct dns_stream {
    struct {
        uint64_t flow, end;
    } key;
    uint32_t base;                /* sequence number of the next message's length */
    bool lost;                    /* where messages begin is not known any more */
    bool sure;                    /* it was: the flow's SYN, or a message before */
    struct stream *held;          /* from `base` on, while a message is incomplete */
};

int dns_streams_init(struct tscope_scan *s)
{
    return table_init(&s->dns_streams, sizeof(struct dns_stream), 2, MAX_STREAMS, &s->key);
}

void dns_streams_end(struct tscope_scan *s)
{
    struct table *t = &s->dns_streams;
    if (!t->slots)
        return;
    for (uint32_t i = table_oldest(t); store_must_give && i != TABLE_NONE; i = table_newer(t, i))
        stream_free(s, ((struct dns_stream *)table_at(t, i))->held);
    table_end(t);
}

static void let_go(struct tscope_scan *s, struct dns_stream *d)
{
    stream_free(s, d->held);
    d->held = NULL;
}

static struct dns_stream *find(struct tscope_scan *s, const struct flow *f, const struct packet *p)
{
    struct table *t = &s->dns_streams;
    uint64_t key[2] = {f->number, p->from};
    bool made;
    if (t->count == t->limit && table_find(t, key) == TABLE_NONE) {
        uint32_t oldest = table_oldest(t);
        let_go(s, table_at(t, oldest));
        table_remove(t, oldest);
    }
    uint32_t index = table_put(t, key, &made);
    struct dns_stream *d = index == TABLE_NONE ? NULL : table_at(t, index);
    if (d && made) {
        d->sure = (f->side[p->from].flags & TSCOPE_SYN) != 0;
        d->base = d->sure ? f->rare[p->from].isn + 1 : p->seq;
    }
    return d;
}

/* Whether this may be a message at all: in the middle of an unseen stream any bytes may stand. */
static bool is_plausible(const struct dns_stream *d, const uint8_t *at, uint32_t size, uint32_t there)
{
    if (size < LEAST)
        return false;
    return d->sure || (2 + size <= there && (at[4] & 0x78) == 0 && load_be16(at + 6) == 1);
}

/* Tells the whole messages in `length` bytes from d->base on; returns how many bytes those were. */
static uint32_t take_messages(struct tscope_scan *s, struct flow *f, const struct packet *p, struct dns_stream *d,
                              const uint8_t *data, uint32_t length)
{
    uint32_t used = 0;
    while (length - used >= 2 && !d->lost) {           /* advances >= 14 */
        const uint8_t *at = data + used;
        uint32_t size = load_be16(at);
        if (length - used >= 2 + LEAST || size < LEAST)
            d->lost = !is_plausible(d, at, size, length - used);
        if (d->lost || 2 + size > length - used)
            break;
        transactions_message(s, f, p, at + 2, size, size);
        d->sure = true;
        used += 2 + size;
    }
    d->base += used;
    return used;
}

static bool is_too_long(const uint8_t *at)
{
    return 2 + (uint32_t)load_be16(at) > MAX_HELLO;
}

/* Bytes that stand `at` bytes after d->base, of a message that is not whole yet: as many of them as there is room for. */
static uint32_t hold(struct tscope_scan *s, struct flow *f, struct dns_stream *d, uint32_t at, const uint8_t *data,
                     uint32_t length)
{
    if (!d->held)
        d->held = stream_new(s);
    if (d->held && at == stream_there(d->held))
        length = length < MAX_HELLO - at ? length : MAX_HELLO - at;
    if (!d->held || !stream_insert(s, f, d->held, at, data, length)) {
        let_go(s, d);
        d->lost = true;
    }
    return length;
}

/* What was told goes from the front of the buffer. */
static void move_up(struct tscope_scan *s, struct dns_stream *d, uint32_t used)
{
    struct stream *st = d->held;
    uint32_t end = st->parts[st->n_parts - 1].to;
    if (used == end) {
        let_go(s, d);
        return;
    }
    memmove(st->data, st->data + used, end - used);
    if (st->parts[0].to == used)
        memmove(&st->parts[0], &st->parts[1], --st->n_parts * sizeof st->parts[0]);
    for (uint32_t i = 0; i < st->n_parts; i++) {
        st->parts[i].from -= st->parts[i].from < used ? st->parts[i].from : used;
        st->parts[i].to -= used;
    }
}

static void take_held(struct tscope_scan *s, struct flow *f, const struct packet *p, struct dns_stream *d)
{
    struct stream *st = d->held;
    uint32_t there = stream_there(st), used = take_messages(s, f, p, d, st->data, there);
    if (!d->lost && there - used >= 2 && is_too_long(st->data + used)) {
        d->base += 2 + (uint32_t)load_be16(st->data + used);
        let_go(s, d);
    } else if (d->lost) {
        let_go(s, d);
    } else if (used) {
        move_up(s, d, used);
    }
}

/* The rest of a segment that the snap length cut: one message at most can be told of it. */
static void take_cut(struct tscope_scan *s, struct flow *f, const struct packet *p, struct dns_stream *d,
                     const uint8_t *data, uint32_t have, uint32_t length)
{
    bool one = !d->held && have >= 2 + LEAST && 2 + (uint32_t)load_be16(data) == length;
    d->lost = !one;
    let_go(s, d);
    if (!one)
        return;
    transactions_message(s, f, p, data + 2, have - 2, length - 2);
    d->base += length;
}

void dns_stream_take(struct tscope_scan *s, struct flow *f, const struct packet *p)
{
    struct dns_stream *d = find(s, f, p);
    uint32_t have = p->payload_have, length = p->payload_length, at = 0;
    while (d && !d->lost && at < have) {               /* advances >= 1 */
        int32_t ahead = serial_minus(p->seq + at, d->base);
        if (ahead < 0) {                               /* seen before, or stepped over */
            uint32_t old = (uint32_t)-ahead;
            at = old < have - at ? at + old : have;
            continue;
        }
        uint32_t used = ahead || d->held ? 0 : take_messages(s, f, p, d, p->payload + at, have - at);
        at += used;
        if (used || d->lost)
            continue;
        if (have < length) {
            take_cut(s, f, p, d, p->payload + at, have - at, length - at);
            return;
        }
        at += hold(s, f, d, (uint32_t)ahead, p->payload + at, have - at);
        if (d->held)
            take_held(s, f, p, d);
    }
}
