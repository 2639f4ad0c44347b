"""An HTTP/3 server by aioquic in a server's namespace: every path of every name is a small page."""

import asyncio
import json
import sys

from aioquic.asyncio.protocol import QuicConnectionProtocol
from aioquic.asyncio.server import serve
from aioquic.h3.connection import H3_ALPN, H3Connection
from aioquic.h3.events import HeadersReceived
from aioquic.quic.configuration import QuicConfiguration
from aioquic.quic.events import ProtocolNegotiated, QuicEvent

PAGE = b"<!doctype html><title>page</title>" + b"<p>An ordinary page of an ordinary site.</p>" * 30


class Server(QuicConnectionProtocol):
    web: H3Connection | None = None

    def quic_event_received(self, event: QuicEvent) -> None:
        if isinstance(event, ProtocolNegotiated):
            self.web = H3Connection(self._quic)
        if self.web is None:
            return
        for said in self.web.handle_event(event):
            if isinstance(said, HeadersReceived):
                headers = [(b":status", b"200"), (b"content-length", str(len(PAGE)).encode())]
                self.web.send_headers(said.stream_id, headers)
                self.web.send_data(said.stream_id, PAGE, end_stream=True)
                self.transmit()


async def main() -> None:
    settings = json.loads(sys.argv[1])
    configuration = QuicConfiguration(is_client=False, alpn_protocols=H3_ALPN)
    configuration.load_cert_chain(settings["certificate"], settings["key"])
    for address in settings["addresses"]:
        await serve(address, 443, configuration=configuration, create_protocol=Server)
    await asyncio.Event().wait()


if __name__ == "__main__":
    asyncio.run(main())
