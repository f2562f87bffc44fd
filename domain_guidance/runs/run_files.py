"""Where a run keeps its files: the result where loaders look, all else in a folder beside it."""

from __future__ import annotations

import os
import shutil
from collections.abc import Callable, Iterator
from contextlib import ExitStack, contextmanager
from dataclasses import dataclass, field
from pathlib import Path
from typing import Literal

from ..files.claim import Claim
from ..files.file_names import is_plain, refusal, versions
from .own_results import OwnResults

OnExisting = Literal["resume", "new version"]
SUFFIX = ".safetensors"
LOCK = ".lock"


class RunFileError(ValueError):
    """The run's files cannot be used or written; the message is one sentence for the user."""


class RunIsBusy(RunFileError):
    """Another living process uses the run's files."""


def _nowhere(version: str) -> bool:
    return False


@dataclass(frozen=True)
class RunFiles:
    """The files of the run `name` in `folder`.

    `run.state` is a safetensors file under a name of its own, because ComfyUI lists every *.safetensors below the
    folders of its loaders as a model.
    """

    folder: Path
    name: str
    _claim: Claim = field(init=False, repr=False, compare=False)

    def __post_init__(self):
        object.__setattr__(self, "folder", Path(self.folder))
        if not is_plain(self.name):
            raise RunFileError(refusal(self.name))
        object.__setattr__(self, "_claim", Claim(self.run_folder / LOCK))

    @classmethod
    @contextmanager
    def claim(
        cls,
        folder: str | os.PathLike,
        name: str,
        on_existing: OnExisting,
        taken_elsewhere: Callable[[str], bool] = _nowhere,
    ) -> Iterator[RunFiles]:
        """The files to use, held until the block ends: no other process gets them meanwhile.

        They are of the first of name, name-2, ... that is free, or that is a run where one may be resumed. A result
        without a run beside it was saved by something else, and is never written over.

        taken_elsewhere: of a version of the name, whether another place has it already, so that it is not free here.
        Raises RunFileError where another process holds the run that was to be resumed, and for a name that a new run
        may not have; a run that has it already goes on.
        """
        with ExitStack() as stack:
            yield next(
                files
                for version in versions(name.removesuffix(SUFFIX))
                if (files := cls._claimed_in(stack, Path(folder), version, on_existing, taken_elsewhere))
            )

    @classmethod
    def _claimed_in(
        cls,
        stack: ExitStack,
        folder: Path,
        name: str,
        on_existing: OnExisting,
        taken_elsewhere: Callable[[str], bool],
    ) -> RunFiles | None:
        """The files of just this name, held by the stack, or None where it is not free."""
        files = cls(folder, name)
        goes_on = on_existing == "resume" and files._is_run
        if not goes_on and (files.taken or taken_elsewhere(name)):
            return None
        if not goes_on and (problem := refusal(name)):
            raise RunFileError(problem)
        with ExitStack() as held:
            try:
                held.enter_context(files.claimed())
            except RunIsBusy:
                if on_existing == "resume":
                    raise
                return None
            if not goes_on and files.taken:  # by another process, since it was looked at
                return None
            stack.push(held.pop_all())
        return files

    @property
    def result(self) -> Path:
        """The weights after the last step, averaged where the run averages them."""
        return self.folder / f"{self.name}{SUFFIX}"

    @property
    def best(self) -> Path:
        """The averaged weights with the lowest held-out loss."""
        return self.folder / f"{self.name}.best{SUFFIX}"

    @property
    def run_folder(self) -> Path:
        return self.folder / f"{self.name}.training"

    @property
    def state(self) -> Path:
        """All that a resumed run needs."""
        return self.run_folder / "run.state"

    @property
    def log(self) -> Path:
        """One JSON object a line, in the order of the steps."""
        return self.run_folder / "log.jsonl"

    @property
    def curve(self) -> Path:
        """The loss curves as a picture."""
        return self.run_folder / "curve.png"

    @property
    def own_results(self) -> OwnResults:
        return OwnResults(self.run_folder)

    @property
    def taken(self) -> bool:
        return os.path.lexists(self.result) or os.path.lexists(self.best) or self._is_run  # also a link to nothing

    @property
    def _is_run(self) -> bool:
        """A folder with nothing but a lock belongs to a process that has only begun, or was killed then."""
        try:
            # Windows finds no folder of a name that it cannot have, and would not list it.
            return self.run_folder.exists() and os.listdir(self.run_folder) != [LOCK]
        except FileNotFoundError:
            return False
        except NotADirectoryError:
            return True

    @contextmanager
    def claimed(self) -> Iterator[None]:
        """Within the block no other process uses these files. Raises RunIsBusy where one does already.

        Blocks within a block of the same object are one with it.
        """
        if self._claim.held:
            yield
            return
        with self.writing():
            mine = self._claim.take()
        if not mine:
            raise RunIsBusy(
                f"The run '{self.name}' in '{self.folder}' is in use by another process, such as a second server: wait "
                "until that one ends, or choose another name."
            )
        try:
            yield
        finally:
            self._claim.release()

    def make_folders(self, needed: int) -> None:
        """Make the folders, and see before the first step that `needed` bytes can be written there.

        Raises RunFileError.
        """
        with self.writing():
            self.run_folder.mkdir(parents=True, exist_ok=True)
            probe = self.run_folder / ".probe"
            probe.touch()
            probe.unlink()
            if not self.state.exists():
                self.own_results.begin()
        free = shutil.disk_usage(self.run_folder).free
        if free < needed:
            raise RunFileError(
                f"The folder '{self.folder}' has {free / 1e9:.2f} GB free and the run's files take up to "
                f"{needed / 1e9:.2f} GB: free some space or choose another folder."
            )

    @contextmanager
    def writing(self, last_step: int = 0) -> Iterator[None]:
        """Turns the disk's errors into one sentence. last_step: of the state that is on disk, 0 for none."""
        try:
            yield
        except OSError as error:
            kept = (
                f"the state of step {last_step} is kept in '{self.run_folder}'"
                if last_step
                else "nothing of the run is saved yet"
            )
            raise RunFileError(
                f"The files of the run '{self.name}' cannot be written to '{self.folder}' ({error.strerror or error}): "
                f"free some space or choose a folder that can be written; {kept}."
            ) from error
