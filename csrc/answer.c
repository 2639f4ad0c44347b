/* What a server says first after a hello or request, kept with its flow.
 *
 * Nearly every answer says enough in its first segment, and is read where it lies.  Only where it does not, its bytes are
 * put in order as a client's are, up to MAX_ANSWER.  What comes later for the same place and differs is a conflict: one of
 * the two was not sent by the server.  Nothing here judges which. */
#include "scan.h"

enum { DIGESTED = 32 };           /* bytes that payload_digest covers */

void answer_end(struct tscope_scan *s, struct flow *f)
{
    if (f->name_state != NAME_DONE) {
        stream_end(s, f);
        return;
    }
    if (!f->answer)
        return;
    stream_free(s, f->answer->stream);
    store_give(&s->store, f->answer, sizeof *f->answer + answer_text(f->answer));
    f->answer = NULL;
}

/* ---------------------------------------------------------------- pages */

static bool is_digit(uint8_t ch)
{
    return ch >= '0' && ch <= '9';
}

/* The host of an absolute http(s) location, without port; empty where the location is relative or has another scheme. */
static struct word host_of(struct word location)
{
    const uint8_t *at = location.at;
    uint32_t n = location.length, from = n >= 7 && !memcmp(at, "http://", 7) ? 7 : n >= 8 && !memcmp(at, "https://", 8) ? 8 : 0;
    uint32_t end = from;
    bool bracket = false;
    while (from && end < n && at[end] != '/' && at[end] != '?' && at[end] != '#' && (bracket || at[end] != ':')) {
        bracket = at[end] == '[' || (bracket && at[end] != ']');
        end++;
    }
    return (struct word){at + from, end - from};
}

static bool is_address(struct word host)
{
    if (host.length && host.at[0] == '[')
        return true;
    for (uint32_t i = 0; i < host.length; i++)
        if (!is_digit(host.at[i]) && host.at[i] != '.')
            return false;
    return host.length != 0;
}

/* Its last two labels: near enough to what belongs to one owner to tell a redirect within a site from one out of it. */
static struct word site_of(const uint8_t *name, uint32_t length)
{
    uint32_t dots = 0, from = length;
    while (from > 0 && !(name[from - 1] == '.' && ++dots == 2))
        from--;
    return (struct word){name + from, length - from};
}

static bool same_text(struct word a, struct word b)
{
    if (a.length != b.length)
        return false;
    for (uint32_t i = 0; i < a.length; i++)
        if ((a.at[i] | 0x20) != (b.at[i] | 0x20))
            return false;
    return true;
}

static bool is_redirect(const struct said *said)
{
    return said->kind == TSCOPE_ANSWER_HTTP && said->status >= 300 && said->status < 400 && said->word[0].length;
}

/* A redirect to another site; a name that is an address, or no name at all, has no other. */
static bool goes_elsewhere(const struct flow *f, const struct said *said)
{
    struct word host = host_of(said->word[0]), asked = {f->name, f->name_length};
    if (!is_redirect(said) || !host.length || !asked.length || is_address(asked))
        return false;
    return is_address(host) || !same_text(site_of(host.at, host.length), site_of(asked.at, asked.length));
}

static bool has_tag(struct word page, const char *tag)
{
    return page.length && memmem(page.at, page.length, tag, strlen(tag)) != NULL;
}

/* The kinds of page that filters send: a reason to look closer, no more. */
static bool may_be_filter(const struct said *said)
{
    if (said->kind == TSCOPE_ANSWER_HTML || (said->what & TSCOPE_ANSWER_ELSEWHERE) || said->status == 403 ||
        said->status == 451)
        return true;
    struct word page = said->word[3];
    return has_tag(page, "<iframe") || has_tag(page, "<IFRAME") || has_tag(page, "http-equiv=\"refresh\"");
}

/* The same for whatever name the page answers: status, title, and where it leads without parameters and own name. */
static uint64_t page_digest(const struct said *said)
{
    struct word location = said->word[0], page = said->word[3];
    const uint8_t *mark = location.length ? memchr(location.at, '?', location.length) : NULL;
    uint32_t n = mark ? (uint32_t)(mark - location.at) : location.length;
    uint16_t head[2] = {said->kind, said->status};
    uint64_t h = digest_bytes(DIGEST_START, head, sizeof head);
    if (said->what & TSCOPE_ANSWER_ELSEWHERE)
        h = digest_bytes(h, location.at, n);
    h = digest_bytes(h, said->word[2].at, said->word[2].length);
    if (!said->word[2].length)
        h = digest_bytes(h, page.at, page.length < 64 ? page.length : 64);
    return digest_finish(h);
}

/* ---------------------------------------------------------------- reading */

static enum parsed parse(struct tscope_scan *s, const uint8_t *data, uint32_t length)
{
    enum parsed result = tls_server(data, length, s->scratch, &s->said);
    return result != PARSED_NO ? result : http_response(data, length, &s->said);
}

