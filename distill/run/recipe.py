"""The default recipe: what the options of `fit` leave open follows from the data, the teachers and the student."""

from __future__ import annotations

import math
import re
from collections.abc import Collection, Mapping
from dataclasses import dataclass, replace

from distill.data.clips.dataset import Crop
from distill.data.encoders.encoder import Encoder
from distill.data.errors import UserError
from distill.run.options import FitOptions
from distill.students.student import Student
from distill.teachers.teacher import Teacher
from distill.training.batch_norm import has_batch_norm

DEFAULT_TEACHER = "musicnn"
"""Teacher of an objective that requires one. Its weights come with the package."""

_STEPS, _CLIPS = 2000, 3000  # measured on 3,400 real clips; the number grows with the root of the clips
_FEWEST_STEPS = 600  # an epoch of few clips is short, and a student learns by steps
_STEPS_UNIT = 20  # so that validations are evenly spaced, and the last one is after the last step
_BATCH_SIZES = ((10_000, 32), (100_000, 64))  # up to so many clips; 128 beyond
_HELD_OUT_SHARES, _HELD_OUT_CLIPS = (0.05, 0.2), (100, 2000)
_LONGEST_BUDGET = 20  # times the steps of the recipe; more would repeat what is learned
_REPORT_SECONDS = 30.0  # of a budget, for the quality report
_TRAINING_SHARE = 0.9  # of what is left; the rest is for validations
_UNITS = {"h": 3600.0, "min": 60.0, "m": 60.0, "s": 1.0}


@dataclass(frozen=True)
class Plan:
    """The amounts of a run.

    Args:
        crop: Part of each clip that is used.
        batch_size: Clips per batch.
        validation: Share of the clips to hold out.
        steps: Number of training steps. 0: as many as the epochs have.
        by_length: Whether a batch has clips of similar length.
        reasons: Why each amount was chosen, one line for each that the options left open.
    """

    crop: Crop
    batch_size: int
    validation: float
    steps: int
    by_length: bool
    reasons: tuple[str, ...]

    def applied(self, options: FitOptions, student: Student) -> FitOptions:
        """Return the options with the amounts of the plan and the student's optimizer settings."""
        rate, decay = options.optimizer.rates(student)
        return replace(
            options,
            crop=self.crop,
            batch_size=self.batch_size,
            validation=self.validation,
            sampling=replace(options.sampling, by_length=self.by_length),
            # The steps of a budget are measured later; a run that is killed before measures them again.
            max_steps=options.max_steps if options.budget else self.steps or None,
            optimizer=replace(options.optimizer, learning_rate=rate, weight_decay=decay),
        )


def plan(options: FitOptions, clips: int, teachers: Mapping[str, Teacher], student: Student) -> Plan:
    """Return the amounts of a run, with those chosen that the options leave open.

    Args:
        options: Options of the run.
        clips: Number of clips of the data.
        teachers: Teachers by name, as loaded.
        student: Student to train.
    """
    crop = options.crop or _crop(teachers.values(), student.longest_crop, options.live)
    batch_size = options.batch_size or _batch_size(clips)
    validation = _held_out_share(clips) if options.validation is None else options.validation
    steps = options.max_steps or (0 if options.epochs else default_steps(clips, batch_size))
    rate, decay = options.optimizer.rates(student)
    given, number = options.optimizer, f"{clips:,} clips"
    crop_text = f"--crop.seconds {crop.seconds:g} --crop.position {crop.position}"
    chosen = [
        (options.crop is None, crop_text, f"the input of {' and '.join(teachers) or 'the student'}"),
        (options.batch_size is None, f"--batch_size {batch_size}", number),
        (options.validation is None, f"--validation {validation:.3g}", number),
        (steps != (options.max_steps or 0) and not options.budget, f"--max_steps {steps}", number),
        (given.learning_rate is None, f"--optimizer.learning_rate {rate:g}", "the kind of student"),
        (given.weight_decay is None, f"--optimizer.weight_decay {decay:g}", "the kind of student"),
    ]
    reasons = tuple(f"{words} ({reason})" for is_open, words, reason in chosen if is_open)
    return Plan(crop, batch_size, validation, steps, _by_length(options, student), reasons)


def print_reasons(amounts: Plan) -> None:
    """Print the amounts that were chosen, each with its reason."""
    if amounts.reasons:
        print("\n  ".join(["chosen:", *amounts.reasons]))


