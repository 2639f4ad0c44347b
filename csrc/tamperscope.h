/* tamperscope's C core: the whole interface, and its manual.
 *
 * Bytes of a capture go in (tscope_feed, tscope_read), tables come out (tscope_take).  Nothing in the core calls back
 * into Python, prints, exits, reads a clock or keeps global state: several scans can run on several threads.
 *
 * Ownership.  tscope_new gives a scan that tscope_free ends.  tscope_take gives a batch that tscope_batch_free ends;
 * a batch owns all its rows and outlives its scan.  Every other pointer is only borrowed for the call.
 *
 * Errors.  Functions return TSCOPE_OK or a negative code.  A capture that is damaged is no failed call: what could be
 * read is processed, and a notice says what was wrong, at which offset and frame.
 *
 * Between the markers below stands what cffi reads; the dtypes of the tables are derived from it, so a field is
 * written down once.  All rows are plain data in the machine's byte order.  Times are nanoseconds since the epoch.
 * Frames count from 1.  Addresses are 16 bytes; IPv4 stands mapped (::ffff:a.b.c.d).  Index 0 of a pair is the client
 * (or the asking end), index 1 the server.  "Unknown" is -1 for times and 0 for frames.
 */
#ifndef TAMPERSCOPE_H
#define TAMPERSCOPE_H

#include <stddef.h>
#include <stdint.h>

/* cdef: begin */

/* ---------------------------------------------------------------- codes */

enum tscope_code {
    TSCOPE_OK = 0,
    TSCOPE_FULL = 1,              /* tables wait to be taken; call again with the rest */
    TSCOPE_END = 2,               /* end of input */
    TSCOPE_E_MEMORY = -1,
    TSCOPE_E_NOT_CAPTURE = -2,    /* need: first four bytes as found */
    TSCOPE_E_EMPTY = -3,
    TSCOPE_E_VERSION = -4,        /* have: version as major << 16 | minor */
    TSCOPE_E_HEADER_CUT = -5,     /* the file ends inside its header */
    TSCOPE_E_RECORD_CUT = -6,     /* the file ends inside a record or block */
    TSCOPE_E_RECORD_LENGTH = -7,  /* a length field that cannot be true */
    TSCOPE_E_BLOCK_LENGTH = -8,
    TSCOPE_E_BLOCK_TRAILER = -9,
    TSCOPE_E_INTERFACE = -10,     /* a packet names an interface that was not described */
    TSCOPE_E_LINKTYPE = -11,      /* a link type that is not decoded; have: its number */
    TSCOPE_E_SECOND_HEADER = -12, /* a second file header: files joined with cat */
    TSCOPE_E_READ = -13,          /* read() failed; have: errno */
    TSCOPE_E_TIME_JUMP = -14,     /* notice only: the capture's clock was stepped; have: nanoseconds */
    TSCOPE_E_EVICTED = -15,       /* notice only: a table was full; have: how many entries went */
    TSCOPE_E_RESOLUTION = -16,    /* a time resolution that cannot be represented */
    TSCOPE_E_OPTION = -17,        /* an option of the scan out of range */
    TSCOPE_E_SPILL = -18          /* the temporary file for candidates could not be written; have: errno */
};

/* A thing that went wrong or limits the result.  need and have depend on the code. */
struct tscope_notice {
    int32_t code;
    uint32_t interface;
    uint64_t offset;              /* bytes from the start of the (decompressed) input */
    uint64_t frame;               /* frames read before it */
    uint64_t need;
    uint64_t have;
};

/* Oddities of one packet: the row stands, the bit says what to distrust.  Counted in the summary. */
enum tscope_anomaly {
    TSCOPE_AN_LINK_CUT = 1 << 0,         /* the frame ends inside its link header */
    TSCOPE_AN_NOT_IP = 1 << 1,           /* decoded as far as a protocol other than IP (no oddity: counted apart) */
    TSCOPE_AN_IP_CUT = 1 << 2,
    TSCOPE_AN_IP_VERSION = 1 << 3,
    TSCOPE_AN_IP_HEADER = 1 << 4,        /* header length or total length cannot be true */
    TSCOPE_AN_IP_FRAGMENT = 1 << 5,      /* a fragment; what it carries stands in the row of the one that completes it */
    TSCOPE_AN_IP6_EXTENSION = 1 << 6,    /* chain of extension headers cut, too long or malformed */
    TSCOPE_AN_TRANSPORT_CUT = 1 << 7,    /* by the snap length */
    TSCOPE_AN_TCP_HEADER = 1 << 8,       /* data offset cannot be true */
    TSCOPE_AN_TCP_OPTIONS = 1 << 9,      /* option list malformed */
    TSCOPE_AN_UDP_LENGTH = 1 << 10,
    TSCOPE_AN_PAYLOAD_CUT = 1 << 11,     /* payload shorter in the file than on the wire */
    TSCOPE_AN_TRANSPORT_OTHER = 1 << 12, /* neither TCP, UDP nor ICMP (no oddity: counted apart) */
    TSCOPE_AN_DNS_MALFORMED = 1 << 13,
    TSCOPE_AN_TLS_MALFORMED = 1 << 14,
    TSCOPE_AN_DEPTH = 1 << 15,           /* more nested headers than are followed */
    TSCOPE_AN_TIME_BACK = 1 << 16,       /* earlier than the frame before it by more than a second */
    TSCOPE_AN_LINKTYPE = 1 << 17,        /* of a link type that is not decoded */
    TSCOPE_AN_NO_TIME = 1 << 19,         /* a record without a time (pcapng's simple packet block): -1 in its row, that of
                                            the frame before it in its flow */
    TSCOPE_AN_FRAGMENT_CONFLICT = 1 << 20, /* a fragment that overlaps another with other bytes, or cannot belong to its
                                            datagram; IPv4: what came first stands, IPv6: the datagram is given up */
    TSCOPE_AN_TCP_OVERLAP = 1 << 18      /* other bytes for a place in the stream that was filled before (flows only) */
};

/* ---------------------------------------------------------------- packets */

