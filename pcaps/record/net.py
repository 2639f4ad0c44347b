"""Network namespaces, links and processes of one recording, and their removal afterwards."""

import contextlib
import ctypes
import fcntl
import os
import re
import shutil
import signal
import struct
import subprocess
from pathlib import Path
from types import TracebackType
from typing import IO

CLONE_NEWNET = 0x40000000
TUNSETIFF = 0x400454CA
IFF_TUN, IFF_NO_PI = 0x0001, 0x1000
NETNS_FILES = Path("/etc/netns")
PREFIX = "tslab"

TOOLS = {
    "ip": "iproute2",
    "sysctl": "procps",
    "ethtool": "ethtool",
    "tcpdump": "tcpdump",
    "tshark": "tshark",
    "nginx": "nginx-light",
    "dnsmasq": "dnsmasq-base",
    "unbound": "unbound",
    "dig": "bind9-dnsutils",
    "ping": "iputils-ping",
    "curl": "curl",
    "openssl": "openssl",
}


class Unable(Exception):
    """This machine cannot record; the text says why and what to do."""


def require(tools: dict[str, str], modules: list[str]) -> None:
    """Names everything that is missing at once, then tries a namespace and a TUN device."""
    missing = sorted({package for tool, package in tools.items() if not shutil.which(tool)})
    absent = []
    for module in modules:
        try:
            __import__(module)
        except ImportError:
            absent.append(module)
    hints = []
    if missing:
        hints.append("apt-get install " + " ".join(missing))
    if absent:
        hints.append("pip install " + " ".join(absent))
    if hints:
        raise Unable("missing here: " + "; ".join(hints))
    if os.geteuid() != 0:
        raise Unable("network namespaces need root")
    probe = f"{PREFIX}{os.getpid()}probe"
    made = subprocess.run(["ip", "netns", "add", probe], capture_output=True, text=True)
    if made.returncode:
        raise Unable(f"network namespaces are not allowed here: {made.stderr.strip()}")
    try:
        os.close(open_tun(probe, "probe0"))
    except OSError as error:
        raise Unable(f"TUN devices are not allowed here: {error}") from error
    finally:
        subprocess.run(["ip", "netns", "del", probe], check=False)


def run(*argv: str) -> None:
    done = subprocess.run(argv, capture_output=True, text=True)
    if done.returncode:
        raise RuntimeError(f"{' '.join(argv)}: {done.stderr.strip() or done.stdout.strip()}")


def open_tun(namespace: str, device: str) -> int:
    """A TUN device inside a namespace; the descriptor goes on working after the process has gone back."""
    libc = ctypes.CDLL(None, use_errno=True)  # os.setns came with Python 3.12
    home = os.open("/proc/self/ns/net", os.O_RDONLY)
    there = os.open(f"/run/netns/{namespace}", os.O_RDONLY)
    try:
        if libc.setns(there, CLONE_NEWNET):
            raise OSError(ctypes.get_errno(), f"setns {namespace}")
        try:
            tun = os.open("/dev/net/tun", os.O_RDWR | os.O_NONBLOCK)
            fcntl.ioctl(tun, TUNSETIFF, struct.pack("16sH22x", device.encode(), IFF_TUN | IFF_NO_PI))
            return tun
        finally:
            if libc.setns(home, CLONE_NEWNET):
                raise OSError(ctypes.get_errno(), "setns back")
    finally:
        os.close(home)
        os.close(there)


def sweep() -> None:
    """Removes what a recording left behind that was killed before it could clean up: its pid is part of each name."""
    listed = subprocess.run(["ip", "netns", "list"], capture_output=True, text=True).stdout
    for name in re.findall(rf"^({PREFIX}\d+\S*)", listed, re.MULTILINE):
        owner = re.match(rf"{PREFIX}(\d+)", name)
        if owner is None or Path(f"/proc/{owner[1]}").exists():
            continue
        inside = subprocess.run(["ip", "netns", "pids", name], capture_output=True, text=True).stdout
        for pid in inside.split():
            with contextlib.suppress(ProcessLookupError):
                os.kill(int(pid), signal.SIGKILL)
        subprocess.run(["ip", "netns", "del", name], check=False)
        shutil.rmtree(NETNS_FILES / name, ignore_errors=True)


