"""An audit by a person: a page of pairs to look at, and the share that is right, with its Wilson interval."""

import base64
import json
from collections.abc import Sequence
from io import BytesIO
from pathlib import Path

import jinja2

from lorgnette.data.duplicates import still
from lorgnette.document import Document
from lorgnette.errors import DataError
from lorgnette.evaluation.intervals import wilson

_SIDE = 160


def audit_page(documents: Sequence[Document]) -> str:
    """A page that shows the pairs and saves `audit.json`, the keys of those that were marked as wrong."""
    shown = [
        {"key": one.key, "text": one.text[:500], "pictures": [*map(_thumbnail, _stills(one))]} for one in documents
    ]
    page = (Path(__file__).parent / "audit.html").read_text("utf-8")
    return jinja2.Environment(autoescape=True).from_string(page).render(pairs=shown)


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


def _stills(document: Document) -> list[bytes]:
    found = []
    for one in document.media[:4]:
        picture = still(one).copy()
        picture.thumbnail((_SIDE, _SIDE))
        file = BytesIO()
        picture.save(file, "JPEG", quality=80)
        found.append(file.getvalue())
    return found


def _thumbnail(data: bytes) -> str:
    return f"data:image/jpeg;base64,{base64.b64encode(data).decode()}"
