"""Training and validation documents by what a user calls them: an embedded set, or a path."""

from lorgnette.data.check import check
from lorgnette.data.emoji import VALIDATION_STYLES, Emoji
from lorgnette.data.files import open_pictures
from lorgnette.data.source import Source
from lorgnette.data.split import split


def open_data(name: str, *, seed: int = 0) -> tuple[Source, Source]:
    """Training and validation documents.

    Args:
        name: "emoji" (validated on the style that is kept for it), "stamps" (where its Debian package is installed), or
            a table or folder of your own pictures, of which a tenth validates, duplicates kept together.
        seed: of the division.

    Raises:
        DataError, ConfigError, ResourceError: as the readers say.
    """
    if name == "emoji":
        return Emoji(), Emoji(VALIDATION_STYLES)
    source: Source
    if name == "stamps":
        from lorgnette.data.stamps import Stamps

        source = Stamps()
    else:
        source = open_pictures(name)
    parts = split(source, check(source).clusters, test=0.0, validation=0.1, seed=seed)
    return parts.train, parts.validation
