"""Scenes: what is said is true of the pixels, nothing held out is shown, and who does not look gets chance."""

import hashlib
import io
import math
import os
import pickle
import re
import subprocess
import sys
from collections import Counter, defaultdict
from itertools import product

import numpy as np
import PIL.Image
import pytest
from sklearn.feature_extraction import FeatureHasher
from sklearn.linear_model import LogisticRegression

from lorgnette.data.emoji import TEST_STYLES, TRAIN_STYLES, VALIDATION_STYLES, is_held_out, role
from lorgnette.data.named import open_data
from lorgnette.data.scenes import CAPTIONS, CLIPS, ENTAILMENT, FAMILIES, GROUNDING, STATEMENTS, VQA, Scenes, clips, told
from lorgnette.data.scenes.canvas import COVER, Scene
from lorgnette.data.scenes.motion import FPS
from lorgnette.data.scenes.sentences import ACTIONS, ANSWERS, FRAMES, SENTENCES, WAYS
from lorgnette.data.scenes.things import NAMES, things
from lorgnette.data.scenes.wording import article, plural
from lorgnette.data.source import Source
from lorgnette.document import Document, Image, Text, Video
from lorgnette.errors import ConfigError

SMALL = 96
FAMILY = pytest.mark.parametrize("family", FAMILIES.values(), ids=FAMILIES)


def some(family, number=None, **arguments):
    """The first documents of a set of small pictures; whole blocks, if no number is given."""
    source = Scenes(family, size=SMALL, **arguments)
    number = number or source.block * math.ceil(48 / source.block)
    return [source[i] for i in range(number)]


def of(kind: str, family, **arguments) -> list[Document]:
    return some(family, 48, kinds=[kind], **arguments)


def named(picture: Image) -> dict[str, list[tuple[float, ...]]]:
    """Boxes by the name of what is in them."""
    found = defaultdict(list)
    for region in picture.regions:
        found[region.label].append(region.box)
    return found


def centre(box):
    return (box[0] + box[2]) / 2, (box[1] + box[3]) / 2


def beside(a, b, words: str) -> bool:
    """Whether box a is `words` of box b: wholly past its edge."""
    axis = 0 if words in ("left of", "right of") else 1
    return a[axis + 2] <= b[axis] if words in ("left of", "above") else a[axis] >= b[axis + 2]


def area(box):
    return (box[2] - box[0]) * (box[3] - box[1])


def reply(document: Document) -> str:
    return document.parts[-1].text.strip()


WORDS = "(left of|right of|above|below)"


# What every set keeps.


@FAMILY
def test_a_document_is_what_the_house_expects(family):
    documents = some(family)
    assert isinstance(Scenes(family), Source)
    assert len({d.key for d in documents}) == len(documents)
    for document in documents:
        *media, last = document.parts
        assert document.key.startswith(f"scenes/{family.name}/en/train/{document.meta['style']}/0/")
        assert last.weight == 1
        assert all(part.weight == 0 for part in media if isinstance(part, Text))
        assert reply(document) == document.targets.references[0]
        assert reply(document) in document.targets.choices
        assert len(set(document.targets.choices)) == family.kinds[document.meta["kind"]].members
        asked = document.meta["question"]
        assert last.text == (" " if asked else "") + document.targets.references[0]
        assert (f"Question: {asked} Answer:" == media[-1].text) if asked else not document.text.startswith(" ")
        assert document.meta["role"] == "train"
        for picture in document.images:
            assert picture.open().size == (SMALL, SMALL)


@FAMILY
def test_the_split_is_kept(family):
    for split, styles in (("train", None), ("held_out", TEST_STYLES[:1]), ("train", VALIDATION_STYLES)):
        documents = some(family, 30, split=split, styles=styles)
        assert len({document.meta["style"] for document in documents}) > (0 if styles else 3)
        for document in documents:
            assert document.meta["concepts"]
            assert {is_held_out(concept) for concept in document.meta["concepts"]} == {split == "held_out"}
            assert document.meta["style"] in (styles or TRAIN_STYLES)


