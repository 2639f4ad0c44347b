"""What will happen in the demonstration, all of it drawn from one seed: names, rules, path, jobs and their times."""

import random
from dataclasses import dataclass, field
from typing import Any

from boxes import DROP_MODES, FORGER_FAMILIES, RESET_FAMILIES
from clients import Job

CLIENTS = {f"c{n}": (f"192.0.2.{10 + n}", f"2001:db8:1::{10 + n}") for n in range(1, 7)}
WEB = {f"s{n}": (f"198.51.100.{n}0", f"2001:db8:2::{n}0") for n in range(1, 7)}
RESOLVERS = {"r1": ("203.0.113.53", "2001:db8:53::53"), "r2": ("203.0.113.54", "2001:db8:53::54")}
SERVERS = WEB | RESOLVERS

WORDS = [
    "news", "press", "voice", "maps", "mail", "video", "chat", "photos", "shop", "forum", "radio", "museum",
    "club", "blog", "letters", "reports", "stream", "wiki", "talk", "library", "music", "school", "weather",
    "travel", "garden", "kitchen", "market", "theatre", "science", "history", "records", "harbour",
]  # fmt: skip

BROWSERS = ("chrome131", "chrome124", "firefox133", "safari18_0")

# Seconds from the first job. The same names and servers are ordinary before the rules and after them.
RULES_ON, RULES_OFF, END = 13.0, 43.0, 57.0
QUEUE_FROM, QUEUE_TO = 34.5, 40.0
OUTAGE_AT, OUTAGE_SECONDS = 27.0, 12.0


@dataclass
class Plan:
    seed: int
    rng: random.Random
    names: dict[str, list[str]] = field(default_factory=dict)  # by web server
    resets: dict[str, str] = field(default_factory=dict)  # name -> family
    drops: dict[str, str] = field(default_factory=dict)  # name -> mode
    forged: dict[str, str] = field(default_factory=dict)  # name -> family
    refused: list[str] = field(default_factory=list)  # names that the odd server itself resets
    stretches: dict[str, tuple[float, int]] = field(default_factory=dict)  # (delay, hops) of each line
    jobs: list[Job] = field(default_factory=list)
    ports: dict[str, list[int]] = field(default_factory=dict)

    def facts(self) -> dict[str, Any]:
        """What a reader of the index may want to know about the laboratory."""
        lines = {
            name: {"delay_ms": round(delay * 1e3, 2), "hops": hops} for name, (delay, hops) in self.stretches.items()
        }
        rules = {"reset": self.resets, "drop": self.drops, "forge": self.forged, "server_refuses": self.refused}
        return {"seed": self.seed, "lines": lines, "rules": rules, "rules_on_s": RULES_ON, "rules_off_s": RULES_OFF}

    def job(self, at: float, kind: str, server: str, port: int, name: str, purpose: str, **more: Any) -> Job:
        """Adds a job; client and IP version are drawn unless given."""
        client = more.pop("who", None) or self.rng.choice(list(CLIENTS))
        six = more.pop("six", None)
        six = self.rng.random() < 0.25 if six is None else six
        job = {"id": len(self.jobs), "at": at, "kind": kind, "worker": client, "client": CLIENTS[client][six],
               "server": SERVERS[server][six], "port": port, "name": name, "purpose": purpose, "path": "/index.html",
               "limit": 9.0, "source_port": self.ports[client].pop(), **more}  # fmt: skip
        self.jobs.append(job)
        return job

    def page(self, at: float, server: str, name: str, purpose: str, **more: Any) -> None:
        """One TLS visit by a client of some make."""
        kind = self.rng.choices(("browser", "curl", "openssl"), (5, 3, 2))[0]
        if kind == "browser":
            more["make"] = self.rng.choice(BROWSERS)
        elif kind == "curl":
            more["options"] = self.rng.choice(([], ["--http1.1"], ["--tls-max", "1.2"]))
        self.job(at, kind, server, 443, name, purpose, **more)

    def ask(self, at: float, name: str, kind: str, purpose: str, resolver: str | None = None, **more: Any) -> None:
        options = self.rng.choice(([], ["+noedns"], ["+nocookie"], ["+adflag"]))
        resolver = resolver or self.rng.choice(list(RESOLVERS))
        self.job(at, "dig", resolver, 53, name, purpose, type=kind, options=options, **more)


def make(seed: int) -> Plan:
    rng = random.Random(seed)
    plan = Plan(seed, rng)
    plan.ports = {client: rng.sample(range(20000, 32768), 400) for client in CLIENTS}
    words = rng.sample(WORDS, len(WORDS))
    for server, count in zip(WEB, (10, 9, 3, 4, 2, 2), strict=True):
        plan.names[server] = [f"{words.pop()}.example" for _ in range(count)]
    for server, families in (("s1", ("triple", "narrow")), ("s2", ("bare", "echo"))):
        assert set(families) <= set(RESET_FAMILIES)
        plan.resets |= dict(zip(plan.names[server], families, strict=False))
    assert set(DROP_MODES) == {"hello", "upward", "silence"}
    plan.drops |= dict(zip(plan.names["s1"][2:5], ("upward", "silence", "hello"), strict=True))
    plan.drops |= dict(zip(plan.names["s2"][2:4], ("upward", "hello"), strict=True))
    plan.forged |= dict(zip((*plan.names["s1"][5:7], plan.names["s2"][4]), FORGER_FAMILIES, strict=True))
    plan.refused = plan.names["s4"][:2]
    plan.stretches = {
        "access": (rng.uniform(0.005, 0.008), rng.randint(2, 4)),
        "regional": (rng.uniform(0.002, 0.005), rng.randint(2, 3)),
        "backbone": (rng.uniform(0.016, 0.020), rng.randint(4, 6)),
    }
    for server in SERVERS:
        plan.stretches[server] = (rng.uniform(0.003, 0.013), rng.randint(2, 5))
    ordinary(plan)
    interference(plan)
    lookalikes(plan)
    plan.jobs.sort(key=lambda job: job["at"])
    return plan


