"""Records what the official programs say, in `tests/evaluation/metrics/fixtures`, for our measures to agree with.

    pip install pycocoevalcap==1.2 nltk scikit-learn pandas        (and a Java runtime)
    python tools/record_metrics.py [--vqa vqaEval.py] [--rareact compute_score.py] [--nextqa metrics.py]

The three scripts are those of github.com/GT-Vision-Lab/VQA, antoine77340/RareAct and doc-doc/NExT-OE; what belongs to
one that is not given stays as it is. WUPS and some sentences come from the WordNet in `--wordnet`.
"""

import argparse
import csv
import json
import random
import re
import shutil
import subprocess
import sys
import tempfile
from collections.abc import Callable
from importlib.metadata import version
from pathlib import Path
from types import ModuleType

import nltk
import numpy as np
from nltk.corpus.reader.wordnet import WordNetCorpusReader
from nltk.translate.bleu_score import SmoothingFunction, sentence_bleu
from pycocoevalcap.bleu.bleu import Bleu
from pycocoevalcap.cider.cider import Cider
from pycocoevalcap.meteor.meteor import Meteor
from pycocoevalcap.rouge.rouge import Rouge
from pycocoevalcap.tokenizer.ptbtokenizer import PTBTokenizer
from sklearn import metrics as sk

FIXTURES = Path(__file__).parent.parent / "tests" / "evaluation" / "metrics" / "fixtures"
Captions = list[str]


def tokens(wordnet: Path) -> object:
    """The PTB tokens of our captions, and of sentences of WordNet's with unusual signs in them."""
    captions = (FIXTURES / "captions.txt").read_text("utf-8").splitlines()
    header = (wordnet / "data.noun").read_text().splitlines()[:29]
    (FIXTURES / "wordnet-licence.txt").write_text(
        "".join(re.sub(r"^ +\d+ ?", "", line).rstrip() + "\n" for line in header)
    )
    lines = [line for part in ("noun", "verb", "adj") for line in (wordnet / f"data.{part}").read_text().splitlines()]
    glosses = [line.split(" | ", 1)[1].strip() for line in lines if " | " in line]
    odd = [gloss for gloss in glosses if re.search(r"[^\w\s;\"(),]", gloss) and len(gloss) < 160]
    texts = captions + random.Random(0).sample(odd, 400)
    return list(zip(texts, alone(texts), strict=True))


def alone(texts: Captions) -> Captions:
    """The tokens of each text. The program looks over the ends of lines, at most at a word in lower case here."""
    spaced = {i: [{"caption": text}, {"caption": "and"}] for i, text in enumerate(texts)}
    return [found[0] for found in PTBTokenizer().tokenize(spaced).values()]


def compose(number: int, seed: int) -> tuple[Captions, list[Captions]]:
    """Captions of scenes by several people, of whom the first is the model."""
    rng = random.Random(seed)
    who = [("man", "guy", "person"), ("woman", "lady", "person"), ("dog", "puppy", "animal"), ("boy", "child", "kid")]
    what: list[tuple[str, ...]] = [
        ("is riding a horse", "rides a horse"),
        ("is eating an apple", "eats a red apple"),
        ("sleeps", "is asleep"),
    ]
    what += [
        ("jumps over a log", "is jumping over a fallen log"),
        ("can't swim", "doesn't swim", "stands in the water"),
    ]
    where = [
        ("on the beach", "at the sea", "by the shore"),
        ("in the park", "on the grass"),
        ("near a well-lit house",),
    ]
    how = ["young", "old", "small", "big", "tall", "brown", "very happy"]

    def said(scene: tuple[tuple[str, ...], ...]) -> str:
        subject, verb, place = (rng.choice(part) for part in scene)
        adjective = rng.choice(how) + " " if rng.random() < 0.4 else ""
        return f"A {adjective}{subject} {verb}{' ' + place if rng.random() < 0.8 else ''}{rng.choice(['.', '', ' !'])}"

    scenes = [(rng.choice(who), rng.choice(what), rng.choice(where)) for _ in range(number)]
    return [said(scene) for scene in scenes], [[said(scene) for _ in range(rng.randint(1, 5))] for scene in scenes]


