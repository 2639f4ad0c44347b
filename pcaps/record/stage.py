"""Plays one scenario: net, servers, boxes, tools, clients, and captures at four points.

clients - access =(client)= gate - TUN [ near line, boxes ] TUN - west =(middle)= censor - TUN [ boxes, far line,
    site lines ] TUN - edge =(server)= servers

The censor is a real router: kernel rules and programs interfere there. Boxes of our own stand in the two stretches.
"""

import contextlib
import json
import multiprocessing
import random
import signal
import sys
import time
from multiprocessing.connection import Connection
from pathlib import Path
from typing import Any

import certificates
import servers
from boxes import BadLine, Box, Log
from capture import Recorder
from middle import Line, Sites, serve
from net import Lab
from scenario import CLIENTS, RESOLVERS, SERVERS, WEB, Scenario
from workers import Workers

HERE = Path(__file__).resolve().parent
NODES = {"client": ("access", "up0"), "server": ("edge", "br0"), "middle": ("west", "mid0"), "any": ("censor", "any")}
NAT = "192.0.2.100"
# Routers between the capture at the clients and the others, without those of the lines.
ROUTERS = {"client": 0, "middle": 2, "any": 2, "server": 4}


def hops(scenario: Scenario, point: str, server: str) -> int:
    """By how much a packet's TTL differs between the clients' capture point and another."""
    lines = {key: count for key, (_, count) in scenario.stretches.items()}
    there = ROUTERS[point] + (lines["near"] if point != "client" else 0)
    if point == "server":
        there += lines["far"] + lines[server]
    return there


def elements(scenario: Scenario, side: str, log: Log) -> list[Any]:
    rng = random.Random(f"{scenario.seed}{side}")

    def line(name: str) -> Line:
        delay, count = scenario.stretches[name]
        return Line(delay, count, scenario.jitter, ordered=scenario.ordered)

    boxes: list[Box] = [make(log, rng) for make in getattr(scenario, side)]
    if side == "near":
        return [line("near"), *boxes]
    sites: dict[str, Line] = {}
    for server, addresses in SERVERS.items():
        sites |= dict.fromkeys(addresses, line(server))
    bad = BadLine(log, rng, dict.fromkeys(sites, scenario.loss) if scenario.loss else {})
    return [*boxes, line("far"), bad, Sites(sites)]


def middle_process(scenario: Scenario, side: str, ends: tuple[str, str], path: Path, pipe: Any) -> None:
    control, theirs = pipe
    theirs.close()  # else the end of the recorder would not end this process
    signal.signal(signal.SIGINT, signal.SIG_IGN)  # the recorder says when
    signal.signal(signal.SIGTERM, signal.SIG_DFL)
    log = Log(path)
    devices = ("core0", "near0") if side == "near" else ("far0", "core0")
    serve(*ends, elements(scenario, side, log), scenario.seed + 2, log, control, devices)


def start_middle(lab: Lab, scenario: Scenario, side: str) -> Connection:
    ours, control = multiprocessing.Pipe()
    ends = ("gate", "west") if side == "near" else ("censor", "edge")
    process = multiprocessing.get_context("fork").Process(
        target=middle_process, daemon=True,
        args=(scenario, side, tuple(map(lab.full, ends)), lab.folder / f"boxes.{side}.jsonl", (control, ours)),
    )  # fmt: skip
    process.start()
    control.close()
    if not ours.poll(15) or ours.recv() != "ready":
        raise RuntimeError("the middle did not start")
    return ours


