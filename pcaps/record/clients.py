"""Client side: one worker in each client's namespace does its jobs at their times and says how they went.

Jobs come in as JSON lines, results go out as JSON lines. Each job has a source port of its own, so that flow and job
name each other.
"""

import contextlib
import json
import socket
import ssl
import struct
import subprocess
import sys
import threading
import time
from typing import Any

Job = dict[str, Any]

LOCK = threading.Lock()
TCP_REPAIR, TCP_REPAIR_QUEUE, TCP_QUEUE_SEQ = 19, 20, 21  # linux/tcp.h


def bracket(address: str) -> str:
    return f"[{address}]" if ":" in address else address


def curl(job: Job) -> Job:
    scheme = "https" if job["port"] == 443 or job.get("tls") else "http"
    target = f"{job['name']}:{job['port']}:{bracket(job['server'])}"
    done = subprocess.run(
        ["curl", "-sS", "-o", "/dev/null", "--cacert", job["root"], "--resolve", target, "--local-port",
         str(job["source_port"]), "--max-time", str(job["limit"]), "-w", "%{http_code}",
         *job.get("options", []), f"{scheme}://{job['name']}:{job['port']}{job['path']}"],
        capture_output=True, text=True,
    )  # fmt: skip
    return {"exit": done.returncode, "status": done.stdout[-3:], "text": done.stderr.strip()[-120:]}


def browser(job: Job) -> Job:
    """A hello as browsers send it: post-quantum key share, two segments, extensions shuffled."""
    from curl_cffi import CurlOpt, requests  # needs a second: only where used

    options = {
        CurlOpt.LOCALPORT: job["source_port"],
        CurlOpt.RESOLVE: [f"{job['name']}:{job['port']}:{bracket(job['server'])}"],
    }
    try:
        with requests.Session(impersonate=job["make"], curl_options=options, verify=job["root"]) as session:
            got = session.get(f"https://{job['name']}{job['path']}", timeout=job["limit"])
            return {"exit": 0, "status": str(got.status_code)}
    except requests.exceptions.RequestException as error:
        return {"exit": int(error.code), "text": str(error)[:120]}


def openssl(job: Job) -> Job:
    request = f"GET {job['path']} HTTP/1.1\r\nHost: {job['name']}\r\nConnection: close\r\n\r\n"
    try:
        done = subprocess.run(
            ["openssl", "s_client", "-connect", f"{bracket(job['server'])}:{job['port']}", "-servername", job["name"],
             "-bind", f"{bracket(job['client'])}:{job['source_port']}", "-CAfile", job["root"], "-quiet",
             "-no_ign_eof", "-ign_eof"],
            input=request, capture_output=True, text=True, errors="replace", timeout=job["limit"],
        )  # fmt: skip
    except subprocess.TimeoutExpired:
        return {"exit": 124}
    return {"exit": done.returncode, "status": done.stdout[9:12]}


def dig(job: Job) -> Job:
    done = subprocess.run(
        ["dig", f"@{job['server']}", "-b", f"{job['client']}#{job['source_port']}", job["name"], job["type"],
         "+tries=1", "+time=5", "+short", *job.get("options", [])],
        capture_output=True, text=True,
    )  # fmt: skip
    return {"exit": done.returncode, "answers": done.stdout.split()}


def connect(job: Job) -> socket.socket:
    family = socket.AF_INET6 if ":" in job["server"] else socket.AF_INET
    peer = socket.socket(family)
    peer.settimeout(job["limit"])
    peer.setsockopt(socket.SOL_SOCKET, socket.SO_REUSEADDR, 1)
    peer.bind((job["client"], job["source_port"]))
    peer.connect((job["server"], job["port"]))
    return peer


def reset(peer: socket.socket) -> None:
    peer.setsockopt(socket.SOL_SOCKET, socket.SO_LINGER, struct.pack("ii", 1, 0))
    peer.close()


def query(name: str, kind: str, ident: int) -> bytes:
    wire = b"".join(bytes([len(label)]) + label.encode() for label in name.split(".")) + b"\0"
    return struct.pack("!HHHHHH", ident, 0x0100, 1, 0, 0, 0) + wire + struct.pack("!HH", 28 if kind == "AAAA" else 1, 1)


def stub(job: Job) -> Job:
    """A stub resolver that repeats its query on the same socket when no answer came in time."""
    family = socket.AF_INET6 if ":" in job["server"] else socket.AF_INET
    answers = sent = 0
    with socket.socket(family, socket.SOCK_DGRAM) as peer:
        peer.bind((job["client"], job["source_port"]))
        peer.connect((job["server"], 53))
        end = time.time() + job["limit"]
        again = 0.0
        while time.time() < end:
            if not answers and time.time() >= again and sent < 3:
                peer.send(query(job["name"], job["type"], job["ident"]))
                sent, again = sent + 1, time.time() + job["again"]
            peer.settimeout(0.05)
            try:
                peer.recv(4096)
                answers += 1
            except TimeoutError:
                continue
    return {"exit": 0, "sent": sent, "answers": answers}


