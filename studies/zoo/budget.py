"""A training that ends when its budget of compute is spent, and answers about the held-out images on the way.

    budget = Budget(seconds=1200)                                   # of processor time, all threads together
    run_training(argv, folder, (pool, fold), partial(BudgetTrainer, clock=budget))
    budget.predictions                                              # {25: …, 50: …, 100: …} (rows,) class ids

The learning rate follows the share that is spent, as that of `train.py --time_limit` follows the clock. What the
answers on the way cost is not of the budget.
"""

import time
from collections.abc import Callable

import numpy as np
import torch

from training.time_limit import Schedule, TimedTrainer

EARLIER = (25, 50)  # percent of the budget after which the model answers too
WHOLE = 100


def compute_clock() -> Callable[[], float]:
    """Processor time of all threads in seconds; where a GPU computes, the time that it is held."""
    return time.monotonic if torch.cuda.is_available() else time.process_time


class Budget(Schedule):
    """seconds: on `now`. images: training images seen. spent_at: seconds by the percent of `predictions`.

    logits: (rows, classes) of the finished model.
    """

    def __init__(self, seconds: float, now: Callable[[], float] | None = None):
        self.seconds, self.now = seconds, now or compute_clock()
        self.to_come = list(EARLIER)
        self.due: int | None = None  # percent that the next answers are of
        self.begun = self.paused_at = self.spent = self.answering = 0.0
        self.images = 0
        self.predictions: dict[int, np.ndarray] = {}
        self.spent_at: dict[int, float] = {}
        self.logits: np.ndarray | None = None

    def share(self) -> float:
        return min(1.0, (self.now() - self.begun - self.answering) / self.seconds)

    def on_train_begin(self, args, state, control, **kwargs) -> None:
        self.begun = self.now()

    def on_step_end(self, args, state, control, **kwargs) -> None:
        if torch.cuda.is_available() and state.global_step == 1:
            self.begun = self.now()  # the first step loads the GPU's libraries, which can take 20 s
        self.spent = self.now() - self.begun - self.answering
        passed = [percent for percent in self.to_come if percent <= 100 * self.spent / self.seconds]
        if self.spent >= self.seconds:
            control.should_training_stop = True
            self.due = None
        elif passed:
            self.to_come = self.to_come[len(passed) :]
            self.due, self.paused_at = passed[-1], self.now()
            control.should_evaluate = True

    def on_evaluate(self, args, state, control, **kwargs) -> None:
        if self.due is not None:
            self.answering += self.now() - self.paused_at
            self.due = None

    def keep(self, logits: np.ndarray) -> None:
        """logits: (rows, classes) about the held-out rows."""
        percent = self.due or WHOLE
        self.predictions[percent], self.spent_at[percent] = logits.argmax(axis=1), self.spent
        self.logits = logits


class BudgetTrainer(TimedTrainer):
    """An ImageTrainer that spends a Budget."""

    def training_step(self, model, inputs: dict, num_items_in_batch=None) -> torch.Tensor:
        loss = super().training_step(model, inputs, num_items_in_batch)
        self.clock.images += len(inputs["labels"])
        return loss

    def evaluation_loop(self, *args, **kwargs):
        output = super().evaluation_loop(*args, **kwargs)
        self.clock.keep(output.predictions)
        return output
