"""How raw examples become model input: recorded with the data, saved with a run, applied again at prediction."""

from __future__ import annotations

from collections.abc import Iterator
from dataclasses import asdict, dataclass, replace
from typing import Any, Literal, get_args

import numpy as np
import torch
from torch import Tensor

from ..config import MissingName, Read
from ..errors import ConfigError, DataError
from ..formatting import is_printable, listed, quoted, shown
from ..validation import check_choice, check_types, check_whole, is_number
from .columns import Columns
from .time_steps import TimeSteps
from .tokenizer import Tokenizer
from .usual import Usual

# Seed of the permutation behind read="permuted": the one of the uRNN papers' permuted MNIST (full-capacity uRNN,
# Wisdom et al. 2016, and its successors). RandomState's stream is frozen (NumPy's NEP 19), so it never changes.
PERMUTATION_SEED = 92916
Kind = Literal["images", "series", "texts"]
SINGLE = 3.5e38  # what values of float32, and so their means and deviations, are at most
LEAST = 5e-324  # number above 0
DataScaling = Literal["unit", "training"]
MOST_PIXELS = 100_000_000  # of an image; Pillow reads no larger ones


CONSTANT = 1e-7  # of its mean: a feature that deviates by less does so by rounding alone


def valid_steps(x: Tensor, lengths: Tensor | None) -> Tensor:
    """Return the time steps of ``x`` (N, time, features) that are not padding, as (steps, features).

    Args:
        x: of any dtype.
        lengths: (N,) int64 time steps, or None where all are full.
    """
    if lengths is None:
        return x.flatten(0, 1)
    return x[torch.arange(x.shape[1], device=x.device) < lengths.unsqueeze(1)]


def _columns(values: Tensor) -> Iterator[np.ndarray]:
    """Yield each feature of ``values`` (steps, features) as float64: in half the time of torch for all at once."""
    return (column.astype(np.float64) for column in values.cpu().numpy().T)


def moments(values: Tensor, per_feature: bool) -> tuple[Tensor, Tensor]:
    """Return mean and deviation as float64, exactly: of all values, or (features,) of each feature.

    Args:
        values: (steps, features) uint8 or float32, at least one step.
        per_feature: whether features are told apart.
    """
    if per_feature:
        pairs = [(column.mean(), column.std()) for column in _columns(values)]
        mean, std = torch.tensor(np.array(pairs).T).unbind()
    elif values.dtype == torch.uint8:  # a histogram needs no float copy of the whole set
        counts = torch.bincount(values.flatten(), minlength=256).double()
        grades = torch.arange(256, dtype=torch.float64)
        mean = (counts * grades).sum() / counts.sum()
        std = ((counts * (grades - mean) ** 2).sum() / counts.sum()).sqrt()
    else:
        std, mean = torch.std_mean(values.double(), correction=0)
    return mean, std


def moments_of_each(x: Tensor, steps: Tensor) -> tuple[Tensor, Tensor]:
    """Return mean and deviation of each sequence over its first time steps, (N, features) float64; of no step 0.

    Args:
        x: (N, time, features) of any dtype.
        steps: (N,) int64, how many of them count.
    """
    valid = (torch.arange(x.shape[1], device=x.device) < steps.unsqueeze(1)).unsqueeze(2)
    counts = steps.clamp(min=1).unsqueeze(1)
    means = torch.where(valid, x.double(), 0.0).sum(dim=1) / counts
    squares = torch.where(valid, x.double() - means.unsqueeze(1), 0.0).square().sum(dim=1) / counts
    return means, squares.sqrt()


