"""``edgevpr gallery``: a map that changes, one generation at a time."""

import fnmatch
from collections.abc import Sequence
from datetime import datetime, timezone
from pathlib import Path
from typing import Any

import msgspec
import numpy as np
from numpy.typing import NDArray

from edgevpr.artifacts import gallery_files
from edgevpr.artifacts.features import Features
from edgevpr.artifacts.folder import open_artifact
from edgevpr.artifacts.generations import (
    RECORD,
    Change,
    Generation,
    generation_of,
    prune,
    successor,
    writing,
)
from edgevpr.artifacts.manifest import Artifact, write_json
from edgevpr.artifacts.records import GalleryRecord
from edgevpr.artifacts.space import check_same_space
from edgevpr.compile.gallery_updates.drift import measure_drift
from edgevpr.compile.gallery_updates.remove_rows import drop_rows
from edgevpr.compile.index.faiss_build import one_thread
from edgevpr.compile.index.index_file import write_index
from edgevpr.compile.index.vectors import check_finite
from edgevpr.errors import DataError, UsageError
from edgevpr.places.near import Near, Positions
from edgevpr.places.table import ImageTable, concat
from edgevpr.progress import Track, silent
from edgevpr.retrieval.projection import Projection

#: Up to here added images are compared one by one (16 bits a number, 10 to 20 ns each at 256-d);
#: above, they are encoded as the map is.
FLAT_UP_TO = 4096
_CHUNK = 16384
#: Descriptors projected at a time: 50 MB of them at D = 12288.
_AT_ONCE = 1024


class Opened:
    """A gallery as a writer sees it: everything but the index itself."""

    def __init__(self, path: Path) -> None:
        self.artifact = open_artifact(path, "gallery")
        self.record = self.artifact.read("gallery.json", GalleryRecord)
        self.generation = generation_of(self.artifact, self.record.count)
        self.own = ImageTable.load(self.artifact.file("images.csv"))
        self.images = gallery_files.all_images(self.artifact, self.own, self.generation)
        self.ids = gallery_files.stable_ids(self.artifact, len(self.images))
        self.live = gallery_files.live_rows(self.artifact, self.generation, len(self.images))

    def index(self) -> Any:
        import faiss

        return faiss.read_index(str(self.artifact.file("index.faiss")))

    def added_vectors(self) -> NDArray[np.float32]:
        """(M, d) float32."""
        if not self.generation.added:
            return np.empty((0, self.record.index_dim), np.float32)
        return np.asarray(np.load(self.artifact.file(gallery_files.ADDED_VECTORS)), np.float32)

    def table_of_added(self) -> ImageTable:
        return self.images.take(np.arange(len(self.own), len(self.images)))

    def next(self, change: Change, **fields: Any) -> Generation:
        return msgspec.structs.replace(
            self.generation,
            number=self.generation.number + 1,
            parent=self.artifact.digest,
            changes=[*self.generation.changes, change],
            **fields,
        )


def add(gallery: Path, features: Path, *, replace: bool = False, track: Track = silent) -> Change:
    """Put images beside the index: a new generation of the gallery at its path.

    Args:
        features: of the new images, by the gallery network of the gallery's space.
        replace: images already in the gallery under the same path are taken out; else an error.

    Raises:
        SpaceMismatchError: the features are of another descriptor space.
        DataError: there are none, or some are already in the gallery.
        NumericsError: a descriptor holds NaN or infinity.
        ResourceError: another process is changing the gallery.
    """
    with writing(gallery) as path:
        now = Opened(path)
        new = Features(features)
        check_same_space(new.space, str(features), now.artifact.space, str(path))
        again = _known_already(now, new, features, replace)
        vectors = np.vstack([now.added_vectors(), project(now.artifact, new, track)])
        index = now.index()
        drift = measure_drift(
            index, now.live[: len(now.own)], vectors, now.live[len(now.own) :], now.artifact, track
        )
        beside = _index_beside(index, vectors)
        live = np.concatenate([now.live, np.ones(len(new.table), np.bool_)])
        live[again] = False
        change = change_now("add", len(new.table), str(features), drift)
        next_id = now.generation.next_id + len(new.table)
        ids = np.concatenate([now.ids, np.arange(now.generation.next_id, next_id)])
        generation = now.next(
            change, next_id=next_id, added=len(vectors), removed=int((~live).sum())
        )
        with successor(now.artifact, (RECORD, *gallery_files.FILES)) as folder:
            write_index(beside, folder / gallery_files.ADDED_INDEX)
            np.save(folder / gallery_files.ADDED_VECTORS, vectors.astype(np.float16))
            concat([now.table_of_added(), new.table]).save(folder / gallery_files.ADDED_TABLE)
            _write_rows(folder, generation, live, ids)
        prune(path)
    return change