def build(lab: Lab, scenario: Scenario) -> dict[str, Connection]:
    for router in ("access", "gate", "west", "censor", "edge"):
        lab.router(router)
    for client in CLIENTS:
        lab.resolver(client, RESOLVERS["r1"][0])
    for member in (*CLIENTS, *SERVERS):
        settings = dict(scenario.sysctls.get(member, {}))
        if "net__ipv4__ip_default_ttl" in settings and member in SERVERS:
            for where in ("all", "default"):
                settings[f"net__ipv6__conf__{where}__hop_limit"] = settings["net__ipv4__ip_default_ttl"]
        lab.namespace(member, **settings)
    for router, members in (("access", CLIENTS), ("edge", SERVERS)):
        lab.bridge(router, "br0")
        for member in members:
            lab.link(router, member, member, "eth0")
            lab.join(router, member, "br0")
        lab.plain(router, "br0")
    lab.link("access", "up0", "gate", "down0")
    lab.link("west", "mid0", "censor", "mid1")
    controls = {side: start_middle(lab, scenario, side) for side in ("near", "far")}
    for router, device in (("gate", "core0"), ("west", "near0"), ("censor", "far0"), ("edge", "core0")):
        lab.up(router, device)
    lab.address("access", "br0", "192.0.2.1/25", "2001:db8:1::1/64")
    lab.address("access", "up0", "192.0.2.253/30", "2001:db8:ff::1/64")
    lab.address("gate", "down0", "192.0.2.254/30", "2001:db8:ff::2/64")
    lab.address("west", "mid0", "192.0.2.249/30", "2001:db8:fe::1/64")
    lab.address("censor", "mid1", "192.0.2.250/30", "2001:db8:fe::2/64")
    lab.address("edge", "br0", "198.51.100.1/24", "203.0.113.1/24", "2001:db8:2::1/64", "2001:db8:53::1/64")
    for router, device in (("gate", "core0"), ("west", "near0"), ("censor", "far0"), ("edge", "core0")):
        # A router's own errors (ICMP) need a source address on the device that they leave by.
        last = {"gate": 1, "west": 2, "censor": 3, "edge": 4}[router]
        lab.address(router, device, f"192.0.2.{240 + last}/32", f"2001:db8:fd::{last}/128")
    routes = [
        ("access", "default", ("via", "192.0.2.254"), ("via", "2001:db8:ff::2")),
        ("gate", "clients", ("via", "192.0.2.253"), ("via", "2001:db8:ff::1")),
        ("gate", "default", ("dev", "core0"), ("dev", "core0")),
        ("west", "clients", ("dev", "near0"), ("dev", "near0")),
        ("west", "default", ("via", "192.0.2.250"), ("via", "2001:db8:fe::2")),
        ("censor", "clients", ("via", "192.0.2.249"), ("via", "2001:db8:fe::1")),
        ("censor", "default", ("dev", "far0"), ("dev", "far0")),
        ("edge", "default", ("dev", "core0"), ("dev", "core0")),
    ]
    for router, target, via4, via6 in routes:
        clients = target == "clients"
        lab.inside(router, "ip", "-4", "route", "add", "192.0.2.0/25" if clients else target, *via4)
        lab.inside(router, "ip", "-6", "route", "add", "2001:db8:1::/64" if clients else target, *via6)
    if scenario.nat:
        lab.address("access", "up0", f"{NAT}/32")
        lab.inside("access", "iptables", "-w", "-t", "nat", "-A", "POSTROUTING", "-o", "up0",
                   "-j", "SNAT", "--to-source", NAT)  # fmt: skip
    for members, gates in (
        (CLIENTS, ("192.0.2.1", "2001:db8:1::1")),
        (WEB, ("198.51.100.1", "2001:db8:2::1")),
        (RESOLVERS, ("203.0.113.1", "2001:db8:53::1")),
    ):
        for member, (four, six) in members.items():
            lab.address(member, "eth0", f"{four}/{25 if members is CLIENTS else 24}", f"{six}/64")
            for alias in scenario.aliases.get(member, []):
                lab.address(member, "eth0", f"{alias}/32")
            for gate in gates:
                lab.route(member, "default", "via", gate)
    return controls


