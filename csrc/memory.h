/* All memory of the core comes through here, so that a test can let any allocation fail. */
#ifndef TSCOPE_MEMORY_H
#define TSCOPE_MEMORY_H

#include <stddef.h>

/* Zeroed memory for `count` items of `size` bytes, or NULL. */
void *mem_new(size_t count, size_t size);
/* The same, aligned to cache lines of 64 bytes and not zeroed; the size is rounded up to whole lines. */
void *mem_lines(size_t count, size_t size);
/* Grow or shrink to `count` items; new bytes are not zeroed.  NULL leaves the old block as it is. */
void *mem_resize(void *block, size_t count, size_t size);
void mem_free(void *block);

#ifdef TSCOPE_FAULTS
/* Let the allocation that comes `after` more allocations fail, once; negative: never. */
void mem_fail_after(long after);
#endif

#endif
