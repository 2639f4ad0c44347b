/* IPv4 and IPv6 fragments put together (RFC 791, RFC 8200 section 4.5).
 *
 * Workload: none in most captures, DNSSEC answers and tunnels in others, a flood in an attack.  Datagrams being collected
 * stand in a bounded table, with one byte to each unit of eight that says whether it has come; all of them together hold
 * no more than MAX_BYTES, else the one that was touched longest ago goes.  Time is packet time.
 *
 * What a receiver may do differently is said in the row: other bytes for a place that was filled is a conflict.  IPv4
 * keeps the first ones (BSD's and Linux' receivers differ; so do evaders' guesses), IPv6 gives the whole datagram up
 * (RFC 5722).  Exact copies are ignored in both.  A datagram with a hole is never complete. */
#include "memory.h"
#include "scan.h"

enum {
    MAX_DATAGRAMS = 4096,
    MAX_BYTES = 16 << 20,
    MAX_DATAGRAM = 65535,
    SMALLEST = 2048,              /* first allocation: a fragmented answer has some 3000 bytes */
    UNIT = 8
};
static const int64_t PATIENCE = 30 * SECOND;           /* Linux' value; RFC 791 has 15 s, RFC 8200 60 s */

struct datagram {
    struct fragment_key {
        uint8_t address[2][16];
        uint32_t id, interface;
        uint16_t vlan;
        uint8_t protocol;         /* IPv6: 0, the first fragment names it */
        uint8_t outer_ip;
        uint8_t ip_version;
        uint8_t zero[3];
    } key;
    int64_t since_ns;             /* of the fragment that came first */
    uint8_t *data;                /* `room` bytes, then a byte a unit: has come */
    uint32_t room;
    uint32_t total;               /* known from the last fragment; 0: not yet */
    uint32_t have;                /* bytes that have come */
    uint32_t end;                 /* of the furthest fragment */
    uint32_t anomalies;
    uint8_t next;                 /* IPv6: next header of the first fragment */
    bool dead;
};
_Static_assert(sizeof(struct fragment_key) == 48, "hashed as six words");

int fragments_init(struct tscope_scan *s)
{
    return table_init(&s->fragments.datagrams, sizeof(struct datagram), sizeof(struct fragment_key) / 8, MAX_DATAGRAMS,
                      &s->key);
}

static size_t bytes_of(uint32_t room)
{
    return (size_t)room + room / UNIT;
}

static void let_go(struct fragments *f, struct datagram *d)
{
    if (d->data)
        f->bytes -= bytes_of(d->room);
    mem_free(d->data);
    d->data = NULL;
    d->room = 0;
}

void fragments_end(struct tscope_scan *s)
{
    struct fragments *f = &s->fragments;
    for (uint32_t i = f->datagrams.count ? table_oldest(&f->datagrams) : TABLE_NONE; i != TABLE_NONE;
         i = table_newer(&f->datagrams, i))
        let_go(f, table_at(&f->datagrams, i));
    table_end(&f->datagrams);
    mem_free(f->whole);
}

/* Out of the table, incomplete. */
static void give_up(struct tscope_scan *s, uint32_t index)
{
    let_go(&s->fragments, table_at(&s->fragments.datagrams, index));
    table_remove(&s->fragments.datagrams, index);
    s->sum.datagrams_incomplete++;
}

static bool is_stale(const struct tscope_scan *s, const struct datagram *d)
{
    return s->clock.now - d->since_ns > PATIENCE;
}

static void make_place(struct tscope_scan *s)
{
    struct table *t = &s->fragments.datagrams;
    while (t->count) {                                 /* advances: one goes */
        uint32_t oldest = table_oldest(t);
        if (t->count < MAX_DATAGRAMS && s->fragments.bytes <= MAX_BYTES && !is_stale(s, table_at(t, oldest)))
            break;
        give_up(s, oldest);
    }
}

static struct datagram *datagram_of(struct tscope_scan *s, const struct packet *p, uint32_t *index)
{
    struct table *t = &s->fragments.datagrams;
    struct fragment_key key = {.id = p->fragment_id, .interface = p->interface, .vlan = p->vlan,
                               .protocol = p->ip_version == 4 ? p->protocol : 0, .outer_ip = p->outer_ip,
                               .ip_version = p->ip_version};
    memcpy(key.address, p->key.address, sizeof key.address);
    bool made;
    make_place(s);
    *index = table_find(t, &key);
    if (*index != TABLE_NONE && is_stale(s, table_at(t, *index)))
        give_up(s, *index);
    *index = table_put(t, &key, &made);
    if (*index == TABLE_NONE)
        return NULL;
    struct datagram *d = table_at(t, *index);
    if (made)
        d->since_ns = s->clock.now;
    return d;
}

