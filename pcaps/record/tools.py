"""Public programs and kernel rules as interferers, unmodified, in the censor's router.

Each class is a tool for Scenario.tools: called once the net stands, it sets the rules or starts the program there.
"""

import datetime
import shutil
import sys
import time
from collections.abc import Sequence
from dataclasses import dataclass, field
from pathlib import Path

from cryptography import x509
from cryptography.hazmat.primitives import hashes, serialization
from cryptography.hazmat.primitives.asymmetric import rsa
from cryptography.x509.oid import NameOID

from net import Lab, Unable
from scenario import WEB, Scenario

WHERE = "censor"


def need(tool: str, package: str) -> None:
    if not shutil.which(tool):
        raise Unable(f"{tool} is missing: {package}")


def rule(lab: Lab, six: bool, *words: str) -> None:
    lab.inside(WHERE, "ip6tables" if six else "iptables", "-w", *words)


@dataclass
class Iptables:
    """Rules for the FORWARD chain, for IPv4 and IPv6 alike; {reset} and {prohibited} differ between the two."""

    rules: Sequence[str]
    table: str = "filter"
    versions: tuple[bool, ...] = (False, True)

    def __call__(self, lab: Lab, scenario: Scenario) -> None:
        need("iptables", "apt-get install iptables")
        for six in self.versions:
            prohibited = "icmp6-adm-prohibited" if six else "icmp-admin-prohibited"
            for text in self.rules:
                rule(lab, six, "-t", self.table, *text.replace("{prohibited}", prohibited).split())


def on_name(name: str, port: int, then: str) -> str:
    """A rule on the packet that holds the name in one piece."""
    return f"-A FORWARD -p tcp --dport {port} -m string --algo bm --string {name} -j {then}"


@dataclass
class Nft:
    text: str

    def __call__(self, lab: Lab, scenario: Scenario) -> None:
        need("nft", "apt-get install nftables")
        path = lab.folder / "rules.nft"
        path.write_text(self.text)
        lab.inside(WHERE, "nft", "-f", str(path))


@dataclass
class Shaper:
    """tbf or htb towards the clients; marked connections only where the kernel can tell them apart (htb with u32)."""

    commands: Sequence[str]

    def __call__(self, lab: Lab, scenario: Scenario) -> None:
        for command in self.commands:
            lab.inside(WHERE, "tc", *command.split())


@dataclass
class Tcpkill:
    expression: str
    speed: int = 3

    def __call__(self, lab: Lab, scenario: Scenario) -> None:
        need("tcpkill", "apt-get install dsniff")
        lab.start(WHERE, ["tcpkill", "-i", "mid1", f"-{self.speed}", *self.expression.split()], "tcpkill")
        time.sleep(0.5)


@dataclass
class Dnsspoof:
    hosts: dict[str, str]

    def __call__(self, lab: Lab, scenario: Scenario) -> None:
        need("dnsspoof", "apt-get install dsniff")
        path = lab.folder / "spoofed"
        path.write_text("".join(f"{address}\t{name}\n" for name, address in self.hosts.items()))
        command = ["dnsspoof", "-i", "mid1", "-f", str(path), "udp", "dst", "port", "53"]
        lab.start(WHERE, command, "dnsspoof")
        time.sleep(0.5)


@dataclass
class Mitmproxy:
    """A transparent proxy with a CA of its own, for some servers only."""

    servers: Sequence[str]
    organization: str
    common: str
    port: int = 8443
    options: Sequence[str] = field(default_factory=tuple)

    def __call__(self, lab: Lab, scenario: Scenario) -> None:
        beside = Path(sys.executable).with_name("mitmdump")
        program = str(beside) if beside.exists() else "mitmdump"
        need(program, "pip install mitmproxy")
        folder = lab.folder / "mitm"
        folder.mkdir()
        key = rsa.generate_private_key(public_exponent=65537, key_size=2048)
        name = x509.Name([
            x509.NameAttribute(NameOID.COUNTRY_NAME, "ZZ"),
            x509.NameAttribute(NameOID.ORGANIZATION_NAME, self.organization),
            x509.NameAttribute(NameOID.COMMON_NAME, self.common),
        ])  # fmt: skip
        now = datetime.datetime.now(datetime.UTC)
        builder = x509.CertificateBuilder().subject_name(name).issuer_name(name).public_key(key.public_key())
        builder = builder.serial_number(x509.random_serial_number()).not_valid_before(now - datetime.timedelta(days=90))
        builder = builder.not_valid_after(now + datetime.timedelta(days=3000))
        for extension, critical in (
            (x509.BasicConstraints(ca=True, path_length=None), True),
            (x509.KeyUsage(False, False, False, False, False, True, True, False, False), True),
            (x509.SubjectKeyIdentifier.from_public_key(key.public_key()), False),
        ):
            builder = builder.add_extension(extension, critical=critical)
        certificate = builder.sign(key, hashes.SHA256()).public_bytes(serialization.Encoding.PEM)
        secret = key.private_bytes(
            serialization.Encoding.PEM, serialization.PrivateFormat.TraditionalOpenSSL, serialization.NoEncryption()
        )
        (folder / "mitmproxy-ca.pem").write_bytes(secret + certificate)
        # The clients of this recording trust it, as where a state root is installed; some leave instead.
        with (lab.folder / "root.pem").open("ab") as file:
            file.write(certificate)
        command = [program, "-q", "--mode", "transparent", "--listen-port", str(self.port), "--ssl-insecure",
                   "--set", f"confdir={folder}", "--set", "connection_strategy=lazy", *self.options]  # fmt: skip
        lab.start(WHERE, command, "mitmdump")
        for server in self.servers:
            for six, address in enumerate(WEB[server]):
                rule(lab, bool(six), "-t", "nat", "-A", "PREROUTING", "-i", "mid1", "-d", address, "-p", "tcp",
                     "--dport", "443", "-j", "REDIRECT", "--to-ports", str(self.port))  # fmt: skip
        for _ in range(100):
            try:
                lab.inside(WHERE, "sh", "-c", f"ss -ltn | grep -q :{self.port}")
                return
            except RuntimeError:
                time.sleep(0.3)
        raise RuntimeError("mitmdump does not listen")
