"""The parts of the Runs page: a job at work, what to compute, a data set brought in, and what was computed."""
