"""Interference by injectors and droppers of our own, each written from a published behaviour (box_*.py)."""

import box_dns
import box_pages
import box_resets
from box_dns import Poisoner
from box_drops import NameDropper, QuicDropper, Silence, SynAckDropper, after_some, answers_only, null_route, upward
from box_pages import Pager
from box_rates import Throttler
from box_resets import Copier, HandshakeBox, ResetBox, Rewriter
from containers import ClockStep, Mirror, Missing, OneWay, Snap, Window
from scenario import CLIENTS, RESOLVERS, WEB, Rule, Scenario, scenario

EVERYBODY = frozenset(address for pair in CLIENTS.values() for address in pair)


def visit(s: Scenario, server: str, names: list[str], begin: float, end: float, count: int, port: int = 443) -> None:
    """Visits to listed names in turn, each with one to another name of the server beside it."""
    for number, at in enumerate(s.spread(begin, end, count)):
        name = names[number % len(names)]
        limit = s.rng.uniform(6, 10)
        if port == 80:
            s.beside(s.fetch(at, server, name, "listed", limit=limit))
        else:
            s.beside(s.page(at, server, name, "listed", limit=limit))


def ask(s: Scenario, names: list[str], begin: float, end: float, count: int) -> None:
    """Questions for listed names in turn, by dig and by a stub that hears late answers; others in between."""
    for number, at in enumerate(s.spread(begin, end, count)):
        kind = s.rng.choice(("A", "A", "AAAA"))
        resolver = s.rng.choice(list(RESOLVERS))
        s.job(at, "stub", resolver, 53, names[number % len(names)], "listed", type=kind, limit=2.0, again=5.0,
              ident=s.rng.randrange(65536))  # fmt: skip
        s.ask(at + s.rng.uniform(-1, 1) if at > 1 else at, s.free(s.rng.choice(("s1", "s2"))), kind, resolver=resolver)


@scenario("resets-multiple", "interference", "rst_injection")
def resets_multiple(s: Scenario) -> None:
    """On path, several resets to both ends with the header laws of their makes: gfw-t1, gfw-t2 with gfw-winttl, gfw-t3,
    rst-2kinds, gfw-2006 (steps of 1460 and 4380), gfw-4rst, gfw-rae, gfw-ipid64, gfw-ipid26, gfw-fin."""
    r = box_resets
    one = dict(zip(s.listed("s1", 5), ([r.type_1], [r.type_2], [r.type_3], [r.two_kinds], [r.fin_before]), strict=True))
    two = dict(
        zip(s.listed("s2", 5), ([r.stepped], [r.four], [r.nonce], [r.identity_64], [r.identity_26]), strict=True)
    )
    s.near.append(lambda log, rng: ResetBox(log, rng, one | two))
    s.rules.append(Rule("rst_injection", "on-path injector of resets", set(one | two), ports={443}))
    s.switch(0.0)
    s.ordinary(0, 12, 10)
    visit(s, "s1", list(one), 1, 11, 15)
    visit(s, "s2", list(two), 1, 11, 15)
    s.file()
    s.file("-server", "server", "pcap.gz")
    s.file("-middle", "middle", "pcapng.gz")


@scenario("resets-payload", "interference", "rst_injection")
def resets_payload(s: Scenario) -> None:
    """On path, resets that no stack makes: ten bytes of payload and only for bare TCP headers (henan), 22 zero bytes
    (tj-22), reserved bits (rst-resbits), PSH or FIN with RST (rst-illegalflags). Clients without TCP timestamps."""
    r = box_resets
    s.sysctls["c2"] = s.sysctls["c3"] = {"net__ipv4__tcp_timestamps": "0"}
    one = dict(zip(s.listed("s1", 4), ([r.ten_bytes], [r.zeros], [r.reserved_bits], [r.illegal]), strict=True))
    s.near.append(lambda log, rng: ResetBox(log, rng, one))
    s.rules.append(Rule("rst_injection", "on-path injector of resets", set(one), ports={443, 80}))
    s.switch(0.0)
    s.ordinary(0, 12, 12)
    visit(s, "s1", list(one), 1, 11, 14)
    visit(s, "s1", list(one), 1, 11, 10, 80)
    s.file("", "client", "nsec")


