"""Pictures a second of webdataset and PIL, as OpenCLIP reads its tars: decode, resize, crop, to a tensor.

See `benchmarks/data.py` for what it is told and what it says.
"""

import json
import sys
import time
from importlib.metadata import version
from itertools import islice

import numpy as np
import torch
import webdataset
from torchvision.transforms import CenterCrop, Compose, InterpolationMode, PILToTensor, Resize

spec = json.load(sys.stdin)
torch.set_num_threads(spec["threads"])
see = Compose([Resize(spec["size"], InterpolationMode.BICUBIC), CenterCrop(spec["size"]), PILToTensor()])


def pictures():
    data = webdataset.WebDataset(spec["tar"], shardshuffle=False, empty_check=False)
    return data.decode("pilrgb").to_tuple("jpg", "txt")


first = [see(picture).numpy() for picture, _ in islice(pictures(), spec["compared"])]
np.save(spec["outputs"], np.stack(first))
seconds, cpu = [], []
for _ in range(spec["repeats"]):
    began, used = time.perf_counter(), time.process_time()
    count = 0
    for picture, text in pictures():
        assert see(picture).shape == (3, spec["size"], spec["size"])
        count += bool(text)
    seconds.append((time.perf_counter() - began) / count)
    cpu.append((time.process_time() - used) / count)
versions = {name: version(name) for name in ("webdataset", "pillow", "torch", "torchvision")}
print(json.dumps({"seconds": seconds, "cpu_seconds": cpu, "pictures": count, "versions": versions}))
