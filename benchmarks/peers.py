"""Run other libraries, each in its own process: an epoch of training the tutorial's model, or its predictions.

``python -m benchmarks.peers NAME FOLDER`` is such a process. It reads FOLDER/data.npz and prints its versions as a line
of JSON. For each line of stdin, it does the named task ("epoch", "many" or "one") the given number of times and prints
the seconds; in between it waits and uses no CPU time. It imports nothing of unroll, so that a peer may be in another
environment: `Peer` takes the path of its Python.

All train the same model (28 steps of 28 pixels, 150 tanh units, 10 classes) with batches of 64 and Adam at 0.001,
shuffled in each epoch, from the same weights; Keras' layers have one bias where torch's have two.
"""

from __future__ import annotations

import contextlib
import importlib.metadata
import json
import os
import subprocess
import sys
import tempfile
import time
from collections.abc import Callable, Mapping
from pathlib import Path
from typing import Any, TextIO

import numpy as np

BATCH, RATE, BETAS, EPSILON = 64, 1e-3, (0.9, 0.999), 1e-8
Arrays = dict[str, np.ndarray]
Work = dict[str, Callable[[], Any]]
Loader = Callable[[Arrays], tuple[Work, Arrays, list[str]]]  # tasks by name, results, packages


class MissingError(Exception):
    """A peer is not installed, or does not start."""


class Peer:
    """A peer's process.

    Args:
        name: a key of the module's peers.
        arrays: what it reads: x (N, 28, 28) uint8, y (N,), test_x, and w_ih, w_hh, b_ih, b_hh, w_out, b_out.
        python: the Python that has the peer (default: this one).
        module: whose main calls `serve` with the peers (default: this one).

    Raises:
        MissingError: it is not installed there.
    """

    def __init__(
        self, name: str, arrays: Arrays, python: str = sys.executable, module: str = "benchmarks.peers"
    ) -> None:
        self.name = name
        self._folder = tempfile.TemporaryDirectory()
        np.savez(f"{self._folder.name}/data.npz", **arrays)
        self._log = Path(self._folder.name, "log")
        root = Path(__file__).parent.parent
        environment = {**os.environ, "TF_CPP_MIN_LOG_LEVEL": "3", "PYTHONWARNINGS": "ignore"}
        command = [python, "-m", module, name, self._folder.name]
        with self._log.open("w") as log:
            self._process = subprocess.Popen(
                command,
                cwd=root,
                env=environment,
                text=True,
                stdin=subprocess.PIPE,
                stdout=subprocess.PIPE,
                stderr=log,
            )
        try:
            self.versions: dict[str, str] = self._hear()
        except MissingError:
            self.close()
            raise
        self.results = dict(np.load(f"{self._folder.name}/results.npz"))

    def _hear(self) -> Any:
        assert self._process.stdout is not None
        line = self._process.stdout.readline()
        if not line:
            self._process.wait()
            reasons = self._log.read_text().strip().splitlines() or ["it ended without a word"]
            raise MissingError(f"{self.name}: {reasons[-1]}")
        return json.loads(line)

    def run(self, what: str, count: int = 1) -> float:
        """Do ``what``, such as "epoch", ``count`` times and return the seconds it took."""
        assert self._process.stdin is not None
        print(json.dumps([what, count]), file=self._process.stdin, flush=True)
        return float(self._hear()["seconds"])

    def close(self) -> None:
        """End the process."""
        for stream in (self._process.stdin, self._process.stdout):
            if stream is not None:
                stream.close()
        self._process.terminate()
        self._process.wait()
        self._folder.cleanup()


def keras(arrays: Arrays, backend: str) -> tuple[Work, Arrays, list[str]]:
    """Keras 3: SimpleRNN and Dense, compiled, `fit` on resident data."""
    os.environ["KERAS_BACKEND"] = backend
    import keras

    cell, head = keras.layers.SimpleRNN(150), keras.layers.Dense(10)
    model = keras.Sequential([keras.Input((28, 28)), cell, head])
    cell.set_weights([arrays["w_ih"].T, arrays["w_hh"].T, arrays["b_ih"] + arrays["b_hh"]])
    head.set_weights([arrays["w_out"].T, arrays["b_out"]])
    loss = keras.losses.SparseCategoricalCrossentropy(from_logits=True)
    model.compile(keras.optimizers.Adam(RATE, *BETAS, epsilon=EPSILON), loss)
    x, y = arrays["x"].astype(np.float32) / 255, arrays["y"]
    logits = np.asarray(model.predict(arrays["test_x"][:1000].astype(np.float32) / 255, verbose=0))
    packages = ["keras", "tensorflow" if backend == "tensorflow" else "jax"]
    return {"epoch": lambda: model.fit(x, y, batch_size=BATCH, verbose=0)}, {"logits": logits}, packages


