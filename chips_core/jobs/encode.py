"""The encode step: every kept pair goes once through the frozen encoder; afterwards nobody opens an image to compute.

Pairs are encoded in fixed blocks of `batch`, and a block is done as a whole, so that a run that was killed and resumed
gives the same bits as one that was not.
"""

from collections import deque
from collections.abc import Iterator, Mapping
from concurrent.futures import Future, ThreadPoolExecutor
from dataclasses import dataclass
from itertools import islice
from pathlib import Path
from typing import Any, Literal

import numpy as np
import numpy.typing as npt
import pandas as pd
import torch

from chips_core import fingerprint
from chips_core.clip import Encoder, load_encoder
from chips_core.config import at_least
from chips_core.data import ImageOpener
from chips_core.errors import InputError, UnreadableInput
from chips_core.jobs.captions import CutCaptions, cut_captions
from chips_core.jobs.models import model_named, model_record
from chips_core.jobs.prompts import store_prompts
from chips_core.outcomes import Outcome
from chips_core.progress import Progress
from chips_core.store import FeatureWriter, Pool, Status

AHEAD = 3  # blocks read while the encoder works; more only costs memory
CUTS = "captions"  # the kind of table that holds which captions were cut

Read = tuple[torch.Tensor | None, Status]


@dataclass(frozen=True)
class Settings:
    """Which encoder, and how to run it; only the encoder and the precision can change a feature."""

    pool: str
    model: str
    weights: str | None = None
    images: str | None = None
    device: str = "auto"
    precision: Literal["auto", "fp32", "bf16", "fp16"] = "auto"
    batch: int = at_least(1, default=64)
    workers: int = at_least(1, default=2)
    allow_network: bool = False


@dataclass(frozen=True)
class _Block:
    """One block of pairs, read and ready for the encoder."""

    rows: npt.NDArray[np.int64]
    images: list[torch.Tensor]  # of the pairs that could be read
    status: npt.NDArray[np.uint8]  # of every pair


def run(settings: Settings, *, progress: Progress) -> Mapping[str, Any]:
    """Encodes what is not encoded yet and returns what came of it."""
    pool = Pool.open(Path(settings.pool))
    pairs = pool.kept(["pair_id", "image", "caption", "image_sha256"])
    if pairs.empty:
        raise InputError(f"Pool '{pool.path.name}' has no pair to encode.", fix="run intake on a source that has some.")
    encoder = load_encoder(
        model_named(settings.model, weights=settings.weights),
        device=settings.device,
        precision=settings.precision,
        allow_network=settings.allow_network,
    )
    name = fingerprint.of([pool.fingerprint, encoder.fingerprint, encoder.precision])
    with pool.writing("encode"):
        writer = pool.feature_writer(
            fingerprint=name,
            count=len(pairs),
            image_dim=encoder.image_dim,
            text_dim=encoder.text_dim,
            record=_record(encoder, settings, pool=pool.path),
        )
        opener = ImageOpener(Path(settings.images) if settings.images else pool.source_root)
        _encode_pending(writer, encoder, pairs=pairs, opener=opener, settings=settings, progress=progress)
        heads = encoder.heads
        writer.commit(image_head=heads.image.numpy(), text_head=heads.text.numpy(), logit_scale=heads.logit_scale)
        store_prompts(pool, encoder, features=name)
        cuts = _note_cut_captions(pool, encoder, pairs=pairs, name=name, progress=progress)
    counts = {key: int(value) for key, value in pool.features(name, verify=False).counts().items()}
    return {"features": name, "encoder": encoder.name, "pairs": counts, "captions_cut": len(cuts.pair_ids)}


def _record(encoder: Encoder, settings: Settings, *, pool: Path) -> dict[str, Any]:
    return {
        "encoder": encoder.name,
        "encoder_fingerprint": encoder.fingerprint,
        **model_record(settings.model, weights=settings.weights, pool=pool),
        "preprocessing": encoder.preprocessing,
        "precision": encoder.precision,
        "context_length": encoder.context_length,
        "batch": settings.batch,
        "device": str(encoder.device),
        "torch": torch.__version__,
    }


