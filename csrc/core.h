/* What the units of the core share among themselves.  Nothing here is seen outside csrc/. */
#ifndef TSCOPE_CORE_H
#define TSCOPE_CORE_H

#include <stdbool.h>
#include <stddef.h>
#include <stdint.h>

#include "cursor.h"
#include "hash.h"
#include "tamperscope.h"

#define TSCOPE_NO_NS (-1)
#define SECOND ((int64_t)1000000000)
#define MAX_TIME (((int64_t)1 << 62) - ((int64_t)1 << 50))   /* the year 2116: times and differences of times fit */

/* ---------------------------------------------------------------- limits, each with its reason */

enum {
    MAX_RECORD = 262144,          /* libpcap's own bound for a captured packet */
    MAX_BLOCK = 1 << 24,          /* pcapng: larger blocks are stepped over, not held */
    MAX_INTERFACES = 1 << 16,     /* per file; sections start anew in the format, not here */
    MAX_LAYERS = 16,              /* headers of one frame, tunnels and tags included */
    MAX_IP_HEADERS = 4,           /* of these, IP headers: more is an attack or a loop, not a network */
    MAX_EXTENSIONS = 128,         /* IPv6 extension headers of one packet: linear in its bytes, so this is generous */
    MAX_HELLO = 16384,            /* a ClientHello or request head that is reassembled; browsers send 2 KiB */
    MAX_NAME = 255,
    MAX_NOTICES = 64,
    GROUP = 32                    /* packets decoded before their flows are looked up, to hide cache misses */
};

/* ---------------------------------------------------------------- packets */

struct flow_head;

/* Both ends of a flow in a canonical order (the smaller address, then port, first), so that both directions find it. */
struct flow_key {
    uint8_t address[2][16];
    uint16_t port[2];
    uint8_t protocol;
    uint8_t zero[3];
};
_Static_assert(sizeof(struct flow_key) == 40, "hashed as five words");

/* A decoded frame.  Pointers lead into the input buffer and hold for one group.  What the decoders fill in comes first
 * and is zeroed together; what decode itself always sets comes after it. */
struct packet {
    struct flow_key key;          /* until its ends are put in order, address 0 is the source; then `from` says */
    const uint8_t *payload;
    uint32_t payload_have;        /* bytes of the payload in the capture */
    uint32_t payload_length;      /* as declared */
    uint32_t seq, ack;
    uint16_t flags, window;
    uint16_t options_digest;
    uint16_t ip_id;
    uint16_t source_port, destination_port;
    uint8_t options_length;
    uint8_t protocol;             /* 0: no IP packet found */
    uint8_t ip_version;
    uint8_t ttl, tos, ip_flags;
    uint8_t from;                 /* which end of the key sent it */
    uint8_t has_ports;            /* TCP or UDP whose header was whole: belongs to a flow */
    uint32_t anomalies;           /* from here to `outer`: 0 in nearly all packets */
    uint32_t payload_digest;      /* only where the payload itself is gone: see struct lone */
    uint32_t fragment_id;
    uint16_t fragment;            /* offset in bytes, and 1 where more follow; 0: no fragment.  Its bytes are `payload` */
    uint8_t tunnel;               /* enum tscope_tunnel: the innermost one that carries the packet */
    uint8_t carrier;              /* the same while no IP header was found in it yet */
    uint8_t outer_ip;             /* IP headers outside of this one */
    uint8_t quotes;               /* an ICMP error: key, from, seq, ack (IP ID) are those of the packet that it quotes */
    uint8_t outer[2][16];         /* and these its own source and destination, set only then */
    int64_t time_ns;
    uint64_t frame;
    uint64_t hash;
    struct flow_head *likely;     /* the record in the first slot of its tag, or NULL; it may be another's by now */
    uint32_t likely_item;
    uint32_t captured_length, wire_length;
    uint32_t interface;
    uint16_t vlan, link_type;
};

/* In two, since compilers make one long memset a string instruction, which is slow to start. */
static inline void packet_clear(struct packet *p)
{
    memset(&p->key, 0, sizeof p->key);
    memset(&p->payload, 0, offsetof(struct packet, outer) - offsetof(struct packet, payload));
}

static inline const uint8_t *packet_source(const struct packet *p)
{
    return p->key.address[p->from];
}
static inline const uint8_t *packet_destination(const struct packet *p)
{
    return p->key.address[!p->from];
}

/* ---------------------------------------------------------------- reading */

struct record {
    const uint8_t *data;
    int64_t time_ns;
    uint32_t captured_length, wire_length;
    uint32_t interface;
};

struct interface {
    uint32_t link_type, snap_length;
    uint32_t layer;               /* enum layer: where decoding begins */
    uint64_t per_second;          /* ticks; 0: a power of ten is in `multiply` or `divide` */
    uint64_t multiply, divide;    /* ticks to nanoseconds */
    int64_t offset_ns;
};

/* Ticks of its clock per second, which a power of ten of up to 19 is small enough for. */
static inline uint64_t interface_ticks(const struct interface *i)
{
    return i->per_second ? i->per_second : i->divide > 1 ? (uint64_t)SECOND * i->divide : (uint64_t)SECOND / i->multiply;
}

enum container { CONTAINER_UNKNOWN, CONTAINER_PCAP, CONTAINER_PCAPNG };

