"""The whole way on a tiny data set, watched: no network, no name where it does not belong, same answer twice."""

import csv
import socket
from pathlib import Path

import numpy as np
import pytest
from PIL import Image, PngImagePlugin
from tiny import tiny_dataset, tiny_model

from chips_core.cli import main
from chips_core.store import Pool

CANARY = "CANARY^JANE-4711"
METHODS = "queue,ecif,chips,clipscore,negcliploss"


@pytest.fixture
def no_network(monkeypatch: pytest.MonkeyPatch) -> list[object]:
    """Refuses every connection that is not to this machine, and keeps what was tried."""
    tried: list[object] = []
    connect = socket.socket.connect

    def guarded(self: socket.socket, address: object) -> None:
        local = self.family == socket.AF_UNIX or (isinstance(address, tuple) and str(address[0]).startswith("127."))
        if not local:
            tried.append(address)
            raise OSError("no network in this test")
        connect(self, address)  # type: ignore[arg-type]

    monkeypatch.setattr(socket.socket, "connect", guarded)
    return tried


def run_all(source: Path, pool: Path, model: Path) -> None:
    assert main(["intake", str(source), str(pool)]) == 0
    assert main(["encode", str(pool), "--model", str(model), "--precision", "fp32"]) == 0
    assert main(["score", str(pool), "--method", METHODS, "--target", "val", "--name", "run"]) == 0
    assert main(["check", str(pool)]) == 0


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


def test_l1__canary_stays_in_the_declared_files(tmp_path: Path, capfd: pytest.CaptureFixture[str]) -> None:
    source, pool = tiny_dataset(tmp_path / "source", count=60), tmp_path / "pool"
    with_canaries(source)
    run_all(source, pool, tiny_model(tmp_path / "model"))
    out = capfd.readouterr()
    assert CANARY not in out.out + out.err
    opened = Pool.open(pool)
    assert any(CANARY in caption for caption in opened.pairs(["caption"])["caption"]), "the canary must be there at all"
    for path in pool.rglob("*"):
        if path.is_file() and not path.name.startswith("pairs-"):
            assert CANARY.encode() not in path.read_bytes(), path.name
    table = opened.table("scores", "run")
    assert not table.astype(str).apply(lambda column: column.str.contains("CANARY")).to_numpy().any()


def test_l2__no_network(tmp_path: Path, no_network: list[object]) -> None:
    source = tiny_dataset(tmp_path / "source", count=60)
    run_all(source, tmp_path / "pool", tiny_model(tmp_path / "model"))
    assert not no_network


def test_l6__pool_is_private(tmp_path: Path) -> None:
    source, pool = tiny_dataset(tmp_path / "source", count=12), tmp_path / "pool"
    assert main(["intake", str(source), str(pool), "--quiet"]) == 0
    assert pool.stat().st_mode & 0o777 == 0o700
    assert all(path.stat().st_mode & 0o077 == 0 for path in pool.rglob("*"))


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
