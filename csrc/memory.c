#include "memory.h"

#include <stdint.h>
#include <stdlib.h>

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

void *mem_lines(size_t count, size_t size)
{
    size_t bytes;
    if (fails() || __builtin_mul_overflow(count, size, &bytes) || bytes > SIZE_MAX - 63)
        return NULL;
    return aligned_alloc(64, (bytes + 63) & ~(size_t)63);
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