def captions() -> object:
    """Every measure of captions on a set of many, and on the small cases where they are easily wrong."""
    sets = {
        "composed": compose(80, 0),
        "one item": (["a man rides a horse"], [["a man rides a horse", "a person on a horse"]]),
        "empty answer": (["", "a dog runs"], [["a cat sleeps on a mat"], ["a dog runs fast", "the dog is running"]]),
        "empty reference": (["a dog", "a cat"], [["", "a dog"], ["a cat sits"]]),
        "all empty": (["", "a"], [[""], ["a"]]),
        "equal": (["a dog runs fast now", "two cats"], [["a dog runs fast now"], ["two cats", "two cats"]]),
        "duplicates": (["a dog runs"] * 3, [["a dog runs", "a dog runs"], ["a dog runs"], ["the cat sat"] * 4]),
        "tied lengths": (["a b c d", "a a a"], [["a b c", "a b c d e"], ["a a", "a a b a a", "a"]]),
        "repeated words": (["the the the the the"], [["the cat the mat", "the"]]),
        "one word": (["dog", "cat"], [["dog"], ["dog", "a cat"]]),
    }
    texts = list(
        {text for given, known in sets.values() for text in (*given, *(text for some in known for text in some))}
    )
    words = dict(zip(texts, alone(texts), strict=True))
    recorded = {}
    for name, (answers, references) in sets.items():
        known = {i: [words[text] for text in some] for i, some in enumerate(references)}
        given = {i: [words[text]] for i, text in enumerate(answers)}
        bleu, rouge, cider, meteor = (
            measure.compute_score(known, given) for measure in (Bleu(4), Rouge(), Cider(), Meteor())
        )
        recorded[name] = {"answers": answers, "references": references, "bleu": bleu[0], "meteor": meteor}
        recorded[name] |= {"rouge": [float(x) for x in rouge[1]], "cider": [float(x) for x in cider[1]]}
    return recorded


def ranking() -> object:
    """scikit-learn's AUC (with ties and weights) and NDCG (without ties, where it and VisDial's agree)."""
    rng = np.random.default_rng(0)
    scores, labels, weights = rng.integers(0, 12, 60) / 4, rng.random(60) < 0.4, rng.integers(0, 4, 60)
    options, relevance = (
        rng.permuted(np.arange(30.0).reshape(1, 30).repeat(8, 0), axis=1),
        rng.integers(0, 6, (8, 30)) / 5,
    )
    relevance *= rng.random((8, 30)) < 0.3
    gains = [
        sk.ndcg_score(kind[None], option[None], k=int((kind != 0).sum()))
        for kind, option in zip(relevance, options, strict=True)
    ]
    return {
        "auc": [scores.tolist(), labels.tolist(), weights.tolist()],
        "auc value": [sk.roc_auc_score(labels, scores), sk.roc_auc_score(labels, scores, sample_weight=weights)],
        "ndcg": [options.tolist(), relevance.tolist()],
        "ndcg value": gains,
    }


def classification() -> object:
    """scikit-learn's averages, where one class is never predicted and one prediction is no class."""
    rng = np.random.default_rng(1)
    true = rng.choice(["cat", "dog", "horse", "owl"], 80, p=[0.5, 0.3, 0.15, 0.05])
    predicted = np.where(rng.random(80) < 0.6, true, rng.choice(["cat", "dog", "horse", "nothing"], 80))
    weights = rng.integers(0, 3, 80)
    values = {
        f"{name} {average} {weighted}": float(
            function(true, predicted, average=average, zero_division=0, sample_weight=weights if weighted else None)
        )
        for name, function in (("precision", sk.precision_score), ("recall", sk.recall_score), ("f1", sk.f1_score))
        for average in ("macro", "micro")
        for weighted in (False, True)
    }
    return {"true": true.tolist(), "predicted": predicted.tolist(), "weights": weights.tolist(), "values": values}


