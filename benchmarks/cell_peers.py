"""Run other libraries on a cell's training step, each in its own process: see peers.py, whose `Peer` starts this.

FOLDER/data.npz holds cell (a key of `STEPS`), threads, hidden, x (batch, time, input), and the cell's parameters by
name. The task is "step": the loss is the sum of the final output, and the gradients are those of all parameters.

A process of JAX is bound to as many processors as there are threads, because XLA has no other limit for all of its
pools. torchrecurrent takes torch's threads.
"""

from __future__ import annotations

import os
import sys
from collections.abc import Callable
from typing import Any

import numpy as np

from benchmarks.peers import Arrays, Work, serve

GIVEN = ("cell", "threads", "hidden", "x")
Weights = dict[str, Any]
State = tuple[Any, ...]


def jax(arrays: Arrays) -> tuple[Work, Arrays, list[str]]:
    """Scan over time by lax.scan, differentiated and jitted; each step is written as in the cell."""
    if not hasattr(os, "sched_setaffinity"):
        raise SystemExit("threads of JAX can only be limited on Linux")
    os.sched_setaffinity(0, sorted(os.sched_getaffinity(0))[: int(arrays["threads"])])  # before XLA counts processors
    import jax
    import jax.numpy as jnp

    parts, step = STEPS[str(arrays["cell"])]
    weights = {name: jnp.asarray(value) for name, value in arrays.items() if name not in GIVEN}
    x, hidden = jnp.asarray(arrays["x"]), int(arrays["hidden"])

    def final(w: Weights, x: Any) -> tuple[Any, Any]:
        start = (jnp.zeros((x.shape[0], hidden), x.dtype),) * parts
        state, _ = jax.lax.scan(lambda state, x_t: (step(w, x_t, *state), None), start, jnp.swapaxes(x, 0, 1))
        return state[0].sum(), state[0]

    train = jax.jit(jax.value_and_grad(final, has_aux=True))
    (_, output), gradients = train(weights, x)
    results = {"the final output": output, **{f"gradient of {name}": grad for name, grad in gradients.items()}}
    return (
        {"step": lambda: jax.block_until_ready(train(weights, x))},
        {name: np.asarray(result) for name, result in results.items()},
        ["jax", "jaxlib"],
    )


def linear(x: Any, weight: Any) -> Any:
    """Return the product, as torch lays it out."""
    return x @ weight.T


def leaky(w: Weights, x: Any, h: Any) -> State:
    """Leaky integrator: h' = (1 - α) h + α tanh(W x + U h + b)."""
    import jax

    alpha = jax.nn.sigmoid(w["rate"])
    return (
        (1 - alpha) * h + alpha * jax.numpy.tanh(linear(x, w["w.weight"]) + w["w.bias"] + linear(h, w["u.weight"])),
    )


def mgu(w: Weights, x: Any, h: Any) -> State:
    """Minimal gated unit: f on h before the product."""
    import jax
    from jax.numpy import split, tanh

    f_x, n_x = split(linear(x, w["weight_ih"]) + w["bias"], 2, axis=1)
    u_f, u_n = split(w["weight_hh"], 2)
    f = jax.nn.sigmoid(f_x + linear(h, u_f))
    return ((1 - f) * h + f * tanh(n_x + linear(f * h, u_n)),)


def janet(w: Weights, x: Any, h: Any) -> State:
    """Forget gate only: JANET, β = 1."""
    import jax
    from jax.numpy import split, tanh

    s, n = split(linear(x, w["weight_ih"]) + w["bias"] + linear(h, w["weight_hh"]), 2, axis=1)
    return (jax.nn.sigmoid(s) * h + (1 - jax.nn.sigmoid(s - 1.0)) * tanh(n),)


def ligru(w: Weights, x: Any, h: Any) -> State:
    """Light GRU: relu and one gate."""
    import jax
    from jax.numpy import split

    z, n = split(linear(x, w["weight_ih"]) + w["bias"] + linear(h, w["weight_hh"]), 2, axis=1)
    z = jax.nn.sigmoid(z)
    return (z * h + (1 - z) * jax.nn.relu(n),)


def cho_gru(w: Weights, x: Any, h: Any) -> State:
    """GRU of the first paper: r on h before the product."""
    import jax
    from jax.numpy import tanh

    def of_x(gate: str) -> Any:
        return linear(x, w[f"w_{gate}.weight"]) + w[f"w_{gate}.bias"]

    r = jax.nn.sigmoid(of_x("r") + linear(h, w["u_r.weight"]))
    z = jax.nn.sigmoid(of_x("z") + linear(h, w["u_z.weight"]))
    return (z * h + (1 - z) * tanh(of_x("n") + linear(r * h, w["u_n.weight"])),)


