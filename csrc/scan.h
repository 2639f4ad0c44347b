/* The state of one scan, and what its units offer each other.  One owner: everything here is freed by tscope_free. */
#ifndef TSCOPE_SCAN_H
#define TSCOPE_SCAN_H

#include "answer.h"
#include "core.h"
#include "memory.h"
#include "pool.h"
#include "quic.h"
#include "table.h"
#include "wheel.h"

#define NONE UINT32_MAX

/* ---------------------------------------------------------------- the capture's clock (clock.c) */

/* Packet time, made fit for timers: it never runs back, and a jump of over an hour moves it only when eight packets in
 * a row agree. */
struct clock {
    int64_t now;
    int64_t proposed;
    unsigned agreeing;
    bool started;
};

#define JUMP (3600 * SECOND)

/* What the clock does at a packet that does not simply follow. */
bool clock_decide(struct clock *c, int64_t time_ns, int64_t *jump);

/* True where the clock jumped (the caller tells the user). */
static inline bool clock_advance(struct clock *c, int64_t time_ns, int64_t *jump)
{
    if (!c->started || time_ns < c->now || (uint64_t)time_ns - (uint64_t)c->now > (uint64_t)JUMP)
        return clock_decide(c, time_ns, jump);
    c->agreeing = 0;
    c->now = time_ns;
    return false;
}

/* ---------------------------------------------------------------- traces (trace.c) */

/* Workload: most flows are short, so a page holds four rows (pages of eight took twice the memory on `small`). */
enum { PAGE_ROWS = 4, MAX_TRACE = 4096, LOOK_BACK = 16 };

struct trace_page {
    uint32_t next, previous;
    uint32_t owner;               /* flow; NONE: free */
    uint32_t used;
};

/* Pages, and the rows of all of them. */
struct trace_block;

/* A pool of pages of rows.  When it is dry, a hand goes round and takes the pages of the first unmarked flow it meets:
 * about the oldest, and always the same for the same packets. */
struct traces {
    struct trace_block **blocks;
    uint32_t n_pages, room, limit;
    uint32_t free;
    uint32_t hand;
};

/* ---------------------------------------------------------------- first bytes of a stream (stream.c) */

enum { MAX_PARTS = 32 };          /* QUIC clients cut their hello into a dozen frames, in any order */

struct stream_part {
    uint32_t from, to;            /* bytes that are there; parts are in order and do not touch */
};

struct stream {
    uint8_t *data;
    struct quic_stream *quic;     /* of a QUIC flow */
    uint32_t room;
    uint32_t wanted;              /* not worth parsing before so many bytes are there */
    uint32_t line;                /* of http_request */
    uint32_t n_parts;
    struct stream_part parts[MAX_PARTS];
};

/* ---------------------------------------------------------------- answers (answer.c) */

/* What is kept of a server's answer.  Workload: made for each flow that is answered, and given back with its trace. */
struct kept_answer {
    struct stream *stream;        /* its bytes, while they do not say enough */
    uint32_t seq;                 /* of its first byte */
    uint32_t digest, length;      /* of its first packet's payload */
    struct tscope_answer row;
    uint8_t text[];               /* the words */
};

/* ---------------------------------------------------------------- flows (flow_*.c) */

/* What one end did: one cache line, touched by each of its packets. */
struct side {
    int64_t last_ns;
    uint64_t last_frame;
    uint64_t bytes;
    uint32_t packets;
    uint32_t next_seq;            /* after the highest byte it sent (or that the other end acknowledged) */
    uint32_t last_seq, last_ack;
    uint32_t resets;
    uint32_t traced_bits;         /* one bit of 32 for each of its packets in the trace: see traced_bit */
    uint16_t window, ip_id;
    uint16_t flags;               /* all, or-ed */
    uint16_t last_flags, last_length;
    uint8_t copies;
    uint8_t after_reset;          /* rows traced since a reset or FIN */
    uint8_t ttl, ttl_min, ttl_max;/* of packets that are not resets */
    bool seq_known : 1, ack_known : 1;
    bool traced : 1;              /* its latest packet stands in the trace */
    bool out_of_order : 1;        /* one of its packets has an earlier time than the one before */
    bool in_reset_run : 1;        /* sent a reset, and the other end nothing since */
};
_Static_assert(sizeof(struct side) == 64, "one cache line");

