"""All sentences about scenes, in English and German.

German has a gender for every noun, so its sentences name things as labels do ("Katze links von Hund: Stimmt das?") and
never need an article, a case or a plural.
"""

from collections.abc import Mapping
from typing import Literal

from lorgnette.data.scenes.truth import Direction

Language = Literal["en", "de"]
Action = Literal["left", "right", "up", "down", "grow", "shrink", "spin", "appear", "vanish", "swap"]

_Table = Mapping[Language, Mapping[str, str]]

SENTENCES: _Table = {
    "en": {
        "what": "What is {beside} the {x}?",
        "where": "Where in the picture is the {x}?",
        "count": "How many {xs} are there?",
        "related": "Is the {x} {beside} the {y}?",
        "shown": "Is there {ax} in the picture?",
        "larger": "Which is larger, the {x} or the {y}?",
        "outermost": "What is {outermost}?",
        "more": "Are there more {xs} than {ys}?",
        "both": "There is {ax} in both pictures.",
        "one": "There is {ax} in exactly one of the pictures.",
        "first more": "There are more {xs} in the first picture than in the second.",
        "together": "Together the pictures show exactly {nx}.",
        "beside twice": "In both pictures the {x} is {beside} the {y}.",
        "first larger": "The {x} is larger in the first picture than in the second.",
        "at least": "The picture holds at least {nx}.",
        "at most": "The picture holds at most {nx}.",
        "exactly": "The picture holds exactly {nx}.",
        "majority": "The picture holds more {xs} than {ys}.",
        "the": "the {x}",
        "next": "the thing directly {beside} the {x}",
        "the beside": "the {x} {beside} the {y}",
        "action": "What does the {x} do?",
        "actor": "What {action}?",
        "order": "Which changes first, the {x} or the {y}?",
        "event": "the {x} {action}",
        "beside": "{ax} {beside} {ay}",
        "counts": "{nx} and {ny}",
        "sizes": "a large {x} and a small {y}",
    },
    "de": {
        "what": "{x}: Was ist {there}?",
        "where": "Wo im Bild ist zu sehen: {x}?",
        "count": "Wie oft ist im Bild zu sehen: {x}?",
        "related": "{x} {beside} {y}: Stimmt das?",
        "shown": "Ist im Bild zu sehen: {x}?",
        "larger": "{x} oder {y}: Was ist größer?",
        "outermost": "Was ist {outermost}?",
        "more": "{x} öfter im Bild als {y}: Stimmt das?",
        "both": "In beiden Bildern ist zu sehen: {x}.",
        "one": "In genau einem der Bilder ist zu sehen: {x}.",
        "first more": "Im ersten Bild öfter zu sehen als im zweiten: {x}.",
        "together": "In beiden Bildern zusammen genau {number}-mal zu sehen: {x}.",
        "beside twice": "In beiden Bildern: {x} {beside} {y}.",
        "first larger": "Im ersten Bild größer als im zweiten: {x}.",
        "at least": "Mindestens {number}-mal im Bild: {x}.",
        "at most": "Höchstens {number}-mal im Bild: {x}.",
        "exactly": "Genau {number}-mal im Bild: {x}.",
        "majority": "{x} öfter im Bild als {y}.",
        "the": "{x}",
        "next": "Ding direkt {beside} {x}",
        "the beside": "{x} {beside} {y}",
        "action": "{x}: Was geschieht damit?",
        "actor": "Was {action}?",
        "order": "{x} oder {y}: Was verändert sich zuerst?",
        "event": "{x} {action}",
        "beside": "{x} {beside} {y}",
        "counts": "{nx}, {ny}",
        "sizes": "{x} groß, {y} klein",
    },
}
"""`x` and `y` are names, `ax` with an article, `xs` in the plural, `nx` with a number."""

FRAMES: _Table = {
    "en": {
        "statement": "{} True or false?",
        "hypothesis": "Each grey square covers one thing. “{}” Entailment, neutral or contradiction?",
        "grounding": "Where is {}? Give left, top, right and bottom in hundredths.",
    },
    "de": {
        "statement": "{} Richtig oder falsch?",
        "hypothesis": "Jedes graue Quadrat verdeckt ein Ding. „{}“ Folgerung, neutral oder Widerspruch?",
        "grounding": "Gesucht: {}. Nenne links, oben, rechts und unten in Hundertsteln.",
    },
}
"""What a sentence is put into to be a question."""

ANSWERS: _Table = {
    "en": {name: name for name in ("yes", "no", "true", "false", "entailment", "neutral", "contradiction")}
    | {"left": "left", "right": "right", "above": "top", "below": "bottom"},
    "de": {"yes": "ja", "no": "nein", "true": "richtig", "false": "falsch"}
    | {"entailment": "Folgerung", "neutral": "neutral", "contradiction": "Widerspruch"}
    | {"left": "links", "right": "rechts", "above": "oben", "below": "unten"},
}

ACTIONS: Mapping[Language, Mapping[Action, str]] = {
    "en": {
        "left": "moves to the left",
        "right": "moves to the right",
        "up": "moves up",
        "down": "moves down",
        "grow": "grows",
        "shrink": "shrinks",
        "spin": "spins",
        "appear": "appears",
        "vanish": "vanishes",
        "swap": "swaps places",
    },
    "de": {
        "left": "bewegt sich nach links",
        "right": "bewegt sich nach rechts",
        "up": "bewegt sich nach oben",
        "down": "bewegt sich nach unten",
        "grow": "wird größer",
        "shrink": "wird kleiner",
        "spin": "dreht sich",
        "appear": "erscheint",
        "vanish": "verschwindet",
        "swap": "tauscht den Platz",
    },
}

WAYS: Mapping[Language, Mapping[Direction, tuple[str, str, str]]] = {
    "en": {
        "left": ("left of", "to its left", "furthest to the left"),
        "right": ("right of", "to its right", "furthest to the right"),
        "above": ("above", "above it", "at the very top"),
        "below": ("below", "below it", "at the very bottom"),
    },
    "de": {
        "left": ("links von", "links davon", "ganz links"),
        "right": ("rechts von", "rechts davon", "ganz rechts"),
        "above": ("über", "darüber", "ganz oben"),
        "below": ("unter", "darunter", "ganz unten"),
    },
}
"""For each direction: beside something, there from something, and furthest that way."""
