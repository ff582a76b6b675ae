"""What stands in scenes: emoji with one short name that nobody mistakes for each other, as every style draws them."""

import io
import random
from collections.abc import Callable, Sequence
from dataclasses import dataclass
from functools import cache
from typing import Literal

import PIL.Image
import PIL.ImageChops

from lorgnette.data.emoji import all_concepts, cluster, drawn, is_held_out, picture

Split = Literal["train", "held_out", "all"]

# Chosen by eye: countable, one clear name in both languages, drawn by most hands, well seen on white. Left out are
# second pictures of a thing ("cat face"), pictures of something else (the loudspeaker is a megaphone), kinds of others
# ("bird"), plurals, signs, and what is a scene itself.
NAMES = """
monkey, gorilla, dog, wolf, cat, lion, tiger, leopard, horse, unicorn, ox, cow, pig, boar, ram, camel, elephant,
rhinoceros, mouse, hamster, rabbit, chipmunk, bat, bear, koala, panda, turkey, chicken, rooster, penguin, eagle, duck,
owl, frog, crocodile, turtle, lizard, dragon, snake, whale, dolphin, blowfish, shark, octopus, crab, squid, snail,
butterfly, ant, honeybee, lady beetle, spider, scorpion, bouquet, rose, hibiscus, sunflower, tulip, cherry blossom,
palm tree, evergreen tree, deciduous tree, cactus, shamrock, mushroom, watermelon, melon, tangerine, lemon, banana,
pineapple, pear, peach, strawberry, kiwi fruit, tomato, avocado, eggplant, potato, carrot, cucumber, chestnut,
croissant, cheese wedge, hamburger, pizza, taco, doughnut, cookie, birthday cake, chocolate bar, lollipop, wine glass,
cocktail glass, beer mug, baby bottle, spoon, amphora, volcano, castle, factory, house, church, mosque, fountain, tent,
ferris wheel, locomotive, tram, bus, ambulance, fire engine, police car, taxi, automobile, racing car, tractor,
motorcycle, bicycle, kick scooter, fuel pump, anchor, sailboat, canoe, airplane, helicopter, satellite, rocket, watch,
alarm clock, sun, full moon, crescent moon, rainbow, umbrella, snowflake, balloon, wrapped gift, trophy, soccer ball,
basketball, volleyball, baseball, boxing glove, ice skate, crystal ball, joystick, slot machine, artist palette,
t-shirt, dress, kimono, purse, handbag, backpack, running shoe, top hat, graduation cap, crown, lipstick, ring, bell,
megaphone, microphone, headphone, radio, saxophone, trumpet, guitar, violin, drum, telephone, mobile phone, battery,
printer, laptop, keyboard, floppy disk, camera, television, candle, light bulb, flashlight, newspaper, notebook,
scroll, money bag, credit card, envelope, package, postbox, pencil, crayon, pen, paintbrush, briefcase, clipboard,
calendar, paperclip, key, hammer, dagger, bomb, shield, wrench, gear, microscope, telescope, syringe, pill, door, bed,
bathtub, shopping cart, coffin
"""


@dataclass(frozen=True, slots=True)
class Thing:
    """A concept by its sequence (`1F408`), with its names in both languages and Unicode's subcategory."""

    sequence: str
    english: str
    german: str
    subcategory: str

    def unlike(self, other: "Thing") -> bool:
        """Whether both may stand in one scene: of other kinds, and no name inside the other's ("sun", "sunflower")."""
        mine, yours = [(t.english.casefold(), t.german.casefold()) for t in (self, other)]
        apart = all(a not in b and b not in a for a, b in zip(mine, yours, strict=True))
        return apart and self.subcategory != other.subcategory and cluster(self.sequence) != cluster(other.sequence)


@cache
def things(style: str, split: Split = "train") -> tuple[Thing, ...]:
    """What this style draws of the concepts of a split, in Unicode's order.

    Raises:
        ConfigError: there is no such style.
    """
    names = {" ".join(name.split()) for name in NAMES.split(",")}
    english, german, there = all_concepts(), all_concepts("de"), set(drawn(style))
    return tuple(
        Thing(sequence, concept.name, german[sequence].name, concept.subcategory)
        for sequence, concept in english.items()
        if concept.name in names and sequence in there
        if split == "all" or is_held_out(sequence) == (split == "held_out")
    )


def pick(
    rng: random.Random, pool: Sequence[Thing], number: int, fits: Callable[[Thing], bool] | None = None
) -> tuple[Thing, ...] | None:
    """Things that may stand together, all of which fit; None where the pool has not so many."""
    chosen: list[Thing] = []
    for thing in rng.sample(pool, len(pool)):
        if all(map(thing.unlike, chosen)) and (fits is None or fits(thing)):
            chosen.append(thing)
        if len(chosen) == number:
            return tuple(chosen)
    return None


@cache
def cut_out(style: str, sequence: str) -> PIL.Image.Image:
    """The picture with transparency, cut to what is seen of it: 64 or 72 pixels at most."""
    whole = PIL.Image.open(io.BytesIO(picture(style, sequence))).convert("RGBA")
    return whole.crop(whole.getchannel("A").point([0] * 64 + [255] * 192).getbbox())


def compact(style: str, thing: Thing, least: float) -> bool:
    """Whether the shorter side of what is seen is at least this share of the longer one."""
    size = cut_out(style, thing.sequence).size
    return min(size) >= least * max(size)


@cache
def turns_visibly(style: str, sequence: str) -> bool:
    """Whether a quarter turn can be seen: not of a ball."""
    seen = cut_out(style, sequence)
    side = 24
    square = PIL.Image.new("RGBA", (side, side), "white")
    scale = side / max(seen.size)
    small = seen.resize((max(1, round(seen.width * scale)), max(1, round(seen.height * scale))))
    square.alpha_composite(small, ((side - small.width) // 2, (side - small.height) // 2))
    plain = square.convert("RGB")
    changes = PIL.ImageChops.difference(plain, plain.transpose(PIL.Image.Transpose.ROTATE_90)).histogram()
    return sum(count * (at % 256) for at, count in enumerate(changes)) > 25 * 3 * side * side
