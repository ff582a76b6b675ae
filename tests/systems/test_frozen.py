"""Laws of Frozen: the language model stays as it is, and reads visual embeddings exactly as it reads words."""

import json
import logging
from dataclasses import replace
from pathlib import Path

import numpy as np
import PIL.Image
import pytest
import torch
from torn import Torn

from lorgnette import load
from lorgnette.data.named import open_data
from lorgnette.document import Document, Image, Text, Video
from lorgnette.errors import ConfigError, DataError
from lorgnette.features import precompute
from lorgnette.fusion.inline import insert
from lorgnette.objectives.language_modelling import LanguageModelling
from lorgnette.policy import Frozen as Stays
from lorgnette.policy import apply, set_modes
from lorgnette.recipes import clip
from lorgnette.recipes.frozen import adapt, pretrain
from lorgnette.systems import frozen
from lorgnette.training import train, train_phases

TINY = {"language": "tiny-random", "vision": "tiny-random"}


def picture(seed: int) -> Image:
    return Image(np.random.default_rng(seed).integers(0, 255, (24, 20, 3), dtype=np.uint8))


def pairs(number: int, start: int = 0) -> list[Document]:
    return [Document((picture(i), Text(f"thing {i}", weight=1.0)), key=f"d{i}") for i in range(start, start + number)]


@pytest.fixture
def system() -> frozen.Frozen:
    torch.manual_seed(0)
    return frozen.build(**TINY).eval()


def test_visual_embeddings_equal_to_words_give_what_the_words_give(system):
    """Plumbing: two words' embeddings in the prefix, and the plain language model on the same words."""
    words = torch.tensor([[40, 41]])
    batch = system.layout([Document((picture(0), Text("seen")))])
    with torch.no_grad():
        system.look = lambda patches: system.language.embed(words)
        hidden = system(batch)
        tokens = batch.tokens.clone()
        tokens[batch.slots >= 0] = words[0]
        plain = system.language(system.language.embed(tokens))
    torch.testing.assert_close(system.language.head(hidden), system.language.head(plain), atol=1e-4, rtol=0)


@pytest.mark.parametrize("queries", [1, 2, 4])
def test_pictures_stand_where_they_stand_in_the_document(queries):
    system = frozen.build(**TINY, queries=queries).eval()
    a, b = picture(1), picture(2)
    batch = system.layout([Document((Text("x"), a, Text("yz"), b, a)), Document((b,))])
    bos, text = [-1], lambda n: [-1] * n
    first = [*bos, *text(1), *range(queries), *text(2), *range(queries, 3 * queries)]
    assert batch.slots[0].tolist() == first
    assert batch.media.tolist() == [[0, 1, 0], [1, -1, -1]]
    assert len(batch.images) == 2, "each distinct picture once"
    visual = system.look(system.see(batch.images))
    x = insert(system.language.embed(batch.tokens), visual, batch)
    torch.testing.assert_close(x[0, 2 : 2 + queries], visual[0])
    torch.testing.assert_close(x[0, -queries:], visual[0])
    torch.testing.assert_close(x[1, 1 : 1 + queries], visual[1])


def test_the_loss_is_taken_on_the_caption_and_its_end_only(system):
    document = Document((Text("Look."), picture(0), Text("What?"), Text("cat", weight=0.5)))
    batch = system.layout([document])
    tokenizer = system.layout.tokenizer
    supervised = batch.tokens[batch.weights > 0].tolist()
    assert supervised == [*tokenizer.encode("cat"), tokenizer.eos]
    assert set(batch.weights[batch.weights > 0].tolist()) == {0.5}


def test_padding_changes_nothing(system):
    short, long = pairs(1)[0], Document((picture(5), Text("a much longer caption than that", weight=1.0)))
    alone, together = system.layout([short]), system.layout([short, long])
    with torch.no_grad():
        a, b = system(alone), system(together)
    torch.testing.assert_close(a[0], b[0, : a.shape[1]], atol=1e-5, rtol=0)


def test_gradients_reach_the_encoder_and_not_the_language_model():
    torch.manual_seed(0)
    system = frozen.build(**TINY)
    run = pretrain(sources=(pairs(6), pairs(2, 6)), **TINY)
    apply(run.policy, system)
    set_modes(system, training=True)
    LanguageModelling()(system, system.layout(pairs(4)))["loss"].backward()
    assert all(p.grad is None for p in system.language.parameters())
    assert not system.language.training
    for part in (system.vision, system.connector):
        grads = [p.grad for p in part.parameters() if p.grad is not None]
        assert grads
        assert any(g.abs().sum() > 0 for g in grads)


