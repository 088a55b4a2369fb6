"""The FastAPI application: its routes and what they share."""

from __future__ import annotations

import asyncio
import importlib.metadata
import time
from collections.abc import AsyncIterator, Callable, Iterable, Sequence
from concurrent.futures import ThreadPoolExecutor
from contextlib import asynccontextmanager
from functools import partial
from typing import Any, TypeVar

from fastapi import FastAPI, Request, Response
from fastapi.responses import HTMLResponse, JSONResponse, PlainTextResponse
from starlette.exceptions import HTTPException

from ..errors import DataError, InputError
from ..formatting import shown
from . import limits, schema
from .batching import Batcher
from .bodies import Images, Piece, Sequences, Steps, Texts, parse, uploads
from .guard import LOOPBACK, Guard, RefusedError, one_line
from .metrics import Metrics
from .pages import index_page
from .served import Items, Served
from .streams import Streams

T = TypeVar("T")


class Service:
    """What the endpoints share: the runs, the threads, the metrics.

    Args:
        runs: the runs to serve; a request that names none gets the first.
        batching: whether waiting requests are classified in one batch.
    """

    def __init__(self, runs: Sequence[Served], batching: bool) -> None:
        self.runs: dict[str, Served] = {served.name: served for served in runs}
        self.streams: dict[str, Streams] = {served.name: Streams(served) for served in runs if not served.why_no_stream}
        self.metrics: Metrics = Metrics()
        self.batcher: Batcher = Batcher(batching, self.metrics.batch)
        self.started: float = time.monotonic()
        # A single thread opens images: it turns Pillow's warnings into errors, a setting that all threads share.
        self._reading = ThreadPoolExecutor(1, "reading")

    def close(self) -> None:
        """End the threads."""
        self.batcher.close()
        self._reading.shutdown()

    def of(self, request: Request) -> Served:
        """Return the run that a request names.

        Raises:
            RefusedError: no run has that name, or it names several.
        """
        names = request.query_params.getlist("run")
        if len(names) > 1:
            raise RefusedError(400, f"expected one run, got {len(names)}: {shown(', '.join(names), 100)}")
        name = names[0] if names else None
        if name is None:
            return next(iter(self.runs.values()))
        if name not in self.runs:
            raise RefusedError(404, f"unknown run {name[:100]!r}: expected one of {', '.join(self.runs)}")
        return self.runs[name]

    async def aside(self, work: Callable[[], T], size: int) -> T:
        """Return the result of ``work`` on ``size`` bytes; large bodies are read in another thread."""
        if size <= limits.SMALL_BODY:
            return work()
        return await asyncio.get_running_loop().run_in_executor(self._reading, work)

    async def items(self, request: Request, served: Served) -> Items:
        """Return the items that a request asks to classify.

        Raises:
            RefusedError: the content type is not supported, or the body is broken.
            DataError: it does not fit the run.
        """
        content = await request.body()
        media = request.headers.get("content-type", "application/json").partition(";")[0].strip().lower()
        if media == "application/json" or media.endswith("+json"):

            def read() -> Items:
                body = parse(content, Images, Sequences, Texts)
                if isinstance(body, Images):
                    return served.of_images(body.images)
                if isinstance(body, Sequences):
                    return served.of_series(body.sequences, body.times)
                assert isinstance(body, Texts)
                return served.of_texts(body.texts)

            return await self.aside(read, len(content))
        if media.startswith("image/") or media == "multipart/form-data":
            files = await uploads(request, content)
            # One by one, so that other requests get their turn and the rest is dropped once this request times out.
            prepared = [await self.aside(partial(served.prepared, file), limits.SMALL_BODY + 1) for file in files]
            return served.of_files(files, prepared)
        raise RefusedError(
            415, f"expected application/json, multipart/form-data or an image as content type, got {media[:100]!r}"
        )


def create_app(runs: Sequence[Served], batching: bool = True) -> tuple[FastAPI, Service]:
    """Return the application, without limits or access control, and its service; `guarded` adds those.

    Args:
        runs: at least one.
        batching: whether waiting requests are classified in one batch (default True).
    """
    service = Service(runs, batching)

    @asynccontextmanager
    async def lifespan(_: FastAPI) -> AsyncIterator[None]:
        yield
        service.close()

    app = FastAPI(
        title="unroll",
        version=importlib.metadata.version("unroll-rnn"),
        description=schema.ABOUT,
        docs_url=None,
        redoc_url=None,
        redirect_slashes=False,  # a redirect would go to the host that the client names
        lifespan=lifespan,
    )
    for kind in (RefusedError, DataError, InputError, HTTPException, Exception):
        app.add_exception_handler(kind, _error_response)
    _add_pages(app, service)
    _add_answers(app, service)
    return app, service