@dataclass(frozen=True)
class Scaling:
    """Model input is ``(x - mean) / std``, in the units of the raw data.

    Attributes:
        mean: subtracted; one number, or one for each feature
        std: divided by; likewise; above 0
    """

    mean: float | tuple[float, ...]
    std: float | tuple[float, ...]

    @classmethod
    def of(cls, name: DataScaling, x: Tensor) -> Scaling:
        """Choose a scaling by name for raw training data.

        Args:
            name: "unit" maps uint8 to [0, 1]. "training" gives mean 0 and deviation 1: over all values of uint8 ``x``,
                which are of one kind, as pixels are; for each feature of float32 ``x``, which may have different units.
            x: (N, time, features) or (steps, features) uint8 or float32, without padding.

        Raises:
            ConfigError: ``name`` is neither.
            DataError: "unit" is asked for data that is not uint8.
        """
        check_choice("scaling", name, get_args(DataScaling))
        if name == "unit":
            if x.dtype != torch.uint8:
                raise DataError(
                    f"scaling 'unit', as in recipe 'tutorial', expects uint8 values, got {x.dtype}; use 'training'"
                )
            return cls(0.0, 255.0)
        per_feature = x.dtype != torch.uint8
        mean, std = moments(x.flatten(0, -2), per_feature)
        std = torch.where(std > CONSTANT * mean.abs(), std, 1.0)
        if per_feature:
            return cls(tuple(mean.tolist()), tuple(std.tolist()))
        return cls(mean.item(), std.item())

    def with_unscaled(self, features: int) -> Scaling:
        """Return this scaling of each feature, followed by features that are not scaled."""
        assert isinstance(self.mean, tuple)
        assert isinstance(self.std, tuple)
        return Scaling(self.mean + (0.0,) * features, self.std + (1.0,) * features)

    def of_first(self, features: int) -> Scaling:
        """Return the scaling of the first features."""
        mean, std = (value[:features] if isinstance(value, tuple) else value for value in (self.mean, self.std))
        return Scaling(mean, std)

    def factors(self, features: int) -> tuple[Tensor, Tensor]:
        """Return means and reciprocals of deviations, each (features,) float32 on the CPU."""
        mean, std = (
            torch.tensor(value, dtype=torch.float64, device="cpu").expand(features) for value in (self.mean, self.std)
        )
        return mean.float().contiguous(), (1 / std).float()

    def apply(self, x: Tensor) -> Tensor:
        """Return ``x`` of any dtype, scaled, as float32 of the same shape."""
        x = x.to(torch.float32, copy=True)
        if isinstance(self.mean, tuple) or isinstance(self.std, tuple):
            return x.sub_(x.new_tensor(self.mean)).div_(x.new_tensor(self.std))
        return x.sub_(self.mean).div_(self.std)


@dataclass(frozen=True)
class Missing:
    """What stands for values that are missing: the feature's last value before, at the beginning its mean in training.

    With ``mask`` each feature is joined by one that is 1 where the value was missing and 0 where it was there, so that
    a model can learn from the gaps themselves.

    Attributes:
        means: of each feature of the training part, over the values that are there
        mask: whether such features are added, after all others

    Source:
        Z. C. Lipton, D. C. Kale, R. Wetzel, Modeling Missing Data in Clinical Time Series with RNNs, MLHC 2016, § 4
    """

    means: tuple[float, ...]
    mask: bool

    @classmethod
    def of(cls, name: MissingName, x: Tensor, missing: Tensor | None) -> Missing:
        """Learn from raw training data.

        Args:
            name: "impute" or "mask".
            x: (steps, features) float32, without padding.
            missing: (steps, features) bool, or None where nothing is missing.
        """
        if missing is None:
            return cls(tuple(float(column.mean()) for column in _columns(x)), name == "mask")
        counts = (~missing).sum(dim=0).clamp(min=1)  # a feature without any value gets 0
        return cls(tuple((x.double().masked_fill(missing, 0).sum(dim=0) / counts).tolist()), name == "mask")

    def fill(self, x: Tensor, missing: Tensor | None, starts: Tensor | None = None) -> Tensor:
        """Return ``x`` complete, (N, time, features) or with ``mask`` (N, time, 2 × features) float32.

        Args:
            x: (N, time, features) float32, or with ``starts`` (steps, features); what stands where a value is missing
                does not matter.
            missing: of that shape, bool, or None where nothing is missing.
            starts: (N,) int64, which step each sequence begins with; ascending (default None: all are side by side).
        """
        if missing is not None:
            x = self._carried(x, missing, starts)
        if not self.mask:
            return x
        return torch.cat([x, torch.zeros_like(x) if missing is None else missing.to(x.dtype)], dim=-1)

    def _carried(self, x: Tensor, missing: Tensor, starts: Tensor | None) -> Tensor:
        """Return ``x`` with the last value before in place of each that is missing, feature by feature."""
        if starts is None:
            starts = torch.arange(len(x), device=x.device) * x.shape[1]
        steps, gone = x.flatten(0, -2).clone(), missing.flatten(0, -2)
        numbers = torch.arange(len(steps), device=x.device)
        first = starts[torch.searchsorted(starts, numbers, right=True) - 1]
        for feature in gone.any(dim=0).nonzero()[:, 0].tolist():
            column = steps[:, feature]
            last = torch.where(gone[:, feature], -1, numbers).cummax(dim=0).values
            steps[:, feature] = torch.where(last < first, self.means[feature], column[last.clamp(min=0)])
        return steps.view_as(x)


@dataclass(frozen=True)
class Framing:
    """How drawings on paper were brought into the training images.

    Attributes:
        border: mean brightness, 0 to 255, of the outermost pixels of the training images; tells ink from paper
        box: longer side, in pixels, of the area that the ink of a foreign image is scaled into
        centre: what comes to the middle of the image: the ink's centre of mass, or the middle of its bounding box
    """

    border: float
    box: int
    centre: Literal["mass", "box"]


