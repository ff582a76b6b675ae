"""Clips as pictures: the same frames from every kind of source, and one clear word for each that cannot be used."""

import io
import sys
from collections.abc import Sequence
from pathlib import Path

import numpy as np
import PIL.Image
import pytest

from lorgnette import films
from lorgnette.document import Image, Video
from lorgnette.errors import DataError, ResourceError
from lorgnette.videos import LIMITS, Limits, frames

pytest.importorskip("av")

import av
from written_films import frame, number, write_film

KINDS = [".mp4", ".webm", ".avi", ".mkv", ".mov", ".ts"]


def numbers(clip: Video, rate: float = 1.0, most: int | None = None) -> list[int]:
    return [number(picture) for picture in clip.frames(rate, most)]


def animation(shown: Sequence[int], kind: str, duration: int | list[int] = 100) -> bytes:
    first, *rest = (PIL.Image.fromarray(frame(i)) for i in shown)
    options = {"lossless": True} if kind == "WEBP" else {}
    stream = io.BytesIO()
    first.save(stream, kind, save_all=True, append_images=rest, duration=duration, loop=0, **options)
    return stream.getvalue()


# What is shown


@pytest.mark.parametrize("kind", KINDS)
def test_frames_of_a_film_at_a_rate(kind: str, tmp_path: Path) -> None:
    path = write_film(tmp_path / f"a{kind}", 35)
    for source in (path, str(path), path.read_bytes()):
        assert numbers(Video(source)) == [0, 10, 20, 30]
    clip = Video(path)
    assert numbers(clip, 10.0) == list(range(35))
    assert numbers(clip, 4.0) == [10 * i // 4 for i in range(14)]
    assert numbers(clip, 0.5) == [0, 20]
    assert numbers(clip, 0.01) == [0]
    assert numbers(clip, 10.0, 3) == [0, 17, 34]
    assert numbers(clip, 10.0, 1) == [0]
    assert numbers(clip, 20.0, 69) == [i * 69 // 68 // 2 for i in range(69)]


@pytest.mark.parametrize("rate", [0.7, 1.0, 3.0, 10.0, 25.0])
@pytest.mark.parametrize("most", [None, 5, 1])
def test_every_route_takes_the_same_frames(rate: float, most: int | None, tmp_path: Path) -> None:
    shown = range(24)
    expected = numbers(Video([frame(i) for i in shown], fps=10.0), rate, most)
    assert expected[0] == 0
    for kind in ("GIF", "WEBP", "PNG"):
        assert numbers(Video(animation(shown, kind)), rate, most) == expected, kind
    assert numbers(Video(write_film(tmp_path / "a.mp4", b_frames=2)), rate, most) == expected
    assert numbers(Video(write_film(tmp_path / "a.webm")), rate, most) == expected


@pytest.mark.parametrize("kind", ["GIF", "WEBP", "PNG"])
def test_frames_of_an_animation_last_as_long_as_they_say(kind: str, tmp_path: Path) -> None:
    data = animation(range(5), kind, [250, 1000, 50, 1200, 500])  # from 0, 0.25, 1.25, 1.3 and 2.5 to 3 s
    (tmp_path / "a").write_bytes(data)
    for source in (data, tmp_path / "a"):
        assert numbers(Video(source)) == [0, 1, 3]
        assert numbers(Video(source), 4.0) == [0, 1, 1, 1, 1, 2, 3, 3, 3, 3, 4, 4]
        assert numbers(Video(source), 4.0, 3) == [0, 2, 4]


@pytest.mark.parametrize("kind", [".mkv", ".mp4"])
def test_timestamps_decide_where_the_rate_varies(kind: str, tmp_path: Path) -> None:
    path = write_film(tmp_path / f"a{kind}", 6, fps=100, ticks=[0, 10, 150, 160, 390, 400])
    assert numbers(Video(path)) == [0, 1, 3, 3, 5]
    assert numbers(Video(path), 10.0)[:18] == [0, *[1] * 14, 2, 3, 3]


def test_time_begins_with_the_first_frame(tmp_path: Path) -> None:
    path = write_film(tmp_path / "a.mkv", 20, ticks=[i + 37 for i in range(20)])
    assert numbers(Video(path), 5.0) == list(range(0, 20, 2))


@pytest.mark.parametrize("b_frames", [0, 3])
@pytest.mark.parametrize("kind", [".mp4", ".ts"])
def test_what_is_not_needed_is_not_decoded(
    b_frames: int, kind: str, tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    path = write_film(tmp_path / f"a{kind}", 120, every=6, b_frames=b_frames)
    fed = []
    plain = films._packets

    class Counted:
        """A decoder that counts what it is fed."""

        def __init__(self, decoder: object) -> None:
            self.decoder = decoder

        def decode(self, packet: object) -> object:
            fed.append(packet)
            return self.decoder.decode(packet)  # type: ignore[attr-defined]

        def flush_buffers(self) -> None:
            self.decoder.flush_buffers()  # type: ignore[attr-defined]

    assert numbers(Video(path), 10.0) == list(range(120))
    decoded = films._decoded

    def counted(av_: object, packets: object, track: object, *rest: object) -> object:
        class Track:
            codec_context = Counted(track.codec_context)  # type: ignore[attr-defined]
            time_base = track.time_base  # type: ignore[attr-defined]

        return decoded(av_, packets, Track(), *rest)  # type: ignore[arg-type]

    monkeypatch.setattr(films, "_decoded", counted)
    assert plain is films._packets
    assert numbers(Video(path), 10.0, 4) == [0, 39, 79, 119]
    assert len(fed) <= 4 * 6 + 4, "four groups of six, and the request for the last frames of each"


def test_open_groups_are_decoded_whole(tmp_path: Path) -> None:
    path = write_film(tmp_path / "a.ts", 60, codec="mpeg2video", every=12, b_frames=2, fps=25)
    assert numbers(Video(path), 25.0) == list(range(60))
    assert numbers(Video(path), 25.0, 5) == [0, 14, 29, 44, 59]


def test_transparency_is_on_white() -> None:
    clear, red = PIL.Image.new("RGBA", (8, 8), (0, 0, 0, 0)), PIL.Image.new("RGBA", (8, 8), (255, 0, 0, 255))
    for kind in ("WEBP", "PNG"):
        stream = io.BytesIO()
        clear.save(stream, kind, save_all=True, append_images=[red], duration=500, lossless=True)
        first, second = Video(stream.getvalue()).frames(2.0)
        assert (first.mode, first.getpixel((4, 4))) == ("RGB", (255, 255, 255))
        assert second.getpixel((4, 4)) == (255, 0, 0)
    assert Video([clear]).frames()[0].getpixel((0, 0)) == (255, 255, 255)


def test_a_still_picture_is_a_clip_of_one_frame() -> None:
    assert numbers(Video(animation([7], "PNG")), 5.0) == [7]
    assert numbers(Video(animation([7], "GIF"))) == [7]


def test_frames_that_repeat_are_pictures_of_their_own() -> None:
    one, two = Video(animation([3], "GIF")).frames(20.0)
    one.paste((0, 0, 0), (0, 0, 64, 48))
    assert number(two) == 3


def test_a_film_is_upright(tmp_path: Path) -> None:
    """Phones write how the picture is turned into the track header: here by a quarter, clockwise."""
    path = write_film(tmp_path / "a.mp4", [5])
    data = bytearray(path.read_bytes())
    matrix = data.index(b"tkhd") + 4 + 4 + 20 + 16
    assert data[matrix : matrix + 4] == b"\0\1\0\0"
    quarter = [0, 0x10000, 0, -0x10000, 0, 0, 0, 0, 0x40000000]
    data[matrix : matrix + 36] = b"".join(value.to_bytes(4, "big", signed=True) for value in quarter)
    (turned,) = Video(bytes(data)).frames()
    (plain,) = Video(path).frames()
    assert turned.size == (48, 64)
    assert np.array_equal(np.asarray(turned), np.rot90(np.asarray(plain), -1))


def test_digests_tell_content_and_rate(tmp_path: Path) -> None:
    path = write_film(tmp_path / "a.mp4")
    assert Video(path).digest == Video(path.read_bytes()).digest
    assert Video([frame(0)]).digest != Video([frame(0)], fps=2.0).digest
    with pytest.raises(DataError, match=r"gone\.mp4: no such file"):
        _ = Video(tmp_path / "gone.mp4").digest
    assert repr(Video([frame(0)])) == "Video(<1 pictures>)"


# What is refused


@pytest.mark.parametrize("rate", [0.0, -1.0, float("nan"), float("inf")])
def test_rates_are_positive(rate: float, tmp_path: Path) -> None:
    with pytest.raises(DataError, match=rf"cat\.mp4: rate: {rate} frames a second"):
        Video(tmp_path / "cat.mp4").frames(rate)
    with pytest.raises(DataError, match="<1 pictures>: fps"):
        Video([frame(0)], fps=rate).frames()


def test_numbers_that_make_no_sense() -> None:
    with pytest.raises(DataError, match="most: at most 0 pictures"):
        Video([frame(0)]).frames(most=0)
    with pytest.raises(DataError, match="<0 pictures>: a clip without frames"):
        Video([]).frames()
    with pytest.raises(DataError, match="a clip cannot be made of this"):
        frames(3)
    with pytest.raises(DataError, match="no bytes"):
        Video(b"").frames()


@pytest.mark.parametrize(
    ("data", "problem"),
    [
        (b"I am not a film", "no video of an accepted format"),
        (b"#EXTM3U\n#EXT-X-TARGETDURATION:1\n#EXTINF:1,\n{path}\n#EXT-X-ENDLIST\n", "no video of an accepted format"),
        (b"ffconcat version 1.0\nfile {path}\n", "no video of an accepted format"),
        (b"GIF89a", "cut short"),
        (b"RIFF\0\0\0\0WEBP", "broken|damaged"),
    ],
)
def test_what_is_no_clip(data: bytes, problem: str, tmp_path: Path) -> None:
    """Also playlists, that would lead to a good film beside them."""
    good, path = write_film(tmp_path / "good.ts", 5), tmp_path / "cat.mp4"
    path.write_bytes(data.replace(b"{path}", good.name.encode()))
    with pytest.raises(DataError, match=problem) as caught:
        Video(path).frames()
    assert caught.value.where == str(path)
    assert caught.value.fix


def test_no_file_no_video_no_frames(tmp_path: Path) -> None:
    with pytest.raises(DataError, match=r"gone\.mp4: no such file"):
        Video(tmp_path / "gone.mp4").frames()
    with pytest.raises(DataError, match="a directory, not a clip"):
        Video(tmp_path).frames()
    (tmp_path / "empty.mp4").touch()
    with pytest.raises(DataError, match="an empty file"):
        Video(tmp_path / "empty.mp4").frames()
    with av.open(str(tmp_path / "sound.mkv"), "w") as out:
        stream = out.add_stream("pcm_s16le", rate=8000, layout="mono")
        sound = av.AudioFrame.from_ndarray(np.zeros((1, 800), np.int16), format="s16", layout="mono")
        sound.rate = 8000
        out.mux([*stream.encode(sound), *stream.encode(None)])
    with pytest.raises(DataError, match=r"sound\.mkv: no video stream"):
        Video(tmp_path / "sound.mkv").frames()
    write_film(tmp_path / "none.mkv", 0)
    with pytest.raises(DataError, match=r"none\.mkv: (a video without frames|no video)"):
        Video(tmp_path / "none.mkv").frames()


@pytest.mark.parametrize("share", [0.1, 0.4, 0.6, 0.8, 0.9, 0.97])
@pytest.mark.parametrize("kind", ["GIF", "WEBP", "PNG", "mp4", "faststart.mp4", "fragmented.mp4", "webm", "mkv", "avi"])
def test_truncated_files_give_no_frames(kind: str, share: float, tmp_path: Path) -> None:
    path = tmp_path / f"cat.{kind.rsplit('.')[-1]}"
    if kind.isupper():
        data = animation(range(40), kind)
    else:
        moves = {"faststart.mp4": "faststart", "fragmented.mp4": "frag_keyframe+empty_moov"}.get(kind)
        data = write_film(path, 40, options={"movflags": moves} if moves else None).read_bytes()
    path.write_bytes(data)
    assert numbers(Video(path), 10.0) == list(range(40))
    path.write_bytes(data[: int(len(data) * share)])
    with pytest.raises(DataError, match=r"(broken|damaged|cut short)") as caught:
        Video(path).frames(most=1)
    assert caught.value.where == str(path)


def test_damage_within_a_film_is_found_where_it_is(tmp_path: Path) -> None:
    path = write_film(tmp_path / "a.mp4", 40)
    with av.open(str(path)) as container:
        spots = [(packet.pos, packet.size) for packet in container.demux(video=0) if packet.size]
    data = bytearray(path.read_bytes())
    start, size = spots[24]
    data[start + 8 : start + size] = bytes(b ^ 0x5A for b in data[start + 8 : start + size])
    path.write_bytes(data)
    with pytest.raises(DataError, match=r"a\.mp4: broken or cut short at 2\.\d\d s"):
        Video(path).frames(10.0)


def test_a_broken_picture_of_a_sequence_is_named(tmp_path: Path) -> None:
    with pytest.raises(DataError, match=r"<2 pictures>: frame 1: .*gone\.png: no such file"):
        Video([frame(0), tmp_path / "gone.png"]).frames()
    assert len(Video([frame(0), tmp_path / "gone.png"]).frames(most=1)) == 1


def test_limits(tmp_path: Path) -> None:
    sources = [write_film(tmp_path / "a.mp4"), animation(range(24), "GIF"), [frame(i) for i in range(24)]]
    for source in sources:
        for limits, problem in (
            (Limits(pixels=100), "64x48 pixels, and the limit is 100"),
            (Limits(frames=23), "(24|more than 23) frames"),
            (Limits(seconds=2.0), "2.4 seconds long, and the limit is 2"),
            (Limits(pictures=23), "24 pictures of it, and the limit is 23"),
        ):
            with pytest.raises(DataError, match=problem):
                frames(source, rate=10.0, fps=10.0, limits=limits)
        with pytest.raises(DataError, match=f"and the limit is {LIMITS.pictures}"):
            frames(source, rate=1e6, fps=10.0)
        assert len(frames(source, rate=1e6, most=2, fps=10.0)) == 2


def test_without_pyav_only_films_are_refused(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    path = write_film(tmp_path / "a.mp4")
    monkeypatch.setitem(sys.modules, "av", None)
    with pytest.raises(ResourceError, match=r"a\.mp4: .*PyAV.*pip install 'lorgnette\[video\]'"):
        Video(path).frames()
    assert numbers(Video(animation(range(3), "GIF")), 10.0) == [0, 1, 2]
    assert Image(animation(range(3), "GIF")).open().size == (64, 48)