enum tscope_tcp_flag {
    TSCOPE_FIN = 0x01, TSCOPE_SYN = 0x02, TSCOPE_RST = 0x04, TSCOPE_PSH = 0x08,
    TSCOPE_ACK = 0x10, TSCOPE_URG = 0x20, TSCOPE_ECE = 0x40, TSCOPE_CWR = 0x80
};

/* What carried the innermost IP packet. */
enum tscope_tunnel {
    TSCOPE_TUNNEL_NONE = 0, TSCOPE_TUNNEL_GRE = 1, TSCOPE_TUNNEL_ERSPAN = 2, TSCOPE_TUNNEL_VXLAN = 3,
    TSCOPE_TUNNEL_GENEVE = 4, TSCOPE_TUNNEL_GTP_U = 5, TSCOPE_TUNNEL_IP_IN_IP = 6, TSCOPE_TUNNEL_6IN4 = 7,
    TSCOPE_TUNNEL_TEREDO = 8, TSCOPE_TUNNEL_MPLS = 9, TSCOPE_TUNNEL_PPPOE = 10, TSCOPE_TUNNEL_L2TP = 11
};

/* One frame as decoded: a row of the packets table. */
struct tscope_packet {
    uint64_t frame;
    int64_t time_ns;
    uint64_t flow;                /* number of its flow, from 1; 0: belongs to none */
    uint8_t source[16];
    uint8_t destination[16];
    uint32_t captured_length;
    uint32_t wire_length;
    uint32_t payload_length;      /* of the transport, as declared by the headers */
    uint32_t seq;
    uint32_t ack;
    uint32_t interface;
    uint32_t anomalies;
    uint32_t ip_id;               /* 0xffffffff where there is none (IPv6) */
    uint16_t source_port;         /* ICMP: type and code as type << 8 | code */
    uint16_t destination_port;
    uint16_t flags;               /* TCP, 12 bits */
    uint16_t window;
    uint16_t link_type;
    uint16_t vlan;                /* outermost; 0xffff where there is none */
    uint8_t protocol;             /* 6, 17, 1, 58; 0 where no IP packet was found */
    uint8_t ip_version;
    uint8_t ttl;
    uint8_t tos;
    uint8_t tunnel;               /* enum tscope_tunnel; addresses and all else are those of the innermost IP packet */
    uint8_t outer_ip;             /* IP headers around that one */
    uint8_t reserved[6];
};

/* ---------------------------------------------------------------- flows */

enum tscope_client_by {
    TSCOPE_BY_SYN = 1, TSCOPE_BY_SYN_ACK = 2, TSCOPE_BY_HELLO = 3, TSCOPE_BY_REQUEST = 4, TSCOPE_BY_QUERY = 5,
    TSCOPE_BY_QUIC_INITIAL = 6, TSCOPE_BY_PORT = 7, TSCOPE_BY_FIRST_SENDER = 8
};

enum tscope_name_from {
    TSCOPE_NAME_NONE = 0, TSCOPE_NAME_TLS_SNI = 1, TSCOPE_NAME_HTTP_HOST = 2, TSCOPE_NAME_DNS_QUERY = 3,
    TSCOPE_NAME_QUIC_SNI = 4, TSCOPE_NAME_DNS_ANSWER = 5
};

/* What the client sent that an interferer reacts to. */
enum tscope_trigger {
    TSCOPE_TRIGGER_NONE = 0, TSCOPE_TRIGGER_TLS_HELLO = 1, TSCOPE_TRIGGER_HTTP_REQUEST = 2,
    TSCOPE_TRIGGER_QUIC_INITIAL = 3, TSCOPE_TRIGGER_DATA = 4
};

enum tscope_outcome {
    TSCOPE_OUT_UNKNOWN = 0, TSCOPE_OUT_OK = 1, TSCOPE_OUT_RESET = 2, TSCOPE_OUT_TIMEOUT = 3, TSCOPE_OUT_REFUSED = 4,
    TSCOPE_OUT_UNREACHABLE = 5, TSCOPE_OUT_TLS_ALERT = 6, TSCOPE_OUT_MITM = 7, TSCOPE_OUT_FORGED_ANSWER = 8,
    TSCOPE_OUT_NO_ANSWER = 9, TSCOPE_OUT_BLOCKPAGE = 10, TSCOPE_OUT_SLOW = 11
};

enum tscope_stage {
    TSCOPE_STAGE_NONE = 0, TSCOPE_STAGE_DNS = 1, TSCOPE_STAGE_SYN = 2, TSCOPE_STAGE_HANDSHAKE = 3,
    TSCOPE_STAGE_AFTER_NAME = 4, TSCOPE_STAGE_AFTER_REQUEST = 5, TSCOPE_STAGE_TRANSFER = 6
};

enum tscope_final_by {
    TSCOPE_FINAL_IDLE = 1, TSCOPE_FINAL_CLOSED = 2, TSCOPE_FINAL_REUSED = 3, TSCOPE_FINAL_EVICTED = 4,
    TSCOPE_FINAL_END = 5
};

