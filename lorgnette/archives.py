"""`lorgnette data`: an index of tars, documents packed into tars, and sets curated."""

from functools import partial
from pathlib import Path
from typing import Annotated

import tyro
from rich.console import Console
from rich.progress import BarColumn, MofNCompleteColumn, Progress, TaskID, TextColumn, TimeElapsedColumn, track

from lorgnette.curation.options import Options
from lorgnette.data import pack as packing
from lorgnette.data.named import held_out, open_data, open_source
from lorgnette.data.web.index import beside, open_index, write_index
from lorgnette.data.web.remote import is_url, without_secrets
from lorgnette.data.web.remote import tars as named
from lorgnette.errors import ConfigError, DataError, ResourceError
from lorgnette.folders import write_text


def index(
    tars: tyro.conf.Positional[tuple[str, ...]],
    /,
    *,
    to: Path | None = None,
    check: bool = False,
) -> None:
    """Reads the headers of tars once, so that every `--data` can read their samples in any order, at once.

    Args:
        tars: a folder of tars, or one tar; or URLs of such (s3://, gs://, az://, hf://, https://), of which
            `https://host/{000..331}.tar` are many.
        to: the folder of the index; `index` in the folder of the tars by default. Where it lies elsewhere, because that
            folder is read-only, say, give the index itself as `--data`. URLs need it.
        check: write nothing; read all headers again, and say whether they are those that were indexed.
    """
    remote = any(map(is_url, tars))
    if remote and to is None:
        where = without_secrets(tars[0])
        raise ConfigError("an index lies on a disk, not behind a URL", where=where, fix="Give --to FOLDER.")
    if len(tars) != 1 and not remote:
        raise ConfigError(f"{len(tars)} paths", where="index", fix="Give the folder of the tars, or one tar.")
    folder = to or beside(Path(tars[0]))
    if check:
        found = open_index(folder)
        found.verify()
        print(f"{len(found.shards):,} tars are as they were when they were indexed.")
        return
    paths = named(tars) if remote else _files(Path(tars[0]))
    try:
        found = write_index(track(paths, "Reading headers", console=Console(stderr=True), transient=True), folder)
    except PermissionError as error:
        raise DataError(
            "no permission to write here", where=error.filename or folder, fix="Give --to FOLDER."
        ) from None
    members = sum(shard.members for shard in found.shards)
    print(f"{len(found):,} samples of {members:,} members in {len(found.shards):,} tars. The index is in {folder}.")
    for reason, (count, first) in found.skipped.items():
        print(f"  left out: {count:,} members {reason}, such as {first}")


def _files(tars: Path) -> list[Path]:
    paths = sorted(tars.glob("*.tar")) if tars.is_dir() else [tars]
    if not paths:
        raise DataError("a folder without tars", where=tars, fix="Their names end in .tar.")
    return paths


def pack(
    data: tyro.conf.Positional[str],
    /,
    *,
    to: Path,
    size: float = 1.0,
    max_broken: float = 0.01,
) -> None:
    """Writes the documents of a table, folder, data set or other tars into tars with an index.

    Args:
        data: a path, as every `--data` takes it. All of its documents are written, in order and undivided.
        to: the folder of the tars; one that holds packed documents is replaced.
        size: gigabytes from which on the next tar begins.
        max_broken: the share of documents that may be broken and are left out.
    """
    found = packing.pack(open_source(data), to, size=int(size * 1e9), max_broken=max_broken)
    print(f"{found}. They are in {to}.")


def curate(
    data: tyro.conf.Positional[str],
    /,
    *,
    out: Path,
    against: tuple[str, ...] = (),
    options: Annotated[Options, tyro.conf.OmitArgPrefixes] = Options(),  # noqa: B008
) -> None:
    """Leaves out what is broken, dirty, there twice, or part of an evaluation set, and writes the rest into tars.

    Runs on Ray: on this machine's cores, or on the cluster of RAY_ADDRESS, with paths that all of it can see. The same
    command goes on with a run that was killed.

    Args:
        data: a path, as every `--data` takes it.
        out: the folder of the tars, report.html, drops.jsonl, audit.html and datasheet.md; give it as `--data`.
        against: evaluation sets: paths, or the names of embedded sets, of which the test part is taken.
        options: what is done.
    """
    try:
        from lorgnette.curation.curate import curate as run
    except ImportError as error:
        fix = "Install it: pip install 'lorgnette[curate]'."
        raise ResourceError(f"curation needs {error.name}, which is not installed", where="curate", fix=fix) from None
    columns = (TextColumn("{task.description}"), BarColumn(), MofNCompleteColumn(), TimeElapsedColumn())
    with Progress(*columns, console=Console(stderr=True), transient=True) as bars:
        tasks: dict[str, TaskID] = {}

        def told(stage: str, done: int, total: int) -> None:
            if stage not in tasks:
                tasks[stage] = bars.add_task(stage, total=total)
            bars.update(tasks[stage], completed=done)

        sets = {name: held_out(name) for name in against}
        report = run(open_source(data), out, options, against=sets, name=data, told=told)
    print(f"{report}\nThey are in {out}; look at {out / 'report.html'}.")


def audit(saved: tyro.conf.Positional[Path], /) -> None:
    """What an audit comes to, with its 95 % interval (Wilson).

    Args:
        saved: the audit.json that a page saved: audit.html of a curation, or one of `lorgnette data preview`.
    """
    from lorgnette.curation.audit import audited

    right, number, (low, high) = audited(saved)
    print(f"{right} of {number} pairs are right: {right / number:.1%} ({low:.1%} to {high:.1%}).")


def preview(
    data: tyro.conf.Positional[str],
    /,
    *,
    to: Path,
    pairs: int = 100,
    flip: float = 0.5,
    colour: float = 0.2,
    moved: bool = True,
    seed: int = 0,
) -> None:
    """Writes a page of documents before and after augmentation, to tell by eye whether their texts still hold.

    Args:
        data: an embedded set, of which training documents are shown, or a path, as every `--data` takes it.
        to: the page.
        pairs: how many it shows.
        flip: the share that is mirrored.
        colour: largest relative change of brightness, contrast and saturation, from 0 to 1; of hue a tenth, in turns.
        moved: pictures are cropped, shifted, turned and blurred, too; not so in Flamingo's recipes.
        seed: of what is drawn.
    """
    from lorgnette.curation.audit import augmented_page
    from lorgnette.data.augment import augment
    from lorgnette.run import require_between

    require_between(0, 1, flip=flip, colour=colour)
    require_between(1, pairs=pairs)
    varied = partial(augment, colour=(colour, colour, colour, 0.1 * colour), flip=flip)
    if not moved:
        varied = partial(varied, crop=(1.0, 1.0), shift=0.0, turn=0.0, blur=0.0)
    source = open_source(data) if Path(data).exists() else open_data(data)[0]
    page = augmented_page(source, varied, pairs=pairs, seed=seed)
    to.parent.mkdir(parents=True, exist_ok=True)
    write_text(to, page)
    print(f"{to} shows pairs before and after; what it saves, `lorgnette data audit` counts.")
