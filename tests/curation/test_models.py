"""What models say, in this process: cosines find the texts that were swapped, captions and embeddings are kept."""

from pathlib import Path

import numpy as np
import pytest
import torch
from made import drawing

from lorgnette.curation.models import embedder, looker
from lorgnette.curation.options import Options
from lorgnette.data.pairs import captioned
from lorgnette.document import Document, Text
from lorgnette.errors import CheckpointError
from lorgnette.systems import clip, frozen
from lorgnette.training.checkpoint import identify, save

TINY = {"vision": "tiny-random", "width": 64, "layers": 1, "embedding": 16, "context": 24}


@pytest.fixture(scope="module")
def run(tmp_path_factory: pytest.TempPathFactory) -> Path:
    folder = tmp_path_factory.mktemp("clip") / "checkpoint"
    torch.manual_seed(0)
    system = clip.build(**TINY)  # type: ignore[arg-type]
    save(system, folder, identify(system, "clip", TINY))
    return folder


def test_cosines_are_the_systems_own(run: Path) -> None:
    source = [captioned(drawing(i), f"caption {i}", key=str(i)) for i in range(5)]
    source[2] = captioned(b"broken", "x", key="broken")
    source.append(Document((Text("no picture", 1.0),), key="text"))
    table = looker(source, Options(model=str(run), quantile=0.1))(range(6))
    assert table["number"].to_pylist() == [0, 1, 3, 4]
    vectors = np.stack([np.frombuffer(one, np.float32) for one in table["embedding"].to_pylist()])
    np.testing.assert_allclose(np.linalg.norm(vectors, axis=1), 1, atol=1e-5)
    from lorgnette.training.checkpoint import load

    system = load(run)
    with torch.inference_mode():
        batch = system.layout([source[i] for i in (0, 1, 3, 4)])
        expected = (system.embed_images(batch) * system.embed_texts(batch)).sum(1)
    np.testing.assert_allclose(table["score"].to_numpy(), expected.numpy(), atol=1e-5)


def test_an_encoder_by_name_embeds_and_scores_nothing() -> None:
    source = [captioned(drawing(i), "x", key=str(i)) for i in (0, 1, 0)]
    vectors, scores = embedder("tiny-random", scores=False)(source)
    assert np.isnan(scores).all()
    np.testing.assert_allclose(vectors[0] @ vectors[2], 1, atol=1e-5)
    with pytest.raises(CheckpointError, match="no pictures and texts in one space"):
        embedder("tiny-random", scores=True)


def test_a_run_captions(tmp_path: Path, run: Path) -> None:
    torch.manual_seed(0)
    arguments = {"language": "tiny-random", "vision": "tiny-random"}
    system = frozen.build(**arguments)
    save(system, tmp_path / "frozen", identify(system, "frozen", arguments))
    source = [captioned(drawing(i), "x", key=str(i)) for i in range(3)]
    said = looker(source, Options(captioner=tmp_path / "frozen"))(range(3))["generated"].to_pylist()
    assert len(said) == 3
    assert all(isinstance(one, str) for one in said)
    with pytest.raises(CheckpointError, match="does not answer prompts"):
        looker(source, Options(captioner=run))
    vectors, _ = embedder(str(tmp_path / "frozen"), scores=False)(source)
    assert vectors.shape[0] == 3