/* Marks: cheap facts, without opinion, that make a flow a candidate.  "A sender" is the address in the packet. */
enum tscope_flow_mark {
    TSCOPE_MARK_RST_UNLIKE = 1 << 0,      /* a reset whose TTL no earlier packet of its sender had */
    TSCOPE_MARK_SENDS_AFTER_RST = 1 << 1, /* a sender goes on (data, ACK, FIN, SYN+ACK) after a reset of its own */
    TSCOPE_MARK_RST_REPEATED = 1 << 2,    /* two or more resets of one sender with none of the other end's packets
                                             between them */
    TSCOPE_MARK_RST_TOO_EARLY = 1 << 3,   /* a server's reset after the trigger in under 3/4 of the handshake's RTT; a
                                             client's without ACK, by the RTT of its own side */
    TSCOPE_MARK_RST_SEQUENCE = 1 << 4,    /* a reset off its sender's next sequence number */
    TSCOPE_MARK_RST_AFTER_TRIGGER = 1 << 5, /* a server's reset after the trigger, before any FIN of the server */
    TSCOPE_MARK_UNANSWERED = 1 << 6,      /* a hello, request or QUIC Initial, and no payload of
                                             the server after it */
    TSCOPE_MARK_TRIGGER_UNACKED = 1 << 7, /* the trigger is retransmitted; a later packet of the server still
                                             acknowledges less than all of it */
    TSCOPE_MARK_SYN_ACK_CONFLICT = 1 << 8,/* two SYN+ACKs of different sequence number */
    TSCOPE_MARK_RST_ON_SYN = 1 << 9,      /* a reset answers the SYN */
    TSCOPE_MARK_SYN_UNANSWERED = 1 << 10,
    TSCOPE_MARK_RST_PAYLOAD = 1 << 11,    /* a reset that carries data */
    TSCOPE_MARK_RST_FLAGS = 1 << 12,      /* a reset with PSH, FIN, SYN or reserved bits */
    TSCOPE_MARK_RST_IP_ID = 1 << 13,      /* a reset whose IP ID equals that of the packet that it answers, or of its
                                             sender's packet before it (other than 0) */
    TSCOPE_MARK_STALLED = 1 << 14,        /* answered, and then the server fell silent for the rest of the flow while the
                                             client went on: three repeats (QUIC: packets) or more in 3 s or more */
    TSCOPE_MARK_PROHIBITED = 1 << 15,     /* a router that is no end of the flow says by ICMP that the client's packet is
                                             administratively prohibited */
    /* Of the answer: the server's first payload after a hello or request. */
    TSCOPE_MARK_ANSWER_UNLIKE = 1 << 16,  /* its TTL is that of none of the server's packets before it */
    TSCOPE_MARK_ANSWER_TOO_EARLY = 1 << 17, /* it comes in under half of the handshake's RTT */
    TSCOPE_MARK_ANSWER_CONFLICT = 1 << 18,/* a later packet has other bytes for its place in the stream */
    TSCOPE_MARK_ANSWER_FIN = 1 << 19,     /* its first packet is the server's last: FIN */
    TSCOPE_MARK_ANSWER_PAGE = 1 << 20,    /* a page of a kind that filters send: HTML without a head, a redirect to an
                                             address or another site, status 403 or 451, a frame or refresh */
    TSCOPE_MARK_ANSWER_PLAIN = 1 << 21,   /* HTTP, or HTML alone, in answer to a ClientHello */
    TSCOPE_MARK_ISSUER_PRIVATE = 1 << 22, /* a certificate whose issuer is no public authority that the core knows */
    TSCOPE_MARK_REFUSED = 1 << 23         /* no connection came about (ignored, reset on SYN, prohibited), and by the rest
                                             of the capture that is not how this server or network is: known when
                                             candidates are taken, and only set there */
};

/* Facts about how far a flow can be judged at all. */
enum tscope_flow_fact {
    TSCOPE_FACT_SYN = 1 << 0,
    TSCOPE_FACT_SYN_ACK = 1 << 1,
    TSCOPE_FACT_HANDSHAKE = 1 << 2,       /* SYN, SYN+ACK and an ACK of it seen */
    TSCOPE_FACT_CUT_BY_END = 1 << 3,      /* still open when the capture ended */
    TSCOPE_FACT_TRACE_TAKEN = 1 << 4,     /* its trace pages were taken for others: absences are not judged */
    TSCOPE_FACT_TRACE_FULL = 1 << 5,      /* more telling packets than a trace holds */
    TSCOPE_FACT_SNAP_CUT = 1 << 6,        /* payload cut by the snap length */
    TSCOPE_FACT_NAME_INCOMPLETE = 1 << 7, /* a hello or request whose end was not seen */
    TSCOPE_FACT_ECH = 1 << 8,             /* the hello carries ECH (the name is the outer one) or draft ESNI */
    TSCOPE_FACT_ONE_WAY = 1 << 9,         /* packets of one direction only */
    TSCOPE_FACT_UNSEEN_CLIENT = 1 << 10,  /* the server acknowledged client bytes that are not in the capture */
    TSCOPE_FACT_UNSEEN_SERVER = 1 << 11,
    TSCOPE_FACT_TRIGGER_REPEATED = 1 << 12, /* the trigger, or part of it, was retransmitted */
    TSCOPE_FACT_HELLO_NO_SNI = 1 << 13,   /* a complete ClientHello without a server name */
    TSCOPE_FACT_TRACE_RELEASED = 1 << 14, /* answered and unmarked when its first packets were let go: the trace holds
                                             what was telling after that */
    TSCOPE_FACT_COPIES = 1 << 15,         /* its packets stand more than once in the capture (mirror port) */
    TSCOPE_FACT_QUIC_RETRY = 1 << 16,     /* the server answered the Initial with a Retry (RFC 9000 section 8.1.2) */
    TSCOPE_FACT_QUIC_VERSIONS = 1 << 17,  /* ... with a Version Negotiation */
    TSCOPE_FACT_QUIC_UNREAD = 1 << 18     /* QUIC of a version whose hello is not read: Google's own, unknown ones */
};

