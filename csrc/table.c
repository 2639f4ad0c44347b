#include "table.h"

#include <string.h>

#include "core.h"
#include "memory.h"

struct table_link {
    uint32_t older, newer;
    uint32_t hash;                /* low bits of the hash, kept so that growing and removing need not hash again */
};

/* Entries and links lie in one block. */
static size_t bytes_of_entry(const struct table *t)
{
    return t->entry_size + sizeof(struct table_link);
}

static uint32_t hash_of(const struct table *t, const void *key)
{
    return (uint32_t)hash_words(&t->key, key, t->key_words);
}

int table_init(struct table *t, size_t entry_size, size_t key_words, uint32_t limit, const struct hash_key *key)
{
    memset(t, 0, sizeof *t);
    t->entry_size = entry_size;
    t->key_words = key_words;
    t->limit = limit;
    t->key = *key;
    t->oldest = t->newest = t->unused = TABLE_NONE;
    t->mask = 63;
    t->slots = mem_new(t->mask + 1, sizeof *t->slots);
    return t->slots ? TSCOPE_OK : TSCOPE_E_MEMORY;
}

void table_end(struct table *t)
{
    mem_free_table(t->entries, t->room, bytes_of_entry(t));
    mem_free(t->slots);
    memset(t, 0, sizeof *t);
}

static uint32_t slot_of(const struct table *t, const void *key, uint32_t hash)
{
    uint32_t slot = hash & t->mask;
    for (;; slot = (slot + 1) & t->mask) {
        uint32_t index = t->slots[slot];
        if (!index)
            return slot;
        if (t->links[index - 1].hash == hash && !memcmp(table_at(t, index - 1), key, 8 * t->key_words))
            return slot;
    }
}

uint32_t table_find(const struct table *t, const void *key)
{
    return t->slots[slot_of(t, key, hash_of(t, key))] - 1;   /* 0 - 1 is TABLE_NONE */
}

static void unlink_entry(struct table *t, uint32_t index)
{
    struct table_link *l = &t->links[index];
    if (l->older == TABLE_NONE)
        t->oldest = l->newer;
    else
        t->links[l->older].newer = l->newer;
    if (l->newer == TABLE_NONE)
        t->newest = l->older;
    else
        t->links[l->newer].older = l->older;
}

static void link_newest(struct table *t, uint32_t index)
{
    struct table_link *l = &t->links[index];
    l->older = t->newest;
    l->newer = TABLE_NONE;
    if (t->newest == TABLE_NONE)
        t->oldest = index;
    else
        t->links[t->newest].newer = index;
    t->newest = index;
}

void table_touch(struct table *t, uint32_t index)
{
    if (t->newest == index)
        return;
    unlink_entry(t, index);
    link_newest(t, index);
}

/* Linear probing without tombstones: entries behind the hole move up where their own place allows it. */
static void clear_slot(struct table *t, uint32_t slot)
{
    uint32_t hole = slot;
    for (uint32_t next = (slot + 1) & t->mask; t->slots[next]; next = (next + 1) & t->mask) {
        uint32_t home = t->links[t->slots[next] - 1].hash & t->mask;
        if (((next - home) & t->mask) >= ((next - hole) & t->mask)) {
            t->slots[hole] = t->slots[next];
            hole = next;
        }
    }
    t->slots[hole] = 0;
}

void table_remove(struct table *t, uint32_t index)
{
    uint32_t slot = t->links[index].hash & t->mask;
    while (t->slots[slot] != index + 1)
        slot = (slot + 1) & t->mask;
    clear_slot(t, slot);
    unlink_entry(t, index);
    t->links[index].newer = t->unused;
    t->unused = index;
    t->count--;
}

static bool grow_slots(struct table *t)
{
    uint32_t mask = t->mask * 2 + 1;
    uint32_t *slots = mem_new((size_t)mask + 1, sizeof *slots);
    if (!slots)
        return false;
    for (uint32_t index = t->oldest; index != TABLE_NONE; index = t->links[index].newer) {
        uint32_t slot = t->links[index].hash & mask;
        while (slots[slot])
            slot = (slot + 1) & mask;
        slots[slot] = index + 1;
    }
    mem_free(t->slots);
    t->slots = slots;
    t->mask = mask;
    return true;
}

static bool grow_entries(struct table *t)
{
    uint32_t room = t->room ? t->room * 2 : 32;
    if (room > t->limit)
        room = t->limit;
    uint8_t *entries = mem_table(room, bytes_of_entry(t));
    if (!entries)
        return false;
    struct table_link *links = (void *)(entries + room * t->entry_size);
    if (t->room) {
        memcpy(entries, t->entries, t->room * t->entry_size);
        memcpy(links, t->links, t->room * sizeof *links);
    }
    mem_free_table(t->entries, t->room, bytes_of_entry(t));
    t->entries = entries;
    t->links = links;
    t->room = room;
    return true;
}

static uint32_t free_entry(struct table *t)
{
    if (t->unused != TABLE_NONE) {
        uint32_t index = t->unused;
        t->unused = t->links[index].newer;
        return index;
    }
    if (t->fresh == t->room && !grow_entries(t))
        return TABLE_NONE;
    return t->fresh++;
}

uint32_t table_put(struct table *t, const void *key, bool *made)
{
    uint32_t hash = hash_of(t, key);
    uint32_t slot = slot_of(t, key, hash);
    *made = false;
    if (t->slots[slot]) {
        table_touch(t, t->slots[slot] - 1);
        return t->slots[slot] - 1;
    }
    if (t->count == t->limit) {
        table_remove(t, t->oldest);
        t->evicted++;
        slot = slot_of(t, key, hash);
    }
    if (t->count >= t->mask / 2) {
        if (!grow_slots(t))
            return TABLE_NONE;
        slot = slot_of(t, key, hash);
    }
    uint32_t index = free_entry(t);
    if (index == TABLE_NONE)
        return TABLE_NONE;
    memset(table_at(t, index), 0, t->entry_size);
    memcpy(table_at(t, index), key, 8 * t->key_words);
    t->links[index].hash = hash;
    t->slots[slot] = index + 1;
    link_newest(t, index);
    t->count++;
    *made = true;
    return index;
}

uint32_t table_oldest(const struct table *t)
{
    return t->oldest;
}

uint32_t table_newer(const struct table *t, uint32_t index)
{
    return t->links[index].newer;
}
