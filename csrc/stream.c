/* The first bytes of a stream, put in order: a client's until they give a name, a server's in answer.c.
 *
 * Nearly every hello or request comes whole in the first segment, and is read where it lies.  Only where it does not, a
 * buffer is made: of at most MAX_HELLO bytes, with the holes that out-of-order segments leave.  Bytes seen first stay;
 * other bytes for the same place are a conflict, which is noted and never chosen silently. */
#include "scan.h"

enum { FIRST_ROOM = 2048, STREAM_BUDGET = 64 << 20 };

void stream_free(struct tscope_scan *s, struct stream *st)
{
    if (!st)
        return;
    s->stream_bytes -= st->room;
    store_give(&s->store, st->data, st->room);
    store_give(&s->store, st->quic, sizeof *st->quic);
    store_give(&s->store, st, sizeof *st);
}

void stream_end(struct tscope_scan *s, struct flow *f)
{
    stream_free(s, f->stream);
    f->stream = NULL;
}

static bool set_name(struct tscope_scan *s, struct flow *f, const struct hello *h, unsigned from)
{
    if (!h->name_length)
        return true;
    f->name = store_take(&s->store, h->name_length);
    if (!f->name) {
        s->sum.names_dropped++;
        return false;
    }
    for (uint16_t i = 0; i < h->name_length; i++) {
        uint8_t ch = h->name[i];
        f->name[i] = ch >= 'A' && ch <= 'Z' ? (uint8_t)(ch | 0x20) : ch;
    }
    f->name_length = h->name_length;
    f->name_from = (uint8_t)from;
    return true;
}

void stream_found(struct tscope_scan *s, struct flow *f, unsigned from_end, unsigned trigger)
{
    static const struct { uint8_t by, name; } known[] = {
        [TSCOPE_TRIGGER_TLS_HELLO] = {TSCOPE_BY_HELLO, TSCOPE_NAME_TLS_SNI},
        [TSCOPE_TRIGGER_HTTP_REQUEST] = {TSCOPE_BY_REQUEST, TSCOPE_NAME_HTTP_HOST},
        [TSCOPE_TRIGGER_QUIC_INITIAL] = {TSCOPE_BY_QUIC_INITIAL, TSCOPE_NAME_QUIC_SNI}};
    bool tls = trigger != TSCOPE_TRIGGER_HTTP_REQUEST;
    flow_client(f, from_end, known[trigger].by);
    f->trigger = (uint8_t)trigger;
    if (tls && s->hello.has_ech)
        f->facts |= TSCOPE_FACT_ECH;
    if (tls && !s->hello.has_sni)
        f->facts |= TSCOPE_FACT_HELLO_NO_SNI;
    set_name(s, f, &s->hello, known[trigger].name);
    f->facts &= ~(uint32_t)TSCOPE_FACT_NAME_INCOMPLETE;
    f->name_state = NAME_DONE;
}

/* No name will come of this stream.  Without a SYN it is only bytes from the middle, and no trigger. */
static void not_named(struct flow *f, unsigned from)
{
    f->name_state = NAME_DONE;
    if (!(f->side[from].flags & TSCOPE_SYN))
        f->trigger = TSCOPE_TRIGGER_NONE;
}

/* What the bytes from the stream's beginning give; *wanted and *line as in struct stream. */
static enum parsed parse(struct tscope_scan *s, struct flow *f, unsigned from, const uint8_t *data, uint32_t length,
                         uint32_t *wanted, uint32_t *line)
{
    enum parsed tls = tls_client_hello(data, length, s->scratch, &s->hello);
    if (tls == PARSED_YES)
        stream_found(s, f, from, TSCOPE_TRIGGER_TLS_HELLO);
    if (tls != PARSED_NO) {
        *wanted = s->hello.length;
        return tls;
    }
    enum parsed http = http_request(data, length, line, &s->hello);
    if (http == PARSED_YES)
        stream_found(s, f, from, TSCOPE_TRIGGER_HTTP_REQUEST);
    *wanted = s->hello.length;
    return http;
}

static void give_up(struct tscope_scan *s, struct flow *f, unsigned from)
{
    f->facts |= TSCOPE_FACT_NAME_INCOMPLETE;
    not_named(f, from);
    stream_end(s, f);
}

static bool make_room(struct tscope_scan *s, struct stream *st, uint32_t to)
{
    uint32_t room = st->room ? st->room : FIRST_ROOM;
    while (room < to)
        room *= 2;
    if (room == st->room)
        return true;
    uint8_t *data = s->stream_bytes + room > STREAM_BUDGET ? NULL : store_take(&s->store, room);
    if (!data)
        return false;
    if (st->n_parts)
        memcpy(data, st->data, st->parts[st->n_parts - 1].to);
    store_give(&s->store, st->data, st->room);
    s->stream_bytes += room - st->room;
    st->data = data;
    st->room = room;
    return true;
}

