"""Texts without pictures: files of your own, or prose that every machine with Python has.

| given                     | a document is                                        |
|---------------------------|------------------------------------------------------|
| "python"                  | a paragraph of the language reference of Python      |
| .txt, .md                 | a paragraph: what stands between two empty lines     |
| a folder of such files    | likewise, file by file in the order of their names   |
| .jsonl, .csv, .tsv, .json | a row's column `text`                                |
"""

import logging
import re
from collections import Counter
from collections.abc import Iterator
from pathlib import Path
from pydoc_data.topics import topics

from lorgnette.data import plain
from lorgnette.data.tables import read_table
from lorgnette.document import Document, Text
from lorgnette.errors import DataError

log = logging.getLogger("lorgnette")
PLAIN, TABLES = (".txt", ".md"), (".jsonl", ".csv", ".tsv", ".json")
MARKUP = re.compile(r"[*`_|=<>{}\[\]^]|::")
LEAST = 40
"""Characters of a paragraph of the language reference; shorter ones are headings."""


class Texts:
    """A source of documents of one text that carries loss.

    Args:
        texts: key, text and cluster of each.
    """

    def __init__(self, texts: list[tuple[str, str, str]]) -> None:
        self.texts = texts

    def __len__(self) -> int:
        return len(self.texts)

    def __getitem__(self, i: int, /) -> Document:
        key, text, cluster = self.texts[i]
        return Document((Text(text, weight=1.0),), key, {"cluster": cluster})


def open_texts(name: str) -> Texts:
    """Texts by what a user calls them; see the module. How many files of a folder are of other kinds is said.

    Raises:
        DataError: no such file, one that is no UTF-8 text, a row without text, or nothing at all.
    """
    if name == "python":
        return Texts(list(_reference()))
    path = Path(name)
    if path.is_dir():
        files = sorted(file for file in path.rglob("*") if file.is_file())
        if others := Counter(file.suffix or file.name for file in files if file.suffix not in PLAIN):
            shown = ", ".join(kind for kind, _ in others.most_common(5))
            log.warning("passed over %d files of %s that are no text: %s", others.total(), path, shown)
        found = [one for file in files if file.suffix in PLAIN for one in _paragraphs(file)]
    elif not path.exists():
        raise plain.missing(path)
    elif path.suffix in PLAIN:
        found = list(_paragraphs(path))
    elif path.suffix in TABLES:
        found = list(_rows(path))
    else:
        problem, kinds = f"a {path.suffix or 'file without an ending'}", ", ".join((*PLAIN, *TABLES))
        raise DataError(f"{problem} is no text", where=path, fix=f"Give a folder, or a file of {kinds}.")
    if not found:
        raise DataError("there is no text", where=path, fix=f"Put files of {', '.join(PLAIN)} there.")
    return Texts(found)


def _paragraphs(path: Path) -> Iterator[tuple[str, str, str]]:
    for number, paragraph in enumerate(re.split(r"\n\s*\n", plain.read(path).decode()), 1):
        if text := " ".join(paragraph.split()):
            yield f"{path.name}/{number}", text, path.name


def _rows(path: Path) -> Iterator[tuple[str, str, str]]:
    rows = read_table(path)
    for i in range(len(rows)):
        text = rows[i].values.get("text")
        if not isinstance(text, str) or not text.strip():
            fix = "Give every row a text, in a column of this name."
            raise DataError("no text", where=rows[i].place, field="text", fix=fix)
        yield rows[i].place, text, rows[i].place


def _reference() -> Iterator[tuple[str, str, str]]:
    seen: set[str] = set()
    for topic, text in sorted(topics.items()):
        for number, paragraph in enumerate(re.split(r"\n\s*\n", text), 1):
            line = " ".join(paragraph.split())
            if len(line) >= LEAST and not MARKUP.search(line) and line not in seen:
                seen.add(line)
                yield f"python/{topic}/{number}", line, f"python/{topic}"
