"""SequenceClassifier: stacked cells, a readout, a linear head."""

from __future__ import annotations

import math
from dataclasses import asdict
from typing import TYPE_CHECKING, Any

import torch
from torch import Tensor, nn

from ..cells import Cell, find_cell, has_recurrent_matrix
from ..config import ModelConfig
from ..config.signature import documented, takes
from ..errors import ConfigError, InputError
from ..scan import check_lengths
from ..scan.padding import clear_padding
from ..validation import check_whole
from .arguments import Arguments
from .embedding import word_vectors
from .front import Count, Front, Kept
from .fused_forward import Factors, answer_at_once
from .html import model_html
from .layers import Cells, Stage, States, check_features, detached, initial_states, scan_layer
from .readout import Held, Last, Readout, make_readout
from .stem import CHANNELS, Stem
from .stream import Stream
from .truncation import chunks

# Standard deviation of the initial token vectors, small so that training soon outweighs it for rare tokens too.
# Accuracy on SST-2: 75.6 % with 1 (torch's default), 81.2 % with 0.1, 80.0 % with 0.01.
EMBEDDING_STD = 0.1

ModelState = tuple[States, Held | None]  # the final states of the layers; the readout's accumulated values
StreamState = tuple[States, Held | None, Kept]  # and the time steps that are still needed


