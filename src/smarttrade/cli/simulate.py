"""`smarttrade simulate`: whole worlds, grown from a number, in which the real server has to keep its promises."""

import os
import time
from typing import TYPE_CHECKING, Any, Final

from cyclopts import App

from smarttrade.cli.failures import CommandFailed, WrongUsage
from smarttrade.cli.options import COMMON, Common, separated
from smarttrade.cli.output import BAD, Cell, Value, print_facts, print_json, print_line, print_text

if TYPE_CHECKING:
    from collections.abc import Sequence
    from pathlib import Path

    from smarttrade.simulation.trials import Outcome, Trial

MANY: Final = 20
"""Seeds that are tried when none is named."""

app = App(name="simulate", help_epilogue="Example:\n\n    smarttrade simulate --seed 7 --hours 6")


@app.default
def simulate(
    *,
    seed: int | None = None,
    seeds: int | None = None,
    hours: float = 48.0,
    steps: int | None = None,
    without: str | None = None,
    jobs: int | None = None,
    common: Common = COMMON,
) -> None:
    """Let the server trade through simulated days of markets, users, outages and deaths, and check every step.

    Nothing of your installation is touched, and no time is lost on waiting: the simulated clock jumps to whatever
    happens next. The same seed gives the same world on every machine. The exit code is 1 if a rule was broken; the
    report then names the shortest way to see it again.

    Parameters
    ----------
    seed
        Number that the world is grown from; with --seeds the first of them. Without it seeds from 1 on.
    seeds
        How many seeds to try, one after the other: 1 after --seed, else 20.
    hours
        Simulated hours of each world, 48 unless told otherwise.
    steps
        End in peace after so many steps, things that happen outside of the server, if the hours have not ended before.
    without
        Kinds of faults to leave out, separated by commas, such as deaths,silence.
    jobs
        Worlds that are tried side by side; as many as there are processors unless told otherwise.
    """
    trials = _trials(seed, seeds, hours, steps, without)
    if jobs is not None and jobs < 1:
        raise WrongUsage("--jobs must be at least 1")
    keep = _kept(common.data_dir, trials)
    began = time.monotonic()
    outcomes = _tried(trials, keep, jobs or os.cpu_count() or 1, quiet=common.as_json)
    taken = time.monotonic() - began
    failed = [outcome for outcome in outcomes if outcome.failure is not None]
    least = _least(failed[0], quiet=common.as_json) if failed else None
    if common.as_json:
        print_json(_document(outcomes, least, taken))
    else:
        _print_summary(outcomes, taken)
        if least is not None:
            _print_failure(least)
    if failed:
        listed = ", ".join(str(outcome.trial.seed) for outcome in failed)
        raise CommandFailed(f"{len(failed)} of {len(outcomes)} worlds broke a rule: seed {listed}")


def _trials(
    seed: int | None, seeds: int | None, hours: float, steps: int | None, without: str | None
) -> "Sequence[Trial]":
    from smarttrade.simulation.faults import FaultKind
    from smarttrade.simulation.trials import Trial

    count = (MANY if seed is None else 1) if seeds is None else seeds
    if count < 1 or not 0 < hours < float("inf") or (steps is not None and steps < 0):
        raise WrongUsage("--seeds must be at least 1, --hours above 0, --steps not below 0")
    kinds = [] if without is None else separated(without, "kinds of faults")
    unknown = sorted(set(kinds) - set(FaultKind))
    if unknown:
        raise WrongUsage(f"unknown kind of fault {unknown[0]!r}: choose from {', '.join(FaultKind)}")
    left_out = tuple(sorted({FaultKind(kind) for kind in kinds}))
    first = 1 if seed is None else seed
    return [Trial(seed=n, hours=hours, steps=steps, without=left_out) for n in range(first, first + count)]


def _kept(directory: "Path | None", trials: "Sequence[Trial]") -> "Path | None":
    """Where the server's data stays: only if somebody names a directory, and only for one world."""
    if directory is None:
        return None
    if len(trials) > 1:
        raise WrongUsage("--data-dir keeps the data of one world: give one --seed")
    try:
        directory.mkdir(mode=0o700, parents=True, exist_ok=True)
        if any(directory.iterdir()):
            raise CommandFailed(f"{directory} is not empty: a world begins in an empty directory")
    except OSError as error:
        raise CommandFailed(f"cannot use {directory}: {error.strerror}") from None
    return directory


