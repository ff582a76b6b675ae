"""The embedded emoji: what is there, that it is what was built, and that the split keeps its promises."""

import gzip
import hashlib
import io
import json
import pickle
from concurrent.futures import ThreadPoolExecutor

import numpy as np
import PIL.Image
import pytest

from lorgnette.data import emoji
from lorgnette.data.emoji import FOLDER, HANDS, LOCALES, TEST_STYLES, TRAIN_STYLES, VALIDATION_STYLES, Emoji
from lorgnette.data.source import Concat, Subset
from lorgnette.document import Image
from lorgnette.errors import ConfigError

COUNTS = {
    "google": 1910,
    "twitter": 1911,
    "noto-v1": 1235,
    "fxemoji": 878,
    "fluent": 1595,
    "fluent-flat": 1595,
    "streamline": 592,
    "openmoji": 1911,
    "emojione": 1372,
    "emojione-v1": 1165,
}


SIDES = {  # concept -> held out
    "1F408": False,
    "1F431": False,
    "1F468": False,
    "1F550": False,
    "1F981": False,
    "1F1EB-1F1F7": False,
    "1F407": True,
    "1F338": True,
    "1F369": True,
    "1F478": True,
    "1F62E-200D-1F4A8": True,
    "1F534": True,
    "1F1E8-1F1F3": True,
    "1F1EA-1F1EA": True,
}


def caption_in_capitals(concept: emoji.Concept) -> str:
    return concept.name.upper()


def test_files_are_those_that_were_built():
    manifest = json.loads((FOLDER / "manifest.json").read_text())
    assert manifest["sha256"].keys() == {f"{style}.zip" for style in HANDS} | {"concepts.json.gz"}
    for name, digest in manifest["sha256"].items():
        assert hashlib.sha256((FOLDER / name).read_bytes()).hexdigest() == digest, name
    assert manifest["images"] == COUNTS
    assert sum(path.stat().st_size for path in FOLDER.iterdir()) < 15e6


def test_everything_is_attributed():
    text = (FOLDER / "ATTRIBUTION.md").read_text()
    for style in HANDS:
        assert f"## {style}.zip" in text


def test_counts():
    assert len(emoji.all_concepts()) == 1911
    assert {style: len(emoji.drawn(style)) for style in HANDS} == COUNTS
    assert len({concept.subcategory for concept in emoji.all_concepts().values()}) == 99
    assert len(Emoji(tuple(HANDS), "all")) == sum(COUNTS.values())
    for styles in (None, TEST_STYLES):
        assert len(Emoji(styles, "train")) + len(Emoji(styles, "held_out")) == len(Emoji(styles, "all"))


def test_at_least_five_hands_draw_most_concepts():
    hands: dict[str, set[str]] = {}
    for style, hand in HANDS.items():
        for concept in emoji.drawn(style):
            hands.setdefault(concept, set()).add(hand)
    assert sum(len(drawn_by) >= 5 for drawn_by in hands.values()) > 1200


@pytest.mark.parametrize("style", HANDS)
def test_every_picture_decodes_and_shows_something(style):
    for concept in emoji.drawn(style):
        picture = PIL.Image.open(io.BytesIO(emoji.picture(style, concept)))
        assert picture.size in ((64, 64), (72, 72))
        seen = sum(picture.convert("RGBA").getchannel("A").histogram()[64:])
        assert seen > 0.01 * picture.width * picture.height, concept


def test_document():
    source = Emoji(["google"], "all", concepts=["1F408"])
    (document,) = source
    assert document.key == "emoji/google/1F408"
    assert document.text == "cat"
    assert document.parts[1].weight == 1.0
    assert document.images[0].open().mode == "RGB"
    assert document.meta["keywords"]
    assert "cats" in document.meta["keywords"]
    del document.meta["keywords"]
    assert document.meta == {
        "style": "google",
        "hand": "google",
        "role": "train",
        "concept": "1F408",
        "name": "cat",
        "category": "Animals & Nature",
        "subcategory": "animal-mammal",
        "cluster": "1F408",
        "held_out": emoji.is_held_out("1F408"),
        "locale": "en",
    }


def test_names_in_every_language():
    for locale in LOCALES:
        names = [concept.name for concept in emoji.all_concepts(locale).values()]
        assert all(names)
        assert len(set(names)) == 1911
    assert [emoji.all_concepts(locale)["1F408"].name for locale in ("en", "de", "fr", "es", "zh")] == [
        "cat",
        "Katze",
        "chat",
        "gato",
        "猫",
    ]
    assert Emoji(["openmoji"], "all", "de", concepts=["1f408"])[0].text == "Katze"


def test_caption():
    assert Emoji(["twitter"], "all", caption=caption_in_capitals, concepts=["1F408"])[0].text == "CAT"


@pytest.mark.parametrize(
    ("sequence", "expected"),
    [
        ("1F408", "1F408"),
        ("1f408-200d-2b1b", "1F408"),
        ("1F468-200D-1F680", "1F468"),
        ("1F9D1-200D-1F680", "1F9D1"),
        ("2764-FE0F", "2764"),
        ("1F550", "1F550"),
        ("1F567", "1F550"),
        ("1F568", "1F568"),
        ("1F1EA-1F1EC", "1F1EA-1F1EC"),
        ("1F3F4-E0067-E0062-E0073-E0063-E0074-E007F", "1F3F4-E0067-E0062-E0073-E0063-E0074-E007F"),
        ("1F3F3-FE0F-200D-1F308", "1F3F3-200D-1F308"),
        ("0023-FE0F-20E3", "0023-20E3"),
        ("1F1F8-1F1EF", "1F1F3-1F1F4"),
        ("1F46A", "1F468"),
    ],
)
def test_cluster(sequence, expected):
    assert emoji.cluster(sequence) == expected
    digest = hashlib.sha256(expected.encode()).digest()
    assert emoji.is_held_out(sequence) == (int.from_bytes(digest, "big") % 5 == 0)


