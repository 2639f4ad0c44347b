"""Injectors of pages and redirects in answer to a request, one for each published behaviour (catalogue ids)."""

import random
from collections.abc import Callable, Mapping

from box_resets import Forged, build
from boxes import DOWN, UP, Box, Inject, Log, host_name
from packet import ACK, FIN, PSH, RST, TCP, FlowKey, Packet

Family = Callable[[Packet, str, random.Random], list[Forged]]


def http(status: str, body: str = "", *headers: str) -> bytes:
    lines = [f"HTTP/1.1 {status}", *headers, f"Content-Length: {len(body)}", "Connection: close"]
    return ("\r\n".join(lines) + "\r\n\r\n" + body).encode()


def surf_safely(p: Packet, name: str, rng: random.Random) -> list[Forged]:
    """bp-pk-cap: 553 bytes of HTML without a header in FIN+ACK, a bare RST right behind it, IP IDs n and n+1."""
    page = b"<html><head><title>Surf Safely!</title></head><body><h1>Surf Safely!</h1><p>This website is not accessible"
    page += b" in Pakistan.</p><p>The site you are trying to access contains content that is prohibited.</p>"
    page += b"<!--" + b" " * (553 - len(page) - 21) + b"--></body></html>"
    ip_id, wait = rng.randint(1, 65000), rng.uniform(0.001, 0.004)
    return [
        Forged(DOWN, FIN | ACK, 100, ip_id, window=16384, payload=page, wait=wait),
        Forged(DOWN, RST, 64, ip_id + 1, wait=wait + 0.00015),
    ]


def frame_and_reset(p: Packet, name: str, rng: random.Random) -> list[Forged]:
    """in-airtel: a page with a frame in FIN+PSH+ACK, then RST; IP ID 242."""
    page = http("200 OK", '<html><body><iframe src="http://www.airtel.in/dot/" width="100%"></iframe></body></html>')
    wait = rng.uniform(0.001, 0.004)
    reset = Forged(DOWN, RST, 64, 242, step=len(page) + 1, wait=wait + 0.0002)
    return [Forged(DOWN, FIN | PSH | ACK, 64, 242, window=65535, payload=page, wait=wait), reset]


def forbidden(p: Packet, name: str, rng: random.Random) -> list[Forged]:
    """bp-ir, bp-ir-len: 403 with a frame from private space in FIN+PSH+ACK, then RST+PSH+ACK."""
    body = (
        '<html><head><meta http-equiv="Content-Type" content="text/html; charset=windows-1256"><title>M1-6\r\n</title>'
    )
    body += f'</head><body><iframe src="http://10.10.34.34?type=Invalid Site&policy=MainPolicy&h={name}" '
    body += 'style="width: 100%; height: 100%" scrolling="no" marginwidth="0"></iframe></body></html>\r\n'
    page = http("403 Forbidden", body)
    wait = rng.uniform(0.001, 0.004)
    return [
        Forged(DOWN, FIN | PSH | ACK, p.ttl, rng.randint(1, 65535), window=8192, payload=page, wait=wait),
        Forged(DOWN, RST | PSH | ACK, p.ttl, rng.randint(1, 65535), step=len(page) + 1, wait=wait + 0.0002),
    ]


def moved(p: Packet, name: str, rng: random.Random) -> list[Forged]:
    """bp-id: HTTP/1.0 302 to a page host, no reset."""
    page = b"HTTP/1.0 302 Moved\r\nContent-Length: 0\r\nLocation: http://lamanlabuh.aduankonten.id/\r\n\r\n"
    return [
        Forged(
            DOWN, FIN | PSH | ACK, 64, rng.randint(1, 65535), True, 229, payload=page, wait=rng.uniform(0.001, 0.004)
        )
    ]


def temporary(p: Packet, name: str, rng: random.Random) -> list[Forged]:
    """bp-eg-307: 307 with IP ID 13330."""
    page = http("307 Temporary Redirect", "", "Location: http://203.0.113.99/offer")
    wait = rng.uniform(0.001, 0.003)
    return [Forged(DOWN, FIN | PSH | ACK, 64, 13330, window=65535, payload=page, wait=wait)]


def two_kinds(p: Packet, name: str, rng: random.Random) -> list[Forged]:
    """bp-cn-1111: 301 in PSH+ACK with IP ID 0x99b3, or 302 in PSH+ACK+FIN with 0x4c57, TTL 251."""
    if rng.random() < 0.3:
        page = http("301 Moved Permanently", "", "Location: http://182.43.124.6/fzyujing")
        return [Forged(DOWN, PSH | ACK, 254, 0x99B3, window=4096, payload=page, wait=rng.uniform(0.001, 0.003))]
    page = http("302 Found", "", "Location: http://182.43.124.6/fzyujing")
    return [Forged(DOWN, FIN | PSH | ACK, 254, 0x4C57, window=4096, payload=page, wait=rng.uniform(0.001, 0.003))]


def fake_ok(p: Packet, name: str, rng: random.Random) -> list[Forged]:
    """bp-pk-302, Netsweeper: 302 with the deny page's parameters, then RST."""
    page = http("302 Found", "", f"Location: http://203.0.113.98:8080/webadmin/deny/?dpid=2&dpruleid=1&url={name}")
    wait = rng.uniform(0.001, 0.004)
    reset = Forged(DOWN, RST, 128, 0, step=len(page), wait=wait + 0.0002)
    return [Forged(DOWN, PSH | ACK, 128, 0, window=512, payload=page, wait=wait), reset]


class Pager(Box):
    """On the path, or in it (`replaces`): then the request and what follows it go no further."""

    name = "pager"

    def __init__(self, log: Log, rng: random.Random, listed: Mapping[str, Family], replaces: bool = False) -> None:
        super().__init__(log, rng)
        self.listed = listed
        self.replaces = replaces
        self.hit: set[FlowKey] = set()

    def handle(self, packet: Packet, direction: int, now: float, inject: Inject) -> bool:
        if packet.proto != TCP or direction != UP:
            return True
        flow = packet.key(True)
        name = host_name(packet.payload)
        if self.active and name is not None and name in self.listed and flow not in self.hit:
            self.hit.add(flow)
            family = self.listed[name]
            self.log.packet(now, self.name, "trigger", flow, packet.raw, direction, name=name, family=family.__name__)
            for forged in family(packet, name, self.rng):
                raw = build(packet, direction, forged)
                self.log.packet(now + forged.wait, self.name, "inject", flow, raw, DOWN, family=family.__name__)
                inject(raw, DOWN, forged.wait)
        if self.replaces and flow in self.hit:
            self.log.packet(now, self.name, "swallow", flow, packet.raw, direction)
            return False
        return True
