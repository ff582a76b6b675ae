"""What many parts find is what one part finds."""

from io import BytesIO
from pathlib import Path

import numpy as np
import PIL.Image
import pyarrow as pa
import pyarrow.parquet as pq
import pytest
from hypothesis import given, settings
from hypothesis import strategies as st

from lorgnette.curation import near
from lorgnette.curation.texts import digest, minhash, normal
from lorgnette.data import emoji
from lorgnette.data.duplicates import near_pairs, signature
from lorgnette.document import Image


def copied(picture: PIL.Image.Image) -> PIL.Image.Image:
    file = BytesIO()
    picture.resize((51, 51), PIL.Image.Resampling.BICUBIC).save(file, "JPEG", quality=60)
    return PIL.Image.open(BytesIO(file.getvalue())).convert("RGB")


@pytest.fixture(scope="module")
def signatures() -> np.ndarray:
    shown = [Image(emoji.picture("fxemoji", one)).open() for one in emoji.drawn("fxemoji")[:250]]
    return np.stack([signature(one) for one in [*shown, *map(copied, shown)]])


def test_pictures_that_are_alike_share_a_part(signatures: np.ndarray) -> None:
    places = near.by_projection(signatures, parts=50)
    assert places.min() >= 0
    assert places.max() < 50
    found = [(places[a] == places[b]).any() for a, b in near_pairs(signatures)]
    assert len(found) >= 240
    assert np.mean(found) > 0.99
    rng = np.random.default_rng(0)
    a, b = rng.integers(0, 250, (2, 4000))
    shared = (places[a] == places[b]).any(axis=1)[a != b].mean()
    assert shared < 0.5  # parts divide the work, though all of these stand on white


def test_embeddings_that_are_alike_share_a_part() -> None:
    rng = np.random.default_rng(1)
    base = rng.normal(size=(300, 32))
    both = np.concatenate([base, base + 0.02 * rng.normal(size=base.shape)]).astype(np.float32)
    both /= np.linalg.norm(both, axis=1, keepdims=True)
    place, compare = near.vectors(0.95, lambda most: both[:most])
    places = place(6)(both)[:, 0]
    assert len(np.unique(places)) > 3
    assert (places[:300] == places[300:]).mean() > 0.95
    assert compare(np.arange(600) * 7, both).tolist() == [[7 * i, 7 * (i + 300)] for i in range(300)]


@pytest.mark.parametrize("noise", [0.0, 1e-7, 0.01])
def test_a_picture_that_is_there_thousands_of_times_is_a_pair_for_each(noise: float) -> None:
    rng = np.random.default_rng(2)
    base = rng.normal(size=(40, 32))
    which = np.concatenate([np.arange(40), np.full(3000, 7), rng.integers(0, 40, 500)])
    many = (base / np.linalg.norm(base, axis=1, keepdims=True))[which] + noise * rng.normal(size=(3540, 32))
    many = (many / np.linalg.norm(many, axis=1, keepdims=True)).astype(np.float32)
    found = near.near_vectors(np.arange(3540), many, least=0.95)
    assert found.tolist() == [[which[i], i] for i in range(40, 3540)]


SENTENCE = "the quick brown fox jumps over the lazy dog while seventeen grey cats watch it from the old red wall"


def test_texts() -> None:
    other = "a recipe for bread needs flour water salt and patience and an oven that is as hot as it can be"
    edited = SENTENCE.replace("seventeen", "some")
    hashes = np.stack([minhash(one) for one in (SENTENCE, other, edited, SENTENCE.upper() + "!")])
    assert near.near_texts(np.arange(4), hashes, least=0.95).tolist() == [[0, 3]]
    assert near.near_texts(np.arange(4), hashes, least=0.5).tolist() == [[0, 2], [0, 3], [2, 3]]
    assert digest(SENTENCE) == digest(SENTENCE.upper() + "!") != digest(edited)


def test_texts_of_one_band_are_all_compared_and_equal_ones_once() -> None:
    rng = np.random.default_rng(0)
    hashes = rng.integers(0, 1 << 32, (40, near.HASHES), dtype=np.uint32)
    hashes[:, :5] = 7  # one band for all, and nothing else in common
    hashes[30, 5:60] = hashes[9, 5:60]
    many = np.concatenate([hashes, hashes[[9] * 3000]])
    found = near.near_texts(np.arange(len(many)), many, least=0.8)
    assert [9, 30] in found.tolist()
    assert {(9, i) for i in range(40, 3040)} <= set(map(tuple, found.tolist()))
    assert len(found) < 3 * len(many)


@settings(max_examples=50, deadline=None)
@given(st.text())
def test_the_normal_form_is_one(text: str) -> None:
    assert normal(normal(text)) == normal(text)
    assert minhash(text).shape == (near.HASHES,)
    assert near.by_band(minhash(text)[None], parts=7).max() < 7


def test_the_cluster_finds_what_one_part_finds(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch, signatures: np.ndarray, local_ray: None
) -> None:
    from lorgnette.curation import spread

    files = []
    for k, rows in enumerate(np.array_split(signatures, 2)):
        raw = pa.array([row.tobytes() for row in rows], pa.binary(288))
        files.append(str(tmp_path / f"{k}.parquet"))
        pq.write_table(pa.table({"number": np.arange(len(rows)) + 250 * k, "signature": raw}), files[-1])

    def pairs() -> set[tuple[int, int]]:
        how = near.signatures()
        column = spread.Column("signature", 288, np.uint8, lambda table: table["number"].to_numpy())
        found = spread.alike(files, column, how)
        return {(min(a, b), max(a, b)) for a, b in found.tolist()}

    whole = pairs()
    monkeypatch.setattr(spread, "PART", 260)
    divided = pairs()
    # A part sees less and so leaves out fewer pairs that others imply; what belongs together is the same.
    assert len(whole & divided) > 0.99 * len(whole)
