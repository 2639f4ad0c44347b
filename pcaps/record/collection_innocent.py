"""Look-alikes: recordings in which nobody interferes with names, and what happens looks as if somebody did."""

from box_drops import BigPackets
from collection_boxes import EVERYBODY
from containers import ClockStep, Mirror, Missing, OneWay, Snap, Window
from net import Lab
from scenario import CLIENTS, RESOLVERS, WEB, Scenario, scenario
from tools import Iptables, Nft, Shaper


@scenario("servers-that-reset", "innocent", "innocent")
def servers_that_reset(s: Scenario) -> None:
    """Servers that reset by themselves: after the hello for some names (la-waf), after the request (la-linger), with
    bytes unread (la-unread), after their FIN, to late data (la-stackrst); closed ports (la-closed); a hung server
    (la-server, insufficient)."""
    refused = s.names["s3"][:2]
    s.odd["s3"] = {"role": "odd", "refused": refused}
    s.odd["s2"] = {"role": "dead", "refused": []}
    s.ordinary(0, 14, 14, ("s1",))
    for at in s.spread(0.5, 11, 6):
        s.page(at, "s3", s.rng.choice(refused), "server_reset_after_hello")
        s.page(at, "s3", s.names["s3"][2], "ordinary", make=s.rng.choice(("curl", "openssl")))
        s.job(at, "curl", "s3", 80, s.names["s3"][3], "server_reset_after_request")
        s.job(at, "curl", "s3", 8443, s.names["s3"][3], "closed_port", tls=True)
        s.job(at, "long_request", "s3", 8080, s.names["s3"][2], "close_with_unread_data")
        s.job(at, "slow_close", "s3", 8081, s.names["s3"][2], "reset_after_fin", wait=1.5)
        s.job(at, "late_data", "s3", 8082, s.names["s3"][2], "late_data_after_close", wait=0.5)
        s.page(at, "s2", s.rng.choice(s.names["s2"]), "dead_server", limit=s.rng.uniform(6, 9))
    s.file()
    s.file("-server", "server", "pcapng.gz")


@scenario("sites-that-refuse", "innocent", "innocent")
def sites_that_refuse(s: Scenario) -> None:
    """A site that redirects to itself (la-http-redirect), says 451 (la-geo451), is overloaded and says 503 late
    (la-server), resets idle connections (la-lbrst); one that refuses unknown names with a TLS alert; one with a
    self-signed certificate, seen in TLS 1.2, that some clients accept and some refuse (la-selfsigned)."""
    s.odd["s3"] = {"role": "site", "name": s.names["s3"][0], "idle": 7.0, "refused": []}
    listens = " ".join(f"listen {a}:443 ssl default_server;" for a in (WEB["s1"][0], f"[{WEB['s1'][1]}]"))
    s.more["s1"] = f"ssl_protocols TLSv1.2 TLSv1.3; server {{ {listens} ssl_reject_handshake on; }}"
    s.more["s2"] = "ssl_protocols TLSv1.2;"
    s.self_signed = {"s2"}
    s.ordinary(0, 14, 14, ("s1",))
    name = s.names["s3"][0]
    for at in s.spread(0.5, 11, 6):
        s.job(at, "curl", "s3", 80, name, "redirect")
        s.job(at, "curl", "s3", 8081, name, "refused_by_law")
        s.job(at, "curl", "s3", 8082, name, "overloaded")
        s.job(at, "idle", "s3", 8083, name, "idle_reset", limit=14.0)
        s.page(at, "s1", f"unknown{s.rng.randint(1, 9)}.example", "tls_alert")
        s.page(at, "s2", s.rng.choice(s.names["s2"]), "certificate_refused", make=s.rng.choice(("curl", "chrome131")))
        s.page(at, "s2", s.rng.choice(s.names["s2"]), "self_signed", make="curl", options=["-k"])
    s.file()


