"""Continued training: big batches from small chunks, exact resume, checkpoints that survive, and an end on NaN."""

import shutil
from collections.abc import Callable
from pathlib import Path
from typing import Any

import pytest
import torch
from faults import Lying, Recording, Unflushed, every_kill, injected
from torch import Tensor

from chips_core.clip import load_encoder, open_clip_module, parse_model
from chips_core.clip.small import build_small, small_config, small_tokenizer
from chips_core.errors import DiskFault, InputError, PoolDamaged
from chips_core.progress import Silent, Stopped
from chips_core.verify import checkpoint
from chips_core.verify.checkpoint import Checkpoint, newest_checkpoint, read_checkpoint, save_checkpoint
from chips_core.verify.contrastive import backward
from chips_core.verify.pretrain import Lesson, PretrainSettings, TrainingBroke, pretrain
from chips_core.verify.trainee import HeadsTrainee, Part, Trainee, trainee_of

PAIRS = 24
CPU = torch.device("cpu")
VIT = small_config("vit", 32, embed_dim=16, vision_width=32, vision_layers=2, text_width=32, text_layers=2)
RESNET = small_config("resnet", 32, embed_dim=16, vision_width=8, text_width=32, text_layers=2)
QUICK = PretrainSettings(part="full", epochs=3, batch_size=8, chunk=8, rate=1e-3, save_every=4)


def pictures() -> tuple[Tensor, Tensor]:
    draw = torch.Generator().manual_seed(1)
    captions = [f"a picture of kind {i % 6} seen {i // 6} times" for i in range(PAIRS)]
    return torch.randn(PAIRS, 3, 32, 32, generator=draw), small_tokenizer(VIT)(captions).ids


def loading() -> Callable[[Tensor], tuple[Tensor, Tensor]]:
    images, tokens = pictures()
    return lambda rows: (images[rows], tokens[rows])


def lesson(load: Any = None) -> Lesson:
    return Lesson([f"p{i:02d}" for i in range(PAIRS)], load or loading(), "these pairs")


def trainee(part: Part = "full", config: dict[str, Any] = VIT, *, blocks: int = 1) -> Trainee:
    return trainee_of(build_small(config, seed=0), part=part, blocks=blocks, device=CPU, precision="fp32")


class StopsAt(Silent):
    """Stops a training after some steps."""

    def __init__(self, step: int) -> None:
        self.left = step

    def start(self, stage: str, *, total: int, unit: str = "pairs") -> None:  # noqa: ARG002
        self.left += 1  # the first call tells of steps that were done before

    def advance(self, done: int = 1) -> None:  # noqa: ARG002
        self.left -= 1
        if self.left == 0:
            raise Stopped(143)


@pytest.mark.parametrize("config", [VIT, RESNET], ids=["vit", "resnet"])
def test_backward__chunks_give_the_gradient_of_the_whole_batch(config: dict[str, Any]) -> None:
    gradients, values = [], []
    for chunk in (PAIRS, 7):
        model = trainee(config=config)
        values.append(backward(model, loading(), torch.arange(PAIRS), chunk=chunk))
        gradients.append([p.grad.clone() for p in model.parameters() if p.grad is not None])
    assert values[0] == pytest.approx(values[1], abs=1e-6)
    assert len(gradients[0]) == len(gradients[1]) > 20
    for whole, chunked in zip(*gradients, strict=True):
        torch.testing.assert_close(chunked, whole, atol=1e-5, rtol=1e-3)


@pytest.mark.parametrize("config", [VIT, RESNET], ids=["vit", "resnet"])
def test_trainee_of__last_blocks_alone_are_trained(config: dict[str, Any]) -> None:
    before = build_small(config, seed=0).state_dict()
    model = trainee("last", config)
    backward(model, loading(), torch.arange(PAIRS), chunk=PAIRS)
    torch.optim.SGD(model.parameters(), lr=0.1).step()
    changed = {name for name, value in model.state().items() if not torch.equal(value, before[name])}
    first = {name for name in before if any(part in name for part in ("conv1", "layer1", "resblocks.0", "embedding"))}
    assert {"logit_scale", "text_projection"} <= changed
    assert any(part in name for name in changed for part in ("visual.layer4", "visual.transformer.resblocks.1"))
    assert not changed & {name for name in first if "attnpool" not in name}


