"""FILIP's rules (Yao et al. 2022, arXiv:2111.07783) and M3W's (`lorgnette.data.web.rules`): what a document breaks.

That a text is repeated too often only the whole of the data can say: `lorgnette.curation.dropping` does.
"""

import re
from functools import lru_cache

import PIL.Image
from py3langid.langid import MODEL_FILE, LanguageIdentifier

from lorgnette.curation.options import Options, phrases
from lorgnette.curation.texts import finder, normal
from lorgnette.data.web.rules import Rules

PICTURES = {"flamingo": Rules(), "filip": Rules(smallest=200, aspect=3.0, single_colour=True)}
NAME_OF_A_FILE, SENSITIVE = "filip: text like the name of a file", "filip: sensitive words"
OTHER_LANGUAGE = "filip: text not in {!r}"
SURE, LEAST = 0.8, 20
"""A text is of another language where the identifier is so sure of it, and it has so many characters."""
PERSON = "<person>"

_SUFFIX = r"[\w\-.()%+]+(?: ?\(\d+\))?\.(?:jpe?g|png|gif|webp|bmp|tiff?|heic|svg|pdf|psd|mp4|mov)"
_CAMERA = r"(?:img|dscn?|dscf|dcim|pict?|image|picture|photo|screen ?shot|scan|untitled|p)[\W_]*\d[\d\W_]*"
_FILE = re.compile(rf"\s*(?:{_SUFFIX}|{_CAMERA})\s*", re.IGNORECASE)


def against_pictures(pictures: list[PIL.Image.Image], options: Options) -> list[str]:
    """The rules that some picture breaks, by name, such as "flamingo: smaller than 64 pixels"."""
    found = [
        f"{name}: {rules.of(one)}" for name, rules in PICTURES.items() if name in options.stages for one in pictures
    ]
    return [rule for rule in dict.fromkeys(found) if not rule.endswith(": ")]


def against_text(text: str, options: Options) -> list[str]:
    """The rules of FILIP that a text breaks, by name."""
    if "filip" not in options.stages or not text.strip():
        return []
    found = [NAME_OF_A_FILE] if _FILE.fullmatch(text) else []
    if options.language and other_language(text, options.language):
        found.append(OTHER_LANGUAGE.format(options.language))
    sensitive = finder(phrases(options.sensitive))
    if sensitive and sensitive.search(normal(text)):
        found.append(SENSITIVE)
    return found


def rules(options: Options) -> list[str]:
    """The names of all rules that are applied, so that those which drop nothing are told, too."""
    found = [
        f"{name}: {reason}" for name, rules in PICTURES.items() if name in options.stages for reason in rules.reasons
    ]
    if "filip" in options.stages:
        found.append(NAME_OF_A_FILE)
        found += [OTHER_LANGUAGE.format(options.language)] if options.language else []
        found += [SENSITIVE] if options.sensitive else []
    return found


def other_language(text: str, language: str) -> bool:
    """Whether the text is long enough to tell, and surely of another language."""
    if len(text) < LEAST:
        return False
    told, sure = _identifier().classify(text)
    return told != language and sure >= SURE


def without_names(text: str, options: Options) -> str:
    """The text with <person> in the place of the names on the user's list."""
    named = _names(phrases(options.names)) if "filip" in options.stages else None
    return named.sub(PERSON, text) if named else text


@lru_cache
def _names(listed: tuple[str, ...]) -> re.Pattern[str] | None:
    longest = sorted(listed, key=len, reverse=True)
    return re.compile(rf"(?<!\w)(?:{'|'.join(map(re.escape, longest))})(?!\w)") if listed else None


@lru_cache
def _identifier() -> LanguageIdentifier:
    return LanguageIdentifier.from_model_file(MODEL_FILE, norm_probs=True)
