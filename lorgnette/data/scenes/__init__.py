"""Scenes composed from the embedded pictures: any number of them, with exact ground truth, the same on every machine.

    Scenes(VQA)         questions about one picture: what, where, how many, which, whether
    Scenes(STATEMENTS)  statements about two pictures, true or false
    Scenes(ENTAILMENT)  sentences that a picture entails, leaves open or contradicts
    Scenes(GROUNDING)   phrases and boxes
    Scenes(CAPTIONS)    captions, each beside one that the same words make false
    Scenes(CLIPS)       eight frames of things that do something

To read how a set is made, begin with `sets.py`.
"""

from collections.abc import Mapping

from lorgnette.data.scenes.captions import CAPTIONS as CAPTIONS
from lorgnette.data.scenes.clips import CLIPS as CLIPS
from lorgnette.data.scenes.entailment import ENTAILMENT as ENTAILMENT
from lorgnette.data.scenes.entailment import Told as Told
from lorgnette.data.scenes.entailment import told as told
from lorgnette.data.scenes.grounding import GROUNDING as GROUNDING
from lorgnette.data.scenes.groups import Family as Family
from lorgnette.data.scenes.sets import Scenes as Scenes
from lorgnette.data.scenes.sets import open_scenes as open_scenes
from lorgnette.data.scenes.statements import STATEMENTS as STATEMENTS
from lorgnette.data.scenes.vqa import VQA as VQA

FAMILIES: Mapping[str, Family] = {
    family.name: family for family in (VQA, STATEMENTS, ENTAILMENT, GROUNDING, CAPTIONS, CLIPS)
}
