"""Changes of a gallery: add images, remove some, compact; each publishes a generation."""

import fnmatch
from collections.abc import Sequence
from datetime import datetime, timezone
from pathlib import Path
from typing import Any

import msgspec
import numpy as np
from numpy.typing import NDArray

from edgevpr.artifacts import gallery_files
from edgevpr.artifacts.features import Features, check_full_path
from edgevpr.artifacts.gallery_files import GalleryFiles
from edgevpr.artifacts.generations import (
    RECORD,
    Change,
    Generation,
    prune,
    successor,
    writing,
)
from edgevpr.artifacts.manifest import write_json
from edgevpr.artifacts.space import check_same_space
from edgevpr.compile.gallery_updates.drift import measure_drift
from edgevpr.compile.gallery_updates.remove_rows import drop_rows
from edgevpr.compile.index.faiss_build import one_thread
from edgevpr.compile.index.index_file import write_index
from edgevpr.compile.index.vectors import check_finite
from edgevpr.errors import DataError, UsageError
from edgevpr.places.check_positions import check_positions
from edgevpr.places.near import Near, Positions
from edgevpr.places.table import concat
from edgevpr.progress import Track, silent
from edgevpr.retrieval.projection import Projection
from edgevpr.retrieval.read_index import read_index

#: Up to here added images are compared one by one (16 bits a number, 10 to 20 ns each at 256-d);
#: above, they are encoded as the map is.
FLAT_UP_TO = 4096
_CHUNK = 16384
#: Descriptors projected at a time: 50 MB of them at D = 12288.
_AT_ONCE = 1024


def add(gallery: Path, features: Path, *, replace: bool = False, track: Track = silent) -> Change:
    """Put images beside the index: a new generation of the gallery at its path.

    Args:
        features: of the new images, by the gallery network of the gallery's space.
        replace: images already in the gallery under the same path are taken out; else an error.

    Raises:
        SpaceMismatchError: the features are of another descriptor space.
        DataError: there are none, or some are already in the gallery.
        NumericsError: a descriptor holds NaN or infinity.
        UsageError: an early exit described them.
        ResourceError: another process is changing the gallery.
    """
    with writing(gallery) as path:
        now = GalleryFiles(path)
        new = Features(features)
        check_same_space(new.space, str(features), now.artifact.space, str(path))
        check_full_path(new.record, features)
        again = _known_already(now, new, features, replace)
        vectors = np.vstack([now.added_vectors(), project_features(now, new, track)])
        index = _index_of(now)
        drift = measure_drift(now, index, vectors, track)
        beside = _index_beside(index, vectors)
        live = np.concatenate([now.live, np.ones(len(new.table), np.bool_)])
        live[again] = False
        change = change_now("add", len(new.table), str(features), drift)
        next_id = now.generation.next_id + len(new.table)
        ids = np.concatenate([now.ids, np.arange(now.generation.next_id, next_id)])
        generation = following(
            now, change, next_id=next_id, added=len(vectors), removed=int((~live).sum())
        )
        with successor(now.artifact, (RECORD, *gallery_files.CHANGE_FILES)) as folder:
            write_index(beside, folder / gallery_files.ADDED_INDEX)
            np.save(folder / gallery_files.ADDED_VECTORS, vectors.astype(np.float16))
            concat([now.added, new.table]).save(folder / gallery_files.ADDED_TABLE)
            _write_rows(folder, generation, live, ids)
        prune(path)
    return change