/* What is touched when something is odd or begins. */
struct rare {
    uint32_t isn;
    uint32_t missing;
    uint32_t retransmissions;
    uint8_t ttl_first;
    uint8_t plain_rst_ttl;        /* of a reset that answers no trigger: closed port, after FIN; 0: none */
    uint8_t unheard;              /* repeats (QUIC: packets) in a row to which the other end said nothing */
};

enum name_state { NAME_WANTED, NAME_WAITS, NAME_DONE };

/* Letters of the history, as Zeek names them: s h r f d t a. */
enum letter { LETTER_SYN, LETTER_SYN_ACK, LETTER_RST, LETTER_FIN, LETTER_DATA, LETTER_AGAIN, LETTER_ACK };

/* How a flow is found and when it is over: the first line of every record. */
struct flow_head {
    struct flow_key key;
    int64_t deadline;
    struct wheel_link link;
    uint32_t tag;                 /* the low half of its hash: also its home slot */
};
_Static_assert(sizeof(struct flow_head) == 64, "one cache line");

/* A flow of one packet, kept as that packet until a second one comes or the flow is over; then it is told like any
 * other.  In a flood of SYNs nearly every flow is such a one: two cache lines instead of six and a page of the trace. */
struct lone {
    struct flow_head head;
    uint64_t number;
    uint64_t frame;
    int64_t time_ns;
    uint32_t seq, ack;
    uint32_t anomalies;
    uint32_t payload_length, payload_digest;
    uint16_t interface, vlan;
    uint16_t flags, window, ip_id;
    uint16_t options_digest;
    uint8_t options_length;
    uint8_t ttl, tos;
    uint8_t tunnel;
    uint8_t ip_flags : 4, from : 1, is_ip6 : 1;
};
_Static_assert(sizeof(struct lone) == 128, "two cache lines");

/* The first four lines are what an ordinary packet amid a flow needs; the other two are for its beginning and end. */
struct flow {
    struct flow_head head;
    struct side side[2];          /* by end of the key */
    int64_t answer_ns;
    uint32_t marks, facts;
    uint32_t anomalies;
    uint32_t trigger_seq, trigger_length, trigger_acked;
    uint32_t trace_first, trace_last;
    uint32_t index;               /* its own place */
    uint16_t trace_count;
    uint16_t history_seen;
    uint16_t interface, vlan;
    uint16_t name_length;
    uint8_t name_from, name_state;
    uint8_t client;               /* end of the key */
    uint8_t client_by;
    uint8_t trigger;
    uint8_t silent_rows;          /* of the server, traced while the trigger is unanswered */
    uint8_t icmp_rows;
    uint8_t history_length;
    uint8_t tunnel;
    bool is_ip6 : 1;
    bool closed : 1;              /* reset, or closed by both: its deadline stands */
    bool late_unacked : 1;
    bool steady : 1;              /* see is_steady in flow_tcp.c */
    uint8_t quic_derivations : 4; /* sets of keys derived for it */

    struct rare rare[2];
    uint64_t history;             /* letters of four bits, the first one lowest: enum letter, 8: sent by end 1 */
    uint64_t number;
    uint64_t first_frame;
    int64_t first_ns;
    int64_t syn_ns, syn_ack_ns;
    int64_t rtt_server_ns, rtt_client_ns;
    int64_t trigger_ns;
    uint64_t trigger_frame;
    uint8_t *name;
    union {
        struct stream *stream;    /* the client's first bytes, until name_state is NAME_DONE */
        struct kept_answer *answer;    /* from then on what the server said first */
    };
};
_Static_assert(offsetof(struct flow, rare) == 256 && sizeof(struct flow) == 384, "four cache lines, and two");

struct flows {
    struct pool all, lone;        /* struct flow, struct lone */
    struct table_slot *slots;     /* low half of the hash, and item + 1 */
    struct wheel plain, marked;   /* unmarked flows are evicted first */
    uint64_t started;             /* also the number of the latest flow */
    uint64_t evicted;
    uint32_t live, peak, limit;
    uint32_t mask;
};

