"""How many random examples a test tries: the same few in ``make test``, many new ones in ``make fuzz``.

A test of this kind is marked ``hypothesis``, which ``@given`` does, or ``fuzz``. What ``make fuzz`` finds becomes an
``@example``, or a named test.
"""

from __future__ import annotations

import os

import hypothesis

EXAMPLES = int(os.environ.get("UNROLL_FUZZ", 0))  # for each test; 0: the tests' own numbers, derandomised


def settings(few: int) -> hypothesis.settings:
    """Return the settings of a test that tries ``few`` examples in ``make test``.

    Neither the clock nor a folder of earlier examples has a say in them.
    """
    return hypothesis.settings(
        max_examples=EXAMPLES or few, derandomize=not EXAMPLES, database=None, deadline=None,
        suppress_health_check=list(hypothesis.HealthCheck), print_blob=True,
    )  # fmt: skip