@pytest.mark.parametrize("config", [VIT, RESNET], ids=["vit", "resnet"])
def test_heads_trainee__is_the_model_on_cached_features(config: dict[str, Any], tmp_path: Path) -> None:
    """What the heads learn on features is in the checkpoint that open_clip reads."""
    images, tokens = pictures()
    towers = build_small(config, seed=0)
    heads = HeadsTrainee(build_small(config, seed=0))
    whole = trainee_of(towers, part="full", blocks=1, device=CPU, precision="fp32")
    save_checkpoint(Checkpoint(0, whole.state(), {}, {}), tmp_path / "base", description=config)
    encoder = load_encoder(parse_model(str(tmp_path / "base" / "step-00000000")), device="cpu", precision="fp32")
    features = encoder.image_features(images), encoder.text_features(tokens)
    torch.testing.assert_close(heads.image(features[0]), whole.image(images), atol=1e-5, rtol=1e-4)
    trained = pretrain(
        heads,
        lesson(lambda rows: (features[0][rows], features[1][rows])),
        settings=PretrainSettings(epochs=4, batch_size=8, rate=1e-2),
        folder=tmp_path / "run",
        description=config,
        progress=Silent(),
    )
    assert trained.losses[-1] < trained.losses[0]
    model, _, _ = open_clip_module().create_model_and_transforms(f"local-dir:{trained.folder}")
    model.eval()
    found = model.encode_image(images, normalize=True), model.encode_text(tokens, normalize=True)
    torch.testing.assert_close(found[0], heads.image(features[0]), atol=1e-5, rtol=1e-4)
    torch.testing.assert_close(found[1], heads.text(features[1]), atol=1e-5, rtol=1e-4)
    again = load_encoder(parse_model(str(trained.folder)), device="cpu", precision="fp32")
    torch.testing.assert_close(again.embed_images(images), heads.image(features[0]).detach(), atol=1e-5, rtol=1e-4)


@pytest.mark.parametrize("part", ["full", "last"])
def test_pretrain__j5_stopped_and_resumed_is_not_stopped(part: Part, tmp_path: Path) -> None:
    settings = PretrainSettings(**{**QUICK.identity(), "part": part}, chunk=8, save_every=4)

    def run(folder: Path, progress: Silent | None = None) -> Any:
        model = trainee(part)
        return pretrain(
            model, lesson(), settings=settings, folder=folder, description=VIT, progress=progress or Silent()
        )

    straight = run(tmp_path / "straight")
    for stop in (3, 2):  # within an epoch, and between two checkpoints
        with pytest.raises(Stopped):
            run(tmp_path / "stopped", StopsAt(stop))
    resumed = run(tmp_path / "stopped")
    assert resumed.losses == pytest.approx(straight.losses, abs=1e-6)
    one, two = (read_checkpoint(found.folder) for found in (straight, resumed))
    assert (one.step, one.record["losses"]) == (9, pytest.approx(two.record["losses"], abs=1e-6))
    for name, value in one.weights.items():
        torch.testing.assert_close(two.weights[name], value, atol=1e-6, rtol=1e-6)
    assert len(list((tmp_path / "stopped").iterdir())) == 1  # only the last checkpoint stays


def test_pretrain__j5_a_resume_without_the_moments_would_differ(tmp_path: Path) -> None:
    """The proof that the case above can fail: an optimiser that begins anew takes another way."""
    with pytest.raises(Stopped):
        pretrain(trainee(), lesson(), settings=QUICK, folder=tmp_path / "a", description=VIT, progress=StopsAt(4))
    found = newest_checkpoint(tmp_path / "a")
    assert found is not None
    forgot = Checkpoint(
        found.step, found.weights, {k: torch.zeros_like(v) for k, v in found.optimiser.items()}, found.record
    )
    save_checkpoint(forgot, tmp_path / "b", description=VIT)
    ends = [
        pretrain(trainee(), lesson(), settings=QUICK, folder=tmp_path / name, description=VIT, progress=Silent()).losses
        for name in ("a", "b")
    ]
    assert ends[0][-1] != pytest.approx(ends[1][-1], abs=1e-4)


def test_pretrain__another_selection_in_the_same_folder_is_refused(tmp_path: Path) -> None:
    pretrain(trainee(), lesson(), settings=QUICK, folder=tmp_path / "run", description=VIT, progress=Silent())
    other = Lesson(lesson().pair_ids, loading(), "other pairs")
    with pytest.raises(InputError, match="another selection"):
        pretrain(trainee(), other, settings=QUICK, folder=tmp_path / "run", description=VIT, progress=Silent())


