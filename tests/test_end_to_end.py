"""The whole way on a tiny data set, watched: no network, no name where it does not belong, same answer twice."""

import csv
import io
import json
import re
import shutil
import socket
import tarfile
import tempfile
import time
import urllib.request
from collections.abc import Iterator
from contextlib import redirect_stderr, redirect_stdout
from dataclasses import dataclass
from pathlib import Path

import numpy as np
import pytest
from faults import flipped
from PIL import Image, PngImagePlugin
from tiny import tiny_dataset, tiny_model

from chips_core.cli import main
from chips_core.errors import PoolDamaged
from chips_core.jobs import runner
from chips_core.jobs.runner import StepRequest
from chips_core.store import Artifact, Pool, Review, check_pool
from chips_core.views.images import image_bytes

CANARY = "CANARY^JANE-4711"
METHODS = "queue,ecif,chips,clipscore,negcliploss"
KINDS = {
    "pairs", "features", "prompts", "captions", "fits", "scores", "maps", "duplicates", "traces", "honesty",
    "selections",
}  # fmt: skip


@dataclass(frozen=True)
class Life:
    """One pool's whole life: where it is, what was said meanwhile, and who was called."""

    folder: Path
    said: str
    called: list[object]

    @property
    def pool(self) -> Path:
        return self.folder / "pool"

    def files(self, *, under: str) -> Iterator[Path]:
        return (path for path in (self.folder / under).rglob("*") if path.is_file())


@pytest.fixture(scope="module")
def life(tmp_path_factory: pytest.TempPathFactory) -> Life:
    """A data set full of a patient's name taken from intake to export, with every call to another machine refused."""
    folder = tmp_path_factory.mktemp("life")
    (folder / "temporary").mkdir()
    said = io.StringIO()
    with pytest.MonkeyPatch.context() as patch:
        called = guard_network(patch)
        patch.setattr(tempfile, "tempdir", str(folder / "temporary"))
        patch.setattr("chips_core.jobs.trace.REMOVALS", 2)
        with redirect_stdout(said), redirect_stderr(said):
            source, model = tiny_dataset(folder / "source", count=60), tiny_model(folder / "model")
            with_canaries(source)
            run_all(source, folder / "pool", model)
            run_rest(folder)
    return Life(folder, said.getvalue(), called)


def guard_network(patch: pytest.MonkeyPatch) -> list[object]:
    """Refuses every connection that is not to this machine, and every question for an address; returns the tries."""
    tried: list[object] = []
    connect = socket.socket.connect

    def guarded(self: socket.socket, address: object) -> None:
        local = self.family == socket.AF_UNIX or (isinstance(address, tuple) and str(address[0]).startswith("127."))
        if not local:
            tried.append(address)
            raise OSError("no network in this test")
        connect(self, address)  # type: ignore[arg-type]

    def unanswered(*question: object, **_: object) -> None:
        tried.append(question)
        raise OSError("no network in this test")

    for name, stand_in in (("connect", guarded), ("connect_ex", guarded), ("sendto", unanswered)):
        patch.setattr(socket.socket, name, stand_in)
    patch.setattr(socket, "getaddrinfo", unanswered)
    return tried


def run_all(source: Path, pool: Path, model: Path) -> None:
    assert main(["intake", str(source), str(pool)]) == 0
    assert main(["encode", str(pool), "--model", str(model), "--precision", "fp32"]) == 0
    assert main(["score", str(pool), "--method", METHODS, "--target", "val", "--name", "run"]) == 0
    assert main(["check", str(pool)]) == 0


def run_rest(folder: Path) -> None:
    """Maps, traces, judges, selects and exports the pool that `run_all` made; a part of it in the background."""
    pool = str(folder / "pool")
    job = runner.start(Path(pool), [StepRequest("duplicates", {"pool": pool})])
    with Review.open(Path(pool)) as review:
        review.add_verdict(pair_id="p0003", verdict="patient data seen", reviewer="r", note=f"names {CANARY}")
    while runner.job_at(job.folder).alive:
        time.sleep(0.05)
    assert runner.job_at(job.folder).state.status == "done"
    for line in (
        f"map {pool}", f"evaluate {pool}", f"trace {pool}", f"trace {pool} --image p0015 --retrain",
        f"select {pool} --budget 0.3 --out best", f"export {pool} --selection best --to {folder}/out/csv",
        f"export {pool} --selection all --to {folder}/out/copies --format jsonl --images copy",
        f"export {pool} --selection all --to {folder}/out/shards --format webdataset", f"check {pool}",
    ):  # fmt: skip
        assert main(line.split()) == 0, line


