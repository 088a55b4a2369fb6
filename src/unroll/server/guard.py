"""Access control and limits: who may send requests, how large they may be, and how long they may take."""

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
OPEN = frozenset(("/health",))  # need no token
HEADERS = (
    (b"x-content-type-options", b"nosniff"),
    (b"x-frame-options", b"DENY"),
    (b"referrer-policy", b"no-referrer"),
    (b"cross-origin-resource-policy", b"same-origin"),
)


def one_line(text: str) -> str:
    """Return ``text``, which may quote a client, on one line and with control characters escaped."""
    return printable(text.replace("\n", " "))


class RefusedError(Exception):
    """A refused request.

    Args:
        status: the HTTP status.
        why: the reason, one line.
        headers: of the response.
        close: whether to close the connection, for example because the rest of a body will not be read.
    """

    def __init__(self, status: int, why: str, headers: dict[str, str] | None = None, close: bool = False) -> None:
        super().__init__(why)
        self.status: int = status
        self.why: str = one_line(why)
        self.headers: dict[str, str] = dict(headers or {}) | ({"connection": "close"} if close else {})


class Guard:
    """ASGI middleware around the whole application: every request gets exactly one response, whatever happens.

    The body is read before the application is called, so a slow sender does not take up a worker's place.

    Args:
        app: the application.
        metrics: where requests are counted.
        token: required as ``Authorization: Bearer …`` or, from a browser, as the password; None requires none.
        hosts: names allowed in the ``Host`` header, without port; None allows any. On a loopback address this stops
            DNS rebinding: web pages whose host name resolves to this machine.
    """

    def __init__(self, app: ASGIApp, metrics: Metrics, token: str | None, hosts: Iterable[str] | None) -> None:
        self.app = app
        self.metrics = metrics
        # A header loses surrounding blanks; a token from the environment need not be UTF-8.
        self.token: bytes | None = None if token is None else token.strip().encode("utf-8", "surrogateescape")
        self.hosts: frozenset[str] | None = None if hosts is None else frozenset(hosts)
        self.working: int = 0
        self.held = 0  # bytes of all bodies in memory

    async def __call__(self, scope: Scope, receive: Receive, send: Send) -> None:
        """Answer one request; see `starlette`'s ASGI types."""
        if scope["type"] == "lifespan":
            await self.app(scope, receive, send)
            return
        if scope["type"] != "http":  # WebSockets are not supported
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
            LOG.exception("a request failed: internal error")
            if not status:
                await _refuse(answer, RefusedError(500, "internal error: see the server's log", close=True))
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
        """Return the application's whole response, so that a slow reader does not take up a worker's place either."""
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
            raise RefusedError(503, "the server is stopping", close=True) from None
        except TimeoutError:
            raise RefusedError(
                504, f"not finished after {limits.REQUEST_SECONDS:g} seconds: send a smaller request"
            ) from None
        finally:
            disconnect.watch.cancel()
            self.working -= 1
            self.metrics.working.set(self.working)
        return messages

    def _check_host(self, host: str) -> None:
        name = host.rpartition(":")[0] if host.rpartition(":")[2].isdigit() and ":" in host else host
        if self.hosts is not None and name.lower() not in self.hosts:
            allowed = ", ".join(sorted(self.hosts))
            raise RefusedError(421, f"expected one of the hosts {allowed}, got {name[:100]!r}", close=True)

    def _check_origin(self, origin: str, host: str) -> None:
        """Refuse other sites' forms: they could not read the response, but the model would have to work."""
        if self.hosts is not None and origin and origin.lower().partition("://")[2] != host.lower():
            raise RefusedError(403, f"requests from pages of {origin[:100]} are not allowed", close=True)

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
        # Header bytes were decoded as Latin-1; a Basic password is UTF-8 and has been decoded already.
        encoded = value.strip().encode("utf-8" if kind.lower() == "basic" else "latin-1", "replace")
        if not hmac.compare_digest(encoded, self.token):
            ways = 'Bearer, Basic realm="unroll: any name, the token as password"'
            raise RefusedError(
                401, "this server requires a token: send Authorization: Bearer …", {"www-authenticate": ways}
            )


class _Disconnect:
    """Cancels the task that created it once the client disconnects; made after the request's body was read."""

    def __init__(self, receive: Receive) -> None:
        self.seen = False
        self._task = asyncio.current_task()
        self.watch = asyncio.create_task(self._wait(receive))

    async def _wait(self, receive: Receive) -> None:
        if (await receive())["type"] == "http.disconnect" and self._task is not None:
            self.seen = True
            self._task.cancel()


class _Held:
    """A request body's share of the memory for all bodies."""

    def __init__(self, guard: Guard) -> None:
        self.guard, self.size = guard, 0

    def add(self, size: int) -> None:
        """Reserve ``size`` more bytes.

        Raises:
            RefusedError: the memory for bodies is used up.
        """
        self.size += size
        self.guard.held += size
        if self.guard.held > limits.HELD_BYTES:
            why = f"the server holds {limits.HELD_BYTES:,} bytes of requests already: try again in a second"
            raise RefusedError(503, why, {"retry-after": "1"})

    def release(self) -> None:
        """Free the bytes."""
        self.guard.held -= self.size


async def _read(receive: Receive, length: str, bodies: _Held) -> bytes:
    """Return a request's whole body.

    Raises:
        RefusedError: it is too large, or does not arrive in time.
    """
    # The connection stays open while the client still sends: if it were closed, the client would lose the response.
    large = RefusedError(413, f"the body exceeds the limit of {limits.BODY_BYTES:,} bytes: send a smaller request")
    if length.isdecimal() and int(length) > limits.BODY_BYTES:
        raise large
    chunks, size = [], 0
    try:
        async with asyncio.timeout(limits.BODY_SECONDS):
            while True:
                message = await receive()
                if message["type"] == "http.disconnect":
                    raise RefusedError(400, "the connection closed before the body was complete", close=True)
                chunks.append(message.get("body", b""))
                size += len(chunks[-1])
                if size > limits.BODY_BYTES:
                    raise large
                bodies.add(len(chunks[-1]))
                if not message.get("more_body", False):
                    return b"".join(chunks)
    except TimeoutError:
        raise RefusedError(408, f"the body did not arrive within {limits.BODY_SECONDS:g} seconds", close=True) from None


async def _refuse(send: Send, refused: RefusedError) -> None:
    body = json.dumps({"error": refused.why}, ensure_ascii=False).encode()
    headers = {"content-type": "application/json", "content-length": str(len(body))} | refused.headers
    encoded = [(name.encode(), value.encode("latin-1", "replace")) for name, value in headers.items()]
    await send({"type": "http.response.start", "status": refused.status, "headers": encoded})
    await send({"type": "http.response.body", "body": body})