/* One flow when it became final: a row of the flows table. */
struct tscope_flow {
    uint64_t number;              /* by first frame, from 1 */
    uint64_t first_frame;
    uint64_t last_frame;
    uint64_t final_frame;         /* the frame at which it became final */
    int64_t first_ns;
    int64_t last_ns;
    int64_t final_ns;             /* the capture's clock at that frame */
    uint64_t packets[2];
    uint64_t bytes[2];            /* transport payload as declared by the headers */
    uint64_t trigger_frame;       /* first frame of the trigger; 0: none */
    int64_t trigger_ns;
    int64_t answer_ns;            /* first payload of the server after the trigger; -1: none */
    int64_t rtt_server_ns;        /* SYN to SYN+ACK, as seen at the capture point; -1: not seen */
    int64_t rtt_client_ns;        /* SYN+ACK to its ACK */
    uint8_t client[16];
    uint8_t server[16];
    uint32_t marks;
    uint32_t facts;
    uint32_t anomalies;           /* of any of its packets */
    uint32_t isn[2];              /* TCP: initial sequence numbers, where SYN or SYN+ACK was seen */
    uint32_t trigger_seq;         /* sequence number of the trigger's first byte */
    uint32_t trigger_length;      /* bytes of the trigger seen (a hello over several segments: all of them) */
    uint32_t trigger_acked;       /* of these, bytes that the server acknowledged */
    uint32_t missing[2];          /* bytes of this sender that are not in the capture (holes, or acknowledged unseen) */
    uint32_t resets[2];
    uint32_t retransmissions[2];
    uint32_t interface;
    uint32_t name_offset;         /* into the batch's text */
    uint32_t trace_offset;        /* into the batch's trace */
    uint32_t trace_count;
    uint16_t name_length;
    uint16_t client_port;
    uint16_t server_port;
    uint16_t vlan;                /* outermost, of the first packet; 0xffff: none */
    uint16_t flags[2];            /* TCP flags that this end sent, or-ed */
    uint8_t protocol;
    uint8_t ip_version;
    uint8_t client_by;
    uint8_t name_from;
    uint8_t trigger;              /* enum tscope_trigger */
    uint8_t outcome;
    uint8_t stage;
    uint8_t final_by;
    uint8_t ttl_first[2];         /* of its first packet (SYN, SYN+ACK) */
    uint8_t ttl_min[2];           /* over its packets that are not resets */
    uint8_t ttl_max[2];
    char history[18];             /* Zeek's letters, NUL-terminated */
    uint8_t tunnel;               /* enum tscope_tunnel, of its first packet */
};

enum tscope_trace_what {
    TSCOPE_WHAT_TRIGGER = 1 << 0,         /* carries the trigger or a part of it, first time */
    TSCOPE_WHAT_RETRANSMISSION = 1 << 1,  /* TCP bytes seen before */
    TSCOPE_WHAT_AHEAD = 1 << 2,           /* sequence number beyond the next one: something is missing or reordered */
    TSCOPE_WHAT_KEEP_ALIVE = 1 << 3,      /* one byte or none just below the next sequence number */
    TSCOPE_WHAT_REFERENCE = 1 << 4,       /* not a telling packet itself: the sender's last one before a reset, kept to
                                             compare with (some fields of the row may be 0: see below) */
    TSCOPE_WHAT_AFTER_RST = 1 << 5,       /* this sender has sent a reset before */
    TSCOPE_WHAT_CUT = 1 << 6,             /* payload cut by the snap length */
    TSCOPE_WHAT_DUPLICATE = 1 << 7,       /* a copy of an earlier frame (mirror port, second interface) */
    TSCOPE_WHAT_ICMP = 1 << 8,            /* an ICMP error that quotes this flow */
    TSCOPE_WHAT_BY_END = 1 << 9,          /* ... and comes from an end of it */
    TSCOPE_WHAT_BY_NEIGHBOUR = 1 << 10    /* ... and comes from the network of the end that was not reached: the same
                                             /24, IPv6: the same /48 */
};

/* A telling packet of a flow: a row of the trace, in frame order.
 * seq_offset: seq minus the sender's next sequence number before this packet (0: exactly next; negative: old bytes);
 * ack_offset: ack minus the other end's next sequence number (0: everything seen so far is acknowledged);
 * INT32_MIN where that number is not known.  A REFERENCE row has frame, time, ttl, ip_id, window, seq (= next seq),
 * flags of the sender's last packet and nothing else.  An ICMP row has ttl and tos of the error itself, its type and code
 * as flags (type << 8 | code), ip_id and seq of the packet that it quotes, and from_server = 1 where that one was the
 * client's; no more than 16 of them are kept of a flow. */
struct tscope_trace {
    uint64_t frame;
    int64_t time_ns;
    int64_t since_other_ns;       /* since the other end's latest packet; -1: none yet */
    uint32_t seq;
    uint32_t ack;
    int32_t seq_offset;
    int32_t ack_offset;
    uint32_t payload_length;
    uint32_t payload_digest;      /* of the first 32 bytes; 0 without payload */
    uint16_t window;              /* unscaled; UDP: 0 */
    uint16_t ip_id;               /* IPv6: 0 */
    uint16_t flags;
    uint16_t what;
    uint16_t options_digest;      /* kinds and lengths of the TCP options, values left out; 0: no options */
    uint8_t options_length;
    uint8_t from_server;
    uint8_t ttl;
    uint8_t tos;
    uint8_t ip_flags;             /* 1: more fragments, 2: do not fragment, 4: reserved bit */
    uint8_t checksum;             /* 0: not looked at, 1: right, 2: wrong */
};

/* What the rest of the capture says about a candidate flow's ends.  "Near" means within about two minutes of it.
 * "Reached" flows got payload from the server after their trigger; "reset" ones a reset of the server instead, "silent"
 * ones neither, or fell silent (TSCOPE_MARK_STALLED).  "Connected" flows got a SYN+ACK, "ignored" ones repeated their
 * SYN into silence, "prohibited" ones were rejected by a router (TSCOPE_MARK_PROHIBITED).
 * The candidate itself is not counted (but its answer may be the latest one).  Zeroes mean no baseline, never "no
 * difference". */
