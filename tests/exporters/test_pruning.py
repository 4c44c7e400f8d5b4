"""Early pruning: the right parts go, as much as was asked for, or a sentence says why not."""

from __future__ import annotations

from collections.abc import Callable
from dataclasses import replace
from pathlib import Path
from typing import Any

import numpy as np
import pytest
import torch
from tiny import copy_of, make_checkpoint, rewrite
from torch import Tensor

from dsa_edge.adapter import AdapterSpec
from dsa_edge.errors import ExampleError, ExportError, UsageError
from dsa_edge.examples import Example, Labels
from dsa_edge.exporters.checkpoint import open_checkpoint, tokenizer_info
from dsa_edge.exporters.decoder import build_decoder
from dsa_edge.exporters.model import AdaptedModel
from dsa_edge.exporters.training import Importance, Pruning, Units, prune
from dsa_edge.exporters.training._prune import _directions, _thinner
from dsa_edge.exporters.training._texts import Biases, Sentence, examples_of, sentences
from dsa_edge.tokenizer import Tokenizer

KNOWN = Importance(  # by its sums, blocks go
    np.array([[9.0, 8.0]] * 3), np.array([[1.0, 3.0, 2.0], [2.0, 1.0, 3.0], [3.0, 2.0, 1.0]])
)
EXAMPLES = [
    Example(f"letter {i} came ", "eh"[i % 2], ("e", "h")) if i % 3 else Example(f"{i}", " late.")
    for i in range(12)
]


def float_model(source: Any, spec: AdapterSpec) -> AdaptedModel:
    return AdaptedModel(build_decoder(source, "none"), spec).eval()


def test_masks_find_what_does_nothing_and_magnitudes_do_not(
    tiny_checkpoint: Callable[[str], Path], tmp_path: Path
) -> None:
    """Planted: a KV group and a block a layer with large weights that no output depends on."""
    folder = copy_of(tiny_checkpoint("llama"), tmp_path / "planted")
    useless = {0: (1, 2), 1: (0, 0), 2: (1, 1)}  # layer → KV group, block of neurons

    def plant(tensors: dict[str, Tensor]) -> dict[str, Tensor]:
        for layer, (group, block) in useless.items():
            stem, rows = f"model.layers.{layer}", slice(32 * block, 32 * block + 32)
            tensors[f"{stem}.mlp.up_proj.weight"][rows] *= 3
            tensors[f"{stem}.mlp.gate_proj.weight"][rows] *= 3
            tensors[f"{stem}.mlp.down_proj.weight"][:, rows] = 0
            heads = slice(32 * group, 32 * group + 32)
            tensors[f"{stem}.self_attn.q_proj.weight"][heads] *= 3
            tensors[f"{stem}.self_attn.o_proj.weight"][:, heads] = 0
        return tensors

    rewrite(folder, plant)
    source, spec = open_checkpoint(folder), AdapterSpec(targets=("q", "k"))
    learned = prune(source, spec, Pruning(0.4, EXAMPLES, steps=4, batch=6, kv_groups=1)).pruned
    assert learned.kv_groups == tuple((1 - group,) for group, _ in useless.values())
    for kept, (_, block) in zip(learned.ffn_blocks, useless.values(), strict=True):
        assert kept == tuple(sorted({0, 1, 2} - {block}))
    by_size = prune(source, spec, Pruning(0.4, by="magnitude", kv_groups=1)).pruned
    assert all(b in kept for kept, (_, b) in zip(by_size.ffn_blocks, useless.values(), strict=True))


def test_the_same_seed_prunes_the_same(tiny_checkpoint: Callable[[str], Path]) -> None:
    source = open_checkpoint(tiny_checkpoint("llama"))
    settings = Pruning(0.3, EXAMPLES, steps=4, batch=4)
    told: list[str] = []
    first = prune(source, AdapterSpec(), settings, told.append).pruned
    assert prune(source, AdapterSpec(), settings).pruned == first
    assert sum("mask step" in line for line in told) == 4


def smollm2_units() -> Units:
    queries, width, ffn = 3 * 64, 576, 1536
    layer = width * (2 * 576 + 2 * 192) + 3 * width * ffn
    return Units(3, 48, 2 * (queries + 64) * width, 3 * 32 * width, layer, True)


@pytest.mark.parametrize("share", [0.01, 0.1, 0.25, 0.4, 0.6, 0.85])
def test_every_candidate_reaches_the_share_and_little_more(share: float) -> None:
    units = smollm2_units()
    pairs = units.candidates(share)
    assert pairs
    for groups, blocks in pairs:
        assert share <= units.share(groups, blocks) + 1e-9 < share + 0.0157  # a block is 1.56 %
        assert groups <= 2
        assert blocks <= 47
    assert len({groups for groups, _ in pairs}) == len(pairs)


