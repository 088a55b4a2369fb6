"""HTTP on a connection: uvicorn's, with bounds on what it has none for."""

from __future__ import annotations

import json
import re
from asyncio import TimerHandle, Transport
from http import HTTPStatus
from typing import Any

from uvicorn.protocols.http.httptools_impl import HttpToolsProtocol

from . import limits

UPGRADE = re.compile(rb"\r\nupgrade:", re.IGNORECASE)


class _Forgiving:
    """A transport that lets nothing be written once it closes, where uvloop's raises.

    Of several requests that were sent at once, uvicorn tells but the last that the client has gone.
    """

    def __init__(self, transport: Transport) -> None:
        self._transport = transport

    def write(self, data: bytes) -> None:
        """Write, if anybody is there."""
        if not self._transport.is_closing():
            self._transport.write(data)

    def __getattr__(self, name: str) -> Any:
        return getattr(self._transport, name)


class Protocol(HttpToolsProtocol):
    """uvicorn's, with bounds on a request's headers, their time, the connections, and how slowly a client may read."""

    deadline: TimerHandle | None = None  # of headers
    unread: TimerHandle | None = None  # of what is sent
    head = 0  # bytes that have come and are of no body: of headers, of what stands between chunks, or behind the last
    inside = False  # a request whose headers are complete, and whose body is not
    stopping = False

    def connection_made(self, transport: Transport) -> None:  # type: ignore[override]
        """Begin to wait for headers; one connection too many is closed."""
        super().connection_made(_Forgiving(transport))  # type: ignore[arg-type]
        if len(self.connections) > limits.CONNECTIONS:
            transport.abort()
        else:
            self._wait()

    def data_received(self, data: bytes) -> None:
        """Begin to wait for the headers of a further request, also where only blank lines come before them."""
        if self.deadline is None and self._idle:
            self._wait()
        if not self.inside:
            data = _not_upgraded(data)
        self.head += len(data)
        super().data_received(data)
        if self.head > limits.HEAD_BYTES and not self.transport.is_closing():
            self._refuse_head()

    def on_message_begin(self) -> None:
        """Begin to wait for the headers of a further request."""
        if self.deadline is None:
            self._wait()
        super().on_message_begin()

    def on_headers_complete(self) -> None:
        """Wait no more: from here the guard does."""
        self._wait_no_more()
        self.head = 0
        self.inside = True
        super().on_headers_complete()
        if self.stopping:
            self.cycle.keep_alive = False

    def on_body(self, body: bytes) -> None:
        """Count anew what is no body."""
        self.head = 0
        super().on_body(body)

    def on_message_complete(self) -> None:
        """Count headers again from here."""
        self.head = 0
        self.inside = False
        super().on_message_complete()

    def on_response_complete(self) -> None:
        """Let the client read, if that ends the connection; else let it ask again."""
        super().on_response_complete()
        if self.transport.is_closing():
            self._watch()

    def pause_writing(self) -> None:
        """Begin to watch whether the client reads what is sent."""
        super().pause_writing()
        self._watch()

    def resume_writing(self) -> None:
        """Watch no more: it does."""
        self._watch_no_more()
        super().resume_writing()

    def timeout_keep_alive_handler(self) -> None:
        """Close a connection on which nothing is asked."""
        self._close()

    def send_400_response(self, msg: str) -> None:
        """Refuse what is no HTTP."""
        self._tell(HTTPStatus.BAD_REQUEST, "this is no HTTP request")

    def shutdown(self) -> None:
        """Answer what has been sent, and close; a request may be on its way that the client thinks is taken."""
        self.stopping = True
        if not self._idle:
            super().shutdown()
        elif not self.head:  # headers that have begun have their own deadline
            self.loop.call_later(limits.LAST_SECONDS, self._close_idle)

    def connection_lost(self, exc: Exception | None) -> None:
        """Wait no more, and let nobody work for a client that has gone."""
        self._wait_no_more()
        self._watch_no_more()
        super().connection_lost(exc)
        if not self._idle and "unroll.task" in self.cycle.scope:
            self.cycle.scope.pop("unroll.task").cancel()  # type: ignore[typeddict-item]

    @property
    def _idle(self) -> bool:
        return self.cycle is None or self.cycle.response_complete

    def _close_idle(self) -> None:
        if self._idle and not self.head:
            self._close()

    def _close(self) -> None:
        self.transport.close()
        self._watch()

    def _wait(self) -> None:
        self._wait_no_more()
        self.deadline = self.loop.call_later(limits.HEAD_SECONDS, self._give_up)

    def _give_up(self) -> None:
        self.deadline = None
        if self._idle:
            self._close()
        else:  # the request before is still being answered
            self._wait()

    def _wait_no_more(self) -> None:
        if self.deadline is not None:
            self.deadline.cancel()
            self.deadline = None

    def _watch(self) -> None:
        if self.unread is None:
            left = self.transport.get_write_buffer_size()
            self.unread = self.loop.call_later(limits.SEND_SECONDS, self._look, left)

    def _look(self, before: int) -> None:
        self.unread = None
        if self.transport.get_write_buffer_size() > before - limits.SEND_BYTES:
            self.transport.abort()
        else:
            self._watch()

    def _watch_no_more(self) -> None:
        if self.unread is not None:
            self.unread.cancel()
            self.unread = None

    def _refuse_head(self) -> None:
        if self._idle and not self.inside:
            why = f"the headers are over {limits.HEAD_BYTES:,} bytes, the most that is read"
            self._tell(HTTPStatus.REQUEST_HEADER_FIELDS_TOO_LARGE, why)
        else:  # behind a request that is still being answered, or around the pieces of its body
            self.transport.abort()

    def _tell(self, status: HTTPStatus, why: str) -> None:
        self._wait_no_more()
        body = json.dumps({"error": why})
        head = f"content-type: application/json\r\ncontent-length: {len(body)}\r\nconnection: close"
        self.transport.write(f"HTTP/1.1 {status.value} {status.phrase}\r\n{head}\r\n\r\n{body}".encode())
        self._close()


def _not_upgraded(data: bytes) -> bytes:
    """Return headers that ask for no other protocol, as Java's client does by default.

    The parser would take what follows for the other protocol, and not for the body that it is.
    """
    head, end, rest = data.partition(b"\r\n\r\n")
    if b"upgrade" not in head.lower():
        return data
    return UPGRADE.sub(b"\r\nx-not-upgraded:", head) + end + rest