struct tscope_flow_context {
    int64_t server_min_rtt_ns;            /* smallest SYN to SYN+ACK over the server's flows; -1: none */
    int64_t near_pair_last_ns;            /* latest answer among near_pair_reached; -1: none */
    int64_t near_server_last_ns;          /* ... near_server_reached */
    int64_t near_client_last_ns;          /* ... near_client_reached */
    int64_t near_pair_connected_ns;       /* beginning of the latest of near_pair_connected; -1: none */
    int64_t near_server_connected_ns;
    int64_t near_client_connected_ns;
    int64_t host_min_rtt_ns;              /* as server_min_rtt_ns, of any port of the server's address */
    uint32_t near_pair_large;             /* of near_pair_reached, flows with 32 KiB or more from the server */
    uint32_t near_server_large;
    uint32_t near_server_connected;
    uint32_t near_server_ignored;
    uint32_t near_pair_heard;             /* of near_pair_silent, flows in which the server acknowledged something after
                                             the trigger was sent */
    uint32_t near_pair_connected;
    uint32_t near_pair_ignored;
    uint32_t near_client_connected;
    uint32_t near_client_ignored;
    uint32_t near_client_prohibited;
    uint32_t near_port_connected;         /* near, same server port, other servers, any client */
    uint32_t near_other_reached;          /* near, same client, server and port, over the other of TCP and UDP */
    uint32_t near_quic_reached;           /* near, same client, QUIC to any server */
    uint32_t near_quic_silent;
    uint32_t quic_reached;                /* whole capture, QUIC */
    uint32_t quic_silent;
    uint32_t server_flows;                /* over the whole capture, same address, port and protocol */
    uint32_t server_reached;
    uint32_t server_reset;
    uint32_t near_server_reached;         /* near, same server and port, any client */
    uint32_t near_server_silent;
    uint32_t near_server_reset;
    uint32_t near_server_disturbed;       /* of the three: reset, or with a reset of either end that is unlike its sender,
                                             too early, or followed by its sender's packets */
    uint32_t near_name_reached;           /* of these, with the same name as the candidate */
    uint32_t near_name_silent;
    uint32_t near_name_reset;
    uint32_t near_name_disturbed;
    uint32_t near_pair_reached;           /* near, same client address, same server and port */
    uint32_t near_pair_silent;
    uint32_t near_pair_reset;
    uint32_t near_client_reached;         /* near, same client address, any server */
    uint32_t near_client_silent;
    uint32_t name_reached;                /* whole capture, same name, any server */
    uint32_t name_silent;
    uint32_t name_reset;
    uint8_t server_ttl_min;               /* over SYN+ACKs and data of the server's other flows; 0: none */
    uint8_t server_ttl_max;
    uint8_t server_rst_ttl[4];            /* the first that it had in resets that answer no trigger (closed port, after
                                             its FIN), in flows where nothing speaks for a forgery; 0: no more */
    uint8_t host_ttl_min;                 /* over SYN+ACKs and data of any port of the server's address */
    uint8_t host_ttl_max;
    uint8_t server_connected_during;      /* 1: it accepted a connection between this flow's first and last SYN */
};

/* ---------------------------------------------------------------- answers */

enum tscope_answer_kind {
    TSCOPE_ANSWER_NONE = 0,               /* none, or not looked at: see struct tscope_answer */
    TSCOPE_ANSWER_HTTP = 1, TSCOPE_ANSWER_HTML = 2, TSCOPE_ANSWER_TLS = 3, TSCOPE_ANSWER_TLS_ALERT = 4,
    TSCOPE_ANSWER_OTHER = 5
};

enum tscope_answer_what {
    TSCOPE_ANSWER_CERTIFICATE = 1 << 0,   /* the names in the server's certificate were read */
    TSCOPE_ANSWER_SELF_SIGNED = 1 << 1,   /* its issuer and its subject are one */
    TSCOPE_ANSWER_PUBLIC = 1 << 2,        /* its issuer calls itself what a public authority is called */
    TSCOPE_ANSWER_FOR_NAME = 1 << 3,      /* it is for the name that the client asked for */
    TSCOPE_ANSWER_ELSEWHERE = 1 << 4,     /* a redirect to another site, or to an address that is not the server's */
    TSCOPE_ANSWER_CUT = 1 << 5            /* its end was not seen: what is missing is unknown, not absent */
};

/* What a server said first after a hello or request, or after its SYN+ACK where only its packets were captured: read from
 * at most 8 KiB, until it is known.  Of an unmarked flow it is let go with the trace.  A certificate is in the clear before
 * TLS 1.3 only, and not where a session is taken up again.
 * The words stand in the batch's text one after another.  HTTP, HTML: Location, Server, title, the page's first 256 bytes
 * from its first tag on; TLS: the issuer's common name and organisation, the subject's common name and organisation. */
struct tscope_answer {
    uint64_t frame;               /* of its first packet; 0: none */
    uint64_t conflict_frame;      /* first later packet with other bytes for its place; 0: none */
    uint64_t page;                /* digest that a page has for whatever name it is given; 0: no page */
    uint64_t issuer;              /* digest of the issuer's names; 0: not seen */
    int64_t not_before;           /* of the certificate, seconds since the epoch; 0: not seen */
    int64_t not_after;
    uint32_t text_offset;
    uint32_t body_length;         /* as its Content-Length says; 0xffffffff: it does not */
    uint32_t extensions;          /* digest of the ServerHello's extensions, in order */
    uint16_t word_length[4];
    uint16_t status;              /* HTTP */
    uint16_t version;             /* TLS, as negotiated */
    uint16_t cipher;
    uint8_t kind;
    uint8_t what;
    uint8_t alert_level;
    uint8_t alert;
    uint8_t reserved[2];
};

/* What the rest of the capture says about a candidate flow's answer; the candidate itself is not counted, and counts of
 * different names and servers are about right.  Names of one issuer: the first 16 are looked at. */
struct tscope_answer_context {
    uint32_t page_names;                  /* other names that this page was the answer for */
    uint32_t page_servers;                /* other servers' addresses that it came from */
    uint32_t near_client_same;            /* near, same client: other requests answered with this page */
    uint32_t near_client_others;          /* ... with other pages */
    uint32_t name_others;                 /* same name: requests answered with other pages, whole capture */
    uint32_t name_issuer_same;            /* same name: other certificates of this issuer */
    uint32_t name_issuer_others;          /* ... of other issuers */
    uint32_t name_issuer_public;          /* of these, of public authorities */
    uint32_t name_tls_1_3;                /* same name: flows that negotiated TLS 1.3, with certificates unseen */
    uint32_t issuer_names;                /* names that this issuer certifies */
    uint32_t issuer_sites;                /* different last two labels among these */
    uint32_t issuer_contested;            /* names that another issuer certifies, too */
    uint32_t issuer_contested_sites;
    uint32_t contested_public;            /* of these, those where a public authority is the other */
    uint32_t contested_larger;            /* ... where the other has more names than this issuer */
    uint32_t contested_before;            /* of these, those where this issuer was seen before the others only */
    uint32_t contested_after;             /* ... after the others only */
    uint32_t server_tls;                  /* this server and port: flows answered with TLS */
    uint32_t server_plain;                /* ... with HTTP, or HTML alone */
    uint32_t server_alike;                /* this server and port: answers whose TTL the handshake had, too */
    uint32_t server_unlike;               /* ... had not */
};