def with_canaries(source: Path) -> None:
    """Puts the name into a file name, PNG text, EXIF and captions of the data set."""
    table = source / "pairs.csv"
    with table.open(newline="") as handle:
        rows = list(csv.reader(handle))
    notes = PngImagePlugin.PngInfo()
    notes.add_text("PatientName", CANARY)
    first, second = source / rows[1][1], source / rows[2][1]
    Image.open(first).save(source / "images" / f"{CANARY}.png", pnginfo=notes)
    rows[1][1] = f"images/{CANARY}.png"
    exif = Image.Exif()
    exif[0x010E] = CANARY
    Image.open(second).save(second.with_suffix(".jpg"), exif=exif)
    rows[2][1] = str(Path(rows[2][1]).with_suffix(".jpg"))
    rows[3][2] = f"A ring in {CANARY}."
    with table.open("w", newline="") as handle:
        csv.writer(handle).writerows(rows)


def test_l1__canary_stays_in_the_declared_files(life: Life) -> None:
    assert CANARY not in life.said
    assert any(CANARY in caption for caption in Pool.open(life.pool).pairs(["caption"])["caption"])
    for path in life.files(under="pool"):
        declared = path.name.startswith(("pairs-", "review.sqlite"))
        assert declared or CANARY.encode() not in path.read_bytes(), path.name
    assert not list(life.files(under="temporary"))


def test_l1__canary_leaves_in_an_export_only_as_text_of_a_pair(life: Life) -> None:
    exported = list(life.files(under="out"))
    held = {
        path.relative_to(life.folder / "out").as_posix() for path in exported if CANARY.encode() in path.read_bytes()
    }
    assert held == {"copies/pairs.jsonl", "shards/shards/000000.tar"}
    lines = [json.loads(line) for line in (life.folder / "out/copies/pairs.jsonl").read_text().splitlines()]
    assert [line["pair_id"] for line in lines if CANARY in json.dumps(line)] == ["p0002"], "its caption, no file name"
    with tarfile.open(life.folder / "out/shards/shards/000000.tar") as shard:
        members = {member.name: shard.extractfile(member).read() for member in shard}  # type: ignore[union-attr]
    assert {Path(name).suffix for name, data in members.items() if CANARY.encode() in data} == {".txt"}
    assert not any(CANARY in path.name for path in exported)


def test_l1__canary_is_not_in_what_a_page_shows_of_an_image(life: Life) -> None:
    for row in range(3):
        assert CANARY.encode() not in image_bytes(life.pool, row, size=64)


def test_l2__no_network(life: Life) -> None:
    assert not life.called


def test_l2__the_guard_would_notice(monkeypatch: pytest.MonkeyPatch) -> None:
    called = guard_network(monkeypatch)
    with pytest.raises(OSError, match="no network"):
        urllib.request.urlopen("http://example.org", timeout=1)
    with pytest.raises(OSError, match="no network"):
        socket.create_connection(("192.0.2.1", 80), timeout=1)
    assert len(called) == 2


def test_l6__pool_is_private(life: Life) -> None:
    assert life.pool.stat().st_mode & 0o777 == 0o700
    assert all(path.stat().st_mode & 0o077 == 0 for path in life.pool.rglob("*"))


def test_m1__a_bit_flipped_in_each_kind_of_artifact_is_found_by_name_200_of_200(life: Life, tmp_path: Path) -> None:
    """Flips one bit in every file of the pool at once, 200 times: each time each file is named, and no other."""
    shutil.copytree(life.pool, tmp_path / "pool")
    manifest = Pool.open(tmp_path / "pool").manifest
    assert {artifact.kind for artifact in manifest.artifacts.values()} == KINDS
    whole = {f.path: (tmp_path / "pool" / f.path).read_bytes() for a in manifest.artifacts.values() for f in a.files}
    draw = np.random.default_rng(0)
    for _ in range(200):
        for name, data in whole.items():
            (tmp_path / "pool" / name).write_bytes(flipped(data, bit=int(draw.integers(len(data) * 8))))
        assert {finding.file for finding in check_pool(tmp_path / "pool").findings} == set(whole)