def test_the_cheaper_of_heads_and_neurons_goes() -> None:
    units = smollm2_units()
    random = np.random.default_rng(0)
    kv, ffn = random.random((30, 3)), random.random((30, 48))
    pairs = units.candidates(0.25)
    by_cost = {
        name: min(pairs, key=lambda pair, i=importance: i.cost(*pair))
        for name, importance in {
            "heads matter": Importance(kv * 100, ffn), "neurons matter": Importance(kv, ffn * 100)
        }.items()
    }  # fmt: skip
    assert by_cost["heads matter"] == (0, 16)
    assert by_cost["neurons matter"][0] == 2


@pytest.mark.parametrize("seed", [0, 1, 2])
def test_the_pair_that_hurts_least_is_found_by_trying_where_there_are_examples(
    tmp_path: Path, seed: int
) -> None:
    source = open_checkpoint(make_checkpoint(tmp_path / "model", "llama", seed))
    pairs = Units.of(source.spec).candidates(0.2)
    assert pairs == [(0, 1), (1, 0)]
    losses = []
    for groups, _ in pairs:  # of what is really cut, not masked
        alone = prune(source, AdapterSpec(), Pruning(0.2, known=KNOWN, kv_groups=groups))
        decoder = build_decoder(alone.source, "none")
        tokenizer = Tokenizer(source.tokenizer_json, tokenizer_info(source))
        given = sentences(EXAMPLES, tokenizer)
        logits = [
            decoder(torch.tensor([s.tokens[:-1]]))[0, 0, s.first :] for s in given
        ]  # fmt: skip
        losses.append(float(Biases().loss(torch.cat(logits), given).detach()))
    best = pairs[int(np.argmin(losses))]
    tried = prune(source, AdapterSpec(), Pruning(0.2, EXAMPLES, known=KNOWN)).pruned
    assert (2 - len(tried.kv_groups[0]), 3 - len(tried.ffn_blocks[0])) == best
    estimated = prune(source, AdapterSpec(), Pruning(0.2, known=KNOWN)).pruned
    assert (len(estimated.kv_groups[0]), len(estimated.ffn_blocks[0])) == (2, 2)


def test_the_least_important_targets_and_directions_go() -> None:
    spec = AdapterSpec(rank=4, targets=("v", "q", "down", "up"))
    moved = {"q": 0.1, "v": 3.0, "up": 0.2, "down": 1.0}
    directions = {f"layers.1.{t}": np.array([1.0, 4.0, 2.0, 3.0]) for t in spec.targets}
    importance = Importance(np.ones((2, 2)), np.ones((2, 2)), moved, directions)
    thinner = _thinner(spec, Pruning(0, [], modules=0.5, ranks=0.5), importance)
    assert (thinner.targets, thinner.rank) == (("v", "down"), 2)
    assert _directions(directions, thinner) == {"layers.1.v": (1, 3), "layers.1.down": (1, 3)}


def test_directions_that_stay_are_those_of_the_weight_before(
    tiny_checkpoint: Callable[[str], Path],
) -> None:
    source = open_checkpoint(tiny_checkpoint("llama"))
    spec = AdapterSpec(rank=4, targets=("q", "down"))
    thinned = prune(source, spec, Pruning(0.3, EXAMPLES, steps=4, batch=4, ranks=0.5))
    model = AdaptedModel(build_decoder(thinned.source, "int4"), thinned.adapter)
    thinned.add_blocks(model, 2)
    before = float_model(source, spec)
    before.add_blocks(2)
    kept = thinned.pruned.directions["layers.2.q"]
    assert len(kept) == thinned.adapter.rank == 2
    v, whole = (m.layer_blocks(2).blocks["q"].get_buffer("v") for m in (model, before))
    assert torch.equal(v, whole[..., list(kept)])  # inputs of q are not pruned


@pytest.mark.parametrize(
    ("wrong", "words"),
    [
        ({"share": 1.0}, "share to prune is 1.0"),
        ({"share": -0.1}, "share to prune is -0.1"),
        ({"share": float("nan")}, "share to prune is nan"),
        ({"share": 0.0}, "nothing to prune"),
        ({"modules": 1.0}, "modules to prune"),
        ({"by": "luck"}, "ranked by 'luck'"),
        ({"by": "random", "ranks": 0.5}, "learned importance"),
        ({"steps": 1}, "steps are 1"),
        ({"batch": 0}, "batch 0"),
    ],
)
def test_settings_that_cannot_be_meant_are_refused(wrong: dict[str, Any], words: str) -> None:
    with pytest.raises(UsageError, match=words):
        replace(Pruning(0.25, EXAMPLES), **wrong)