def remove(
    gallery: Path,
    *,
    place: Sequence[int] = (),
    path: Sequence[str] = (),
    near: Near | None = None,
) -> Change:
    """Take images out of the answers; what any of the three names goes.

    Args:
        place: place ids.
        path: patterns of image paths: ``*``, ``?``, ``[a-z]``; ``*`` matches across folders too.
        near: a point and a radius.

    Raises:
        UsageError: nothing is named, or what is named would leave no image.
        DataError: a place or a pattern without an image in the gallery, or no image near there.
    """
    if not (place or path or near):
        raise UsageError(
            "found neither `place`, `path` nor `near`, expected what to take out: pass `place` "
            "ID, `path` 'PATTERN' or `near` lat,lon,radius"
        )
    with writing(gallery) as folder:
        now = GalleryFiles(folder)
        chosen = np.zeros(len(now.images), np.bool_)
        for number in place:
            chosen |= _live_ones(now, now.images.place == number, f"`place` {number}")
        for pattern in path:
            like = [fnmatch.fnmatchcase(p, pattern) for p in now.images.paths]
            chosen |= _live_ones(now, np.array(like, np.bool_), f"`path` {pattern!r}")
        if near is not None:
            chosen |= Positions(now.images, now.live).near(near)
        live = now.live & ~chosen
        if not live.any():
            raise UsageError(
                f"found all {now.live.sum()} images of {folder} named, expected some to stay: "
                "name fewer, or delete the folder"
            )
        words = [f"place {number}" for number in place] + [f"path {p!r}" for p in path]
        words += [f"near {near}"] if near else []
        change = change_now("remove", int((now.live & chosen).sum()), ", ".join(words))
        generation = following(now, change, removed=int((~live).sum()))
        with successor(now.artifact, (RECORD, gallery_files.REMOVED)) as to:
            _write_rows(to, generation, live, None)
        prune(folder)
    return change


def compact(gallery: Path, *, keep: int = 1, track: Track = silent) -> Change:
    """Fold added and removed images into a new index with the codebooks that it has.

    Rows are numbered anew; ids stay. Bundles with the projection fused stay valid.

    Args:
        keep: earlier generations to keep for ``rollback``.

    Raises:
        UsageError: nothing to fold, or an index that cannot lose rows.
    """
    if keep < 0:
        raise UsageError(f"found `keep` {keep}, expected 0 or more: pass `keep` 1")
    with writing(gallery) as path:
        now = GalleryFiles(path)
        if not now.generation.added and now.live.all():
            prune(path, keep)
            return change_now("compact", 0, "nothing to fold")
        index, own = _index_of(now), len(now.own)
        drop_rows(index, now.live[:own])
        vectors = now.added_vectors()[now.live[own:]]
        with one_thread():
            starts = range(0, len(vectors), _CHUNK)
            for start in track(starts, "encoding added images", len(starts)):
                index.add(vectors[start : start + _CHUNK])
        change = change_now("compact", len(vectors), f"{(~now.live).sum()} taken out for good")
        publish(now, index, change)
        prune(path, keep)
    return change


def following(now: GalleryFiles, change: Change, **fields: Any) -> Generation:
    """The record of the generation that ``change`` makes of ``now``."""
    return msgspec.structs.replace(
        now.generation,
        number=now.generation.number + 1,
        parent=now.artifact.digest,
        changes=[*now.generation.changes, change],
        **fields,
    )


def publish(now: GalleryFiles, index: Any, change: Change, **fields: Any) -> None:
    """Make ``index`` over the live images the gallery's only one, in the next generation."""
    count = int(now.live.sum())
    generation = following(now, change, added=0, removed=0)
    with successor(
        now.artifact,
        (
            RECORD,
            gallery_files.INDEX,
            gallery_files.TABLE,
            "gallery.json",
            *gallery_files.CHANGE_FILES,
        ),
    ) as folder:
        write_index(index, folder / gallery_files.INDEX)
        size = (folder / gallery_files.INDEX).stat().st_size
        record = msgspec.structs.replace(
            now.record, count=count, bytes_per_image=round(size / count, 1), **fields
        )
        write_json(folder / "gallery.json", record)
        now.images.take(now.live).save(folder / gallery_files.TABLE)
        _write_rows(folder, generation, np.ones(count, np.bool_), now.ids[now.live])