@FAMILY
def test_in_german_the_same_scenes_are_described(family):
    for english, german in zip(some(family, 24), some(family, 24, language="de"), strict=True):
        assert [p.digest for p in english.images] == [p.digest for p in german.images]
        assert english.meta["concepts"] == german.meta["concepts"]
        assert english.targets.label == german.targets.label
        assert english.meta["cluster"] == german.meta["cluster"]
        assert german.text.strip() != english.text.strip()
        assert re.search(r"[{}]|  |\bNone\b", german.text + english.text) is None
        assert german.key != english.key


@FAMILY
def test_the_same_for_everyone_who_asks(family):
    source = Scenes(family, size=SMALL)
    again = pickle.loads(pickle.dumps(source))
    longer = Scenes(family, size=SMALL, length=len(source) + 1)
    for i in (7, len(source) - 1, 7):
        assert source[i].text == again[i].text == longer[i].text
        assert _pixels(source[i]) == _pixels(again[i]) == _pixels(longer[i])
    assert source[-1].key == source[len(source) - 1].key
    assert source[7].meta["truth"] != Scenes(family, size=SMALL, seed=1)[7].meta["truth"]
    with pytest.raises(IndexError):
        source[len(source)]
    kind = source.kinds[1]
    alone = Scenes(family, size=SMALL, kinds=[kind])
    assert _pixels(alone[2]) == _pixels(source[1 + 2 * len(source.kinds)])


def _pixels(document: Document) -> str:
    digest = hashlib.sha256()
    for part in document.parts:
        frames = [part.source] if isinstance(part, Image) else part.source if isinstance(part, Video) else []
        for frame in frames:
            digest.update(PIL.Image.open(io.BytesIO(frame)).tobytes())
    return digest.hexdigest()


def fingerprint() -> str:
    """What is said and known of the first scenes of every family in both languages; then, what is shown."""
    said, shown = hashlib.sha256(), hashlib.sha256()
    for family in FAMILIES.values():
        for language in ("en", "de"):
            for document in some(family, 12, language=language):
                known = (document.text, document.meta, document.targets, [p.regions for p in document.images])
                said.update(repr(known).encode())
                shown.update(_pixels(document).encode())
    return f"{said.hexdigest()[:16]} {shown.hexdigest()[:16]}"


def test_the_same_in_every_process_and_ever():
    """Here, where Python has drawn how strings hash, and where that is told."""
    code = "import test_scenes; print(test_scenes.fingerprint())"
    place = os.path.dirname(__file__)
    ran = subprocess.run(
        [sys.executable, "-c", code],
        env={**os.environ, "PYTHONHASHSEED": "1", "PYTHONPATH": os.pathsep.join([place, *sys.path])},
        capture_output=True,
        text=True,
        check=True,
    )
    # Whoever changes this changes what every number measured on scenes means.
    assert fingerprint() == ran.stdout.strip() == "12f3028e7c6fa0a9 bfb35b80b15694af"


# Who does not look gets chance.


@FAMILY
@pytest.mark.parametrize("language", ["en", "de"])
def test_every_question_has_all_its_answers_once(family, language):
    """The members of a group differ in nothing that can be read, and in the answer."""
    groups = defaultdict(list)
    for document in some(family, language=language):
        groups[document.meta["cluster"]].append(document)
    for members in groups.values():
        first = members[0]
        assert len(members) == family.kinds[first.meta["kind"]].members == len(first.targets.choices)
        assert {d.meta["question"] for d in members} == {first.meta["question"]}
        assert {d.targets.choices for d in members} == {first.targets.choices}
        assert {d.meta["style"] for d in members} == {first.meta["style"]}
        assert sorted(map(reply, members)) == sorted(first.targets.choices)
        assert len({d.targets.label for d in members}) == len(members)
        assert len({_pixels(d) for d in members}) == len(members)