def peephole_lstm(w: Weights, x: Any, h: Any, c: Any) -> State:
    """LSTM with peepholes: i and f see c, o sees c'."""
    import jax
    from jax.numpy import split, tanh

    p_i, p_f, p_o = w["peephole"]
    i, f, g, o = split(linear(x, w["weight_ih"]) + w["bias"] + linear(h, w["weight_hh"]), 4, axis=1)
    i, f = jax.nn.sigmoid(i + p_i * c), jax.nn.sigmoid(f + p_f * c)
    c = f * c + i * tanh(g)
    return jax.nn.sigmoid(o + p_o * c) * tanh(c), c


def cornn(w: Weights, x: Any, y: Any, z: Any) -> State:
    """Coupled oscillators: Δt = 0.1, γ = ε = 1."""
    from jax.numpy import tanh

    drive = tanh(linear(y, w["w.weight"]) + linear(z, w["u.weight"]) + linear(x, w["v.weight"]) + w["v.bias"])
    z = z + 0.1 * (drive - y - z)
    return y + 0.1 * z, z


def lem(w: Weights, x: Any, y: Any, z: Any) -> State:
    """Long expressive memory: Δt = 1."""
    import jax
    from jax.numpy import split, tanh

    x_1, x_2, x_z, x_y = split(linear(x, w["v.weight"]) + w["v.bias"], 4, axis=1)
    y_1, y_2, y_z = split(linear(y, w["w.weight"]), 3, axis=1)
    a, a_bar = jax.nn.sigmoid(x_1 + y_1), jax.nn.sigmoid(x_2 + y_2)
    z = (1 - a) * z + a * tanh(x_z + y_z)
    return (1 - a_bar) * y + a_bar * tanh(x_y + linear(z, w["w_y.weight"])), z


# Parts of the state, and the step.
STEPS: dict[str, tuple[int, Callable[..., State]]] = {
    "Leaky": (1, leaky),
    "MGU": (1, mgu),
    "JANET": (1, janet),
    "LiGRU": (1, ligru),
    "ChoGRU": (1, cho_gru),
    "PeepholeLSTM": (2, peephole_lstm),
    "CoRNN": (2, cornn),
    "LEM": (2, lem),
}

# Of each cell that torchrecurrent has: its name there, and where its parameters stand among ours, stacked by rows. Its
# second biases stay 0. Its LEM reads z of the step before where the paper has z', so that its results differ.
NAMES: dict[str, tuple[str, dict[str, str]]] = {
    "MGU": ("MGU", {"weight_ih": "weight_ih", "weight_hh": "weight_hh", "bias_ih": "bias"}),
    "JANET": ("JANET", {"weight_ih": "weight_ih", "weight_hh": "weight_hh", "bias_ih": "bias"}),
    "LiGRU": ("LiGRU", {"weight_ih": "weight_ih", "weight_hh": "weight_hh", "bias_ih": "bias"}),
    "PeepholeLSTM": (
        "PeepholeLSTM",
        {"weight_ih": "weight_ih", "weight_hh": "weight_hh", "bias_ih": "bias", "weight_ph": "peephole"},
    ),
    "CoRNN": (
        "coRNN",
        {"weight_ih": "v.weight", "weight_hh": "w.weight", "weight_ch": "u.weight", "bias_ih": "v.bias"},
    ),
    "LEM": ("LEM", {"weight_ih": "v.weight", "weight_hh": "w.weight", "weight_ch": "w_y.weight", "bias_ih": "v.bias"}),
}


def torchrecurrent(arrays: Arrays) -> tuple[Work, Arrays, list[str]]:
    """Its layer of one cell, as users write it."""
    import torch
    import torchrecurrent

    cell = str(arrays["cell"])
    if cell not in NAMES:
        raise SystemExit(f"the package has no {cell}")
    torch.set_num_threads(int(arrays["threads"]))
    kind, names = NAMES[cell]
    x = torch.from_numpy(arrays["x"])
    layer = getattr(torchrecurrent, kind)(x.shape[2], int(arrays["hidden"]), batch_first=True)
    parameters = dict(layer.cells[0].named_parameters())
    with torch.no_grad():
        for theirs, ours in names.items():
            parameters[theirs].copy_(torch.from_numpy(arrays[ours]).view_as(parameters[theirs]))
    for name in ("beta", "alpha"):  # constants on paper, which it would train
        if name in parameters:
            parameters[name].requires_grad_(False)

    def train() -> torch.Tensor:
        layer.zero_grad()
        _, state = layer(x)
        output: torch.Tensor = (state if isinstance(state, torch.Tensor) else state[0])[0]
        torch.autograd.backward(output.sum())
        return output

    results = {"the final output": train().detach().numpy()}
    for theirs, ours in names.items():
        gradient = parameters[theirs].grad
        assert gradient is not None
        results[f"gradient of {ours}"] = gradient.numpy().reshape(arrays[ours].shape).copy()
    return {"step": train}, results, ["torchrecurrent", "torch"]


PEERS = {"torchrecurrent": torchrecurrent, "JAX, scan and jit": jax}


if __name__ == "__main__":
    serve(*sys.argv[1:], peers=PEERS)