@scenario("resets-echo", "interference", "rst_injection")
def resets_echo(s: Scenario) -> None:
    """On path, resets whose header echoes the trigger or is constant: bn-ipid and rst-ipidcopy, rst-wincopy with
    rst-ttlmirror, ir-sni, tm-rst, rst-idswap, by-zero, sandvine09, sv-chain and eg-rst (13330)."""
    r = box_resets
    one = dict(zip(s.listed("s1", 4), ([r.copied_identity], [r.echo], [r.single], [r.fixed_30000]), strict=True))
    two = dict(zip(s.listed("s2", 4), ([r.swapped], [r.zero_first], [r.sandvine], [r.constant_13330]), strict=True))
    s.near.append(lambda log, rng: ResetBox(log, rng, one | two))
    s.rules.append(Rule("rst_injection", "on-path injector of resets", set(one | two), ports={443, 80}))
    s.switch(0.0)
    s.ordinary(0, 12, 10)
    visit(s, "s1", list(one), 1, 11, 12)
    visit(s, "s2", list(two), 1, 11, 12)
    visit(s, "s1", list(one), 1, 11, 6, 80)
    s.file("", "client", "pcap.gz")
    s.file("-server", "server", "pcapng.gz")


@scenario("resets-to-server", "interference", "rst_injection")
def resets_to_server(s: Scenario) -> None:
    """On path, five resets to the server only (ir-5rst): the client sees silence or a genuine end, the server's side
    the forged ones."""
    names = s.listed("s1", 3)
    listed = {name: [box_resets.five] for name in names}
    s.near.append(lambda log, rng: ResetBox(log, rng, listed))
    s.rules.append(Rule("rst_injection", "on-path injector of resets to the server", set(names), ports={443, 80}))
    s.switch(0.0)
    s.ordinary(0, 12, 14)
    visit(s, "s1", names, 1, 8, 10)
    visit(s, "s1", names, 1, 8, 6, 80)
    s.file("", "server")
    s.file("-middle", "middle")


@scenario("resets-443", "interference", "rst_injection")
def resets_443(s: Scenario) -> None:
    """On path, for one server's port 443 every SYN and every SYN+ACK draws three RST+ACK with windows 1980 to 1982 and
    3293 to 3295 and rising TTLs, whatever the name (gfw-443); ports 80 and 8443 are free."""
    s.near.append(lambda log, rng: HandshakeBox(log, rng, set(WEB["s2"])))
    s.rules.append(Rule("rst_injection", "on-path injector at handshakes", servers=set(WEB["s2"]), ports={443},
                        accept=("ip_block",)))  # fmt: skip
    s.switch(0.0)
    s.ordinary(0, 10, 14, ("s1",))
    for at in s.spread(0, 9, 12):
        s.page(at, "s2", s.rng.choice(s.names["s2"]), "listed", limit=5.0)
        s.fetch(at, "s2", s.rng.choice(s.names["s2"]))
    s.file()
    s.file("-server", "server")


@scenario("resets-residual", "interference", "rst_injection")
def resets_residual(s: Scenario) -> None:
    """On path, gfw-t2 on listed hellos, and for the rest of the recording on every hello from that client to that
    server port, whatever its name (gfw-res-180). The rules are on from second 4."""
    listed = {name: [box_resets.type_2] for name in s.listed("s1", 2)}
    s.near.append(lambda log, rng: ResetBox(log, rng, listed, residual=180.0))
    s.rules.append(Rule("rst_injection", "on-path injector with residual blocking", set(listed), servers=set(WEB["s1"]),
                        ports={443}, follow_ups=True))  # fmt: skip
    s.switch(4.0)
    s.ordinary(0, 14, 26)
    for at in s.spread(4.2, 7, 4):
        s.page(at, "s1", s.rng.choice(list(listed)), "listed", who=s.rng.choice(("c1", "c2")))
    for at in s.spread(7, 13, 10):
        s.page(at, "s1", s.free("s1"), who=s.rng.choice(("c1", "c2")))
    for at in s.spread(0, 13, 12):
        s.page(at, "s1", s.free("s1"), who="c3")
    s.file()


