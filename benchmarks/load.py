"""A server in a process of its own, and clients that load it: whole requests made before, every answer checked.

All clients are connections of one event loop, uvloop's. They know just enough HTTP to find an answer's end.
"""

from __future__ import annotations

import asyncio
import mmap
import os
import subprocess
import sys
import tempfile
import time
from collections.abc import Sequence
from pathlib import Path
from typing import NamedTuple

TICKS = os.sysconf("SC_CLK_TCK")
UNSURE = 120.0  # seconds without an answer, after which something hangs

# Counts the requests that the server has taken, where another process sees it even after the server's end.
COUNTING = """
import mmap, sys
from unroll.cli import main
from unroll.server.guard import Guard
with open(sys.argv[1], "r+b") as file:
    counter = mmap.mmap(file.fileno(), 8)
call, begun = Guard.__call__, 0
async def counting(self, scope, receive, send):
    global begun
    if scope["type"] == "http":
        begun += 1
        counter[:] = begun.to_bytes(8, "little")
    await call(self, scope, receive, send)
Guard.__call__ = counting
sys.exit(main(sys.argv[2:]))
"""


class Ask(NamedTuple):
    """A request and the expected answer.

    Attributes:
        request: its bytes
        status: of the answer; 0 hangs up instead of waiting for an answer
        holds: a part of the answer
    """

    request: bytes
    status: int
    holds: bytes = b""


class WrongError(Exception):
    """An answer is wrong."""


class GoneError(Exception):
    """The connection ended before the answer was complete; ``begun``: part of it had arrived."""

    def __init__(self, begun: bool) -> None:
        super().__init__("the connection ended")
        self.begun = begun


def post(path: str, media: str, body: bytes, *headers: str, length: int | None = None) -> bytes:
    """Return a request; its ``length`` may be larger than its body."""
    size = len(body) if length is None else length
    head = [f"POST {path} HTTP/1.1", "host: localhost", f"content-type: {media}", f"content-length: {size}", *headers]
    return "\r\n".join([*head, "", ""]).encode() + body


def get(path: str) -> bytes:
    """Return a request."""
    return f"GET {path} HTTP/1.1\r\nhost: localhost\r\n\r\n".encode()


class Connection(asyncio.Protocol):
    """A connection with one request at a time."""

    def __init__(self) -> None:
        self.transport: asyncio.Transport | None = None
        self.got = b""
        self.waiting: asyncio.Future[bytes] | None = None

    @classmethod
    async def open(cls, port: int) -> Connection:
        """Connect; raises `OSError` if no server listens."""
        _, connection = await asyncio.get_running_loop().create_connection(cls, "127.0.0.1", port)
        return connection

    @property
    def closed(self) -> bool:
        """Whether it has ended, or is about to."""
        return self.transport is None or self.transport.is_closing()

    def connection_made(self, transport: asyncio.Transport) -> None:  # type: ignore[override]
        """See `asyncio.Protocol`."""
        self.transport = transport

    def data_received(self, data: bytes) -> None:
        """End the wait once the answer is complete."""
        self.got = self.got + data if self.got else data
        head = self.got.find(b"\r\n\r\n")
        if head < 0 or self.waiting is None or self.waiting.done():  # done: no longer waited for
            return
        at = self.got.index(b"content-length: ") + 16
        if len(self.got) >= head + 4 + int(self.got[at : self.got.index(b"\r", at)]):
            answer, self.got = self.got, b""
            self.waiting.set_result(answer)
            self.waiting = None

    def connection_lost(self, error: Exception | None) -> None:
        """End the wait in any case."""
        self.transport = None
        if self.waiting is not None and not self.waiting.done():
            self.waiting.set_exception(GoneError(bool(self.got)))
            self.waiting = None

    async def ask(self, request: bytes) -> bytes:
        """Return the answer, including its head.

        Raises:
            GoneError: it did not arrive, or only in part.
        """
        if self.transport is None:
            raise GoneError(False)
        self.waiting = asyncio.get_running_loop().create_future()
        self.transport.write(request)
        return await self.waiting

    def hang_up(self) -> None:
        """End the connection at once."""
        if self.transport is not None:
            self.transport.abort()


def check(ask: Ask, answer: bytes) -> None:
    """Raise `WrongError` if the answer is wrong."""
    if int(answer[9:12]) != ask.status or ask.holds not in answer:
        raise WrongError(f"expected status {ask.status} and {ask.holds.decode()}, got {answer.decode()}")


