/* All memory of the core comes through here, so that a test can let any allocation fail. */
#ifndef TSCOPE_MEMORY_H
#define TSCOPE_MEMORY_H

#include <stddef.h>

/* Zeroed memory for `count` items of `size` bytes, or NULL. */
void *mem_new(size_t count, size_t size);
/* Grow or shrink to `count` items; new bytes are not zeroed.  NULL leaves the old block as it is. */
void *mem_resize(void *block, size_t count, size_t size);
void mem_free(void *block);

/* Zeroed memory for a table of any size, on large pages where it fills some; given back with its size. */
void *mem_table(size_t count, size_t size);
void mem_free_table(void *table, size_t count, size_t size);

/* Memory that is given back all at once, in pieces of 2 MiB.  From the second piece on large pages are asked for: a
 * capture with many flows touches every page of their records once, and on small pages each first touch is a fault of
 * some microseconds. */
struct arena {
    struct arena_piece *pieces;
    unsigned char *at;
    size_t left;                  /* bytes behind `at` */
};

/* `bytes` of it, aligned to cache lines, not zeroed; NULL: no memory.  At most MEM_ARENA_MOST. */
enum { MEM_ARENA_MOST = 1 << 20 };
void *arena_take(struct arena *a, size_t bytes);
void arena_end(struct arena *a);

/* Small blocks that come and go: names, DNS messages, first bytes of streams.
 *
 * Workload: some for each flow that has a name.  Sizes are rounded up to a power of two, and a block given back serves
 * the next of its size; a general allocator joins and splits neighbours each time, which was a twentieth of all time. */
enum { STORE_CLASSES = 11, STORE_LEAST = 32, STORE_MOST = STORE_LEAST << (STORE_CLASSES - 1) };

struct store {
    struct arena *arena;
    struct store_block *free[STORE_CLASSES];
};

/* `bytes` (at most STORE_MOST), not zeroed; NULL: no memory. */
void *store_take(struct store *s, size_t bytes);
/* Gives a block back, with the size that was asked for; NULL is none. */
void store_give(struct store *s, void *block, size_t bytes);
/* Whether blocks have to be given back before the arena ends (only under a sanitizer, where each is one of its own). */
extern const int store_must_give;

#ifdef TSCOPE_FAULTS
/* Let the allocation that comes `after` more allocations fail, once; negative: never. */
void mem_fail_after(long after);
#endif

#endif
