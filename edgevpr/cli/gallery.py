"""Verbs ``edgevpr gallery ...``: changes of a gallery."""

from pathlib import Path
from typing import Annotated, Any

import typer

from edgevpr.cli import console, signatures
from edgevpr.cli.verbs import new_app
from edgevpr.printable import counted, shell_word

group = new_app(
    help="Add images to a gallery, remove some, compact it, roll it back, sign it.",
)
Gallery = Annotated[Path, typer.Argument(help="Gallery artifact (edgevpr index).")]


@group.command("add")
def add(
    gallery: Gallery,
    features: Annotated[
        Path, typer.Argument(help="Features of the new images, by the gallery network.")
    ],
    replace: Annotated[
        bool,
        typer.Option("--replace", help="Take out images of the same path that are in the gallery."),
    ] = False,
    json: signatures.Json = False,
) -> None:
    """Add images beside the index; say whether its codebook fits them."""
    from edgevpr.compile.gallery_updates.change import add

    change = add(gallery, features, replace=replace, track=console.track)
    if json:
        console.emit_json(change)
    console.note(f"added {counted(change.images, 'image')} to {gallery}")
    if change.drift is not None and change.drift.retrain:
        console.note(_advice(change.drift, gallery))


@group.command("remove")
def remove(
    gallery: Gallery,
    place: Annotated[
        list[int] | None, typer.Option(help="Place id; all its images go; repeatable.")
    ] = None,
    path: Annotated[
        list[str] | None,
        typer.Option(help="Pattern of image paths: * ? [a-z], * across folders too; repeatable."),
    ] = None,
    near: Annotated[
        str | None,
        typer.Option(help="lat,lon,radius in degrees and metres: all images taken there go."),
    ] = None,
    json: signatures.Json = False,
) -> None:
    """Take images out of all answers, by place, path or position."""
    from edgevpr.compile.gallery_updates.change import remove
    from edgevpr.places.near import Near

    point = Near.parse(near) if near else None
    change = remove(gallery, place=place or (), path=path or (), near=point)
    if json:
        console.emit_json(change)
    console.note(f"removed {counted(change.images, 'image')} from {gallery}")


@group.command("compact")
def compact(
    gallery: Gallery,
    retrain: Annotated[
        list[Path] | None,
        typer.Option(
            help="Features that hold every image of the gallery: learn new codebooks from them. "
            "The projection stays, so compiled bundles stay valid; repeatable."
        ),
    ] = None,
    keep: Annotated[int, typer.Option(min=0, help="Earlier generations to keep for rollback.")] = 1,
    json: signatures.Json = False,
) -> None:
    """Fold added and removed images into a new index; ids stay as they are."""
    from edgevpr.compile.gallery_updates import change as maintain

    if retrain:
        from edgevpr.compile.gallery_updates.retrain import retrain as again

        change = again(gallery, retrain, keep=keep, track=console.track)
    else:
        change = maintain.compact(gallery, keep=keep, track=console.track)
    if json:
        console.emit_json(change)
    console.note(f"{gallery}: {counted(change.images, 'added image')} folded in, {change.detail}")


@group.command("rollback")
def rollback(gallery: Gallery, json: signatures.Json = False) -> None:
    """Go back to the state before the last change."""
    from edgevpr.artifacts.generations import rollback

    generation = rollback(gallery)
    if json:
        console.emit_json(generation)
    console.note(f"{gallery} is back at generation {generation.number}")


@group.command("stats")
def stats(gallery: Gallery, json: signatures.Json = False) -> None:
    """Count images, bytes and generations; show changes and drift."""
    from edgevpr.compile.gallery_updates.stats import stats

    found = stats(gallery)
    if json:
        console.emit_json(found)
        return
    rows: list[list[object]] = [
        ["index", found.factory],
        ["generation", f"{found.generation} ({found.earlier} earlier kept)"],
        ["images", found.images],
        ["in the index", found.indexed],
        ["added", found.added],
        ["removed", found.removed],
        ["on the disk", f"{found.bytes / 1e6:.1f} MB"],
        ["for rollback", f"{found.bytes_of_earlier / 1e6:.1f} MB"],
    ]
    if found.lists is not None:
        rows.append(
            ["lists", f"{found.lists}, {found.largest_list} in the fullest, "
             f"imbalance {found.imbalance:.2f}"]
        )  # fmt: skip
    console.table(str(gallery), ["", ""], rows)
    if found.exits:
        console.table(
            "early exits",
            ["exit", "search", "agreement %", "R@1", "known %"],
            [[e.exit, e.parameters, e.exact_agreement, e.r1, e.coverage] for e in found.exits],
        )
    if found.changes:
        console.table(
            "changes since edgevpr index",
            ["time", "change", "images", "detail"],
            [[c.time, c.verb, c.images, c.detail] for c in found.changes],
        )
    drifts = [c.drift for c in found.changes if c.drift is not None]
    if drifts and found.added:
        console.note(_drift(drifts[-1]))
        if drifts[-1].retrain:
            console.note(_advice(drifts[-1], gallery))


signatures.add_to(
    group,
    "gallery",
    made_by="index",
    verifying="Check every file's hash and the signature.",
    signing="Sign a gallery as it is now; a change takes the signature away.",
)


def _drift(drift: Any) -> str:
    text = (
        f"drift: {drift.added_found:.1f}% of {drift.added} added images are found as exact search "
        f"finds them, {drift.own_found:.1f}% of {drift.own} of the gallery's own"
    )
    if drift.added_error is not None:
        text += f"; error of their codes {drift.added_error:.4f}, own {drift.own_error:.4f}"
    return text


def _advice(drift: Any, gallery: Path) -> str:
    return (
        f"the index finds {drift.added_found:.1f}% of the added images as exact search would, and "
        f"{drift.own_found:.1f}% of its own: its codebook does not fit what was added, run "
        f"edgevpr gallery compact {shell_word(gallery)} --retrain FEATURES"
    )