@scenario("clients-that-leave", "innocent", "innocent")
def clients_that_leave(s: Scenario) -> None:
    """Clients that reset after their hello or in a download (la-tabclose), lose a race of address families (la-happy),
    open connections on suspicion (la-preconnect), scan ports (la-scan)."""
    s.bulk = 30_000
    s.ordinary(0, 13, 16)
    for at in s.spread(0.5, 11, 6):
        server = s.rng.choice(("s1", "s2"))
        name, who = s.free(server), s.rng.choice(list(CLIENTS))
        s.job(
            at, "abort_after_hello", server, 443, name, "client_abort_after_hello", wait=s.rng.choice((0, 0.02, 0.06))
        )
        s.job(at, "abort_transfer", server, 80, name, "client_abort_in_transfer", path="/bulk.bin")
        s.job(at, "preconnect", server, 443, name, "happy_eyeballs_loser", wait=0.0, hard=at < 6, who=who, six=True)
        s.page(at + 0.05, server, name, who=who, six=False)
        s.job(at, "preconnect", server, 443, name, "preconnect", wait=s.rng.uniform(2, 8), hard=at > 8)
    for port in s.rng.sample(range(1, 1024), 18):
        s.job(s.rng.uniform(3, 5), "scan", "s1", port, s.free("s1"), "port_scan", who="c2", six=False, limit=3.0)
    s.file("", "client", "pcap.gz")
    s.file("-server", "server")


@scenario("ordinary-odd-captures", "innocent", "innocent")
def ordinary_odd_captures(s: Scenario) -> None:
    """Ordinary traffic and a few clients that leave, one recording as many odd captures: one direction each, cut to 96
    bytes, begun late and ended early, a tenth of the frames missing, mirrored twice with one hop between (la-dupcap),
    with copies reordered, with clock steps of -2.5 and +400 s, captured on all devices of a router at once."""
    s.ordinary(0, 12, 36)
    for at in s.spread(0.5, 10, 4):
        s.job(at, "abort_transfer", "s1", 80, s.free("s1"), "client_abort_in_transfer", path="/large.bin")
        s.job(at, "abort_after_hello", "s2", 443, s.free("s2"), "client_abort_after_hello", wait=0.02)
    s.file("-upward", "client", "pcap", OneWay("clients", EVERYBODY))
    s.file("-downward", "client", "nsec", OneWay("servers", EVERYBODY))
    s.file("-cut96", "client", "pcapng", Snap(96))
    s.file("-window", "middle", "pcap.gz", Window(3.0, 5.0))
    s.file("-missing", "client", "pcap.gz", Missing(0.1))
    s.file("-mirror", "client", "pcap.gz", Mirror(1))
    s.file("-mirror-swapped", "client", "pcap.gz", Mirror(1, 0.2))
    s.file("-clockback", "client", "pcap.gz", ClockStep(6.0, -2.5))
    s.file("-clockforward", "client", "pcapng.gz", ClockStep(6.0, 400.0))
    s.file("-any", "any", "pcap.gz")


def lossy(s: Scenario, share: float) -> None:
    s.loss = share
    s.ordinary(0, 12, 10)
    for at in s.spread(0.5, 12, 34):
        server = s.rng.choice(("s1", "s2"))
        s.page(at, server, s.free(server), "loss", limit=14.0)
    for at in s.spread(0.5, 12, 12):
        s.ask(at, s.free("s1"), "A", "loss")


@scenario("loss-5", "innocent", "innocent")
def loss_5(s: Scenario) -> None:
    """Lines that lose 5 % of all packets and reorder some (la-loss, la-reorder)."""
    lossy(s, 0.05)
    s.ordered = False
    s.jitter = 0.004
    s.file()
    s.file("-server", "server", "pcap.gz")


@scenario("loss-20", "innocent", "innocent")
def loss_20(s: Scenario) -> None:
    """Lines that lose 20 % of all packets (la-loss)."""
    lossy(s, 0.20)
    s.file("", "client", "pcapng.gz")


@scenario("dns-oddities", "innocent", "innocent")
def dns_oddities(s: Scenario) -> None:
    """Addresses that change places and differ between two resolvers (la-cdn), a name whose owner publishes a private
    address (la-dnslocal), names that do not exist, answers too long for UDP, repeated questions with two answers
    (la-dnsretry)."""
    many, private = "pool.example", "printer.example.org"
    s.zone = {
        many: [f"198.51.100.{n}" for n in range(100, 160)],
        private: ["10.11.12.13"],
        "cdn.example": ["198.51.100.11", "198.51.100.21", "198.51.100.31", "2001:db8:2::11", "2001:db8:2::21"],
    }
    s.ordinary(0, 13, 16)
    for at in s.spread(0.5, 11, 7):
        s.ask(at, "cdn.example", s.rng.choice(("A", "AAAA")), "rotating_answer")
        s.ask(at + 0.2, "cdn.example", "A", "rotating_answer")
        s.ask(at, many, "A", "truncated_dns", options=["+noedns"])
        s.ask(at, private, "A", "name_is_private")
        s.ask(at, f"nobody{s.rng.randint(1, 99)}.example", "A", "absent_name")
        s.job(s.rng.uniform(4.2, 7.5), "stub", "r2", 53, s.free("s1"), "resolver_answers_twice", type="A", limit=3.0,
              again=0.5, ident=s.rng.randrange(65536), six=False)  # fmt: skip
    s.commands += [(4.0, "far", ("queue", RESOLVERS["r2"][0], 0.7)), (9.0, "far", ("queue", RESOLVERS["r2"][0], 0.0))]
    s.file()
    s.file("-server", "server", "pcapng")