@scenario("resets-rewritten", "interference", "rst_injection")
def resets_rewritten(s: Scenario) -> None:
    """In path, after a listed hello the server's packets are rewritten to RST+ACK, payload cut, TTL, IP ID, window and
    sequence number kept (ru-sni1). Both ends recorded."""
    names = s.listed("s1", 3)
    s.far.append(lambda log, rng: Rewriter(log, rng, set(names)))
    s.rules.append(Rule("rst_injection", "in-path rewriting to RST+ACK", set(names), ports={443}))
    s.switch(0.0)
    s.ordinary(0, 11, 14)
    visit(s, "s1", names, 1, 9, 12)
    s.file()
    s.file("-server", "server", "pcap.gz")


@scenario("resets-copied", "interference", "rst_injection")
def resets_copied(s: Scenario) -> None:
    """In path, one injector that copies everything: the server's TTL, DF, IP ID law, a window as its kernel sends, and
    it waits for the server's round trip; the hello is swallowed. No frame of a flow can be told; only the group of
    flows with that name can, against other names of the same server (rst-noretry, sni-samesrv)."""
    names = s.listed("s1", 2)
    s.far.append(lambda log, rng: Copier(log, rng, set(names)))
    s.rules.append(Rule("rst_injection", "in-path injector that copies everything", set(names), ports={443},
                        accept=("sni_drop",)))  # fmt: skip
    s.switch(0.0)
    s.ordinary(0, 14, 10)
    visit(s, "s1", names, 1, 12, 20)
    s.file()


@scenario("dns-injected", "interference", "dns_forgery")
def dns_injected(s: Scenario) -> None:
    """On path, forged answers by several makes win the race: dns-inj1, dns-inj2, dns-inj3, dns-triple, dns-wallbleed,
    dns-tm, dns-ir, dns-pk-nx, ir-copy; and one that comes too late. The resolver's answer follows."""
    d = box_dns
    one = dict(zip(s.listed("s1", 5), (d.injector_1, d.injector_2, d.injector_3, d.triple, d.trailing), strict=True))
    two = dict(zip(s.listed("s2", 5), (d.loopback, d.national, d.denied, d.copied, d.late), strict=True))
    s.near.append(lambda log, rng: Poisoner(log, rng, one | two))
    s.rules.append(Rule("dns_forgery", "on-path injector of DNS answers", set(one | two), ports={53}))
    s.switch(0.0)
    s.ordinary(0, 12, 16)
    ask(s, list(one | two), 0.5, 11, 40)
    s.file()
    s.file("-server", "server")
    s.file("-answers", "client", "pcap", OneWay("servers", EVERYBODY))


@scenario("dns-replaced", "interference", "dns_forgery")
def dns_replaced(s: Scenario) -> None:
    """In path, the question is swallowed and only the forged answer comes: a private address, loopback, NXDOMAIN, one
    page host for all names (dns-private, dns-pk-lo, dns-pk-nx, dns-pk-ip with dns-many1). No second answer tells."""
    d = box_dns
    one = dict(zip(s.listed("s1", 4), (d.national, d.loopback, d.denied, d.page_host), strict=True))
    two = dict.fromkeys(s.listed("s2", 2), d.page_host)
    s.far.append(lambda log, rng: Poisoner(log, rng, one | two, replaces=True))
    s.rules.append(Rule("dns_forgery", "in-path replacement of DNS answers", set(one | two), ports={53}))
    s.switch(4.0, 12.0)
    s.ordinary(0, 16, 16)
    ask(s, list(one | two), 0.2, 15.5, 48)
    s.file("", "client", "pcapng")


@scenario("pages-injected", "interference", "blockpage")
def pages_injected(s: Scenario) -> None:
    """On path, a page or redirect before the true answer: bp-pk-cap (FIN+ACK and a bare RST), in-airtel, bp-ir, bp-id,
    bp-eg-307, bp-cn-1111, bp-ns; the server's answer follows and overlaps (bp-overlap)."""
    p = box_pages
    one = dict(zip(s.listed("s1", 4), (p.surf_safely, p.frame_and_reset, p.forbidden, p.moved), strict=True))
    two = dict(zip(s.listed("s2", 3), (p.temporary, p.two_kinds, p.fake_ok), strict=True))
    s.near.append(lambda log, rng: Pager(log, rng, one | two))
    s.rules.append(Rule("blockpage", "on-path injector of pages", set(one | two), ports={80}))
    s.switch(0.0)
    s.ordinary(0, 12, 12)
    visit(s, "s1", list(one), 0.5, 11, 14, 80)
    visit(s, "s2", list(two), 0.5, 11, 10, 80)
    s.file()
    s.file("-middle", "middle", "nsec")


