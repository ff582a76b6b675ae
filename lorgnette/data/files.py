"""The user's own pictures and clips: tables and folders as a source of documents.

| given                                   | a document is                                                        |
|-----------------------------------------|----------------------------------------------------------------------|
| .jsonl, .csv, .tsv, .json               | a row: image or video; caption (or text), question and answer(s), label |
| .json of COCO captions                  | an annotation                                                        |
| .json or .jsonl of LLaVA                | a conversation                                                       |
| a folder with one such table            | a row                                                                |
| a folder of class folders               | a picture; caption and label are the folder's name                   |
| a folder of pictures with .txt or .json | a picture; the side file holds its caption, or question and answer   |
"""

import os
from collections.abc import Mapping
from pathlib import Path
from typing import Any

from lorgnette.data import plain
from lorgnette.data.conversations import Conversations, is_conversation
from lorgnette.data.fields import Fields
from lorgnette.data.folders import find_table, read_folder
from lorgnette.data.pairs import QUESTION
from lorgnette.data.source import kind_of
from lorgnette.data.tables import Rows, read_table
from lorgnette.document import Document, Video
from lorgnette.errors import ConfigError, DataError


class Pictures:
    """A source over rows that were found good: `len`, and `[i]` -> Document.

    Args:
        path: the file or folder, for messages.
        rows: what was written.
        fields: how it is read.

    Raises:
        DataError: at the first row that cannot be used: a missing column, picture or clip, no caption, a key twice.
    """

    def __init__(self, path: Path, rows: Rows, fields: Fields) -> None:
        self.path, self.rows, self.fields = path, rows, fields
        keys: dict[str, str] = {}
        seen: dict[str, bool] = {}
        missing: list[tuple[str, str, str]] = []
        for i in range(len(rows)):
            row = rows[i]
            document = fields.document(row)
            if document.key in keys:
                raise DataError(
                    f"the key {document.key!r} was used before, at {keys[document.key]}",
                    where=row.place,
                    fix="Give every row its own key, or leave the column out.",
                )
            keys[document.key] = row.place
            shown = document.media[0]
            picture = str(shown.source)
            if picture not in seen:
                seen[picture] = os.path.isfile(picture)
            if not seen[picture]:
                missing.append((row.place, "clip" if isinstance(shown, Video) else "picture", picture))
        if missing:
            raise self._missing(missing)

    def __len__(self) -> int:
        return len(self.rows)

    def told(self, i: int) -> Mapping[str, Any]:
        """What is written about the i-th document."""
        return self.rows[i].values

    def __getitem__(self, index: int) -> Document:
        return self.fields.document(self.rows[index])

    def _missing(self, missing: list[tuple[str, str, str]]) -> DataError:
        place, kind, picture = missing[0]
        count = f" ({len(missing)} of {len(self.rows)} rows)" if len(missing) > 1 else ""
        if "://" in picture:
            fix = f"{kind.capitalize()}s are not downloaded: fetch them first and give their paths."
        elif "\\" in picture:
            fix = "Write / between folders, not \\."
        elif os.path.isdir(picture):
            fix = f"It is a folder: give the path of one {kind}."
        else:
            fix = plain.missing(Path(picture)).fix
            if len(missing) == len(self.rows):
                fix += f" Paths start from {self.fields.root}; give root=... where the {kind}s lie elsewhere."
        return DataError(f"no {kind} {picture}{count}", where=place, fix=fix)


def open_pictures(
    path: str | Path,
    *,
    columns: Mapping[str, str] | None = None,
    template: str = QUESTION,
    root: str | Path | None = None,
    delimiter: str | None = None,
    names_are_captions: bool = False,
) -> Pictures | Conversations:
    """The user's own pictures, or clips, with captions, questions and answers, or classes.

    The whole of the text is checked now; that the pictures exist is checked now too, and whether they can be decoded
    is what `lorgnette.data.check.check` finds out. A row's key is its column `key`, else file name and line; columns
    that have no other use, and the label, are the document's `meta`. Paths may be absolute or lead out of the folder
    with `..`: a table is trusted to name any file that its reader may read, so do not open tables of strangers in a
    service.

    Args:
        path: a table or a folder, as the module's table says.
        columns: column names by field where they are not the usual ones, e.g. `{"image": "filename"}`.
        template: the wording of a question.
        root: the folder that relative picture paths start from; by default the table's own.
        delimiter: what separates the cells of a .csv or .tsv; by default commas and tabs.
        names_are_captions: take `red_car_2.jpg` to be captioned "red car", in a folder of nothing but pictures.

    Raises:
        DataError: something in the data cannot be used; the message says where, what, and what to do.
        ConfigError: `columns` or `template` make no sense.
    """
    path = Path(path)
    if names_are_captions and not path.is_dir():
        raise ConfigError("this is for folders only", where="names_are_captions", fix="Leave it out.")
    table: Path | None = path
    if path.is_dir():
        table = None if names_are_captions else find_table(path)
    fields = Fields(Path(root) if root else (table.parent if table else path), dict(columns or {}), template)
    if table is None:
        return Pictures(path, read_folder(path, names_are_captions=names_are_captions), fields)
    rows = read_table(table, delimiter)
    if kind_of(lambda i: is_conversation(rows[i].values), len(rows)):
        return Conversations(rows, fields.root, template)
    return Pictures(path, rows, fields)