def _add_pages(app: FastAPI, service: Service) -> None:
    # Encoded once: slow readers of a page share the bytes.
    pages = {served.name: served.page.encode() for served in service.runs.values()}
    facts = [served.facts() for served in service.runs.values()]
    index = index_page(facts).encode()

    @app.get("/", response_class=HTMLResponse, responses=schema.NO_RUN, openapi_extra=schema.of_run())
    async def page(request: Request) -> HTMLResponse:
        """A run's page; with several runs and none named, the list of runs."""
        if len(service.runs) > 1 and "run" not in request.query_params:
            return HTMLResponse(index)
        return HTMLResponse(pages[service.of(request).name])

    @app.get("/runs", response_model=schema.Runs, responses=schema.GUARDED)
    async def runs() -> dict[str, Any]:
        """The runs: their names, inputs and classes."""
        return {"runs": facts}

    @app.get("/health", response_model=schema.Health, responses=schema.GUARDED)
    async def health() -> dict[str, Any]:
        """Whether the server is up; no token is needed."""
        return {"status": "ok", "seconds": round(time.monotonic() - service.started, 3)}

    @app.get("/metrics", response_class=PlainTextResponse, responses=schema.GUARDED)
    async def metrics() -> Response:
        """Metrics for Prometheus."""
        return Response(service.metrics.text(), media_type="text/plain; version=0.0.4; charset=utf-8")


def _add_answers(app: FastAPI, service: Service) -> None:
    @app.post(
        "/predict", response_model=schema.Predictions, responses=schema.REFUSED, openapi_extra=schema.of_predict()
    )
    async def predict(request: Request) -> JSONResponse:
        """Classify images, series or texts, prepared as the run's training data was.

        ?run=NAME chooses the run. Each item gets its own answer, or an error that says why it cannot be classified; if
        all items fail, the status is 422. If most items differ from the training data, warnings says how, on one line
        for all of them.
        """
        served = service.of(request)
        items = await service.items(request, served)
        probabilities = None if items.data is None else await service.batcher.ask(served, items.data)
        predictions = served.predictions(items, probabilities)
        if all("error" in prediction for prediction in predictions):
            errors = dict.fromkeys(prediction["error"] for prediction in predictions)
            raise RefusedError(422, "; ".join(errors)[:1_000])
        if items.unusual:
            service.metrics.warning(served.name)
        about = {"run": served.name, "calibrated": served.calibrated}
        return JSONResponse({**about, "warnings": [items.unusual] if items.unusual else [], "predictions": predictions})

    @app.post("/stream", response_model=schema.Streamed, responses=schema.REFUSED, openapi_extra=schema.of_stream())
    async def stream(request: Request) -> JSONResponse:
        """Read the next piece of a stream. Send the state of the previous answer with it; the server keeps none.

        If all steps so far differ from the training data, warnings says how, once they are as many as its shortest
        sequences have.
        """
        served = service.of(request)
        streams = service.streams.get(served.name)
        if streams is None:
            why = served.why_no_stream
            raise RefusedError(422, f"the run {served.name} is {why} and cannot stream: use /predict")
        content = await request.body()

        def read() -> tuple[Any, Any]:
            body = parse(content, Steps, Piece)
            assert isinstance(body, Steps | Piece)
            state = streams.unpack(body.state)
            return streams.of_text(body.text, state) if isinstance(body, Piece) else streams.of_steps(body.steps, state)

        x, state = await service.aside(read, len(content))
        probabilities, state = await service.batcher.run(lambda: streams.feed(x, state))
        answer, warnings = served.answer_of(probabilities.tolist()), streams.warnings(state)
        if warnings:
            service.metrics.warning(served.name)
        about = {"run": served.name, "read": state.read, "calibrated": served.calibrated, "warnings": warnings}
        return JSONResponse({**about, **answer, "state": streams.pack(state)})


def guarded(app: FastAPI, service: Service, token: str | None = None, hosts: Iterable[str] | None = LOOPBACK) -> Guard:
    """Return the application behind its guard, ready to run.

    Args:
        app: from `create_app`.
        service: from `create_app`.
        token: required of each request; None requires none (default None).
        hosts: host names that requests may use; None allows any (default: those of this machine).
    """
    return Guard(app, service.metrics, token, hosts)


async def _error_response(request: Request, error: Exception) -> JSONResponse:
    """Return an error as one line of JSON."""
    status, why = 500, "internal error: see the server's log"
    if isinstance(error, RefusedError):
        return JSONResponse({"error": error.why}, error.status, error.headers)
    if isinstance(error, HTTPException):
        status = error.status_code
        why = {
            404: f"no such path: {request.scope['path'][:100]}",
            405: f"method {request.method[:20]} is not allowed for this path",
        }.get(status, error.detail)
        return JSONResponse({"error": one_line(why)}, status, error.headers)
    if isinstance(error, InputError):
        status, why = 422, one_line(str(error))
    return JSONResponse({"error": why}, status)
