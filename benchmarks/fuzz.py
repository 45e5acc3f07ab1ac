"""Thousands of damaged artifacts through the readers, each in a process that may die.

    python benchmarks/fuzz.py ARTIFACT... --count 2000 [--index] [--from SEED]

Counts what was refused in one sentence, what opened, and prints every other end: an exception that
is not ours, a wrong load (blind damage that opens as something else), a crash, a hang. With
--index, FAISS's own files are damaged and sealed again too, and with a bundle ONNX Runtime makes a
session of what passes the contract.
"""

import argparse
import multiprocessing as mp
import shutil
import sys
import tempfile
from collections import Counter
from multiprocessing.connection import Connection
from pathlib import Path

import numpy as np

sys.path.insert(0, str(Path(__file__).resolve().parents[1]))

from edgevpr.artifacts.features import Features
from edgevpr.artifacts.folder import open_artifact
from edgevpr.artifacts.manifest import MANIFEST, AnyVersion, Artifact, read_json
from edgevpr.errors import EdgeVPRError
from tests.mutants import again, mutate

#: Seconds after which a reader counts as hung.
PATIENCE_S = 30


def load(path: Path, kind: str, index: bool) -> Artifact:
    """Open an artifact as its user does, as far as one answer."""
    from edgevpr.runtime.engines.onnx_contract import check_graph
    from edgevpr.runtime.engines.runner import runner_from_bundle
    from edgevpr.runtime.gallery.gallery import Gallery
    from edgevpr.runtime.open import open_bundle

    if kind == "features":
        return Features(path).artifact
    if kind == "gallery":
        gallery = Gallery(path)
        width = gallery.record.index_dim
        query = np.full((2, width), width**-0.5, np.float32)
        scores, rows = gallery.search(query, 5)
        if not np.isfinite(scores[rows >= 0]).all() or rows.max() >= len(gallery.images):
            raise AssertionError("an answer beyond the map")
        return gallery.artifact
    if kind == "bundle":
        bundle = open_bundle(path)
        check_graph(bundle.artifact.bytes("model.onnx"), path / "model.onnx")
        if index:
            runner_from_bundle(bundle.artifact, threads=1)
        return bundle.artifact
    return open_artifact(path, kind)


def work(pipe: Connection, original: Path, kind: str, index: bool, scratch: Path) -> None:
    digest = open_artifact(original, kind).digest
    while True:
        seed, sealed = pipe.recv()
        name = mutate(original, scratch, seed, sealed=sealed, index=index)
        pipe.send(name)
        try:
            found = load(scratch, kind, index).digest
            end = "opened" if sealed or found == digest else "WRONG LOAD"
        except EdgeVPRError:
            end = "refused"
        except BaseException as error:
            end = f"EXCEPTION {error!r}"[:300]
        pipe.send(end)


def run(original: Path, count: int, first: int, index: bool) -> Counter[str]:
    """Ends of ``count`` mutants of one artifact, half of them sealed."""
    kind = read_json(original / MANIFEST, AnyVersion).kind
    ends: Counter[str] = Counter()
    context = mp.get_context("spawn")
    worker, pipe = None, None
    with tempfile.TemporaryDirectory() as scratch:
        # Sealed by this edgevpr, whose manifests hold a digest of themselves.
        whole = Path(scratch, original.name)
        shutil.copytree(original, whole)
        again(whole)
        for seed in range(first, first + count):
            if worker is None or not worker.is_alive():
                pipe, theirs = context.Pipe()
                arguments = (theirs, whole, kind, index, Path(scratch, "m"))
                worker = context.Process(target=work, args=arguments, daemon=True)
                worker.start()
                theirs.close()
            assert pipe is not None
            name, end = "?", ""
            try:
                pipe.send((seed, seed % 2 == 1))
                name = pipe.recv()
                end = pipe.recv() if pipe.poll(PATIENCE_S) else "HANG"
            except (EOFError, OSError):
                worker.join()
                end = f"CRASH {worker.exitcode}"
            if end == "HANG":
                worker.kill()
                worker.join()
            ends[end.split(" ")[0]] += 1
            if end not in ("opened", "refused"):
                print(f"{original.name} seed {seed} {name}: {end}", flush=True)
        if worker is not None:
            worker.kill()
    return ends


def main() -> None:
    parser = argparse.ArgumentParser(description=__doc__.splitlines()[0])
    parser.add_argument("artifacts", type=Path, nargs="+")
    parser.add_argument("--count", type=int, default=2000)
    parser.add_argument("--from", dest="first", type=int, default=0)
    parser.add_argument("--index", action="store_true")
    asked = parser.parse_args()
    for artifact in asked.artifacts:
        ends = run(artifact.resolve(), asked.count, asked.first, asked.index)
        print(f"{artifact}: {dict(ends)}", flush=True)


if __name__ == "__main__":
    main()
