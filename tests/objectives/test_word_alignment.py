"""Word alignment: what each embedding is to point at, by hand."""

import numpy as np
import pytest
import torch
import torch.nn.functional as F

from lorgnette.document import Document, Image, Text
from lorgnette.errors import ConfigError
from lorgnette.objectives.word_alignment import WordAlignment
from lorgnette.systems import frozen


def pair(seed: int, caption: str) -> Document:
    return Document((Image(np.full((8, 8, 3), seed, dtype=np.uint8)), Text(caption, weight=1.0)))


@pytest.fixture(scope="module")
def system() -> frozen.Frozen:
    torch.manual_seed(0)
    return frozen.build(language="tiny-random", vision="tiny-random", norm=True).eval()


def words(system: frozen.Frozen, text: str) -> torch.Tensor:
    ids = torch.tensor([system.layout.tokenizer.encode(text)])
    return F.normalize(system.language.embed(ids)[0], dim=-1)


def test_a_caption_is_dealt_to_the_embeddings_in_order(system):
    batch = system.layout([pair(1, "abcd"), pair(2, "x")])
    targets = WordAlignment().targets(system.language, batch, 2)
    letters = words(system, "abcd")
    expected = [F.normalize(letters[:2].mean(0), dim=-1), F.normalize(letters[2:].mean(0), dim=-1)]
    torch.testing.assert_close(targets[0], torch.stack(expected))
    torch.testing.assert_close(targets[1], words(system, "x").expand(2, -1), msg="one word is all embeddings' target")


def test_pointing_at_the_own_words_is_the_least_loss(system, monkeypatch):
    batch = system.layout([pair(1, "ab"), pair(2, "cd"), pair(3, "ab")])
    objective = WordAlignment()
    targets = objective.targets(system.language, batch, 2)
    monkeypatch.setattr(system, "look", lambda patches: targets)
    right = objective(system, batch)
    assert right["distance"].item() == pytest.approx(0, abs=1e-6)
    cosine = float((targets[0] * targets[1]).sum(-1).mean())
    contrast = np.log(1 + np.exp((cosine - 1) / objective.temperature))  # two distinct captions, not three
    assert right["loss"].item() == pytest.approx(objective.contrast * contrast, abs=1e-5)
    monkeypatch.setattr(system, "look", lambda patches: targets.roll(1, 0))
    assert objective(system, batch)["loss"] > right["loss"]


def test_only_the_connector_and_the_encoder_get_gradients(system):
    system.zero_grad()
    WordAlignment()(system, system.layout([pair(1, "ab"), pair(2, "cd")]))["loss"].backward()
    assert all(p.grad is None for p in system.language.parameters())
    assert all(p.grad is not None for p in system.connector.parameters())


def test_a_system_without_pictures_is_refused(system):
    with pytest.raises(ConfigError, match="Linear shows no pictures"):
        WordAlignment()(torch.nn.Linear(1, 1), system.layout([pair(1, "ab")]))