static uint32_t marks_of(const struct flow *f, const struct said *said)
{
    if (f->trigger == TSCOPE_TRIGGER_TLS_HELLO) {
        if (said->kind == TSCOPE_ANSWER_HTTP || said->kind == TSCOPE_ANSWER_HTML)
            return TSCOPE_MARK_ANSWER_PLAIN;
        bool private_ = (said->what & TSCOPE_ANSWER_CERTIFICATE) && !(said->what & TSCOPE_ANSWER_PUBLIC);
        return private_ ? TSCOPE_MARK_ISSUER_PRIVATE : 0;
    }
    return may_be_filter(said) ? TSCOPE_MARK_ANSWER_PAGE : 0;
}

static void fill(const struct said *said, struct tscope_answer *row)
{
    row->not_before = said->not_before;
    row->not_after = said->not_after;
    row->body_length = said->body_length;
    row->extensions = said->extensions;
    row->status = said->status;
    row->version = said->version;
    row->cipher = said->cipher;
    row->kind = said->kind;
    row->what = said->what;
    row->alert_level = said->alert_level;
    row->alert = said->alert;
    for (unsigned i = 0; i < ANSWER_WORDS; i++)
        row->word_length[i] = (uint16_t)said->word[i].length;
    if (said->kind == TSCOPE_ANSWER_HTTP || said->kind == TSCOPE_ANSWER_HTML)
        row->page = page_digest(said);
    if (said->what & TSCOPE_ANSWER_CERTIFICATE) {
        uint64_t h = digest_bytes(DIGEST_START, said->word[0].at, said->word[0].length);
        row->issuer = digest_finish(digest_bytes(h, said->word[1].at, said->word[1].length));
    }
}

/* For the words of an answer that has none yet. */
static bool make_room(struct tscope_scan *s, struct flow *f, size_t words)
{
    struct kept_answer *a = store_take(&s->store, sizeof *a + words);
    if (!a)
        return false;
    memcpy(a, f->answer, sizeof *a);
    store_give(&s->store, f->answer, sizeof *a);
    f->answer = a;
    return true;
}

/* s->said is what there is to know. */
static void keep(struct tscope_scan *s, struct flow *f, int64_t time_ns)
{
    struct said *said = &s->said;
    size_t words = 0;
    if (said->what & TSCOPE_ANSWER_CERTIFICATE) {
        struct word name = said->word[1].length ? said->word[1] : said->word[0];
        if (x509_public_issuer(name))
            said->what |= TSCOPE_ANSWER_PUBLIC;
        if (x509_is_for(said, f->name, f->name_length))
            said->what |= TSCOPE_ANSWER_FOR_NAME;
    }
    if (goes_elsewhere(f, said))
        said->what |= TSCOPE_ANSWER_ELSEWHERE;
    for (unsigned i = 0; i < ANSWER_WORDS; i++)
        words += said->word[i].length;
    if (words && !make_room(s, f, words)) {
        answer_end(s, f);
        return;
    }
    struct kept_answer *a = f->answer;
    fill(said, &a->row);
    size_t at = 0;
    for (unsigned i = 0; i < ANSWER_WORDS; at += said->word[i].length, i++)
        if (said->word[i].length)
            memcpy(a->text + at, said->word[i].at, said->word[i].length);
    uint32_t marks = marks_of(f, said);
    if (marks)
        flow_mark(s, f, marks);
    if (s->options.emit & TSCOPE_CANDIDATES)
        context_answer_read(s, f, time_ns);
}

/* What is there is all there will be. */
static void keep_cut(struct tscope_scan *s, struct flow *f, int64_t time_ns)
{
    if (s->said.kind == TSCOPE_ANSWER_NONE)
        return;
    s->said.what |= TSCOPE_ANSWER_CUT;
    keep(s, f, time_ns);
}

static void keep_other(struct tscope_scan *s, struct flow *f, int64_t time_ns)
{
    s->said.kind = TSCOPE_ANSWER_OTHER;
    keep(s, f, time_ns);
}

static void end_stream(struct tscope_scan *s, struct flow *f)
{
    stream_free(s, f->answer->stream);
    f->answer->stream = NULL;
}

void answer_settle(struct tscope_scan *s, struct flow *f)
{
    const struct kept_answer *a = kept_answer_of(f);
    if (!a || !a->stream)
        return;
    struct stream *st = a->stream;
    uint32_t there = stream_there(st);
    f->answer->stream = NULL;
    if (there && parse(s, st->data, there) != PARSED_NO)
        keep_cut(s, f, f->answer_ns);
    stream_free(s, st);
}

static void note_cut(struct tscope_scan *s, const struct packet *p)
{
    if (p->payload_have < p->payload_length)
        s->said.what |= TSCOPE_ANSWER_CUT;
}

