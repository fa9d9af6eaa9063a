"""The misalignment queue as an entry of the registry; queue.py says how it is made."""

from dataclasses import replace

import torch

from chips_core.influence.inputs import Need, ScoringInputs
from chips_core.influence.method import Column, Method
from chips_core.influence.queue import QueueSettings, misalignment_queue
from chips_core.influence.scoring import BlockWork, Columns, Targets


def _queue(inputs: ScoringInputs, settings: QueueSettings, targets: Targets) -> BlockWork:  # noqa: ARG001
    single = replace(inputs, fitted=inputs.at("audit").to(torch.float32))  # as fit.py fits them

    def columns() -> Columns:
        found = misalignment_queue(single, settings)
        nothing = torch.full_like(found.score, torch.nan)
        parts = {name: found.parts.get(name, nothing) for name in PARTS}
        return {"queue": found.score} | {name: torch.nan_to_num(values, nan=0.0) for name, values in parts.items()}

    return BlockWork((), lambda _: columns())


PARTS = ("peer_loss", "influence", "label_contradiction")
QUEUE = Method(
    name="queue",
    title="Misalignment queue",
    citation="CHIPS Lens: peer loss, influence and label contradiction, joined by their ranks.",
    meaning="Which pairs a person should look at first, because image, caption or label do not belong together.",
    needs=frozenset({Need.TWO_PAIRS, Need.TARGET_PAIRS, Need.FITTED}),
    columns=(
        Column("queue", "How suspect a pair is by all its parts together: look at the highest first.", "suspect"),
        Column("peer_loss", "How much worse its caption fits than those of like pairs.", "suspect", signed=True),
        Column("influence", "Predicted fall of the loss on target set and pool without it.", "suspect", signed=True),
        Column(
            "label_contradiction",
            "How strongly its caption speaks against its label; 0 where there is none to judge.",
            "suspect",
            signed=True,
        ),
    ),
    defaults=QueueSettings(),
    work=_queue,
)
