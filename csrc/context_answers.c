/* What answers of other flows show: who else got this page, who else certifies this name.
 *
 * Workload: an update or two for each flow whose answer is plain HTTP or shows a certificate; one look-up and an addition
 * for other TLS.  As in context.c an entry that was evicted means "no baseline". */
#include "scan.h"

#define NEAR_NS (120 * SECOND)

enum { ISSUERS = 4, NAMES = 16 };

/* About how many different values were seen: exact for two that take turns. */
struct differing {
    uint64_t first, last;
    uint32_t count;
};

struct page {
    uint64_t digest;
    struct differing names, servers;
};

struct near_key {
    uint64_t page;                /* 0: all of them */
    uint64_t who;                 /* a client, or a name */
    int64_t stretch;              /* -1: the whole capture */
};

struct near {
    struct near_key key;
    uint32_t count;
};

/* One issuer of certificates for a name. */
struct issuer_of_name {
    uint64_t issuer;
    int64_t first_ns, last_ns;
    uint32_t count;
    bool is_public;
};

struct name {
    uint64_t digest;
    uint64_t site;
    uint32_t tls_1_3;
    struct issuer_of_name issuer[ISSUERS];
};

struct issuer {
    uint64_t digest;
    uint32_t count;               /* of names, those that found no place left out */
    uint64_t name[NAMES];
};

struct server {
    uint8_t address[16];
    uint64_t port;
    uint32_t tls, plain;
    uint32_t alike, unlike;
};

int context_answers_init(struct tscope_scan *s)
{
    struct answer_tables *a = &s->answers;
    uint32_t limit = (uint32_t)s->options.context_entries;
    if (table_init(&a->pages, sizeof(struct page), 1, limit, &s->key) ||
        table_init(&a->near, sizeof(struct near), 3, limit, &s->key) ||
        table_init(&a->names, sizeof(struct name), 1, limit, &s->key) ||
        table_init(&a->issuers, sizeof(struct issuer), 1, limit, &s->key) ||
        table_init(&a->servers, sizeof(struct server), 3, limit, &s->key))
        return TSCOPE_E_MEMORY;
    return TSCOPE_OK;
}

void context_answers_end(struct tscope_scan *s)
{
    struct answer_tables *a = &s->answers;
    table_end(&a->pages);
    table_end(&a->near);
    table_end(&a->names);
    table_end(&a->issuers);
    table_end(&a->servers);
}

uint64_t context_answers_evicted(const struct tscope_scan *s)
{
    const struct answer_tables *a = &s->answers;
    return a->pages.evicted + a->near.evicted + a->names.evicted + a->issuers.evicted + a->servers.evicted;
}

static void *entry(struct table *t, const void *key)
{
    bool made;
    uint32_t index = table_put(t, key, &made);
    return index == TABLE_NONE ? NULL : table_at(t, index);
}

static const void *lookup(const struct table *t, const void *key)
{
    uint32_t index = table_find(t, key);
    return index == TABLE_NONE ? NULL : table_at(t, index);
}

static uint64_t digest_of(const void *data, size_t length)
{
    return length ? digest_finish(digest_bytes(DIGEST_START, data, length)) : 0;
}

/* The last two labels. */
static uint64_t site_of(const uint8_t *name, size_t length)
{
    size_t from = length, dots = 0;
    while (from > 0 && !(name[from - 1] == '.' && ++dots == 2))
        from--;
    return digest_of(name + from, length - from);
}

/* ---------------------------------------------------------------- pages */

static void count_differing(struct differing *d, uint64_t value)
{
    if (!value || value == d->first || value == d->last)
        return;
    if (!d->first)
        d->first = value;
    d->last = value;
    d->count++;
}

static uint32_t others(const struct differing *d)
{
    return d->count ? d->count - 1 : 0;
}

static void count_near(struct tscope_scan *s, uint64_t page, uint64_t who, int64_t stretch)
{
    struct near_key key = {page, who, stretch};
    struct near *n = entry(&s->answers.near, &key);
    if (n)
        n->count++;
}

static uint32_t get_near(const struct tscope_scan *s, uint64_t page, uint64_t who, int64_t stretch)
{
    struct near_key key = {page, who, stretch};
    const struct near *n = lookup(&s->answers.near, &key);
    return n ? n->count : 0;
}

