"""What one recording of the collection will hold, drawn from its seed: path, names, rules, jobs, files.

A scenario is a function that fills a Scenario; collection*.py have them, stage.py plays them, compare.py says what
came of it.
"""

import random
import zlib
from collections.abc import Callable
from dataclasses import dataclass, field
from typing import TYPE_CHECKING, Any

from boxes import Box, Log
from clients import Job
from plan import BROWSERS, WORDS

if TYPE_CHECKING:
    from containers import Edit
    from net import Lab

SEED = 20260201
CLIENTS = {f"c{n}": (f"192.0.2.{20 + n}", f"2001:db8:1::{20 + n}") for n in range(1, 4)}
WEB = {f"s{n}": (f"198.51.100.{n}1", f"2001:db8:2::{n}1") for n in range(1, 4)}
RESOLVERS = {"r1": ("203.0.113.53", "2001:db8:53::53"), "r2": ("203.0.113.54", "2001:db8:53::54")}
SERVERS = WEB | RESOLVERS

MakeBox = Callable[[Log, random.Random], Box]
Tool = Callable[["Lab", Any], None]


@dataclass
class Rule:
    """Whom an interferer is set on. A flow counts as interfered only if something was done to its packets."""

    mechanism: str
    why: str  # the tool or box, with the catalogue's ids of the behaviour
    names: set[str] | None = None
    servers: set[str] | None = None
    clients: set[str] | None = None
    ports: set[int] | None = None
    # A shaper eats and forges nothing: that a flow fell under the rule is all there is to say.
    by_rule_alone: bool = False
    accept: tuple[str, ...] = ()
    follow_ups: bool = False  # also flows of other names that came after a listed one (residual blocking)

    def matches(self, name: str | None, client: str, server: str, port: int) -> bool:
        if self.clients is not None and client not in self.clients:
            return False
        if self.ports is not None and port not in self.ports:
            return False
        if self.servers is not None and server not in self.servers:
            return False
        return self.names is None or name in self.names or self.follow_ups


@dataclass
class Output:
    """One file made from what one capture point saw."""

    suffix: str
    point: str  # client, server, middle, any
    container: str = "pcap"
    edits: tuple["Edit", ...] = ()
    vantage: str = ""

    def __post_init__(self) -> None:
        self.vantage = self.vantage or {"client": "client", "server": "server"}.get(self.point, "middle")


