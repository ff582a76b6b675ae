"""Laws of SimVLM: who sees whom, what padding and targets do not do, and what is refused."""

import pickle
from pathlib import Path
from typing import Any

import pytest
import tokenizers
import torch
from simvlm_made import TINY, alone, made, pair, picture
from timm.layers import DropPath
from tokenizers import models, pre_tokenizers
from torch import Tensor
from transformers import PreTrainedTokenizerFast

from lorgnette.data.prefixes import Prefixed
from lorgnette.document import Document, Text, Video
from lorgnette.errors import ConfigError, ContextError, DataError
from lorgnette.objectives.language_modelling import LanguageModelling
from lorgnette.run import Stream
from lorgnette.shapes import Batch
from lorgnette.systems.simvlm import SimVLM, build, parted
from lorgnette.training.streams import shuffled

STACKS = ["encoder-decoder", "prefix-lm", "causal-lm"]


@pytest.fixture(scope="module", params=STACKS)
def system(request: pytest.FixtureRequest) -> SimVLM:
    return made(stack=request.param)


def embedded(system: SimVLM, batch: Batch) -> tuple[Tensor, tuple[Tensor, ...]]:
    """Hidden states, and the embeddings of the prefix's and of the suffix's words, to take gradients by."""
    given: list[Tensor] = []

    def note(module: torch.nn.Module, inputs: tuple[Tensor, ...], out: Tensor) -> Tensor:
        given.append(out.detach().requires_grad_())
        return given[-1]

    handle = system.language.tokens.register_forward_hook(note)
    try:
        hidden = system(batch)
    finally:
        handle.remove()
    return hidden, tuple(given)


def test_layout_is_picture_prefix_suffix_end(system: SimVLM) -> None:
    batch = system.layout([pair(0, "a", "cat"), alone("two dogs", "!")])
    tokenizer, places = system.layout.tokenizer, 16
    assert batch.tokens.shape == (2, places + 1 + 3 + 1)
    assert batch.slots[0].tolist() == [*range(places), -1, -1, -1, -1, -1]
    assert batch.tokens[0, places:].tolist() == [*tokenizer.encode("acat"), tokenizer.eos]
    assert batch.weights[0].tolist() == [0.0] * (places + 1) + [1.0] * 4
    assert batch.tokens[1, :10].tolist() == [*tokenizer.encode("two dogs!"), tokenizer.eos]
    assert batch.weights[1, :10].tolist() == [0.0] * 8 + [1.0] * 2
    assert batch.valid.sum(1).tolist() == [places + 5, 10]
    assert [part.tolist() for part in parted(batch)] == [[places, 0], [1, 8], [4, 2]]
    assert torch.equal(pickle.loads(pickle.dumps(system.layout))([alone("a", "b")]).tokens, torch.tensor([[67, 68, 1]]))


def test_a_picture_stands_first_and_no_eos_follows_a_piece(system: SimVLM) -> None:
    first = Document((picture(0), Text("see "), Text("this", 1.0)))
    later = Document((Text("see "), picture(0), Text("this", 1.0)))
    assert torch.equal(system.layout([first]).tokens, system.layout([later]).tokens)
    piece = Document((picture(0), Text("see "), Text("this", 1.0), Text("")))
    assert torch.equal(system.layout([piece]).tokens, system.layout([first]).tokens[:, :-1])


def test_the_prefix_is_read_in_both_directions_and_the_suffix_in_one(system: SimVLM) -> None:
    """Law 1: gradients say who sees whom."""
    batch = system.layout([pair(0, "abcd", "efgh")])
    hidden, (prefix, suffix) = embedded(system, batch)
    first = int(batch.valid.sum()) - 5 - 1  # from here the first word of the suffix is told
    assert prefix.shape[1] == 4
    assert suffix.shape[1] == 5
    for t in range(5):
        told = hidden[0, first + t].sum()
        by_prefix, by_suffix = torch.autograd.grad(told, (prefix, suffix), retain_graph=True)
        assert (by_prefix[0].abs().amax(-1) > 0).all(), "every word of the prefix is seen"
        seen = (by_suffix[0].abs().amax(-1) > 0).tolist()
        assert seen == [s <= t for s in range(5)], "start, then the words before"
    assert not hidden[0, :first].any()