def hello(name: str) -> bytes:
    outgoing = ssl.MemoryBIO()
    tls = ssl.create_default_context().wrap_bio(ssl.MemoryBIO(), outgoing, server_hostname=name)
    with contextlib.suppress(ssl.SSLWantReadError):
        tls.do_handshake()
    return outgoing.read()


def abort_after_hello(job: Job) -> Job:
    """A user who closes the tab: the client itself resets, before the server has answered."""
    peer = connect(job)
    peer.sendall(hello(job["name"]))
    time.sleep(job["wait"])
    reset(peer)
    return {"exit": 0, "action": "reset_after_hello"}


def abort_transfer(job: Job) -> Job:
    """The client resets in the middle of a download; late segments get a reset each."""
    peer = connect(job)
    peer.sendall(f"GET {job['path']} HTTP/1.1\r\nHost: {job['name']}\r\n\r\n".encode())
    peer.recv(2000)
    reset(peer)
    return {"exit": 0, "action": "reset_in_transfer"}


def late_data(job: Job) -> Job:
    """Reads the answer to its end and then sends one more request into the closed connection."""
    peer = connect(job)
    text = f"GET {job['path']} HTTP/1.1\r\nHost: {job['name']}\r\n\r\n".encode()
    peer.sendall(text)
    while peer.recv(4096):
        pass
    time.sleep(job["wait"])
    try:
        peer.sendall(text)
        time.sleep(0.5)
    finally:
        peer.close()
    return {"exit": 0, "action": "late_data"}


def slow_close(job: Job) -> Job:
    """Reads the answer to its end and leaves its own side open for a while."""
    peer = connect(job)
    peer.sendall(f"GET {job['path']} HTTP/1.1\r\nHost: {job['name']}\r\n\r\n".encode())
    while peer.recv(4096):
        pass
    time.sleep(job["wait"])
    peer.close()
    return {"exit": 0, "action": "slow_close"}


def long_request(job: Job) -> Job:
    """Sends a request in two parts and reads until the server ends it."""
    peer = connect(job)
    peer.sendall(f"POST {job['path']} HTTP/1.1\r\nHost: {job['name']}\r\nContent-Length: 900\r\n\r\n".encode())
    time.sleep(0.1)
    peer.sendall(b"z" * 900)
    try:
        while peer.recv(4096):
            pass
    except ConnectionResetError:
        return {"exit": 0, "action": "was_reset"}
    finally:
        peer.close()
    return {"exit": 0, "action": "closed"}


def quic(job: Job) -> Job:
    """One HTTP/3 visit by aioquic, from the job's own address and port."""
    import asyncio  # these need a second: only where used

    from aioquic.asyncio.protocol import QuicConnectionProtocol
    from aioquic.h3.connection import H3_ALPN, H3Connection
    from aioquic.h3.events import DataReceived
    from aioquic.quic.configuration import QuicConfiguration
    from aioquic.quic.connection import QuicConnection
    from aioquic.quic.events import QuicEvent

    async def visit() -> Job:
        configuration = QuicConfiguration(is_client=True, alpn_protocols=H3_ALPN, server_name=job["name"])
        configuration.load_verify_locations(job["root"])
        configuration.idle_timeout = job["limit"]
        connection = QuicConnection(configuration=configuration)
        done = asyncio.Event()
        got = 0

        class Visit(QuicConnectionProtocol):
            def quic_event_received(self, event: QuicEvent) -> None:
                nonlocal got
                for said in web.handle_event(event):
                    if isinstance(said, DataReceived):
                        got += len(said.data)
                        if said.stream_ended:
                            done.set()

        loop = asyncio.get_running_loop()
        transport, protocol = await loop.create_datagram_endpoint(
            lambda: Visit(connection), local_addr=(job["client"], job["source_port"])
        )
        web = H3Connection(connection)
        protocol.connect((job["server"], job["port"]))
        try:
            await asyncio.wait_for(protocol.wait_connected(), job["limit"])
            stream = connection.get_next_available_stream_id()
            names = ((b":method", b"GET"), (b":scheme", b"https"), (b":authority", job["name"].encode()))
            web.send_headers(stream, [*names, (b":path", job["path"].encode())], end_stream=True)
            protocol.transmit()
            await asyncio.wait_for(done.wait(), job["limit"])
            protocol.close()
            await asyncio.sleep(0.2)
            return {"exit": 0, "bytes": got}
        except (TimeoutError, ConnectionError):
            return {"exit": 28, "bytes": got}
        finally:
            transport.close()

    return asyncio.run(visit())