@dataclass
class Scenario:
    name: str
    about: str
    kind: str  # folder: interference, innocent
    mechanism: str  # class in the index
    seed: int
    rng: random.Random = field(init=False)
    names: dict[str, list[str]] = field(default_factory=dict)
    near: list[MakeBox] = field(default_factory=list)  # boxes between the first and the second stretch of the path
    far: list[MakeBox] = field(default_factory=list)  # boxes behind the censor's router
    tools: list[Tool] = field(default_factory=list)  # real programs and kernel rules in the censor's router
    rules: list[Rule] = field(default_factory=list)
    jobs: list[Job] = field(default_factory=list)
    outputs: list[Output] = field(default_factory=list)
    stretches: dict[str, tuple[float, int]] = field(default_factory=dict)
    commands: list[tuple[float, str, tuple[Any, ...]]] = field(default_factory=list)  # (at, near or far, to a middle)
    odd: dict[str, dict[str, Any]] = field(default_factory=dict)  # servers that do not run nginx: spec of servers.py
    more: dict[str, str] = field(default_factory=dict)  # settings of nginx by server
    sysctls: dict[str, dict[str, str]] = field(default_factory=dict)
    bulk: int = 0  # size of /bulk.bin
    quic: set[str] = field(default_factory=set)
    ordered: bool = True
    jitter: float = 0.0002
    loss: float = 0.0
    zone: dict[str, list[str]] = field(default_factory=dict)  # names beside those of the servers
    resolver_options: list[str] = field(default_factory=list)
    answered_by_client: bool = False
    settle: float = 2.0
    blanket: bool = False  # innocent machinery of this recording makes or eats packets of all names
    self_signed: set[str] = field(default_factory=set)
    nat: bool = False
    aliases: dict[str, list[str]] = field(default_factory=dict)  # more addresses of a client
    story: dict[str, Any] = field(default_factory=dict)  # what a whole evening was; goes into the index

    def __post_init__(self) -> None:
        self.rng = rng = random.Random(self.seed)
        self.ports = {client: rng.sample(range(20000, 32768), 900) for client in CLIENTS}
        words = rng.sample(WORDS, len(WORDS))
        endings = ("example", "example.net", "example.org")
        for server, count in zip(WEB, (9, 8, 5), strict=True):
            self.names[server] = [f"{words.pop()}.{rng.choice(endings)}" for _ in range(count)]
        self.stretches = {
            "near": (rng.uniform(0.003, 0.014), rng.randint(2, 5)),
            "far": (rng.uniform(0.006, 0.040), rng.randint(4, 9)),
        }
        for server in SERVERS:
            self.stretches[server] = (rng.uniform(0.002, 0.012), rng.randint(1, 4))
        self.sysctls = {
            "c3": {"net__ipv4__ip_default_ttl": "128", "net__ipv4__tcp_timestamps": "0"},
            "s2": {"net__ipv4__ip_default_ttl": rng.choice(("128", "255"))},
            "r2": {"net__ipv4__ip_default_ttl": "255"},
        }

    # Who and when

    def job(self, at: float, kind: str, server: str, port: int, name: str, purpose: str, **more: Any) -> Job:
        client = more.pop("who", None) or self.rng.choice(list(CLIENTS))
        six = more.pop("six", None)
        six = self.rng.random() < 0.25 if six is None else six
        job = {"id": len(self.jobs), "at": at, "kind": kind, "worker": client, "client": CLIENTS[client][six],
               "server": SERVERS[server][six], "port": port, "name": name, "purpose": purpose, "path": "/index.html",
               "limit": 9.0, "source_port": self.ports[client].pop(), **more}  # fmt: skip
        self.jobs.append(job)
        return job

    def page(self, at: float, server: str, name: str, purpose: str = "ordinary", **more: Any) -> Job:
        """One TLS visit by a client of some make."""
        make = more.pop("make", None)
        kind = {"curl": "curl", "openssl": "openssl"}.get(make) or self.rng.choice(("browser", "curl", "openssl"))
        if make and make not in ("curl", "openssl"):
            kind = "browser"
        if kind == "browser":
            more["make"] = make or self.rng.choice(BROWSERS)
        elif kind == "curl":
            more.setdefault("options", self.rng.choice(([], ["--http1.1"], ["--tls-max", "1.2"])))
        return self.job(at, kind, server, 443, name, purpose, **more)

    def fetch(self, at: float, server: str, name: str, purpose: str = "ordinary", **more: Any) -> Job:
        return self.job(at, "curl", server, 80, name, purpose, **more)

    def ask(self, at: float, name: str, kind: str = "A", purpose: str = "ordinary", **more: Any) -> Job:
        options = more.pop("options", None) or self.rng.choice(([], ["+noedns"], ["+nocookie"], ["+adflag"]))
        resolver = more.pop("resolver", None) or self.rng.choice(list(RESOLVERS))
        return self.job(at, "dig", resolver, 53, name, purpose, type=kind, options=options, **more)

    def beside(self, job: Job) -> None:
        """The same client visits another name of the same server in the same seconds."""
        server = next(server for server, pair in SERVERS.items() if job["server"] in pair)
        more = {"who": job["worker"], "six": ":" in job["server"]}
        at = max(0.0, job["at"] + self.rng.uniform(-3, 3))
        if job["port"] == 80:
            self.fetch(at, server, self.free(server), **more)
        elif job["port"] == 443:
            self.page(at, server, self.free(server), **more)

    def fast_and_slow(self, at: float, server: str, names: list[str]) -> None:
        """One client downloads the same from listed names and from another name of the server."""
        who, six = self.rng.choice(list(CLIENTS)), self.rng.random() < 0.3
        bulk: dict[str, Any] = {"make": "curl", "path": "/bulk.bin", "limit": 25.0, "options": ["--http1.1"],
                                "who": who, "six": six}  # fmt: skip
        for name in names:
            self.page(at, server, name, "listed", **bulk)
        self.page(at + self.rng.uniform(0, 1), server, self.free(server), **bulk)

    def listed(self, server: str, count: int) -> list[str]:
        """The first names of a server are for rules; the others stay free."""
        return self.names[server][:count]

    def free(self, server: str) -> str:
        return self.rng.choice(self.names[server][5:] or self.names[server][-1:])

    def ordinary(self, begin: float, end: float, count: int, servers: tuple[str, ...] = ("s1", "s2")) -> None:
        """Visits to names that no rule names, with lookups."""
        for _ in range(count):
            at = self.rng.uniform(begin, end)
            server = self.rng.choice(servers)
            name = self.free(server)
            choice = self.rng.random()
            if choice < 0.5:
                self.page(at, server, name)
            elif choice < 0.7:
                self.fetch(at, server, name, path=self.rng.choice(("/index.html", "/small.json", "/missing")))
            if choice > 0.35:
                self.ask(max(0.0, at - 0.3), name, self.rng.choice(("A", "A", "AAAA")))

    def spread(self, begin: float, end: float, count: int) -> list[float]:
        return [begin + (end - begin) * (n + self.rng.uniform(0.1, 0.9)) / count for n in range(count)]

    def file(self, suffix: str = "", point: str = "client", container: str = "pcap", *edits: "Edit") -> None:
        self.outputs.append(Output(suffix, point, container, edits))

    def switch(self, on: float, off: float | None = None) -> None:
        for side in ("near", "far"):
            self.commands.append((on, side, ("rules", True)))
            if off is not None:
                self.commands.append((off, side, ("rules", False)))

    def facts(self) -> dict[str, Any]:
        lines = {key: {"delay_ms": round(delay * 1e3, 2), "hops": hops} for key, (delay, hops) in
                 self.stretches.items()}  # fmt: skip
        rules = [
            {"mechanism": rule.mechanism, "by": rule.why, "names": sorted(rule.names or []),
             "servers": sorted(rule.servers or []), "ports": sorted(rule.ports or [])} for rule in self.rules
        ]  # fmt: skip
        return {"seed": self.seed, "lines": lines, "rules": rules}


Fill = Callable[[Scenario], None]
COLLECTION: dict[str, tuple[str, str, Fill]] = {}


def scenario(name: str, kind: str, mechanism: str) -> Callable[[Fill], Fill]:
    """Enters a function into the collection; its docstring is the summary in the index."""

    def enter(fill: Fill) -> Fill:
        COLLECTION[name] = (kind, mechanism, fill)
        return fill

    return enter


def draw(name: str, seed: int) -> Scenario:
    kind, mechanism, fill = COLLECTION[name]
    about = " ".join((fill.__doc__ or "").split())
    drawn = Scenario(name, about, kind, mechanism, seed ^ zlib.crc32(name.encode()))
    fill(drawn)
    if not drawn.outputs:
        drawn.file()
    drawn.jobs.sort(key=lambda job: job["at"])
    return drawn
