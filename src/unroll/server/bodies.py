"""Request bodies: JSON, parsed strictly, or image files."""

from __future__ import annotations

import json
from typing import Annotated, Any, ClassVar

import pydantic_core
from pydantic import BaseModel, ConfigDict, Discriminator, FailFast, Field, Tag, ValidationError
from starlette.datastructures import FormData, UploadFile
from starlette.formparsers import MultiPartException, MultiPartParser
from starlette.requests import Request

from ..data.formats.image_file import Upload
from ..formatting import shown
from . import limits
from .guard import RefusedError


class _FailFast(FailFast):
    __hash__ = object.__hash__  # as the members of a union need one


# Each list fails at its first error: a body can hold millions, and pydantic would collect them all.
Pixel = Annotated[float, Field(ge=0, le=255)]
Row = Annotated[list[Pixel], _FailFast()]
Colour = Annotated[list[Pixel], _FailFast(), Field(min_length=3, max_length=3)]
ColourRow = Annotated[list[Colour], _FailFast()]

GREY, COLOUR = "in grey", "in colour"  # the tags of the union, which the places of errors name too


def _channels(image: Any) -> str:
    at = image
    for _ in range(2):
        at = at[0] if isinstance(at, list) and at else None
    return COLOUR if isinstance(at, list) and at else GREY


Image = Annotated[
    Annotated[list[Row], _FailFast(), Tag(GREY)] | Annotated[list[ColourRow], _FailFast(), Tag(COLOUR)],
    Discriminator(_channels),
]
Text = Annotated[str, Field(max_length=limits.CHARACTERS)]
Step = Annotated[list[float | None], FailFast()]
Times = Annotated[list[float], _FailFast(), Field(max_length=limits.STEPS)]
Series = Annotated[list[Step], FailFast(), Field(min_length=1, max_length=limits.STEPS)]


class Body(BaseModel):
    """Abstract. Values are read as they are written: no type is coerced."""

    model_config: ClassVar[ConfigDict] = ConfigDict(extra="forbid", strict=True, allow_inf_nan=False)


class Images(Body):
    """Images as pixel values, like those of the training set: rows of grey pixels, or of red, green and blue ones."""

    images: Annotated[list[Image], FailFast(), Field(min_length=1, max_length=limits.ITEMS)]


class Sequences(Body):
    """Series in the units of the raw data; null marks a missing value. Of a run that resamples, also their times."""

    sequences: Annotated[list[Series], FailFast(), Field(min_length=1, max_length=limits.ITEMS)]
    times: Annotated[list[Times], _FailFast(), Field(max_length=limits.ITEMS)] | None = None


class Texts(Body):
    """Texts."""

    texts: Annotated[list[Text], FailFast(), Field(min_length=1, max_length=limits.ITEMS)]


class Steps(Body):
    """The next time steps of a stream."""

    state: str | None = None
    steps: Series


class Piece(Body):
    """The next piece of a text that is streamed."""

    state: str | None = None
    text: Text


def parse(content: bytes, *kinds: type[Body]) -> Body:
    """Return the JSON body as the one of ``kinds`` whose required key it holds.

    Raises:
        RefusedError: it is none of them; names the place and the reason.
    """
    try:
        value = pydantic_core.from_json(content, allow_inf_nan=False)
    except ValueError as error:
        raise RefusedError(400, f"the body is not JSON: {error}") from None
    of_key = {_key(kind): kind for kind in kinds}
    keys = [key for key in of_key if isinstance(value, dict) and key in value]
    if len(keys) != 1:
        expected = " or ".join(f"{{{key!r}: …}}" for key in of_key)
        got = f"the keys {', '.join(map(str, value))[:100] or '(none)'}" if isinstance(value, dict) else _kind(value)
        raise RefusedError(422, f"expected one of {expected}, got {got}")
    try:
        body = of_key[keys[0]].model_validate(value)
    except ValidationError as error:
        first = error.errors(include_url=False)[0]
        where = ".".join(str(part) for part in first["loc"] if part not in (GREY, COLOUR))
        raise RefusedError(422, f"{where[:200]}: {first['msg']}") from None
    if content.count(b":") > len(value):  # else no key occurs twice
        json.loads(content, object_pairs_hook=_check_once, parse_int=str, parse_float=str, strict=False)
    return body


def _check_once(pairs: list[tuple[str, Any]]) -> None:
    keys = [key for key, _ in pairs]
    for key in keys:
        if keys.count(key) > 1:
            raise RefusedError(422, f"the key {key!r} is given {keys.count(key)} times: expected it once")


def _key(kind: type[Body]) -> str:
    return next(name for name, field in kind.model_fields.items() if field.is_required())


def _kind(value: Any) -> str:
    return {list: "an array", str: "a string", type(None): "null"}.get(type(value), type(value).__name__)


async def uploads(request: Request, content: bytes) -> list[Upload]:
    """Return the image files of a request: one as its whole body, or any number as a form.

    Raises:
        RefusedError: there are no files, or the form is broken.
    """
    media = request.headers.get("content-type", "").partition(";")[0].strip().lower()
    if media.startswith("image/"):
        if not content:
            raise RefusedError(422, "expected an image file as the body, got an empty body")
        return [_upload("image", content)]
    form = await _form(request)
    try:
        files = [value for _, value in form.multi_items() if isinstance(value, UploadFile)]
        if not files:
            raise RefusedError(422, "expected image files in the form, got none: curl -F file=@digit.png")
        return [_upload(file.filename or "image", await file.read()) for file in files]
    finally:
        await form.close()


async def _form(request: Request) -> FormData:
    parser = MultiPartParser(request.headers, request.stream(), max_files=limits.ITEMS, max_fields=limits.ITEMS)
    parser.spool_max_size = limits.BODY_BYTES + 1  # never spool to disk
    try:
        return await parser.parse()
    except MultiPartException as error:
        raise RefusedError(400, f"the form is broken: {error.message}") from None
    except ValueError as error:  # from Python's codecs, by the charset that the client named
        raise RefusedError(400, f"the form is broken: {error}") from None


def _upload(name: str, content: bytes) -> Upload:
    return Upload(shown(name, 100), content, limits.FORMATS, limits.PIXELS)
