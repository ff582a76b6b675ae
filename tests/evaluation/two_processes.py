"""Run under torchrun by `test_asking.py`: one evaluation, shared by the processes."""

import json
import sys
from pathlib import Path

import numpy as np
import torch
import torch.distributed as dist

from lorgnette.document import Document, Image, Text
from lorgnette.evaluation.few_shot import Benchmark, few_shot
from lorgnette.evaluation.journal import Journal
from lorgnette.evaluation.run import evaluate
from lorgnette.evaluation.template import Template
from lorgnette.incontext.decoding import Decoding
from lorgnette.incontext.engine import Engine
from lorgnette.systems import frozen


def document(i: int) -> Document:
    picture = Image(np.random.default_rng(i).integers(0, 255, (16, 16, 3), dtype=np.uint8))
    return Document((picture, Text(f"thing {i % 3}", weight=1.0)), key=str(i))


def main(folder: Path) -> None:
    """Evaluates, and writes what this process has for the whole."""
    torch.set_num_threads(1)
    dist.init_process_group("gloo")
    rank, world = dist.get_rank(), dist.get_world_size()
    system = frozen.build(language="tiny-random", vision="tiny-random", precision="fp32").eval()
    for number, parameter in enumerate(system.parameters()):
        torch.nn.init.normal_(parameter, std=0.1, generator=torch.Generator().manual_seed(number))
    queries, support = [document(i) for i in range(11)], [document(i) for i in range(20, 30)]
    names = ("thing 0", "thing 1", "thing 2")
    task = few_shot(Benchmark("toy", queries, support, Template("A {}."), names, decoding=Decoding(3)), 2)
    shared = evaluate(Engine(system), task, journal=Journal(folder, model="m", part=(rank, world)))
    alone = evaluate(Engine(system), task)
    for one, other in zip(shared.records, alone.records, strict=True):
        assert one.generated == other.generated
        assert np.allclose(one.scores or (), other.scores or (), atol=1e-4)
    figures = [[record.key, record.generated, record.scores] for record in shared.records]
    (folder / f"figures-{rank}.json").write_text(json.dumps(figures))
    dist.destroy_process_group()


main(Path(sys.argv[1]))