def test_known_sides_of_the_split():
    # Whoever changes the rule changes what every published number means.
    assert {sequence: emoji.is_held_out(sequence) for sequence in SIDES} == SIDES


def test_no_cluster_on_both_sides():
    train, held_out = ([d.meta for d in Emoji(["twitter"], split)] for split in ("train", "held_out"))
    assert len(train) + len(held_out) == 1911
    assert not {meta["cluster"] for meta in train} & {meta["cluster"] for meta in held_out}
    assert not any(meta["held_out"] for meta in train)
    assert all(meta["held_out"] for meta in held_out)
    assert 0.17 < len(held_out) / 1911 < 0.23


def test_pictures_alike_are_on_one_side():
    """A picture that two hands or more draw for two concepts, one held out and one not, would leak."""
    leaks: dict[tuple[str, str], set[str]] = {}
    for style in HANDS:
        names = list(emoji.drawn(style))
        small = [np.asarray(Image(emoji.picture(style, n)).open().resize((32, 32)), np.float32) / 255 for n in names]
        x = np.stack(small).reshape(len(names), -1)
        squares = (x * x).sum(1)
        near = (squares[:, None] + squares - 2 * x @ x.T) / x.shape[1] < 5e-4
        out = np.array([emoji.is_held_out(name) for name in names])
        for i, j in np.argwhere(near & out[:, None] & ~out):
            leaks.setdefault((names[i], names[j]), set()).add(HANDS[style])
    assert [pair for pair, hands in leaks.items() if len(hands) > 1] == []


def test_no_hand_in_two_roles():
    roles: dict[str, set[str]] = {}
    for style, hand in HANDS.items():
        roles.setdefault(hand, set()).add(emoji.role(style))
    assert all(len(role) == 1 for role in roles.values())
    assert {d.meta["style"] for d in Emoji()} == set(TRAIN_STYLES)
    assert not set(TRAIN_STYLES) & {*VALIDATION_STYLES, *TEST_STYLES}


def test_keys_are_unique():
    keys = [document.key for document in Emoji(tuple(HANDS), "all")]
    assert len(set(keys)) == len(keys)


def test_countries():
    countries = {
        concept.country: concept.name for concept in emoji.all_concepts().values() if concept.country is not None
    }
    assert countries["EG"] == "flag: Egypt"
    assert "EU" not in countries
    assert "UN" not in countries
    assert len(countries) == 250  # ISO 3166 has 249, and Kosovo
    assert Emoji(["google"], "all", concepts=["1F1EA-1F1EC"])[0].meta["country"] == "EG"


def test_pickling_is_small_and_exact():
    source = Emoji(TEST_STYLES, "held_out", "fr", caption=caption_in_capitals)
    packed = pickle.dumps(source)
    assert len(packed) < 1000
    again = pickle.loads(packed)
    assert [d.key for d in again] == [d.key for d in source]
    assert again[7].images[0].digest == source[7].images[0].digest
    assert again[7].text == source[7].text


def test_threads_read_the_same():
    source = Emoji()
    with ThreadPoolExecutor(8) as pool:
        digests = list(pool.map(lambda i: source[i].images[0].digest, range(400)))
    assert digests == [source[i].images[0].digest for i in range(400)]


def test_index_past_the_end():
    source = Emoji(["streamline"])
    with pytest.raises(IndexError):
        source[len(source)]


@pytest.mark.parametrize(
    ("arguments", "message"),
    [
        ({"styles": ["apple"]}, "unknown style 'apple'. There are: google, noto-v1"),
        ({"locale": "tlh"}, "unknown locale 'tlh'. There are: en, de"),
        ({"concepts": ["1F408", "nonsense"]}, "unknown concept 'NONSENSE'"),
    ],
)
def test_mistakes_are_named(arguments, message):
    with pytest.raises(ConfigError, match=message):
        Emoji(**arguments)


def test_unknown_split():
    # The error is the type checker's own where one looks at the arguments.
    with pytest.raises(Exception, match="held_out"):
        Emoji(split="test")  # type: ignore[arg-type]


def test_picture_that_a_style_does_not_draw():
    assert emoji.picture("google", "1F1EA-1F1EC")[8:12] == b"WEBP"
    with pytest.raises(ConfigError, match="style 'streamline' does not draw '1F1EA-1F1EC-1F1EA'"):
        emoji.picture("streamline", "1F1EA-1F1EC-1F1EA")
    with pytest.raises(ConfigError, match="unknown style"):
        emoji.picture("apple", "1F408")


def test_subset_and_concat():
    one, two = Emoji(["google"]), Emoji(["fxemoji"])
    both = Concat(one, two)
    assert len(both) == len(one) + len(two)
    assert both[0].key == one[0].key
    assert both[len(one)].key == two[0].key
    assert both[-1].key == two[len(two) - 1].key
    with pytest.raises(IndexError):
        both[len(both)]
    assert [d.key for d in Subset(both, [len(one), 0, 0])] == [two[0].key, one[0].key, one[0].key]
    assert len(Concat()) == 0


def test_concepts_are_compressed_without_a_date():
    with gzip.open(FOLDER / "concepts.json.gz") as file:
        file.read(1)
        assert file.mtime == 0