/* What slots and wheels hold: the index of a flow or, with this bit, of a lone one. */
#define LONE ((uint32_t)1 << 31)

struct table_slot {
    uint32_t tag, index;
};

/* ---------------------------------------------------------------- candidates (candidates.c) */

struct chunk {
    struct tscope_batch batch;
    uint64_t spilled_at;          /* offset in the spill file, where `spilled` */
    size_t bytes;
    size_t room_flows, room_answers, room_trace, room_transactions, room_messages, room_text;
    bool spilled;
};

struct candidates {
    struct chunk *chunks;
    size_t n_chunks, room, taken;
    size_t held;                  /* bytes in memory */
    uint64_t spill_end;
    int spill;                    /* descriptor; -1: none yet */
    uint64_t count;
    uint32_t unproven;            /* flows that wait for the context to say whether they are candidates at all */
};

/* ---------------------------------------------------------------- context (context.c) */

struct fate_row;
struct dns_fate;

struct context {
    struct table servers, hosts, near;
    uint32_t quic[2];             /* reached, silent */
    struct fate_row *log;         /* how flows fared, not yet counted in `near` */
    uint32_t n_log, room_log;
    struct {                      /* context_dns.c */
        struct table resolvers, answers, addresses, near;
        struct dns_fate *log;     /* likewise of transactions */
        uint32_t n_log, room_log;
        bool joined;
    } dns;
};

/* What answers of other flows show (context_answers.c). */
struct answer_tables {
    struct table pages, near, names, issuers, servers;
};

/* ---------------------------------------------------------------- DNS transactions (transactions.c) */

struct transactions {
    struct table live;
    struct wheel wheel;
    uint64_t started, evicted;
};

/* ---------------------------------------------------------------- fragments (fragments.c) */

struct fragments {
    struct table datagrams;       /* that wait for their other fragments */
    size_t bytes;                 /* held by all of them */
    uint8_t *whole;               /* the latest one that was completed: packets point into it */
};

/* ---------------------------------------------------------------- the scan */

struct output {
    struct tscope_packet *packets;
    struct tscope_flow *flows;
    struct tscope_answer *answers;
    uint8_t *text;
    uint8_t *frames;
    size_t n_packets, n_flows, n_text, n_frames, room_flows, room_answers, room_text, room_frames;
};

/* Rows for counting that wait to be taken. */
struct tries {
    struct tscope_try *rows;
    struct tscope_learned *learned;
    uint32_t *failed;
    uint8_t *text;
    size_t n, n_learned, n_failed, n_text, room, room_learned, room_failed, room_text;
};

/* The dns table, while it fills (dns_table.c). */
struct dns_output {
    struct tscope_dns *rows;
    struct tscope_record *records;
    uint8_t *text;
    size_t n_rows, n_records, n_text, room_rows, room_records, room_text;
};

struct tscope_scan {
    struct tscope_options options;
    struct hash_key key;
    struct arena arena;           /* of flows, traces and what they own */
    struct store store;
    struct reader reader;
    struct clock clock;
    struct flows flows;
    struct traces traces;
    struct transactions transactions;
    struct table dns_streams;     /* app_dns_tcp.c */
    struct table learned;         /* learned.c */
    struct context context;
    struct candidates candidates;
    struct fragments fragments;
    struct output output;
    struct tries tries;
    struct dns_output dns_output;
    struct tscope_notice notices[MAX_NOTICES];
    struct tscope_summary sum;
    struct packet group[GROUP];
    uint64_t starts[GROUP];       /* where their records begin in the input */
    const uint8_t *data[GROUP];   /* and their captured bytes, until the group is taken */
    struct answer_tables answers;
    struct dns_message dns;       /* scratch */
    struct said said;             /* scratch */
    struct hello hello;           /* scratch */
    struct quic quic;             /* scratch */
    uint8_t scratch[MAX_HELLO];
    uint8_t *buffer;              /* bytes read and not yet used: from `start`, `filled` of them */
    size_t start, filled, room;
    size_t stream_bytes;          /* held by all streams */
    uint64_t offset;              /* of buffer[start] or of what is being fed, in the input */
    int64_t last_ns;              /* time of the frame before */
    int64_t expired_at;           /* tick of the wheels */
    int failure;                  /* the code that ended reading; memory: nothing more is taken */
    bool ended;
};