def test_training_leaves_the_language_model_bit_identical(tmp_path):
    run = pretrain(sources=(pairs(8), pairs(2, 8)), **TINY, batch=4, steps=3, patience=None, validate_every=3)
    before = {n: p.clone() for n, p in frozen.build(**TINY).language.state_dict().items()}
    system = train(run, tmp_path / "run")
    for name, tensor in system.language.state_dict().items():
        assert torch.equal(tensor, before[name]), name
    again = load(tmp_path / "run")
    batch = system.layout(pairs(2))
    with torch.no_grad():
        torch.testing.assert_close(system(batch), again(batch), atol=0, rtol=0)


@pytest.mark.parametrize("control", ["finetuned", "scratch"])
def test_controls_learn_the_language_model_and_come_back_from_their_checkpoint(tmp_path, control):
    run = pretrain(
        sources=(pairs(8), pairs(2, 8)), **TINY, control=control, batch=4, steps=2, patience=None, validate_every=2
    )
    pretrained = frozen.build(**TINY).language.state_dict()
    system = train(run, tmp_path / "run")
    assert any(not torch.equal(t, pretrained[n]) for n, t in system.language.state_dict().items())
    again = load(tmp_path / "run")
    for name, tensor in system.language.state_dict().items():
        assert torch.equal(tensor, again.language.state_dict()[name]), name


def test_scratch_starts_elsewhere_and_finetuned_does_not():
    pretrained = frozen.build(**TINY).language.state_dict()
    torch.manual_seed(1)
    scratch = frozen.build(**TINY, pretrained_language=False).language.state_dict()
    weights = [name for name in pretrained if name.endswith("q_proj.weight")]
    assert weights
    assert not any(torch.equal(pretrained[name], scratch[name]) for name in weights)


def test_blind_sees_black_and_nothing_else():
    system = frozen.build(**TINY, blind=True).eval()
    batch = system.layout(pairs(3))
    assert len(batch.images) == 1
    black = system.vision.preprocess(Image(np.zeros((8, 8, 3), dtype=np.uint8)).open())
    torch.testing.assert_close(batch.images[0], black)


def test_adapt_runs_its_two_phases_on_features_computed_once(tmp_path):
    train_set, validation = pairs(8), pairs(2, 8)
    phases = adapt(
        sources=(train_set, validation), **TINY, size=None, hidden=16, batch=4, steps=4, align_steps=6, vocabulary=None
    )
    assert [phase.steps for phase in phases] == [6, 4]
    system = train_phases(phases, tmp_path / "run")
    assert len(system.layout.features) == 10
    batch = system.layout(train_set)
    assert batch.images is None
    assert batch.patches is not None
    again = train_phases(
        [replace(phase, model=lambda: pytest.fail("built again")) if phase is phases[1] else phase for phase in phases],
        tmp_path / "run",
        resume=True,
    )
    torch.testing.assert_close(again.connector.state_dict(), system.connector.state_dict(), atol=0, rtol=0)


def test_features_are_computed_where_the_system_is(system):
    class Elsewhere(torch.nn.Module):
        """The GPU of this test is the meta device."""

        def __init__(self):
            super().__init__()
            self.weight = torch.nn.Parameter(torch.zeros(1, device="meta"))
            self.layout = system.layout

        def see(self, images):
            assert images.device.type == "meta"
            return torch.zeros(len(images), 1, 8)

    assert len(precompute(Elsewhere(), [pairs(5)], batch_size=2)) == 5


def torn(folder: Path, number: int, where: tuple[int, ...]) -> list[Document]:
    """Documents of picture files, some of which are cut short."""
    documents = []
    for i in range(number):
        path = folder / f"{i}.png"
        PIL.Image.fromarray(picture(i).source).save(path)
        if i in where:
            path.write_bytes(path.read_bytes()[:60])
        documents.append(Document((Image(path), Text(f"thing {i}", weight=1.0)), key=f"d{i}"))
    return documents


def test_one_torn_picture_is_skipped_and_counted_with_features_too(tmp_path, caplog):
    documents = torn(tmp_path, 200, (77,))
    knobs = {"learn_vision": False, "batch": 50, "steps": 4, "patience": None, "validate_every": 4}
    run = pretrain(sources=(documents, pairs(4, 300)), **TINY, **knobs)
    with caplog.at_level(logging.WARNING, "lorgnette"):
        system = train(run, tmp_path / "run")
    assert len(system.layout.features) == 203
    assert [record.getMessage() for record in caplog.records if "skipped" in record.getMessage()] == [
        next(text for text in caplog.messages if text.startswith("skipped document 77 of captions: "))
    ]
    worse = pretrain(sources=(torn(tmp_path, 200, (7, 8, 9)), pairs(4, 300)), **TINY, **knobs)
    with pytest.raises(DataError, match="3 of 200 documents are broken"):
        train(worse, tmp_path / "worse")


