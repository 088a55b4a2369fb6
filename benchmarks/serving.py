"""`unroll serve` under load: requests per second and latency with batching and without, memory, a stop in the middle.

The server has its own process; clients in this process send requests over the loopback, and each waits for its answer
before the next request. Every answer is checked: its status, and the class that the model predicts. The clients also
need a core, half of a machine with two: the tables show how much they used.
"""

from __future__ import annotations

import asyncio
import io
import json
import signal
import tempfile
import time
from collections import Counter
from collections.abc import Callable, Coroutine, Sequence
from pathlib import Path
from typing import Any, NamedTuple, TypeVar

import cyclopts
import numpy as np
import torch
import uvloop
from PIL import Image
from rich.table import Table

import unroll
from benchmarks.load import UNSURE, Ask, Connection, GoneError, Load, Server, check, get, load, post
from unroll.bench.clock import Spread, spread
from unroll.cli.views.terminal import Screen, print_facts, print_table
from unroll.runs.data import load_test
from unroll.runs.folder import write_json
from unroll.server import limits
from unroll.training.environment import describe

T = TypeVar("T")
EXAMPLES = 50  # images that are asked about, in turn
SURE = 0.6  # probability of their class: rounding, which differs with what else is in a batch, must not change it
CLIENTS = (1, 8, 64)
MODES: dict[str, tuple[str, ...]] = {"on": (), "off": ("--no-batching",)}
SOAK_CLIENTS, STOP_CLIENTS = 8, 64
WARM_UP = 2_000  # requests of a soak that are not counted
FLAT = 16 * 10_000 / 2**20  # MiB per 10,000 requests: no Python object is smaller than 16 bytes


class Model(NamedTuple):
    """A run that is served, and what it is asked."""

    name: str
    path: Path
    asks: dict[str, list[Ask]]  # by kind of body


def given(path: Path) -> Model:
    """Return a run that reads images, with requests and the answers that its model gives here."""
    run = unroll.load_run(path)
    form = run.preparation.image
    if form is None:
        raise SystemExit(f"serving: {path} must be a run that reads images")
    x = load_test(run).sequences.x
    x = x[torch.randperm(len(x), generator=torch.Generator().manual_seed(0))]
    probabilities, labels = unroll.predict(run.model, run.preparation.scaling.apply(x)).max(dim=1)
    chosen = torch.nonzero(probabilities > SURE)[:EXAMPLES, 0]
    asks: dict[str, list[Ask]] = {"JSON": [], "PNG": []}
    for pixels, label in zip(form.images(x[chosen]).numpy(), labels[chosen].tolist(), strict=True):
        right = f'"class":{json.dumps(run.preparation.classes[label])}'.encode()
        body = json.dumps({"images": [pixels.tolist()]}).encode()
        asks["JSON"].append(Ask(post("/predict", "application/json", body), 200, right))
        asks["PNG"].append(Ask(post("/predict", "image/png", png(pixels)), 200, right))
    config = run.model.config
    return Model(f"{config.cell}, {config.hidden_size} units", path, asks)


def png(pixels: np.ndarray) -> bytes:
    """Return an image as a PNG file."""
    file = io.BytesIO()
    Image.fromarray(pixels).save(file, "PNG")
    return file.getvalue()


def run_async(work: Coroutine[Any, Any, T]) -> T:
    """Return what ``work`` does in a loop of uvloop."""

    async def whole() -> T:
        try:
            return await work
        finally:
            await asyncio.sleep(0.01)  # in which connections that have ended are closed

    with asyncio.Runner(loop_factory=uvloop.new_event_loop) as runner:
        return runner.run(whole())


def speed(model: Model, rounds: int, seconds: float, clients: Sequence[int]) -> list[dict[str, Any]]:
    """Load two servers in turn, one that batches and one that does not; return a row for each body and number."""
    all_loads: dict[tuple[str, int, str], list[Load]] = {}
    with Server(model.path, *MODES["on"]) as on, Server(model.path, *MODES["off"]) as off:
        servers = {"on": on, "off": off}
        for number in range(rounds):
            for body, asks in model.asks.items():
                for count in clients:
                    for mode in sorted(servers, reverse=number % 2 == 0):
                        result = run_async(load(servers[mode], asks, count, seconds))
                        all_loads.setdefault((body, count, mode), []).append(result)
                        print(
                            f"{model.name}, {body}, {count} clients, batching {mode}: {result.rate:,.0f}/s", flush=True
                        )
        for mode, server in servers.items():
            if server.stderr:
                raise SystemExit(f"serving: the server with batching {mode} said {server.stderr}")
    rows = []
    for body in model.asks:
        for count in clients:
            loads = {mode: all_loads[body, count, mode] for mode in MODES}
            ratio = spread([a.rate / b.rate for a, b in zip(loads["on"], loads["off"], strict=True)])
            measured = {f"batching_{mode}": figures(each) for mode, each in loads.items()}
            rows.append({"model": model.name, "body": body, "clients": count, **measured, "ratio": ratio._asdict()})
    return rows


