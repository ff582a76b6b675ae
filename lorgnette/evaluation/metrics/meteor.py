"""METEOR 1.5 (Denkowski and Lavie 2014), by its own Java program, which the package pycocoevalcap brings."""

import shutil
import subprocess
from collections.abc import Sequence
from contextlib import suppress
from importlib.util import find_spec
from pathlib import Path

import numpy as np
from jaxtyping import Float
from numpy import ndarray

from lorgnette.errors import ResourceError
from lorgnette.evaluation.metrics.texts import Tokenise, pairs
from lorgnette.evaluation.metrics.tokenise import ptb

# The parameters that come with `-l en`: precision's weight, the penalty's power and factor, content words' weight, and
# how much a match counts that is exact, by stem, by synonym or by paraphrase.
ALPHA, BETA, GAMMA, DELTA = 0.85, 0.2, 0.6, 0.75
MODULES = np.array([1.0, 0.6, 0.8, 0.6])
COUNTS = 23  # that it gives for an item


def statistics(
    hypotheses: Sequence[str], references: Sequence[Sequence[str]], *, tokenise: Tokenise = ptb
) -> Float[ndarray, "n 23"]:
    """What each item adds to METEOR: the program's counts for the reference that fits best.

    Starting the program takes about ten seconds, and up to 2 GB of memory.

    Raises:
        DataError: numbers of items that differ, or an item without references.
        ResourceError: pycocoevalcap or Java is not there, or the program failed.
    """
    answers, known = pairs(hypotheses, references, tokenise)
    jar = _jar()
    command = ["java", "-Dfile.encoding=UTF-8", "-Xmx2G", "-jar", jar.name, "-", "-", "-stdio", "-l", "en", "-norm"]
    with subprocess.Popen(
        command,
        cwd=jar.parent,
        stdin=subprocess.PIPE,
        stdout=subprocess.PIPE,
        stderr=subprocess.DEVNULL,
        encoding="utf-8",
    ) as program:
        rows = [_ask(program, ["SCORE", *others, text]) for text, others in zip(answers, known, strict=True)]
    return np.array(rows)


def meteor(rows: Float[ndarray, "n 23"], weights: Float[ndarray, "n"]) -> float:
    """The score of a corpus, from 0 to 1, from the `statistics` of its items; of one item, its own score.

    Args:
        rows: words of answer and reference, function words of both; for each way to match the content words of answer
            and reference and the function words of both; chunks; matched words of both.
        weights: how often each item counts.
    """
    total = weights @ rows
    words, function = total[0:2], total[2:4]
    matches = np.tensordot(MODULES, total[4:20].reshape(4, 2, 2), 1)  # content or function words by answer or reference
    content = words - function
    shares = [
        (DELTA * matches[0, side] + (1 - DELTA) * matches[1, side])
        / max(1e-12, DELTA * content[side] + (1 - DELTA) * function[side])
        for side in (0, 1)
    ]
    if not all(shares):
        return 0.0
    mean = shares[0] * shares[1] / (ALPHA * shares[0] + (1 - ALPHA) * shares[1])
    whole = (rows[:, 21:23] == rows[:, 0:2]).all(axis=1) & (rows[:, 20] == 1)  # matched from end to end: not broken
    broken = weights @ np.where(whole, 0.0, rows[:, 20]) / total[21:23].mean()
    return float(mean * (1 - GAMMA * broken**BETA))


def _ask(program: "subprocess.Popen[str]", parts: Sequence[str]) -> list[float]:
    assert program.stdin is not None
    assert program.stdout is not None
    clean = [" ".join(part.replace("|||", " ").split()) for part in parts]
    try:
        program.stdin.write(" ||| ".join(clean) + "\n")
        program.stdin.flush()
    except OSError:
        with suppress(OSError):  # closing writes what is left, which nobody reads
            program.stdin.close()
        raise _stopped() from None
    row = program.stdout.readline().split()
    if len(row) != COUNTS:
        raise _stopped()
    return [float(number) for number in row]


def _stopped() -> ResourceError:
    return ResourceError("METEOR's Java program stopped", fix="It needs Java 8 or later and 2 GB of memory.")


def _jar() -> Path:
    found = find_spec("pycocoevalcap")
    places = found.submodule_search_locations if found else None
    jar = Path(places[0]) / "meteor" / "meteor-1.5.jar" if places else None
    if jar is None or not jar.exists():
        raise ResourceError("METEOR needs the Java program of pycocoevalcap", fix="pip install pycocoevalcap==1.2")
    if shutil.which("java") is None:
        raise ResourceError("METEOR needs Java, and there is no `java`", fix="Install a Java runtime, 8 or later.")
    return jar
