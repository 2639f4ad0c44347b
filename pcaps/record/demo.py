#!/usr/bin/env python3
"""Records pcaps/demo.pcap (at the clients) and demo-server.pcap (at the servers) with their indexes. Run as root.

python3 pcaps/record/demo.py [--seed N] [--output FOLDER] [--keep FOLDER]

clients - access router =(capture)= gate - TUN [ line, boxes, line, box, line ] TUN - edge =(capture)= servers
"""

import argparse
import contextlib
import hashlib
import json
import multiprocessing
import os
import random
import shutil
import signal
import subprocess
import sys
import tempfile
import time
from multiprocessing.connection import Connection
from pathlib import Path
from typing import Any

import plan as plans
from boxes import BadLine, DnsForger, Dropper, Log, ResetInjector
from capture import Recorder, tool_version
from middle import Line, Sites, serve
from net import PREFIX, TOOLS, Lab, Unable, require, sweep
from plan import CLIENTS, RESOLVERS, SERVERS, WEB, Plan
from truth import Broken, Event, Recording, index
from workers import Workers

HERE = Path(__file__).resolve().parent
SEED = 20260117
FILES = {"client": "demo.pcap", "server": "demo-server.pcap"}
LOSS = 0.18
JITTER = 0.0002


def elements(plan: Plan, log: Log) -> list[Any]:
    """The path from the clients (first) to the servers (last)."""
    rng = random.Random(plan.seed + 1)

    def line(name: str) -> Line:
        delay, hops = plan.stretches[name]
        return Line(delay, hops, JITTER)

    sites: dict[str, Line] = {}
    for server, addresses in SERVERS.items():
        shared = line(server)
        sites |= dict.fromkeys(addresses, shared)
    return [
        line("access"),
        ResetInjector(log, rng, plan.resets),
        DnsForger(log, rng, plan.forged),
        line("regional"),
        Dropper(log, rng, plan.drops),
        line("backbone"),
        BadLine(log, rng, dict.fromkeys(WEB["s3"], LOSS)),
        Sites(sites),
    ]


def build(lab: Lab, plan: Plan, log: Path) -> Connection:
    """Stands the net up and starts the middle; returns the middle's control line."""
    for router in ("access", "gate", "edge"):
        lab.router(router)
    # One client and some servers are of another make, as far as TTL and timestamps show it.
    for client in CLIENTS:
        other = {"net__ipv4__ip_default_ttl": "128", "net__ipv4__tcp_timestamps": "0"} if client == "c3" else {}
        lab.resolver(client, RESOLVERS["r1"][0])
        lab.namespace(client, **other)
    ttls = {"s2": "128", "s4": "255", "r2": "255"}
    for server in SERVERS:
        ttl = ttls.get(server, "64")
        lab.namespace(server, net__ipv4__ip_default_ttl=ttl, net__ipv6__conf__all__hop_limit=ttl,
                      net__ipv6__conf__default__hop_limit=ttl)  # fmt: skip
    for router, members in (("access", CLIENTS), ("edge", SERVERS)):
        lab.bridge(router, "br0")
        for member in members:
            lab.link(router, member, member, "eth0")
            lab.join(router, member, "br0")
        lab.plain(router, "br0")
    lab.link("access", "up0", "gate", "down0")

    ours, control = multiprocessing.Pipe()
    process = multiprocessing.get_context("fork").Process(
        target=middle_process, args=(lab.full("gate"), lab.full("edge"), plan, log, control, ours), daemon=True
    )
    process.start()
    control.close()
    if not ours.poll(10) or ours.recv() != "ready":
        raise RuntimeError("the middle did not start")
    for router in ("gate", "edge"):
        lab.up(router, "core0")

    lab.address("access", "br0", "192.0.2.1/25", "2001:db8:1::1/64")
    lab.address("access", "up0", "192.0.2.253/30", "2001:db8:ff::1/64")
    lab.address("gate", "down0", "192.0.2.254/30", "2001:db8:ff::2/64")
    lab.address("edge", "br0", "198.51.100.1/24", "203.0.113.1/24", "2001:db8:2::1/64", "2001:db8:53::1/64")
    lab.route("access", "default", "via", "192.0.2.254")
    lab.route("access", "default", "via", "2001:db8:ff::2")
    lab.route("gate", "192.0.2.0/25", "via", "192.0.2.253")
    lab.route("gate", "2001:db8:1::/64", "via", "2001:db8:ff::1")
    for family in ("-4", "-6"):
        for router in ("gate", "edge"):
            lab.inside(router, "ip", family, "route", "add", "default", "dev", "core0")
    for members, gates in (
        (CLIENTS, ("192.0.2.1", "2001:db8:1::1")),
        (WEB, ("198.51.100.1", "2001:db8:2::1")),
        (RESOLVERS, ("203.0.113.1", "2001:db8:53::1")),
    ):
        for member, (four, six) in members.items():
            lab.address(member, "eth0", f"{four}/{25 if members is CLIENTS else 24}", f"{six}/64")
            for gate in gates:
                lab.route(member, "default", "via", gate)
    return ours