def figures(loads: Sequence[Load]) -> dict[str, Any]:
    """Return median, minimum and maximum over several rounds of a kind; times in milliseconds."""

    def over(value: Callable[[Load], float]) -> dict[str, float]:
        return spread([value(result) for result in loads])._asdict()

    return {
        "requests_per_second": over(lambda result: result.rate),
        "p50_ms": over(lambda result: 1e3 * float(np.percentile(result.latencies, 50))),
        "p99_ms": over(lambda result: 1e3 * float(np.percentile(result.latencies, 99))),
        "sequences_at_once": over(lambda result: result.batch),
        "server_cores": over(lambda result: result.server),
        "client_cores": over(lambda result: result.client),
        "requests": sum(len(result.latencies) for result in loads),
    }


def speed_table(rows: Sequence[dict[str, Any]]) -> Table:
    """Return a line for each row: medians with minimum … maximum."""
    table = Table(title="one image a request; medians, minimum … maximum", title_justify="left")
    for heading in ("model", "body"):
        table.add_column(heading)
    for heading in ("clients", "requests/s", "without batching", "times", "p50 ms", "without", "p99 ms", "without",
                    "at once", "server cores", "client cores"):  # fmt: skip
        table.add_column(heading, justify="right", no_wrap=True)

    def shown(values: dict[str, float], form: str = ",.0f") -> str:
        median, low, high = (format(values[key], form) for key in ("median", "low", "high"))
        return f"{median} ({low} … {high})"

    for row in rows:
        on, off = row["batching_on"], row["batching_off"]
        cells = [shown(mode["requests_per_second"]) for mode in (on, off)] + [shown(row["ratio"], ".2f")]
        cells += [shown(mode[key], ".1f") for key in ("p50_ms", "p99_ms") for mode in (on, off)]
        cells += [f"{on[key]['median']:.2f}" for key in ("sequences_at_once", "server_cores", "client_cores")]
        table.add_row(row["model"], row["body"], str(row["clients"]), *cells)
    return table