def diversity() -> object:
    """NLTK's BLEU of each text with all others as references."""
    sets = [
        alone(compose(25, 2)[0]),
        ["a dog runs", "a dog runs", "", "x"],
        ["a b c d e f", "a b c d e f"],
        ["p q", "r"],
    ]
    smooth = SmoothingFunction().method1
    values = [
        [
            float(
                sentence_bleu([o.split() for o in texts[:i] + texts[i + 1 :]], text.split(), smoothing_function=smooth)
            )
            for i, text in enumerate(texts)
        ]
        for texts in sets
    ]
    return {"sets": sets, "values": values}


def vqa(script: Path) -> object:
    """The official script's accuracy, and its normalisation of one answer among different ones."""
    source = re.sub(r"print .*", "pass", script.read_text("utf-8"))
    module = ModuleType("official")
    exec(compile(source, str(script), "exec"), module.__dict__)
    texts = json.loads((FIXTURES / "answers.json").read_text("utf-8"))
    cases = [(text, [*(texts * 2)[i : i + 9], text]) for i, text in enumerate(texts)]
    cases += [("yes", ["yes"] * n + ["no"] * (10 - n)) for n in range(11)]
    cases += [
        ("Yes.", ["yes"] * 10),
        (" yes\n", ["yes"] * 10),
        ("Yes.", ["yes"] * 9 + ["no"]),
        ("2", ["two"] * 5 + ["2"] * 5),
    ]
    accuracies, normal = [], []
    for answer, people in cases:
        asked = {
            "question_type": "t",
            "answer_type": "t",
            "answers": [{"answer": a, "id": i} for i, a in enumerate(people)],
        }
        judge = module.VQAEval(_Asked({0: asked}), _Asked({0: {"answer": answer}}), n=12)
        judge.updateProgress = lambda progress: None
        judge.evaluate()
        accuracies.append(judge.evalQA[0] / 100)
        normal.append(judge.processDigitArticle(judge.processPunctuation(" ".join(answer.split()))))
    return {"cases": cases, "accuracy": accuracies, "normal": normal}


class _Asked:
    def __init__(self, qa: dict[int, object]) -> None:
        self.qa = qa
        self.getQuesIds = lambda: list(qa)


def rareact(script: Path) -> object:
    """RareAct's own script on clips of our own making."""
    rng = np.random.default_rng(3)
    actions = [("cut", "phone"), ("cut", "shoe"), ("wash", "phone"), ("drill", "egg")]
    shown, videos = rng.integers(0, 4, 60).tolist(), [f"v{i}" for i in rng.integers(0, 12, 60)]
    verdicts = [1, 1, 1, 1, *rng.choice([0, 1, 2, 3, 4], 56).tolist()]
    shown[:4] = range(4)
    scores = rng.integers(0, 40, (60, 4)) / 8
    with tempfile.TemporaryDirectory() as folder:
        np.save(Path(folder) / "scores.npy", scores)
        with (Path(folder) / "rareact.csv").open("w", newline="") as file:
            table = csv.writer(file)
            table.writerow(["id", "video_id", "start", "end", "class_id", "verb", "noun", "annotation"])
            for i, (action, video, verdict) in enumerate(zip(shown, videos, verdicts, strict=True)):
                table.writerow([i, video, 0, 1, action, *actions[action], verdict])
        command = [sys.executable, str(script.resolve()), "scores.npy"]
        said = subprocess.run(command, cwd=folder, check=True, capture_output=True, text=True).stdout
    inputs = {"scores": scores.tolist(), "actions": actions, "shown": shown, "verdicts": verdicts, "videos": videos}
    return {**inputs, "mwap": float(said.split()[-1])}


