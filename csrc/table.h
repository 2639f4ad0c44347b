/* A bounded hash table with a least-recently-used order, for everything but flows.
 *
 * Workload: some updates per flow or DNS message, not per packet.  Entries are of one size and begin with their key, a
 * whole number of 8-byte words.  Entries live in one array that grows by doubling (fresh memory is only paid for when
 * it is used), so they are named by index, and a pointer holds only until the next table_put.
 *
 * What is evicted when the table is full follows from the order of use alone, never from the hash: results must not
 * depend on its key. */
#ifndef TSCOPE_TABLE_H
#define TSCOPE_TABLE_H

#include <stdbool.h>
#include <stddef.h>
#include <stdint.h>

#include "hash.h"

#define TABLE_NONE UINT32_MAX

struct table {
    uint8_t *entries;
    struct table_link *links;     /* parallel to entries, and behind them in the same block */
    uint32_t *slots;              /* index + 1; 0: empty */
    struct hash_key key;
    uint64_t evicted;
    size_t entry_size;
    size_t key_words;
    uint32_t limit;               /* most entries */
    uint32_t room;                /* entries allocated */
    uint32_t mask;                /* slots - 1 */
    uint32_t count;
    uint32_t oldest, newest;
    uint32_t unused;              /* list of free entries, linked by `newer` */
    uint32_t fresh;               /* entries never used yet start here */
};

int table_init(struct table *t, size_t entry_size, size_t key_words, uint32_t limit, const struct hash_key *key);
void table_end(struct table *t);

static inline void *table_at(const struct table *t, uint32_t index)
{
    return t->entries + (size_t)index * t->entry_size;
}

/* Index of the entry with this key, or TABLE_NONE.  Does not touch the order. */
uint32_t table_find(const struct table *t, const void *key);
/* Index of the entry with this key, made (zeroed but for the key) where there was none; it becomes the newest.  A full
 * table gives up its oldest entry and counts it.  TABLE_NONE: no memory. */
uint32_t table_put(struct table *t, const void *key, bool *made);
void table_touch(struct table *t, uint32_t index);
void table_remove(struct table *t, uint32_t index);
/* In order of use, oldest first: table_oldest, then table_newer until TABLE_NONE. */
uint32_t table_oldest(const struct table *t);
uint32_t table_newer(const struct table *t, uint32_t index);

#endif