static void page_read(struct tscope_scan *s, const struct flow *f, uint64_t page, uint64_t name, int64_t time_ns)
{
    struct page *p = entry(&s->answers.pages, &page);
    if (p) {
        count_differing(&p->names, name);
        count_differing(&p->servers, digest_of(f->head.key.address[!f->client], 16));
    }
    uint64_t client = digest_of(f->head.key.address[f->client], 16);
    count_near(s, page, client, time_ns / NEAR_NS);
    count_near(s, 0, client, time_ns / NEAR_NS);
    if (name) {
        count_near(s, page, name, -1);
        count_near(s, 0, name, -1);
    }
}

/* ---------------------------------------------------------------- certificates */

static void remember_name(struct tscope_scan *s, uint64_t issuer, uint64_t name)
{
    struct issuer *i = entry(&s->answers.issuers, &issuer);
    for (uint32_t k = 0; i && k < NAMES; k++) {
        if (i->name[k] == name)
            return;
        if (!i->name[k]) {
            i->name[k] = name;
            i->count++;
            return;
        }
    }
}

static void certificate_read(struct name *n, const struct tscope_answer *a, int64_t time_ns)
{
    for (unsigned i = 0; i < ISSUERS; i++) {
        struct issuer_of_name *one = &n->issuer[i];
        if (one->issuer && one->issuer != a->issuer)
            continue;
        if (!one->issuer) {
            one->issuer = a->issuer;
            one->first_ns = one->last_ns = time_ns;
            one->is_public = (a->what & TSCOPE_ANSWER_PUBLIC) != 0;
        }
        one->first_ns = time_ns < one->first_ns ? time_ns : one->first_ns;
        one->last_ns = time_ns > one->last_ns ? time_ns : one->last_ns;
        one->count++;
        return;
    }
}

static void tls_read(struct tscope_scan *s, const struct flow *f, const struct tscope_answer *a, uint64_t name,
                     int64_t time_ns)
{
    bool certificate = (a->what & TSCOPE_ANSWER_CERTIFICATE) != 0;
    if (!name)
        return;
    /* Of names whose certificates are never seen nothing need be known. */
    if (!certificate && (a->version < 0x0304 || table_find(&s->answers.names, &name) == TABLE_NONE))
        return;
    struct name *n = entry(&s->answers.names, &name);
    if (!n)
        return;
    n->site = site_of(f->name, f->name_length);
    if (certificate) {
        certificate_read(n, a, time_ns);
        remember_name(s, a->issuer, name);
    } else {
        n->tls_1_3++;
    }
}

void context_answer_read(struct tscope_scan *s, const struct flow *f, int64_t time_ns)
{
    const struct tscope_answer *a = &f->answer->row;
    bool tls = a->kind == TSCOPE_ANSWER_TLS, plain = a->kind == TSCOPE_ANSWER_HTTP || a->kind == TSCOPE_ANSWER_HTML;
    uint64_t name = f->name_length ? digest_of(f->name, f->name_length) : 0;
    if (a->page && f->trigger == TSCOPE_TRIGGER_HTTP_REQUEST)
        page_read(s, f, a->page, name, time_ns);
    if (tls)
        tls_read(s, f, a, name, time_ns);
    struct server key = {.port = f->head.key.port[!f->client]};
    memcpy(key.address, f->head.key.address[!f->client], 16);
    struct server *v = entry(&s->answers.servers, &key);
    if (!v)
        return;
    bool unlike = (f->marks & TSCOPE_MARK_ANSWER_UNLIKE) != 0;
    v->unlike += unlike;
    v->alike += !unlike && (f->side[!f->client].flags & TSCOPE_SYN);
    if (f->trigger == TSCOPE_TRIGGER_TLS_HELLO) {
        v->tls += tls;
        v->plain += plain;
    }
}

/* ---------------------------------------------------------------- looking up */

static uint32_t without(uint32_t count, bool own)
{
    return count - (own && count);
}

