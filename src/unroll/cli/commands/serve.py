"""Runs behind HTTP: serve."""

from __future__ import annotations

from pathlib import Path
from typing import Annotated

from cyclopts import Parameter

from ...interrupt import immediate_interrupt
from ..app import app, import_user_cell, whole_number
from ..outcome import say


@app.command
def serve(
    runs: Annotated[list[Path], Parameter(negative="")],
    /,
    *,
    port: Annotated[int, Parameter(converter=whole_number)] = 8000,
    host: str | None = None,
    token: Annotated[str | None, Parameter(env_var="UNROLL_TOKEN")] = None,
    batching: bool = True,
    log: Annotated[bool, Parameter(negative="")] = False,
    data_dir: Path | None = None,
    cell: str | None = None,
) -> int:
    """Serve runs over HTTP: the page on which one watches a model read, answers, streams.

    Example: unroll serve runs/first

    Example: unroll serve runs/first runs/second --port 8080

    It listens on this machine alone. / is the page, POST /predict classifies images, series or texts, POST /stream
    reads a sequence bit by bit, /runs says what is served, /openapi.json how to ask, /health and /metrics are for who
    watches over it. Ctrl-C, or SIGTERM, stops it once everything that was begun is answered; a second one at once.

    Parameters
    ----------
    runs
        Folders of finished runs. Requests name one with ?run=NAME, its folder's name; else the first is meant.
    port
        To listen on; 0 takes any that is free.
    host
        Address to listen on, if others than this machine are to ask; 0.0.0.0 is all of this machine's. Default
        127.0.0.1.
    token
        What requests must show, as Authorization: Bearer TOKEN, or in a browser as the password. Best set as
        UNROLL_TOKEN: others on this machine can read a command line.
    batching
        Let the model read all requests that wait at once.
    log
        A line on stderr for each request.
    data_dir
        Folder to look for the runs' data in first: the pages bring samples from it.
    cell
        module:Class of a cell of your own that a run was trained with; it is imported.
    """
    with immediate_interrupt():
        from ... import server as serving
        from ...errors import ConfigError
        from ..views.terminal import Screen, print_facts

    if not runs:
        raise ConfigError("serve needs a run: unroll serve runs/first")
    if token is not None and not token.strip():
        raise ConfigError("token must have a character at least, got none: leave it out to ask for none")
    import_user_cell(cell)
    address = serving.HOST if host is None else host
    sock = serving.listen(address, port)
    with sock:
        served = serving.load_served(runs, data_dir)
        shown, at = sock.getsockname()[:2]
        url = f"http://{f'[{shown}]' if ':' in shown else shown}:{at}"
        if not serving.is_loopback(shown):
            who = "whoever knows the token" if token else "anybody, as there is no token (set UNROLL_TOKEN),"
            say(f"{who} on the networks of {shown} can use the model and take its weights and samples, unencrypted")
        names = ", ".join(f"{one.name} ({one.kind})" for one in served)
        facts = {"serving": names, "at": url, "schema": f"{url}/openapi.json", "stop": "Ctrl-C"}
        serving.serve(served, sock, token, batching, log, ready=lambda: print_facts(Screen(), facts))
    return 0
