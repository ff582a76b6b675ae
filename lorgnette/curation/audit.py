"""An audit by a person: a page of pairs, as they are or augmented, and the share that is right, with its interval."""

import base64
import json
from collections.abc import Callable, Sequence
from io import BytesIO
from pathlib import Path

import jinja2
import numpy as np

from lorgnette.data.duplicates import still
from lorgnette.data.source import Source
from lorgnette.document import Document
from lorgnette.errors import DataError
from lorgnette.evaluation.intervals import wilson

_SIDE = 160


def audit_page(documents: Sequence[Document], changed: Sequence[Document] | None = None) -> str:
    """A page that shows the pairs and saves `audit.json`, the keys of those that were marked as wrong.

    Args:
        changed: the same documents augmented, shown beside them: is the text still right?
    """
    shown = [{"key": one.key, "text": one.text[:500], "pictures": _stills(one)} for one in documents]
    for pair, after in zip(shown, changed or (), strict=changed is not None):
        pair["after"] = _stills(after)
    page = (Path(__file__).parent / "audit.html").read_text("utf-8")
    return jinja2.Environment(autoescape=True).from_string(page).render(pairs=shown, changed=changed is not None)


def augmented_page(
    source: Source, change: Callable[[Document, np.random.Generator], Document], *, pairs: int, seed: int
) -> str:
    """The page of up to `pairs` documents, evenly spaced, before and after an augmentation; broken ones are left out.

    Raises:
        DataError: none shows anything that can be augmented.
    """
    before, after = [], []
    lost = DataError("no document shows a picture", where="preview", fix="Give captioned pictures.")
    for i in np.unique(np.linspace(0, len(source) - 1, min(pairs, len(source))).round().astype(int)).tolist():
        try:
            document = source[i]
            if document.media:
                after.append(change(document, np.random.default_rng((seed, i))))
                before.append(document)
        except DataError as error:
            lost = error
    if not before:
        raise lost
    return audit_page(before, after)


def audited(path: Path) -> tuple[int, int, tuple[float, float]]:
    """From a saved audit: how many pairs are right, of how many, and the Wilson interval of the share.

    Raises:
        DataError: the file is none.
    """
    try:
        told = json.loads(path.read_bytes())
        number, wrong = int(told["pairs"]), len(set(told["wrong"]))
        if not 0 <= wrong <= number or number < 1:
            raise ValueError("the numbers do not fit")
    except (OSError, ValueError, KeyError, TypeError) as error:
        raise DataError(f"no audit ({error})", where=path, fix="Save it from audit.html.") from None
    return number - wrong, number, wilson(number - wrong, number)


def _stills(document: Document) -> list[str]:
    found = []
    for one in document.media[:4]:
        picture = still(one).copy()
        picture.thumbnail((_SIDE, _SIDE))
        file = BytesIO()
        picture.save(file, "JPEG", quality=80)
        found.append(f"data:image/jpeg;base64,{base64.b64encode(file.getvalue()).decode()}")
    return found
