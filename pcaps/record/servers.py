"""Server side: configuration of nginx, dnsmasq and unbound, and the odd servers that make look-alikes.

Run as a program inside a server's namespace it is one odd server; each thing it does on purpose is a line of its log.
"""

import contextlib
import json
import random
import socket
import ssl
import struct
import sys
import threading
import time
from collections.abc import Callable
from pathlib import Path

from packet import server_name

PAGE = b"<!doctype html><title>page</title>" + b"<p>An ordinary page of an ordinary site.</p>" * 12


def nginx(
    folder: Path, server: str, addresses: list[str], names: list[str], rng: random.Random, listen: str, more: str
) -> list[str]:
    """Writes the sites of one server, returns the command that serves them."""
    sites = []
    for name in names:
        root = folder / "www" / server / name
        root.mkdir(parents=True, exist_ok=True)
        # Text that compresses badly would not change anything: nothing is compressed here.
        (root / "index.html").write_bytes(PAGE + b"x" * rng.randint(100, 2500))
        (root / "small.json").write_bytes(b'{"ok": true, "pad": "' + b"y" * rng.randint(0, 300) + b'"}')
        (root / "large.bin").write_bytes(rng.randbytes(30_000))
        lines = [f"listen {address}:80;\n listen {address}:443 ssl http2 {listen};" for address in addresses]
        sites.append(
            f"server {{ server_name {name}; root {root};\n {' '.join(lines) if name == names[0] else ''}\n"
            + ("" if name == names[0] else "".join(f" listen {a}:80; listen {a}:443 ssl http2;" for a in addresses))
            + f" ssl_certificate {folder}/{server}.pem; ssl_certificate_key {folder}/{server}.key; }}"
        )
    text = (
        f"daemon off; master_process off; pid {folder}/{server}.pid; error_log {folder}/{server}.nginx.err;\n"
        f"events {{ worker_connections 512; }}\nhttp {{ access_log off; default_type text/html; {more}\n"
        + "\n".join(sites)
        + "\n}\n"
    )
    path = folder / f"{server}.conf"
    path.write_text(text)
    return ["nginx", "-e", f"{folder}/{server}.nginx.err", "-c", str(path)]


def dnsmasq(folder: Path, hosts: dict[str, list[str]], addresses: list[str], port: int) -> list[str]:
    """An answering machine for the zone; two addresses of one name change places from answer to answer."""
    path = folder / f"hosts.{port}.{addresses[0]}"
    path.write_text("".join(f"{address} {name}\n" for name, all_ in hosts.items() for address in all_))
    listen = [f"--listen-address={address}" for address in addresses]
    return ["dnsmasq", "-k", "-R", "-h", "-C", "/dev/null", "--bind-interfaces", f"--port={port}", "--user=root",
            "--local-ttl=300", "--local=/#/", f"--addn-hosts={path}", "--pid-file=", *listen]  # fmt: skip


def unbound(folder: Path, addresses: list[str], behind: int) -> list[str]:
    """A caching resolver in front of dnsmasq."""
    path = folder / "unbound.conf"
    listen = "\n ".join(f"interface: {address}" for address in addresses)
    path.write_text(
        f'server:\n {listen}\n access-control: 0.0.0.0/0 allow\n access-control: ::/0 allow\n chroot: ""\n'
        f' username: ""\n directory: "{folder}"\n pidfile: ""\n use-syslog: no\n do-daemonize: no\n num-threads: 1\n'
        ' module-config: "iterator"\n do-not-query-localhost: no\n rrset-roundrobin: yes\n'
        ' local-zone: "example." nodefault\nremote-control:\n control-enable: no\n'
        f'forward-zone:\n name: "."\n forward-addr: 127.0.0.1@{behind}\n'
    )
    return ["unbound", "-d", "-c", str(path)]


LOCK = threading.Lock()


def tell(action: str, peer: socket.socket, **facts: object) -> None:
    here, there = peer.getsockname(), peer.getpeername()
    line = {"time": time.time(), "action": action, "client": there[:2], "server": here[:2], **facts}
    with LOCK:
        print(json.dumps(line), flush=True)


def reset(peer: socket.socket) -> None:
    """close() with nothing lingering: the kernel sends RST instead of FIN."""
    peer.setsockopt(socket.SOL_SOCKET, socket.SO_LINGER, struct.pack("ii", 1, 0))
    peer.close()


def request(peer: socket.socket) -> bytes:
    text = b""
    while b"\r\n\r\n" not in text:
        more = peer.recv(4096)
        if not more:
            break
        text += more
    return text


def answer(body: bytes = PAGE) -> bytes:
    return b"HTTP/1.1 200 OK\r\nConnection: close\r\nContent-Length: %d\r\n\r\n" % len(body) + body


