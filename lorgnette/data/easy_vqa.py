"""Easy-VQA (Zhou 2019): 48,248 questions on 5,000 drawings of one shape, from the PyPI package `easy-vqa`."""

from importlib import import_module
from typing import Literal

from lorgnette.data.pairs import QUESTION, asked, captioned
from lorgnette.document import Document
from lorgnette.errors import ResourceError

_SHAPES = {"circle", "rectangle", "triangle"}


class EasyVQA:
    """The official parts: 38,575 questions to train on and 9,673 to test on, on different pictures.

    `meta` holds the number of the picture and the type of the answer, `yes/no`, `shape` or `color`.

    Args:
        part: which of the two.
        template: the wording of a question.

    Raises:
        ResourceError: the package is not installed.
    """

    def __init__(self, part: Literal["train", "test"], *, template: str = QUESTION) -> None:
        try:
            package = import_module("easy_vqa")
        except ModuleNotFoundError:
            raise ResourceError(
                "not installed", where="the package easy-vqa", fix="Install it: pip install easy-vqa (3 MB)."
            ) from None
        self.part, self.template = part, template
        test = part == "test"
        self.pictures: dict[int, str] = (package.get_test_image_paths if test else package.get_train_image_paths)()
        texts, answers, pictures = (package.get_test_questions if test else package.get_train_questions)()
        self.questions: list[tuple[str, str, int]] = list(zip(texts, answers, pictures, strict=True))
        self.answers: tuple[str, ...] = tuple(sorted(package.get_answers()))

    def drawn(self) -> dict[int, tuple[str, str]]:
        """Shape and colour of the pictures of which questions tell both."""
        told: dict[int, dict[bool, str]] = {}
        for _, answer, picture in self.questions:
            if answer not in ("yes", "no"):
                told.setdefault(picture, {})[answer in _SHAPES] = answer
        return {picture: (facts[True], facts[False]) for picture, facts in told.items() if len(facts) == 2}

    def __len__(self) -> int:
        return len(self.questions)

    def __getitem__(self, index: int) -> Document:
        question, answer, picture = self.questions[index]
        kind = "yes/no" if answer in ("yes", "no") else "shape" if answer in _SHAPES else "color"
        return asked(
            self.pictures[picture],
            question,
            {answer: 1.0},
            template=self.template,
            key=f"easy-vqa/{self.part}/{range(len(self))[index]:05d}",
            meta={"picture": picture, "answer_type": kind},
        )


class EasyVQACaptions:
    """Captions ("a blue circle") of the drawings of which the questions tell shape and colour.

    Args:
        part: which of the official parts.

    Raises:
        ResourceError: the package is not installed.
    """

    def __init__(self, part: Literal["train", "test"]) -> None:
        asked = EasyVQA(part)
        self.part, self.files, self.drawings = part, asked.pictures, sorted(asked.drawn().items())

    def __len__(self) -> int:
        return len(self.drawings)

    def __getitem__(self, index: int) -> Document:
        picture, (shape, colour) = self.drawings[index]
        key, meta = f"easy-vqa-captions/{self.part}/{picture:04d}", {"picture": picture}
        return captioned(self.files[picture], f"a {colour} {shape}", key=key, meta=meta)
