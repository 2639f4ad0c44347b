"""The fingerprinters, one file and one class a mechanism."""

from __future__ import annotations

from tamperscope.fingerprinters.blockpage import Blockpage
from tamperscope.fingerprinters.dns_drop import DnsDrop
from tamperscope.fingerprinters.dns_forgery import DnsForgery
from tamperscope.fingerprinters.http_drop import HttpDrop
from tamperscope.fingerprinters.ip_block import IpBlock
from tamperscope.fingerprinters.quic_drop import QuicDrop
from tamperscope.fingerprinters.rst_injection import RstInjection
from tamperscope.fingerprinters.sni_drop import SniDrop
from tamperscope.fingerprinters.tls_mitm import TlsMitm

ALL = (RstInjection, SniDrop, HttpDrop, QuicDrop, IpBlock, Blockpage, TlsMitm, DnsForgery, DnsDrop)
