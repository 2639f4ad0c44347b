/* Both container targets: the reader alone, over windows that end where they end. */
#ifndef TSCOPE_FUZZ_READER_H
#define TSCOPE_FUZZ_READER_H

#include "fuzz.h"

/* Claims: each call makes progress or asks for more than it has; other windows give the same records and faults. */
void read_container(const uint8_t *data, size_t size, uint64_t cut);

#endif