void note(struct tscope_scan *s, int code, uint64_t offset, uint64_t need, uint64_t have);
void out_of_memory(struct tscope_scan *s);

/* tries.c */
void tries_flow(struct tscope_scan *s, const struct flow *f, const struct tscope_flow *row);
void tries_transaction(struct tscope_scan *s, const struct tscope_transaction *row, const struct tscope_message *messages,
                       const uint8_t *name);
bool tries_wait(const struct tries *t);
int tries_take(struct tries *t, struct tscope_batch **batch);
void tries_end(struct tries *t);

/* trace.c */
int traces_init(struct traces *t, uint64_t bytes);
void traces_end(struct traces *t);
struct tscope_trace *trace_add(struct tscope_scan *s, struct flow *f);
void trace_release(struct traces *t, struct flow *f);
/* Whether one of the latest LOOK_BACK rows is `alike`. */
bool trace_has(const struct traces *t, const struct flow *f, const struct packet *p,
               bool (*alike)(const struct tscope_trace *, const struct packet *));
/* Copies a flow's rows to `out` (f->trace_count of them), turned so that from_server is right. */
void trace_copy(const struct traces *t, const struct flow *f, struct tscope_trace *out);

/* flow_table.c */
int flows_init(struct tscope_scan *s);
void flows_end(struct tscope_scan *s);
static inline struct flow *flow_at(const struct flows *t, uint32_t index)
{
    return pool_at(&t->all, index, sizeof(struct flow));
}
void flow_prefetch_slot(const struct flows *t, uint64_t hash);
/* Sets p->likely, and fetches it. */
void flow_prefetch(const struct flows *t, struct packet *p);
/* The live flow that an ICMP error quotes; NULL where there is none. */
struct flow *flow_quoted(struct tscope_scan *s, const struct packet *p);
/* Tells a packet to its flow, a new one where there is none.  The flow's number; 0: no memory. */
uint64_t flow_take(struct tscope_scan *s, const struct packet *p);
void flow_mark(struct tscope_scan *s, struct flow *f, uint32_t marks);
void flows_expire(struct tscope_scan *s);
void flows_clock_set_back(struct tscope_scan *s);
void flows_finish(struct tscope_scan *s);

/* flow_tcp.c, flow_udp.c, flow_icmp.c: what a packet changes in its flow */
void flow_tcp(struct tscope_scan *s, struct flow *f, const struct packet *p);
void flow_udp(struct tscope_scan *s, struct flow *f, const struct packet *p);
void flow_icmp(struct tscope_scan *s, struct flow *f, const struct packet *p);
void flow_client(struct flow *f, unsigned end, unsigned by);
bool flow_starts_anew(const struct flow *f, const struct packet *p);
int64_t flow_timeout(const struct flow *f);
#define FLOW_PATIENCE (60 * SECOND)   /* with a flow that is not established */

uint32_t payload_digest(const struct packet *p);
/* The next sequence numbers of sender and other end before a packet moves them. */
struct before {
    uint32_t self_next, other_next;
    bool self_known, other_known;
};
struct before flow_before(const struct flow *f, const struct packet *p);
/* A row of the trace for this packet; false where none could be had. */
bool flow_trace(struct tscope_scan *s, struct flow *f, const struct packet *p, struct before b, unsigned what);

/* flow_quiet.c: what flows to which nothing came back have in common */
/* A packet that its sender repeats, before it counts in `self`. */
void quiet_repeat(struct flow *f, const struct packet *p);
/* Such a packet, while the other end has been silent for a second: worth a row of the trace? */
bool quiet_is_telling(const struct flow *f, const struct packet *p);
uint32_t quiet_marks(const struct flow *f);
/* The server acknowledged something after the trigger was sent. */
bool quiet_was_heard(const struct flow *f);
/* Marks that ordinary flows have as well (closed ports, dead hosts): only the context says whether such a flow is a
 * candidate.  First, whether it is worth waiting for that; when candidates are taken, whether it is. */