def middle_process(
    client_side: str, server_side: str, plan: Plan, path: Path, control: Connection, theirs: Connection
) -> None:
    theirs.close()  # else the end of the recorder would not end this process
    signal.signal(signal.SIGINT, signal.SIG_IGN)  # the recorder says when
    signal.signal(signal.SIGTERM, signal.SIG_DFL)
    log = Log(path)
    serve(client_side, server_side, elements(plan, log), plan.seed + 2, log, control)


def start_servers(lab: Lab, plan: Plan, folder: Path) -> None:
    import certificates  # after `require`: needs a PyPI package
    import servers

    certificates.write(folder, {server: plan.names[server] for server in WEB})
    rng = random.Random(plan.seed + 3)
    listen = {"s2": "so_keepalive=5s:3s:2"}  # this server asks whether the client still lives; the others just time out
    both = "ssl_protocols TLSv1.2 TLSv1.3;"  # not the default of nginx before 1.23
    more = {
        "s1": f"client_header_timeout 11s; {both}",
        "s2": "client_header_timeout 60s; ssl_protocols TLSv1.2;",
        "s3": f"client_header_timeout 30s; {both}",
        "s6": f"client_header_timeout 30s; {both}",
    }
    for server, settings in more.items():
        addresses = [f"[{a}]" if ":" in a else a for a in WEB[server]]
        command = servers.nginx(folder, server, addresses, plan.names[server], rng, listen.get(server, ""), settings)
        lab.start(server, command, f"nginx.{server}")
    for server, role in (("s4", "odd"), ("s5", "dead")):
        spec = {"role": role, "addresses": WEB[server], "refused": plan.refused,
                    "certificate": str(folder / f"{server}.pem"), "key": str(folder / f"{server}.key")}  # fmt: skip
        lab.start(server, [sys.executable, str(HERE / "servers.py"), json.dumps(spec)], f"odd.{server}")
    hosts = {name: list(WEB[server]) for server, names in plan.names.items() for name in names}
    for name in rng.sample(sorted(hosts), 6):  # some names live on two servers
        hosts[name] = [*hosts[name], *WEB["s1" if WEB["s2"][0] in hosts[name] else "s2"]]
    lab.start("r1", servers.dnsmasq(folder, hosts, ["127.0.0.1"], 5300), "dnsmasq.r1")
    lab.start("r1", servers.unbound(folder, list(RESOLVERS["r1"]), 5300), "unbound.r1")
    lab.start("r2", servers.dnsmasq(folder, hosts, list(RESOLVERS["r2"]), 53), "dnsmasq.r2")


def warm(lab: Lab) -> None:
    """Fills the neighbour tables, so that no first packet waits for ARP."""
    pairs = [(client, gate) for client in CLIENTS for gate in ("192.0.2.1", "2001:db8:1::1")]
    pairs += [("edge", address) for addresses in SERVERS.values() for address in addresses]
    pairs += [("access", gate) for gate in ("192.0.2.254", "2001:db8:ff::2")]
    for namespace, address in pairs:
        lab.inside(namespace, "ping", "-c", "1", "-W", "3", address)


def play(plan: Plan, workers: Workers, control: Connection, root: Path) -> None:
    start = time.time() + 1.0
    for job in plan.jobs:
        job["at"] += start
        job["root"] = str(root)
    workers.give(plan.jobs)
    four = {server: addresses[0] for server, addresses in SERVERS.items()}
    for at, command in sorted(
        [
            (plans.RULES_ON, ("rules", True)),
            (plans.OUTAGE_AT - 0.1, ("outage", four["s6"], plans.OUTAGE_SECONDS)),
            (plans.QUEUE_FROM, ("queue", four["r2"], 0.8)),
            (plans.QUEUE_TO, ("queue", four["r2"], 0.0)),
            (plans.RULES_OFF, ("rules", False)),
        ]
    ):
        time.sleep(max(0.0, start + at - time.time()))
        control.send(command)
    limit = start + plans.END + 30
    while len(workers.results) < len(plan.jobs) and time.time() < limit:
        time.sleep(0.2)
    time.sleep(2.0)  # the last answers and resets


def lines(path: Path) -> list[Event]:
    return [json.loads(line) for line in path.read_text().splitlines() if line.strip()]


def record(plan: Plan, folder: Path) -> tuple[Workers, dict[str, int]]:
    with Lab(folder) as lab:
        control = build(lab, plan, folder / "boxes.jsonl")
        try:
            warm(lab)
            start_servers(lab, plan, folder)
            workers = Workers(lab, list(CLIENTS))
            recorders = {
                "client": Recorder(lab, "access", "up0", folder / "client.pcap"),
                "server": Recorder(lab, "edge", "br0", folder / "server.pcap"),
            }
            workers.wait_ready()
            time.sleep(1.5)  # nginx, dnsmasq and unbound are up long before
            play(plan, workers, control, folder / "root.pem")
            drops = {side: recorder.stop() for side, recorder in recorders.items()}
        finally:
            with contextlib.suppress(OSError):
                control.send(("stop",))
            for child in multiprocessing.active_children():
                child.join(5)
    return workers, drops


