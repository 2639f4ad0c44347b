/* From a window of bytes to the next record, whatever the container. */
#include "core.h"
#include "memory.h"

enum found reader_fault(struct reader *r, int code, uint64_t at, uint64_t need, uint64_t have)
{
    r->fault = (struct tscope_notice){.code = code, .offset = r->offset + at, .need = need, .have = have};
    return FOUND_FAULT;
}

bool reader_add_interface(struct reader *r, const struct interface *i)
{
    if (r->n_interfaces == r->room) {
        uint32_t room = r->room ? 2 * r->room : 4;
        struct interface *grown = room > MAX_INTERFACES ? NULL : mem_resize(r->interfaces, room, sizeof *grown);
        if (!grown)
            return false;
        r->interfaces = grown;
        r->room = room;
    }
    r->interfaces[r->n_interfaces] = *i;
    r->interfaces[r->n_interfaces++].layer = layer_of_link(i->link_type);
    return true;
}

void reader_end(struct reader *r)
{
    mem_free(r->interfaces);
    r->interfaces = NULL;
}

static enum found start(struct reader *r, const uint8_t *data, size_t length, size_t *used)
{
    struct cursor c = cursor_over(data, length);
    const uint8_t *magic = cursor_take(&c, 4);
    if (!magic) {
        r->need = 4;
        return FOUND_MORE;
    }
    if (load_be32(magic) == 0x0a0d0d0a) {
        r->container = CONTAINER_PCAPNG;
        return FOUND_OTHER;
    }
    return pcap_start(r, data, length, used);
}

enum found reader_next(struct reader *r, const uint8_t *data, size_t length, struct record *out, size_t *used)
{
    *used = 0;
    r->flawed = false;
    if (r->skip) {
        size_t n = r->skip < length ? (size_t)r->skip : length;
        r->skip -= n;
        *used = n;
        return n ? FOUND_OTHER : FOUND_MORE;
    }
    switch (r->container) {
    case CONTAINER_PCAP:
        return pcap_next(r, data, length, out, used);
    case CONTAINER_PCAPNG:
        return pcapng_next(r, data, length, out, used);
    case CONTAINER_UNKNOWN:
        break;
    }
    return start(r, data, length, used);
}
