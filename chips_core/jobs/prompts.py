"""The class prompts of a pool, encoded beside its pairs: what zero-shot classification and class targets stand on."""

import numpy as np
import pandas as pd

from chips_core.clip import Encoder
from chips_core.store import Pool

KIND = "prompts"
TEMPLATE = "a medical image of {}"  # for a label without a prompt of its own; the name is put in literally


def store_prompts(pool: Pool, encoder: Encoder, *, features: str) -> int:
    """Encodes one prompt a class and stores them under the features' name; returns how many classes there are.

    A class's prompt is its most frequent `class_prompt`; a class without one gets TEMPLATE.
    """
    pairs = pool.kept(["label", "class_prompt"])
    prompts = prompt_of_each(pairs)
    if prompts.empty or features in {artifact.name for artifact in pool.tables(KIND)}:
        return len(prompts)
    tokens = encoder.tokenize(list(prompts["prompt"]))
    text = encoder.text_features(tokens.ids).float().numpy()
    record = {"own_prompts": int(prompts["own"].sum()), "template": TEMPLATE}
    arrays = {"text": np.ascontiguousarray(text)}
    pool.write_table(KIND, features, prompts, record=record, fingerprint=features, arrays=arrays)
    return len(prompts)


def prompt_of_each(pairs: pd.DataFrame) -> pd.DataFrame:
    """Returns one line a class, sorted by label: label, prompt, own (whether the data brought the prompt)."""
    labels = sorted({str(label) for label in pairs["label"]} - {""})
    given = pairs[(pairs["label"] != "") & (pairs["class_prompt"] != "")]
    best: dict[str, str] = {}
    for label, prompts in given.groupby("label")["class_prompt"]:
        counts = prompts.value_counts().sort_index()
        best[str(label)] = str(counts.index[int(counts.to_numpy().argmax())])
    lines = [
        {"label": label, "prompt": best.get(label, TEMPLATE.replace("{}", label)), "own": label in best}
        for label in labels
    ]
    return pd.DataFrame(lines, columns=["label", "prompt", "own"])
