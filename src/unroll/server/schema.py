"""The OpenAPI schema of requests and responses."""

from __future__ import annotations

from typing import Any

from pydantic import BaseModel, Field

from .bodies import Body, Images, Piece, Sequences, Steps, Texts

ABOUT = (
    'Recurrent sequence classifiers, served by unroll. Errors are one line: {"error": "expected …, got …: what to do"}.'
)
BINARY = {"schema": {"type": "string", "format": "binary"}}
IMAGES = ("image/png", "image/jpeg", "image/gif", "image/bmp", "image/webp", "image/tiff")


class Error(BaseModel):
    """Why a request was refused, in one line."""

    error: str


class Costs(BaseModel):
    """What wrong answers cost."""

    false_negative: float
    false_positive: float


class Point(BaseModel):
    """When a run answers which class."""

    positive: str | None = Field(description="of two classes, the one that the threshold is for")
    threshold: float | None = Field(
        description="the positive class is answered where its probability is at least this, the other class elsewhere"
    )
    reject: float | None = Field(
        description="the answer is unsure where the class to be answered has a lower probability"
    )
    chosen: str = Field(description="how the threshold was chosen")
    counted: str = Field(description="what it was chosen by: sequences, windows or recordings")
    costs: Costs | None = Field(description="by which it was chosen")


class Facts(BaseModel):
    """A served run."""

    name: str
    kind: str = Field(description="images, texts or series")
    item: str = Field(description="an item, in words")
    classes: list[str]
    features: list[str] = Field(description="their names, if the data names them")
    cell: str
    streams: bool = Field(description="whether it accepts /stream")
    accuracy: float | None = Field(description="on the test set, a fraction")
    calibrated: bool = Field(description="whether its probabilities are calibrated, on sequences held out of training")
    operating_point: Point | None = Field(description="what decides the class; null: it is the most probable one")


class Runs(BaseModel):
    """The served runs."""

    runs: list[Facts]


class Health(BaseModel):
    """The server is up."""

    status: str
    seconds: float = Field(description="since the server started")


class Window(BaseModel):
    """The answer for a window of a series."""

    start: int = Field(description="the time step of the series that it begins with, from 0, as the run reads them")
    label: str = Field(alias="class", description="the most probable class")
    probability: float
    probabilities: dict[str, float]


class Prediction(BaseModel):
    """An item's class, or why it could not be classified."""

    file: str | None = None
    label: str | None = Field(
        default=None,
        alias="class",
        description="the most probable class, or the one that the run's operating point decides on; null if unsure",
    )
    probability: float | None = Field(default=None, description="of that class")
    unsure: bool | None = Field(
        default=None, description="whether the answer is not probable enough; of a run that rejects some"
    )
    probabilities: dict[str, float] | None = Field(default=None, description="of every class")
    preparation: list[str] | None = Field(default=None, description="the steps that prepared an image")
    windows: list[Window] | None = Field(
        default=None, description="of a run that reads windows: of each its answer, of which this one is the mean"
    )
    error: str | None = None


class Predictions(BaseModel):
    """A prediction for each item, in order."""

    run: str
    calibrated: bool = Field(description="whether the probabilities are calibrated")
    warnings: list[str] = Field(
        description="how most of the items, judged together, differ from the training data; empty if they do not"
    )
    predictions: list[Prediction]


class Streamed(BaseModel):
    """The prediction after all steps so far."""

    run: str
    read: int = Field(description="number of steps so far")
    label: str | None = Field(
        alias="class",
        description="the most probable class, or the one that the run's operating point decides on; null if unsure",
    )
    probability: float | None = Field(description="of that class; null if unsure")
    unsure: bool | None = Field(
        default=None, description="whether the answer is not probable enough; of a run that rejects some"
    )
    probabilities: dict[str, float] = Field(description="of every class, as if the sequence ended here")
    calibrated: bool = Field(description="whether the probabilities are calibrated")
    warnings: list[str] = Field(
        description="how all steps so far differ from the training data; empty if they do not, or are too few to tell"
    )
    state: str = Field(description="send it with the next piece")


def _refusals(*statuses: int) -> dict[int | str, dict[str, Any]]:
    content = {"application/json": {"schema": Error.model_json_schema()}}
    return {status: {"description": MEANING[status], "content": content} for status in statuses}


MEANING = {
    400: "The body is broken, or several runs are named",
    401: "The token is missing or wrong",
    403: "The request comes from another site's page",
    404: "No run has this name",
    408: "The body did not arrive in time",
    413: "The body is too large",
    415: "The content type is not supported",
    421: "The host name is not allowed",
    422: "The input does not fit the run",
    500: "Internal error; see the server's log",
    503: "The server is busy",
    504: "The request took too long",
}
REFUSED = _refusals(*MEANING)
GUARDED = _refusals(*(set(MEANING) - {403, 404, 415, 422}))  # of any request
NO_RUN = GUARDED | _refusals(404)


def of_run() -> dict[str, Any]:
    """Return the query parameter that names a run."""
    about = "the run's name (default: the first run)"
    return {
        "parameters": [
            {"name": "run", "in": "query", "required": False, "description": about, "schema": {"type": "string"}}
        ]
    }


def of_predict() -> dict[str, Any]:
    """Return the parameters and body of /predict."""
    form = {
        "type": "object",
        "properties": {"file": {"type": "array", "items": BINARY["schema"]}},
        "required": ["file"],
    }
    content = {"application/json": _one_of(Images, Sequences, Texts), "multipart/form-data": {"schema": form}}
    return of_run() | {"requestBody": {"required": True, "content": content | dict.fromkeys(IMAGES, BINARY)}}


def of_stream() -> dict[str, Any]:
    """Return the parameters and body of /stream."""
    return of_run() | {"requestBody": {"required": True, "content": {"application/json": _one_of(Steps, Piece)}}}


def _one_of(*kinds: type[Body]) -> dict[str, Any]:
    return {"schema": {"oneOf": [kind.model_json_schema() for kind in kinds]}}
