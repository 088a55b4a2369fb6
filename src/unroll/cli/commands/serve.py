"""The command serve."""

from __future__ import annotations

from pathlib import Path
from typing import Annotated

from cyclopts import Parameter

from ...interrupt import immediate_interrupt
from ...validation import check_run
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
    """Serve runs over HTTP: their pages, predictions and streams.

    Example: unroll serve runs/first

    Example: unroll serve runs/first runs/second --port 8080

    By default only this machine can reach the server. / is the page; POST /predict classifies images, series or texts;
    POST /stream reads a sequence piece by piece; /runs lists the runs; /openapi.json describes the requests; /health
    and /metrics are for monitoring. Ctrl-C or SIGTERM stops the server after open requests; a second one at once.

    Parameters
    ----------
    runs
        Folders of finished runs. Requests choose one with ?run=NAME, its folder's name; default the first.
    port
        Port to listen on; 0 takes any free port.
    host
        Address to listen on, so that other machines can reach the server; 0.0.0.0 is all addresses of this machine.
        Default 127.0.0.1.
    token
        Token that requests must send as Authorization: Bearer TOKEN, or in a browser as the password. Prefer to set
        UNROLL_TOKEN: others on this machine can read command lines.
    batching
        Classify waiting requests in one batch.
    log
        Log each request on stderr.
    data_dir
        Folder to search first for the runs' data: the pages show samples from it.
    cell
        module:Class of your own cell, if a run was trained with one; it is imported.
    """
    check_run(*runs)
    with immediate_interrupt():
        from ... import server as serving
        from ...errors import ConfigError
        from ..views.terminal import Screen, print_facts

    if not runs:
        raise ConfigError("serve needs a run: unroll serve runs/first")
    if token is not None and not token.strip():
        raise ConfigError("token must not be empty: leave it out to require none")
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
        names = ", ".join(f"{run.name} ({run.kind})" for run in served)
        facts = {"serving": names, "at": url, "schema": f"{url}/openapi.json", "stop": "Ctrl-C"}
        serving.serve(served, sock, token, batching, log, ready=lambda: print_facts(Screen(), facts))
    return 0