def describe(plan: Plan, folder: Path, workers: Workers, vantage: str) -> dict[str, Any]:
    """The index of one of the two captures."""
    servers = {address: server for server, addresses in SERVERS.items() for address in addresses}
    clients = {address for pair in CLIENTS.values() for address in pair}

    def hops(event: Event) -> int:
        """Routers between the first box, the only injecting place, and the capture; gate and edge are one each."""
        if vantage == "client":
            return plan.stretches["access"][1] + 1
        return sum(plan.stretches[line][1] for line in ("regional", "backbone", servers[event["flow"][3]])) + 1

    captures = {side: folder / f"{side}.pcap" for side in ("client", "server")}
    rec = Recording(vantage, captures, clients, lines(folder / "boxes.jsonl"), hops)
    server_log = lines(folder / "odd.s4.log") + lines(folder / "odd.s5.log")
    labels, counts = index(rec, plan.jobs, workers.results, server_log)
    counted = ", ".join(f"{kind} {count}" for kind, count in sorted(counts.items()))
    return {
        "file": FILES[vantage],
        "sha256": hashlib.sha256(captures[vantage].read_bytes()).hexdigest(),
        "source": {
            "repository": "tamperscope",
            "path": "pcaps/record/demo.py",
            "licence": "CC0-1.0",
            "trim": "whole file",
            **plan.facts(),
            "tools": [tool_version("tcpdump", "--version"), tool_version("nginx", "-v"), tool_version("curl", "-V")],
        },
        "class": "rst_injection",
        "quality": "A",
        "vantage": vantage,
        "country_or_setting": "laboratory: network namespaces, user-space path with boxes",
        "flows": labels,
        "other_flows": "innocent",
        "summary": "Resets, dropped hellos and forged DNS answers by name, for some names of each server, switched "
        f"on and off while recording, among ordinary traffic and look-alikes. Counts: {counted}.",
    }


def publish(plan: Plan, folder: Path, workers: Workers, output: Path) -> None:
    """Writes captures and indexes, but only if the independent check agrees with both."""
    ready = folder / "ready"
    ready.mkdir()
    for vantage, name in FILES.items():
        shutil.copyfile(folder / f"{vantage}.pcap", ready / name)
    for vantage, name in FILES.items():
        document = describe(plan, folder, workers, vantage)
        path = (ready / name).with_suffix(".json")
        path.write_text(json.dumps(document, indent=1, ensure_ascii=False) + "\n")
        print(document["summary"].partition("Counts: ")[2], flush=True)
        across = ready / FILES["server" if vantage == "client" else "client"]
        command = [sys.executable, str(HERE / "check.py"), str(path), "--across", str(across)]
        if subprocess.run(command).returncode:
            raise Broken("the check does not agree with the index")
    for path in ready.iterdir():
        shutil.copyfile(path, output / path.name)


def main() -> int:
    parser = argparse.ArgumentParser(description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter)
    parser.add_argument("--seed", type=int, default=SEED)
    parser.add_argument("--output", type=Path, default=HERE.parent, help="where captures and indexes go")
    parser.add_argument("--keep", type=Path, help="copy all logs there")
    options = parser.parse_args()
    # So that the net is taken down; a shell starts its background jobs with the interrupt ignored.
    signal.signal(signal.SIGTERM, lambda *_: sys.exit(143))
    signal.signal(signal.SIGINT, signal.default_int_handler)
    try:
        require(TOOLS, ["curl_cffi", "cryptography"])
    except Unable as error:
        print(f"cannot record: {error}", file=sys.stderr)
        return 2
    sweep()
    # Two processors stamp packets of one device some microseconds out of order; one does not.
    os.sched_setaffinity(0, {max(os.sched_getaffinity(0))})
    plan = plans.make(options.seed)
    with tempfile.TemporaryDirectory(prefix=PREFIX) as name:
        folder = Path(name)
        try:
            workers, drops = record(plan, folder)
            print(f"jobs done: {len(workers.results)} of {len(plan.jobs)}, dropped by kernel: {drops}", flush=True)
            if any(drops.values()):
                raise Broken("the kernel dropped packets; a recording with holes is no test case")
            publish(plan, folder, workers, options.output)
        except (Broken, RuntimeError) as error:
            print(f"recording failed: {error}", file=sys.stderr)
            return 1
        except KeyboardInterrupt:
            print("interrupted; the net is taken down", file=sys.stderr)
            return 130
        finally:
            if options.keep:
                shutil.copytree(folder, options.keep, dirs_exist_ok=True)
    return 0


if __name__ == "__main__":
    sys.exit(main())
