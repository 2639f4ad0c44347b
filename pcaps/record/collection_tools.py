"""Interference by public programs and kernel rules, unmodified."""

from containers import Snap
from scenario import RESOLVERS, WEB, Rule, Scenario, scenario
from tools import Dnsspoof, Iptables, Mitmproxy, Nft, Shaper, Tcpkill, on_name

OLD = ("curl", "openssl")  # their hellos fit one segment


@scenario("iptables-reject-sni", "interference", "rst_injection")
def iptables_reject_sni(s: Scenario) -> None:
    """iptables string match with REJECT --reject-with tcp-reset on the hello (as in-rst, kr-sni: one reset, hello
    swallowed). A browser's hello in two segments can escape."""
    names = s.listed("s1", 2)
    s.tools.append(Iptables([on_name(name, 443, "REJECT --reject-with tcp-reset") for name in names]))
    s.rules.append(Rule("rst_injection", "iptables REJECT tcp-reset on the server name", set(names), ports={443},
                        accept=("sni_drop",)))  # fmt: skip
    s.ordinary(0, 10, 22)
    for at in s.spread(1, 9, 14):
        s.page(at, "s1", s.rng.choice(names), "listed", limit=6.0)
    s.file()
    s.file("-server", "server")


@scenario("iptables-reject-host", "interference", "rst_injection")
def iptables_reject_host(s: Scenario) -> None:
    """iptables REJECT tcp-reset on the Host of plain requests (tr-rst), seen by a router that captures on all of its
    devices at once, and by the clients in a big-endian file."""
    names = s.listed("s2", 2)
    s.tools.append(Iptables([on_name(name, 80, "REJECT --reject-with tcp-reset") for name in names]))
    s.rules.append(Rule("rst_injection", "iptables REJECT tcp-reset on the Host", set(names), ports={80},
                        accept=("http_drop",)))  # fmt: skip
    s.ordinary(0, 10, 24)
    for at in s.spread(1, 9, 12):
        s.beside(s.fetch(at, "s2", s.rng.choice(names), "listed", limit=6.0))
    s.file("", "client", "big")
    s.file("-any", "any")


@scenario("iptables-drop-sni", "interference", "sni_drop")
def iptables_drop_sni(s: Scenario) -> None:
    """iptables string match with DROP on the hello only: the segment with the name and its repetitions vanish, bare
    ACKs and FINs pass (sni-classic, sni-pk-wiki)."""
    names = s.listed("s1", 2)
    s.tools.append(Iptables([on_name(name, 443, "DROP") for name in names]))
    s.rules.append(Rule("sni_drop", "iptables DROP on the server name", set(names), ports={443}))
    s.ordinary(0, 16, 26)
    for at in s.spread(1, 6, 12):
        s.beside(s.page(at, "s1", s.rng.choice(names), "listed", make=s.rng.choice(OLD), limit=s.rng.uniform(6, 12)))
    s.file()
    s.file("-server", "server", "pcapng")


@scenario("iptables-drop-connection", "interference", "sni_drop")
def iptables_drop_connection(s: Scenario) -> None:
    """iptables string match sets a connection mark, and every packet of a marked connection is dropped in both
    directions (sni-ir-4t, sni-bothdead)."""
    names = s.listed("s2", 2)
    marks = [on_name(name, 443, "CONNMARK --set-mark 7") for name in names]
    s.tools.append(Iptables([*marks, "-A FORWARD -m connmark --mark 7 -j DROP"]))
    s.rules.append(Rule("sni_drop", "iptables CONNMARK and DROP on the server name", set(names), ports={443}))
    s.ordinary(0, 14, 24)
    for at in s.spread(1, 5, 10):
        s.page(at, "s2", s.rng.choice(names), "listed", make=s.rng.choice((*OLD, "chrome124")),
               limit=s.rng.uniform(6, 9))  # fmt: skip
    s.file("", "client", "nsec")
    s.file("-middle", "middle", "pcapng")


@scenario("iptables-drop-host", "interference", "http_drop")
def iptables_drop_host(s: Scenario) -> None:
    """iptables string match with DROP on the Host of plain requests (http-silence, http-bdin)."""
    names = s.listed("s1", 2)
    s.tools.append(Iptables([on_name(name, 80, "DROP") for name in names]))
    s.rules.append(Rule("http_drop", "iptables DROP on the Host", set(names), ports={80}))
    s.ordinary(0, 14, 22)
    for at in s.spread(1, 5, 10):
        s.beside(s.fetch(at, "s1", s.rng.choice(names), "listed", limit=s.rng.uniform(5, 10)))
    for at in s.spread(1, 12, 4):
        s.fetch(at, "s1", s.free("s1"))
    s.file("", "client", "pcap.gz")
    s.file("-server", "server")


