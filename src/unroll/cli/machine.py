"""Where all this runs: info."""

from __future__ import annotations

from ..interrupt import immediate_interrupt
from .app import Json, app
from .outcome import print_json


@app.command
def info(*, json: Json = False) -> int:
    """Show versions, devices and scan backends, and why each is used or not.

    Example: unroll info

    Parameters
    ----------
    json
        Print one JSON object.
    """
    with immediate_interrupt():
        from ..machine import describe
        from ..terminal import Screen, print_facts

    if json:
        print_json(describe())
    else:
        print_facts(Screen(), describe())
    return 0