/* ---------------------------------------------------------------- DNS transactions */

enum tscope_transaction_mark {
    TSCOPE_MARK_ANSWERED_TWICE = 1 << 0,
    TSCOPE_MARK_ANSWERS_DIFFER = 1 << 1,  /* two answers of different rcode, records or flags */
    TSCOPE_MARK_UNANSWERED_QUERY = 1 << 2,
    TSCOPE_MARK_SPECIAL_ADDRESS = 1 << 3, /* an answer's address is private, loopback, unspecified, reserved ... */
    TSCOPE_MARK_WRONG_TYPE = 1 << 4,      /* answer records of another type than asked (and no CNAME) */
    TSCOPE_MARK_MALFORMED = 1 << 5,
    TSCOPE_MARK_UNASKED = 1 << 6,         /* an answer without a query in the capture */
    TSCOPE_MARK_IP_ID_COPIED = 1 << 7,    /* answer with the query's own IP ID (other than 0) */
    TSCOPE_MARK_TOO_FAST = 1 << 8,        /* answered in under a quarter of the resolver's fastest time seen before */
    TSCOPE_MARK_ANSWER_TTL = 1 << 9,      /* answered from a distance (IP TTL) that is rare beside the resolver's usual
                                             one before */
    TSCOPE_MARK_IGNORED = 1 << 10         /* a recursive question (RD), no LOCAL_NAME, unanswered for 3 s or more, of a
                                             resolver that answered others before this was settled */
};

enum tscope_transaction_fact {
    TSCOPE_TFACT_CUT_BY_END = 1 << 0,
    TSCOPE_TFACT_MESSAGES_FULL = 1 << 1,  /* more messages than are kept */
    TSCOPE_TFACT_TCP = 1 << 2,            /* never a candidate */
    TSCOPE_TFACT_LOCAL_NAME = 1 << 3      /* one label, or of a zone for local use: no resolver need know it */
};

enum tscope_address_kind {
    TSCOPE_ADDR_NONE = 0, TSCOPE_ADDR_GLOBAL = 1, TSCOPE_ADDR_PRIVATE = 2, TSCOPE_ADDR_LOOPBACK = 3,
    TSCOPE_ADDR_UNSPECIFIED = 4, TSCOPE_ADDR_LINK_LOCAL = 5, TSCOPE_ADDR_SHARED = 6, TSCOPE_ADDR_MULTICAST = 7,
    TSCOPE_ADDR_RESERVED = 8, TSCOPE_ADDR_DOCUMENTATION = 9, TSCOPE_ADDR_BENCHMARK = 10
};

/* One DNS question and its answers inside a flow (same flow, id, type and name), retransmissions joined; settled 5 s
 * after its first answer, or 30 s after its last query without any. */
struct tscope_transaction {
    uint64_t number;              /* by first frame, from 1 */
    uint64_t flow;                /* number of its flow */
    uint64_t first_frame;
    uint64_t last_frame;
    uint64_t final_frame;
    uint64_t query_frame;         /* first query; 0: not in the capture */
    int64_t first_ns;
    int64_t query_ns;
    int64_t answer_ns;            /* first answer; -1: none */
    int64_t flow_first_ns;
    int64_t final_ns;             /* the capture's clock at final_frame */
    uint8_t client[16];
    uint8_t server[16];
    uint32_t marks;
    uint32_t facts;
    uint32_t queries;
    uint32_t answers;
    uint32_t interface;
    uint32_t name_offset;         /* into the batch's text; presentation form, lower case, "\." for a dot in a label */
    uint32_t message_offset;      /* into the batch's messages */
    uint32_t message_count;
    uint16_t name_length;
    uint16_t client_port;
    uint16_t server_port;
    uint16_t id;
    uint16_t type;
    uint16_t class_;
    uint8_t protocol;
    uint8_t ip_version;
    uint8_t final_by;
    uint8_t client_ttl;           /* IP TTL of its first query */
};

enum tscope_message_what {
    TSCOPE_MSG_MALFORMED = 1 << 0,        /* could not be parsed to its end */
    TSCOPE_MSG_CUT = 1 << 1,              /* cut by the snap length: counts of records may be short */
    TSCOPE_MSG_TRAILING = 1 << 2,         /* bytes after the last record */
    TSCOPE_MSG_NO_QUESTION = 1 << 3,
    TSCOPE_MSG_EDNS = 1 << 4,
    TSCOPE_MSG_DUPLICATE = 1 << 5         /* a copy of an earlier frame */
};

/* One DNS message of a transaction, in frame order. */
struct tscope_message {
    uint64_t frame;
    int64_t time_ns;
    uint64_t records_digest;      /* over (type, rdata) of all answer records, independent of their order; 0: none */
    uint64_t addresses_digest;    /* the same over A and AAAA records only */
    uint8_t addresses[4][16];     /* the first four A or AAAA records */
    uint32_t record_ttl;          /* of the first answer record */
    uint32_t payload_length;
    uint16_t flags;               /* the DNS header's flags word */
    uint16_t counts[4];           /* questions, answers, authority, additional, as the header says */
    uint16_t first_type;          /* of the first answer record; 0: none */
    uint16_t n_addresses;
    uint16_t n_cnames;
    uint16_t ip_id;
    uint16_t edns_size;
    uint16_t what;
    uint8_t is_answer;
    uint8_t rcode;
    uint8_t address_kind;         /* of the first address */
    uint8_t ttl;                  /* IP */
    uint8_t tos;
    uint8_t ip_flags;
    uint8_t reserved[4];
};

/* What the rest of the capture says about a candidate transaction's resolver and name.  The candidate itself is not
 * counted; transactions that were answered differently twice are counted apart and give no baseline.  An "ordinary"
 * address is global, or of a documentation network as laboratories use them.  "Near" is within about two minutes, of
 * recursive questions (RD) and answers (RA) only; "late" was answered only after a repeat of the question, or not itself
 * where the same question was at the time (near_late only); "silent" counts each repeat of a question.  For "near" A
 * and AAAA are one type of a name. */
