"""Errors of workers and executors that are lost while a study runs."""

from __future__ import annotations

from imc_sim._errors import InputError, ResultsError

#: workers that one call may take down with it before it counts as failed
LOSSES = 3


class LostWorkerError(InputError):
    """A call that lost its worker several times.

    Memory that runs out, a time limit of a batch system or another user may be the reason: it is no error of the call.
    """

    @classmethod
    def after(cls, losses: int) -> LostWorkerError:
        """Return the error of a call that lost its workers.

        Args:
            losses: number of workers lost.
        """
        got = f"{losses} workers lost, one after the other"
        step = "It may need more memory than there is: lower memory_limit in the study, or take fewer workers."
        return cls("a batch of trials", got, "a worker that lives to the end of it", step)


class CrashedWorkerError(LostWorkerError):
    """A call that crashed its workers, such as by a segmentation fault: an error of that call."""


class LostExecutorError(ResultsError):
    """The executor itself is lost: not an error of any call, and the run ends."""


#: name and exit code of worker processes by which an unguarded main program is recognized
WORKER_NAME, DASK_WORKER_NAME, UNGUARDED_EXIT = "imc_sim worker", "Dask Worker", 78


class UnguardedMainError(LostExecutorError):
    """The main program starts its run again in every worker that imports it."""

    @classmethod
    def found(cls) -> UnguardedMainError:
        """Return the error that names the guard that the main program needs."""
        got = "a run that starts while a worker process imports the main program"
        step = 'Put the code that starts the run under `if __name__ == "__main__":`.'
        return cls("executor", got, "a main program that workers can import", step)
