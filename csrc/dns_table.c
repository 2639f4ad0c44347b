/* The dns table: every DNS message of port 53 as a row, with its answer records.  Only made where it is asked for. */
#include "memory.h"
#include "scan.h"

enum { BATCH_MESSAGES = 4096, BATCH_TEXT = 4 << 20 };

bool dns_table_full(const struct tscope_scan *s)
{
    return s->dns_output.n_rows >= BATCH_MESSAGES || s->dns_output.n_text >= BATCH_TEXT;
}

void dns_table_end(struct tscope_scan *s)
{
    mem_free(s->dns_output.rows);
    mem_free(s->dns_output.records);
    mem_free(s->dns_output.text);
    memset(&s->dns_output, 0, sizeof s->dns_output);
}

static bool reserve(void **rows, size_t *room, size_t want, size_t size)
{
    if (want <= *room)
        return true;
    size_t more = *room ? *room : 64;
    while (more < want)
        more *= 2;
    void *grown = mem_resize(*rows, more, size);
    if (!grown)
        return false;
    *rows = grown;
    *room = more;
    return true;
}

static bool add_text(struct dns_output *o, const uint8_t *text, size_t length, uint32_t *offset)
{
    if (!reserve((void **)&o->text, &o->room_text, o->n_text + length, 1))
        return false;
    *offset = (uint32_t)o->n_text;
    if (length)
        memcpy(o->text + o->n_text, text, length);
    o->n_text += length;
    return true;
}

static bool add_record(void *owner, const struct dns_record *record)
{
    struct dns_output *o = owner;
    struct tscope_record row = {.ttl = record->ttl, .type = record->type, .class_ = record->class_,
                                .text_length = record->length};
    if (!reserve((void **)&o->records, &o->room_records, o->n_records + 1, sizeof *o->records) ||
        !add_text(o, record->text, record->length, &row.text_offset))
        return false;
    o->records[o->n_records++] = row;
    return true;
}

bool dns_table_add(struct tscope_scan *s, const struct flow *f, const struct packet *p, const uint8_t *data, size_t have)
{
    struct dns_output *o = &s->dns_output;
    const struct dns_message *m = &s->dns;
    struct tscope_dns row = {.frame = p->frame, .flow = f->number, .time_ns = p->time_ns, .name_length = m->name_length,
                             .source_port = p->source_port, .destination_port = p->destination_port, .id = m->id,
                             .flags = m->row.flags, .type = m->type, .class_ = m->class_, .what = m->row.what,
                             .protocol = p->protocol, .record_offset = (uint32_t)o->n_records};
    memcpy(row.source, packet_source(p), 16);
    memcpy(row.destination, packet_destination(p), 16);
    if (!reserve((void **)&o->rows, &o->room_rows, o->n_rows + 1, sizeof *o->rows) ||
        !add_text(o, m->name, m->name_length, &row.name_offset) || !dns_answers(data, have, add_record, o))
        return false;
    row.record_count = (uint32_t)o->n_records - row.record_offset;
    o->rows[o->n_rows++] = row;
    return true;
}

int dns_table_take(struct tscope_scan *s, struct tscope_batch **batch)
{
    struct dns_output *o = &s->dns_output;
    if (!o->n_rows)
        return TSCOPE_OK;
    struct tscope_batch *out = mem_new(1, sizeof *out);
    if (!out)
        return TSCOPE_E_MEMORY;
    out->dns = o->rows;
    out->records = o->records;
    out->text = o->text;
    out->n_dns = o->n_rows;
    out->n_records = o->n_records;
    out->n_text = o->n_text;
    memset(o, 0, sizeof *o);
    *batch = out;
    return TSCOPE_OK;
}