def test_m1__damage_of_any_kind_is_never_read(life: Life, tmp_path: Path) -> None:
    shutil.copytree(life.pool, tmp_path / "pool")
    for artifact in Pool.open(life.pool).manifest.artifacts.values():
        for file in artifact.files:
            path = tmp_path / "pool" / file.path
            whole = path.read_bytes()
            path.write_bytes(flipped(whole, bit=len(whole) * 4))
            with pytest.raises(PoolDamaged, match=re.escape(path.name)):
                read_whole(Pool.open(tmp_path / "pool"), artifact)
            path.write_bytes(whole)
        read_whole(Pool.open(tmp_path / "pool"), artifact)


def read_whole(pool: Pool, artifact: Artifact) -> None:
    if artifact.kind == "pairs":
        pool.pairs()
    elif artifact.kind == "features":
        pool.features(artifact.name)
    else:
        pool.table(artifact.kind, artifact.name)
        pool.arrays(artifact.kind, artifact.name)


def test_m6__no_path_of_this_machine_is_stored(life: Life) -> None:
    for path in life.files(under="pool"):
        if path.relative_to(life.pool).parts[0] != "jobs":  # a job says what was asked for here
            assert str(life.folder).encode() not in path.read_bytes(), path


def test_scores__the_order_of_the_rows_does_not_matter(tmp_path: Path) -> None:
    model = tiny_model(tmp_path / "model")
    source = tiny_dataset(tmp_path / "source", count=60)
    run_all(source, tmp_path / "one", model)
    lines = (source / "pairs.csv").read_text().splitlines()
    (source / "pairs.csv").write_text("\n".join([lines[0], *reversed(lines[1:])]) + "\n")
    run_all(source, tmp_path / "other", model)
    tables = [Pool.open(tmp_path / name).table("scores", "run").set_index("pair_id") for name in ("one", "other")]
    one, other = tables[0], tables[1].loc[tables[0].index]
    for column in [c for c in one.columns if c != "row"]:
        scale = float(np.abs(one[column]).max()) + 1e-12
        np.testing.assert_allclose(one[column] / scale, other[column] / scale, atol=2e-4, err_msg=column)


def test_score__stopped_and_run_again_is_the_same_run(tmp_path: Path, capsys: pytest.CaptureFixture[str]) -> None:
    source, pool = tiny_dataset(tmp_path / "source", count=60), tmp_path / "pool"
    run_all(source, pool, tiny_model(tmp_path / "model"))
    before = (pool / "pool.json").read_bytes()
    assert main(["score", str(pool), "--method", METHODS, "--target", "val", "--name", "run", "--quiet"]) == 0
    assert (pool / "pool.json").read_bytes() == before
    assert "Run run" in capsys.readouterr().out


@pytest.mark.parametrize("target", ["nowhere", "test"])
def test_score__bad_target_says_what_to_do(tmp_path: Path, target: str, capsys: pytest.CaptureFixture[str]) -> None:
    source, pool = tiny_dataset(tmp_path / "source", count=24), tmp_path / "pool"
    assert main(["intake", str(source), str(pool), "--quiet"]) == 0
    assert main(["score", str(pool), "--target", target, "--quiet"]) == 3
    assert main(["encode", str(pool), "--model", str(tiny_model(tmp_path / "m")), "--quiet"]) == 0
    assert main(["score", str(pool), "--target", target, "--quiet"]) == 3
    assert "Fix:" in capsys.readouterr().err


def test_a15__unreadable_pairs_have_no_score(tmp_path: Path) -> None:
    source, pool = tiny_dataset(tmp_path / "source", count=60), tmp_path / "pool"
    assert main(["intake", str(source), str(pool), "--quiet"]) == 0
    (source / "images" / "p0000.png").unlink()
    assert main(["encode", str(pool), "--model", str(tiny_model(tmp_path / "m")), "--quiet"]) == 0
    assert main(["score", str(pool), "--method", "clipscore,queue", "--name", "run", "--quiet"]) == 0
    table = Pool.open(pool).table("scores", "run").set_index("pair_id")
    assert table.drop(columns="row").loc["p0000"].isna().all()
    assert not table.drop(columns="row").drop(index="p0000").isna().to_numpy().any()
