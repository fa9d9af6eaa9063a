"""The ClipCov benchmark runs and says what its contract names."""

from chips_core.bench import clipcov


def test_run__quick(monkeypatch):
    monkeypatch.setattr(clipcov, "QUICK_PAIRS", 600)
    monkeypatch.setattr(clipcov, "QUICK_CLASSES", 3)
    found = clipcov.run(quick=True)
    assert found["chosen"] == 60
    assert found["seconds"] > 0
    assert found["peak_mb"] > 0
    assert set(found["cross_covariance_gap"]) == {"clipcov", "random", "clipscore"}
    held = found["cross_covariance_gap_of_sums"]
    assert held["clipcov"] < min(held["random"], held["clipscore"])
