"""The settings of a training run from the options of `opml train`: numbers that people write, as integers of a request.

*Source*: spec §6.2.
"""

import argparse

from opml_min.cli.errors import InputError
from opml_min.training.request import LARGEST, Settings

FIRST_MOMENT_Q16, SECOND_MOMENT_Q16, MOMENTUM_Q16 = 6554, 3277, 62259  # β1 = 0.9, β2 = 0.95, momentum 0.95
LAST_RATE = 0.1  # of the highest
PARTS = 10  # of all updates: one part is warmup, and a checkpoint comes after each


def settings_of(options: argparse.Namespace, updates: int, rate: float, decay: float, summed: int) -> Settings:
    """Return the settings with these defaults.

    summed: examples of a batch whose gradients an optimiser adds up although a rate is meant for their mean; 1 if it does not matter"""
    warmup = updates // PARTS if options.warmup is None else options.warmup
    if not 0 <= warmup <= updates:
        raise InputError(f"--warmup is {warmup}, and there are {updates} updates")
    decay = decay if options.decay is None else options.decay
    if not 0 <= rate / summed < 1 or not 0 < round(rate / summed * 2**34) <= LARGEST:  # first a bound, as an integer is never infinite
        raise InputError(f"the learning rate must be between 2^-34 and 0.125, not {rate / summed:g}")
    last_rate = rate * LAST_RATE if options.last_rate is None else options.last_rate
    if not 0 <= last_rate <= rate:
        raise InputError(f"--last-rate must be from 0 to the highest rate, which is {rate:g}, not {last_rate:g}")
    if not 0 <= decay <= 1:
        raise InputError(f"--decay must be from 0 to 1, not {decay:g}")
    return Settings(
        seed=options.seed or 0,
        updates=updates,
        warmup=warmup,
        rate_q34=round(rate / summed * 2**34),
        last_rate_q34=round(last_rate / summed * 2**34),
        first_moment_q16=FIRST_MOMENT_Q16,
        second_moment_q16=SECOND_MOMENT_Q16,
        momentum_q16=MOMENTUM_Q16,
        decay_q16=round(decay * 2**16),
    )


def checkpoint_every(options: argparse.Namespace, updates: int) -> int:
    every: int = options.checkpoint_every or -(-updates // PARTS)
    return every
