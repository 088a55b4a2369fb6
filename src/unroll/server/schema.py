"""What OpenAPI says of requests and answers."""

from __future__ import annotations

from typing import Any

from pydantic import BaseModel, Field

from .bodies import Body, Images, Piece, Sequences, Steps, Texts

ABOUT = (
    'Recurrent sequence classifiers, served by unroll. Errors are one line: {"error": what was expected, got, to do}.'
)
BINARY = {"schema": {"type": "string", "format": "binary"}}
IMAGES = ("image/png", "image/jpeg", "image/gif", "image/bmp", "image/webp", "image/tiff")


class Error(BaseModel):
    """Why a request was refused, in one line."""

    error: str


class Facts(BaseModel):
    """A run that is served."""

    name: str
    kind: str = Field(description="images, texts or series")
    item: str = Field(description="what one item is, in words")
    classes: list[str]
    features: list[str] = Field(description="their names, where the data has such")
    cell: str
    streams: bool = Field(description="whether /stream can read for it")
    accuracy: float | None = Field(description="on its test part, a fraction")
    calibrated: bool = Field(description="whether its probabilities are, on sequences held out of its training")


class Runs(BaseModel):
    """What is served."""

    runs: list[Facts]


class Health(BaseModel):
    """That the server is up."""

    status: str
    seconds: float = Field(description="since it started")


class Prediction(BaseModel):
    """Of one item: its class, or why its file could not be read."""

    file: str | None = None
    label: str | None = Field(default=None, alias="class", description="the most probable one")
    probability: float | None = Field(default=None, description="of that class")
    probabilities: dict[str, float] | None = Field(default=None, description="of every class")
    preparation: list[str] | None = Field(default=None, description="what was done to an image")
    error: str | None = None


class Predictions(BaseModel):
    """Of each item, in their order."""

    run: str
    calibrated: bool = Field(description="whether the probabilities are")
    warnings: list[str] = Field(description="in which ways the items are unlike the training data; empty if in none")
    predictions: list[Prediction]


class Streamed(BaseModel):
    """What the model says of all steps so far."""

    run: str
    read: int = Field(description="steps so far")
    label: str = Field(alias="class", description="the most probable one")
    probability: float
    probabilities: dict[str, float] = Field(description="of every class, as if the sequence ended here")
    calibrated: bool = Field(description="whether the probabilities are")
    state: str = Field(description="to send with the next piece")


def _refusals(*statuses: int) -> dict[int | str, dict[str, Any]]:
    content = {"application/json": {"schema": Error.model_json_schema()}}
    return {status: {"description": MEANING[status], "content": content} for status in statuses}


MEANING = {
    400: "The body is broken",
    401: "A token is missing",
    403: "A page from elsewhere asks",
    404: "No such run",
    408: "The body did not come in time",
    413: "The body is too large",
    415: "A content type that is not read",
    421: "The server is not called by that name",
    422: "It does not fit the run",
    500: "The server failed; its log says more",
    503: "Too much is being worked on",
    504: "It took too long",
}
REFUSED = _refusals(*MEANING)
GUARDED = _refusals(*(set(MEANING) - {403, 404, 415, 422}))  # of any request
NO_RUN = GUARDED | _refusals(404)


def of_run() -> dict[str, Any]:
    """Return the parameter by which a request names a run."""
    about = "which of the runs; the first that is served if left out"
    return {
        "parameters": [
            {"name": "run", "in": "query", "required": False, "description": about, "schema": {"type": "string"}}
        ]
    }


def of_predict() -> dict[str, Any]:
    """Return what /predict reads."""
    form = {
        "type": "object",
        "properties": {"file": {"type": "array", "items": BINARY["schema"]}},
        "required": ["file"],
    }
    content = {"application/json": _one_of(Images, Sequences, Texts), "multipart/form-data": {"schema": form}}
    return of_run() | {"requestBody": {"required": True, "content": content | dict.fromkeys(IMAGES, BINARY)}}


def of_stream() -> dict[str, Any]:
    """Return what /stream reads."""
    return of_run() | {"requestBody": {"required": True, "content": {"application/json": _one_of(Steps, Piece)}}}


def _one_of(*kinds: type[Body]) -> dict[str, Any]:
    return {"schema": {"oneOf": [kind.model_json_schema() for kind in kinds]}}