@FAMILY
def test_a_blind_model_that_learns_gets_chance(family, monkeypatch):
    """Logistic regression on the words of question and candidate, and on its place among them."""
    monkeypatch.setattr(Scene, "image", lambda scene, names: Image(b""))  # nobody will look
    monkeypatch.setattr(clips, "video", lambda *clip: Video(()))
    documents = some(family, Scenes(family).block * math.ceil(288 / Scenes(family).block))
    clusters = sorted({d.meta["cluster"] for d in documents}, key=lambda c: hashlib.sha256(c.encode()).hexdigest())
    learnt = set(clusters[: len(clusters) // 2])
    rows, right = zip(*(row for d in documents if d.meta["cluster"] in learnt for row in _read(d)), strict=True)
    hasher = FeatureHasher(2**14)
    model = LogisticRegression(C=10.0, max_iter=300).fit(hasher.transform(rows), right)
    tested = [d for d in documents if d.meta["cluster"] not in learnt]
    hits = []
    for document in tested:
        scores = model.predict_proba(hasher.transform([row for row, _ in _read(document)]))[:, 1]
        hits.append(document.targets.choices[int(scores.argmax())] == reply(document))
    chance = np.mean([1 / len(d.targets.choices) for d in tested])
    assert np.mean(hits) == pytest.approx(chance, abs=1e-9)


def _read(document: Document) -> list[tuple[dict[str, float], bool]]:
    kind, words = document.meta["kind"], document.meta["question"].split()
    rows = []
    for place, choice in enumerate(document.targets.choices):
        seen = [choice, f"at {place}", *choice.split(), *(f"{word} {choice}" for word in words)]
        rows.append(({f"{kind} {feature}": 1.0 for feature in seen}, choice == reply(document)))
    return rows


def test_words_are_as_often_right_as_wrong():
    for kind in ("what", "larger", "furthest"):
        right, offered = Counter(), Counter()
        for document in of(kind, VQA):
            right[reply(document)] += 1
            offered.update(document.targets.choices)
        assert {word: 2 * n for word, n in right.items()} == offered
    assert Counter(map(reply, of("count", VQA))) == {"1": 12, "2": 12, "3": 12, "4": 12}
    assert Counter(map(reply, of("shown", VQA))) == {"yes": 24, "no": 24}


# What is said is true: worked out again from words and boxes.


def test_pixels_are_where_the_boxes_say():
    for document in some(VQA, 64) + some(GROUNDING, 36) + some(ENTAILMENT, 12):
        (picture,) = document.images
        pixels = np.asarray(picture.open()).astype(int)
        differs = np.abs(pixels - pixels[0, 0]).max(axis=2) > 8
        for region in picture.regions:
            left, top, right, bottom = map(int, region.box)
            inside = differs[top:bottom, left:right]
            assert inside.mean() > 0.1
            rows, columns = np.flatnonzero(inside.any(1)), np.flatnonzero(inside.any(0))
            assert max(rows[0], columns[0], bottom - top - 1 - rows[-1], right - left - 1 - columns[-1]) <= 2
            differs[top:bottom, left:right] = False
            if region.label == "covered":
                assert (pixels[top:bottom, left:right] == COVER).all()
        assert not differs.any()


def test_truth_is_what_the_regions_say():
    for document in some(VQA, 64):
        truth, (picture,) = document.meta["truth"], document.images
        assert [(t["name"], tuple(map(float, t["box"]))) for t in truth["things"]] == [
            (region.label, region.box) for region in picture.regions
        ]
        assert truth["counts"] == {name: len(boxes) for name, boxes in named(picture).items()}
        assert {t["concept"] for t in truth["things"]} == set(document.meta["concepts"])
        for a, side, b in truth["relations"]:
            words = {"left": "left of", "right": "right of"}.get(side, side)
            assert beside(picture.regions[a].box, picture.regions[b].box, words)


def test_what_is_beside():
    for document in of("what", VQA):
        words, x = re.fullmatch(rf"What is {WORDS} the (.+)\?", document.meta["question"]).groups()
        boxes = {name: box for name, (box,) in named(document.images[0]).items()}
        there = [name for name, box in boxes.items() if beside(box, boxes[x], words)]
        assert reply(document) in there
        axis, sign = (0 if "of" in words else 1), (-1 if words in ("left of", "above") else 1)
        edge = boxes[x][axis if sign < 0 else axis + 2]
        # Nothing else is even half past the edge.
        past = [name for name, box in boxes.items() if name != x and sign * (centre(box)[axis] - edge) > 0]
        assert past == [reply(document)]


def test_where():
    for document in of("where", VQA):
        x = re.fullmatch(r"Where in the picture is the (.+)\?", document.meta["question"]).group(1)
        (box,) = named(document.images[0])[x]
        dx, dy = (place - SMALL / 2 for place in centre(box))
        far = {"left": -dx, "right": dx, "top": -dy, "bottom": dy}
        assert max(far, key=far.get) == reply(document)
        assert far[reply(document)] >= 0.2 * SMALL


def test_how_many_and_whether():
    for document in some(VQA, 96, kinds=["count", "shown", "more", "related"]):
        question, found = document.meta["question"], named(document.images[0])
        plurals = {plural(name): len(boxes) for name, boxes in found.items()}
        match document.meta["kind"]:
            case "count":
                (xs,) = re.fullmatch(r"How many (.+) are there\?", question).groups()
                assert reply(document) == str(plurals[xs])
                assert sum(plurals.values()) == 6
            case "shown":
                (x,) = re.fullmatch(r"Is there an? (.+) in the picture\?", question).groups()
                assert (reply(document) == "yes") == (x in found)
            case "more":
                xs, ys = re.fullmatch(r"Are there more (.+) than (.+)\?", question).groups()
                assert plurals[xs] != plurals[ys]
                assert (reply(document) == "yes") == (plurals[xs] > plurals[ys])
            case "related":
                x, words, y = re.fullmatch(rf"Is the (.+) {WORDS} the (.+)\?", question).groups()
                assert (reply(document) == "yes") == beside(found[x][0], found[y][0], words)


def test_which():
    for document in of("larger", VQA):
        found = {name: boxes[0] for name, boxes in named(document.images[0]).items()}
        x, y = re.fullmatch(r"Which is larger, the (.+) or the (.+)\?", document.meta["question"]).groups()
        assert (x, y) == document.targets.choices
        assert area(found[reply(document)]) >= 1.5 * min(area(found[x]), area(found[y]))
    ways = {"to the left": (0, 1), "to the right": (2, -1), "the very top": (1, 1), "the very bottom": (3, -1)}
    for document in of("furthest", VQA):
        edge, sign = next(way for words, way in ways.items() if f"{words}?" in document.meta["question"])
        first = min(document.images[0].regions, key=lambda region: sign * region.box[edge])
        assert first.label == reply(document)


def test_statements():
    numbers = {word: n for n, word in enumerate(["zero", "one", "two", "three", "four", "five", "six", "seven"])}
    for document in some(STATEMENTS, 96):
        one, two = map(named, document.images)
        x, *_ = words = document.meta["truth"]["statement"].removesuffix(".").split(" ")
        said = " ".join(words)
        if match := re.fullmatch(r"There is an? (.+) in (both|exactly one of the) pictures", said):
            x, where = match.groups()
            true = (x in one) + (x in two) == (2 if where == "both" else 1)
        elif match := re.fullmatch(r"There are more (.+) in the first picture than in the second", said):
            counts = [{plural(name): len(boxes) for name, boxes in picture.items()} for picture in (one, two)]
            true = counts[0][match[1]] > counts[1][match[1]]
        elif match := re.fullmatch(r"Together the pictures show exactly (\w+) (.+)", said):
            counts = Counter(plural(region.label) for picture in document.images for region in picture.regions)
            true = counts[match[2]] == numbers[match[1]]
        elif match := re.fullmatch(rf"In both pictures the (.+) is {WORDS} the (.+)", said):
            x, where, y = match.groups()
            true = all(beside(picture[x][0], picture[y][0], where) for picture in (one, two))
        else:
            x = re.fullmatch(r"The (.+) is larger in the first picture than in the second", said)[1]
            true = area(one[x][0]) > area(two[x][0])
        assert reply(document) == ("true" if true else "false"), said


def test_entailment_by_every_way_to_fill_what_is_covered():
    kinds = {"at least": lambda a, b: a >= b, "at most": lambda a, b: a <= b, "exactly": lambda a, b: a == b}
    numbers = {"one": 1, "two": 2, "three": 3}
    labels = Counter()
    for document in some(ENTAILMENT, 96):
        found = {name: len(boxes) for name, boxes in named(document.images[0]).items()}
        covered = found.pop("covered", 0)
        said = document.meta["truth"]["hypothesis"]
        outcomes = set()
        for fill in product(("x", "y", "z"), repeat=covered):
            if match := re.fullmatch(r"The picture holds (at least|at most|exactly) (\w+) (.+)\.", said):
                x = next((n for n in found if match[3] in (n, plural(n))), None)
                outcomes.add(kinds[match[1]](found.get(x, 0) + fill.count("x"), numbers[match[2]]))
            else:
                xs, ys = re.fullmatch(r"The picture holds more (.+) than (.+)\.", said).groups()
                count = {plural(name): number for name, number in found.items()}
                outcomes.add(count.get(xs, 0) + fill.count("x") > count.get(ys, 0) + fill.count("y"))
        label = {(True,): "entailment", (False,): "contradiction"}.get(tuple(outcomes), "neutral")
        assert document.targets.label == label == reply(document)
        labels[label, covered > 0] += 1
        premise = document.meta["truth"]["premise"]
        for name, number in found.items():
            assert (article(name)[1:] if number == 1 else f" {plural(name)}").split()[-1] in premise
        assert ("no covered things" in premise) == (covered == 0)
        assert told(document).parts == (Text(f"{premise} "), *document.parts[1:])
    # A grey square does not give neutral away, nor its absence anything else.
    assert labels["entailment", True] > 5
    assert labels["contradiction", True] > 5


def test_grounding():
    for document in some(GROUNDING, 72):
        (picture,), (wanted,) = document.images, document.targets.boxes
        found, phrase = named(picture), document.meta["truth"]["phrase"]
        assert [round(100 * edge / SMALL + 1e-9) for edge in wanted.box] == list(map(int, reply(document).split(", ")))
        assert wanted.label == phrase
        assert wanted.box in [region.box for region in picture.regions]
        if match := re.fullmatch(rf"the thing directly {WORDS} the (.+)", phrase):
            way, (x,) = match[1], found[match[2]]
            near = [r.box for r in picture.regions if beside(r.box, x, way)]
            assert wanted.box == min(near, key=lambda box: math.dist(centre(box), centre(x)))
        elif match := re.fullmatch(rf"the (.+) {WORDS} the (.+)", phrase):
            (y,) = found[match[3]]
            assert len(found[match[1]]) == 2
            assert [box for box in found[match[1]] if beside(box, y, match[2])] == [wanted.box]
        else:
            assert found[phrase.removeprefix("the ")] == [wanted.box]


def test_captions():
    numbers = {"one": 1, "two": 2, "three": 3, "four": 4}
    for document in some(CAPTIONS, 72):
        found = named(document.images[0])
        for caption in document.targets.choices:
            if match := re.fullmatch(rf"an? (.+) {WORDS} an? (.+)", caption):
                true = beside(found[match[1]][0], found[match[3]][0], match[2])
            elif match := re.fullmatch(r"a large (.+) and a small (.+)", caption):
                true = area(found[match[1]][0]) > area(found[match[2]][0])
            else:
                n, x, m, y = re.fullmatch(r"(\w+) (.+) and (\w+) (.+)", caption).groups()
                count = {name: len(boxes) for name, boxes in found.items()}
                count |= {plural(name): len(boxes) for name, boxes in found.items()}
                true = (count[x], count[y]) == (numbers[n], numbers[m])
            assert true == (caption == reply(document)), caption
        for other in document.targets.references[1:]:
            if match := re.fullmatch(rf"an? (.+) {WORDS} an? (.+)", other):
                assert beside(found[match[1]][0], found[match[3]][0], match[2])


# Clips.


def test_clips_give_their_frames():
    (document,) = some(CLIPS, 1, styles=["google"])
    (clip,) = (part for part in document.parts if isinstance(part, Video))
    every = clip.frames(FPS)
    assert [picture.tobytes() for picture in every] == [Image(frame).open().tobytes() for frame in clip.source]
    assert [picture.tobytes() for picture in clip.frames()] == [every[0].tobytes(), every[4].tobytes()]
    assert [picture.tobytes() for picture in clip.frames(FPS, 3)] == [every[i].tobytes() for i in (0, 3, 7)]


def test_things_do_what_is_said():
    seen = Counter()
    for document in some(CLIPS, 128, kinds=["action", "event", "actor"], styles=["google"]):
        (clip,) = (part for part in document.parts if isinstance(part, Video))
        frames = np.stack([np.asarray(PIL.Image.open(io.BytesIO(frame))).astype(int) for frame in clip.source])
        assert frames.shape == (8, SMALL, SMALL, 3)
        differs = np.abs(frames - frames[0, 0, 0]).max(axis=3) > 8
        for number, thing in enumerate(document.meta["truth"]["things"]):
            other = document.meta["truth"]["things"][1 - number]
            alone = differs.copy()
            for frame, box in enumerate(other["boxes"]):
                if box is not None:  # spinning, it may stand a little out of it
                    more = (box[2] - box[0] + box[3] - box[1]) // 5 if other["action"] == "spin" else 0
                    alone[frame, max(0, box[1] - more) : box[3] + more, max(0, box[0] - more) : box[2] + more] = False
            _check(thing, other, alone, frames)
            seen[thing["action"]] += 1
        first = document.meta["truth"]["things"][0]
        match document.meta["kind"]:
            case "actor":
                done = document.meta["question"].removeprefix("What ").removesuffix("?")
                (doer,) = (t for t in document.meta["truth"]["things"] if ACTIONS["en"][t["action"]] == done)
                assert reply(document) == doer["name"]
            case "action":
                assert reply(document) == ACTIONS["en"][first["action"]]
                assert document.meta["question"] == f"What does the {first['name']} do?"
            case "event":
                assert reply(document) == f"the {first['name']} {ACTIONS['en'][first['action']]}"
    assert set(seen) == set(ACTIONS["en"])


def _check(thing, other, alone, frames):
    """Where its pixels are, frame by frame, is what its action says."""
    sizes = alone.sum(axis=(1, 2))
    there = sizes > 0
    assert there.tolist() == [box is not None for box in thing["boxes"]]
    places = np.array([np.argwhere(shown).mean(0)[::-1] if shown.any() else (0, 0) for shown in alone])
    dx, dy = places[-1] - places[0]
    ways = {"left": (-dx, dy), "right": (dx, dy), "up": (-dy, dx), "down": (dy, dx)}
    match thing["action"]:
        case "left" | "right" | "up" | "down" as way:
            assert ways[way][0] > 0.3 * SMALL
            assert abs(ways[way][1]) < 0.03 * SMALL
            steps = np.diff(places[:, 0 if way in ("left", "right") else 1])
            assert (np.sign(steps) == np.sign(steps[0])).all()
        case "grow":
            assert sizes[-1] > 2.5 * sizes[0]
        case "shrink":
            assert sizes[0] > 2.5 * sizes[-1]
        case "spin":
            assert max(abs(dx), abs(dy)) < 2
            assert (np.abs(np.diff(frames, axis=0)).max(axis=3) * (alone[1:] | alone[:-1])).any(axis=(1, 2)).all()
            assert np.ptp(sizes) < 0.5 * sizes.max()
        case "appear":
            assert there.tolist() == [False] * 4 + [True] * 4
        case "vanish":
            assert there.tolist() == [True] * 4 + [False] * 4
        case "swap":
            start, end = thing["boxes"][0], thing["boxes"][-1]
            for mine, theirs in ((start, other["boxes"][-1]), (end, other["boxes"][0])):
                assert math.dist(centre(mine), centre(theirs)) <= 2
            assert math.dist(places[0], places[-1]) > 0.2 * SMALL
    if thing["action"] in ("left", "right", "up", "down", "swap"):
        assert np.ptp(sizes) < 0.3 * sizes.max()


def test_what_changes_first():
    for document in of("order", CLIPS):
        (clip,) = (part for part in document.parts if isinstance(part, Video))
        frames = np.stack([np.asarray(PIL.Image.open(io.BytesIO(frame))).astype(int) for frame in clip.source])
        early, late = (np.abs(frames[b] - frames[a]).max(axis=2) > 8 for a, b in ((0, 1), (6, 7)))
        early |= (np.abs(np.diff(frames[:4], axis=0)).max(axis=(0, 3))) > 8
        late |= (np.abs(np.diff(frames[4:], axis=0)).max(axis=(0, 3))) > 8
        changed = {}
        for thing in document.meta["truth"]["things"]:
            boxes = [box for box in thing["boxes"] if box is not None]
            x, y = centre(boxes[0])
            half = max(boxes[0][2] - boxes[0][0], boxes[0][3] - boxes[0][1]) // 2
            rows = slice(max(0, int(y) - half), int(y) + half)
            columns = slice(max(0, int(x) - half), int(x) + half)
            changed[thing["name"]] = early[rows, columns].sum() > late[rows, columns].sum()
        assert changed == {name: name == reply(document) for name in document.targets.choices}


# Names and sentences.


def test_names_are_clear():
    names = [" ".join(name.split()) for name in NAMES.split(",")]
    pool = things("google", "all")
    assert sorted(names) == sorted(thing.english for thing in pool)
    assert len({thing.german for thing in pool}) == len(pool) == len(set(names)) > 200
    assert max(len(thing.english.split()) for thing in pool) <= 2
    assert max(len(thing.german.split()) for thing in pool) == 1
    for a, b in product(pool, pool):  # no name is a word of another
        assert a is b or not {a.english} & set(b.english.split())
        assert not (a.unlike(b) and (a.english in b.english or a.german.casefold() in b.german.casefold()))
    for style in (*TRAIN_STYLES, *VALIDATION_STYLES, *TEST_STYLES):
        assert len(things(style, "held_out")) > 20
        assert role(style) in ("train", "validation", "test")


def test_nothing_in_a_scene_could_be_called_what_another_is():
    for family in FAMILIES.values():
        for document in some(family, 24, split="all"):
            chosen = [t for t in things(document.meta["style"], "all") if t.sequence in document.meta["concepts"]]
            assert all(a is b or a.unlike(b) for a, b in product(chosen, chosen))


def test_english_forms():
    words = ["cat", "owl", "unicorn", "umbrella", "mouse", "bus", "butterfly", "key", "wine glass", "tomato", "radio"]
    assert [article(word).split()[0] for word in words] == ["a", "an", "a", "an", "a", "a", "a", "a", "a", "a", "a"]
    assert [plural(word) for word in words] == [
        *("cats", "owls", "unicorns", "umbrellas", "mice", "buses", "butterflies", "keys", "wine glasses"),
        *("tomatoes", "radios"),
    ]


def test_both_languages_say_the_same_things():
    for table in (SENTENCES, FRAMES, ANSWERS, ACTIONS, WAYS):
        assert table["en"].keys() == table["de"].keys()
        assert all(table["de"].values())
    for name, sentence in SENTENCES["de"].items():
        places = [set(re.findall(r"{[an]?([xy])s?}", text)) for text in (sentence, SENTENCES["en"][name])]
        assert places[0] == places[1], name


# By name, and mistakes.


def test_by_name():
    for name, family in {"scenes": "vqa", "scenes-captions": "captions", "scenes-clips": "clips"}.items():
        train, validation, test = open_data(name)
        assert train[0].key.startswith(f"scenes/{family}/")
        assert [part[5].meta["role"] for part in (train, validation, test)] == ["train", "validation", "test"]
        assert all(len(part) % part.block == 0 for part in (train, validation, test))


@pytest.mark.parametrize(
    ("arguments", "message"),
    [
        ({"kinds": ["who"]}, "scenes/vqa: unknown kind 'who'. There are: what, where"),
        ({"kinds": []}, "no kinds or styles"),
        ({"kinds": ["what", "what"]}, "one kind twice"),
        ({"styles": []}, "no kinds or styles"),
        ({"styles": ["apple"]}, "unknown style 'apple'"),
        ({"size": 64}, "a set of 14400 scenes of 64 pixels. A canvas has at least 96 pixels a side"),
        ({"length": -1}, "no negative length"),
    ],
)
def test_mistakes_are_named(arguments, message):
    with pytest.raises(ConfigError, match=message):
        Scenes(VQA, **arguments)


def test_empty_set():
    assert list(Scenes(VQA, length=0)) == []