@dataclass(frozen=True)
class ImageFormat:
    """The images a model reads, as sequences.

    Attributes:
        height: pixels
        width: pixels
        read: order in which the pixels become time steps
        framing: how a foreign image is brought into this form; None resizes it as a whole
        channels: numbers of each pixel: 1, its brightness, or 3, red, green and blue, which are neighbouring features
    """

    height: int
    width: int
    read: Read
    framing: Framing | None = None
    channels: int = 1

    @property
    def features(self) -> int:
        """Numbers in a time step."""
        return self.channels * {"rows": self.width, "columns": self.height}.get(self.read, 1)

    @property
    def shape(self) -> tuple[int, ...]:
        """Of one image: (height, width), or in colour (height, width, 3)."""
        return (self.height, self.width) if self.channels == 1 else (self.height, self.width, self.channels)

    def sequences(self, images: Tensor) -> Tensor:
        """Arrange ``images`` (N, height, width), or (N, height, width, 3), as sequences (N, time, features).

        rows: time steps are rows from top to bottom; columns: columns from left to right; pixels: single pixels, row by
        row; permuted: single pixels in one fixed random order, ``numpy.random.RandomState(92916).permutation``. In
        colour each pixel is red, green, blue: a row of 28 pixels is 84 features, the first three of its first pixel.
        """
        if self.read == "rows":
            return images.flatten(2)
        if self.read == "columns":
            return images.transpose(1, 2).flatten(2).contiguous()
        pixels = images.reshape(len(images), -1, self.channels)
        if self.read == "pixels":
            return pixels
        return pixels[:, self._order()].contiguous()

    def images(self, sequences: Tensor) -> Tensor:
        """Undo `sequences`: return (N, height, width), or (N, height, width, 3), from (N, time, features)."""
        if self.read == "columns":
            columns = sequences.reshape(len(sequences), self.width, self.height, *self.shape[2:])
            return columns.transpose(1, 2).contiguous()
        if self.read == "permuted":
            sequences = sequences[:, self._order().argsort()]
        return sequences.reshape(len(sequences), *self.shape)

    def check(self) -> None:
        """Raise a `ConfigError` unless sizes, order and framing are possible."""
        for name, size in (("height", self.height), ("width", self.width)):
            check_whole(name, size, 1)
        if self.height * self.width > MOST_PIXELS:
            sides = f"{shown(f'{self.width:,}')}×{shown(f'{self.height:,}')}"
            raise ConfigError(f"images have at most {MOST_PIXELS:,} pixels, got {sides}")
        check_choice("read", self.read, get_args(Read))
        if self.channels not in (1, 3) or (self.channels == 3 and self.framing is not None):
            only = "" if self.framing is None else ", only the first with a framing"
            raise ConfigError(f"channels must be 1 or 3{only}, got {shown(self.channels)}")
        if self.framing is not None:
            check_types(self.framing)
            if not 1 <= self.framing.box <= min(self.height, self.width):
                raise ConfigError(f"box must be from 1 to the smaller side of an image, got {self.framing.box}")

    def _order(self) -> Tensor:
        return torch.from_numpy(np.random.RandomState(PERMUTATION_SEED).permutation(self.height * self.width))


def in_channels(images: Tensor, channels: int) -> Tensor:
    """Return images of grey or colour in colour or grey: brightness as Pillow weighs colours, or repeated three times.

    Args:
        images: (N, height, width) or (N, height, width, 3) uint8.
        channels: 1 or 3.

    Source: ITU-R Recommendation BT.601-2, in whole numbers.
    """
    if images.dim() == 3:
        return images if channels == 1 else images.unsqueeze(3).repeat(1, 1, 1, 3)
    if channels == 3:
        return images
    weights = torch.tensor([19595, 38470, 7471], dtype=torch.int32, device=images.device)
    return torch.stack([((image.int() * weights).sum(dim=2) + 32768 >> 16).to(torch.uint8) for image in images])