def test_questions_about_pictures_that_captions_hold_out_are_left_out(tmp_path, caplog):
    for i in range(60):
        noise = np.random.default_rng(i).integers(0, 255, (6, 6, 3), dtype=np.uint8).repeat(4, 0).repeat(4, 1)
        PIL.Image.fromarray(noise).save(tmp_path / f"{i}.png")
    PIL.Image.open(tmp_path / "0.png").resize((48, 48)).save(tmp_path / "again.png")
    captions, questions = tmp_path / "captions.jsonl", tmp_path / "questions.jsonl"
    captions.write_text("".join(json.dumps({"image": f"{i}.png", "caption": f"c{i % 3}"}) + "\n" for i in range(60)))
    # Another order, so another division; and a picture once more, resized.
    files = [f"{i}.png" for i in reversed(range(60))] + ["again.png"]
    rows = [{"image": name, "question": "What?", "answer": "noise"} for name in files]
    questions.write_text("".join(json.dumps(row) + "\n" for row in rows))
    held = {str(part[i].images[0].source) for part in open_data(str(captions))[1:] for i in range(len(part))}
    asked = open_data(str(questions))[0]
    assert {str(asked[i].images[0].source) for i in range(len(asked))} & held
    run = pretrain(data=str(captions), questions=str(questions), **TINY, batch=4)
    left = run.data["questions"].source
    names = {str(left[i].images[0].source) for i in range(len(left))}
    assert names
    assert not names & held
    assert (str(tmp_path / "again.png") in names) == (str(tmp_path / "0.png") not in held)
    assert f"left out {len(asked) - len(left)} of {len(asked)} questions" in caplog.text


def test_a_small_vocabulary_holds_all_that_pages_say(tmp_path):
    phases = adapt(
        sources=(pairs(8), pairs(2, 8)),
        **TINY,
        size=None,
        hidden=16,
        batch=12,
        pairs=2,
        steps=2,
        align_steps=1,
        vocabulary=1,
    )
    assert "pages" in phases[1].data
    train_phases(phases, tmp_path / "run")


def test_a_broken_pair_ends_nothing(tmp_path):
    given = {"size": None, "hidden": 16, "batch": 8, "pairs": 2, "steps": 4, "align_steps": 1, "vocabulary": 1}
    phases = [replace(run, max_broken=0.5) for run in adapt(sources=(Torn(pairs(8)), pairs(2, 8)), **TINY, **given)]
    train_phases(phases, tmp_path / "run")
    read = [phases[1].data["pages"].source[i] for i in range(8) if i != 3]
    assert all(pairs(8)[3].key not in page.key.split("+") for page in read)


@pytest.mark.parametrize(("recipe", "parts"), [(pretrain, TINY), (adapt, TINY), (clip.pretrain, {})])
def test_a_negative_seed_is_refused(recipe, parts):
    with pytest.raises(ConfigError, match="seed: -1 is negative"):
        recipe(sources=(pairs(4), pairs(2)), **parts, seed=-1)


def test_no_visual_embedding_is_refused():
    with pytest.raises(ConfigError, match="queries: 0 visual embeddings"):
        pretrain(sources=(pairs(4), pairs(2)), **TINY, queries=0)


def test_the_papers_pictures_have_224_pixels():
    arguments = pretrain(sources=(pairs(4), pairs(2)), language="tiny-random").arguments
    assert arguments["size"] == 224
    assert arguments["vision"] == "nf_resnet50"


def test_policy_freezes_what_the_recipe_says():
    run = pretrain(sources=(pairs(4), pairs(2)), **TINY, learn_vision=False)
    assert run.policy["vision.*"] == Stays()
    assert run.policy["language.*"] == Stays()


def test_questions_make_up_half_of_every_batch(tmp_path):
    pytest.importorskip("easy_vqa")
    knobs = {"batch": 4, "accumulate": 2, "gradient_checkpointing": True, "steps": 2, "vocabulary": 8}
    run = pretrain(sources=(pairs(4), pairs(2)), questions="easy-vqa", **TINY, **knobs)
    assert {name: stream.batch for name, stream in run.data.items()} == {"captions": 2, "questions": 2}
    train(run, tmp_path / "run")
    records = [json.loads(line) for line in (tmp_path / "run" / "metrics.jsonl").read_text().splitlines()]
    assert {"captions/nll", "questions/nll", "validation/loss"} <= set().union(*records)


def test_a_video_and_an_endless_text_are_named(system):
    with pytest.raises(DataError, match="clip: this system reads text and images, not Video"):
        system.layout([Document((Video("clip.mp4"),), key="clip")])
    with pytest.raises(DataError, match=r"book: .* positions do not fit"):
        system.layout([Document((Text("word " * 20_000),), key="book")])
