"""Documents of which one cannot be read."""

from collections.abc import Sequence

from lorgnette.document import Document
from lorgnette.errors import DataError


class Torn:
    """A source whose document of that number is broken."""

    def __init__(self, documents: Sequence[Document], broken: int = 3) -> None:
        self.documents, self.broken = documents, broken

    def __len__(self) -> int:
        return len(self.documents)

    def __getitem__(self, i: int, /) -> Document:
        document = self.documents[i]
        if document is self.documents[self.broken]:
            raise DataError("torn", where=document.key)
        return document