def print_shares(amounts: Plan, devices: int) -> None:
    """Print how many clips of a batch each device gets, if there are several."""
    if devices > 1:
        print(f"batch {amounts.batch_size} = {shares(amounts.batch_size, devices)} (devices x clips)")


def shares(batch_size: int, devices: int) -> str:
    """Return the clips of a batch on each device, such as "4 x 12" or "2 x 13 + 2 x 12".

    Raises:
        UserError: a device would get no clip.
    """
    if batch_size < devices:
        raise UserError(f"--batch_size {batch_size}: must be at least {devices}, one clip per device")
    low, rest = divmod(batch_size, devices)
    return " + ".join(f"{count} x {clips}" for count, clips in ((rest, low + 1), (devices - rest, low)) if count)


def _by_length(options: FitOptions, student: Student) -> bool:
    """Return whether a batch has clips of similar length: as the options or the student say.

    A batch of short clips has other statistics than all clips. On real sound, `mobilenet_v3` explained 0.39 of the
    held-out loss after 600 steps with such batches, and 0.60 with batches of all lengths.
    """
    choices = (options.sampling.by_length, student.by_length, not has_batch_norm(student))
    return next(choice for choice in choices if choice is not None)


def budget_seconds(text: str) -> float:
    """Return a time in seconds, from a text such as "20min", "2h" or "1h30min".

    Raises:
        UserError: the text is not a time.
    """
    parts = re.findall(r"(\d+(?:\.\d+)?)\s*(h|min|m|s)", text)
    if not parts or re.sub(r"\d+(?:\.\d+)?\s*(?:h|min|m|s)|\s", "", text):
        raise UserError(f"--budget {text}: must be a time such as 20min, 2h or 1h30min")
    return sum(float(number) * _UNITS[unit] for number, unit in parts)


def training_seconds(budget: str, spent: float) -> float:
    """Return the seconds of a budget that are left for training steps.

    Args:
        budget: Time for the whole run, such as "20min".
        spent: Seconds that the run has taken already, such as for embedding.
    """
    return _TRAINING_SHARE * (budget_seconds(budget) - _REPORT_SECONDS - spent)


def steps_of_budget(seconds: float, step_seconds: float, clips: int, batch_size: int) -> int:
    """Return the number of steps that a time permits, at most 20 times that of the recipe.

    Args:
        seconds: Time for training.
        step_seconds: Measured time of one step.
        clips: Number of clips of the data.
        batch_size: Clips per batch.
    """
    possible = int(seconds / max(step_seconds, 1e-6))
    limited = min(possible, _LONGEST_BUDGET * default_steps(clips, batch_size))
    return max(1, limited // _STEPS_UNIT * _STEPS_UNIT or limited)


def _crop(teachers: Collection[Teacher], longest: float, live: bool) -> Crop:
    """Return the crop: that of a store, otherwise the teacher's window, at most `longest` seconds.

    Random crops show more of each clip. Stored embeddings are those of one crop.
    """
    if stored := next((crop for crop in map(stored_crop, teachers) if crop is not None), None):
        return stored
    windows = [teacher.windows.seconds for teacher in teachers if teacher.windows.seconds]
    seconds = min(longest, max(windows, default=longest))
    return Crop(seconds, "random" if live or not teachers else "centre")


def stored_crop(encoder: Encoder) -> Crop | None:
    """Return the crop of the store that a teacher reads. None: the encoder reads no store, or the crop is unknown."""
    stored = encoder.store.fingerprint if isinstance(encoder, Teacher) and encoder.store is not None else {}
    return Crop(float(stored["crop_seconds"]), str(stored["crop_position"])) if "crop_seconds" in stored else None


def _batch_size(clips: int) -> int:
    """Return the number of clips in a batch."""
    return next((size for most, size in _BATCH_SIZES if clips <= most), 128)


def _held_out_share(clips: int) -> float:
    """Return the share of clips to hold out: 5 %, or 100 clips if they are at most 20 %; at most 2,000 clips."""
    low, high = _HELD_OUT_SHARES
    few, many = _HELD_OUT_CLIPS
    return min(max(low, min(high, few / clips)), max(many / clips, 1e-6))


def default_steps(clips: int, batch_size: int) -> int:
    """Return the number of steps: at least 600, and at least one pass through the clips."""
    steps = max(_FEWEST_STEPS, _STEPS * math.sqrt(clips / _CLIPS), clips / batch_size)
    return math.ceil(steps / _STEPS_UNIT) * _STEPS_UNIT
