"""What the server's own schema allows, and what it does not, tried at random."""

from __future__ import annotations

from typing import Any

import hypothesis
import pytest

import fuzz
import unroll
from served import client, error_of, made, plain
from unroll.server import Served, create_app, guarded


def refusal_in_a_line(_: Any, response: Any, __: Any) -> None:
    """Whether what is not answered is refused in one line of words."""
    if response.status_code >= 400:
        error_of(response)


def operations(served: Served) -> list[Any]:
    import schemathesis  # takes seconds

    app, service = create_app([served])
    schema = schemathesis.openapi.from_asgi("/openapi.json", guarded(app, service, hosts=None))
    return [found.ok() for found in schema.get_all_operations()]


@pytest.mark.parametrize("kind", ["images", "series"])
@pytest.mark.hypothesis
@pytest.mark.slow
def test_nothing_that_is_sent_breaks_it(digits: Served, kind: str) -> None:
    import schemathesis
    from schemathesis.checks import not_a_server_error
    from schemathesis.specs.openapi import checks

    expected = [
        not_a_server_error, checks.status_code_conformance, checks.content_type_conformance,
        checks.response_schema_conformance, refusal_in_a_line,
    ]  # fmt: skip
    cases = fuzz.EXAMPLES or 10
    series = made(unroll.SequenceClassifier(2, 2, hidden_size=3), plain())
    served, tried = digits if kind == "images" else series, 0
    for operation in operations(served):
        for mode in schemathesis.GenerationMode:

            @hypothesis.given(case=operation.as_strategy(generation_mode=mode))
            @hypothesis.settings(
                fuzz.settings(10),
                max_examples=cases if operation.method == "post" else 3,
                phases=[hypothesis.Phase.generate],
            )
            def attempt(case: Any) -> None:
                nonlocal tried
                case.call_and_validate(checks=expected)
                tried += 1

            try:
                attempt()
            except hypothesis.errors.Unsatisfiable:  # an operation that takes nothing has nothing to get wrong
                assert operation.method == "get"
    assert tried >= 4 * cases
    with client(served) as asked:
        assert asked.get("/health").status_code == 200