/* Room for `end` bytes; the units' bytes move behind it. */
static bool make_room(struct fragments *f, struct datagram *d, uint32_t end)
{
    uint32_t room = d->room ? d->room : SMALLEST;
    while (room < end)
        room *= 2;
    if (room == d->room)
        return true;
    uint8_t *data = mem_new(bytes_of(room), 1);
    if (!data)
        return false;
    if (d->data) {
        memcpy(data, d->data, d->room);
        memcpy(data + room, d->data + d->room, d->room / UNIT);
    }
    let_go(f, d);
    d->data = data;
    d->room = room;
    f->bytes += bytes_of(room);
    return true;
}

/* Puts bytes where none are yet.  *overlaps: some were; the result: with other content. */
static bool fill(struct datagram *d, const uint8_t *bytes, uint32_t from, uint32_t to, bool *overlaps)
{
    bool differs = false;
    for (uint32_t at = from; at < to; at += UNIT) {
        uint32_t n = to - at < UNIT ? to - at : UNIT;
        uint8_t *come = &d->data[d->room + at / UNIT];
        if (*come) {
            *overlaps = true;
            differs |= *come != n || memcmp(d->data + at, bytes + (at - from), n) != 0;
            continue;
        }
        memcpy(d->data + at, bytes + (at - from), n);
        *come = (uint8_t)n;
        d->have += n;
    }
    return differs;
}

/* A fragment that cannot be one of this datagram: of odd length amid it, past its end, past what a datagram can hold. */
static bool is_impossible(const struct datagram *d, uint32_t from, uint32_t to, bool more)
{
    return to > MAX_DATAGRAM || (more && (to - from) % UNIT) || (d->total && to > d->total) ||
           (!more && (to < d->end || (d->total && to != d->total)));
}

static void conflict(struct fragments *f, struct datagram *d, struct packet *p)
{
    p->anomalies |= TSCOPE_AN_FRAGMENT_CONFLICT;
    if (p->ip_version == 6) {
        d->dead = true;
        let_go(f, d);
    }
}

/* Adds the packet's bytes; true where the datagram is whole. */
static bool collect(struct tscope_scan *s, struct datagram *d, struct packet *p)
{
    uint32_t from = p->fragment & 0xfff8u, to = from + p->payload_have;
    bool more = p->fragment & 1, overlaps = false;
    if (d->dead)
        return false;
    if (is_impossible(d, from, to, more)) {
        conflict(&s->fragments, d, p);
        return false;
    }
    if (!make_room(&s->fragments, d, to)) {
        out_of_memory(s);
        return false;
    }
    uint32_t had = d->have;
    bool differs = fill(d, p->payload, from, to, &overlaps);
    if (differs || (overlaps && p->ip_version == 6 && d->have != had))
        conflict(&s->fragments, d, p);
    if (d->dead)
        return false;
    if (!more)
        d->total = to;
    if (to > d->end)
        d->end = to;
    if (from == 0)
        d->next = p->protocol;
    return d->total && d->have == d->total;
}

/* The packet becomes what the datagram holds. */
static void decode_whole(struct tscope_scan *s, struct datagram *d, uint32_t index, struct packet *p)
{
    struct fragments *f = &s->fragments;
    f->bytes -= bytes_of(d->room);
    mem_free(f->whole);
    f->whole = d->data;
    p->protocol = d->next;
    p->anomalies |= d->anomalies;
    p->payload_length = d->total;
    struct cursor c = cursor_over(f->whole, d->total);
    d->data = NULL;
    table_remove(&f->datagrams, index);
    s->sum.datagrams_complete++;
    p->fragment = 0;
    decode_rest(LAYER_IP_REST, &c, p);
}

void fragments_take(struct tscope_scan *s, struct packet *p)
{
    while (p->fragment && s->failure != TSCOPE_E_MEMORY) {  /* ends: each round is one IP header deeper, or the last */
        uint32_t index;
        bool cut = (p->anomalies & TSCOPE_AN_PAYLOAD_CUT) != 0;
        if (cut && p->fragment >= UNIT)
            break;
        if (cut) {                                     /* never complete: its own headers are all that can be known */
            struct cursor c = cursor_over(p->payload, p->payload_have);
            uint8_t depth = p->outer_ip;
            decode_rest(LAYER_IP_REST, &c, p);
            if (p->outer_ip == depth)
                p->fragment = 0;
            continue;
        }
        struct datagram *d = datagram_of(s, p, &index);
        if (!d) {
            out_of_memory(s);
            return;
        }
        bool whole = collect(s, d, p);
        d->anomalies |= p->anomalies;
        if (!whole)
            break;
        decode_whole(s, d, index, p);
    }
    decode_key(p, &s->key);
}