class Lab:
    """Everything that one recording started. Leaving the `with` block removes it, also after an error."""

    def __init__(self, folder: Path) -> None:
        self.prefix = f"{PREFIX}{os.getpid()}"
        self.folder = folder
        self.namespaces: list[str] = []
        self.processes: list[subprocess.Popen[str]] = []
        self.logs: list[IO[str]] = []

    def __enter__(self) -> "Lab":
        return self

    def __exit__(
        self, kind: type[BaseException] | None, error: BaseException | None, trace: TracebackType | None
    ) -> None:
        for process in reversed(self.processes):
            self.stop(process)
        for log in self.logs:
            log.close()
        for name in self.namespaces:
            subprocess.run(["ip", "netns", "del", self.full(name)], check=False)
            shutil.rmtree(NETNS_FILES / self.full(name), ignore_errors=True)

    def full(self, name: str) -> str:
        return f"{self.prefix}{name}"

    def namespace(self, name: str, **sysctls: str) -> None:
        run("ip", "netns", "add", self.full(name))
        self.namespaces.append(name)
        run("ip", "-n", self.full(name), "link", "set", "lo", "up")
        values = {"net.ipv4.conf.all.rp_filter": "0", "net.ipv6.conf.all.accept_dad": "0"}
        values |= {"net.ipv6.conf.default.accept_dad": "0", "net.ipv6.conf.default.router_solicitations": "0"}
        values |= {key.replace("__", "."): value for key, value in sysctls.items()}
        self.inside(name, "sysctl", "-qw", *(f"{key}={value}" for key, value in values.items()))

    def router(self, name: str) -> None:
        self.namespace(name, net__ipv4__ip_forward="1", net__ipv6__conf__all__forwarding="1")

    def resolver(self, name: str, address: str) -> None:
        """`ip netns exec` lays this file over /etc/resolv.conf, so that no lookup leaves the laboratory."""
        folder = NETNS_FILES / self.full(name)
        folder.mkdir(parents=True)
        (folder / "resolv.conf").write_text(f"nameserver {address}\n")

    def inside(self, name: str, *argv: str) -> None:
        run("ip", "netns", "exec", self.full(name), *argv)

    def link(self, one: str, device: str, other: str, peer: str) -> None:
        """A veth pair without offloads: otherwise captures hold super-frames and empty checksums."""
        run("ip", "link", "add", "name", device, "netns", self.full(one), "type", "veth",
            "peer", "name", peer, "netns", self.full(other))  # fmt: skip
        for name, end in ((one, device), (other, peer)):
            self.plain(name, end)
            run("ip", "-n", self.full(name), "link", "set", end, "up")

    def plain(self, name: str, device: str) -> None:
        switches = ("tso", "gso", "gro", "tx", "rx")
        self.inside(name, "ethtool", "-K", device, *(word for switch in switches for word in (switch, "off")))

    def bridge(self, name: str, device: str) -> None:
        run("ip", "-n", self.full(name), "link", "add", device, "type", "bridge")
        run("ip", "-n", self.full(name), "link", "set", device, "up")

    def join(self, name: str, device: str, bridge: str) -> None:
        run("ip", "-n", self.full(name), "link", "set", device, "master", bridge)

    def address(self, name: str, device: str, *addresses: str) -> None:
        for address in addresses:
            extra = ["nodad"] if ":" in address else []
            run("ip", "-n", self.full(name), "addr", "add", address, "dev", device, *extra)

    def route(self, name: str, *words: str) -> None:
        run("ip", "-n", self.full(name), "route", "add", *words)

    def up(self, name: str, device: str) -> None:
        run("ip", "-n", self.full(name), "link", "set", device, "up")

    def start(self, name: str, argv: list[str], log: str, pipes: bool = False) -> subprocess.Popen[str]:
        """A process inside a namespace, in a process group of its own so that it can be ended with its children."""
        errors = (self.folder / f"{log}.err").open("w")  # closed in __exit__
        self.logs.append(errors)
        output: IO[str] | int = subprocess.PIPE
        if not pipes:
            output = (self.folder / f"{log}.log").open("w")
            self.logs.append(output)
        process = subprocess.Popen(
            ["ip", "netns", "exec", self.full(name), *argv],
            stdin=subprocess.PIPE if pipes else subprocess.DEVNULL,
            stdout=output,
            stderr=errors,
            text=True,
            start_new_session=True,
        )
        self.processes.append(process)
        return process

    def stop(self, process: subprocess.Popen[str], how: signal.Signals = signal.SIGTERM) -> None:
        if process.poll() is None:
            with contextlib.suppress(ProcessLookupError):
                os.killpg(process.pid, how)
            try:
                process.wait(5)
            except subprocess.TimeoutExpired:
                with contextlib.suppress(ProcessLookupError):
                    os.killpg(process.pid, signal.SIGKILL)
                process.wait()
        if process in self.processes:
            self.processes.remove(process)
