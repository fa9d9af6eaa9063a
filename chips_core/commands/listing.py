"""The list of all verbs, in the order of the help page."""

from chips_core.commands import Command
from chips_core.commands.app import APP
from chips_core.commands.bench import BENCH
from chips_core.commands.compare import COMPARE
from chips_core.commands.curate import EXPORT, SELECT
from chips_core.commands.pool import CHECK, DEMO, ENCODE, INTAKE
from chips_core.commands.pretrain import PRETRAIN
from chips_core.commands.score import MAP, SCORE
from chips_core.commands.trace import EVALUATE, TRACE


def commands() -> tuple[Command, ...]:
    """Returns every verb that works."""
    return (DEMO, INTAKE, ENCODE, SCORE, MAP, SELECT, COMPARE, EXPORT, EVALUATE, PRETRAIN, TRACE, CHECK, BENCH, APP)