@scenario("outage-of-a-line", "innocent", "innocent")
def outage_of_a_line(s: Scenario) -> None:
    """The line to one server is out for all names for some seconds (la-outage): hellos and SYNs unanswered, nobody
    dropped them by name. Insufficient where a reader cannot know."""
    s.ordinary(0, 14, 16, ("s1",))
    for address in WEB["s2"]:
        s.commands.append((4.0, "far", ("outage", address, 6.0)))
    for at in s.spread(0.3, 13, 26):
        s.page(at, "s2", s.rng.choice(s.names["s2"]), "line_outage", limit=8.0)
    s.file()
    s.file("-server", "server")


@scenario("outage-of-a-resolver", "innocent", "innocent")
def outage_of_a_resolver(s: Scenario) -> None:
    """One of two resolvers cannot be reached for some seconds, for all names (la-dnsdown)."""
    s.ordinary(0, 12, 14)
    for address in RESOLVERS["r1"]:
        s.commands.append((3.0, "far", ("outage", address, 6.0)))
    for at in s.spread(0.3, 12, 30):
        s.ask(at, s.free(s.rng.choice(("s1", "s2"))), "A", "resolver_down", resolver="r1",
              options=["+tries=2", "+time=2"])  # fmt: skip
    for at in s.spread(0.3, 12, 12):
        s.ask(at, s.free("s1"), "A", resolver="r2")
    s.file("", "client", "nsec")


@scenario("outage-by-router", "innocent", "innocent")
def outage_by_router(s: Scenario) -> None:
    """A router on the way has lost its route to one server and says so by ICMP "no route" for all ports and names
    (la-outage, la-cable)."""
    four, six = WEB["s2"]

    def lost(lab: Lab, _: Scenario) -> None:
        lab.inside("censor", "ip", "-4", "route", "add", "unreachable", f"{four}/32")
        lab.inside("censor", "ip", "-6", "route", "add", "unreachable", f"{six}/128")

    s.tools.append(lost)
    s.blanket = True
    s.ordinary(0, 10, 18, ("s1",))
    for at in s.spread(0.3, 8, 10):
        s.page(at, "s2", s.rng.choice(s.names["s2"]), "router_says_unreachable", limit=4.0)
        s.fetch(at, "s2", s.rng.choice(s.names["s2"]), "router_says_unreachable", limit=4.0)
    s.file()


@scenario("syn-proxy", "innocent", "innocent")
def syn_proxy(s: Scenario) -> None:
    """A SYN proxy answers all handshakes for one server before it lets them through: SYN+ACK of another TTL and window
    than the data, nearer too (la-synproxy, la-frontend)."""
    four, _ = WEB["s2"]
    s.tools.append(Nft(
        "table ip proxy {\n chain first {\n  type filter hook prerouting priority raw;\n"
        f"  ip daddr {four} tcp flags syn notrack\n }}\n chain forward {{\n  type filter hook forward priority 0;\n"
        f"  ip daddr {four} ct state invalid,untracked synproxy mss 1460 wscale 9 timestamp sack-perm\n"
        f"  ip daddr {four} ct state invalid drop\n }}\n}}\n"
    ))  # fmt: skip
    s.tools.append(lambda lab, _: lab.inside("censor", "sysctl", "-qw", "net.netfilter.nf_conntrack_tcp_loose=0"))
    s.blanket = True
    s.ordinary(0, 10, 14, ("s1",))
    for at in s.spread(0.3, 9, 16):
        s.page(at, "s2", s.rng.choice(s.names["s2"]), "syn_proxy", six=False)
    s.file()


