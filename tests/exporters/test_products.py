"""Linears that read the same rows, by one product: what each makes of them alone."""

from __future__ import annotations

import numpy as np
import pytest
import torch

from dsa_edge.exporters.decoder import Linear, QuantizedWeight, quantize
from dsa_edge.exporters.decoder._linear import products
from dsa_edge.kernels import torch_ops

ROWS = torch.from_numpy(np.random.default_rng(0).standard_normal((1, 2, 3, 64)).astype(np.float32))


def linear(n_out: int, bits: int | None, bias: bool = False, weak: int = 0) -> Linear:
    random = np.random.default_rng(n_out)
    dense = random.standard_normal((n_out, 64)).astype(np.float32)
    weight: QuantizedWeight | torch.Tensor = torch.from_numpy(dense)
    if bits is not None:
        weight = quantize(dense, bits, weak=weak)
    added = torch.from_numpy(random.standard_normal(n_out).astype(np.float32)) if bias else None
    return Linear(weight, added)


CASES = {
    "4 bits": (1, [linear(n, 4) for n in (24, 8, 8)]),
    "8 bits": (1, [linear(n, 8) for n in (24, 8)]),
    "biases of some": (1, [linear(24, 4, bias=True), linear(8, 4)]),
    "mixed bits": (2, [linear(24, 4), linear(8, 8)]),
    "weak columns": (2, [linear(24, 4, weak=32), linear(8, 4, weak=32)]),
    "floats": (0, [linear(24, None), linear(8, None)]),
}


@pytest.mark.parametrize("name", CASES)
def test_together_they_make_what_each_makes(name: str, monkeypatch: pytest.MonkeyPatch) -> None:
    count, linears = CASES[name]
    calls = []
    whole = torch_ops.quantized_linear

    def counted(*inputs: object) -> torch.Tensor:
        calls.append(inputs)
        made: torch.Tensor = whole(*inputs)
        return made

    monkeypatch.setattr(torch_ops, "quantized_linear", counted)
    together = products(linears, ROWS)
    assert len(calls) == count
    monkeypatch.undo()
    for made, each in zip(together, linears, strict=True):
        # One product sums in another order than several do.
        torch.testing.assert_close(made, each(ROWS), rtol=1e-5, atol=1e-5)
