"""Which captions an encoder saw only in part: its context is short, and medical reports are long."""

from collections import Counter
from collections.abc import Iterable, Sequence
from dataclasses import dataclass

import pandas as pd

from chips_core import fingerprint
from chips_core.clip import Encoder
from chips_core.progress import Progress

AT_ONCE = 1024


@dataclass(frozen=True)
class CutCaptions:
    """The pairs whose captions were cut, with the tokens lost; `alike` of them equal another caption after the cut."""

    pair_ids: tuple[str, ...]
    lost: tuple[int, ...]
    alike: int

    def as_table(self) -> pd.DataFrame:
        """Returns one line per cut caption."""
        return pd.DataFrame({"pair_id": list(self.pair_ids), "lost_tokens": pd.array(self.lost, dtype="int32")})


def cut_captions(
    encoder: Encoder, captions: Iterable[str], *, pair_ids: Sequence[str], progress: Progress
) -> CutCaptions:
    """Returns which captions lose tokens, and how many of those read the same as a different caption after the cut."""
    by_caption: dict[str, list[str]] = {}
    for pair_id, caption in zip(pair_ids, captions, strict=True):
        by_caption.setdefault(str(caption), []).append(str(pair_id))
    progress.start("count tokens", total=len(by_caption), unit="captions")
    unique = list(by_caption)
    found: list[tuple[str, int]] = []
    seen: list[str] = []
    for first in range(0, len(unique), AT_ONCE):
        some = unique[first : first + AT_ONCE]
        tokens = encoder.tokenize(some)
        for caption, lost, ids in zip(some, tokens.lost, tokens.ids.numpy(), strict=True):
            if lost:
                seen.append(fingerprint.of_bytes(ids.tobytes()))
                found += [(pair_id, lost) for pair_id in by_caption[caption]]
        progress.advance(len(some))
    alike = sum(count for count in Counter(seen).values() if count > 1)
    return CutCaptions(tuple(p for p, _ in found), tuple(n for _, n in found), alike)