/* Where the reader stands in its container.  It sees a window of bytes and never keeps a pointer into it. */
struct reader {
    struct interface *interfaces;
    uint32_t n_interfaces, room;
    uint32_t section_start;       /* interface 0 of this section in `interfaces` */
    uint64_t offset;              /* of the window's first byte, from the start of the input */
    uint64_t skip;                /* bytes still to be stepped over */
    uint64_t need;                /* bytes of the record that is being waited for */
    struct tscope_notice fault;   /* why a reader function returned a negative code, or what it stepped over */
    enum container container;
    bool swapped, nanoseconds;
    uint32_t more_header;         /* pcap: bytes of a record's header beyond the 16 of most files */
    uint8_t turned;               /* pcap before 2.4: lengths stand in the other order (enum, file_pcap.c) */
    bool flawed;                  /* `fault` is to be reported though reading goes on */
};

/* What a reader function found at the start of the window. */
enum found { FOUND_RECORD, FOUND_OTHER, FOUND_MORE, FOUND_FAULT };

/* Looks at `length` bytes; *used is how many the thing found took.  FOUND_MORE: more bytes are needed. */
enum found reader_next(struct reader *r, const uint8_t *data, size_t length, struct record *out, size_t *used);
enum found pcap_start(struct reader *r, const uint8_t *data, size_t length, size_t *used);
enum found pcap_next(struct reader *r, const uint8_t *data, size_t length, struct record *out, size_t *used);
enum found pcapng_next(struct reader *r, const uint8_t *data, size_t length, struct record *out, size_t *used);
bool reader_add_interface(struct reader *r, const struct interface *i);
enum found reader_fault(struct reader *r, int code, uint64_t at, uint64_t need, uint64_t have);
void reader_end(struct reader *r);

/* ---------------------------------------------------------------- decoding */

enum layer {
#define LAYER(id, function) LAYER_##id,
#include "layers.def"
#undef LAYER
    LAYER_NONE,                   /* the end: nothing more to decode */
};

#define LAYER(id, function) enum layer function(struct cursor *c, struct packet *p);
#include "layers.def"
#undef LAYER

enum layer layer_of_link(uint32_t link_type);
enum layer layer_of_ethertype(uint16_t type);
enum layer layer_of_ip_protocol(uint8_t protocol, struct packet *p);
/* The layer behind a UDP header, for the ports at which tunnels are received; LAYER_NONE elsewhere. */
enum layer layer_of_udp_port(const struct packet *p);
/* What another file's decoder goes on with. */
enum layer layer_link_cut(struct packet *p);
enum layer layer_by_ethertype(uint16_t type, struct packet *p);
/* Decodes on from any layer to the innermost packet. */
void decode_rest(enum layer layer, struct cursor *c, struct packet *p);
/* Puts the ends of a decoded packet in order and hashes them. */
void decode_key(struct packet *p, const struct hash_key *key);
/* Digest of a list of TCP options. */
uint16_t tcp_options_digest(struct cursor options, struct packet *p);
/* Whether a datagram should be shown to layer_of_udp_port. */
bool udp_may_be_tunnel(const struct packet *p);
/* Decodes a frame with nothing odd about it; false (and *p undefined) where decode must look closer. */
bool decode_plain(const struct record *r, const struct hash_key *key, struct packet *p);
/* Fills *p from the record; p->frame is the caller's. */
void decode(const struct record *r, const struct interface *i, const struct hash_key *key, struct packet *p);

/* ---------------------------------------------------------------- names in first bytes */

enum parsed { PARSED_NO, PARSED_MORE, PARSED_YES };

struct hello {
    uint32_t length;              /* bytes of the stream up to its end (or those needed to go on: PARSED_MORE) */
    uint8_t name[MAX_NAME];
    uint16_t name_length;
    bool has_sni, has_ech;
};

/* A TLS ClientHello at the start of a stream.  `scratch` holds MAX_HELLO bytes, for a message over several records. */
enum parsed tls_client_hello(const uint8_t *data, size_t length, uint8_t *scratch, struct hello *out);

/* The same without records, as QUIC carries it (RFC 9001 section 4.1.3). */
enum parsed tls_handshake_hello(const uint8_t *message, size_t length, struct hello *out);

/* An HTTP/1 request head, up to its Host.  *line is where its first unfinished line begins, kept between calls. */
enum parsed http_request(const uint8_t *data, size_t length, uint32_t *line, struct hello *out);

struct dns_message {
    struct tscope_message row;    /* all but frame, time and IP fields */
    uint64_t name_digest;
    uint16_t id, type, class_;
    uint8_t name[2 * MAX_NAME];   /* presentation form: a dot or backslash in a label takes two */
    uint16_t name_length;
    bool has_question;
};

/* False where it is no DNS message at all (too short for a header). */
bool dns_parse(const uint8_t *data, size_t have, size_t length, struct dns_message *out);

struct dns_record {
    uint32_t ttl;
    uint16_t type, class_, length;
    uint8_t text[4096];           /* as in tscope_record */
};

/* Steps through the answer section of a message; `take` may be told fewer records than the header says.  False: it
 * stopped. */
bool dns_answers(const uint8_t *data, size_t have, bool (*take)(void *owner, const struct dns_record *), void *owner);
uint8_t address_kind(const uint8_t address[16]);
/* Of one label, or of a zone for local use; presentation form, lower case. */
bool is_local_name(const uint8_t *name, size_t length);

/* ---------------------------------------------------------------- self-tests: NULL or what failed */

const char *selftest_cursor(void);
const char *selftest_memory(void);
const char *selftest_table(void);
const char *selftest_tls(void);
const char *selftest_http(void);
const char *selftest_dns(void);
const char *selftest_crypto(void);
const char *selftest_quic(void);
const char *selftest_response(void);
const char *selftest_tls_server(void);

#endif