@scenario("other-ttls", "innocent", "innocent")
def other_ttls(s: Scenario) -> None:
    """A site whose front answers handshakes and resets with other TTLs than its data (la-frontend, la-ttlos, lb-ttl):
    SYN+ACK 128, resets 255, data 64; and its own resets after requests."""
    s.odd["s3"] = {"role": "odd", "refused": s.names["s3"][:2]}

    def front(lab: Lab, _: Scenario) -> None:
        for tool, target, option in (("iptables", "TTL", "--ttl-set"), ("ip6tables", "HL", "--hl-set")):
            for mask, flags, ttl in (("RST", "RST", "255"), ("SYN,ACK", "SYN,ACK", "128")):
                lab.inside("s3", tool, "-w", "-t", "mangle", "-A", "OUTPUT", "-p", "tcp", "--tcp-flags", mask, flags,
                           "-j", target, option, ttl)  # fmt: skip

    s.tools.append(front)
    s.ordinary(0, 11, 14, ("s1",))
    for at in s.spread(0.3, 10, 8):
        s.page(at, "s3", s.names["s3"][2], "other_ttl", make="curl")
        s.page(at, "s3", s.rng.choice(s.names["s3"][:2]), "server_reset_after_hello")
        s.job(at, "curl", "s3", 80, s.names["s3"][3], "server_reset_after_request")
        s.job(at, "late_data", "s3", 8082, s.names["s3"][2], "late_data_after_close", wait=0.5)
        s.job(at, "curl", "s3", 8443, s.names["s3"][3], "closed_port", tls=True)
    s.file()
    s.file("-middle", "middle", "pcap.gz")


@scenario("firewall-for-all", "innocent", "innocent")
def firewall_for_all(s: Scenario) -> None:
    """An office firewall resets a forbidden port for everybody and every name (la-fwboth, la-corp); other ports are
    free. A reader of one file cannot know whose rule it is."""
    s.tools.append(Iptables(["-A FORWARD -p tcp --dport 8443 -j REJECT --reject-with tcp-reset"]))
    s.blanket = True
    s.ordinary(0, 10, 20)
    for at in s.spread(0.3, 9, 12):
        server = s.rng.choice(("s1", "s2"))
        s.job(at, "curl", server, 8443, s.free(server), "firewall_for_all", tls=True)
    s.file()


@scenario("captive-portal", "innocent", "innocent")
def captive_portal(s: Scenario) -> None:
    """A captive portal: every plain page, of whatever name, redirects to the login page until somebody logs in
    (la-captive); TLS to the same servers is closed to all by a reset."""

    def portal(lab: Lab, _: Scenario) -> None:
        import json
        import sys

        from stage import HERE

        spec = {"role": "portal", "addresses": ["192.0.2.250"], "certificate": "", "key": ""}
        lab.start("censor", [sys.executable, str(HERE / "servers.py"), json.dumps(spec)], "portal")

    s.tools.append(portal)
    s.tools.append(Iptables(["-A PREROUTING -i mid1 -p tcp --dport 80 -j REDIRECT --to-ports 8088"], "nat", (False,)))
    s.tools.append(Iptables(["-A FORWARD -p tcp --dport 443 -j REJECT --reject-with tcp-reset"], versions=(False,)))
    s.blanket = True
    for at in s.spread(0.3, 9, 18):
        server = s.rng.choice(("s1", "s2"))
        name, who = s.rng.choice(s.names[server]), s.rng.choice(list(CLIENTS))
        s.ask(at, name, "A", who=who)
        s.fetch(at + 0.3, server, name, "portal", who=who, six=False)
        s.page(at + 0.5, server, name, "firewall_for_all", who=who, six=False)
    s.file("", "client", "pcapng")


@scenario("slow-for-all", "innocent", "innocent")
def slow_for_all(s: Scenario) -> None:
    """A tariff of 600 kbit/s for the whole line: a tbf queue delays everybody's downloads, whatever the name (la-plan,
    la-cong). Frames cut to 700 bytes."""
    s.bulk = 50_000
    s.tools.append(Shaper(["qdisc add dev mid1 root tbf rate 600kbit burst 8k latency 1200ms"]))
    s.blanket = True
    s.ordinary(0, 10, 6)
    for at in s.spread(0.5, 9, 8):
        server = s.rng.choice(("s1", "s2"))
        s.page(at, server, s.rng.choice(s.names[server]), "slow_for_all", make="curl", path="/bulk.bin", limit=20.0)
    s.file("", "client", "pcap", Snap(700))