def _tried(trials: "Sequence[Trial]", keep: "Path | None", jobs: int, *, quiet: bool) -> "list[Outcome]":
    """All outcomes; each is told as soon as those before it are known."""
    from smarttrade.simulation.trials import attempt, attempt_many

    outcomes = []
    for outcome in [attempt(trials[0], keep)] if keep is not None else attempt_many(trials, jobs):
        outcomes.append(outcome)
        if not quiet:
            print_line(_line(outcome))
    return outcomes


def _line(outcome: "Outcome") -> str:
    end = "ok" if outcome.failure is None else f"FAILED {outcome.failure.rule}: {_first_line(outcome.failure.text)}"
    return (
        f"seed {outcome.trial.seed:<5} {outcome.mood:<6} {outcome.virtual_hours:5.1f} h {outcome.steps:6} steps "
        f"{outcome.commands:5} commands {outcome.orders:5} orders {outcome.fills:5} fills {outcome.deaths:3} deaths "
        f"{sum(outcome.faults.values()):6} faults {outcome.seconds:5.1f} s  {end}"
    )


def _first_line(text: str) -> str:
    return text.partition("\n")[0]


def _least(failed: "Outcome", *, quiet: bool) -> "Outcome":
    """The least of the first failure; nothing more is left out of a trial that was cut short by hand."""
    from smarttrade.simulation.trials import narrowed

    if failed.trial.steps is not None:
        return failed
    if not quiet:
        print_line(f"looking for the least of seed {failed.trial.seed} that still fails ...")
    return narrowed(failed)


def _totals(outcomes: "Sequence[Outcome]", taken: float) -> dict[str, Any]:
    """Sums over all worlds; `hours_per_minute` of time that has really passed."""
    hours = sum(outcome.virtual_hours for outcome in outcomes)
    faults: dict[str, int] = {}
    for outcome in outcomes:
        for kind, count in outcome.faults.items():
            faults[kind] = faults.get(kind, 0) + count
    return {
        "worlds": len(outcomes),
        "failed": sum(outcome.failure is not None for outcome in outcomes),
        "hours": round(hours, 2),
        "seconds": round(taken, 1),
        "hours_per_minute": round(hours / taken * 60),
        "commands": sum(outcome.commands for outcome in outcomes),
        "orders": sum(outcome.orders for outcome in outcomes),
        "fills": sum(outcome.fills for outcome in outcomes),
        "deaths": sum(outcome.deaths for outcome in outcomes),
        "faults": dict(sorted(faults.items())),
    }


def _print_summary(outcomes: "Sequence[Outcome]", taken: float) -> None:
    totals = _totals(outcomes, taken)
    struck = ", ".join(f"{kind} {count}" for kind, count in totals["faults"].items()) or "none"
    facts: list[tuple[str, Value]] = [
        ("worlds", f"{totals['worlds']}, {totals['failed']} failed"),
        ("lived", f"{totals['hours']} h in {totals['seconds']} s: {totals['hours_per_minute']} h a minute"),
        ("did", f"{totals['commands']} commands, {totals['orders']} orders, {totals['fills']} fills"),
        ("deaths", str(totals["deaths"])),
        ("faults", struck),
    ]
    print_facts(facts)


def _print_failure(least: "Outcome") -> None:
    failure, trial = least.failure, least.trial
    assert failure is not None
    print_text()
    print_facts(
        [
            ("seed", str(trial.seed)),
            ("step", str(failure.step)),
            ("time", failure.at),
            ("rule", Cell(failure.rule, BAD)),
            ("trade", None if failure.trade_id is None else str(failure.trade_id)),
        ]
    )
    for text in failure.text.splitlines():
        print_text(text)
    print_text()
    for text in failure.last_things:
        print_text(text)
    print_text(f"\nAgain: {trial.command}")


def _document(outcomes: "Sequence[Outcome]", least: "Outcome | None", taken: float) -> dict[str, Any]:
    import msgspec

    worlds = [{"seed": outcome.trial.seed, **msgspec.to_builtins(outcome)} for outcome in outcomes]
    for world in worlds:
        del world["trial"]
    found = None
    if least is not None:
        found = {"seed": least.trial.seed, "command": least.trial.command, **msgspec.to_builtins(least.failure)}
    return {"totals": _totals(outcomes, taken), "least_failure": found, "worlds": worlds}