@dataclass(frozen=True)
class Preparation:
    """All that stands between a raw example and the model, and what the model's classes are called.

    Attributes:
        classes: names, in the order of the logits
        scaling: of the values
        image: how images are read; None if the examples are not images
        missing: how missing values are filled in; None where none can be missing, as in bytes
        features: their names, where the data has such; those that ``missing`` adds are not among them
        tokenizer: how texts become token ids; None if the examples are not texts, or before a vocabulary is learned
        columns: the roles of the columns of the training data's table; None if it is not a table
        offset: of each feature, taken away from the raw values in float64 before they become float32, which could not
            tell them apart; all else is in units of what is left. Empty where nothing has to be
        usual: what the training data is like; None until a run is made of it
        time_steps: which of them are read, where the raw data has others; None for all as they stand
    """

    classes: tuple[str, ...]
    scaling: Scaling
    image: ImageFormat | None = None
    missing: Missing | None = None
    features: tuple[str, ...] = ()
    tokenizer: Tokenizer | None = None
    columns: Columns | None = None
    offset: tuple[float, ...] = ()
    usual: Usual | None = None
    time_steps: TimeSteps | None = None

    @property
    def kind(self) -> Kind:
        """What the examples are; see `SequenceData.kind` for texts without a tokenizer."""
        if self.image is not None:
            return "images"
        return "series" if self.tokenizer is None else "texts"

    @property
    def mask_size(self) -> int:
        """How many features, the last ones, say what is missing."""
        return len(self.missing.means) if self.missing is not None and self.missing.mask else 0

    @property
    def unit(self) -> str:
        """What a time step is: "row", "column", "pixel", "token", or of series "time step"."""
        if self.image is not None:
            return {"rows": "row", "columns": "column"}.get(self.image.read, "pixel")
        return "token" if self.kind == "texts" else "time step"

    def to_dict(self) -> dict[str, Any]:
        """Return plain JSON types; of the tokenizer only the sizes, it has a file of its own."""
        plain = asdict(replace(self, tokenizer=None)) | {"classes": list(self.classes), "features": list(self.features)}
        del plain["tokenizer"]
        tokens, buckets = (None, 0) if self.tokenizer is None else (self.tokenizer.size, self.tokenizer.ngram_buckets)
        return plain | {"tokens": tokens, "ngram_buckets": buckets}

    @classmethod
    def from_dict(cls, saved: dict[str, Any], tokenizer: Tokenizer | None = None) -> Preparation:
        """Rebuild from `to_dict`, and from the tokenizer that it leaves out."""
        image = saved["image"]
        if image:
            framing = image["framing"]
            image = ImageFormat(**image | {"framing": framing and Framing(**framing)})
        scaling = {key: tuple(value) if isinstance(value, list) else value for key, value in saved["scaling"].items()}
        missing = saved.get("missing")  # runs from before there were series lack it, and the names
        if missing:
            missing = Missing(tuple(missing["means"]), missing["mask"])
        features = tuple(saved.get("features", ()))
        columns, offset = saved.get("columns"), tuple(saved.get("offset", ()))
        columns = columns and Columns.from_dict(columns)
        usual = saved.get("usual") and Usual.from_dict(saved["usual"])
        steps = saved.get("time_steps") and TimeSteps.from_dict(saved["time_steps"])
        classes, scales = tuple(saved["classes"]), Scaling(**scaling)
        made = cls(classes, scales, image, missing, features, tokenizer, columns, offset, usual, steps)
        made.check()
        # Whole numbers, as JSON may have them, can be too large for torch's own.
        exact = Scaling(_floats(made.scaling.mean), _floats(made.scaling.std))
        missing = missing and replace(missing, means=_floats(missing.means))
        return replace(made, scaling=exact, missing=missing, offset=_floats(offset))

    def check(self) -> None:
        """Raise `DataError` unless each part is what its documentation says: a file may hold anything."""
        for what, names in (("class", self.classes), ("feature", self.features)):
            bad = [name for name in names if not isinstance(name, str) or not is_printable(name)]
            if bad:
                raise DataError(f"a {what} needs a printable name, got {quoted(bad[0])}")
            if len(set(names)) < len(names):
                raise DataError(f"each {what} needs a name of its own, got {listed(names)}")
        mean, std = self.scaling.mean, self.scaling.std
        _check_numbers("scaling", (mean,) if not isinstance(mean, tuple) else mean)
        _check_numbers("scaling", (std,) if not isinstance(std, tuple) else std, least=LEAST)
        if isinstance(mean, tuple) != isinstance(std, tuple) or (
            isinstance(mean, tuple) and isinstance(std, tuple) and len(mean) != len(std)
        ):
            raise DataError("scaling needs as many means as deviations")
        if self.missing is not None:
            _check_numbers("missing", self.missing.means)
            if not isinstance(self.missing.mask, bool):
                raise DataError(f"mask must be true or false, got {quoted(self.missing.mask)}")
        if self.image is not None:
            self.image.check()
        _check_numbers("offset", self.offset)
        if self.offset and isinstance(mean, tuple) and len(self.offset) > len(mean):
            raise DataError(f"offset has {len(self.offset)} numbers for {len(mean)} features")


def _floats(values: Any) -> Any:
    return tuple(map(float, values)) if isinstance(values, tuple) else float(values)


def _check_numbers(what: str, values: tuple[object, ...], least: float = -SINGLE) -> None:
    for value in values:
        if not is_number(value, least, SINGLE):
            raise DataError(f"{what} needs numbers{' above 0' if least > 0 else ''}, got {quoted(value)}")
