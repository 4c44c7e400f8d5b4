"""Longer contexts by position interpolation, and what an export refuses of both options."""

from __future__ import annotations

from collections.abc import Callable
from dataclasses import replace
from pathlib import Path

import pytest
import torch
import transformers
from tiny import VOCAB_SIZE

from dsa_edge.bundle import Bundle
from dsa_edge.cli import main
from dsa_edge.errors import ExampleError, UsageError
from dsa_edge.exporters import export
from dsa_edge.exporters.checkpoint import open_checkpoint
from dsa_edge.exporters.decoder import build_decoder, with_context, with_group
from dsa_edge.runtime import Budget, Example, Personalizer

Tiny = Callable[[str], Path]
OWN = 128  # tokens that the tiny checkpoints take
# What transformers has to be told to do the same: a factor of its linear rule.
FACTORS = {"llama": 2.5, "llama-linear": 10.0, "qwen3": 2.5, "mistral": 2.5, "gemma3": 20.0}


@pytest.mark.parametrize("family", FACTORS)
def test_positions_are_interpolated_as_transformers_does(
    tiny_checkpoint: Tiny, family: str
) -> None:
    folder = tiny_checkpoint(family)
    source = open_checkpoint(folder)
    source.spec = with_context(source.spec, 320)
    assert source.spec.max_positions == 320
    config = transformers.AutoConfig.from_pretrained(folder)
    rope = config.rope_parameters
    rope = rope.get("full_attention", rope)
    rope |= {"rope_type": "linear", "factor": FACTORS[family]}
    model = transformers.AutoModelForCausalLM.from_pretrained(
        folder, config=config, dtype=torch.float32
    )
    tokens = torch.randint(0, VOCAB_SIZE, (1, 300), generator=torch.Generator().manual_seed(0))
    with torch.no_grad():
        ours, expected = build_decoder(source, "none")(tokens)[0], model(tokens).logits
        plain = build_decoder(open_checkpoint(folder), "none")(tokens)[0]
    assert (ours - expected).abs().max() <= 2e-4  # float32 angles of 300 positions
    assert (plain - expected).abs().max() > 0.1  # the comparison means something


@pytest.mark.parametrize("context", [-1, 0, 64, OWN])
def test_a_context_that_is_no_longer_is_refused(tiny_checkpoint: Tiny, context: int) -> None:
    spec = open_checkpoint(tiny_checkpoint("llama")).spec
    with pytest.raises(UsageError, match=rf"{context} tokens, .* own 128: leave --context out"):
        with_context(spec, context)


@pytest.mark.parametrize("context", [32 * OWN + 1, 10**12])
def test_an_absurd_context_is_refused(tiny_checkpoint: Tiny, context: int) -> None:
    spec = open_checkpoint(tiny_checkpoint("llama")).spec
    with pytest.raises(UsageError, match=r"expected at most 4096 .*has 128\): lower --context"):
        with_context(spec, context)


@pytest.mark.parametrize("family", ["llama-llama3", "llama-yarn", "llama-longrope"])
def test_scaling_with_ranges_of_its_own_is_not_stretched(
    tiny_checkpoint: Tiny, family: str
) -> None:
    spec = open_checkpoint(tiny_checkpoint(family)).spec
    with pytest.raises(UsageError, match=rf"scaled by '{family[6:]}', .*leave --context out"):
        with_context(spec, 300)


@pytest.mark.parametrize("group", [-2, 0, 1, 7, OWN + 2, 2**40])
def test_groups_that_cannot_be_are_refused(tiny_checkpoint: Tiny, group: int) -> None:
    spec = open_checkpoint(tiny_checkpoint("llama")).spec
    with pytest.raises(UsageError, match=rf"is {group} tokens, expected an even number from 2 to"):
        with_group(spec, group)


def test_a_single_head_has_no_half_to_shift(tiny_checkpoint: Tiny) -> None:
    spec = replace(open_checkpoint(tiny_checkpoint("llama")).spec, n_heads=1, n_kv_heads=1)
    with pytest.raises(UsageError, match="at least 2 heads.*has 1: leave --attention-group out"):
        with_group(spec, 16)


def test_a_group_without_the_engine_that_runs_it_is_refused(
    tiny_checkpoint: Tiny, tmp_path: Path
) -> None:
    with pytest.raises(UsageError, match="group needs the onnx backend, got executorch"):
        export(
            tiny_checkpoint("llama"), tmp_path / "b", backends=("executorch",), attention_group=16
        )


@pytest.mark.parametrize(
    "wrong", [["--context", "100"], ["--attention-group", "7"], ["--context", "many"]]
)
def test_the_command_line_says_so_in_one_line_and_writes_nothing(
    tiny_checkpoint: Tiny, tmp_path: Path, capsys: pytest.CaptureFixture[str], wrong: list[str]
) -> None:
    try:
        code = main(["export", str(tiny_checkpoint("llama")), str(tmp_path / "b.dsa"), *wrong])
    except SystemExit as ended:  # argparse itself
        code = int(ended.code or 0)
    assert code == 2
    last = capsys.readouterr().err.strip().splitlines()[-1]
    assert "expected" in last or "invalid int value" in last
    assert list(tmp_path.iterdir()) == []


def test_a_bundle_of_a_longer_context_takes_longer_prompts(
    bundle: Path, tiny_checkpoint: Tiny, tmp_path: Path
) -> None:
    longer = tmp_path / "longer.dsa"
    export(tiny_checkpoint("llama"), longer, accuracy_level=0, context=256, attention_group=32)
    prompt = "warm bread " * 30  # some 180 tokens
    answers = (" a", " b")
    examples = [Example(prompt + word, answers[i % 2], answers) for i, word in enumerate("xyzw")]
    with Personalizer.open(bundle) as me, pytest.raises(ExampleError, match="takes 128: shorten"):
        me.generate(prompt)
    with Personalizer.open(longer) as me:
        assert me.fit(examples, Budget(steps=1)).steps == 1
        assert me.generate(prompt, max_tokens=2) is not None
        with pytest.raises(ExampleError, match="takes 256: shorten"):
            me.generate(prompt * 2)
    spec = Bundle.open(longer).manifest.decoder
    assert (spec["max_positions"], spec["attention_group"]) == (256, 32)
    assert (spec["rope"]["parameters"], spec["interpolated_from"]) == ({"factor": 2.0}, 128)
    # An adapter learned where positions are closer together belongs to another model.
    assert Bundle.open(longer).identity != Bundle.open(bundle).identity
