"""Drawing tokens, stopping, and the cache that grows while text is generated."""

from __future__ import annotations

from collections.abc import Sequence
from pathlib import Path

import numpy as np
import pytest
from stub import StubEngine

from dsa_edge.errors import EngineError, UsageError
from dsa_edge.runtime import Personalizer, Sampling
from dsa_edge.runtime._engine import Decoded, Floats, Halves, Ints, Prefix, Route
from dsa_edge.runtime._generate import GROW, generate_ids

SHARES = np.array([0.2, 0.5, 0.0999, 0.2001])
LOGITS = np.log(SHARES).astype(np.float32)
DRAWS = 4000


def drawn(sampling: Sampling, logits: Floats = LOGITS) -> Floats:
    """Share of each token in many draws."""
    random = np.random.default_rng(0)
    tokens = [sampling.draw(logits, random) for _ in range(DRAWS)]
    return np.bincount(tokens, minlength=len(logits)) / DRAWS


@pytest.mark.parametrize(
    ("top_p", "kept"),
    [
        (1e-9, [1]), (0.49, [1]), (0.6, [1, 3]), (0.8, [0, 1, 3]), (0.95, [0, 1, 2, 3]),
        (1.0, [0, 1, 2, 3]),
    ],
)  # fmt: skip
def test_top_p_keeps_the_smallest_set_and_its_proportions(top_p: float, kept: list[int]) -> None:
    expected = np.zeros(4)
    expected[kept] = SHARES[kept] / SHARES[kept].sum()
    found = drawn(Sampling(1.0, top_p))
    # 4,000 draws: one standard deviation is at most 0.008, four of them are 0.032
    np.testing.assert_allclose(found, expected, atol=0.032)
    assert np.flatnonzero(found).tolist() == kept


def test_temperature_sharpens_and_flattens() -> None:
    for temperature in (0.5, 2.0):
        expected = SHARES ** (1 / temperature)
        found = drawn(Sampling(temperature))
        np.testing.assert_allclose(found, expected / expected.sum(), atol=0.032)
    assert drawn(Sampling(1e-6))[1] == 1  # no overflow on the way to the limit
    assert drawn(Sampling(0.0))[1] == 1


def test_tokens_that_cannot_come_never_come() -> None:
    logits = np.array([0.0, -np.inf, 1.0, -3e38], dtype=np.float32)
    assert np.flatnonzero(drawn(Sampling(1.0), logits)).tolist() == [0, 2]


def test_ties_go_to_the_first_token_on_every_machine() -> None:
    assert Sampling().draw(np.zeros(5, np.float32), np.random.default_rng(0)) == 0


@pytest.mark.parametrize("value", [np.nan, np.inf])
@pytest.mark.parametrize("temperature", [0.0, 1.0])
def test_logits_that_are_no_numbers_are_an_error(value: float, temperature: float) -> None:
    logits = np.array([0.0, value, 1.0], dtype=np.float32)
    with pytest.raises(EngineError, match="not a number"):
        Sampling(temperature).draw(logits, np.random.default_rng(0))


@pytest.mark.parametrize(
    "wrong",
    [{"temperature": float("nan")}, {"top_p": 1.1}, {"top_p": float("nan")}, {"seed": -1}],
)
def test_settings_out_of_range_are_refused(wrong: dict[str, float]) -> None:
    with pytest.raises(UsageError, match="expected"):
        Sampling(**wrong)  # type: ignore[arg-type]


class Parrot(StubEngine):
    """Says a fixed text, one token a call, and checks that it is shown all that came before."""

    def __init__(self, bundle: Path, text: Sequence[int]) -> None:
        super().__init__(bundle)
        self.text, self.fed = list(text), [0, 0, 0]  # three cached prompt tokens
        self.calls: list[int] = []

    def decode(
        self, tokens: Ints, prefix: Prefix, keys: Halves, values: Halves, lengths: Ints,
        adapter: Floats, route: Route | None = None,
    ) -> Decoded:  # fmt: skip
        (length,) = lengths
        assert keys.shape == values.shape
        # Integers up to 2,048 are exact in float16: nothing was lost while growing.
        assert keys[0, 0, 0, :length, 0].tolist() == self.fed
        assert values[-1, 0, -1, :length, -1].tolist() == [-token for token in self.fed]
        self.calls.append(tokens.shape[1])
        self.fed += tokens[0].tolist()
        shape = (*keys.shape[:3], tokens.shape[1], keys.shape[4])
        new = np.broadcast_to(tokens[0, :, None], shape).astype(np.float16)
        logits = np.zeros((1, 320), np.float32)
        logits[0, self.text[len(self.calls) - 1]] = 1
        return Decoded(logits, new, -new)


def say(engine: Parrot, most: int, stop: tuple[int, ...] = ()) -> list[int]:
    adapter = np.zeros(engine.bundle.manifest.adapter_size, np.float32)
    prompt, invocation = np.zeros(3, np.int64), np.array([7, 8])
    return list(generate_ids(engine, prompt, invocation, adapter, Sampling(), most, stop))


def test_a_long_text_outgrows_the_cache_and_loses_nothing(bundle: Path) -> None:
    text = [(31 * i) % 300 + 1 for i in range(3 * GROW)]
    engine = Parrot(bundle, text)
    assert say(engine, len(text)) == text
    assert engine.calls == [2] + [1] * (len(text) - 1)  # the invocation at once, then one by one


def test_generation_ends_at_any_stop_token_and_does_not_show_it(bundle: Path) -> None:
    engine = Parrot(bundle, [5, 6, 9, 5])
    assert say(engine, 10, stop=(1, 9)) == [5, 6]
    assert len(engine.calls) == 3
    assert say(Parrot(bundle, [9]), 10, stop=(9,)) == []
    assert say(Parrot(bundle, [5, 5, 5]), 2) == [5, 5]


def test_text_stops_where_the_context_ends(bundle: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    """The tiny base takes 128 tokens; what is generated must fit behind the prompt."""
    with Personalizer.open(bundle) as me:
        word = me.encode(" warm")
        prompt = " warm" * (120 // len(word))
        room = 128 - len(me.encode(prompt))
        calls, real = [], me._engine.decode

        def count(*given: object) -> Decoded:
            calls.append(1)
            return real(*given)  # type: ignore[arg-type]

        monkeypatch.setattr(me._engine, "decode", count)
        object.__setattr__(me.bundle.manifest.tokenizer, "eos_ids", ())  # nothing else ends it
        me.generate(prompt, max_tokens=10_000)
        assert len(calls) == room
