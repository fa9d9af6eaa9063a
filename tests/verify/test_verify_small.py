"""A small CLIP learns to tell colours apart, reproducibly, and reads back from its folder."""

import pytest
import torch

from chips_core.clip.small import small_config, small_tokenizer
from chips_core.errors import InputError
from chips_core.verify.small import Recipe, same_caption_loss, save_small, train_small

CONFIG = small_config("resnet", 32, embed_dim=16, vision_width=8, text_width=32, text_layers=1, context_length=8)
COLOURS = {"a red square": (220, 20, 20), "a green square": (20, 220, 20), "a blue square": (20, 20, 220)}


def coloured(count: int) -> tuple[torch.Tensor, list[str]]:
    captions = [list(COLOURS)[i % 3] for i in range(count)]
    images = torch.tensor([COLOURS[caption] for caption in captions], dtype=torch.uint8)
    return images.view(-1, 3, 1, 1).expand(-1, 3, 32, 32).contiguous(), captions


def test_train_small__tells_three_colours_apart() -> None:
    images, captions = coloured(48)
    trained = train_small(images, captions, config=CONFIG, epochs=15, seed=0, recipe=Recipe(batch_size=12))
    pictures = (images[:3].float() / 255 - 0.5) / 0.25
    with torch.no_grad():
        a = trained.model.encode_image(pictures, normalize=True)
        b = trained.model.encode_text(small_tokenizer(CONFIG)(list(COLOURS)).ids, normalize=True)
    assert (a @ b.T).argmax(1).tolist() == [0, 1, 2]
    assert len(trained.losses) == 15
    assert trained.losses[-1] < trained.losses[0]
    assert not trained.model.training


def test_train_small__same_seed_same_weights_other_seed_other_weights() -> None:
    images, captions = coloured(16)
    before = torch.get_rng_state()
    first, again, other = (
        train_small(images, captions, config=CONFIG, epochs=1, seed=seed, recipe=Recipe(batch_size=8)).model
        for seed in (3, 3, 4)
    )
    assert torch.equal(first.visual.conv1.weight, again.visual.conv1.weight)
    assert not torch.equal(first.visual.conv1.weight, other.visual.conv1.weight)
    assert torch.equal(before, torch.get_rng_state())


def test_train_small__refuses_what_is_no_picture() -> None:
    images, captions = coloured(4)
    with pytest.raises(InputError, match="uint8"):
        train_small(images.float(), captions, config=CONFIG, epochs=1, seed=0)
    with pytest.raises(InputError, match="3 captions"):
        train_small(images, captions[:3], config=CONFIG, epochs=1, seed=0)
    with pytest.raises(InputError, match="fewer than two"):
        train_small(images[:1], captions[:1], config=CONFIG, epochs=1, seed=0)


def test_same_caption_loss__is_infonce_when_all_captions_differ() -> None:
    logits = torch.randn(5, 5, generator=torch.Generator().manual_seed(0), dtype=torch.float64)
    rows, columns = logits.log_softmax(1).diag(), logits.log_softmax(0).diag()
    torch.testing.assert_close(same_caption_loss(logits, torch.arange(5)), -0.5 * (rows + columns))


def test_same_caption_loss__equal_captions_are_not_negatives() -> None:
    # two images of one caption and one of another: by hand, with logits 0 everywhere, every log-softmax is -log 3
    torch.testing.assert_close(
        same_caption_loss(torch.zeros(3, 3), torch.tensor([0, 0, 1])), torch.full((3,), 1.0986123)
    )
    logits = torch.tensor([[9.0, 9.0, 0.0], [9.0, 9.0, 0.0], [0.0, 0.0, 9.0]])
    as_one, as_three = (same_caption_loss(logits, torch.tensor(ids)) for ids in ([0, 0, 1], [0, 1, 2]))
    torch.testing.assert_close(as_one, as_three)  # equal columns cannot be told apart either way
    swapped = torch.tensor([[0.0, 9.0, 0.0], [9.0, 0.0, 0.0], [0.0, 0.0, 9.0]])
    assert (same_caption_loss(swapped, torch.tensor([0, 0, 1])) < same_caption_loss(swapped, torch.arange(3)))[:2].all()


def test_save_small__reads_back(tmp_path) -> None:
    images, captions = coloured(8)
    trained = train_small(images, captions, config=CONFIG, epochs=1, seed=0, recipe=Recipe(batch_size=4))
    path = save_small(trained, tmp_path / "model")
    assert path.name == "small.json"
    assert {file.name for file in (tmp_path / "model").iterdir()} == {
        "small.json",
        "small.safetensors",
        "training.json",
    }