def jax(arrays: Arrays) -> tuple[Work, Arrays, list[str]]:
    """JAX: lax.scan over time, value_and_grad and Adam in one jitted step; data stays on the device as bytes."""
    import jax
    import jax.numpy as jnp

    names = ("w_ih", "w_hh", "b_ih", "b_hh", "w_out", "b_out")
    weights = {name: jnp.asarray(arrays[name]) for name in names}
    x, y = jnp.asarray(arrays["x"]), jnp.asarray(arrays["y"])

    def logits_of(w: Any, images: Any) -> Any:
        inputs = jnp.swapaxes(images, 0, 1).astype(jnp.float32) / 255
        start = jnp.zeros((images.shape[0], 150), jnp.float32)

        def step(h: Any, x_t: Any) -> Any:
            return jnp.tanh(x_t @ w["w_ih"].T + w["b_ih"] + h @ w["w_hh"].T + w["b_hh"]), None

        h, _ = jax.lax.scan(step, start, inputs)
        return h @ w["w_out"].T + w["b_out"]

    def loss_of(w: Any, images: Any, labels: Any) -> Any:
        chances = jax.nn.log_softmax(logits_of(w, images))
        return -jnp.take_along_axis(chances, labels[:, None], axis=1).mean()

    @jax.jit
    def train(state: Any, index: Any) -> Any:
        w, first, second, t = state
        loss, grads = jax.value_and_grad(loss_of)(w, x[index], y[index])
        t, tree = t + 1, jax.tree_util.tree_map
        first = tree(lambda m, g: BETAS[0] * m + (1 - BETAS[0]) * g, first, grads)
        second = tree(lambda v, g: BETAS[1] * v + (1 - BETAS[1]) * g * g, second, grads)
        rate, scale = RATE / (1 - BETAS[0] ** t), 1 - BETAS[1] ** t
        w = tree(lambda p, m, v: p - rate * m / (jnp.sqrt(v / scale) + EPSILON), w, first, second)
        return (w, first, second, t), loss

    zeros = jax.tree_util.tree_map(jnp.zeros_like, weights)
    state = [(weights, zeros, zeros, jnp.zeros(()))]
    random = np.random.default_rng(0)

    def epoch() -> None:
        order = random.permutation(len(x))
        for at in range(0, len(x), BATCH):
            state[0], loss = train(state[0], jnp.asarray(order[at : at + BATCH]))
        loss.block_until_ready()

    logits = np.asarray(jax.jit(logits_of)(weights, arrays["test_x"][:1000]))
    return {"epoch": epoch}, {"logits": logits}, ["jax"]


def onnxruntime(arrays: Arrays) -> tuple[Work, Arrays, list[str]]:
    """ONNX Runtime: torch.nn.RNN with these weights, exported by torch.onnx; its own number of threads."""
    import onnxruntime
    import torch
    from torch import nn

    class Classifier(nn.Module):
        def __init__(self) -> None:
            super().__init__()
            self.rnn, self.head = nn.RNN(28, 150, batch_first=True), nn.Linear(150, 10)

        def forward(self, x: torch.Tensor) -> torch.Tensor:
            _, h_n = self.rnn(x)
            logits: torch.Tensor = self.head(h_n[0])
            return logits

    model = Classifier().eval()
    names = ("w_ih", "w_hh", "b_ih", "b_hh", "w_out", "b_out")
    with torch.no_grad():
        for parameter, name in zip(model.parameters(), names, strict=True):
            parameter.copy_(torch.from_numpy(arrays[name]))
    with tempfile.TemporaryDirectory() as folder:
        path = f"{folder}/model.onnx"
        batch = torch.export.Dim("batch", min=1)
        torch.onnx.export(
            model,
            (torch.rand(2, 28, 28),),
            path,
            input_names=["x"],
            dynamic_shapes=({0: batch},),
            dynamo=True,
            verbose=False,
        )
        session = onnxruntime.InferenceSession(path, providers=["CPUExecutionProvider"])
    images = arrays["test_x"]

    def many() -> None:
        for at in range(0, len(images), 1000):
            session.run(None, {"x": images[at : at + 1000].astype(np.float32) / 255})[0].argmax(axis=1)

    first = images[:1].astype(np.float32) / 255
    logits = session.run(None, {"x": images[:1000].astype(np.float32) / 255})[0]
    work: Work = {"many": many, "one": lambda: session.run(None, {"x": first})}
    return work, {"logits": logits}, ["onnxruntime", "onnx", "onnxscript", "torch"]


PEERS: dict[str, Loader] = {
    "Keras, JAX": lambda arrays: keras(arrays, "jax"),
    "Keras, TensorFlow": lambda arrays: keras(arrays, "tensorflow"),
    "JAX, scan and jit": jax,
    "ONNX Runtime": onnxruntime,
}


def serve(name: str, folder: str, peers: Mapping[str, Loader] = PEERS) -> None:
    """Be the process of a peer, as the module says."""
    answers = sys.stdout
    with contextlib.redirect_stdout(sys.stderr):  # output of libraries must not mix with the answers
        _answer(peers[name], folder, answers)


def _answer(load: Loader, folder: str, answers: TextIO) -> None:
    work, results, packages = load(dict(np.load(f"{folder}/data.npz")))
    np.savez(f"{folder}/results.npz", **results)
    versions = {package: _version(package) for package in packages}
    print(json.dumps(versions), file=answers, flush=True)
    for line in sys.stdin:
        what, count = json.loads(line)
        start = time.perf_counter()
        for _ in range(count):
            work[what]()
        print(json.dumps({"seconds": time.perf_counter() - start}), file=answers, flush=True)


def _version(package: str) -> str:
    for name in (package, f"{package}-cpu"):
        try:
            return importlib.metadata.version(name)
        except importlib.metadata.PackageNotFoundError:
            continue
    return "unknown"


if __name__ == "__main__":
    serve(*sys.argv[1:])