def test_inside_the_prefix(system: SimVLM) -> None:
    batch = system.layout([pair(0, "abcd", "ef")])
    visual = system.look(system.see(batch.images)).detach().requires_grad_()
    given = torch.randn(1, 4, 32, requires_grad=True)
    handle = system.language.tokens.register_forward_hook(lambda module, inputs, out: given)
    memory = system.encode(batch, visual)
    handle.remove()
    last = memory["key1"]
    for i in range(20):
        by_patches, by_words = torch.autograd.grad(last[0, :, i].sum(), (visual, given), retain_graph=True)
        seen = (torch.cat([by_patches[0], by_words[0]]).abs().amax(-1) > 0).tolist()
        causal = system.language.stack == "causal-lm"
        assert seen == [j <= i or not causal for j in range(20)], i


def test_targets_teach_nothing_through_the_prefix(system: SimVLM) -> None:
    """Law 2: places of the row that hold targets are not read as prefix: their tokens change no state of it."""
    one, other = system.layout([pair(0, "abcd", "efgh")]), system.layout([pair(0, "abcd", "ijkl")])
    with torch.no_grad():
        visual = system.look(system.see(one.images))
        first, second = system.encode(one, visual), system.encode(other, visual)
    for name in first:
        assert torch.equal(first[name], second[name])


def test_padding_changes_nothing(system: SimVLM) -> None:
    """Law 2: neither what stands beside a document nor what is written at padding."""
    objective = LanguageModelling()
    documents = [pair(0, "a", "bc"), alone("hello", " you all"), pair(1, "", "a longer caption")]
    with torch.no_grad():
        batch = system.layout(documents)
        hidden = system(batch)
        loss = objective(system, batch)["loss"]
        nll = 0.0
        for row, document in enumerate(documents):
            by_itself = system.layout([document])
            found = system(by_itself)[0]
            torch.testing.assert_close(hidden[row, : len(found)], found, atol=2e-5, rtol=0)
            told = objective(system, by_itself)
            nll += told["nll"] * told["tokens"]
        torch.testing.assert_close(loss, nll / sum(int((system.layout([d]).weights > 0).sum()) for d in documents))
        batch.tokens[~batch.valid] = 77
        torch.testing.assert_close(objective(system, batch)["loss"], loss, atol=0, rtol=0)


def test_a_long_prefix_beside_a_long_suffix(system: SimVLM) -> None:
    documents = [pair(0, "x" * 45, "yz"), pair(1, "x", "y" * 46)]
    with torch.no_grad():
        hidden = system(system.layout(documents))
        for row, document in enumerate(documents):
            alone = system(system.layout([document]))[0]
            torch.testing.assert_close(hidden[row, : len(alone)], alone, atol=2e-5, rtol=0)


def test_a_text_alone_does_not_see_the_batchs_pictures(system: SimVLM) -> None:
    batch = system.layout([pair(0, "a", "bc"), alone("hello", " you")])
    assert batch.images is not None
    images = batch.images.clone().requires_grad_()
    batch.images = images
    hidden = system(batch)
    (by_text,) = torch.autograd.grad(hidden[1].sum(), images, retain_graph=True)
    (by_pair,) = torch.autograd.grad(hidden[0].sum(), images)
    assert not by_text.any()
    assert by_pair.any()


def test_loss_is_on_suffix_words_only(system: SimVLM) -> None:
    batch = system.layout([pair(0, "abcd", "ef"), alone("hello", " you")])
    assert LanguageModelling()(system, batch)["tokens"] == 3 + 5


def test_only_what_is_told_teaches(system: SimVLM) -> None:
    """Law 2: no gradient comes from places of the picture, of the prefix but its last word, or of padding."""
    batch = system.layout([pair(0, "abcd", "ef"), alone("hello", " you")])
    taught: list[Tensor] = []

    class Watched:
        language = system.language

        def __call__(self, batch: Batch) -> Tensor:
            taught.append(system(batch).detach().requires_grad_())
            return taught[0]

    LanguageModelling()(Watched(), batch)["loss"].backward()
    grad = taught[0].grad
    assert grad is not None
    tells = torch.zeros_like(batch.valid)
    tells[0, 16 + 3 : 16 + 3 + 3] = tells[1, 4 : 4 + 5] = True
    assert torch.equal(grad.abs().amax(-1) > 0, tells)


