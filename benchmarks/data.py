"""Pictures a second at 224 pixels from one tar of JPEGs: ours, in random order, against webdataset and PIL.

    make peers                                    # once: the peer, in an environment of its own
    python benchmarks/data.py [--pictures 1000] [--repeats 5] [--threads 1] [--tiny]

The tar holds photographs of 640 x 480 with a caption each: pieces of scikit-learn's two, of random place and scale, at
qualities 75, 85 and 95 in turn. Both sides read, decode, resize the shorter side to 224 (bicubic, antialiased), cut out
the centre, and have it as uint8 3 x 224 x 224; captions are read, too. Each
side is a process of its own with so many threads; repeats of the two take turns, so that both meet the same machine.

| side        | what it is                                                                             |
|-------------|----------------------------------------------------------------------------------------|
| ours        | the tar by its index in a shuffled order; `Image.pixels`, `Transform.squared`          |
| webdataset  | `WebDataset(tar).decode("pilrgb")`, then torchvision's Resize, CenterCrop and PILToTensor |

`agreement` is the largest difference, of 255 levels, between the two sides' first pictures. The last line is JSON;
`index` says how many headers of the tar are indexed, and how many of its samples are documents in random order, in a
second of processor time. `ratio` is ours over the peer's, in pictures a second by the median repeat; `ratio_cpu` the
same by processor seconds, which is the better figure where the machine is not quiet.

Each side gets one JSON spec on standard input: tar, index (ours), size, threads, repeats, compared (pictures written to
`outputs`, a .npy in the order of the tar), and prints as its last line: seconds and cpu_seconds a picture of each
repeat, pictures, versions.
"""

import argparse
import io
import json
import statistics
import subprocess
import sys
import tarfile
import tempfile
import time
from pathlib import Path
from typing import Any

import numpy as np
import PIL.Image

ROOT = Path(__file__).parent
PEER_PYTHON = ROOT.parent / ".venv-peers/bin/python"
QUALITIES = (75, 85, 95)


