"""Ignores requests to upgrade the protocol: this server speaks HTTP/1 only.

RFC 9110, 7.8: a server that does not upgrade answers the request normally. llhttp ends a message
after such a request's head and takes the rest for the other protocol. Every JDK's HttpClient
asks for h2c that way and sends its body right after the head.
"""

from __future__ import annotations

import httptools
from uvicorn.protocols.http.httptools_impl import HttpToolsProtocol

FRAMING = (b"content-length", b"transfer-encoding")


class UpgradelessParser:
    """httptools' parser for `protocol`, with the same callbacks as for any other request."""

    def __init__(self, protocol: HttpToolsProtocol) -> None:
        self._protocol = protocol
        # The parser calls these for every request, most of them without anything of ours between.
        self.on_message_begin = protocol.on_message_begin
        self.on_url = protocol.on_url
        self.on_header = protocol.on_header
        self.on_headers_complete = protocol.on_headers_complete
        self.on_body = protocol.on_body
        self._parser = self._new_parser(self)

    def feed_data(self, data: bytes) -> None:
        while True:
            try:
                self._parser.feed_data(data)
                return
            except httptools.HttpParserUpgrade as upgrade:
                if self._parser.get_method() == b"CONNECT":
                    # The following bytes are not HTTP.
                    return
                data = data[upgrade.args[0] :]
                self._read_body()

    def should_upgrade(self) -> bool:
        return False

    def should_keep_alive(self) -> bool:
        return self._parser.should_keep_alive()

    def get_method(self) -> bytes:
        return self._parser.get_method()

    def get_http_version(self) -> str:
        return self._parser.get_http_version()

    def close(self) -> None:
        """Break the reference cycle: the parser holds our callbacks."""
        del self._parser

    def on_message_complete(self) -> None:
        # After such a head the message's body is still to come.
        if not self._parser.should_upgrade() or self._parser.get_method() == b"CONNECT":
            self._protocol.on_message_complete()
            # The request has them, and forgets them once its stream is open.
            self._protocol.headers = []

    def _read_body(self) -> None:
        """Continue with a parser that has read the same head without its Upgrade header."""
        version = self._parser.get_http_version().encode()
        framing = [
            b"%b: %b\r\n" % header for header in self._protocol.headers if header[0] in FRAMING
        ]
        self._parser = self._new_parser(_Rereading(self))
        self._parser.feed_data(b"POST / HTTP/%b\r\n%b\r\n" % (version, b"".join(framing)))

    def _new_parser(self, target: object) -> httptools.HttpRequestParser:
        parser = httptools.HttpRequestParser(target)
        if hasattr(parser, "set_dangerous_leniencies"):
            # Like uvicorn: the first of two requests is answered, whatever follows it.
            parser.set_dangerous_leniencies(lenient_data_after_close=True)
        return parser


class _Rereading:
    """Callbacks of a parser whose first head has been read by the protocol already."""

    def __init__(self, usual: UpgradelessParser) -> None:
        self._usual = usual
        self._rereads = True
        self.on_body = usual.on_body
        self.on_message_complete = usual.on_message_complete

    def on_message_begin(self) -> None:
        if not self._rereads:
            self._usual.on_message_begin()

    def on_url(self, url: bytes) -> None:
        if not self._rereads:
            self._usual.on_url(url)

    def on_header(self, name: bytes, value: bytes) -> None:
        if not self._rereads:
            self._usual.on_header(name, value)

    def on_headers_complete(self) -> None:
        if not self._rereads:
            self._usual.on_headers_complete()
        self._rereads = False