def picky(refused: set[str], context: ssl.SSLContext) -> Callable[[socket.socket], None]:
    """TLS for some names; for others the server itself resets after the hello, as gateways of hosting sites do."""

    def serve(peer: socket.socket) -> None:
        name = None
        for _ in range(200):
            head = peer.recv(8192, socket.MSG_PEEK)
            name = server_name(head)
            if name is not None or not head:
                break
            time.sleep(0.005)
        if name in refused:
            tell("reset_after_hello", peer, name=name)
            reset(peer)
            return
        with context.wrap_socket(peer, server_side=True) as tls:
            while b"\r\n\r\n" not in tls.recv(4096):
                pass
            tls.sendall(answer())

    return serve


def reset_after_request(peer: socket.socket) -> None:
    request(peer)
    time.sleep(0.02)
    tell("reset_after_request", peer)
    reset(peer)


def unread(peer: socket.socket) -> None:
    """Answers after the first bytes and closes with the rest unread: RST instead of FIN."""
    peer.recv(16)
    peer.sendall(answer(b"too long"))
    time.sleep(0.3)  # the rest is in the receive buffer by now
    tell("close_with_unread_data", peer)
    peer.close()


def reset_after_fin(peer: socket.socket) -> None:
    request(peer)
    peer.sendall(answer())
    peer.shutdown(socket.SHUT_WR)
    time.sleep(0.4)
    tell("reset_after_fin", peer)
    reset(peer)


def close_early(peer: socket.socket) -> None:
    """Answers and closes; what the client sends later meets a closed socket, and the kernel resets."""
    request(peer)
    peer.sendall(answer())
    tell("closed_before_late_data", peer)
    peer.close()


def reset_when_idle(seconds: float) -> Callable[[socket.socket], None]:
    """A load balancer: answers, keeps the connection, and resets it when nothing was said for some time."""

    def serve(peer: socket.socket) -> None:
        request(peer)
        peer.sendall(b"HTTP/1.1 200 OK\r\nContent-Length: %d\r\n\r\n" % len(PAGE) + PAGE)
        time.sleep(seconds)
        tell("idle_reset", peer)
        reset(peer)

    return serve


def overloaded(peer: socket.socket) -> None:
    """Answers late and with 503, whoever asks."""
    request(peer)
    time.sleep(2.5)
    tell("overloaded", peer)
    peer.sendall(b"HTTP/1.1 503 Service Unavailable\r\nConnection: close\r\nContent-Length: 0\r\n\r\n")
    peer.close()


def plain(status: str, *headers: str) -> Callable[[socket.socket], None]:
    """The same answer to everybody: a redirect of the site's own, a refusal of the site's own."""

    def serve(peer: socket.socket) -> None:
        request(peer)
        head = "\r\n".join([f"HTTP/1.1 {status}", *headers, f"Content-Length: {len(PAGE)}", "Connection: close"])
        peer.sendall(head.encode() + b"\r\n\r\n" + PAGE)
        peer.close()

    return serve


HELD: list[socket.socket] = []


def dead(peer: socket.socket) -> None:
    """A hung server: its kernel acknowledges, nobody reads."""
    tell("accepted_never_read", peer)
    HELD.append(peer)


def listen(address: str, port: int, serve: Callable[[socket.socket], None]) -> None:
    family = socket.AF_INET6 if ":" in address else socket.AF_INET
    server = socket.socket(family)
    server.setsockopt(socket.SOL_SOCKET, socket.SO_REUSEADDR, 1)
    server.bind((address, port))
    server.listen(64)

    def one(peer: socket.socket) -> None:
        with contextlib.suppress(OSError):  # clients come and go
            serve(peer)

    def accept() -> None:
        while True:
            peer, _ = server.accept()
            threading.Thread(target=one, args=(peer,), daemon=True).start()

    threading.Thread(target=accept, daemon=True).start()


def main() -> None:
    settings = json.loads(sys.argv[1])
    services: dict[int, Callable[[socket.socket], None]] = {443: dead}
    if settings["role"] == "site":
        services = {
            80: plain("301 Moved Permanently", f"Location: https://{settings['name']}/"),
            8081: plain("451 Unavailable For Legal Reasons", 'Link: <https://law.example/>; rel="blocked-by"'),
            8082: overloaded,
            8083: reset_when_idle(settings["idle"]),
        }
    if settings["role"] == "odd":
        context = ssl.SSLContext(ssl.PROTOCOL_TLS_SERVER)
        context.load_cert_chain(settings["certificate"], settings["key"])
        services = {
            443: picky(set(settings["refused"]), context),
            80: reset_after_request,
            8080: unread,
            8081: reset_after_fin,
            8082: close_early,
        }
    if settings["role"] == "portal":
        services = {8088: plain("302 Found", "Location: http://login.example/?again=yes")}
    for address in settings["addresses"]:
        for port, serve in services.items():
            listen(address, port, serve)
    print(json.dumps({"time": time.time(), "action": "ready"}), flush=True)
    threading.Event().wait()


if __name__ == "__main__":
    main()