def wups(script: Path, wordnet: Path) -> object:
    """NExT-QA's functions with NLTK's WordNet, on words and on answers of content words."""
    names = (
        "adj.all adj.pert adv.all noun.Tops noun.act noun.animal noun.artifact noun.attribute noun.body noun.cognition "
    )
    names += "noun.communication noun.event noun.feeling noun.food noun.group noun.location noun.motive noun.object "
    names += (
        "noun.person noun.phenomenon noun.plant noun.possession noun.process noun.quantity noun.relation noun.shape "
    )
    names += "noun.state noun.substance noun.time verb.body verb.change verb.cognition verb.communication "
    names += "verb.competition verb.consumption verb.contact verb.creation verb.emotion verb.motion verb.perception "
    names += "verb.possession verb.social verb.stative verb.weather adj.ppl"
    module = ModuleType("official")
    source = re.sub(r"from nltk.*", "", script.read_text("utf-8"))
    exec(compile(source, str(script), "exec"), module.__dict__)
    with tempfile.TemporaryDirectory() as folder:  # NLTK wants files that Debian leaves out
        shutil.copytree(wordnet, folder, dirs_exist_ok=True, symlinks=False)
        (Path(folder) / "lexnames").write_text("".join(f"{i:02d}\t{name}\t1\n" for i, name in enumerate(names.split())))
        (Path(folder) / "index.sense").touch()
        nltk.data.path.append(folder)  # which it asks for before it reads
        WordNetCorpusReader.map_wn = lambda self, version="": None  # no mapping between versions
        module.__dict__.update(wordnet=WordNetCorpusReader(folder, None), word_tokenize=str.split)
        rng = random.Random(4)
        known = (
            "dog dogs cat man woman boy run running walk eat ate apple red blue quickly happy happiest ball car horses "
        )
        known += "riding left saw chef fireman play guitar music smile baby crying child sit zzz not up good"
        words = known.split()
        lemmas = [
            line.split()[0] for part in ("noun", "verb", "adj", "adv") for line in (wordnet / f"index.{part}").open()
        ]
        words += rng.sample([lemma for lemma in lemmas if lemma.isalpha()], 120)
        pairs = [(rng.choice(words), rng.choice(words)) for _ in range(500)]
        answers = [
            (" ".join(rng.sample(known.split(), rng.randint(1, 4))), " ".join(rng.sample(known.split(), 3)))
            for _ in range(150)
        ]
        near = [module.wup(*pair, 0) for pair in pairs]
        values = {str(at): [module.get_wups(*pair, at) for pair in answers] for at in (0, 0.9)}
    return {"pairs": pairs, "near": near, "answers": answers, "values": values}


def main() -> None:
    parser = argparse.ArgumentParser(description=__doc__.split("\n", 1)[0])
    for name in ("vqa", "rareact", "nextqa"):
        parser.add_argument(f"--{name}", type=Path)
    parser.add_argument("--wordnet", type=Path, default=Path("/usr/share/wordnet"))
    parser.add_argument("--only", nargs="*", help="the fixtures to record")
    options = parser.parse_args()
    jobs: dict[str, Callable[[], object] | None] = {
        "tokens": lambda: tokens(options.wordnet),
        "scores": captions,
        "ranking": ranking,
        "classification": classification,
        "diversity": diversity,
        "vqa": (lambda: vqa(options.vqa)) if options.vqa else None,
        "rareact": (lambda: rareact(options.rareact)) if options.rareact else None,
        "wups": (lambda: wups(options.nextqa, options.wordnet)) if options.nextqa else None,
    }
    print("\n".join(f"{name} {version(name)}" for name in ("pycocoevalcap", "nltk", "scikit-learn")))
    for name, job in jobs.items():
        if options.only and name not in options.only:
            continue
        if job is None:
            print(f"{name}: left as it is, its script is not given")
            continue
        (FIXTURES / f"{name}.json").write_text(json.dumps(job(), ensure_ascii=False, indent=0) + "\n", "utf-8")
        print(f"{name}: recorded")


if __name__ == "__main__":
    main()
