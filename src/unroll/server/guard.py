"""What stands between the network and the application: who may ask, how much, and for how long."""

from __future__ import annotations

import asyncio
import base64
import binascii
import hmac
import json
import logging
import time
from collections.abc import Iterable

from starlette.types import ASGIApp, Message, Receive, Scope, Send

from ..formatting import printable
from . import limits
from .metrics import Metrics

LOG = logging.getLogger("unroll.server")
LOOPBACK = frozenset(("localhost", "127.0.0.1", "[::1]"))
OPEN = frozenset(("/health",))  # answered without the token
HEADERS = (
    (b"x-content-type-options", b"nosniff"),
    (b"x-frame-options", b"DENY"),
    (b"referrer-policy", b"no-referrer"),
    (b"cross-origin-resource-policy", b"same-origin"),
)


def one_line(text: str) -> str:
    """Return ``text``, which may hold what a client sent, on one line and with what a terminal obeys escaped."""
    return printable(text.replace("\n", " "))


class RefusedError(Exception):
    """A request that is not worked on.

    Args:
        status: of HTTP.
        why: one line.
        headers: of the answer.
        close: whether the connection ends with it, as when the rest of a body will not be read.
    """

    def __init__(self, status: int, why: str, headers: dict[str, str] | None = None, close: bool = False) -> None:
        super().__init__(why)
        self.status, self.why = status, one_line(why)
        self.headers = dict(headers or {}) | ({"connection": "close"} if close else {})


class Guard:
    """ASGI middleware around the whole application: every request gets one answer, whatever happens.

    The body is read before the application is called: who sends slowly holds no place among those worked on.

    Args:
        app: the application.
        metrics: where requests are counted.
        token: that requests must show, as ``Authorization: Bearer …`` or, from a browser, as password; None asks none.
        hosts: names that the ``Host`` header may have, without port; None allows any. On a loopback address it keeps
            pages of others, whose name was made to lead here, from asking.
    """

    def __init__(self, app: ASGIApp, metrics: Metrics, token: str | None, hosts: Iterable[str] | None) -> None:
        self.app = app
        self.metrics = metrics
        # Blanks around it would not survive in a header; it may be no UTF-8 where it comes from the environment.
        self.token = None if token is None else token.strip().encode("utf-8", "surrogateescape")
        self.hosts = None if hosts is None else frozenset(hosts)
        self.working = 0
        self.held = 0  # bytes of bodies

    async def __call__(self, scope: Scope, receive: Receive, send: Send) -> None:
        """Answer one request; see `starlette`'s ASGI types."""
        if scope["type"] == "lifespan":
            await self.app(scope, receive, send)
            return
        if scope["type"] != "http":  # a WebSocket: there is none
            await send({"type": "websocket.close", "code": 1008})
            return
        start = time.perf_counter()
        status = 0

        async def answer(message: Message) -> None:
            nonlocal status
            if message["type"] == "http.response.start":
                status = message["status"]
                message = {**message, "headers": [*message["headers"], *HEADERS]}
            await send(message)

        try:
            await self._work(scope, receive, answer)
        except RefusedError as refused:
            if not status:
                await _refuse(answer, refused)
        except Exception:
            LOG.exception("a request failed that should not have")
            if not status:
                await _refuse(answer, RefusedError(500, "the server failed to answer; its log says more", close=True))
        finally:
            self.metrics.request(scope["path"], status, time.perf_counter() - start)

    async def _work(self, scope: Scope, receive: Receive, send: Send) -> None:
        headers = {name.lower(): value.decode("latin-1") for name, value in scope["headers"]}
        self._check_host(headers.get(b"host", ""))
        if scope["method"] == "POST":
            self._check_origin(headers.get(b"origin", ""), headers.get(b"host", ""))
        if scope["path"] not in OPEN:
            self._check_token(headers.get(b"authorization", ""))
        bodies = _Held(self)
        try:
            length = headers.get(b"content-length", "")
            messages = await self._ask(scope, receive, await _read(receive, length, bodies))
        finally:
            bodies.release()
        for message in messages:
            await send(message)

    async def _ask(self, scope: Scope, receive: Receive, body: bytes) -> list[Message]:
        """Return the application's answer: who reads it slowly holds no place among those worked on either."""
        if self.working >= limits.REQUESTS:
            why = f"the server is working on {limits.REQUESTS} requests already: try again in a second"
            raise RefusedError(503, why, {"retry-after": "1"})
        given = False

        async def receive_body() -> Message:
            nonlocal given
            if given:
                return await receive()
            given = True
            return {"type": "http.request", "body": body, "more_body": False}

        messages: list[Message] = []

        async def keep(message: Message) -> None:
            messages.append(message)

        self.working += 1
        self.metrics.working.set(self.working)
        disconnect = _Disconnect(receive)
        try:
            async with asyncio.timeout(limits.REQUEST_SECONDS):
                await self.app({**scope, "method": "GET"} if scope["method"] == "HEAD" else scope, receive_body, keep)
        except asyncio.CancelledError:
            if disconnect.seen:
                return []
            raise RefusedError(503, "the server stops", close=True) from None
        except TimeoutError:
            raise RefusedError(504, f"not done after {limits.REQUEST_SECONDS:g} seconds: send less at once") from None
        finally:
            disconnect.watch.cancel()
            self.working -= 1
            self.metrics.working.set(self.working)
        return messages

    def _check_host(self, host: str) -> None:
        name = host.rpartition(":")[0] if host.rpartition(":")[2].isdigit() and ":" in host else host
        if self.hosts is not None and name.lower() not in self.hosts:
            allowed = ", ".join(sorted(self.hosts))
            raise RefusedError(421, f"the server answers to {allowed} alone, got the host {name[:100]!r}", close=True)

    def _check_origin(self, origin: str, host: str) -> None:
        """A page of others cannot read an answer, but a browser would send its form, and the model would work."""
        if self.hosts is not None and origin and origin.lower().partition("://")[2] != host.lower():
            raise RefusedError(403, f"pages of {origin[:100]} may not ask this server", close=True)

    def _check_token(self, given: str) -> None:
        if self.token is None:
            return
        kind, _, value = given.partition(" ")
        if kind.lower() == "basic":
            try:
                value = base64.b64decode(value, validate=True).decode().partition(":")[2]
            except (binascii.Error, UnicodeDecodeError):
                value = ""
        elif kind.lower() != "bearer":
            value = ""
        # A header's bytes were read as Latin-1; of Basic they stand for UTF-8, which is decoded by now.
        encoded = value.strip().encode("utf-8" if kind.lower() == "basic" else "latin-1", "replace")
        if not hmac.compare_digest(encoded, self.token):
            ways = 'Bearer, Basic realm="unroll: any name, the token as password"'
            raise RefusedError(401, "this server asks for a token: Authorization: Bearer …", {"www-authenticate": ways})


