/* What the two files of the context share: look-ups in bounded tables. */
#ifndef TSCOPE_CONTEXT_H
#define TSCOPE_CONTEXT_H

#include "scan.h"

#define NEAR_NS (120 * SECOND)    /* "near" is this stretch of time and its neighbours */

/* The entry for a key; NULL: no memory, and then there is no baseline. */
static inline void *context_entry(struct table *t, const void *key, bool *made)
{
    uint32_t index = table_put(t, key, made);
    return index == TABLE_NONE ? NULL : table_at(t, index);
}

static inline const void *context_lookup(const struct table *t, const void *key)
{
    uint32_t index = table_find(t, key);
    return index == TABLE_NONE ? NULL : table_at(t, index);
}

/* A count without the candidate's own part, which an eviction may have taken already. */
static inline uint32_t context_without(uint32_t count, bool own)
{
    return count - (own && count);
}

static inline uint64_t context_digest(const uint8_t *bytes, size_t length)
{
    return length ? digest_finish(digest_bytes(DIGEST_START, bytes, length)) : 0;
}

#endif
