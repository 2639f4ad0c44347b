/* One frame through the decoders, in a block that ends where it ends. */
#ifndef TSCOPE_FUZZ_FRAME_H
#define TSCOPE_FUZZ_FRAME_H

#include "core.h"
#include "fuzz.h"

/* Claims: nothing is left of what was in *p before, payload lies in the frame, both directions have one key, and the hash
 * key changes nothing but the hash.  *p keeps no pointers when it returns. */
void decode_frame(uint32_t link_type, const uint8_t *data, size_t size, size_t wire, struct packet *p);

#endif