def _write_rows(
    folder: Path,
    generation: Generation,
    live: NDArray[np.bool_],
    ids: NDArray[np.int64] | None,
) -> None:
    if generation.removed:
        np.save(folder / gallery_files.REMOVED, np.flatnonzero(~live).astype(np.int64))
    if ids is not None and not np.array_equal(ids, np.arange(len(ids))):
        np.save(folder / gallery_files.IDS, ids)
    write_json(folder / RECORD, generation)


def _index_of(now: GalleryFiles) -> Any:
    """The gallery's FAISS index, in memory, to be changed."""
    shown, version = now.path / gallery_files.INDEX, now.record.faiss_version
    index = read_index(now.index_file, version, mapped=False, shown=shown)
    now.check_index(index.ntotal, index.d)
    return index


def _known_already(
    now: GalleryFiles, new: Features, features: Path, replace: bool
) -> NDArray[np.int64]:
    """Live rows whose image is among the new ones."""
    if not len(new.table):
        raise DataError(
            f"found no images in {features}, expected some: run edgevpr embed on a folder of them"
        )
    check_positions(new.table, str(features), "correct them and run edgevpr embed again", DataError)
    paths = set(new.table.paths)
    rows = [row for row in np.flatnonzero(now.live) if now.images.paths[row] in paths]
    if rows and not replace:
        raise DataError(
            f"found {len(rows)} of the {len(paths)} images of {features} in {now.path} already "
            f"({now.images.paths[rows[0]]} for one), expected new ones: pass `replace` to put "
            "these in their place"
        )
    return np.array(rows, np.int64)


def project_features(
    gallery: GalleryFiles, new: Features, track: Track, rows: NDArray[np.int64] | None = None
) -> NDArray[np.float32]:
    """(M, d) float32 in the index's space: of all images of ``new``, or of these rows.

    Raises:
        NumericsError: a descriptor holds NaN or infinity.
    """
    projection = Projection.of_gallery(gallery.artifact, gallery.record)
    rows = np.arange(len(new.table)) if rows is None else rows
    blocks = []
    starts = range(0, len(rows), _AT_ONCE)
    for start in track(starts, "projecting descriptors", len(starts)):
        some = rows[start : start + _AT_ONCE]
        block = np.asarray(new.descriptors[some], np.float32)
        check_finite(block, new, some)
        blocks.append(block if projection is None else projection.apply(block))
    return np.vstack(blocks)


def _index_beside(index: Any, vectors: NDArray[np.float32]) -> Any:
    """An index of added vectors whose scores may be ranked with those of ``index``.

    Where ``index`` ends in comparing vectors themselves (flat, scalar quantizer, any re-ranking
    store), a flat fp16 one. Where its scores come from codes, which are biased towards 0, or
    where there are many vectors: its own codebooks, emptied (``index`` is used up).
    """
    import faiss

    outer = faiss.downcast_index(index)
    exact = isinstance(outer, faiss.IndexRefine | faiss.IndexFlat | faiss.IndexScalarQuantizer)
    exact |= isinstance(outer, faiss.IndexHNSW)
    if exact and len(vectors) <= FLAT_UP_TO:
        index = faiss.IndexScalarQuantizer(
            vectors.shape[1], faiss.ScalarQuantizer.QT_fp16, faiss.METRIC_INNER_PRODUCT
        )
    else:
        index.reset()
    with one_thread():
        index.add(vectors)
    return index


def _live_ones(now: GalleryFiles, mask: NDArray[np.bool_], what: str) -> NDArray[np.bool_]:
    """``mask`` itself, if it names an image that is live."""
    if not (mask & now.live).any():
        raise DataError(
            f"found no image of {now.path} named by {what}, expected some: look at the columns "
            f"path and place of {now.path / gallery_files.TABLE} (and {gallery_files.ADDED_TABLE})"
        )
    return mask


def change_now(verb: str, images: int, detail: str, drift: Any = None) -> Change:
    time = datetime.now(timezone.utc).isoformat(timespec="seconds")
    return Change(verb, time, images, detail, drift)