@scenario("pages-replaced", "interference", "blockpage")
def pages_replaced(s: Scenario) -> None:
    """In path, the request is swallowed and a page answers in its place: bp-pk-cap, bp-ir, bp-ns, bp-id."""
    p = box_pages
    one = dict(zip(s.listed("s1", 4), (p.surf_safely, p.forbidden, p.fake_ok, p.moved), strict=True))
    s.far.append(lambda log, rng: Pager(log, rng, one, replaces=True))
    s.rules.append(Rule("blockpage", "in-path replacement by pages", set(one), ports={80}, accept=("http_drop",)))
    s.switch(0.0)
    s.ordinary(0, 12, 12)
    visit(s, "s1", list(one), 0.5, 11, 16, 80)
    s.file()
    s.file("-server", "server")


@scenario("drops-by-name", "interference", "sni_drop")
def drops_by_name(s: Scenario) -> None:
    """In path, four ways of silence after a listed hello: some packets pass first (sni-ru2), the server's data do not
    come back (sni-ir-srvh), nothing passes (sni-ru4), the client's packets vanish (sni-esni-cn); and an empty PSH+ACK
    in the server's name before the silence (ir-zeropsh)."""
    laws = dict(zip(s.listed("s1", 4), (after_some, answers_only, null_route, upward), strict=True))
    empty = s.listed("s2", 2)
    s.far.append(lambda log, rng: NameDropper(log, rng, laws))
    s.near.append(lambda log, rng: Silence(log, rng, set(empty)))
    s.rules.append(Rule("sni_drop", "in-path dropper", set(laws) | set(empty), ports={443}))
    s.switch(0.0)
    s.ordinary(0, 16, 12)
    visit(s, "s1", list(laws), 1, 8, 14)
    visit(s, "s2", empty, 1, 8, 6)
    s.file()
    s.file("-server", "server", "pcap.gz")


@scenario("drops-residual", "interference", "sni_drop")
def drops_residual(s: Scenario) -> None:
    """In path, after a listed hello all packets of the client to that server port vanish for the rest of the recording,
    whatever the name (residual blocking on the 3-tuple: sni-esni-cn, sni-fet-cn). Rules on from second 4."""
    listed = dict.fromkeys(s.listed("s1", 2), upward)
    s.far.append(lambda log, rng: NameDropper(log, rng, listed, residual=180.0))
    s.rules.append(Rule("sni_drop", "in-path dropper with residual blocking", set(listed), servers=set(WEB["s1"]),
                        ports={443}, follow_ups=True, accept=("ip_block",)))  # fmt: skip
    s.switch(4.0)
    s.ordinary(0, 14, 22)
    for at in s.spread(4.2, 7, 4):
        s.page(at, "s1", s.rng.choice(list(listed)), "listed", who=s.rng.choice(("c1", "c2")), limit=8.0)
    for at in s.spread(7, 11, 8):
        s.page(at, "s1", s.free("s1"), who=s.rng.choice(("c1", "c2")), limit=7.0)
    for at in s.spread(0, 14, 12):
        s.page(at, "s1", s.free("s1"), who="c3")
    s.file()