#define QUIET_MARKS (TSCOPE_MARK_SYN_UNANSWERED | TSCOPE_MARK_RST_ON_SYN | TSCOPE_MARK_PROHIBITED)
bool quiet_may_tell(struct tscope_scan *s, const struct flow *f);
bool quiet_tells(const struct tscope_flow *row, const struct tscope_trace *trace,
                 const struct tscope_flow_context *context);

/* flow_lone.c */
/* Whether nothing need be done yet with the first packet of a flow. */
bool lone_suits(const struct packet *p);
void lone_keep(struct lone *l, const struct packet *p);
/* The packet as it was, but for its payload. */
void lone_packet(const struct lone *l, struct packet *p);

/* flow_final.c */
void flow_final(struct tscope_scan *s, struct flow *f, unsigned final_by);

/* stream.c */
/* Client payload while the name is wanted. */
void stream_take(struct tscope_scan *s, struct flow *f, const struct packet *p);
void stream_end(struct tscope_scan *s, struct flow *f);
/* Bytes for a place in a flow's stream; false: no memory, or too many holes. */
bool stream_insert(struct tscope_scan *s, struct flow *f, struct stream *st, uint32_t at, const uint8_t *bytes,
                   uint32_t length);
/* How many bytes are there from the beginning on. */
static inline uint32_t stream_there(const struct stream *st)
{
    return st->n_parts && st->parts[0].from == 0 ? st->parts[0].to : 0;
}
void stream_free(struct tscope_scan *s, struct stream *st);
/* An empty one; NULL: no memory. */
struct stream *stream_new(struct tscope_scan *s);
/* s->hello is what this end sent: the flow's client, trigger and name. */
void stream_found(struct tscope_scan *s, struct flow *f, unsigned from_end, unsigned trigger);

/* answer.c */
/* The server's first payload after the trigger, before flow_tcp takes note of it; and its later payload. */
void answer_begin(struct tscope_scan *s, struct flow *f, const struct packet *p);
void answer_more(struct tscope_scan *s, struct flow *f, const struct packet *p);
/* A server's payload without a trigger. */
void answer_unasked(struct tscope_scan *s, struct flow *f, const struct packet *p);
/* No more of it will come: what is there is all. */
void answer_settle(struct tscope_scan *s, struct flow *f);
void answer_end(struct tscope_scan *s, struct flow *f);

/* context_answers.c */
int context_answers_init(struct tscope_scan *s);
void context_answers_end(struct tscope_scan *s);
uint64_t context_answers_evicted(const struct tscope_scan *s);
/* An answer was read, of the flow's name. */
void context_answer_read(struct tscope_scan *s, const struct flow *f, int64_t time_ns);
void context_of_answer(const struct tscope_scan *s, const struct tscope_flow *row, const struct tscope_answer *a,
                       const uint8_t *text, struct tscope_answer_context *out);

/* app_quic.c */
/* A UDP datagram while the name is wanted: what it is for the trace (TSCOPE_WHAT_TRIGGER or 0). */
unsigned quic_take(struct tscope_scan *s, struct flow *f, const struct packet *p);
/* A server's first packets: a Retry or a Version Negotiation? */
void quic_take_answer(struct flow *f, const struct packet *p);
/* By its header alone; and whether such a packet may be in the datagram at all. */
bool quic_is_initial(const struct packet *p);
bool quic_may_hold_initial(const struct packet *p);

/* transactions.c */
int transactions_init(struct tscope_scan *s);
void transactions_end(struct tscope_scan *s);
void transactions_packet(struct tscope_scan *s, struct flow *f, const struct packet *p);
/* One DNS message that the packet carries or completes: `have` bytes of `length`. */
void transactions_message(struct tscope_scan *s, struct flow *f, const struct packet *p, const uint8_t *data, size_t have,
                          size_t length);
void transactions_expire(struct tscope_scan *s);
void transactions_clock_set_back(struct tscope_scan *s);
void transactions_finish(struct tscope_scan *s);

/* app_dns_tcp.c */
int dns_streams_init(struct tscope_scan *s);
void dns_streams_end(struct tscope_scan *s);
static inline bool is_dns(const struct flow *f)
{
    return f->head.key.port[0] == 53 || f->head.key.port[1] == 53;
}
/* A segment with payload of a flow that is_dns. */
void dns_stream_take(struct tscope_scan *s, struct flow *f, const struct packet *p);

