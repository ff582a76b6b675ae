"""What models say, in this process: cosines find the texts that were swapped, captions and embeddings are kept."""

from pathlib import Path

import numpy as np
import pyarrow.parquet as pq
import pytest
import torch
from made import drawing

from lorgnette import folders
from lorgnette.curation.curate import Told, curate
from lorgnette.curation.models import embedder, looker
from lorgnette.curation.options import Options
from lorgnette.data.named import open_source
from lorgnette.data.pairs import captioned
from lorgnette.document import Document, Text
from lorgnette.errors import CheckpointError
from lorgnette.systems import frozen
from lorgnette.training.checkpoint import identify, save


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


@pytest.fixture(scope="module")
def captioner(tmp_path_factory: pytest.TempPathFactory) -> Path:
    folder = tmp_path_factory.mktemp("frozen") / "checkpoint"
    torch.manual_seed(0)
    arguments = {"language": "tiny-random", "vision": "tiny-random"}
    system = frozen.build(**arguments)
    save(system, folder, identify(system, "frozen", arguments))
    return folder


def test_a_run_captions(run: Path, captioner: Path) -> None:
    source = [captioned(drawing(i), "x", key=str(i)) for i in range(3)]
    said = looker(source, Options(captioner=captioner))(range(3))["generated"].to_pylist()
    assert len(said) == 3
    assert all(isinstance(one, str) for one in said)
    with pytest.raises(CheckpointError, match="does not answer prompts"):
        looker(source, Options(captioner=run))
    vectors, _ = embedder(str(captioner), scores=False)(source)
    assert vectors.shape[0] == 3


def test_the_whole_with_models_stopped_twice(
    tmp_path: Path, run: Path, captioner: Path, local_ray: None, monkeypatch: pytest.MonkeyPatch
) -> None:
    source = [captioned(drawing(i), f"caption {i}", key=f"d{i}") for i in range(6)]
    source[4] = Document((Text("no picture", 1.0),), key="d4")
    options = Options(stages=("exact",), model=str(run), quantile=0.1, captioner=captioner, shard=3, size=2e-5)
    expected = {row["number"]: row for row in looker(source, options)(range(6)).to_pylist()}
    least = min(expected, key=lambda i: expected[i]["score"])
    out, work = tmp_path / "out", tmp_path / "out.work" / "source"
    left: dict[Path, int] = {}

    def stopped(at: str) -> Told:
        def told(stage: str, number: int, total: int) -> None:
            assert total > 1
            assert all(path.stat().st_mtime_ns == when for path, when in left.items() if path.exists())
            if stage == at:
                raise KeyboardInterrupt

        return told

    for at, table in (("looking", "seen"), ("writing", "tars")):
        with pytest.raises(KeyboardInterrupt):
            curate(source, out, options, told=stopped(at))
        left |= {path: path.stat().st_mtime_ns for path in (work / table).iterdir() if path.name[0] != "."}
        assert {path.parent.name for path in left} == {"seen", table}
    for name in ("embeddings", "tars"):  # what a worker leaves that is killed while it writes
        (work / name / ".train-00000.parquet.123").write_bytes(b"half")
    synced: list[str] = []
    monkeypatch.setattr(folders, "sync", lambda path: synced.append(path.name))
    report = curate(source, out, options, told=stopped(""))
    embeddings = {f"{tar.stem}.parquet" for tar in out.glob("*.tar")}
    assert {path.name for path in (out / "embeddings").iterdir()} == embeddings <= set(synced)
    assert not list(out.rglob("*.123"))
    assert report.dropped["alignment: text and picture do not fit"] == 1
    kept = {document.key: document.meta for document in open_source(out)}
    assert kept.keys() == {f"d{i}" for i in range(6) if i != least}
    found = {}
    for tar in sorted(out.glob("*.tar")):
        table = pq.read_table(out / "embeddings" / f"{tar.stem}.parquet")
        vectors = np.stack(table["embedding"].to_numpy())
        assert vectors.dtype == np.float32
        in_tar = [document.key for document in open_source(tar) if document.images]
        assert table["key"].to_pylist() == in_tar
        found |= dict(zip(in_tar, vectors, strict=True))
    for i, row in expected.items():
        if i != least:
            told = kept[f"d{i}"]
            assert told["alignment"] == pytest.approx(row["score"], abs=1e-6)
            assert told["generated"] == row["generated"]
            np.testing.assert_allclose(found.pop(f"d{i}"), np.frombuffer(row["embedding"], np.float32), atol=1e-6)
    assert not found
    assert not {"alignment", "generated", "embedding"} & kept["d4"].keys()