@scenario("slow-readers", "innocent", "innocent")
def slow_readers(s: Scenario) -> None:
    """Clients that read slowly through a small window: the rate is their own (la-appltd). Frames cut to 700 bytes."""
    s.bulk = 50_000
    s.sysctls.update({client: {"net__ipv4__tcp_rmem": "4096 16384 16384"} for client in ("c1", "c2")})
    s.ordinary(0, 10, 6)
    for at in s.spread(0.5, 6, 6):
        s.fetch(at, "s1", s.rng.choice(s.names["s1"]), "slow_reader", path="/bulk.bin", limit=12.0,
                options=["--limit-rate", "9k"], who=s.rng.choice(("c1", "c2")))  # fmt: skip
        s.fetch(at, "s1", s.rng.choice(s.names["s1"]), path="/bulk.bin", who="c3")
    s.file("", "client", "pcap.gz", Snap(700))


@scenario("big-packets-lost", "innocent", "innocent")
def big_packets_lost(s: Scenario) -> None:
    """A line to one server that loses all packets over 1300 bytes without a word: handshakes pass, certificates do not,
    for all names (la-pmtud); small answers on port 80 arrive."""
    s.far.append(lambda log, rng: BigPackets(log, rng, set(WEB["s2"]), 1300))
    s.ordinary(0, 12, 14, ("s1",))
    for at in s.spread(0.3, 6, 10):
        s.page(at, "s2", s.rng.choice(s.names["s2"]), "big_packets_lost", limit=9.0)
        s.fetch(at, "s2", s.rng.choice(s.names["s2"]), path="/small.json")
    s.file()
    s.file("-server", "server", "pcap.gz")


@scenario("quic-off", "innocent", "innocent")
def quic_off(s: Scenario) -> None:
    """A server that has no QUIC and says so by ICMP (la-quicoff) beside one that has it; TCP works for both."""
    s.quic = {"s1"}
    s.ordinary(0, 10, 10)
    for at in s.spread(0.3, 9, 10):
        s.job(at, "quic", "s2", 443, s.free("s2"), "quic_refused", limit=3.0)
        s.job(at, "quic", "s1", 443, s.free("s1"), "ordinary")
    s.file("", "client", "pcap.gz")


@scenario("udp-closed", "innocent", "innocent")
def udp_closed(s: Scenario) -> None:
    """A network that lets no UDP to port 443 out, whatever the name or server (la-udp); TCP works. A reader cannot know
    whose rule it is."""
    s.quic = {"s1", "s2"}
    s.tools.append(Iptables(["-A FORWARD -p udp --dport 443 -j DROP"]))
    s.blanket = True
    s.ordinary(0, 10, 10)
    for at in s.spread(0.3, 8, 12):
        server = s.rng.choice(("s1", "s2"))
        job = s.job(at, "quic", server, 443, s.free(server), "quic_silent", limit=4.0)
        s.page(at + 0.4, server, job["name"], who=job["worker"])
    s.file("", "client", "pcap.gz")


@scenario("evasion-insertions", "innocent", "innocent")
def evasion_insertions(s: Scenario) -> None:
    """Evasion tools at the client: a reset and junk of the client's own with a TTL too low to reach the server, then
    the true hello (geneva). Nobody interferes."""
    near = s.stretches["near"][1]
    s.ordinary(0, 10, 16)
    for at in s.spread(0.3, 9, 12):
        server = s.rng.choice(("s1", "s2"))
        s.job(at, "insertion", server, 443, s.free(server), "insertion", ttl=5 + near, six=False, limit=4.0)
    s.file()
    s.file("-server", "server")


@scenario("behind-nat", "innocent", "innocent")
def behind_nat(s: Scenario) -> None:
    """Clients behind one NAT address, captured outside: mixed TTLs and timestamps of one address, clients that leave,
    a server that resets; nobody interferes."""
    s.nat = True
    ports = s.rng.sample(range(20000, 32768), 900)
    s.ports = {client: ports[n::3] for n, client in enumerate(CLIENTS)}
    s.odd["s3"] = {"role": "odd", "refused": s.names["s3"][:2]}
    rng = s.rng
    for at in s.spread(0, 11, 30):
        server = rng.choice(("s1", "s2"))
        s.page(at, server, s.free(server), six=False)
        s.ask(at, s.free(server), "A", six=False)
    for at in s.spread(0.3, 10, 6):
        s.job(at, "abort_transfer", "s1", 80, s.free("s1"), "client_abort_in_transfer", path="/large.bin", six=False)
        s.job(at, "preconnect", "s2", 443, s.free("s2"), "preconnect", wait=rng.uniform(1, 6), hard=at > 5, six=False)
        s.job(at, "slow_close", "s3", 8081, s.names["s3"][2], "reset_after_fin", wait=1.5, six=False)
    s.file()
