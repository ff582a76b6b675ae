"""What the readers of clips give is looked at as any other clip is."""

from pathlib import Path

import pytest

pytest.importorskip("av")

from cases import SETS
from written_films import number, write_film

from lorgnette.document import Video


@pytest.mark.parametrize("name", ["msvd_qa", "msrvtt_qa", "next_qa_choice", "vatex", "kinetics"])
def test_clips_of_official_sets_have_frames(name: str, tmp_path: Path) -> None:
    one = next(one for one in SETS if one.name == name)
    one.install(tmp_path)
    for i, file in enumerate(one.files):
        write_film(tmp_path / file, range(i, i + 25))
    query = one.open(tmp_path).queries[0]
    (clip,) = query.media
    assert isinstance(clip, Video)
    first = one.files.index(Path(str(clip.source)).relative_to(tmp_path).as_posix())
    assert [number(frame) for frame in clip.frames()] == [first, first + 10, first + 20]
