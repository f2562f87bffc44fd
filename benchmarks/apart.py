"""A piece of work in a new process: nothing that came before it counts in its memory."""

from concurrent.futures import ProcessPoolExecutor
from multiprocessing import get_context


def apart(job, *arguments):
    """What the job returns. It and its arguments are pickled, so it is a function of a module."""
    with ProcessPoolExecutor(1, mp_context=get_context("spawn")) as process:
        return process.submit(job, *arguments).result()