@documented(Arguments)
class SequenceClassifier(nn.Module):
    """Classify sequences: recurrent layers, a readout over time, a linear head.

    It keeps no state between calls, and takes any batch size and any number of time steps. A layer's outputs are those
    of its cell; ``residual`` adds the outputs of the layer below (K. He et al., arXiv:1512.03385; between recurrent
    layers Y. Wu et al., arXiv:1609.08144, section 3.1). ``layer_norm`` normalises them for the next layer or the
    readout, over all units at each time step, with learned scale and offset (J. L. Ba, J. R. Kiros and G. Hinton,
    arXiv:1607.06450). The residual path itself is never normalised, which keeps deep stacks trainable without a warm-up
    (R. Xiong et al., arXiv:2002.04745); nor is the input, which the data's own scaling handles.

    ``scaling`` "series" and "both", and ``frame``, change what the layers read of the time steps: see
    `unroll.models.front`; so does ``stem`` "conv", two convolutions, see `unroll.models.stem`. Whoever calls the model
    still gives it single time steps, scaled as in training.

    ``readout`` takes the last hidden state of each direction, or the mean, the maximum or a learned weighted mean over
    each sequence's steps; see `unroll.models.readout`. For an empty sequence it gives the initial state (last) or
    zeros. The results of two directions are concatenated.

    ``init`` "orthogonal" makes recurrent weights orthogonal, the others Xavier uniform, biases zero; a cell without
    `Cell.init_orthogonal` keeps its weights. "identity" calls `Cell.init_identity`; "torch" keeps the defaults of
    torch.nn. See also `Cell.set_forget_bias`, `Cell.dropped` (``recurrent_dropout``) and `unroll.scan.choose_backend`.

    {arguments}

    Raises:
        ConfigError: an argument is out of range, or the cell does not support it.

    Example:
        >>> model = SequenceClassifier(input_size=28, num_classes=10)
        >>> model(torch.zeros(64, 28, 28)).shape
        torch.Size([64, 10])
    """

    config: ModelConfig
    input_size: int
    num_classes: int

    if TYPE_CHECKING:  # nn.Module's returns Any

        def __call__(self, x: Tensor, lengths: Tensor | None = None, *, tbptt: int = 0) -> Tensor:
            """Return logits (batch, num_classes): `forward`, and the hooks around it."""
            ...

    @takes(Arguments)
    def __init__(self, arguments: Arguments) -> None:
        super().__init__()
        cell_class = find_cell(arguments.cell)
        self.config = config = arguments.config()
        self.input_size, self.num_classes = arguments.input_size, arguments.num_classes
        self.vocabulary_size: int = arguments.vocabulary_size
        self.ngram_buckets: int = arguments.ngram_buckets
        has_ngrams = self.ngram_buckets > 0
        # With n-grams rows 0 stay 0: unknown tokens have n-grams alone, and there is no n-gram 0.
        self.embedding: nn.Embedding | None = _vectors(self.vocabulary_size, self.input_size, 0 if has_ngrams else None)
        self.ngrams: nn.Embedding | None = _vectors(1 + self.ngram_buckets if has_ngrams else 0, self.input_size, 0)
        directions = 2 if config.bidirectional else 1
        width = config.hidden_size * directions
        self.front: Front = arguments.front(config)
        self.stem: Stem | None = _stem(config, self.front.output_size)
        sizes = [self.front.output_size if self.stem is None else CHANNELS] + [width] * (config.num_layers - 1)
        self.layers: nn.ModuleList = nn.ModuleList(
            nn.ModuleList(self._make_cell(cell_class, size) for _ in range(directions)) for size in sizes
        )
        self.norms: nn.ModuleList | None = (
            nn.ModuleList(nn.LayerNorm(width) for _ in sizes) if config.layer_norm else None
        )
        self.dropout: nn.Dropout = nn.Dropout(config.dropout)
        self.readout: Readout = make_readout(config.readout, width)
        self.head: nn.Linear = nn.Linear(width, self.num_classes)
        self._initialise()

    def _initialise(self) -> None:
        init, forget_bias = self.config.init, self.config.forget_bias
        for layer in self._cells():
            for cell in layer:
                if init == "orthogonal":
                    cell.init_orthogonal()
                elif init == "identity":
                    cell.init_identity()
                if forget_bias is not None:
                    cell.set_forget_bias(forget_bias)
        if init != "torch":
            for table in (self.embedding, self.ngrams):
                if table is not None:
                    nn.init.normal_(table.weight, std=EMBEDDING_STD)
            if self.embedding is not None and self.ngrams is not None:
                nn.init.zeros_(self.embedding.weight[0])
                nn.init.zeros_(self.ngrams.weight[0])
            nn.init.xavier_uniform_(self.head.weight)
            nn.init.zeros_(self.head.bias)

    def _make_cell(self, cell_class: type[Cell], input_size: int) -> Cell:
        if "nonlinearity" not in cell_class.options and self.config.nonlinearity != "tanh":
            raise ConfigError(f"cell {self.config.cell} has a fixed nonlinearity, got {self.config.nonlinearity!r}")
        options = {name: getattr(self.config, name) for name in cell_class.options}
        cell = cell_class(input_size, self.config.hidden_size, **options)
        if self.config.recurrent_dropout and not has_recurrent_matrix(cell):
            raise ConfigError(
                f"recurrent_dropout must be 0 for cell {self.config.cell}, got {self.config.recurrent_dropout}: "
                "it needs a recurrent matrix weight_hh (…, hidden), which this cell lacks"
            )
        cell.backend, cell.recurrent_dropout = self.config.backend, self.config.recurrent_dropout
        return cell

    def forward(self, x: Tensor, lengths: Tensor | None = None, *, tbptt: int = 0) -> Tensor:
        """Return logits (batch, num_classes).

        Args:
            x: (batch, time, input_size) of the parameters' dtype, scaled as in training; or (batch, time) tokens; with
                ``ngram_buckets`` (batch, time, 1 + n-grams), tokens, each with its n-grams, from 1 on, 0 behind the
                last.
            lengths: (batch,) int64 time steps, each from 0 to time; later steps have no effect (default None).
            tbptt: truncate backpropagation through time to this many steps; 0: no truncation (default 0). The sequences
                are read in chunks of this size (the first may be shorter), and no gradient passes between chunks. With
                readout "last" the memory does not grow with time; other readouts keep each chunk's graph.
                Source: R. J. Williams and J. Peng, Neural Computation 2 (1990), p. 490.

        Raises:
            InputError: ``x`` or ``lengths`` do not fit.
            ConfigError: ``tbptt`` is out of range, or the model is bidirectional.
        """
        if not tbptt and not torch.is_grad_enabled() and (logits := self.answer_at_once(x, lengths)) is not None:
            return logits
        x = self.vectors(x, lengths)
        if not tbptt:
            return self.of_vectors(x, lengths)
        check_whole("tbptt", tbptt, 0)
        check_truncation(self)
        read, counts = self._framed(x, lengths)
        hop = self.front.hop if self.stem is None else self.stem.stride
        return self._logits(self._read_truncated(read, counts, math.ceil(tbptt / hop)))

    def vectors(self, x: Tensor, lengths: Tensor | None = None) -> Tensor:
        """Return what a time step becomes before frames are made of it: a token's vector, or features scaled."""
        return self.front.scaled(self._embedded(x), lengths)

    def of_vectors(self, x: Tensor, lengths: Tensor | None = None) -> Tensor:
        """Return the logits of what `vectors` returned, (batch, time, features)."""
        read, counts = self._framed(x, lengths)
        if not (self._reads_as_given or torch.is_grad_enabled()):
            logits = self._at_once(read.contiguous(), counts)
            if logits is not None:
                return logits
        return self._logits(self._read_whole(read, counts))

    def _framed(
        self, x: Tensor, lengths: Tensor | None, keep: list[Stage] | None = None
    ) -> tuple[Tensor, Tensor | None]:
        """Return what the layers read of the results of `vectors`, (batch, steps, features), and the steps of each."""
        x, lengths = self.front.framed(x, lengths)
        if self.front.frame > 1:
            _note(keep, "frames", x, ("batch", "frames", "features"))
        return (x, lengths) if self.stem is None else self.stem(x, lengths, keep)

    def layer_steps(self, steps: Count) -> Count:
        """Return how many steps the layers read for a number of time steps, an int or (batch,) int64."""
        return self.front.count(steps) if self.stem is None else self.stem.count(steps)

    def affordable(self, time: int, work: float, fewest: int, most: int) -> int:
        """Return how many sequences of ``time`` steps are read with about ``work`` multiplications."""
        layers = self.layer_steps(time) * sum(parameter.numel() for parameter in self.layers.parameters())
        products = layers + (0 if self.stem is None else self.stem.products(time))
        return min(most, max(fewest, int(work / (1 + products))))

    @property
    def _reads_as_given(self) -> bool:
        """Whether the layers read the time steps as they are."""
        return self.front.is_identity and self.stem is None

    def answer_at_once(self, x: Tensor, lengths: Tensor | None = None, factors: Factors | None = None) -> Tensor | None:
        """Return the logits by one call of the kernels, or None if they cannot; see `unroll.models.fused_forward`.

        Arguments as in `forward`, ``x`` also raw: then ``factors`` scale it. A model with a front or a stem calls the
        kernels itself, with what these make of the time steps.
        """
        return self._at_once(x, lengths, factors) if self._reads_as_given else None

    def _at_once(self, x: Tensor, lengths: Tensor | None, factors: Factors | None = None) -> Tensor | None:
        modules: dict[str, Any] = self._modules  # attribute access of a submodule takes a microsecond
        layers = [[*layer._modules.values()] for layer in modules["layers"]._modules.values()]
        if type(self) is not SequenceClassifier or len(layers) != 1 or len(layers[0]) != 1:
            return None
        if type(modules["readout"]) is not Last or self.embedding is not None or self.norms is not None:
            return None
        return answer_at_once(layers[0][0], modules["head"], x, lengths, factors)

    def read_by(self, cells: Cells, x: Tensor, lengths: Tensor | None = None) -> Tensor:
        """Return logits with ``cells``, one per layer and direction, in place of its own; see `unroll.models.trace`."""
        x, lengths = self._framed(self.vectors(x, lengths), lengths)
        return self._logits(self._read(x, (initial_states(cells, x), None), lengths, cells))

    def stages(self, x: Tensor, lengths: Tensor | None = None) -> list[Stage]:
        """Return every tensor between the input and the logits, both included; arguments as in `forward`."""
        stages = [Stage("input", ("batch", "time", "n-grams")[: x.dim()], x)] if self.embedding is not None else []
        x = self._embedded(x)
        stages.append(Stage("embedding" if stages else "input", ("batch", "time", "features"), x))
        if self.front.scales:
            x = self.front.scaled(x, lengths)
            stages.append(Stage("scaled", ("batch", "time", "features"), x))
        x, lengths = self._framed(x, lengths, stages)
        _, held = state = self._read_whole(x, lengths, stages)
        assert held is not None
        vector = self.readout.result(held)
        stages.append(Stage(f"readout {self.config.readout}", ("batch", "hidden"), vector))
        return [*stages, Stage("logits", ("batch", "classes"), self._logits(state))]

    def stream(self, batch_size: int = 1) -> Stream:
        """Return a `Stream`, which reads sequences step by step with a state of fixed size.

        Args:
            batch_size: number of sequences to read in parallel (default 1).

        Raises:
            ConfigError: the model is bidirectional, so it would need each sequence's end first; or it has a stem.
        """
        check_whole("batch_size", batch_size, 1)
        if self.stem is not None:
            raise ConfigError("a model with stem conv cannot stream, as its convolutions look ahead; use forward()")
        if self.config.bidirectional:
            raise ConfigError(
                "a bidirectional model cannot stream, as it also reads each sequence from its end; use forward()"
            )

        def read(x: Tensor, state: StreamState, lengths: Tensor | None) -> tuple[Tensor, StreamState]:
            x = self._embedded(x, dropout=False)
            if len(x) != batch_size:
                raise InputError(f"x must be of the stream's {batch_size} sequences, got {len(x)}")
            return self._read_on(x, state, lengths)

        with torch.inference_mode():
            empty = self.head.weight.new_empty(batch_size, 0)
            state: StreamState = initial_states(self._cells(), empty), None, self.front.start(empty)
        return Stream(read, state, axes=self.step_axes, grows=self.front.scales)

    @property
    def step_axes(self) -> tuple[str, ...]:
        """The axes of one time step of a batch."""
        if self.embedding is None:
            return ("batch", "features")
        return ("batch",) if self.ngrams is None else ("batch", "n-grams")

    @property
    def is_causal(self) -> bool:
        """Whether a later time step leaves what was made of the earlier ones as it is."""
        return not self.config.bidirectional and not self.front.scales and self.stem is None

    def _read_on(self, x: Tensor, state: StreamState, lengths: Tensor | None) -> tuple[Tensor, StreamState]:
        """Return the logits after a chunk of a stream, as if its sequences ended there, and its state."""
        layers, held, kept = state
        front, cells = self.front, self._cells()
        if front.is_identity:
            read = self._read(x, (layers, held), lengths, cells, dropout=False)
            return self._logits(read), (*read, kept)
        check_lengths(lengths, *x.shape[:2])
        if front.scales:
            kept = steps, count = front.remember(kept, x, lengths)
            frames, counts = front(steps, count)
            return self._logits(self._read(frames, (layers, None), counts, cells, dropout=False)), (layers, None, kept)
        frames, complete, kept = front.resume(kept, x, lengths)
        read = self._read(frames, (layers, held), complete, cells, dropout=False)
        rest, has_one = front.rest(kept)
        return self._logits(self._read(rest, read, has_one, cells, dropout=False)), (*read, kept)

    def _repr_html_(self) -> str:
        return model_html(self, self.config)

    def _cells(self) -> Cells:
        return [list(layer) for layer in self.layers]  # type: ignore[call-overload]

    def _dropped_cells(self) -> Cells:
        return [[cell.dropped() for cell in layer] for layer in self.layers]  # type: ignore[attr-defined]

    def _logits(self, state: ModelState) -> Tensor:
        assert state[1] is not None
        logits: Tensor = self.head(self.readout.result(state[1]))
        return logits

    def _read_whole(self, x: Tensor, lengths: Tensor | None, keep: list[Stage] | None = None) -> ModelState:
        cells = self._dropped_cells()
        return self._read(x, (initial_states(cells, x), None), lengths, cells, keep=keep)

    def _read_truncated(self, x: Tensor, lengths: Tensor | None, steps: int) -> ModelState:
        check_lengths(lengths, *x.shape[:2])
        cells = self._dropped_cells()
        state: ModelState = initial_states(cells, x), None
        for chunk in chunks(x.shape[1], lengths, steps, last=self.config.readout == "last"):
            with torch.set_grad_enabled(torch.is_grad_enabled() and chunk.is_read_out):
                layers, held = self._read(x[:, chunk.start : chunk.stop], state, chunk.lengths, cells)
            state = detached(layers), held if chunk.is_read_out else state[1]
        return state

    def _read(
        self,
        x: Tensor,
        state: ModelState,
        lengths: Tensor | None,
        cells: Cells,
        *,
        dropout: bool = True,
        keep: list[Stage] | None = None,
    ) -> ModelState:
        """Return the state of layers and readout after ``x``, given their state before it.

        Args:
            x: (batch, time, input_size), a whole sequence or its next chunk.
            state: before the chunk.
            lengths: (batch,) int64 steps of the chunk that belong to each sequence, or None where all do.
            cells: the layers' own, or those that `Cell.dropped` made of them.
            dropout: False leaves out dropout between layers in training mode too.
            keep: every intermediate tensor is appended to it.
        """
        layers, held = state
        norms, last = self.norms, len(cells) - 1
        seen, after = x, []
        outputs = ends = x
        for number, layer in enumerate(cells):
            if number and dropout:
                seen = self.dropout(seen)
            last_only = number == last and keep is None and self.config.readout == "last"
            below = outputs, ends
            seen, ends, states = scan_layer(layer, seen, layers[number], lengths, last_only)
            after.append(states)
            _note(keep, f"layer {number + 1}", seen)
            if number and self.config.residual:
                ends = ends + below[1]
                seen = seen if last_only else seen + below[0]
                _note(keep, f"residual {number + 1}", seen)
            outputs = seen
            if norms is not None and not last_only:
                seen = norms[number](seen)
                seen = seen if lengths is None else clear_padding(seen, lengths)
                _note(keep, f"norm {number + 1}", seen)
        if norms is not None:
            ends = norms[-1](ends)
        return tuple(after), self.readout.add(held, seen, ends, lengths)

    def _embedded(self, x: Tensor, dropout: bool = True) -> Tensor:
        """Return the input of the layers, (batch, time, input_size)."""
        if self.embedding is None:
            check_features(x, self.input_size, self.head.weight.dtype)
            return x
        vectors = self.token_vectors(x)
        return self._dropped_vectors(vectors) if dropout and self.training else vectors

    def _dropped_vectors(self, vectors: Tensor) -> Tensor:
        """Return token vectors (batch, time, size), some whole ones and some elements of the others 0."""
        if share := self.config.token_dropout:
            kept = nn.functional.dropout(vectors.new_ones(*vectors.shape[:2], 1), share)
            vectors = vectors * kept
        return nn.functional.dropout(vectors, self.config.embedding_dropout)

    def token_vectors(self, x: Tensor) -> Tensor:
        """Return the vectors of tokens, (batch, time, input_size), without dropout.

        Raises:
            InputError: ``x`` does not fit.
        """
        assert self.embedding is not None
        axes = 2 if self.ngrams is None else 3
        if not isinstance(x, Tensor) or x.dim() != axes or x.dtype not in (torch.int32, torch.int64):
            got = f"{x.dtype} of shape {tuple(x.shape)}" if isinstance(x, Tensor) else type(x).__name__
            expected = "(batch, time)" if axes == 2 else "with their n-grams (batch, time, 1 + n-grams)"
            has_ngrams = axes == 2 and isinstance(x, Tensor) and x.dim() == 3
            hint = "; for words with n-grams give the model the data's ngram_buckets" if has_ngrams else ""
            raise InputError(f"x must be tokens {expected}, int64 or int32, got {got}{hint}")
        if self.ngrams is None:
            _check_numbers("tokens", x, self.vocabulary_size)
            vectors: Tensor = self.embedding(x)
            return vectors
        _check_numbers("tokens", x[..., :1], self.vocabulary_size)
        _check_numbers("n-grams", x[..., 1:], 1 + self.ngram_buckets)
        return word_vectors(x, self.embedding.weight, self.ngrams.weight, self.embedding.sparse)