@scenario("iptables-freeze", "interference", "sni_drop")
def iptables_freeze(s: Scenario) -> None:
    """iptables connbytes: of connections with a listed name nothing comes down after 16 KB (sni-ru16k); other names of
    the same server download to the end."""
    s.bulk = 40_000
    names = s.listed("s1", 2)
    marks = [on_name(name, 443, "CONNMARK --set-mark 7") for name in names]
    freeze = "-A FORWARD -m connmark --mark 7 -m connbytes --connbytes 16384: --connbytes-dir reply "
    s.tools.append(Iptables([*marks, freeze + "--connbytes-mode bytes -j DROP"]))
    s.rules.append(Rule("sni_drop", "iptables connbytes DROP after 16384 bytes", set(names), ports={443},
                        accept=("throttling",)))  # fmt: skip
    s.ordinary(0, 10, 14)
    for at in s.spread(1, 6, 8):
        s.page(at, "s1", s.rng.choice(names), "listed", make="curl", path="/bulk.bin", limit=9.0)
    for at in s.spread(1, 6, 6):
        s.page(at, "s1", s.free("s1"), path="/bulk.bin", make="curl")
    s.file("", "client", "pcap", Snap(700))


@scenario("iptables-drop-dns", "interference", "dns_drop")
def iptables_drop_dns(s: Scenario) -> None:
    """iptables string match on the name as it is written in a question: DROP (dnsd-timeout); other names are answered
    meanwhile by the same resolvers."""
    names = s.listed("s1", 3)
    for name in names:
        wire = "".join(f"{len(label):02x}{label.encode().hex()}" for label in name.split("."))
        text = f"-A FORWARD -p udp --dport 53 -m string --algo bm --hex-string |{wire}| -j DROP"
        s.tools.append(Iptables([text]))
    s.rules.append(Rule("dns_drop", "iptables DROP on the name in the question", set(names), ports={53}))
    s.ordinary(0, 14, 24)
    for at in s.spread(1, 12, 20):
        name = s.rng.choice(names)
        if s.rng.random() < 0.5:
            s.ask(at, name, s.rng.choice(("A", "AAAA")), "listed", options=["+tries=3", "+time=2"], limit=7.0)
        else:
            s.job(at, "stub", s.rng.choice(list(RESOLVERS)), 53, name, "listed", type="A", limit=6.0, again=2.0,
                  ident=s.rng.randrange(65536))  # fmt: skip
    for at in s.spread(0, 14, 20):
        s.ask(at, s.free("s2"))
    s.file()
    s.file("-server", "server")


@scenario("iptables-police", "interference", "throttling")
def iptables_police(s: Scenario) -> None:
    """iptables CONNMARK and hashlimit: connections with a listed name are policed to 16 KB/s down (thr-ru21,
    thr-policer: what exceeds the rate is dropped); other names of the same server are fast."""
    s.bulk = 65_000
    name = s.names["s1"][0]
    over = "-m hashlimit --hashlimit-above 16kb/s --hashlimit-burst 16kb --hashlimit-mode srcip,dstip,dstport"
    s.tools.append(Iptables([
        on_name(name, 443, "CONNMARK --set-mark 7"),
        f"-A FORWARD -m connmark --mark 7 -p tcp --sport 443 {over} --hashlimit-name tspol -j DROP",
    ]))  # fmt: skip
    s.rules.append(Rule("throttling", "iptables hashlimit 16 KB/s on the server name", {name}, ports={443}))
    s.ordinary(0, 10, 12)
    for at in s.spread(1, 8, 5):
        s.fast_and_slow(at, "s1", [name])
    s.sysctls["s1"] = {"net__ipv4__tcp_congestion_control": "reno"}
    s.file("", "client", "pcap", Snap(700))


