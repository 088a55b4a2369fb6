"""What the server's own schema allows, and what it does not, tried at random.

``UNROLL_FUZZ=2000`` tries so many requests, right ones and wrong ones each, of each operation that reads something;
without it a few.
"""

from __future__ import annotations

import os
from typing import Any

import hypothesis
import pytest
import schemathesis
from schemathesis.checks import not_a_server_error
from schemathesis.specs.openapi.checks import (
    content_type_conformance,
    response_schema_conformance,
    status_code_conformance,
)

import unroll
from served import client, error_of, made, plain
from unroll.serve import Served, create_app, guarded

CASES = int(os.environ.get("UNROLL_FUZZ", 75))


def refusal_in_a_line(_: Any, response: Any, __: Any) -> None:
    """Whether what is not answered is refused in one line of words."""
    if response.status_code >= 400:
        error_of(response)


CHECKS = [
    not_a_server_error, status_code_conformance, content_type_conformance, response_schema_conformance,
    refusal_in_a_line,
]  # fmt: skip


def operations(served: Served) -> list[Any]:
    app, service = create_app([served])
    schema = schemathesis.openapi.from_asgi("/openapi.json", guarded(app, service, hosts=None))
    return [found.ok() for found in schema.get_all_operations()]


@pytest.mark.parametrize("kind", ["images", "series"])
def test_nothing_that_is_sent_breaks_it(digits: Served, kind: str) -> None:
    series = made(unroll.SequenceClassifier(2, 2, hidden_size=3), plain())
    served, tried = digits if kind == "images" else series, 0
    for operation in operations(served):
        for mode in schemathesis.GenerationMode:

            @hypothesis.given(case=operation.as_strategy(generation_mode=mode))
            @hypothesis.settings(
                max_examples=CASES if operation.method == "post" else 10,
                deadline=None, database=None, derandomize=True, phases=[hypothesis.Phase.generate],
                suppress_health_check=list(hypothesis.HealthCheck),
            )  # fmt: skip
            def attempt(case: Any) -> None:
                nonlocal tried
                case.call_and_validate(checks=CHECKS)
                tried += 1

            try:
                attempt()
            except hypothesis.errors.Unsatisfiable:  # an operation that takes nothing has nothing to get wrong
                assert operation.method == "get"
    assert tried >= 4 * CASES
    with client(served) as asked:
        assert asked.get("/health").status_code == 200
    print(f"{tried:,} requests")
