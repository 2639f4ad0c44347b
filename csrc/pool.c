#include "pool.h"

#include <string.h>

#include "memory.h"

void pool_init(struct pool *p, size_t size, struct arena *arena)
{
    memset(p, 0, sizeof *p);
    p->size = size;
    p->arena = arena;
    p->free = POOL_NONE;
}

void pool_end(struct pool *p)
{
    mem_free(p->blocks);
    pool_init(p, p->size, p->arena);
}

static bool grow(struct pool *p)
{
    if ((p->n_blocks & (p->n_blocks - 1)) == 0) {      /* 0, 1, 2, 4 ...: full */
        uint8_t **blocks = mem_resize(p->blocks, p->n_blocks ? 2 * (size_t)p->n_blocks : 1, sizeof *blocks);
        if (!blocks)
            return false;
        p->blocks = blocks;
    }
    p->blocks[p->n_blocks] = arena_take(p->arena, POOL_BLOCK * p->size);
    if (!p->blocks[p->n_blocks])
        return false;
    p->n_blocks++;
    return true;
}

void *pool_take(struct pool *p, uint32_t *index)
{
    *index = p->free;
    if (p->free == POOL_NONE) {
        if (p->used == p->n_blocks * POOL_BLOCK && !grow(p))
            return NULL;
        *index = p->used++;
    }
    void *record = pool_at(p, *index, p->size);
    if (p->free != POOL_NONE) {
        memcpy(&p->free, record, sizeof p->free);
        if (p->free != POOL_NONE)                      /* the next one to be taken was given back long ago */
            __builtin_prefetch(pool_at(p, p->free, p->size), 1);
    }
    memset(record, 0, p->size);
    return record;
}

void pool_give(struct pool *p, uint32_t index)
{
    memcpy(pool_at(p, index, p->size), &p->free, sizeof p->free);
    p->free = index;
}