def write(path: Path, number: int) -> int:
    """The tar of the same pictures every time; its bytes."""
    from sklearn.datasets import load_sample_images

    rng = np.random.default_rng(0)
    photographs = [PIL.Image.fromarray(pixels) for pixels in load_sample_images().images]
    with tarfile.open(path, "w") as tar:
        for i in range(number):
            whole = photographs[i % 2]
            width = int(rng.integers(320, whole.width))
            height = min(whole.height, width * 3 // 4)
            left, top = int(rng.integers(whole.width - width + 1)), int(rng.integers(whole.height - height + 1))
            piece = whole.crop((left, top, left + width, top + height)).resize((640, 480), PIL.Image.Resampling.BICUBIC)
            file = io.BytesIO()
            piece.save(file, "JPEG", quality=QUALITIES[i % 3])
            for extension, data in {"jpg": file.getvalue(), "txt": f"photograph {i}".encode()}.items():
                member = tarfile.TarInfo(f"{i:06d}.{extension}")
                member.size = len(data)
                tar.addfile(member, io.BytesIO(data))
    return path.stat().st_size


def ours() -> None:
    """The side of ours, as the module says."""
    from importlib.metadata import version

    import torch

    from lorgnette.data.web.index import open_index
    from lorgnette.data.web.tars import open_tars
    from lorgnette.vision.transform import Transform

    spec = json.load(sys.stdin)
    torch.set_num_threads(spec["threads"])
    source = open_tars(open_index(Path(spec["index"])))
    see = Transform(spec["size"], (0.5,) * 3, (0.5,) * 3, "crop", spec["size"])
    first = [see.squared(source[i].images[0].pixels()).numpy() for i in range(spec["compared"])]
    np.save(spec["outputs"], np.stack(first))
    seconds, cpu = [], []
    for repeat in range(spec["repeats"]):
        order = np.random.default_rng(repeat).permutation(len(source)).tolist()
        began, used = time.perf_counter(), time.process_time()
        for i in order:
            document = source[i]
            assert see.squared(document.images[0].pixels()).shape == (3, spec["size"], spec["size"])
            assert document.text
        seconds.append((time.perf_counter() - began) / len(source))
        cpu.append((time.process_time() - used) / len(source))
    versions = {name: version(name) for name in ("pillow", "torch", "torchvision")}
    print(json.dumps({"seconds": seconds, "cpu_seconds": cpu, "pictures": len(source), "versions": versions}))


def side(command: list[str], spec: dict[str, Any]) -> dict[str, Any]:
    done = subprocess.run(command, input=json.dumps(spec), capture_output=True, text=True)
    if done.returncode:
        return {"failed": done.stderr.strip().splitlines()[-1:]}
    found: dict[str, Any] = json.loads(done.stdout.splitlines()[-1])
    return found


def main() -> None:
    parser = argparse.ArgumentParser(description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter)
    parser.add_argument("--pictures", type=int, default=1000)
    parser.add_argument("--repeats", type=int, default=5)
    parser.add_argument("--threads", type=int, default=1)
    parser.add_argument("--tiny", action="store_true", help="60 pictures, 2 repeats: whether it runs")
    parser.add_argument("--peer-python", default=str(PEER_PYTHON))
    options = parser.parse_args()
    if options.tiny:
        options.pictures, options.repeats = 60, 2
    from lorgnette.data.web.index import write_index
    from lorgnette.data.web.tars import open_tars

    sides = {
        "ours": [sys.executable, "-W", "ignore", str(Path(__file__).resolve()), "--ours"],
        "webdataset": [options.peer_python, "-W", "ignore", str(ROOT / "peers/webdataset_side.py")],
    }
    with tempfile.TemporaryDirectory() as name:
        folder = Path(name)
        size = write(folder / "0.tar", options.pictures)
        began = time.process_time()
        found = write_index([folder / "0.tar"], folder / "index")
        indexed = time.process_time()
        source = open_tars(found)
        for i in np.random.default_rng(0).permutation(len(source)).tolist():
            assert source[i].text
        read = time.process_time() - indexed
        members = sum(shard.members for shard in found.shards)
        rates = {"headers": round(members / (indexed - began)), "documents": round(len(source) / read)}
        told: dict[str, dict[str, Any]] = {key: {"seconds": [], "cpu_seconds": []} for key in sides}
        for _ in range(options.repeats):
            for key, command in sides.items():
                spec = {
                    "tar": str(folder / "0.tar"),
                    "index": str(folder / "index"),
                    "size": 224,
                    "threads": options.threads,
                    "repeats": 1,
                    "compared": min(48, options.pictures),
                    "outputs": str(folder / f"{key}.npy"),
                }
                found = side(command, spec)
                for field in ("seconds", "cpu_seconds"):
                    told[key][field] += found.pop(field, [])
                told[key] |= found
                print(key, found.get("failed") or f"{1 / told[key]['seconds'][-1]:.0f} pictures/s")
        failed = {key: one["failed"] for key, one in told.items() if "failed" in one}
        if not failed:
            outputs = [np.load(folder / f"{key}.npy").astype(int) for key in sides]
            agreement = int(np.abs(outputs[0] - outputs[1]).max())
    result: dict[str, Any] = {"benchmark": "data", "pictures": options.pictures, "tar_bytes": size}
    result |= {"index": rates, "failed": failed}
    if not failed:
        medians = {key: statistics.median(one["seconds"]) for key, one in told.items()}
        cpu = {key: statistics.median(one["cpu_seconds"]) for key, one in told.items()}
        result |= {
            "pictures_per_second": {key: round(1 / median, 1) for key, median in medians.items()},
            "ratio": {"images_224": round(medians["webdataset"] / medians["ours"], 2)},
            "ratio_cpu": {"images_224": round(cpu["webdataset"] / cpu["ours"], 2)},
            "agreement": agreement,
            "seconds": {key: one["seconds"] for key, one in told.items()},
            "cpu_seconds": {key: one["cpu_seconds"] for key, one in told.items()},
        }
    versions = {key: one.get("versions") for key, one in told.items()}
    print(json.dumps(result | {"threads": options.threads, "tiny": options.tiny, "versions": versions}))


if __name__ == "__main__":
    ours() if "--ours" in sys.argv else main()