@scenario("quic-by-name", "interference", "quic_drop")
def quic_by_name(s: Scenario) -> None:
    """In path, after an Initial with a listed name all UDP between the client and the server is dropped (quic-gfw), at
    first after a moment, so that the first flight is answered (quic-gfw-late). TCP and other names go on."""
    s.quic = {"s1", "s2"}
    names = [*s.listed("s1", 2), *s.listed("s2", 2)]
    s.far.append(lambda log, rng: QuicDropper(log, rng, set(names), delay=0.08, residual=6.0))
    s.rules.append(Rule("quic_drop", "in-path QUIC dropper by name", set(names), servers=set(WEB["s1"] + WEB["s2"]),
                        ports={443}, follow_ups=True))  # fmt: skip
    s.switch(0.0)
    s.ordinary(0, 14, 10)
    for at in s.spread(1, 10, 12):
        server = s.rng.choice(("s1", "s2"))
        who = s.rng.choice(("c1", "c2"))
        s.job(at, "quic", server, 443, s.rng.choice(s.listed(server, 2)), "listed", limit=6.0, who=who)
        s.page(at + 0.3, server, s.free(server), who=who)
    for at in s.spread(1, 12, 14):
        server = s.rng.choice(("s1", "s2"))
        s.job(at, "quic", server, 443, s.free(server), "ordinary", who="c3")
    s.file()
    s.file("-server", "server", "pcap.gz")


@scenario("quic-by-version", "interference", "quic_drop")
def quic_by_version(s: Scenario) -> None:
    """In path, UDP to port 443 of 1001 bytes and more whose version is 1 kills its flow, whatever the name
    (quic-ru-v1); rules on from second 5, so that the same names work before. TCP to the same servers goes on."""
    s.quic = {"s1"}
    s.far.append(lambda log, rng: QuicDropper(log, rng, set(), by_version=True))
    s.rules.append(Rule("quic_drop", "in-path QUIC dropper by version", servers=set(WEB["s1"]), ports={443}))
    s.switch(5.0)
    s.ordinary(0, 12, 10)
    for at in s.spread(0.5, 10, 18):
        job = s.job(at, "quic", "s1", 443, s.rng.choice(s.names["s1"]), "listed", limit=5.0)
        s.page(at + 0.4, "s1", job["name"], who=job["worker"])
    s.file()


@scenario("throttled-both-ways", "interference", "throttling")
def throttled_both_ways(s: Scenario) -> None:
    """In path, after a listed hello a policer of 140 kbit/s in each direction drops what exceeds it (thr-ru21); other
    names of the same server are fast. Frames cut to 700 bytes."""
    s.bulk = 60_000
    name = s.names["s1"][0]
    s.far.append(lambda log, rng: Throttler(log, rng, {name}, "police", 17_500, 12_000))
    s.rules.append(Rule("throttling", "in-path policer 140 kbit/s", {name}, ports={443}))
    s.switch(0.0)
    s.ordinary(0, 10, 8)
    for at in s.spread(1, 6, 5):
        s.fast_and_slow(at, "s1", [name])
    s.file("", "client", "pcap", Snap(700))
    s.file("-server", "server", "pcapng", Snap(128))


@scenario("throttled-to-a-trickle", "interference", "throttling")
def throttled_trickle(s: Scenario) -> None:
    """In path, after a listed hello some 650 bytes a second (thr-ru22), or a share of all data is lost from the hello
    on (thr-hsloss, thr-tls); other names of the same server are fast. Frames cut to 700 bytes."""
    s.bulk = 50_000
    slow, lossy = s.listed("s1", 2)
    s.far.append(lambda log, rng: Throttler(log, rng, {slow}, "police", 650, 3_000))
    s.far.append(lambda log, rng: Throttler(log, rng, {lossy}, "handshake", 0, 0, 0.45))
    s.rules.append(Rule("throttling", "in-path policer 650 bytes/s", {slow}, ports={443}, accept=("sni_drop",)))
    s.rules.append(
        Rule("throttling", "in-path loss of 45 % after the hello", {lossy}, ports={443}, accept=("sni_drop",))
    )
    s.switch(0.0)
    s.ordinary(0, 10, 8)
    for at in s.spread(1, 6, 4):
        s.fast_and_slow(at, "s1", [slow, lossy])
    s.file("", "client", "pcap", Snap(700))


@scenario("shaped-by-name", "interference", "throttling")
def shaped_by_name(s: Scenario) -> None:
    """In path, after a listed hello a queue that empties at 128 kbit/s in each direction (thr-shaper, thr-flat); other
    names of the same server are fast. Frames cut to 700 bytes."""
    s.bulk = 50_000
    name = s.names["s2"][0]
    s.far.append(lambda log, rng: Throttler(log, rng, {name}, "shape", 16_000, 4_000))
    s.rules.append(Rule("throttling", "in-path shaper 128 kbit/s", {name}, ports={443}, by_rule_alone=True))
    s.switch(0.0)
    s.ordinary(0, 10, 8)
    for at in s.spread(1, 6, 5):
        s.fast_and_slow(at, "s2", [name])
    s.file("", "client", "nsec", Snap(700))


