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

#ifdef TSCOPE_FAULTS
/* Let the allocation that comes `after` more allocations fail, once; negative: never. */
void mem_fail_after(long after);
#endif

#endif