struct tscope_transaction_context {
    int64_t min_rtt_ns;                   /* resolver: fastest first answer that bears no mark of haste; -1: none */
    int64_t median_rtt_ns;                /* resolver: about the median first answer (to a half octave) */
    uint32_t timed;                       /* resolver: answers that these two are taken from, the candidate's too */
    uint32_t answered;                    /* resolver: transactions answered, consistently */
    uint32_t unanswered;
    uint32_t conflicting;                 /* resolver: transactions with answers that differ */
    uint32_t ttl_mode_count;              /* answers with the most common IP TTL */
    uint32_t ttl_count;                   /* answers with the candidate's first answer's IP TTL */
    uint32_t ttl_vouched;                 /* of these, answers that another distance gave for the same name, too */
    uint32_t special;                     /* resolver: answers with a special address */
    uint32_t ordinary;                    /* resolver: answers with an ordinary address */
    uint32_t authoritative;               /* resolver: answers with the AA bit */
    uint32_t edns_asked;                  /* resolver: answers to a question with EDNS */
    uint32_t edns_answered;               /* ... that have it, too */
    uint32_t address_names;               /* other names that this resolver answered with the candidate's first address */
    uint32_t address_contested;           /* other names, at most four, that any resolver sent to the candidate's first
                                             address oddly (ANSWER_TTL, TOO_FAST), and to others without it otherwise */
    uint32_t address_contested_here;      /* 1: the candidate's own name is such a one */
    uint32_t name_agrees;                 /* other transactions for the same name and type, any resolver: answers that
                                             share an address with one of the candidate's */
    uint32_t name_differs;                /* ... that share none */
    uint32_t other_resolver_agrees;       /* of these, from other resolvers and not odd themselves */
    uint32_t other_resolver_differs;
    uint32_t name_ordinary;               /* other transactions for the same name and type: ordinary addresses that did
                                             not come oddly */
    uint32_t other_resolver_ordinary;     /* of these, from other resolvers */
    uint32_t ip_id_copied;                /* resolver: answers with the query's IP ID (other than 0) */
    uint32_t near_answered;               /* near, resolver */
    uint32_t near_late;
    uint32_t near_silent;
    uint32_t near_pair_answered;          /* near, resolver and client */
    uint32_t near_pair_late;
    uint32_t near_pair_silent;
    uint32_t near_name_answered;          /* near, resolver, same name and type: at once or late */
    uint32_t near_name_silent;
    uint32_t near_other_answered;         /* near, other resolvers, same name and type: at once or late */
    uint32_t near_other_silent;
    uint32_t near_type_answered;          /* near, resolver, same type, any name: at once or late */
    uint32_t near_usual;                  /* near, resolver: answers with the most common IP TTL */
    uint16_t ip_id_before;                /* IP ID of the resolver's latest answer before the candidate's first one */
    uint16_t ip_id_after;                 /* ... and of the next after its last one */
    uint8_t ip_id_known;                  /* 1: before, 2: after, 3: both */
    uint8_t ttl_mode;                     /* most common IP TTL of the resolver's answers */
    uint8_t ttl_mode_around;              /* 1: an answer with it before the candidate's, 2: after, 3: both */
    uint8_t reserved[1];
};

/* ---------------------------------------------------------------- what is counted */

/* What became of a flow, or of a DNS question: the small row of each, for counting.  DNS flows have no row of their own. */
struct tscope_try {
    uint64_t flow;                /* number of the flow */
    uint64_t transaction;         /* number of the DNS transaction; 0: the row is of the flow itself */
    int64_t first_ns;
    uint8_t client[16];
    uint8_t server[16];
    uint32_t facts;               /* of the flow; of a transaction TSCOPE_FACT_CUT_BY_END alone */
    uint32_t rtt_us;              /* SYN to SYN+ACK, or query to answer; 0: not seen */
    uint32_t packets;             /* both directions; a transaction's messages */
    uint32_t retransmissions;
    uint32_t name_offset;         /* into the batch's text */
    uint16_t name_length;
    uint16_t server_port;
    uint8_t protocol;
    uint8_t name_from;
    uint8_t outcome;              /* enum tscope_outcome */
    uint8_t stage;                /* enum tscope_stage */
    uint8_t rcode;                /* of a transaction's first answer */
    uint8_t reserved[3];
};

/* An address that a client learned for a name from an answer, forged or not; the first four of each answer. */
struct tscope_learned {
    int64_t time_ns;
    uint8_t client[16];
    uint8_t address[16];
    uint32_t name_offset;         /* into the batch's text */
    uint16_t name_length;
    uint16_t reserved;
};

/* ---------------------------------------------------------------- DNS messages */

/* One DNS message of port 53, over UDP or put together from a TCP stream: a row of the dns table. */
struct tscope_dns {
    uint64_t frame;               /* that completes it */
    uint64_t flow;
    int64_t time_ns;
    uint8_t source[16];
    uint8_t destination[16];
    uint32_t name_offset;         /* of the first question: into the batch's text; form as in tscope_transaction */
    uint32_t record_offset;       /* of its answer section: into the batch's records */
    uint32_t record_count;        /* as far as they could be parsed */
    uint16_t name_length;
    uint16_t source_port;
    uint16_t destination_port;
    uint16_t id;
    uint16_t flags;               /* the DNS header's flags word */
    uint16_t type;                /* of the first question */
    uint16_t class_;
    uint16_t what;                /* enum tscope_message_what */
    uint8_t protocol;             /* 6, 17 */
    uint8_t reserved[3];
};

/* A record of an answer section. */
struct tscope_record {
    uint32_t ttl;
    uint32_t text_offset;         /* into the batch's text: A and AAAA the address' bytes; CNAME, DNAME, NS, PTR, MX, SRV and
                                     SOA the first name in it; TXT its strings joined; else nothing */
    uint16_t text_length;         /* at most 4,096 */
    uint16_t type;
    uint16_t class_;
    uint16_t reserved;
};