static void of_page(const struct tscope_scan *s, const struct tscope_flow *row, uint64_t page, uint64_t name,
                    struct tscope_answer_context *out)
{
    const struct page *p = lookup(&s->answers.pages, &page);
    out->page_names = p ? others(&p->names) : 0;
    out->page_servers = p ? others(&p->servers) : 0;
    uint64_t client = digest_of(row->client, 16);
    int64_t at = row->answer_ns / NEAR_NS;
    uint32_t same = 0, all = 0;
    for (int64_t stretch = at - 1; stretch <= at + 1; stretch++) {
        same += get_near(s, page, client, stretch);
        all += get_near(s, 0, client, stretch);
    }
    out->near_client_same = without(same, true);
    out->near_client_others = all > same ? all - same : 0;
    if (name) {
        same = get_near(s, page, name, -1);
        all = get_near(s, 0, name, -1);
        out->name_others = all > same ? all - same : 0;
    }
}

/* The names of an issuer that others certify, too. */
static void of_issuer(const struct tscope_scan *s, uint64_t issuer, struct tscope_answer_context *out)
{
    const struct issuer *i = lookup(&s->answers.issuers, &issuer);
    struct differing sites = {0}, contested = {0};
    for (uint32_t k = 0; i && k < i->count; k++) {
        const struct name *n = lookup(&s->answers.names, &i->name[k]);
        const struct issuer_of_name *own = NULL;
        if (!n)
            continue;
        out->issuer_names++;
        count_differing(&sites, n->site);
        for (unsigned j = 0; j < ISSUERS; j++)
            if (n->issuer[j].issuer == issuer)
                own = &n->issuer[j];
        bool before = own != NULL, after = own != NULL, other = false, public_ = false, larger = false;
        for (unsigned j = 0; own && j < ISSUERS; j++) {
            const struct issuer_of_name *one = &n->issuer[j];
            if (!one->issuer || one == own)
                continue;
            other = true;
            public_ |= one->is_public;
            const struct issuer *theirs = lookup(&s->answers.issuers, &one->issuer);
            larger |= theirs && theirs->count > i->count;
            before &= own->last_ns < one->first_ns;
            after &= own->first_ns > one->last_ns;
        }
        if (!other)
            continue;
        out->issuer_contested++;
        count_differing(&contested, n->site);
        out->contested_public += public_;
        out->contested_larger += larger;
        out->contested_before += before;
        out->contested_after += after;
    }
    out->issuer_sites = sites.count;
    out->issuer_contested_sites = contested.count;
}

void context_of_answer(const struct tscope_scan *s, const struct tscope_flow *row, const struct tscope_answer *a,
                       const uint8_t *text, struct tscope_answer_context *out)
{
    memset(out, 0, sizeof *out);
    uint64_t name = row->name_length ? digest_of(text + row->name_offset, row->name_length) : 0;
    struct server key = {.port = row->server_port};
    memcpy(key.address, row->server, 16);
    const struct server *v = lookup(&s->answers.servers, &key);
    bool tls = a->kind == TSCOPE_ANSWER_TLS, plain = a->kind == TSCOPE_ANSWER_HTTP || a->kind == TSCOPE_ANSWER_HTML;
    if (v && a->kind != TSCOPE_ANSWER_NONE) {
        bool unlike = (row->marks & TSCOPE_MARK_ANSWER_UNLIKE) != 0;
        out->server_unlike = without(v->unlike, unlike);
        out->server_alike = without(v->alike, !unlike && (row->flags[1] & TSCOPE_SYN));
    }
    if (v && row->trigger == TSCOPE_TRIGGER_TLS_HELLO) {
        out->server_tls = without(v->tls, tls);
        out->server_plain = without(v->plain, plain);
    }
    if (a->page && row->trigger == TSCOPE_TRIGGER_HTTP_REQUEST)
        of_page(s, row, a->page, name, out);
    if (!a->issuer || !name)
        return;
    const struct name *n = lookup(&s->answers.names, &name);
    for (unsigned i = 0; n && i < ISSUERS; i++) {
        const struct issuer_of_name *one = &n->issuer[i];
        if (one->issuer == a->issuer) {
            out->name_issuer_same = without(one->count, true);
        } else if (one->issuer) {
            out->name_issuer_others += one->count;
            out->name_issuer_public += one->is_public ? one->count : 0;
        }
    }
    out->name_tls_1_3 = n ? n->tls_1_3 : 0;
    of_issuer(s, a->issuer, out);
}