/* Adds [from, to) to the parts; false where there are too many holes. */
static bool add_part(struct stream *st, uint32_t from, uint32_t to)
{
    uint32_t i = 0;
    while (i < st->n_parts && st->parts[i].to < from)
        i++;
    uint32_t last = i;
    while (last < st->n_parts && st->parts[last].from <= to) {
        from = st->parts[last].from < from ? st->parts[last].from : from;
        to = st->parts[last].to > to ? st->parts[last].to : to;
        last++;
    }
    if (last == i && st->n_parts == MAX_PARTS)
        return false;
    memmove(&st->parts[i + 1], &st->parts[last], (st->n_parts - last) * sizeof st->parts[0]);
    st->n_parts = st->n_parts - (last - i) + 1;
    st->parts[i] = (struct stream_part){from, to};
    return true;
}

/* Copies what is not there yet; compares what is. */
static void copy_new(struct flow *f, struct stream *st, uint32_t at, const uint8_t *bytes, uint32_t length)
{
    uint32_t done = 0;
    for (uint32_t i = 0; i < st->n_parts && done < length; i++) {
        struct stream_part part = st->parts[i];
        if (part.to <= at + done)
            continue;
        if (part.from >= at + length)
            break;
        if (part.from > at + done) {
            memcpy(st->data + at + done, bytes + done, part.from - at - done);
            done = part.from - at;
        }
        uint32_t both = (part.to < at + length ? part.to : at + length) - at;
        if (memcmp(st->data + at + done, bytes + done, both - done))
            f->anomalies |= TSCOPE_AN_TCP_OVERLAP;
        done = both;
    }
    memcpy(st->data + at + done, bytes + done, length - done);
}

bool stream_insert(struct tscope_scan *s, struct flow *f, struct stream *st, uint32_t at, const uint8_t *bytes,
                   uint32_t length)
{
    if (at >= MAX_HELLO)
        return true;                                   /* beyond what is looked at */
    length = length < MAX_HELLO - at ? length : MAX_HELLO - at;
    if (!make_room(s, st, at + length))
        return false;
    copy_new(f, st, at, bytes, length);
    return add_part(st, at, at + length);
}

static void take_into_buffer(struct tscope_scan *s, struct flow *f, const struct packet *p)
{
    struct stream *st = f->stream;
    int32_t at = serial_minus(p->seq, f->trigger_seq);
    if (at < 0)
        return;
    if (!stream_insert(s, f, st, (uint32_t)at, p->payload, p->payload_have)) {
        give_up(s, f, p->from);
        return;
    }
    uint32_t there = stream_there(st);
    if (there < st->wanted || !there)
        return;
    enum parsed result = parse(s, f, p->from, st->data, there, &st->wanted, &st->line);
    if (result == PARSED_MORE && there < MAX_HELLO)
        return;
    if (result != PARSED_YES) {
        give_up(s, f, p->from);
        return;
    }
    stream_end(s, f);
}

struct stream *stream_new(struct tscope_scan *s)
{
    struct stream *st = store_take(&s->store, sizeof *st);
    if (st)
        *st = (struct stream){.data = NULL};
    return st;
}

static void start_buffer(struct tscope_scan *s, struct flow *f, const struct packet *p, uint32_t wanted)
{
    f->stream = stream_new(s);
    f->name_state = NAME_WAITS;
    f->facts |= TSCOPE_FACT_NAME_INCOMPLETE;
    if (!f->stream) {
        give_up(s, f, p->from);
        return;
    }
    f->stream->wanted = wanted;
    take_into_buffer(s, f, p);
}

/* The bytes that the snap length left begin a ClientHello or a request, though not its name.  A word and a blank alone
 * begin many protocols; a target behind them begins HTTP. */
static void name_cut(struct flow *f, const struct packet *p)
{
    const uint8_t *blank = memchr(p->payload, ' ', p->payload_have);
    const uint8_t *end = p->payload + p->payload_have;
    if (p->payload_have > 5 && p->payload[0] == 22 && p->payload[5] == 1)
        f->trigger = TSCOPE_TRIGGER_TLS_HELLO;
    else if (blank && blank + 1 < end && (blank[1] == '/' || (end - blank > 7 && !memcmp(blank + 1, "http://", 7))))
        f->trigger = TSCOPE_TRIGGER_HTTP_REQUEST;
    f->facts |= TSCOPE_FACT_NAME_INCOMPLETE;           /* the rest will never come */
    f->name_state = NAME_DONE;
}

void stream_take(struct tscope_scan *s, struct flow *f, const struct packet *p)
{
    if (!f->trigger) {
        f->name_state = NAME_DONE;
        return;
    }
    if (f->name_state == NAME_WAITS) {
        take_into_buffer(s, f, p);
        return;
    }
    uint32_t wanted = 0, line = 0;
    if (p->seq != f->trigger_seq) {                    /* its beginning is still to come */
        if (serial_minus(p->seq, f->trigger_seq) > 0)
            start_buffer(s, f, p, 0);
        return;
    }
    enum parsed result = parse(s, f, p->from, p->payload, p->payload_have, &wanted, &line);
    if (result == PARSED_NO)
        not_named(f, p->from);
    if (result == PARSED_MORE && p->payload_have < p->payload_length) {
        name_cut(f, p);
    } else if (result == PARSED_MORE) {
        start_buffer(s, f, p, wanted);
    }
}
