"""`lorgnette tokenizer`: a vocabulary of your own texts, for a system that learns its words itself."""

from collections.abc import Iterator
from pathlib import Path

import tyro

from lorgnette.data.named import open_data
from lorgnette.data.texts import open_texts
from lorgnette.document import Text
from lorgnette.errors import ConfigError
from lorgnette.language.training import trained


def tokenizer(
    folder: tyro.conf.Positional[Path],
    /,
    *,
    pairs: tuple[str, ...] = ("emoji",),
    texts: tuple[str, ...] = (),
    size: int = 8000,
) -> None:
    """Learns a vocabulary from captions, questions and texts: byte-pair encoding over bytes.

    Args:
        folder: where it goes; give it to a recipe as `--tokenizer`.
        pairs: embedded sets, tables or folders, whose training part is read.
        texts: files or folders of text; "python" is the language reference that Python carries.
        size: tokens, the 256 bytes among them.
    """
    if not pairs and not texts:
        raise ConfigError("there is nothing to learn from", where="tokenizer", fix="Name some `pairs` or `texts`.")
    if folder.exists() and (not folder.is_dir() or any(folder.iterdir())):
        raise ConfigError("this is there already, and not empty", where=folder, fix="Choose another folder.")

    def written() -> Iterator[str]:
        for name in pairs:
            source = open_data(name)[0]
            for i in range(len(source)):
                yield from (part.text for part in source[i].parts if isinstance(part, Text))
        for name in texts:
            yield from (text for _, text, _ in open_texts(name).texts)

    words = trained(written(), size)
    words.save(folder)
    print(f"{len(words)} tokens are in {folder}.")