def remove(
    gallery: Path,
    *,
    places: Sequence[int] = (),
    patterns: Sequence[str] = (),
    near: Near | None = None,
) -> Change:
    """Take images out of the answers: those of these places, with paths like these, near there.

    Raises:
        UsageError: nothing names an image, or what is named would leave none.
        DataError: a place or a pattern without an image in the gallery, or no image near there.
    """
    if not (places or patterns or near):
        raise UsageError(
            "found neither --place, --images nor --near, expected what to take out: pass "
            "--place ID, --images 'PATTERN' or --near lat,lon,radius"
        )
    with writing(gallery) as path:
        now = Opened(path)
        chosen = np.zeros(len(now.images), np.bool_)
        for place in places:
            chosen |= _some(now, now.images.place == place, f"--place {place}", path)
        for pattern in patterns:
            like = [fnmatch.fnmatchcase(p, pattern) for p in now.images.paths]
            chosen |= _some(now, np.array(like, np.bool_), f"--images {pattern!r}", path)
        if near is not None:
            chosen |= Positions(now.images, now.live).near(near)
        live = now.live & ~chosen
        if not live.any():
            raise UsageError(
                f"that names all {now.live.sum()} images of {path}, expected some to stay: delete "
                "the folder instead"
            )
        words = [f"--place {p}" for p in places] + [f"--images {p!r}" for p in patterns]
        words += [f"--near {near}"] if near else []
        change = change_now("remove", int((now.live & chosen).sum()), " ".join(words))
        generation = now.next(change, removed=int((~live).sum()))
        with successor(now.artifact, (RECORD, gallery_files.REMOVED)) as folder:
            _write_rows(folder, generation, live, None)
        prune(path)
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
        raise UsageError(f"found --keep {keep}, expected 0 or more: pass --keep 1")
    with writing(gallery) as path:
        now = Opened(path)
        if not now.generation.added and now.live.all():
            prune(path, keep)
            return change_now("compact", 0, "nothing to fold")
        index, own = now.index(), len(now.own)
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


def publish(now: Opened, index: Any, change: Change, **fields: Any) -> None:
    """Make ``index`` over the live images the gallery's only one, in the next generation."""
    count = int(now.live.sum())
    generation = now.next(change, added=0, removed=0)
    with successor(
        now.artifact, (RECORD, "index.faiss", "images.csv", "gallery.json", *gallery_files.FILES)
    ) as folder:
        write_index(index, folder / "index.faiss")
        size = (folder / "index.faiss").stat().st_size
        record = msgspec.structs.replace(
            now.record, count=count, bytes_per_image=round(size / count, 1), **fields
        )
        write_json(folder / "gallery.json", record)
        now.images.take(now.live).save(folder / "images.csv")
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


def _known_already(now: Opened, new: Features, features: Path, replace: bool) -> NDArray[np.int64]:
    """Live rows whose image is among the new ones."""
    if not len(new.table):
        raise DataError(f"{features} holds no images: run edgevpr embed on a folder with some")
    paths = set(new.table.paths)
    rows = [row for row in np.flatnonzero(now.live) if now.images.paths[row] in paths]
    if rows and not replace:
        raise DataError(
            f"{len(rows)} of the {len(paths)} images of {features} are in {now.artifact.path} "
            f"already ({now.images.paths[rows[0]]} for one), expected new ones: pass --replace to "
            "put these in their place"
        )
    return np.array(rows, np.int64)


def project(
    opened: Artifact, new: Features, track: Track, rows: NDArray[np.int64] | None = None
) -> NDArray[np.float32]:
    """(M, d) float32 in the index's space: of all images of ``new``, or of these rows.

    Raises:
        NumericsError: a descriptor holds NaN or infinity.
    """
    projection = None
    if "projection.npy" in opened.manifest.files:
        projection = Projection.load(opened.file("projection.npy"))
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


def _some(now: Opened, mask: NDArray[np.bool_], what: str, path: Path) -> NDArray[np.bool_]:
    if not (mask & now.live).any():
        raise DataError(
            f"{what} names no image of {path}, expected some: look at the columns path and place "
            f"of {path / 'images.csv'} (and {gallery_files.ADDED_TABLE})"
        )
    return mask


def change_now(verb: str, images: int, detail: str, drift: Any = None) -> Change:
    time = datetime.now(timezone.utc).isoformat(timespec="seconds")
    return Change(verb, time, images, detail, drift)