def preconnect(job: Job) -> Job:
    """A connection opened on suspicion: handshake, nothing said, closed by the client (by FIN or RST)."""
    peer = connect(job)
    time.sleep(job["wait"])
    if job.get("hard"):
        reset(peer)
    else:
        peer.close()
    return {"exit": 0, "action": "never_used"}


def scan(job: Job) -> Job:
    """One port of a scan: connect and reset at once where somebody listens."""
    try:
        reset(connect(job))
    except ConnectionRefusedError:
        return {"exit": 0, "action": "closed"}
    return {"exit": 0, "action": "open"}


def idle(job: Job) -> Job:
    """One request on a kept connection, then nothing until the other side ends it."""
    peer = connect(job)
    peer.sendall(f"GET {job['path']} HTTP/1.1\r\nHost: {job['name']}\r\n\r\n".encode())
    try:
        while peer.recv(4096):
            pass
    except (ConnectionResetError, TimeoutError):
        return {"exit": 0, "action": "was_reset"}
    finally:
        peer.close()
    return {"exit": 0, "action": "closed"}


def insertion(job: Job) -> Job:
    """An evasion tool: a reset and junk with a TTL too low to reach the server, then the true hello."""
    from packet import ip_packet, tcp_body  # raw packets only here

    peer = connect(job)
    port = job["source_port"]
    peer.setsockopt(socket.IPPROTO_TCP, TCP_REPAIR, 1)
    peer.setsockopt(socket.IPPROTO_TCP, TCP_REPAIR_QUEUE, 2)
    seq = peer.getsockopt(socket.IPPROTO_TCP, TCP_QUEUE_SEQ) & 0xFFFFFFFF
    peer.setsockopt(socket.IPPROTO_TCP, TCP_REPAIR_QUEUE, 1)
    ack = peer.getsockopt(socket.IPPROTO_TCP, TCP_QUEUE_SEQ) & 0xFFFFFFFF
    peer.setsockopt(socket.IPPROTO_TCP, TCP_REPAIR, -1)  # off without a window probe
    raw = socket.socket(socket.AF_INET, socket.SOCK_RAW, socket.IPPROTO_RAW)
    for flags, data in ((0x14, b""), (0x18, b"GET / HTTP/1.1\r\nHost: other.example\r\n\r\n")):
        body = tcp_body(port, job["port"], seq, ack, flags, 502, data)
        raw.sendto(ip_packet(job["client"], job["server"], 6, body, job["ttl"], 7777), (job["server"], 0))
    time.sleep(0.01)
    peer.sendall(hello(job["name"]))
    with contextlib.suppress(OSError):
        peer.recv(8192)
    peer.close()
    return {"exit": 0, "action": "inserted"}


def lookup(job: Job, port: int, limit: float) -> list[str]:
    """IPv4 addresses for the name; asks once more when no answer came."""
    with socket.socket(socket.AF_INET, socket.SOCK_DGRAM) as peer:
        peer.bind((job["client"], port))
        peer.connect((job["resolver"], 53))
        for _ in range(2):
            peer.send(query(job["name"], "A", port))
            peer.settimeout(limit)
            try:
                answer = peer.recv(4096)
            except OSError:
                continue
            count, data = int.from_bytes(answer[6:8], "big"), answer[12 + len(job["name"]) + 6 :]
            records = [data[n * 16 : n * 16 + 16] for n in range(count)]
            return [socket.inet_ntoa(record[12:16]) for record in records if record[2:4] == b"\0\1"]
    return []


def visit(job: Job) -> Job:
    """An attempt as a person makes it: lookup, page, and again a little later when that failed."""
    tries = 0
    for asking, loading in job["ports"]:
        tries += 1
        if job["server"] in lookup(job, asking, job["patience"]):
            done = curl(job | {"source_port": loading})
            if not done["exit"]:
                return {"exit": 0, "tries": tries}
        time.sleep(job["again"])
    return {"exit": 1, "tries": tries}


KINDS = {
    work.__name__: work
    for work in (
        curl,
        browser,
        openssl,
        dig,
        stub,
        abort_after_hello,
        abort_transfer,
        late_data,
        slow_close,
        long_request,
        quic,
        preconnect,
        scan,
        idle,
        insertion,
        visit,
    )
}


def work(job: Job) -> None:
    time.sleep(max(0.0, job["at"] - time.time()))
    begin = time.time()
    try:
        result = KINDS[job["kind"]](job)
    except OSError as error:
        result = {"exit": -1, "text": type(error).__name__}
    with LOCK:
        print(json.dumps({"id": job["id"], "begin": begin, "end": time.time(), **result}), flush=True)


def main() -> None:
    import curl_cffi  # noqa: F401  # the wait for the import belongs before the first job

    print(json.dumps({"ready": True}), flush=True)
    threads = []
    for line in sys.stdin:
        threads.append(threading.Thread(target=work, args=(json.loads(line),)))
        threads[-1].start()
    for thread in threads:
        thread.join()


if __name__ == "__main__":
    main()