def test_everything_learns_and_embeddings_are_tied(system: SimVLM) -> None:
    batch = system.layout([pair(0, "abcd", "efg"), alone("hello", " you")])
    LanguageModelling()(system, batch)["loss"].backward()
    assert [name for name, p in system.named_parameters() if p.grad is None or not p.grad.any()] == []
    assert system.language.head_parameters()[0] is system.language.tokens.weight
    system.zero_grad(set_to_none=True)


def test_gradient_checkpointing_is_the_same(system: SimVLM) -> None:
    batch = system.layout([pair(0, "abcd", "efg"), alone("hello", " you")])
    grads = []
    for checkpointing in (False, True):
        system.language.gradient_checkpointing = checkpointing
        LanguageModelling()(system, batch)["loss"].backward()
        grads.append({name: p.grad.clone() for name, p in system.named_parameters() if p.grad is not None})
        system.zero_grad(set_to_none=True)
    system.language.gradient_checkpointing = False
    for name, grad in grads[0].items():
        torch.testing.assert_close(grads[1][name], grad)


def test_dropout_and_stochastic_depth_leave_the_decoder_alone() -> None:
    system = made(dropout=0.3, drop_path=0.5, layers=3)
    decoder = [module for module in system.language.decoder.modules() if "Drop" in type(module).__name__]
    encoder = [module for module in system.language.encoder.modules() if "Drop" in type(module).__name__]
    assert not decoder
    assert [module.drop_prob for module in encoder if hasattr(module, "drop_prob")] == [0.0, 0.25, 0.5]
    assert system.connector.dropout.p == 0.3, "of the stage's patches"
    stage = [module.drop_prob for module in system.vision.modules() if isinstance(module, DropPath)]
    assert stage == pytest.approx([0.5 / 7]), "the second of the eight blocks that all four stages have"
    assert not any(isinstance(module, DropPath) for module in made().vision.modules())
    batch = system.layout([pair(0, "abcd", "ef")])
    system.train()
    with torch.no_grad():
        assert not torch.equal(system(batch), system(batch))
        system.language.encoder.eval(), system.connector.eval(), system.language.dropout.eval(), system.vision.eval()
        assert torch.equal(system(batch), system(batch))


def test_larger_pictures_read_tables_interpolated() -> None:
    small = made()
    large = build(**(TINY | {"size": 32, "grid": 4}))
    large.load_state_dict(small.state_dict())
    assert large.layout.queries == 64
    with torch.no_grad():
        large.connector.positions[:] = (
            torch.arange(4.0).repeat(4)[:, None] + 10 * torch.arange(4.0).repeat_interleave(4)[:, None]
        )
        grid = large.connector.at(8).unflatten(0, (8, 8))
        inner = grid[1:-1, 1:-1]
        rows, columns = inner.diff(dim=0), inner.diff(dim=1)
        torch.testing.assert_close(grid.mean((0, 1)), large.connector.positions.mean(0))
        assert (columns > 0.3).all()
        assert (columns < 0.7).all(), "half a step from one patch to the next"
        torch.testing.assert_close(rows, 10 * columns.transpose(0, 1))
        large.load_state_dict(small.state_dict())
        document = pair(0, "a", "b")
        told = large.eval()(large.layout([document]))
        for table in (p for name, p in large.named_parameters() if name.endswith("table")):
            table.zero_()
        assert not torch.allclose(large(large.layout([document])), told), "the larger picture reads the tables too"