def bad_asks(model: Model) -> list[Ask]:
    """Return requests that a server must refuse, or whose sender does not wait for an answer."""
    good, picture = (model.asks[body][0].request for body in ("JSON", "PNG"))
    json_, image = "application/json", "image/png"
    return [
        Ask(post("/predict", json_, b'{"images": [[[1, 2'), 400, b"the body is not JSON"),
        Ask(post("/predict", json_, b'{"images": [[[1, 2], [3, 4]]]}'), 422, b"image 1: expected"),
        Ask(post("/predict", json_, b'{"images": [[[300]]]}'), 422, b"less than or equal to 255"),
        Ask(post("/predict", image, picture.partition(b"\r\n\r\n")[2][:90]), 422, b"is not a readable image"),
        Ask(post("/predict", image, b""), 422, b"got an empty body"),
        Ask(post("/predict?run=other", json_, b"{}"), 404, b"unknown run 'other'"),
        Ask(post("/predict", "text/plain", b"4"), 415, b"expected application/json"),
        Ask(get("/nothing"), 404, b"no such path"),
        Ask(get("/predict"), 405, b"method GET is not allowed"),
        Ask(post("/predict", json_, b"", length=limits.BODY_BYTES + 1), 413, b"send a smaller request"),
        Ask(get("/health").replace(b"localhost", b"elsewhere"), 421, b"expected one of the hosts"),
        Ask(good[: len(good) // 2], 0),
        Ask(good, 0),
        Ask(picture, 0),
    ]  # fmt: skip


async def soak(server: Server, model: Model, requests: int) -> list[float]:
    """Send a mix of requests, a fifth of them bad; return MiB at the start, after the warm-up and at each tenth."""
    bad = bad_asks(model)
    steps = json.dumps({"state": None, "steps": [[0.0] * unroll.load_run(model.path).model.input_size]}).encode()
    stream = Ask(post("/stream", "application/json", steps), 200, b'"read":1')
    total = WARM_UP + requests
    marks = [0, WARM_UP, *(WARM_UP + requests * tenth // 10 for tenth in range(1, 11))]
    memory: list[float] = []
    number = 0

    def chosen(at: int) -> Ask:
        kind, at = at % 10, at // 10
        if kind < 2:
            return bad[(2 * at + kind) % len(bad)]
        return stream if kind == 2 else model.asks["JSON" if kind < 7 else "PNG"][at % EXAMPLES]

    async def client() -> None:
        nonlocal number
        connection = await Connection.open(server.port)
        while number <= total:
            if number in marks:
                memory.append(server.rss)
                print(f"{max(0, number - WARM_UP):,} requests: {memory[-1]:.1f} MiB", flush=True)
            ask = chosen(number)
            number += 1
            if connection.closed:
                connection = await Connection.open(server.port)
            if ask.status:
                check(ask, await connection.ask(ask.request))
            else:
                assert connection.transport is not None
                connection.transport.write(ask.request)
                await asyncio.sleep(0)
                connection.hang_up()
            if ask.status in (413, 421):  # the server ends the connection
                connection.hang_up()
        connection.hang_up()

    async with asyncio.TaskGroup() as group:
        for _ in range(SOAK_CLIENTS):
            group.create_task(client())
    return memory


def soaked(model: Model, requests: int) -> dict[str, Any]:
    """Soak a server; return its memory and how it grows."""
    with Server(model.path) as server:
        start = time.perf_counter()
        memory = run_async(soak(server, model, requests))
        took, log = time.perf_counter() - start, server.stderr
    at = np.arange(11) * requests / 10
    slope, late = (float(np.polyfit(at[part:], memory[1 + part :], 1)[0]) * 10_000 for part in (0, 5))
    facts = {"requests": requests, "seconds": took, "memory_mib": memory, "mib_per_10_000": slope}
    return facts | {"mib_per_10_000_second_half": late, "flat": late < FLAT, "log": log}


async def stopped(server: Server, asks: Sequence[Ask], seconds: float) -> dict[str, Any]:
    """Send SIGTERM in the middle of the load; return the outcomes of all requests."""
    seen: Counter[str] = Counter()
    stopped_at, before = 0.0, server.begun

    async def client(number: int) -> None:
        connection = None
        once = number % 2  # every other client opens a connection for each request
        for at in range(number, 10**9):
            ask = asks[at % len(asks)]
            seen["sent"] += 1
            try:
                if connection is None or connection.closed:
                    connection = await Connection.open(server.port)
                answer = await connection.ask(ask.request)
            except OSError:
                seen["no connection"] += 1
                return
            except GoneError as error:
                seen["answer cut off" if error.begun else "connection closed"] += 1
                continue
            check(ask, answer)
            seen["answered"] += 1
            if stopped_at:
                seen["answered after SIGTERM"] += 1
            if once:
                connection.hang_up()

    async def stop() -> float:
        nonlocal stopped_at
        await asyncio.sleep(seconds)
        server.process.send_signal(signal.SIGTERM)
        stopped_at = time.perf_counter()
        await asyncio.get_running_loop().run_in_executor(None, server.process.wait)
        return time.perf_counter() - stopped_at

    async with asyncio.timeout(seconds + UNSURE), asyncio.TaskGroup() as group:
        end = group.create_task(stop())
        for number in range(STOP_CLIENTS):
            group.create_task(client(number))
    begun = server.begun - before
    return {**seen, "begun": begun, "lost": begun - seen["answered"], "seconds": end.result()}


def stops(model: Model, rounds: int, seconds: float) -> list[dict[str, Any]]:
    """Stop servers under load, with batching and without, in turn."""
    rows = []
    asks = [ask for pair in zip(*model.asks.values(), strict=True) for ask in pair]
    for number in range(rounds):
        for mode, options in MODES.items():
            with Server(model.path, *options, counted=True) as server:
                row = run_async(stopped(server, asks, seconds * (1 + number / rounds) / 2))
                row |= {
                    "model": model.name,
                    "batching": mode,
                    "status": server.process.returncode,
                    "log": server.stderr,
                }
                rows.append(row)
            print(", ".join(f"{key} {value}" for key, value in rows[-1].items()), flush=True)
    return rows


def main(
    *,
    run: list[Path] | None = None,
    rounds: int = 5,
    seconds: float = 3.0,
    clients: list[int] | None = None,
    soak: bool = False,
    requests: int = 100_000,
    stop: bool = False,
    out: Path | None = None,
) -> None:
    """Load a server and print the results.

    Args:
        run: folders of runs that read images; default two that are trained now, the default model and a GRU of 512.
        rounds: of each load, in turn; or of stops.
        seconds: of each load.
        clients: numbers of them; default 1, 8 and 64.
        soak: send many requests, some of them bad, and watch the server's memory, instead.
        requests: of a soak.
        stop: stop servers under load, instead.
        out: JSON file for all figures.
    """
    machine = describe()
    results: dict[str, Any] = {"machine": machine, "rounds": rounds, "seconds": seconds}
    console = Screen()
    on = f"{machine['processor']}, {machine['cores']} cores, torch {machine['packages']['torch']}"
    print_facts(console, {"machine": on})
    with tempfile.TemporaryDirectory() as folder:
        if run is None:
            run = [unroll.train_run(out=f"{folder}/default").path]
            if not soak:
                run.append(unroll.train_run(out=f"{folder}/gru", cell="gru", hidden_size=512, epochs=1).path)
        for model in map(given, run):
            if soak:
                result: dict[str, Any] = soaked(model, requests)
                results.setdefault("soak", []).append({"model": model.name, **result})
                print_facts(console, {key: str(value) for key, value in results["soak"][-1].items()})
            elif stop:
                results.setdefault("stop", []).extend(stops(model, rounds, seconds))
            else:
                results.setdefault("speed", []).extend(speed(model, rounds, seconds, clients or CLIENTS))
    if "speed" in results:
        print_table(console, speed_table(results["speed"]))
    if "stop" in results:
        ended: Spread = spread([row["seconds"] for row in results["stop"]])
        lost = sum(row["lost"] for row in results["stop"])
        print_facts(console, {"lost": str(lost), "seconds to the end": str(tuple(round(value, 2) for value in ended))})
    if out is not None:
        write_json(out, results)


if __name__ == "__main__":
    cyclopts.run(main)