def ordinary(plan: Plan) -> None:
    """Visits before, under and after the rules; under them only names that no rule names."""
    rng = plan.rng
    ruled = plan.resets | plan.drops
    for begin, end, count in ((0.5, 11.0, 55), (RULES_ON + 1, RULES_OFF - 2, 75), (RULES_OFF + 1, END - 4, 50)):
        active = begin > RULES_ON and end < RULES_OFF
        for number in range(count):
            at = rng.uniform(begin, end)
            server = rng.choice(("s1", "s2"))
            choice = [name for name in plan.names[server] if not (active and name in ruled)]
            if not active and number < 2 * len(ruled):  # each ruled name once on either side of the rules
                name = list(ruled)[number % len(ruled)]
                server = next(s for s in plan.names if name in plan.names[s])
            else:
                name = rng.choice(choice)
            if number >= 2 * len(ruled) and rng.random() < 0.3:
                path = rng.choice(("/index.html", "/small.json", "/missing"))
                plan.job(at, "curl", server, 80, name, "ordinary", path=path)
            else:
                plan.page(at, server, name, "ordinary", path=rng.choice(("/index.html", "/small.json")))
            if rng.random() < 0.6 and not (active and name in plan.forged):
                busy = QUEUE_FROM - 6 < at < QUEUE_TO + 3
                kind = rng.choice(("A", "A", "AAAA"))
                plan.ask(at - 0.3, name, kind, "ordinary", "r1" if busy else None)
        if not active:
            for name in plan.forged:
                for kind in ("A", "AAAA"):
                    plan.ask(rng.uniform(begin, end), name, kind, "ordinary")
    for number in range(6):
        plan.page(rng.uniform(2, END - 6), "s4", plan.names["s4"][2 + number % 2], "ordinary")


def interference(plan: Plan) -> None:
    rng = plan.rng
    for name in plan.resets:
        server = next(s for s in plan.names if name in plan.names[s])
        for number in range(5):
            plan.page(rng.uniform(RULES_ON + 1, 36), server, name, "reset", six=number == 4)
    for name, mode in plan.drops.items():
        server = next(s for s in plan.names if name in plan.names[s])
        for number in range(4):
            limit = {"upward": 16.0, "silence": 11.0, "hello": rng.choice((9.0, 13.0))}[mode]
            plan.page(rng.uniform(RULES_ON + 1, 25), server, name, "drop", six=number == 3, limit=limit)
    for name in plan.forged:
        for kind in ("A", "AAAA"):
            for number in range(4):
                at = rng.uniform(RULES_ON + 1, QUEUE_FROM - 6)
                plan.ask(at, name, kind, "forged", six=number == 3)


def lookalikes(plan: Plan) -> None:
    rng = plan.rng
    odd, dead, failing = plan.names["s4"], plan.names["s5"], plan.names["s6"]
    whole = (2.0, END - 10)
    for number in range(6):
        plan.page(rng.uniform(*whole), "s4", plan.refused[number % 2], "server_reset_after_hello")
        plan.job(rng.uniform(*whole), "curl", "s4", 80, odd[2], "server_reset_after_request")
        plan.job(rng.uniform(*whole), "curl", "s4", 8443, odd[3], "closed_port", tls=True)
        plan.job(rng.uniform(*whole), "long_request", "s4", 8080, odd[2], "close_with_unread_data")
        plan.job(rng.uniform(*whole), "slow_close", "s4", 8081, odd[3], "reset_after_fin", wait=1.5)
        wait = rng.uniform(0.3, 0.8)
        plan.job(rng.uniform(*whole), "late_data", "s4", 8082, odd[2], "late_data_after_close", wait=wait)
        plan.page(rng.uniform(2, 40), "s5", dead[number % 2], "dead_server", limit=rng.uniform(8, 13))
        name, server = rng.choice([(n, s) for s in ("s1", "s2") for n in plan.names[s][7:]])
        wait = rng.choice((0.0, 0.02, 0.06))
        plan.job(rng.uniform(*whole), "abort_after_hello", server, 443, name, "client_abort_after_hello", wait=wait)
        plan.job(rng.uniform(*whole), "abort_transfer", server, 80, name, "client_abort_in_transfer", path="/large.bin")
        at = rng.uniform(QUEUE_FROM + 0.3, QUEUE_TO - 1.6)
        name = rng.choice([n for n in plan.names["s1"] + plan.names["s2"] if n not in plan.forged])
        plan.job(at, "stub", "r2", 53, name, "resolver_answers_twice", type=rng.choice(("A", "AAAA")), limit=3.0,
                 again=rng.uniform(0.4, 0.6), ident=rng.randrange(65536))  # fmt: skip
        at = OUTAGE_AT + rng.uniform(0, 0.02)
        plan.page(at, "s6", failing[number % 2], "line_outage", limit=10.5, who=f"c{number % 3 + 1}", six=False)
    for number in range(4):
        plan.page(rng.uniform(4, 20), "s6", failing[number % 2], "ordinary", six=False)
    for at in [rng.uniform(1, 40) for _ in range(32)]:
        plan.page(at, "s3", rng.choice(plan.names["s3"]), "lossy_line", limit=14.0)