@scenario("synacks-dropped", "interference", "ip_block")
def synacks_dropped(s: Scenario) -> None:
    """In path, of one server's addresses only the SYN+ACKs that come back are lost (ip-synack-in): the client repeats
    its SYN, the server its SYN+ACK."""
    s.far.append(lambda log, rng: SynAckDropper(log, rng, set(WEB["s2"])))
    s.rules.append(Rule("ip_block", "in-path dropper of SYN+ACKs", servers=set(WEB["s2"])))
    s.switch(4.0)
    s.ordinary(0, 12, 16, ("s1",))
    for at in s.spread(0.2, 10, 16):
        s.page(at, "s2", s.rng.choice(s.names["s2"]), "listed", limit=6.0)
    s.file()
    s.file("-server", "server")


def mixed(s: Scenario) -> list[str]:
    """Resets, forged answers, drops and pages by name, all at once."""
    r, d = box_resets, box_dns
    resets = dict(zip(s.listed("s1", 3), ([r.type_2], [r.type_1], [r.copied_identity]), strict=True))
    drops = dict(zip(s.listed("s2", 2), (null_route, upward), strict=True))
    forged = dict(zip((s.names["s1"][3], s.names["s2"][3]), (d.triple, d.national), strict=True))
    pages = {s.names["s1"][4]: box_pages.forbidden}
    s.near.append(lambda log, rng: ResetBox(log, rng, resets))
    s.near.append(lambda log, rng: Poisoner(log, rng, forged))
    s.near.append(lambda log, rng: Pager(log, rng, pages))
    s.far.append(lambda log, rng: NameDropper(log, rng, drops))
    s.rules.append(Rule("rst_injection", "on-path injector of resets", set(resets), ports={443}))
    s.rules.append(Rule("sni_drop", "in-path dropper", set(drops), ports={443}))
    s.rules.append(Rule("dns_forgery", "on-path injector of DNS answers", set(forged), ports={53}))
    s.rules.append(Rule("blockpage", "on-path injector of pages", set(pages), ports={80}))
    s.switch(0.0)
    s.ordinary(0, 12, 8)
    visit(s, "s1", list(resets), 1, 10, 9)
    visit(s, "s2", list(drops), 1, 7, 5)
    ask(s, list(forged), 1, 10, 8)
    visit(s, "s1", list(pages), 1, 10, 5, 80)
    return [*resets, *drops, *forged, *pages]


@scenario("mixed-odd-captures", "interference", "rst_injection")
def mixed_odd_captures(s: Scenario) -> None:
    """Resets, drops, forged answers and pages at once, one recording as many odd captures: from the clients only, from
    the servers only, cut to 96 bytes, begun late and ended early, with a tenth of the frames missing, mirrored twice
    with one hop between, mirrored twice with the copies reordered, with a clock step of -2.5 s."""
    mixed(s)
    s.file()
    s.file("-upward", "client", "pcap", OneWay("clients", EVERYBODY))
    s.file("-downward", "client", "pcap", OneWay("servers", EVERYBODY))
    s.file("-cut96", "client", "pcap", Snap(96))
    s.file("-window", "client", "pcapng.gz", Window(4.0, 6.0))
    s.file("-missing", "client", "pcap", Missing(0.1))
    s.file("-mirror", "client", "pcap.gz", Mirror(1))
    s.file("-mirror-swapped", "client", "pcap.gz", Mirror(1, 0.2))
    s.file("-clockstep", "client", "pcap", ClockStep(6.0, -2.5))


@scenario("mixed-loss", "interference", "rst_injection")
def mixed_loss(s: Scenario) -> None:
    """Resets, drops, forged answers and pages at once, while the lines lose 8 % of all packets and reorder some."""
    mixed(s)
    s.loss = 0.08
    s.ordered = False
    s.jitter = 0.003
    s.file()
    s.file("-server", "server")