/* ---------------------------------------------------------------- batches */

/* FRAMES goes with PACKETS: their batches hold the captured bytes, too. */
enum tscope_kind {
    TSCOPE_PACKETS = 1, TSCOPE_FLOWS = 2, TSCOPE_CANDIDATES = 4, TSCOPE_FRAMES = 8, TSCOPE_TRIES = 16, TSCOPE_DNS = 32
};

/* Rows that left the scan together.  PACKETS: packets.  FLOWS: flows, answers and text.  TRIES: tries, learned and text.
 * DNS: dns, records and text.
 * CANDIDATES: all the others; answers and context rows stand parallel to flows and transactions. */
struct tscope_batch {
    struct tscope_packet *packets;
    struct tscope_flow *flows;
    struct tscope_flow_context *flow_context;
    struct tscope_answer *answers;
    struct tscope_answer_context *answer_context;
    struct tscope_trace *trace;
    struct tscope_transaction *transactions;
    struct tscope_transaction_context *transaction_context;
    struct tscope_message *messages;
    struct tscope_try *tries;
    struct tscope_learned *learned;
    uint32_t *failed;             /* indices of those tries that failed before any payload came, ascending */
    struct tscope_dns *dns;
    struct tscope_record *records;
    uint8_t *text;
    uint8_t *frames;              /* captured bytes of the packets' frames, one after another in the order of the rows */
    size_t n_packets;
    size_t n_flows;
    size_t n_trace;
    size_t n_transactions;
    size_t n_messages;
    size_t n_tries;
    size_t n_learned;
    size_t n_failed;
    size_t n_dns;
    size_t n_records;
    size_t n_text;
    size_t n_frames;              /* bytes */
};

/* ---------------------------------------------------------------- scans */

struct tscope_scan;

/* All sizes have defaults where 0 is given. */
struct tscope_options {
    uint64_t max_flows;           /* live flows; default 1,048,576 */
    uint64_t trace_bytes;         /* for trace pages; default 128 MiB */
    uint64_t candidate_bytes;     /* candidates held in memory before they are spilled to a file; default 64 MiB */
    uint64_t context_entries;     /* of each context table; default 262,144 */
    uint64_t max_frames;          /* stop after so many; 0: never */
    uint32_t batch_packets;       /* rows of a batch of packets; default 16,384 */
    uint32_t emit;                /* enum tscope_kind, or-ed */
    uint32_t flow_marks;          /* a flow with any of these is a candidate */
    uint32_t transaction_marks;
    uint8_t key[16];              /* of the hash; decides slots only, never output */
};

/* Counts of what was read so far. */
struct tscope_summary {
    uint64_t frames;
    uint64_t bytes;               /* of input */
    uint64_t captured_bytes;      /* of frames */
    uint64_t packets;             /* frames in which an IP packet was found */
    uint64_t flows;
    uint64_t transactions;
    uint64_t candidates;          /* flows and transactions */
    uint64_t evicted_flows;
    uint64_t evicted_transactions;
    uint64_t evicted_context;
    uint64_t traces_taken;        /* flows whose trace pages went to others */
    uint64_t names_dropped;       /* names not kept because the store was full */
    uint64_t not_judged;          /* flows with a trigger in one direction only, cut payload or taken trace */
    uint64_t failed;              /* of the rows of tries, those that failed before any payload came */
    uint64_t datagrams_complete;  /* put together from fragments */
    uint64_t datagrams_incomplete; /* not: a fragment is missing, too late, or did not fit */
    uint64_t anomaly_count[21];   /* by bit of enum tscope_anomaly */
    int64_t first_ns;             /* of the first frame; -1 without any */
    int64_t last_ns;
    uint64_t n_notices;           /* all, also beyond those that are kept */
    uint64_t vantage[4];          /* flows that speak for: client side, server side, middle, cannot say */
    uint32_t container;           /* 0: not known yet, 1: pcap, 2: pcapng */
    uint32_t n_interfaces;
    uint32_t live_flows;
    uint32_t peak_flows;
};

/* New scan.  Errors: TSCOPE_E_MEMORY, TSCOPE_E_OPTION. */
int tscope_new(const struct tscope_options *options, struct tscope_scan **scan);
void tscope_free(struct tscope_scan *scan);

/* Process bytes of the capture, in pieces of any size.  *used says how many were taken: fewer than length only with
 * TSCOPE_FULL (take a batch, go on with the rest) and TSCOPE_END (max_frames reached). A negative code: the input
 * cannot be read further; a notice says why; what was read stands. */
int tscope_feed(struct tscope_scan *scan, const uint8_t *data, size_t length, size_t *used);

/* Read and process a descriptor until it ends (TSCOPE_END) or tables wait (TSCOPE_FULL).  Returns after about
 * max_bytes with TSCOPE_OK so that the caller can look for signals.  EINTR returns TSCOPE_OK. */
int tscope_read(struct tscope_scan *scan, int descriptor, uint64_t max_bytes);

/* The input ended: the rest of a cut record becomes a notice, live flows become final, candidates are judged. */
int tscope_end(struct tscope_scan *scan);

/* Take a batch of one kind; *batch is NULL where nothing waits.  Candidates wait for tscope_end. */
int tscope_take(struct tscope_scan *scan, uint32_t kind, struct tscope_batch **batch);
void tscope_batch_free(struct tscope_batch *batch);

void tscope_summarize(const struct tscope_scan *scan, struct tscope_summary *summary);
/* Notice number index from 0; at most 64 are kept.  Returns TSCOPE_OK or TSCOPE_END. */
int tscope_notice(const struct tscope_scan *scan, size_t index, struct tscope_notice *notice);

const char *tscope_code_name(int code);
/* Link type of an interface and its clock's ticks per second; TSCOPE_END past the last. */
int tscope_interface(const struct tscope_scan *scan, uint32_t index, uint32_t *link_type, uint32_t *snap_length,
                     uint64_t *ticks);
/* Runs the tables of known answers of every unit; NULL, or the name of the one that failed. */
const char *tscope_selftest(void);

/* cdef: end */

#endif
