"""When two answers are the same text."""

import re
import unicodedata

_PUNCTUATION = ';/[]"{}()=+\\_-><@`,?!'
_WORDS = ("zero", "one", "two", "three", "four", "five", "six", "seven", "eight", "nine", "ten")
_NUMBERS = {"none": "0", **{word: str(number) for number, word in enumerate(_WORDS)}}
_ARTICLES = ("a", "an", "the")
_EDGES = " \t\n.,;:!?\"'`“”‘’«»…。，！？"
_CONTRACTIONS = (
    "ain't aren't can't could've couldn't couldn't've didn't doesn't don't hadn't hadn't've hasn't haven't he'd "
    "he'd've he's how'd how'll how's isn't it'd it'd've it'll ma'am mightn't mightn't've might've mustn't must've "
    "needn't not've o'clock oughtn't 'ow's'at shan't she'd've should've shouldn't shouldn't've somebody'd've "
    "somebody'll somebody's someone'd someone'd've someone'll someone's something'd something'd've something'll "
    "that's there'd there'd've there're there's they'd they'd've they'll they're they've 'twas wasn't we'd've we've "
    "weren't what'll what're what's what've when's where'd where's where've who'd who'd've who'll who's who've why'll "
    "why're why's won't would've wouldn't wouldn't've y'all y'all'll y'all'd've you'd you'd've you'll you're you've"
)


def _slips(right: str) -> list[str]:
    """A contraction with one of its apostrophes forgotten."""
    return [right[:i] + right[i + 1 :] for i, sign in enumerate(right) if sign == "'"]


# The official list also takes an apostrophe out, of one word.
_MENDED = {"somebody'd": "somebodyd"} | {slip: right for right in _CONTRACTIONS.split() for slip in _slips(right)}


def plain(text: str) -> str:
    """Case, width, spacing and the punctuation around a text do not count; everything inside it does."""
    return " ".join(unicodedata.normalize("NFKC", text).casefold().split()).strip(_EDGES)


def vqa(text: str) -> str:
    """VQAv2's normalisation: punctuation, full stops, case, number words, articles, forgotten apostrophes.

    Apostrophes and colons stay: "girl's" is not "girls", and "3:30" is a time. A mark beside a space goes, any other
    becomes a space, but all go where a number has a comma. "im" and "ive" stay as they are: the official list has them
    in capitals, and compares in lower case.
    """
    text = " ".join(text.split())
    in_number = re.search(r"\d,\d", text) is not None
    cleaned = text
    for mark in _PUNCTUATION:
        beside_space = f"{mark} " in text or f" {mark}" in text
        cleaned = cleaned.replace(mark, "" if beside_space or in_number else " ")
    cleaned = re.sub(r"\.(?!\d)", "", cleaned)
    words = (_NUMBERS.get(word, word) for word in cleaned.lower().split())
    return " ".join(_MENDED.get(word, word) for word in words if word not in _ARTICLES)