def test_what_cannot_be_pruned_is_refused_before_anything_is_learned(
    tiny_checkpoint: Callable[[str], Path], tmp_path: Path
) -> None:
    source, spec = open_checkpoint(tiny_checkpoint("llama")), AdapterSpec()

    def refused(
        error: type[Exception], words: str, wanted: Pruning, on: AdapterSpec = spec
    ) -> None:
        with pytest.raises(error, match=words):
            prune(source, on, wanted)

    refused(UsageError, r"90% .* at most 60.0%.*one of each stays", Pruning(0.9, EXAMPLES))
    refused(UsageError, "2 KV groups .* at most 1", Pruning(0.3, EXAMPLES, kv_groups=2))
    refused(UsageError, "ranks .* got lora", Pruning(0.3, EXAMPLES, ranks=0.5), AdapterSpec("lora"))
    refused(ExampleError, "got no examples", Pruning(0.3))
    refused(ExampleError, "no file", Pruning(0.3, tmp_path / "none.jsonl"))
    (tmp_path / "bad.jsonl").write_text('{"prompt": 3}\n')
    refused(ExampleError, "line 1", Pruning(0.3, tmp_path / "bad.jsonl"))
    (tmp_path / "empty.jsonl").write_text("\n")
    refused(ExampleError, "holds no example", Pruning(0.3, str(tmp_path / "empty.jsonl")))
    refused(ExampleError, "example 2", Pruning(0.3, [EXAMPLES[0], Example("a", "\ud800")]))
    odd = replace(source.spec, ffn_width=80)
    with pytest.raises(UsageError, match="80 neurons a layer, expected a multiple of 32"):
        Units.of(odd)


def test_heads_whose_inputs_share_a_group_of_the_quantizer_stay(
    tiny_checkpoint: Callable[[str], Path],
) -> None:
    spec = replace(open_checkpoint(tiny_checkpoint("llama")).spec, n_kv_heads=4)  # 16 inputs each
    assert Units.of(spec).candidates(0.17) == [(0, 1)]


def test_a_loss_that_is_not_finite_stops(
    tiny_checkpoint: Callable[[str], Path], monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setattr(Biases, "loss", lambda *_: torch.tensor(float("nan")))
    with pytest.raises(ExportError, match="nan: check the examples"):
        prune(
            open_checkpoint(tiny_checkpoint("llama")), AdapterSpec(),
            Pruning(0.3, EXAMPLES, steps=2, batch=4),
        )  # fmt: skip


def test_examples_are_read_like_those_of_a_fit(
    tiny_checkpoint: Callable[[str], Path], tmp_path: Path
) -> None:
    source = open_checkpoint(tiny_checkpoint("llama"))
    tokenizer = Tokenizer(source.tokenizer_json, tokenizer_info(source), source.chat_template)
    file = tmp_path / "rows.jsonl"
    file.write_text(
        '{"text": "<|eos|> fine", "label": "h"}\n{"prompt": "It is ", "response": "late."}\n'
        '{"messages": [{"role": "user", "content": "a"}, {"role": "assistant", "content": "b"}]}\n'
    )
    labels = Labels("{text}\nSo: ", ("e", "h"))
    labelled, free, chat = sentences(
        examples_of(Pruning(0.3, file, labels), tokenizer), tokenizer
    )  # fmt: skip
    eos = source.eos_ids[0]
    assert eos not in labelled.tokens  # it is the user's text
    assert labelled.choices == tuple(tokenizer.encode(name)[0] for name in "eh")
    assert labelled.targets == labelled.choices[1:]
    assert not free.choices
    assert list(free.targets) == tokenizer.encode("late.")
    assert chat.targets[-1] == eos  # its turn ends there


def test_label_biases_take_what_a_base_prefers_out_of_the_task() -> None:
    logits = torch.tensor([[0.0, 5.0, 1.0], [0.0, 7.0, 1.0]])
    batch = [Sentence((0, 1), 0, (1, 2)), Sentence((0, 2), 0, (1, 2))]
    level = Biases().loss(logits, batch)
    assert level < 2.0  # 5.0 without
    assert level < torch.nn.functional.cross_entropy(logits[:, 1:], torch.tensor([0, 1]))


@pytest.mark.parametrize("kind", ["lora", "scale", "bias", "kron", "bottleneck"])
def test_other_kinds_learn_beside_and_start_from_the_pruned_weights(
    tiny_checkpoint: Callable[[str], Path], kind: str
) -> None:
    source = open_checkpoint(tiny_checkpoint("llama"))
    several = [
        Example(f"{i} is ", "abe"[i % 3], ("a", "b", "e")[: 3 - i % 2]) for i in (0, 1, 3, 4)
    ]
    thinned = prune(source, AdapterSpec(kind), Pruning(0.4, EXAMPLES + several, steps=6, batch=2))
    assert thinned.adapter == AdapterSpec(kind)
    assert not thinned.pruned.directions
    model = AdaptedModel(build_decoder(thinned.source, "int4"), thinned.adapter).eval()
    for layer in range(model.split, 3):
        thinned.add_blocks(model, layer)
    tokens = torch.arange(20).view(2, 10)
    lanes = model.lanes(model.start()[None], torch.ones(2, 10, dtype=torch.bool))
    torch.testing.assert_close(model.decoder(tokens, lanes), model.decoder(tokens))