def test_pretrain__j6_nan_ends_it_with_step_rate_and_pairs_and_keeps_the_last_good(tmp_path: Path) -> None:
    images, tokens = pictures()
    calls = []

    def load(rows: Tensor) -> tuple[Tensor, Tensor]:
        calls.append(rows)
        spoilt = images[rows] * (float("nan") if len(calls) == 6 else 1.0)
        return spoilt, tokens[rows]

    with pytest.raises(TrainingBroke, match=r"step 6 of 9, rate .* on the pairs p\d\d, ") as told:
        pretrain(trainee(), lesson(load), settings=QUICK, folder=tmp_path, description=VIT, progress=Silent())
    assert all(f"p{row:02d}" in told.value.what for row in calls[5].tolist())
    kept = newest_checkpoint(tmp_path)
    assert kept is not None
    assert kept.step == 4
    assert all(bool(value.isfinite().all()) for value in kept.weights.values())


def test_save_checkpoint__j4_killed_at_any_call_leaves_one_that_loads(tmp_path: Path) -> None:
    weights = {"w": torch.arange(6.0)}
    with injected(Unflushed()):
        save_checkpoint(Checkpoint(1, weights, {"m.0": weights["w"]}, {}), tmp_path / "base", description=VIT)
    run = tmp_path / "run"

    def fresh() -> None:
        shutil.rmtree(run, ignore_errors=True)
        shutil.copytree(tmp_path / "base", run)

    def save() -> None:
        save_checkpoint(Checkpoint(2, {"w": weights["w"] + 2}, {"m.0": weights["w"]}, {}), run, description=VIT)

    seen = set()
    for _ in every_kill(save, fresh=fresh):
        found = newest_checkpoint(run)
        assert found is not None
        assert torch.equal(found.weights["w"], weights["w"] + (2 if found.step == 2 else 0))
        seen.add(found.step)
        save()  # and the next attempt finishes
        after = newest_checkpoint(run)
        assert after is not None
        assert after.step == 2
    assert seen == {1, 2}


def test_save_checkpoint__j4_the_one_before_goes_only_after_the_new_one_was_synced_and_read(tmp_path: Path) -> None:
    weights = {"w": torch.arange(6.0)}
    save_checkpoint(Checkpoint(1, weights, {}, {}), tmp_path, description=VIT)
    calls = Recording()
    with injected(calls):
        save_checkpoint(Checkpoint(2, weights, {}, {}), tmp_path, description=VIT)
    log = calls.log
    removed = next(place for place, (name, path) in enumerate(log) if name == "remove" and "step-00000001" in path)
    placed = next(
        place for place, (name, path) in enumerate(log) if name == "rename" and path.endswith("step-00000002")
    )
    synced = [place for place, (name, _) in enumerate(log) if name == "sync"]
    assert placed < removed
    assert any(placed < place < removed for place in synced)  # the folder that now holds it


def test_save_checkpoint__j4_a_disk_that_lies_is_noticed_and_the_one_before_kept(tmp_path: Path) -> None:
    weights = {"w": torch.arange(64.0)}
    save_checkpoint(Checkpoint(1, weights, {}, {}), tmp_path, description=VIT)
    with injected(Lying("open_clip_model")), pytest.raises(DiskFault):
        save_checkpoint(Checkpoint(2, {"w": weights["w"] + 1}, {}, {}), tmp_path, description=VIT)
    kept = newest_checkpoint(tmp_path)
    assert kept is not None
    assert kept.step == 1
    assert torch.equal(kept.weights["w"], weights["w"])


def test_save_checkpoint__j4_what_does_not_read_back_does_not_replace_the_one_before(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    save_checkpoint(Checkpoint(1, {"w": torch.arange(6.0)}, {}, {}), tmp_path, description=VIT)

    def damaged(folder: Path) -> Checkpoint:
        raise PoolDamaged(f"{folder.name} is not as it was written.")

    monkeypatch.setattr(checkpoint, "read_checkpoint", damaged)
    with pytest.raises(DiskFault, match="step-00000002"):
        save_checkpoint(Checkpoint(2, {"w": torch.arange(6.0)}, {}, {}), tmp_path, description=VIT)
    assert (tmp_path / "step-00000001" / "open_clip_model.safetensors").is_file()


def test_read_checkpoint__a_changed_byte_is_noticed(tmp_path: Path) -> None:
    path = save_checkpoint(Checkpoint(1, {"w": torch.arange(64.0)}, {}, {}), tmp_path, description=VIT)
    data = bytearray((path / "open_clip_model.safetensors").read_bytes())
    data[-3] ^= 1
    (path / "open_clip_model.safetensors").write_bytes(bytes(data))
    with pytest.raises(PoolDamaged, match="open_clip_model"):
        newest_checkpoint(tmp_path)
