"""Conversations about pictures, as LLaVA publishes them (Liu et al. 2023, arXiv:2304.08485).

[{"id": "0", "image": "coco/0.jpg", "conversations": [
    {"from": "human", "value": "<image>\\nWhat is this?"}, {"from": "gpt", "value": "A cat."}, ...]}]
"""

import os
from collections.abc import Mapping
from pathlib import Path
from typing import Any

from lorgnette.data.fields import clean
from lorgnette.data.pairs import QUESTION
from lorgnette.data.source import kind_of
from lorgnette.data.tables import Row, Rows
from lorgnette.document import Document, Image, Part, Targets, Text
from lorgnette.errors import DataError

TOKEN = "<image>"
_ASKS, _ANSWERS = ("human", "user"), ("gpt", "assistant")


def is_conversation(values: Mapping[str, Any]) -> bool:
    """Whether a row is one."""
    return isinstance(values.get("conversations"), list)


class Conversations:
    """`(Image, Text(question), Text(" answer", weight=1), Text(question), ...)`; one without pictures is text only.

    Pictures at the beginning or the end of a question come before it, others where they stand. What an evaluation asks
    is the first question. A record's key is its place: ids repeat in published files.

    Args:
        rows: the records.
        root: the folder that picture paths start from.
        template: the wording of a question.

    Raises:
        DataError: none of the first records is a conversation. What is wrong with one is said when it is asked for.
    """

    def __init__(self, rows: Rows, root: Path, template: str = QUESTION) -> None:
        self.rows, self.root, self.template = rows, root, template
        kind_of(lambda i: bool(self[i].parts), len(self))

    def __len__(self) -> int:
        return len(self.rows)

    def told(self, i: int) -> Mapping[str, Any]:
        """What is written about the i-th document."""
        return self.rows[i].values

    def __getitem__(self, i: int, /) -> Document:
        row = self.rows[range(len(self))[i]]
        turns = _turns(row)
        pictures = self._pictures(row)
        named = sum(text.count(TOKEN) for text, asks in turns if asks)
        if named == 0 and pictures:
            turns[0] = (TOKEN * len(pictures) + turns[0][0], True)
        elif named != len(pictures):
            fix = f"Write {TOKEN} once for each picture."
            raise DataError(f"{named} times {TOKEN} for {len(pictures)} pictures", where=row.place, fix=fix)
        parts: list[Part] = []
        answers = []
        for text, asks in turns:
            if asks:
                parts += self._asked(text, pictures, "\n" if parts else "", row.place)
            else:
                answers.append(clean(text, row.place, "conversations"))
                parts.append(Text(f" {answers[-1]}", 1.0))
        told = {name: v for name, v in row.values.items() if name not in ("conversations", "image", "images")}
        targets = Targets(references=(answers[0],), answers={answers[0]: 1.0})
        return Document(tuple(parts), key=row.place, meta=told, targets=targets)

    def _asked(self, text: str, pictures: list[Image], before: str, place: str) -> list[Part]:
        """A question; `pictures` loses those that it shows."""
        shown: list[Part] = []
        text = text.strip()
        while text.startswith(TOKEN) or text.endswith(TOKEN):
            text = (text.removeprefix(TOKEN) if text.startswith(TOKEN) else text.removesuffix(TOKEN)).strip()
            shown.append(pictures.pop(0))
        wording = before + self.template.replace("{question}", clean(text, place, "conversations"))
        for number, piece in enumerate(wording.split(TOKEN)):
            if number:
                shown.append(pictures.pop(0))
            if piece.strip():
                shown.append(Text(piece))
        return shown

    def _pictures(self, row: Row) -> list[Image]:
        given = row.values.get("image", row.values.get("images"))
        listed = given if isinstance(given, list) else [given] if given not in (None, "") else []
        return [Image(os.path.join(self.root, clean(name, row.place, "image"))) for name in listed]


def _turns(row: Row) -> list[tuple[str, bool]]:
    """Texts, and whether they ask; a system's message becomes part of the first question."""
    system = ""
    turns: list[tuple[str, bool]] = []
    told = row.values.get("conversations") or []
    if not isinstance(told, list):
        fix = "Write a list of turns."
        raise DataError(f"a {type(told).__name__}, not turns", where=row.place, field="conversations", fix=fix)
    for n, turn in enumerate(told):
        field = f"conversations[{n}]"
        who, text = (turn.get("from"), turn.get("value")) if isinstance(turn, dict) else (None, None)
        if who == "system" and not turns and isinstance(text, str):
            system = f"{text}\n" if text.strip() else ""
            continue
        asks = len(turns) % 2 == 0
        if who not in (_ASKS if asks else _ANSWERS) or not isinstance(text, str):
            problem = f"not a turn of {'human' if asks else 'gpt'} with a text"
            raise DataError(problem, where=row.place, field=field, fix="Turns alternate, from human and from gpt.")
        turns.append((system + text if not turns else text, asks))
    if not turns or len(turns) % 2:
        raise DataError("no answer at its end", where=row.place, field="conversations", fix="Leave the record out.")
    return turns
