/* Which name a client was told an address for: the name of flows that give none themselves.
 *
 * Workload: up to four updates for each DNS answer with addresses; one look-up for each flow without a name that leaves
 * the core, none per packet.  Several names may share an address: the one counts that this client was told last before
 * the flow began, and no longer ago than clients remember. */
#include "memory.h"
#include "scan.h"

enum { NAMES = 4, MAX_LEARNED = 1 << 16 };
#define REMEMBERED (3600 * SECOND)

struct told {
    int64_t first_ns, last_ns;
    uint64_t digest;
    uint8_t *text;
    uint16_t length;
};

struct learned {
    uint8_t client[16], address[16];
    struct told names[NAMES];     /* the latest one first */
};

int learned_init(struct tscope_scan *s)
{
    return table_init(&s->learned, sizeof(struct learned), 4, MAX_LEARNED, &s->key);
}

static void forget(struct learned *l)
{
    for (unsigned i = 0; i < NAMES; i++)
        mem_free(l->names[i].text);
}

void learned_end(struct tscope_scan *s)
{
    struct table *t = &s->learned;
    if (!t->slots)
        return;
    for (uint32_t i = table_oldest(t); i != TABLE_NONE; i = table_newer(t, i))
        forget(table_at(t, i));
    table_end(t);
}

static struct learned *entry(struct table *t, const uint8_t key[32])
{
    bool made;
    if (t->count == t->limit && table_find(t, key) == TABLE_NONE) {
        uint32_t oldest = table_oldest(t);
        forget(table_at(t, oldest));
        table_remove(t, oldest);
    }
    uint32_t index = table_put(t, key, &made);
    return index == TABLE_NONE ? NULL : table_at(t, index);
}

static void add(struct learned *l, int64_t time_ns, uint64_t digest, const uint8_t *name, uint16_t length)
{
    struct told told = {.first_ns = time_ns, .last_ns = time_ns, .digest = digest, .length = length};
    if (l->names[0].text && l->names[0].digest == digest) {
        l->names[0].last_ns = time_ns;
        return;
    }
    told.text = mem_new(length, 1);
    if (!told.text)
        return;
    memcpy(told.text, name, length);
    mem_free(l->names[NAMES - 1].text);
    memmove(&l->names[1], &l->names[0], (NAMES - 1) * sizeof l->names[0]);
    l->names[0] = told;
}

void learned_add(struct tscope_scan *s, const struct tscope_transaction *t, const struct tscope_message *m,
                 const uint8_t *name)
{
    uint8_t key[32];
    bool asked = (t->type == 1 || t->type == 28) && t->name_length && name;
    if (!asked || !(s->options.emit & (TSCOPE_FLOWS | TSCOPE_CANDIDATES)))
        return;
    uint64_t digest = digest_finish(digest_bytes(DIGEST_START, name, t->name_length));
    memcpy(key, t->client, 16);
    for (unsigned i = 0; i < 4 && i < m->n_addresses; i++) {
        memcpy(key + 16, m->addresses[i], 16);
        struct learned *l = entry(&s->learned, key);
        if (l)
            add(l, m->time_ns, digest, name, t->name_length);
    }
}

void learned_name(struct tscope_scan *s, struct flow *f)
{
    uint8_t key[32];
    if (!s->learned.count)
        return;
    memcpy(key, f->head.key.address[f->client], 16);
    memcpy(key + 16, f->head.key.address[!f->client], 16);
    uint32_t index = table_find(&s->learned, key);
    const struct learned *l = index == TABLE_NONE ? NULL : table_at(&s->learned, index);
    for (unsigned i = 0; l && i < NAMES && l->names[i].text; i++) {
        const struct told *told = &l->names[i];
        if (told->first_ns > f->first_ns)
            continue;
        if (f->first_ns - told->last_ns > REMEMBERED || !(f->name = store_take(&s->store, told->length)))
            return;
        memcpy(f->name, told->text, told->length);
        f->name_length = told->length;
        f->name_from = TSCOPE_NAME_DNS_ANSWER;
        return;
    }
}
