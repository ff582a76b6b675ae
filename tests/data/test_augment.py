import pickle
from functools import partial

import numpy as np
import PIL.Image
import pytest

from lorgnette.data.augment import Augmented, augment
from lorgnette.document import Document, Image, Region, Targets, Text, Video
from lorgnette.errors import DataError

STILL = {"crop": (1.0, 1.0), "shift": 0.0, "turn": 0.0, "colour": (0.0, 0.0, 0.0, 0.0), "blur": 0.0}


def pixels(document):
    return np.asarray(document.images[0].open()).astype(int)


@pytest.fixture
def document():
    rng = np.random.default_rng(0)
    blocks = PIL.Image.fromarray(rng.integers(0, 256, (6, 6, 3), dtype=np.uint8))
    picture = blocks.resize((72, 60), PIL.Image.Resampling.NEAREST)
    return Document((Image(picture), Text("a", 1.0)), "k", {"m": 1}, Targets(references=("a",)))


def test_same_chance_same_picture(document):
    one, two, other = (augment(document, np.random.default_rng(seed)) for seed in (1, 1, 2))
    assert (pixels(one) == pixels(two)).all()
    assert (pixels(one) != pixels(other)).any()
    assert one.images[0].open().size == (72, 60)
    assert (one.parts[1], one.key, one.meta, one.targets) == (document.parts[1], "k", {"m": 1}, document.targets)


def test_all_off_changes_nothing(document):
    assert (pixels(augment(document, np.random.default_rng(0), **STILL)) == pixels(document)).all()


def test_flip(document):
    flipped = augment(document, np.random.default_rng(0), **STILL, flip=1.0)
    assert (pixels(flipped) == pixels(document)[:, ::-1]).all()


def test_zoom_out_and_shift_leave_white():
    black = Document((Image(PIL.Image.new("RGB", (64, 64))),))
    small = pixels(augment(black, np.random.default_rng(0), **{**STILL, "crop": (4.0, 4.0)}))
    assert (small[:14] == 255).all()
    assert (small[20:44, 20:44] == 0).all()
    close = pixels(augment(black, np.random.default_rng(0), **{**STILL, "crop": (0.5, 0.5)}))
    assert (close == 0).all()
    turned = pixels(augment(black, np.random.default_rng(0), **{**STILL, "turn": 20.0}))
    assert (turned[[0, 0, -1, -1], [0, -1, 0, -1]] == 255).all()
    assert (turned[16:48, 16:48] == 0).all()


def test_grey_and_colours(document):
    grey = pixels(augment(document, np.random.default_rng(0), **STILL, grey=1.0))
    assert np.ptp(grey, axis=-1).max() <= 1
    expected = np.asarray(document.images[0].open().convert("L")).astype(int)
    assert abs(grey[..., 0] - expected).max() <= 1
    moves = {"colour": (0.3, 0.3, 0.3, 0.05)}
    tinted = [pixels(augment(document, np.random.default_rng(s), **{**STILL, **moves})) for s in range(20)]
    changes = [abs(t - pixels(document)).mean() for t in tinted]
    assert 2 < np.mean(changes) < 60
    assert abs(np.mean(tinted, axis=0) - pixels(document)).mean() < 0.5 * np.mean(changes)


def test_hue_alone_keeps_luma(document):
    tinted = augment(document, np.random.default_rng(0), **{**STILL, "colour": (0.0, 0.0, 0.0, 0.02)})
    before, after = (np.asarray(d.images[0].open().convert("L")).astype(int) for d in (document, tinted))
    assert (pixels(tinted) != pixels(document)).any()
    assert abs(before - after).mean() < 3


def test_large_pictures_are_reduced():
    large = Document((Image(PIL.Image.new("RGB", (2000, 1000), "red")),))
    assert augment(large, np.random.default_rng(0)).images[0].open().size == (512, 256)


def test_boxes_are_refused():
    boxed = Document((Image(PIL.Image.new("RGB", (8, 8)), (Region((0.0, 0.0, 4.0, 4.0)),)),), "k")
    with pytest.raises(DataError, match="k: boxes would not follow"):
        augment(boxed, np.random.default_rng(0))
    film = Document((Video([PIL.Image.new("RGB", (8, 8))], regions=boxed.images[0].regions),), "film")
    with pytest.raises(DataError, match="film: boxes would not follow"):
        augment(film, np.random.default_rng(0))


def test_augmented_source(document):
    source = Augmented([document, document], 3, seed=5, augment=partial(augment, flip=0.5))
    assert len(source) == 6
    assert [d.key for d in source] == ["k", "k", "k~1", "k~1", "k~2", "k~2"]
    assert source[0] is document
    assert (pixels(source[2]) == pixels(pickle.loads(pickle.dumps(source))[2])).all()
    assert (pixels(source[2]) != pixels(source[3])).any()
    assert (pixels(source[2]) != pixels(source[4])).any()
    assert (pixels(Augmented([document], 2, seed=6)[1]) != pixels(Augmented([document], 2, seed=5)[1])).any()
    assert (pixels(Augmented([document], 1, original=False)[0]) != pixels(document)).any()
    with pytest.raises(IndexError):
        source[6]


def test_all_frames_of_a_clip_are_changed_alike(document):
    first = document.images[0].open()
    frames = [first, first.point(lambda value: value // 2), first]
    clip = Document((Video(frames, fps=2.0), Text("it fades", 1.0)), "clip")
    flipped = augment(clip, np.random.default_rng(0), **STILL, flip=1.0, rate=2.0).parts[0]
    before, after = ([np.asarray(frame) for frame in video.frames(2.0)] for video in (clip.parts[0], flipped))
    assert len(before) == len(after) == 3
    assert all((now == then[:, ::-1]).all() for now, then in zip(after, before, strict=True))
    for seed in range(20):
        seen = augment(clip, np.random.default_rng(seed), flip=0.5, rate=2.0).parts[0].frames(2.0)
        assert seen[0].tobytes() == seen[2].tobytes(), "the same frame, changed in the same way"
        again = augment(clip, np.random.default_rng(seed), flip=0.5, rate=2.0).parts[0].frames(2.0)
        assert [frame.tobytes() for frame in seen] == [frame.tobytes() for frame in again]
    mirrored = [augment(clip, np.random.default_rng(s), **STILL, flip=0.5, rate=2.0).parts[0] for s in range(40)]
    shares = np.mean([(np.asarray(video.frames(2.0)[0]) != before[0]).any() for video in mirrored])
    assert 0.2 < shares < 0.8


def test_a_clip_is_read_as_its_layout_reads_it():
    shades = [PIL.Image.new("RGB", (8, 8), (shade, 0, 0)) for shade in range(0, 200, 10)]
    clip = Video(shades, fps=4.0)
    seen = augment(Document((clip,)), np.random.default_rng(0), **STILL, flip=1.0, rate=2.0, most=4).parts[0]
    told, expected = ([frame.getpixel((0, 0)) for frame in video.frames(2.0, 4)] for video in (seen, clip))
    assert told == expected
    assert len(set(told)) == 4