def start_servers(lab: Lab, scenario: Scenario) -> None:
    folder = lab.folder
    certificates.write(folder, {server: scenario.names[server] for server in WEB}, scenario.self_signed)
    rng = random.Random(scenario.seed + 3)
    for server, addresses in WEB.items():
        pair = {"certificate": str(folder / f"{server}.pem"), "key": str(folder / f"{server}.key")}
        if server in scenario.odd:
            spec = {"addresses": addresses, **pair, **scenario.odd[server]}
            lab.start(server, [sys.executable, str(HERE / "servers.py"), json.dumps(spec)], f"odd.{server}")
            continue
        bracketed = [f"[{a}]" if ":" in a else a for a in addresses]
        settings = scenario.more.get(server, "ssl_protocols TLSv1.2 TLSv1.3;")
        command = servers.nginx(folder, server, bracketed, scenario.names[server], rng, "", settings)
        if scenario.bulk:
            for name in scenario.names[server]:
                (folder / "www" / server / name / "bulk.bin").write_bytes(rng.randbytes(scenario.bulk))
        lab.start(server, command, f"nginx.{server}")
        if server in scenario.quic:
            spec = {"addresses": addresses, **pair}
            lab.start(server, [sys.executable, str(HERE / "quic.py"), json.dumps(spec)], f"quic.{server}")
    hosts = {name: list(WEB[server]) for server, names in scenario.names.items() for name in names} | scenario.zone
    lab.start("r1", servers.dnsmasq(folder, hosts, ["127.0.0.1"], 5300), "dnsmasq.r1")
    lab.start("r1", servers.unbound(folder, list(RESOLVERS["r1"]), 5300), "unbound.r1")
    command = [*servers.dnsmasq(folder, hosts, list(RESOLVERS["r2"]), 53), *scenario.resolver_options]
    lab.start("r2", command, "dnsmasq.r2")


def warm(lab: Lab) -> None:
    """Fills the neighbour tables, so that no first packet waits for ARP."""
    pairs = [(client, gate) for client in CLIENTS for gate in ("192.0.2.1", "2001:db8:1::1")]
    pairs += [("edge", address) for addresses in SERVERS.values() for address in addresses]
    pairs += [("access", gate) for gate in ("192.0.2.254", "2001:db8:ff::2")]
    pairs += [("west", gate) for gate in ("192.0.2.250", "2001:db8:fe::2")]
    for namespace, address in pairs:
        lab.inside(namespace, "ping", "-c", "1", "-W", "3", address)


def play(scenario: Scenario, lab: Lab, workers: Workers, controls: dict[str, Connection]) -> None:
    start = time.time() + 1.0
    for job in scenario.jobs:
        job["at"] += start
        if scenario.nat:
            job["seen_as"] = NAT
        job["root"] = str(lab.folder / "root.pem")
    workers.give(scenario.jobs)
    for at, side, command in sorted(scenario.commands, key=lambda c: c[0]):
        time.sleep(max(0.0, start + at - time.time()))
        controls[side].send(command)
    last = max(job["at"] + job["limit"] for job in scenario.jobs)
    while len(workers.results) < len(scenario.jobs) and time.time() < last + 20:
        time.sleep(0.1)
    time.sleep(scenario.settle)  # the last answers and resets


def record(scenario: Scenario, folder: Path) -> tuple[Workers, dict[str, Path]]:
    """Returns what the clients say, and the captures by point."""
    with Lab(folder) as lab:
        controls = build(lab, scenario)
        try:
            warm(lab)
            start_servers(lab, scenario)
            workers = Workers(lab, list(CLIENTS))
            for tool in scenario.tools:
                tool(lab, scenario)
            points = {"client", "server"} | {output.point for output in scenario.outputs}
            recorders = {
                point: Recorder(lab, *NODES[point], folder / f"{point}.pcap", True) for point in sorted(points)
            }
            workers.wait_ready()
            time.sleep(1.0)
            play(scenario, lab, workers, controls)
            drops = {point: recorder.stop() for point, recorder in recorders.items()}
            if any(drops.values()):
                raise RuntimeError(f"the kernel dropped packets of the capture: {drops}")
        finally:
            for control in controls.values():
                with contextlib.suppress(OSError):
                    control.send(("stop",))
            for child in multiprocessing.active_children():
                child.join(5)
    return workers, {point: folder / f"{point}.pcap" for point in points}
