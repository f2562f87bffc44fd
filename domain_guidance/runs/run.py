"""A run: a task trained step by step, with its files, its log and exact resuming."""

from __future__ import annotations

import time
from collections.abc import Generator, Iterator
from contextlib import closing, nullcontext

from ..memory.estimate import MemoryEstimate
from .events import Event, Finished, Prepared, Sample, Saved, Step
from .loop import train
from .process import Process
from .run_files import RunFiles
from .run_log import RunLog
from .same_run import check_same_run
from .state import load_state, read_record, save_state
from .task import Task


def run_task(task: Task, files: RunFiles, process: Process) -> Generator[Event, None, None]:
    """Train from the saved state, where there is one, until `task.settings.steps`, telling what happens.

    The listener may stop after any event: close the generator (`contextlib.closing`), and the state of the last whole
    step is on disk. The same holds under any exception, out-of-memory included. What was there at the last `Saved`
    survives even a kill. While a `Sample` is shown the module holds the averaged weights, and after `Finished` it keeps
    them.

    Raises ValueError if the saved run is another one, RunFileError where files cannot be written or another process
    uses them, FloatingPointError where the loss diverges.
    """
    run = _Run(task, files, process)
    started = time.monotonic()
    with files.claimed() if run.writes else nullcontext(), closing(run.events()) as events:
        for event in events:
            if run.writes:
                with files.writing(run.saved_step):
                    run.log.add(event, time.monotonic() - started)
            yield event


class _Run:
    def __init__(self, task: Task, files: RunFiles, process: Process):
        self.task, self.settings, self.files, self.process = task, task.settings, files, process
        self.writes = process.rank == 0
        self.state = task.make_state()
        self.network = process.prepare(task.network, self.state.optimizer)
        self.saved_step = 0
        self.log = RunLog(files.log)

    def events(self) -> Generator[Event, None, None]:
        try:
            # Leaving here closes the inner generator first, which puts the trained weights back where the averages were
            # in.
            yield from self._events()
        finally:
            self._save_what_is_new()

    def _events(self) -> Generator[Event, None, None]:
        memory = self._prepare()
        yield Prepared(self.state.step, self._message(memory), memory)
        if not self.state.step and self.settings.sample_every:
            yield Sample(0)
        yield from self._evaluation()
        objectives = self.task.objectives(self.network, self.state)
        with closing(train(self.state, objectives, self.settings, self.process)) as events:
            for event in events:
                if isinstance(event, Step):
                    yield event
                    yield from self._evaluation()
                    yield from self._checkpoint()
                elif isinstance(event, Sample):
                    yield event
                elif isinstance(event, Finished):
                    yield self._finish()

    def _prepare(self) -> MemoryEstimate:
        memory, resumed = self.task.memory(), self.files.state.exists()
        if self.writes:
            # At a save the old state and the new one are there at once.
            states = (1 if resumed else 2) * (memory.gradients + memory.optimizer + memory.average)
            self.files.make_folders(needed=states + self.task.result_bytes)
        if resumed:
            self._resume()
        self.process.wait()  # every process has read the state before one of them writes it
        if self.writes:
            with self.files.writing(self.saved_step):
                self.log.cut(self.state.step)
        return memory

    def _resume(self) -> None:
        record = read_record(self.files.state)
        check_same_run(record["identity"], self.task.identity(), self.files.name)
        load_state(self.files.state, self.state)
        self.saved_step = self.state.step
        self.task.restore(record)
        self.process.restore_scaling(record["scaling"])

    def _evaluation(self) -> Iterator[Event]:
        with self.files.writing(self.saved_step):  # of the best so far
            yield from self.task.evaluation(self.state)

    def _checkpoint(self) -> Iterator[Saved]:
        step, every = self.state.step, self.settings.checkpoint_every
        if step == self.settings.steps or (every and step % every == 0):
            self._save()
            yield Saved(self.files.state, step)

    def _save(self) -> None:
        if self.writes:
            record = {**self.task.saved(), "identity": dict(self.task.identity()), "scaling": self.process.scaling()}
            with self.files.writing(self.saved_step):
                save_state(self.files.state, self.state, record)
        self.saved_step = self.state.step

    def _save_what_is_new(self) -> None:
        if self.state.whole and self.state.step > self.saved_step:
            self._save()

    def _finish(self) -> Finished:
        if self.writes:
            with self.files.writing(self.saved_step):
                self.task.write(self.state)
        self.process.wait()
        return Finished(self.state.step, self.files.result, self.files.best if self.files.best.exists() else None)

    def _message(self, memory: MemoryEstimate) -> str:
        trained = sum(parameter.numel() for parameter in self.state.parameters.values())
        notes = [self._start(), *self.task.notes(), f"{trained / 1e6:.2f} M parameters are trained; {memory}."]
        return " ".join(note for note in notes if note)

    def _start(self) -> str:
        step, steps = self.state.step, self.settings.steps
        if step >= steps:
            return f"The run '{self.files.name}' has finished its {step} steps: ask for more to continue."
        return f"Resumes after step {step} of {steps}." if step else f"{steps} steps."