@scenario("htb-shape", "interference", "throttling")
def htb_shape(s: Scenario) -> None:
    """iptables CONNMARK and CLASSIFY into an htb class of 160 kbit/s: what exceeds the rate waits in a queue
    (thr-shaper); other names of the same server are fast. Seen at the servers too, frames cut to 700 and 96 bytes."""
    s.bulk = 65_000
    name = s.names["s2"][0]
    s.tools.append(Iptables([on_name(name, 443, "CONNMARK --set-mark 7")]))
    s.tools.append(Iptables(["-A POSTROUTING -o mid1 -m connmark --mark 7 -j CLASSIFY --set-class 1:10"], "mangle"))
    s.tools.append(Shaper([
        "qdisc add dev mid1 root handle 1: htb default 20",
        "class add dev mid1 parent 1: classid 1:10 htb rate 160kbit ceil 160kbit burst 6k cburst 6k",
        "class add dev mid1 parent 1: classid 1:20 htb rate 100mbit",
        "qdisc add dev mid1 parent 1:10 pfifo limit 60",
    ]))  # fmt: skip
    s.rules.append(Rule("throttling", "htb 160 kbit/s on the server name", {name}, ports={443}, by_rule_alone=True))
    s.ordinary(0, 10, 12)
    for at in s.spread(1, 8, 4):
        s.fast_and_slow(at, "s2", [name])
    s.file("", "client", "pcap", Snap(700))
    s.file("-server", "server", "pcap", Snap(96))


@scenario("nft-reject-address", "interference", "ip_block")
def nft_reject_address(s: Scenario) -> None:
    """nftables: every SYN to port 443 of one server's addresses is answered with a reset (ip-rstsyn), the server's
    port 80 and the other servers are free."""
    four, six = WEB["s2"]
    s.tools.append(Nft(
        "table inet censor {\n chain forward {\n  type filter hook forward priority 0;\n"
        f"  ip daddr {four} tcp dport 443 reject with tcp reset\n"
        f"  ip6 daddr {six} tcp dport 443 reject with tcp reset\n }}\n}}\n"
    ))  # fmt: skip
    s.rules.append(
        Rule("ip_block", "nftables reject with tcp reset on the address", servers=set(WEB["s2"]), ports={443})
    )
    s.ordinary(0, 9, 16, ("s1",))
    for at in s.spread(0, 9, 12):
        s.page(at, "s2", s.rng.choice(s.names["s2"]), "listed")
        s.fetch(at + 0.4, "s2", s.rng.choice(s.names["s2"]))
    s.file()
    s.file("-middle", "middle")


@scenario("nft-prohibited", "interference", "ip_block")
def nft_prohibited(s: Scenario) -> None:
    """nftables: packets to one server's addresses are rejected with ICMP "administratively prohibited" by a router on
    the way (ip-icmp)."""
    four, six = WEB["s2"]
    s.tools.append(Nft(
        "table inet censor {\n chain forward {\n  type filter hook forward priority 0;\n"
        f"  ip daddr {four} reject with icmpx type admin-prohibited\n"
        f"  ip6 daddr {six} reject with icmpx type admin-prohibited\n }}\n}}\n"
    ))  # fmt: skip
    s.rules.append(Rule("ip_block", "nftables reject with icmpx admin-prohibited", servers=set(WEB["s2"])))
    s.ordinary(0, 9, 18, ("s1",))
    for at in s.spread(0, 7, 12):
        s.page(at, "s2", s.rng.choice(s.names["s2"]), "listed", limit=3.0)
    s.file("", "client", "pcapng")


@scenario("nft-blackhole", "interference", "ip_block")
def nft_blackhole(s: Scenario) -> None:
    """nftables: what goes to port 443 of one server's addresses vanishes, from two of three clients' addresses; the
    third reaches it (ip-syn, out-geo)."""
    four, six = WEB["s2"]
    s.tools.append(Nft(
        "table inet censor {\n chain forward {\n  type filter hook forward priority 0;\n"
        f"  ip daddr {four} ip saddr {{ 192.0.2.21, 192.0.2.22 }} tcp dport 443 drop\n"
        f"  ip6 daddr {six} ip6 saddr {{ 2001:db8:1::21, 2001:db8:1::22 }} tcp dport 443 drop\n }}\n}}\n"
    ))  # fmt: skip
    s.rules.append(Rule("ip_block", "nftables drop on the address", servers=set(WEB["s2"]), ports={443}))
    s.ordinary(0, 12, 18, ("s1",))
    for at in s.spread(0, 5, 10):
        s.page(at, "s2", s.rng.choice(s.names["s2"]), "listed", who=s.rng.choice(("c1", "c2")), limit=8.0)
    for at in s.spread(0, 12, 8):
        s.page(at, "s2", s.rng.choice(s.names["s2"]), who="c3")
    s.file()


