#include "memory.h"

#include <stdbool.h>
#include <stdint.h>
#include <stdlib.h>
#include <sys/mman.h>

#ifdef TSCOPE_FAULTS
static long fail_after = -1;

void mem_fail_after(long after)
{
    fail_after = after;
}

static int fails(void)
{
    return fail_after >= 0 && fail_after-- == 0;
}
#else
#define fails() 0
#endif

void *mem_new(size_t count, size_t size)
{
    if (fails())
        return NULL;
    return calloc(count ? count : 1, size);
}

void *mem_resize(void *block, size_t count, size_t size)
{
    size_t bytes;
    if (fails() || __builtin_mul_overflow(count ? count : 1, size, &bytes))
        return NULL;
    return realloc(block, bytes);
}

void mem_free(void *block)
{
    free(block);
}

/* ---------------------------------------------------------------- large pages */

enum { LINE = 64, PIECE = 2 << 20 };   /* a large page of x86-64 and of most arm64 kernels */

static size_t whole_pieces(size_t bytes)
{
    return (bytes + PIECE - 1) & ~(size_t)(PIECE - 1);
}

/* Zeroed, and aligned to PIECE: more is mapped than needed, and what lies around it given back. */
static unsigned char *map_pieces(size_t bytes, bool large)
{
    size_t size = whole_pieces(bytes);
    unsigned char *all = mmap(NULL, size + PIECE, PROT_READ | PROT_WRITE, MAP_PRIVATE | MAP_ANONYMOUS, -1, 0);
    if (all == MAP_FAILED)
        return NULL;
    size_t before = (PIECE - (uintptr_t)all % PIECE) % PIECE;
    if (before)
        munmap(all, before);
    munmap(all + before + size, PIECE - before);
#ifdef MADV_HUGEPAGE
    if (large)
        madvise(all + before, size, MADV_HUGEPAGE);    /* a wish: small pages do as well */
#endif
    (void)large;
    return all + before;
}

static bool fills_pieces(size_t count, size_t size)
{
    size_t bytes;
    return !__builtin_mul_overflow(count, size, &bytes) && bytes >= PIECE && bytes < SIZE_MAX / 2;
}

void *mem_table(size_t count, size_t size)
{
    if (!fills_pieces(count, size))
        return mem_new(count, size);
    return fails() ? NULL : map_pieces(count * size, true);
}

void mem_free_table(void *table, size_t count, size_t size)
{
    if (!fills_pieces(count, size))
        mem_free(table);
    else if (table)
        munmap(table, whole_pieces(count * size));
}

/* Stands at the start of each piece. */
struct arena_piece {
    struct arena_piece *next;
    size_t size;
};

#ifdef __SANITIZE_ADDRESS__
enum { OF_ITS_OWN = 1 };          /* each block, so that the sanitizer sees its ends */
#else
enum { OF_ITS_OWN = 0 };
#endif

static bool arena_grow(struct arena *a, size_t bytes)
{
    size_t size = OF_ITS_OWN ? LINE + bytes : PIECE;
    struct arena_piece *piece = OF_ITS_OWN ? aligned_alloc(LINE, size) : (void *)map_pieces(size, a->pieces != NULL);
    if (!piece)
        return false;
    piece->next = a->pieces;
    piece->size = size;
    a->pieces = piece;
    a->at = (unsigned char *)piece + LINE;
    a->left = size - LINE;
    return true;
}

void *arena_take(struct arena *a, size_t bytes)
{
    bytes = (bytes + LINE - 1) & ~(size_t)(LINE - 1);
    if (fails() || bytes > MEM_ARENA_MOST || (bytes > a->left && !arena_grow(a, bytes)))
        return NULL;
    void *taken = a->at;
    a->at += bytes;
    a->left -= bytes;
    return taken;
}

void arena_end(struct arena *a)
{
    while (a->pieces) {
        struct arena_piece *piece = a->pieces;
        a->pieces = piece->next;
        if (OF_ITS_OWN)
            free(piece);
        else
            munmap(piece, piece->size);
    }
    a->at = NULL;
    a->left = 0;
}

/* ---------------------------------------------------------------- small blocks */

const int store_must_give = OF_ITS_OWN;

struct store_block {
    struct store_block *next;
};

static unsigned class_of(size_t bytes)
{
    return bytes <= STORE_LEAST ? 0 : (unsigned)(64 - __builtin_clzll(bytes - 1)) - 5;
}

static bool store_grow(struct store *s, unsigned class)
{
    size_t size = (size_t)STORE_LEAST << class, n = size < 16384 ? 16384 / size : 1;
    unsigned char *blocks = arena_take(s->arena, n * size);
    if (!blocks)
        return false;
    while (n-- > 0) {
        struct store_block *b = (struct store_block *)(void *)(blocks + n * size);
        b->next = s->free[class];
        s->free[class] = b;
    }
    return true;
}

void *store_take(struct store *s, size_t bytes)
{
    unsigned class = class_of(bytes);
    if (fails() || bytes > STORE_MOST)
        return NULL;
    if (OF_ITS_OWN)
        return malloc(bytes ? bytes : 1);
    if (!s->free[class] && !store_grow(s, class))
        return NULL;
    struct store_block *b = s->free[class];
    s->free[class] = b->next;
    return b;
}

void store_give(struct store *s, void *block, size_t bytes)
{
    if (OF_ITS_OWN) {
        free(block);
        return;
    }
    if (!block)
        return;
    struct store_block *b = block;
    unsigned class = class_of(bytes);
    b->next = s->free[class];
    s->free[class] = b;
}
