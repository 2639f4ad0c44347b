/* The head of an HTTP request.  The first byte says in what steps it comes.
 * Claims: in steps, with the line kept between them, it gives what it gives at once. */
#include <stdlib.h>
#include <string.h>

#include "core.h"
#include "fuzz.h"

static enum parsed parse(const uint8_t *data, size_t size, uint32_t *line, struct hello *out)
{
    uint8_t *copy = exact_copy(data, size);
    memset(out, 0x5a, sizeof *out);
    enum parsed parsed = http_request(copy, size, line, out);
    HOLDS(parsed == PARSED_NO || out->name_length <= MAX_NAME);
    HOLDS(parsed != PARSED_MORE || out->length > size);
    HOLDS(*line <= size);
    free(copy);
    return parsed;
}

int LLVMFuzzerTestOneInput(const uint8_t *data, size_t size)
{
    struct hello whole, h;
    uint32_t line = 0;
    if (!size)
        return 0;
    size_t step = (size_t)data[0] + 1, there = 0;
    data++;
    size--;
    enum parsed at_once = parse(data, size, &line, &whole), parsed = PARSED_MORE;
    line = 0;
    do {
        there = step < size - there ? there + step : size;
        parsed = parse(data, there, &line, &h);
    } while (parsed == PARSED_MORE && there < size);
    HOLDS(parsed == at_once);
    if (parsed == PARSED_YES)
        HOLDS(h.name_length == whole.name_length && !memcmp(h.name, whole.name, h.name_length));
    return 0;
}