class _Disconnect:
    """Cancels the task that makes it once the client has gone. The request's body has been read by then."""

    def __init__(self, receive: Receive) -> None:
        self.seen = False
        self._task = asyncio.current_task()
        self.watch = asyncio.create_task(self._wait(receive))

    async def _wait(self, receive: Receive) -> None:
        if (await receive())["type"] == "http.disconnect" and self._task is not None:
            self.seen = True
            self._task.cancel()


class _Held:
    """What a request's body takes of the memory that is for all."""

    def __init__(self, guard: Guard) -> None:
        self.guard, self.size = guard, 0

    def add(self, size: int) -> None:
        """Take so many bytes more.

        Raises:
            RefusedError: there are none left.
        """
        self.size += size
        self.guard.held += size
        if self.guard.held > limits.HELD_BYTES:
            why = f"the server holds {limits.HELD_BYTES:,} bytes of requests already: try again in a second"
            raise RefusedError(503, why, {"retry-after": "1"})

    def release(self) -> None:
        """Give them back."""
        self.guard.held -= self.size


async def _read(receive: Receive, length: str, bodies: _Held) -> bytes:
    """Return a request's whole body.

    Raises:
        RefusedError: it is too long, or does not come.
    """
    # The connection is left open for what the client still sends: closed, it would lose the answer.
    large = RefusedError(413, f"the body is over {limits.BODY_BYTES:,} bytes, the most that is read: send less")
    if length.isdecimal() and int(length) > limits.BODY_BYTES:
        raise large
    chunks, size = [], 0
    try:
        async with asyncio.timeout(limits.BODY_SECONDS):
            while True:
                message = await receive()
                if message["type"] == "http.disconnect":
                    raise RefusedError(400, "the connection ended before the body did", close=True)
                chunks.append(message.get("body", b""))
                size += len(chunks[-1])
                if size > limits.BODY_BYTES:
                    raise large
                bodies.add(len(chunks[-1]))
                if not message.get("more_body", False):
                    return b"".join(chunks)
    except TimeoutError:
        raise RefusedError(408, f"the body did not come within {limits.BODY_SECONDS:g} seconds", close=True) from None


async def _refuse(send: Send, refused: RefusedError) -> None:
    body = json.dumps({"error": refused.why}, ensure_ascii=False).encode()
    headers = {"content-type": "application/json", "content-length": str(len(body))} | refused.headers
    encoded = [(name.encode(), value.encode("latin-1", "replace")) for name, value in headers.items()]
    await send({"type": "http.response.start", "status": refused.status, "headers": encoded})
    await send({"type": "http.response.body", "body": body})
