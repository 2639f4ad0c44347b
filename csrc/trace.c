/* Traces of telling packets: pages from one pool. */
#include "scan.h"

#include "memory.h"

enum { BLOCK_PAGES = 256 };

struct trace_block {
    struct trace_page pages[BLOCK_PAGES];
    struct tscope_trace rows[BLOCK_PAGES * PAGE_ROWS];
};

static struct trace_page *page_at(const struct traces *t, uint32_t page)
{
    return &t->blocks[page / BLOCK_PAGES]->pages[page % BLOCK_PAGES];
}

static struct tscope_trace *rows_of(const struct traces *t, uint32_t page)
{
    return t->blocks[page / BLOCK_PAGES]->rows + (size_t)(page % BLOCK_PAGES) * PAGE_ROWS;
}

int traces_init(struct traces *t, uint64_t bytes)
{
    uint64_t pages = bytes / (PAGE_ROWS * sizeof(struct tscope_trace));
    t->limit = (uint32_t)(pages < BLOCK_PAGES ? BLOCK_PAGES : pages > NONE / 2 ? NONE / 2 : pages);
    t->free = NONE;
    return TSCOPE_OK;
}

void traces_end(struct traces *t)
{
    mem_free(t->blocks);
    memset(t, 0, sizeof *t);
}

static bool grow(struct tscope_scan *s)
{
    struct traces *t = &s->traces;
    if (t->n_pages == t->room) {
        uint32_t room = t->room ? 2 * t->room : 4 * BLOCK_PAGES;
        struct trace_block **blocks = mem_resize(t->blocks, room / BLOCK_PAGES, sizeof *blocks);
        if (!blocks)
            return false;
        t->blocks = blocks;
        t->room = room;
    }
    struct trace_block *block = arena_take(&s->arena, sizeof *block);
    if (!block)
        return false;
    t->blocks[t->n_pages / BLOCK_PAGES] = block;
    for (uint32_t i = BLOCK_PAGES; i-- > 0;) {
        block->pages[i] = (struct trace_page){.next = t->free, .owner = NONE};
        t->free = t->n_pages + i;
    }
    t->n_pages += BLOCK_PAGES;
    return true;
}

void trace_release(struct traces *t, struct flow *f)
{
    for (uint32_t page = f->trace_first; page != NONE;) {
        struct trace_page *at = page_at(t, page);
        uint32_t next = at->next;
        *at = (struct trace_page){.next = t->free, .owner = NONE};
        t->free = page;
        page = next;
    }
    f->trace_first = f->trace_last = NONE;
    f->trace_count = 0;
}

/* The pages of an unmarked flow other than `f`; a turn of the hand at most, and no more than some thousand steps. */
static bool take_from_another(struct tscope_scan *s, const struct flow *f)
{
    struct traces *t = &s->traces;
    uint32_t steps = t->n_pages < 4096 ? t->n_pages : 4096;
    for (; steps > 0; steps--) {
        uint32_t owner = page_at(t, t->hand)->owner;
        t->hand = t->hand + 1 == t->n_pages ? 0 : t->hand + 1;
        struct flow *other = owner == NONE ? NULL : flow_at(&s->flows, owner);
        if (!other || other == f || other->marks)
            continue;
        trace_release(t, other);
        other->facts |= TSCOPE_FACT_TRACE_TAKEN;
        s->sum.traces_taken++;
        return true;
    }
    return false;
}

static uint32_t new_page(struct tscope_scan *s, struct flow *f)
{
    struct traces *t = &s->traces;
    if (t->free == NONE && t->n_pages + BLOCK_PAGES <= t->limit && !grow(s))
        return NONE;
    if (t->free == NONE && !take_from_another(s, f)) {
        f->facts |= TSCOPE_FACT_TRACE_TAKEN;
        return NONE;
    }
    uint32_t page = t->free;
    struct trace_page *at = page_at(t, page);
    t->free = at->next;
    *at = (struct trace_page){.next = NONE, .previous = f->trace_last, .owner = f->index};
    if (f->trace_last == NONE)
        f->trace_first = page;
    else
        page_at(t, f->trace_last)->next = page;
    f->trace_last = page;
    return page;
}

struct tscope_trace *trace_add(struct tscope_scan *s, struct flow *f)
{
    struct traces *t = &s->traces;
    if (f->index == NONE && !(s->options.flow_marks & TSCOPE_MARK_SYN_UNANSWERED))
        return NULL;                                   /* a lone flow, and nobody will see its trace: no other mark is its */
    if (f->trace_count >= MAX_TRACE) {
        f->facts |= TSCOPE_FACT_TRACE_FULL;
        return NULL;
    }
    uint32_t page = f->trace_last;
    if (page == NONE || page_at(t, page)->used == PAGE_ROWS)
        page = new_page(s, f);
    if (page == NONE)
        return NULL;
    f->trace_count++;
    return rows_of(t, page) + page_at(t, page)->used++;
}

bool trace_has(const struct traces *t, const struct flow *f, const struct packet *p,
               bool (*alike)(const struct tscope_trace *, const struct packet *))
{
    unsigned left = LOOK_BACK;
    for (uint32_t page = f->trace_last; page != NONE; page = page_at(t, page)->previous)
        for (uint32_t i = page_at(t, page)->used; i-- > 0;) {
            if (left-- == 0)
                return false;
            if (alike(rows_of(t, page) + i, p))
                return true;
        }
    return false;
}

void trace_copy(const struct traces *t, const struct flow *f, struct tscope_trace *out)
{
    for (uint32_t page = f->trace_first; page != NONE; page = page_at(t, page)->next) {
        size_t n = page_at(t, page)->used;
        memcpy(out, rows_of(t, page), n * sizeof *out);
        for (size_t i = 0; i < n; i++)
            out[i].from_server = out[i].from_server != f->client;   /* until here: which end of the key */
        out += n;
    }
}
