"""A small source with everything that an export may stumble over, its pool, and the steps from it to an export."""

import csv

from PIL import Image
from PIL.PngImagePlugin import PngInfo

from chips_core.jobs.steps import run_step
from chips_core.progress import Silent
from chips_core.store import Pool

CAPTIONS = ["A disc.", 'quote " comma, and\nnewline', "NA", "=1+1", "ünïcode ＝", "last"]


def make_pool(tmp_path, *, captions=CAPTIONS):
    """Returns a pool of six pairs whose files are named alike in several folders, with a patient in their metadata."""
    source = tmp_path / "data"
    names = ["a/1.png", "b/1.png", "A.png", "a.png", "x/p.jpg", "z.png"]
    lines = []
    for i, (name, caption) in enumerate(zip(names, captions, strict=True)):
        path = source / name
        path.parent.mkdir(parents=True, exist_ok=True)
        told = PngInfo()
        told.add_text("Patient", "Jane Roe")
        image = Image.new("RGB", (8 + i, 9), (40 * i, 10, 10))
        if name.endswith("jpg"):
            exif = Image.Exif()
            exif[0x010E] = "Jane Roe"
            image.save(path, exif=exif)
        else:
            image.save(path, pnginfo=told)
        lines.append((f"p{i}", name, caption, "ab"[i % 2], "train" if i < 5 else "test", f"g{i}"))
    with (source / "pairs.csv").open("w", newline="", encoding="utf-8") as handle:
        writer = csv.writer(handle)
        writer.writerow(("pair_id", "image", "caption", "label", "split", "group"))
        writer.writerows(lines)
    step("intake", source=str(source), pool=str(tmp_path / "pool"), workers=1)
    return tmp_path / "pool"


def step(verb, **settings):
    return run_step(verb, settings, progress=Silent())


def chosen(pool, *, budget="5", name="best"):
    return step("select", pool=str(pool), method="random", budget=budget, name=name)


def export(pool, to, *, form="csv", selection="best", **settings):
    return step("export", pool=str(pool), selection=selection, to=str(to), format=form, **settings)


def pairs_of(folder):
    kept = Pool.open(folder).kept(["pair_id", "caption", "label"])
    return {row.pair_id: (row.caption, row.label) for row in kept.itertuples()}