@scenario("tcpkill", "interference", "rst_injection")
def tcpkill(s: Scenario) -> None:
    """dsniff's tcpkill on one client and one server's port: five bare resets for each packet heard, at the number
    acknowledged plus multiples of the window, random IP IDs. It hears in gulps, so only lasting transfers die."""
    s.bulk = 60_000
    target = WEB["s2"][0]
    s.tools.append(Tcpkill(f"host {target} and port 80", 5))
    s.rules.append(Rule("rst_injection", "tcpkill on the address and port", servers={target}, ports={80}))
    s.ordinary(0, 11, 16, ("s1",))
    for at in s.spread(1, 10, 8):
        s.fetch(at, "s2", s.rng.choice(s.names["s2"]), "listed", path="/bulk.bin", six=False,
                options=["--limit-rate", "15k"], limit=8.0)  # fmt: skip
    s.sysctls.update({client: {"net__ipv4__tcp_rmem": "4096 16384 16384"} for client in ("c1", "c2", "c3")})
    for at in s.spread(1, 10, 5):
        s.page(at, "s2", s.rng.choice(s.names["s2"]))
        s.fetch(at, "s2", s.rng.choice(s.names["s2"]), six=True)
    s.file()
    s.file("-server", "server", "pcap.gz")
    s.file("-middle", "middle", "pcapng.gz")


@scenario("dnsspoof", "interference", "dns_forgery")
def dnsspoof(s: Scenario) -> None:
    """dsniff's dnsspoof on the way: forged A answers for listed names, most of them after the true one (dns-double,
    order reversed)."""
    names = s.listed("s1", 3)
    s.tools.append(Dnsspoof(dict(zip(names, ("10.20.30.40", "93.46.8.89", "127.0.0.1"), strict=True))))  # fmt: skip
    s.rules.append(Rule("dns_forgery", "dnsspoof", set(names), ports={53}))
    s.ordinary(0, 10, 20)
    for at in s.spread(1, 9, 16):
        name = s.rng.choice(names)
        s.job(at, "stub", s.rng.choice(list(RESOLVERS)), 53, name, "listed", type="A", limit=1.5, again=5.0,
              ident=s.rng.randrange(65536), six=False)  # fmt: skip
    for at in s.spread(0, 10, 24):
        s.ask(at, s.free("s2"))
    s.file()
    s.file("-server", "server")


@scenario("mitmproxy", "interference", "tls_mitm")
def mitmproxy(s: Scenario) -> None:
    """mitmproxy in transparent mode for all names of one server, TLS 1.2 towards clients, with a CA of its own named
    after a state root (mitm-chain, mitm-kz, mitm-hop)."""
    s.tools.append(Mitmproxy(["s2"], "State Security Certificate", "State Root CA",
                             options=("--set", "tls_version_client_max=TLS1_2")))  # fmt: skip
    s.rules.append(Rule("tls_mitm", "mitmproxy, own CA", servers=set(WEB["s2"]), ports={443}))
    s.more["s1"] = "ssl_protocols TLSv1.2;"
    s.ordinary(0, 12, 24, ("s1",))
    for at in s.spread(1, 11, 12):
        s.page(at, "s2", s.rng.choice(s.names["s2"][:5]), "listed", make=s.rng.choice((*OLD, "chrome124")))
    s.file()


@scenario("mitmproxy-some", "interference", "tls_mitm")
def mitmproxy_some(s: Scenario) -> None:
    """mitmproxy for the IPv4 address of a server only: by IPv6 the same names show their own issuer, TLS 1.2 too."""
    s.tools.append(Mitmproxy(["s2"], "Allot Communications", "Web Safe Intermediate",
                             options=("--set", "tls_version_client_max=TLS1_2")))  # fmt: skip
    s.tools.append(lambda lab, _: lab.inside("censor", "ip6tables", "-t", "nat", "-F", "PREROUTING"))
    s.rules.append(Rule("tls_mitm", "mitmproxy, own CA", servers={WEB["s2"][0]}, ports={443}))
    s.more["s2"] = s.more["s1"] = "ssl_protocols TLSv1.2;"
    s.ordinary(0, 12, 18, ("s1",))
    for at in s.spread(1, 11, 10):
        name = s.rng.choice(s.names["s2"][:5])
        s.page(at, "s2", name, "listed", make=s.rng.choice(OLD), six=False)
        s.page(at + 0.5, "s2", name, make=s.rng.choice(OLD), six=True)
    s.file("", "client", "pcap.gz")