/* dns_table.c */
/* A row for the message in s->dns, parsed from these bytes; false: no memory. */
bool dns_table_add(struct tscope_scan *s, const struct flow *f, const struct packet *p, const uint8_t *data, size_t have);
bool dns_table_full(const struct tscope_scan *s);
int dns_table_take(struct tscope_scan *s, struct tscope_batch **batch);
void dns_table_end(struct tscope_scan *s);

/* learned.c */
int learned_init(struct tscope_scan *s);
void learned_end(struct tscope_scan *s);
/* The client was told these addresses for this name. */
void learned_add(struct tscope_scan *s, const struct tscope_transaction *t, const struct tscope_message *m,
                 const uint8_t *name);
/* A name for a flow that has none of its own. */
void learned_name(struct tscope_scan *s, struct flow *f);

/* context.c */
int context_init(struct tscope_scan *s);
void context_end(struct tscope_scan *s);
uint64_t context_evicted(const struct tscope_scan *s);
void context_flow(struct tscope_scan *s, const struct tscope_flow *row, const uint8_t *name, uint8_t rst_ttl, bool heard);
/* Whether the server was seen to accept a connection so far. */
bool context_has_connected(const struct tscope_scan *s, const struct flow_key *key, unsigned server);
/* Once, before the first look-up: what was only logged is counted. */
void context_settle(struct tscope_scan *s);
void context_of_flow(struct tscope_scan *s, const struct tscope_flow *row, const uint8_t *text,
                     struct tscope_flow_context *out);

/* context_dns.c */
int context_dns_init(struct tscope_scan *s);
void context_dns_end(struct tscope_scan *s);
uint64_t context_dns_evicted(const struct tscope_scan *s);
void context_dns_settle(struct tscope_scan *s);
/* Once all is seen, before the first look-up. */
void context_dns_ready(struct tscope_scan *s);
/* Which live transaction a resolver answered last: its successor's IP ID is told to it. */
struct answered {
    uint64_t number;
    uint32_t index;
    int32_t ip_id;                /* -1: none */
};
/* A first answer: *before becomes the resolver's answer before this one.  True: it came impossibly fast. */
bool context_answer(struct tscope_scan *s, const uint8_t resolver[16], int64_t rtt_ns, struct answered now,
                    struct answered *before);
/* A settled transaction, which may get a mark by what was before it. */
void context_transaction(struct tscope_scan *s, struct tscope_transaction *t, const struct tscope_message *m,
                         const uint8_t *name);
/* One over TCP: what was answered counts, not from where or when. */
void context_witness(struct tscope_scan *s, const struct tscope_transaction *t, const struct tscope_message *m,
                     const uint8_t *name);
void context_of_transaction(struct tscope_scan *s, const struct tscope_transaction *t, const struct tscope_message *m,
                            const uint8_t *text, struct tscope_transaction_context *out);

/* fragments.c */
int fragments_init(struct tscope_scan *s);
void fragments_end(struct tscope_scan *s);
/* A fragment, kept; where it completes its datagram the packet becomes that, until the next call. */
void fragments_take(struct tscope_scan *s, struct packet *p);

/* candidates.c */
void candidates_init(struct candidates *c);
void candidates_end(struct candidates *c);
bool candidates_flow(struct tscope_scan *s, const struct tscope_flow *row, const struct flow *f);
/* What is kept of a flow's answer; NULL: nothing. */
static inline const struct kept_answer *kept_answer_of(const struct flow *f)
{
    return f->name_state == NAME_DONE ? f->answer : NULL;
}
static inline size_t answer_text(const struct kept_answer *a)
{
    size_t n = 0;
    for (unsigned i = 0; i < ANSWER_WORDS; i++)
        n += a->row.word_length[i];
    return n;
}
bool candidates_transaction(struct tscope_scan *s, const struct tscope_transaction *row,
                            const struct tscope_message *messages, const uint8_t *name, int32_t id_before,
                            int32_t id_after);
int candidates_take(struct tscope_scan *s, struct tscope_batch **batch);

#endif
