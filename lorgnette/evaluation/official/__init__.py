"""Readers of data sets in the formats in which they are published: `OFFICIAL["vqav2"](folder)` is a `Benchmark`.

A reader looks at every record and at the presence of every picture; pixels stay undecoded until a model sees them. What
it finds wrong it names: the file, the record and the field. `docs/tasks.md` has a table of the files.
"""

from collections.abc import Callable

from lorgnette.evaluation.few_shot import Benchmark
from lorgnette.evaluation.official.coco import coco
from lorgnette.evaluation.official.fast_concepts import fast_vqa, guided_vqa, open_ended_mi, real_name_mi
from lorgnette.evaluation.official.flickr30k import flickr30k
from lorgnette.evaluation.official.hateful_memes import hateful_memes
from lorgnette.evaluation.official.imagenet import imagenet
from lorgnette.evaluation.official.ivqa import ivqa
from lorgnette.evaluation.official.kinetics import kinetics
from lorgnette.evaluation.official.multi30k import multi30k
from lorgnette.evaluation.official.next_qa import next_qa, next_qa_choice
from lorgnette.evaluation.official.nlvr2 import nlvr2
from lorgnette.evaluation.official.nocaps import nocaps
from lorgnette.evaluation.official.rareact import rareact
from lorgnette.evaluation.official.snli_ve import snli_ve
from lorgnette.evaluation.official.star import star
from lorgnette.evaluation.official.textvqa import textvqa
from lorgnette.evaluation.official.vatex import vatex
from lorgnette.evaluation.official.video_qa import msrvtt_qa, msvd_qa
from lorgnette.evaluation.official.visdial import visdial
from lorgnette.evaluation.official.vizwiz import vizwiz
from lorgnette.evaluation.official.vqav2 import okvqa, vqav2
from lorgnette.evaluation.official.youcook2 import youcook2

OFFICIAL: dict[str, Callable[..., Benchmark]] = {
    "coco": coco,
    "nocaps": nocaps,
    "flickr30k": flickr30k,
    "vqav2": vqav2,
    "okvqa": okvqa,
    "textvqa": textvqa,
    "vizwiz": vizwiz,
    "hateful_memes": hateful_memes,
    "visdial": visdial,
    "nlvr2": nlvr2,
    "snli_ve": snli_ve,
    "multi30k": multi30k,
    "imagenet": imagenet,
    "open_ended_mi": open_ended_mi,
    "real_name_mi": real_name_mi,
    "fast_vqa": fast_vqa,
    "guided_vqa": guided_vqa,
    "msvd_qa": msvd_qa,
    "msrvtt_qa": msrvtt_qa,
    "ivqa": ivqa,
    "next_qa": next_qa,
    "next_qa_choice": next_qa_choice,
    "star": star,
    "vatex": vatex,
    "youcook2": youcook2,
    "kinetics": kinetics,
    "rareact": rareact,
}
"""By name; every reader takes the folder first, and its own options by keyword."""