def _encode_pending(
    writer: FeatureWriter,
    encoder: Encoder,
    *,
    pairs: pd.DataFrame,
    opener: ImageOpener,
    settings: Settings,
    progress: Progress,
) -> None:
    """Encodes the blocks that are not done."""
    blocks = _pending_blocks(writer, count=len(pairs), batch=settings.batch)
    captions = pairs["caption"].to_numpy(object)
    progress.start("encode", total=sum(len(block) for block in blocks))
    with ThreadPoolExecutor(max(settings.workers, 1)) as threads:
        for block in _read_ahead(blocks, pairs=pairs, opener=opener, encoder=encoder, threads=threads):
            image = np.zeros((len(block.rows), encoder.image_dim), np.float32)
            text = np.zeros((len(block.rows), encoder.text_dim), np.float32)
            done = block.status == Status.DONE
            if done.any():
                image[done] = encoder.image_features(torch.stack(block.images)).numpy()
                text[done] = _text_features(encoder, [str(c) for c in captions[block.rows[done]]])
            writer.write(block.rows, image=image, text=text, status=block.status)
            progress.advance(len(block.rows))


def _text_features(encoder: Encoder, captions: list[str]) -> npt.NDArray[np.float32]:
    """Returns the features of captions, (B, dt); a caption that occurs several times is encoded once."""
    unique = list(dict.fromkeys(captions))
    found = encoder.text_features(encoder.tokenize(unique).ids).numpy()
    place = {caption: i for i, caption in enumerate(unique)}
    return np.asarray(found[[place[caption] for caption in captions]], np.float32)


def _pending_blocks(writer: FeatureWriter, *, count: int, batch: int) -> list[npt.NDArray[np.int64]]:
    """Returns the whole blocks that hold at least one undone row."""
    first_rows = np.unique(writer.pending() // batch) * batch
    return [np.arange(first, min(first + batch, count)) for first in first_rows]


def _read_ahead(
    blocks: list[npt.NDArray[np.int64]],
    *,
    pairs: pd.DataFrame,
    opener: ImageOpener,
    encoder: Encoder,
    threads: ThreadPoolExecutor,
) -> Iterator[_Block]:
    """Yields the blocks in order, the next few being read by threads meanwhile."""
    images, hashes = pairs["image"].to_numpy(object), pairs["image_sha256"].to_numpy(object)
    waiting: deque[tuple[npt.NDArray[np.int64], list[Future[Read]]]] = deque()
    remaining = iter(blocks)

    def send(count: int) -> None:
        for rows in islice(remaining, count):
            reads = [threads.submit(_read, opener, encoder, str(images[r]), sha256=str(hashes[r])) for r in rows]
            waiting.append((rows, reads))

    send(AHEAD)
    try:
        while waiting:
            rows, reads = waiting.popleft()
            found = [future.result() for future in reads]
            send(1)
            status = np.array([state for _, state in found], dtype=np.uint8)
            yield _Block(rows, [tensor for tensor, _ in found if tensor is not None], status)
    finally:
        threads.shutdown(cancel_futures=True)


def _read(opener: ImageOpener, encoder: Encoder, locator: str, *, sha256: str) -> Read:
    try:
        found = opener.read(locator)
    except UnreadableInput as error:
        return None, Status.MISSING if error.outcome == Outcome.MISSING else Status.BROKEN
    if sha256 and found.sha256 != sha256:
        return None, Status.CHANGED
    return encoder.preprocess(found.image), Status.DONE


def _note_cut_captions(
    pool: Pool, encoder: Encoder, *, pairs: pd.DataFrame, name: str, progress: Progress
) -> CutCaptions:
    """Stores which captions the encoder saw only in part, and says how many."""
    cuts = cut_captions(encoder, pairs["caption"], pair_ids=list(pairs["pair_id"]), progress=progress)
    record = {"context_length": encoder.context_length, "alike_after_cut": cuts.alike}
    pool.write_table(CUTS, name, cuts.as_table(), record=record, fingerprint=name)
    if cuts.pair_ids:
        progress.note(
            f"{len(cuts.pair_ids):,} captions are longer than the model's {encoder.context_length} tokens and were "
            f"cut; {cuts.alike:,} of them read the same as another one after the cut."
        )
    return cuts