def build(
    config: ModelConfig,
    input_size: int,
    num_classes: int,
    vocabulary_size: int = 0,
    mask_size: int = 0,
    ngram_buckets: int = 0,
    *,
    cell: type[Cell] | None = None,
) -> SequenceClassifier:
    """Return a new model, with weights from torch's global generator.

    Args:
        config: its settings.
        input_size: features per time step of the data; unused for texts.
        num_classes: of the data.
        vocabulary_size: number of tokens; 0 if time steps are features (default 0).
        mask_size: how many features, the last ones, say what is missing (default 0).
        ngram_buckets: number of vectors that n-grams of tokens share (default 0).
        cell: the class itself (default None: the one that ``config`` names).
    """
    settings = asdict(config) | ({} if cell is None else {"cell": cell})
    embedding_size = settings.pop("embedding_size")
    size = embedding_size if vocabulary_size else input_size
    settings |= {"vocabulary_size": vocabulary_size, "mask_size": mask_size, "ngram_buckets": ngram_buckets}
    return SequenceClassifier(size, num_classes, **settings)


def _stem(config: ModelConfig, features: int) -> Stem | None:
    if config.stem == "none":
        return None
    assert isinstance(config.stem_stride, int)
    return Stem(features, config.stem_stride)


def _vectors(number: int, size: int, padding: int | None) -> nn.Embedding | None:
    return nn.Embedding(number, size, padding_idx=padding) if number else None


def check_truncation(model: nn.Module) -> None:
    """Raise `ConfigError` unless ``model`` supports ``tbptt``."""
    if not isinstance(model, SequenceClassifier):
        raise ConfigError(f"tbptt must be 0 for {type(model).__name__}, as only a SequenceClassifier reads in chunks")
    if model.config.bidirectional:
        raise ConfigError("tbptt must be 0 for a bidirectional model, as it also reads each sequence from its end")


def _check_numbers(what: str, x: Tensor, size: int) -> None:
    """Raise `InputError` unless all of ``x``, where they can be seen, are from 0 to ``size`` - 1."""
    if x.numel() and not torch.compiler.is_compiling() and not 0 <= int(x.min()) <= int(x.max()) < size:
        raise InputError(f"{what} must be from 0 to {size - 1}, got {int(x.min())} to {int(x.max())}")


def _note(
    keep: list[Stage] | None, name: str, values: Tensor, axes: tuple[str, ...] = ("batch", "time", "hidden")
) -> None:
    if keep is not None:
        keep.append(Stage(name, axes, values))