static void take_into_stream(struct tscope_scan *s, struct flow *f, const struct packet *p)
{
    struct stream *st = f->answer->stream;
    int32_t at = serial_minus(p->seq, f->answer->seq);
    if (at < 0 || at >= MAX_ANSWER)
        return;
    if (!stream_insert(s, f, st, (uint32_t)at, p->payload, p->payload_have)) {
        end_stream(s, f);
        return;
    }
    uint32_t there = stream_there(st);
    if (!there || there < st->wanted)
        return;
    enum parsed result = parse(s, st->data, there);
    if (result == PARSED_MORE && there < MAX_ANSWER) {
        st->wanted = s->said.length;
        return;
    }
    f->answer->stream = NULL;                          /* the words lie in it until they are kept */
    note_cut(s, p);
    if (result == PARSED_YES)
        keep(s, f, f->answer_ns);
    else if (result == PARSED_MORE)
        keep_cut(s, f, f->answer_ns);
    else
        keep_other(s, f, f->answer_ns);
    stream_free(s, st);
}

static void start_stream(struct tscope_scan *s, struct flow *f, const struct packet *p, uint32_t wanted)
{
    f->answer->stream = stream_new(s);
    if (!f->answer->stream)
        return;
    f->answer->stream->wanted = wanted;
    take_into_stream(s, f, p);
}

static uint32_t marks_of_first(const struct flow *f, const struct packet *p)
{
    const struct side *self = &f->side[p->from];
    uint32_t marks = 0;
    if (self->ttl_max && (p->ttl < self->ttl_min || p->ttl > self->ttl_max))
        marks |= TSCOPE_MARK_ANSWER_UNLIKE;
    if (f->trigger && f->rtt_server_ns > 0 && p->time_ns - f->trigger_ns < f->rtt_server_ns / 2)
        marks |= TSCOPE_MARK_ANSWER_TOO_EARLY;
    if (p->flags & TSCOPE_FIN)
        marks |= TSCOPE_MARK_ANSWER_FIN;
    return marks;
}

void answer_begin(struct tscope_scan *s, struct flow *f, const struct packet *p)
{
    bool cut = (f->facts & TSCOPE_FACT_NAME_INCOMPLETE) != 0;   /* a hello or request all the same */
    if (f->name_state != NAME_DONE || !p->payload_have || (f->trigger == TSCOPE_TRIGGER_DATA && !cut))
        return;
    f->answer = store_take(&s->store, sizeof *f->answer);
    if (!f->answer)
        return;
    memset(f->answer, 0, sizeof *f->answer);
    bool known = (f->side[p->from].flags & TSCOPE_SYN) != 0;
    uint32_t start = known ? f->rare[p->from].isn + 1 : p->seq;
    f->answer->seq = p->seq;
    f->answer->digest = payload_digest(p);
    f->answer->length = p->payload_have;
    f->answer->row.frame = p->frame;
    f->answer->row.body_length = UINT32_MAX;
    uint32_t marks = marks_of_first(f, p);
    if (marks)
        flow_mark(s, f, marks);
    if (serial_minus(p->seq, start) > 0 && serial_minus(p->seq, start) < MAX_ANSWER) {   /* its beginning may still come */
        f->answer->seq = start;
        f->answer->length = 0;
        start_stream(s, f, p, 0);
        return;
    }
    enum parsed result = parse(s, p->payload, p->payload_have);
    note_cut(s, p);
    if (result == PARSED_YES)
        keep(s, f, p->time_ns);
    else if (result == PARSED_NO)
        keep_other(s, f, p->time_ns);
    else if (p->payload_have < p->payload_length)
        keep_cut(s, f, p->time_ns);                    /* by the snap length: the rest will never come */
    else
        start_stream(s, f, p, s->said.length);
}

/* Other bytes for the place of the answer's first packet. */
static bool conflicts(const struct kept_answer *a, const struct packet *p)
{
    if (!a->length || p->seq != a->seq)
        return false;
    if (a->length >= DIGESTED)
        return p->payload_have >= DIGESTED && payload_digest(p) != a->digest;
    return p->payload_have >= a->length && (uint32_t)digest_words(p->payload, a->length) != a->digest;
}

void answer_more(struct tscope_scan *s, struct flow *f, const struct packet *p)
{
    struct kept_answer *a = f->answer;
    if (!a->row.conflict_frame && conflicts(a, p)) {
        a->row.conflict_frame = p->frame;
        flow_mark(s, f, TSCOPE_MARK_ANSWER_CONFLICT);
    }
    if (a->stream && p->payload_have)
        take_into_stream(s, f, p);
}

/* Where only the server's packets were captured, what it said after its SYN+ACK is looked at all the same. */
void answer_unasked(struct tscope_scan *s, struct flow *f, const struct packet *p)
{
    if (f->side[!p->from].packets || !(f->side[p->from].flags & TSCOPE_SYN))
        return;
    if (f->name_state != NAME_DONE) {
        f->name_state = NAME_DONE;
        answer_begin(s, f, p);
    } else if (kept_answer_of(f)) {
        answer_more(s, f, p);
    }
}