@pytest.mark.parametrize(
    ("document", "said"),
    [
        (Document((picture(0), Text("x" * 49)), key="long"), "long: 49 tokens are more than the limit of 48"),
        (Document((picture(0), Text("x" * 48, 1.0)), key="long"), "long: 49 tokens are more than the limit of 48"),
        (Document((Text("all of it", 1.0),), key="no"), "no: there is no prefix"),
        (Document((picture(0), picture(1)), key="two"), "two: SimVLM reads one picture"),
        (Document((Text("x", 1.0), picture(1)), key="late"), "late: a picture after text that carries loss"),
        (Document((Video("clip.gif"),), key="film"), "film: this system reads text and images, not Video"),
        (Document((picture(0), Text("What?"), Text("", 1.0)), key="none"), "none: an empty suffix"),
    ],
)
def test_what_it_cannot_read_is_named(system: SimVLM, document: Document, said: str) -> None:
    with pytest.raises(DataError, match=said) as error:
        system.layout([document])
    assert isinstance(error.value, ContextError) is ("limit" in said)


@pytest.mark.parametrize(
    ("options", "said"),
    [
        ({"heads": 5}, "heads: 5 heads do not divide a width of 32"),
        ({"heads": 0}, r"heads: 0 is too few\. Give at least 1"),
        ({"width": -32}, "width: -32 is too few"),
        ({"layers": 0}, "layers: 0 is too few"),
        ({"context": 0}, "context: 0 is too few"),
        ({"vocabulary": 258}, r"vocabulary: 258 are fewer than its tokens\. Give 259 or more"),
        ({"dropout": 1.5}, "dropout: 1.5 is no share"),
        ({"drop_path": -0.5}, "drop_path: -0.5 is no share"),
        ({"stages": 3, "size": 8}, "size: pictures of 8 pixels are smaller than its stride of 16"),
        ({"stages": 0, "size": 8}, "size: 8 pixels are no multiple of its patches of 16"),
    ],
)
def test_impossible_shapes_are_refused(options: dict[str, Any], said: str) -> None:
    with pytest.raises(ConfigError, match=said):
        build(**(TINY | options))


def test_a_picture_smaller_than_the_stride_is_refused(system: SimVLM) -> None:
    batch = system.layout([pair(0, "a", "b")])
    assert batch.images is not None
    batch.images = batch.images[..., :3]
    with pytest.raises(DataError, match="a picture of 3 x 16 pixels is smaller than the stride of 4"):
        system(batch)


@pytest.mark.parametrize("stages", [0, 1, 2, 3, 4])
def test_any_number_of_stages(stages: int) -> None:
    system = build(**(TINY | {"stages": stages, "size": 32}))
    batch = system.layout([pair(0, "a", "b")])
    assert system.layout.queries == {0: 4, 1: 64, 2: 16, 3: 4, 4: 1}[stages]
    assert system(batch).shape == (1, system.layout.queries + 3, 32)


@pytest.mark.parametrize("unknown", [None, "<unk>"])
@pytest.mark.parametrize("kind", [models.WordLevel, models.WordPiece, models.BPE])
def test_a_language_that_the_vocabulary_lacks_is_named(kind: type, unknown: str | None, tmp_path: Path) -> None:
    """Without an unknown token words and pieces raise what is no error of ours, and byte pairs say nothing."""
    words = {word: i for i, word in enumerate(("<eos>", "a", "cat", "c", "t", *([unknown] if unknown else [])))}
    given = {"merges": []} if kind is models.BPE else {}
    raw = tokenizers.Tokenizer(kind(words, **given, **({"unk_token": unknown} if unknown else {})))
    raw.pre_tokenizer = pre_tokenizers.Whitespace()
    PreTrainedTokenizerFast(tokenizer_object=raw, unk_token=unknown, eos_token="<eos>").save_pretrained(tmp_path)
    system = build(**(TINY | {"tokenizer": str(tmp_path)}))
    system.layout([pair(0, "a", "cat")])
    said = "pair/0: the vocabulary has no token for something in 'a Katze'.* lorgnette tokenizer"
    with pytest.raises(DataError, match=said):
        system.layout([pair(0, "a", "a Katze")])
    documents = [pair(0, "", "a Katze")]
    stream = Stream(documents, batch=1, augment=Prefixed(system.layout.tokenizer, 40))
    (error,) = shuffled("pairs", stream, system.layout, 0)(0).broken.values()
    assert str(error).startswith("pair/0: the vocabulary has no token for something in '")
