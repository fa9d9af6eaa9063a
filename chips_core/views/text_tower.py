"""The process behind a search by meaning: `python -m chips_core.views.text_tower`, a JSON line in, a JSON line out.

The first line names the model; each later one is a text to embed. It ends when its input ends, which is when the app
does, and by itself after a while without questions, so that a large model does not fill the memory for nothing.
"""

import json
import select
import sys
from contextlib import redirect_stdout
from typing import Any, TextIO

from chips_core.clip import ModelSpec, load_encoder
from chips_core.errors import ChipsError

IDLE_SECONDS = 900.0


def main() -> None:
    """Answers until there are no more questions."""
    answers = sys.stdout
    with redirect_stdout(sys.stderr):  # what a library prints is no answer
        _serve(answers)


def _serve(answers: TextIO) -> None:
    question = _next()
    if question is None:
        return
    try:
        encoder = load_encoder(ModelSpec(**question), precision="fp32")
    except ChipsError as error:
        _answer(answers, {"what": error.what, "fix": error.fix})
        return
    _answer(answers, {"fingerprint": encoder.fingerprint})
    while (question := _next()) is not None:
        _answer(answers, {"vector": encoder.embed_texts([str(question["text"])])[0].tolist()})


def _next() -> dict[str, Any] | None:
    ready, _, _ = select.select([sys.stdin], [], [], IDLE_SECONDS)
    line = sys.stdin.readline() if ready else ""
    return dict(json.loads(line)) if line else None


def _answer(answers: TextIO, data: dict[str, Any]) -> None:
    answers.write(json.dumps(data) + "\n")
    answers.flush()


if __name__ == "__main__":
    main()
