/* Records of one size, named by index, in blocks that never move: a pointer to a record holds until it is given back.
 *
 * Workload: up to a million live flows.  Blocks are aligned to cache lines, so that a record of whole lines touches no
 * other; they are not zeroed, since each record is when it is taken.  A free record keeps the next one's index in its
 * first word. */
#ifndef TSCOPE_POOL_H
#define TSCOPE_POOL_H

#include <stdbool.h>
#include <stddef.h>
#include <stdint.h>

#define POOL_NONE UINT32_MAX

enum { POOL_BLOCK = 512 };        /* records in a block */

struct arena;

struct pool {
    struct arena *arena;          /* where blocks come from, and are given back with all others */
    uint8_t **blocks;
    size_t size;                  /* of a record */
    uint32_t n_blocks;
    uint32_t used;                /* records ever taken: these, and no others, may be looked at */
    uint32_t free;                /* list of those given back */
};

void pool_init(struct pool *p, size_t size, struct arena *arena);
void pool_end(struct pool *p);
/* A zeroed record; *index names it.  NULL: no memory. */
void *pool_take(struct pool *p, uint32_t *index);
void pool_give(struct pool *p, uint32_t index);

/* `size` is that of the pool, which the callers know when they are compiled. */
static inline void *pool_at(const struct pool *p, uint32_t index, size_t size)
{
    return p->blocks[index / POOL_BLOCK] + (size_t)(index % POOL_BLOCK) * size;
}

#endif
