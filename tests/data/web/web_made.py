"""Pictures and tars for the tests of pages."""

import io
import json
import tarfile
from collections.abc import Mapping
from pathlib import Path
from typing import Any

import numpy as np
import PIL.Image


def noise(seed: int = 0, size: tuple[int, int] = (80, 70)) -> bytes:
    """A PNG that is like no other: 5 pixels to a block, so that no filter makes two of them alike."""
    width, height = size
    rng = np.random.default_rng(seed)
    blocks = rng.integers(0, 255, (-(-height // 5), -(-width // 5), 3), dtype=np.uint8)
    picture = PIL.Image.fromarray(blocks.repeat(5, 0).repeat(5, 1)[:height, :width])
    return png(picture)


def plain(colour: str = "red", size: tuple[int, int] = (80, 70)) -> bytes:
    return png(PIL.Image.new("RGB", size, colour))


def png(picture: PIL.Image.Image) -> bytes:
    buffer = io.BytesIO()
    picture.save(buffer, "PNG")
    return buffer.getvalue()


def put(folder: Path, files: Mapping[str, bytes | str]) -> Path:
    for name, content in files.items():
        path = folder / name
        path.parent.mkdir(parents=True, exist_ok=True)
        path.write_bytes(content if isinstance(content, bytes) else content.encode())
    return folder


def tar(path: Path, files: Mapping[str, bytes | str] | list[tuple[str, bytes | str]]) -> Path:
    with tarfile.open(path, "w") as archive:
        for name, content in files.items() if isinstance(files, Mapping) else files:
            data = content if isinstance(content, bytes) else content.encode()
            member = tarfile.TarInfo(name)
            member.size = len(data)
            archive.addfile(member, io.BytesIO(data))
    return path


def jsonl(path: Path, *records: Any) -> Path:
    path.write_text("".join(json.dumps(record) + "\n" for record in records), "utf-8")
    return path


def mmc4(sentences: list[str], pictures: list[tuple[str, int, float]], **more: Any) -> dict[str, Any]:
    """A record as MMC4 publishes them; a picture is its name, its sentence and how similar the two are."""
    infos = [
        {
            "image_name": name,
            "raw_url": f"http://example.org/{name}",
            "matched_text_index": at,
            "matched_sim": similarity,
            "face_detections": None,
        }
        for name, at, similarity in pictures
    ]
    matrix = [[s if k == at else 0.1 for k in range(len(sentences))] for _, at, s in pictures]
    told = {"url": "http://example.org/page", "could_have_url_duplicate": 0}
    return {"text_list": sentences, "image_info": infos, "similarity_matrix": matrix, **told, **more}
