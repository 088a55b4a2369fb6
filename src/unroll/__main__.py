"""The command ``unroll``, also ``python -m unroll``."""

from __future__ import annotations

import sys

from .interrupt import immediate_interrupt


def main() -> int:
    """Run the command line; return the exit status."""
    with immediate_interrupt():
        from .cli import main as run_command_line
    return run_command_line()


if __name__ == "__main__":
    sys.exit(main())
