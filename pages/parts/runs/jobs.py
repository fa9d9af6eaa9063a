"""Jobs on the page: the one at work, shown every second while it is alive, and the earlier ones."""

from collections.abc import Collection, Sequence
from pathlib import Path

import pandas as pd
import streamlit as st

from chips_core.errors import ChipsError
from chips_core.jobs import runner
from chips_core.jobs.runner import Job, StepRequest
from chips_core.views.planning import WORDS, PlannedStep
from chips_core.views.runs import between, duration, joined, when
from pages.parts.errors import show_error
from pages.parts.opened import literal

STATUS = {
    "starting": "starting",
    "running": "at work",
    "done": "done",
    "failed": "failed",
    "stopped": "cancelled",
    "died": "ended early",
}


def start(pool: Path, steps: Sequence[PlannedStep]) -> bool:
    """Starts a job of these steps; says why where it cannot be, and returns whether it was started."""
    try:
        runner.start(pool, [StepRequest(step.step, step.settings) for step in steps])
    except ChipsError as error:
        show_error(error)
        return False
    return True


def alive_job(pool: Path) -> Job | None:
    """Returns the job at work on a pool."""
    return next((job for job in runner.jobs(pool) if job.alive), None)


def at_work_in_words(pool: Path) -> str:
    """Returns for example `encode, 43 % done`; empty when no job is alive."""
    job = alive_job(pool)
    if job is None:
        return ""
    share = f", {job.state.share:.0%} done" if job.state.total else ""
    return f"{_stage(job)}{share}"


def draw_job(pool: Path, *, about: Collection[str] | None = None) -> None:
    """Draws the job at work, or what became of the last one where that was not success.

    Args:
        pool: its folder.
        about: the steps whose failure is told here; None for all.
    """
    found = runner.jobs(pool)
    if not found:
        return
    alive = next((job for job in found if job.alive), None)
    if alive is not None:
        _draw_alive(alive.folder)
    elif found[0].state.status != "done" and (about is None or {step.step for step in found[0].steps} & set(about)):
        _draw_ended(found[0])


def draw_past(pool: Path) -> None:
    """Draws the list of a pool's jobs."""
    found = [job for job in runner.jobs(pool) if not job.alive]
    if not found:
        st.text("No job has worked on this pool yet.")
        return
    lines = [
        {
            "began": when(job.state.began),
            "steps": joined([_words(step.step) for step in job.steps]),
            "result": STATUS.get(job.state.status, job.state.status),
            "took": between(job.state.began, job.state.ended),
            "message": job.state.message,
        }
        for job in found
    ]
    st.dataframe(pd.DataFrame(lines), hide_index=True, alt="The jobs that worked on this pool")


@st.fragment(run_every=1)
def _draw_alive(folder: Path) -> None:
    job = runner.job_at(folder)
    if not job.alive:
        st.rerun()
    state = job.state
    with st.container(border=True):
        words, button = st.columns([5, 1], vertical_alignment="center")
        with words:
            number = f"Step {state.step_index + 1:d} of {len(job.steps):d}: " if len(job.steps) > 1 else ""
            words = f"{number}{_stage(job)}"
            st.text(words[:1].upper() + words[1:])
        if button.button("Cancel", key="cancel_job", icon=":material/stop_circle:", width="stretch"):
            with st.spinner("Stopping; finished work is kept."):
                runner.cancel(job)
            st.rerun()
        st.progress(state.share if state.total else 0.0)
        st.text(_progress(job))
        with st.expander("Log"):
            st.code(runner.log_tail(job, lines=15) or "Nothing was logged yet.", language=None)


def _draw_ended(job: Job) -> None:
    """Says what went wrong and what to do; the job can be resumed, or begun anew where nothing is kept of it."""
    if job.state.status == "stopped":
        st.info(literal(job.state.message))
    else:
        st.error(literal(f"The last job {STATUS.get(job.state.status, 'ended')}. {job.state.message}"))
    resume, _ = st.columns([1, 4])
    words, icon = ("Resume", "play_arrow") if job.continues else ("Try again", "replay")
    if resume.button(words, key="resume_job", icon=f":material/{icon}:", width="stretch"):
        try:
            runner.resume(job)
        except ChipsError as error:
            show_error(error)
        else:
            st.rerun()
    with st.expander("Log"):
        st.code(runner.log_tail(job) or "Nothing was logged.", language=None)


def _stage(job: Job) -> str:
    stage = job.state.stage or (job.steps[0].step if job.steps else "")
    head, _, rest = stage.partition(":")
    return f"{_words(head)}{': ' + rest.strip() if rest else ''}"


def _words(step: str) -> str:
    return WORDS.get(step, step)


def _progress(job: Job) -> str:
    state = job.state
    if not state.total:
        return f"{state.done:,} {state.unit} so far" if state.done else "Starting"
    parts = [f"{state.done:,} of {state.total:,} {state.unit}"]
    if state.done:
        rate = state.rate
        parts.append(f"{rate:,.0f} a second" if rate >= 1 else f"{1 / rate:,.0f} s each" if rate > 0 else "slowly")
    if state.seconds_left is not None:
        parts.append(f"{duration(state.seconds_left)} left")
    return " · ".join(parts)