class Server:
    """``unroll serve RUN``, until the end of the block.

    Args:
        run: its folder.
        options: further words of the command.
        counted: whether requests whose headers the server has read are counted, which costs a microsecond each.
    """

    def __init__(self, run: Path, *options: str, counted: bool = False) -> None:
        self.log = tempfile.TemporaryFile("w+")  # noqa: SIM115 - until close()
        self._counter = tempfile.NamedTemporaryFile()  # noqa: SIM115
        self._counter.write(bytes(8))
        self._counter.flush()
        program = ["-c", COUNTING, self._counter.name] if counted else ["-m", "unroll"]
        command = [sys.executable, *program, "serve", str(run), "--port", "0", *options]
        self.process = subprocess.Popen(command, stdout=subprocess.PIPE, stderr=self.log, text=True)
        assert self.process.stdout is not None
        self.port = 0
        for line in self.process.stdout:  # ends if the process does
            if line.startswith("at "):
                self.port = int(line.rpartition(":")[2])
                break
        if not self.port:
            raise RuntimeError(f"the server did not start: {self.stderr}")

    def __enter__(self) -> Server:
        """Return itself."""
        return self

    def __exit__(self, kind: object, error: BaseException | None, trace: object) -> None:
        """End the process if it still runs; add the server's status and stderr to an error."""
        if error is not None:
            error.add_note(f"the server's status: {self.process.poll()}; it said: {self.stderr}")
        self.process.kill()
        self.process.wait()
        assert self.process.stdout is not None
        self.process.stdout.close()
        self.log.close()
        self._counter.close()

    @property
    def stderr(self) -> str:
        """Its output on stderr, empty unless something went wrong."""
        self.log.seek(0)
        return self.log.read()

    @property
    def begun(self) -> int:
        """Requests whose headers it has read, if they are counted."""
        with open(self._counter.name, "r+b") as file, mmap.mmap(file.fileno(), 8) as counter:
            return int.from_bytes(counter[:], "little")

    @property
    def rss(self) -> float:
        """Its resident memory in MiB."""
        pages = int(Path(f"/proc/{self.process.pid}/statm").read_text().split()[1])
        return pages * os.sysconf("SC_PAGE_SIZE") / 2**20

    @property
    def cpu(self) -> float:
        """Seconds of a core that it has used."""
        fields = Path(f"/proc/{self.process.pid}/stat").read_text().rpartition(")")[2].split()
        return (int(fields[11]) + int(fields[12])) / TICKS


class Load(NamedTuple):
    """What clients saw of a server.

    Attributes:
        seconds: that were counted
        latencies: of all requests answered meanwhile, in seconds
        batch: sequences that the model read at once, on average
        server: cores that the server used
        client: cores that the clients used
    """

    seconds: float
    latencies: list[float]
    batch: float
    server: float
    client: float

    @property
    def rate(self) -> float:
        """Requests per second."""
        return len(self.latencies) / self.seconds


async def load(server: Server, asks: Sequence[Ask], clients: int, seconds: float, warm_up: float = 0.3) -> Load:
    """Ask as fast as ``clients`` that wait for each answer can; what is answered after the warm-up counts."""
    latencies: list[float] = []
    stop = False

    async def client(number: int) -> None:
        connection = await Connection.open(server.port)
        at = number * len(asks) // clients
        try:
            while not stop:
                ask = asks[at % len(asks)]
                at += 1
                start = time.perf_counter()
                answer = await connection.ask(ask.request)
                latencies.append(time.perf_counter() - start)
                check(ask, answer)
        finally:
            connection.hang_up()

    async def measure() -> Load:
        nonlocal stop
        await asyncio.sleep(warm_up)
        before = await batches(server)
        latencies.clear()
        start, own, its = time.perf_counter(), time.process_time(), server.cpu
        await asyncio.sleep(seconds)
        took = time.perf_counter() - start
        times = list(latencies)
        own, its = time.process_time() - own, server.cpu - its
        after = await batches(server)
        stop = True
        batch = (after[0] - before[0]) / max(1.0, after[1] - before[1])
        return Load(took, times, batch, its / took, own / took)

    async with asyncio.timeout(seconds + warm_up + UNSURE), asyncio.TaskGroup() as group:
        measured = group.create_task(measure())
        for number in range(clients):
            group.create_task(client(number))
    return measured.result()


async def batches(server: Server) -> tuple[float, float]:
    """Return how many sequences the model has read, in how many batches."""
    connection = await Connection.open(server.port)
    text = (await connection.ask(get("/metrics"))).decode()
    connection.hang_up()
    values = dict(line.split(" ") for line in text.splitlines() if line.startswith("unroll_batch_sequences_"))
    return float(values["unroll_batch_sequences_sum"]), float(values["unroll_batch_sequences_count"])
