"""Worlds grown from a seed: the server keeps its promises in them, and whoever breaks one is found out and pinned down.

Fresh seeds are tried wherever these tests run for a change (`./run simulate`); here the same few are lived each time.
"""

import json
import os
import subprocess
import sys
from collections import Counter
from typing import Any

import pytest
from msgspec.structs import replace

from smarttrade.engine.trigger_book import TriggerBook
from smarttrade.simulation.faults import FaultKind, Mood
from smarttrade.simulation.trials import Outcome, Trial, attempt, narrowed

SEEDS = (*range(1, 11), 15, 20, 30, 41, 44)
HOURS = 8.0


@pytest.fixture(scope="module")
def outcomes() -> list[Outcome]:
    return [attempt(Trial(seed=seed, hours=HOURS)) for seed in SEEDS]


@pytest.mark.parametrize("seed", SEEDS)
def test_no_rule_is_broken(outcomes: list[Outcome], seed: int) -> None:
    """The auditor of a world agrees with its server, whatever goes wrong around it."""
    outcome = outcomes[SEEDS.index(seed)]
    assert outcome.failure is None, (outcome.trial.command, outcome.failure)


def test_a_few_worlds_hold_everything_that_can_go_wrong(outcomes: list[Outcome]) -> None:
    """A simulation in which nothing happens proves nothing."""
    assert {outcome.mood for outcome in outcomes} == set(Mood)
    struck = Counter[str]()
    for outcome in outcomes:
        struck.update(outcome.faults)
    assert set(FaultKind) - {FaultKind.DELAYS} <= {kind for kind, count in struck.items() if count}, struck
    assert struck[FaultKind.DEATHS] > 50
    assert all(outcome.orders and outcome.fills for outcome in outcomes)
    assert sum(outcome.virtual_hours for outcome in outcomes) >= HOURS * len(SEEDS)


@pytest.mark.parametrize("seed", [7, 9])
def test_a_seed_gives_the_same_world_in_every_process(seed: int) -> None:
    """Not even the order of sets, which Python draws for each process anew, makes a difference."""
    first, second = (_world(seed, hash_seed) for hash_seed in ("1", "2"))
    assert first["deaths"] > 0
    assert first == second


def _world(seed: int, hash_seed: str) -> dict[str, Any]:
    words = [sys.executable, "-m", "smarttrade.cli.main", "simulate", "--seed", str(seed), "--hours", "3", "--json"]
    done = subprocess.run(words, env={**os.environ, "PYTHONHASHSEED": hash_seed}, capture_output=True, check=True)
    [world] = json.loads(done.stdout)["worlds"]
    del world["seconds"]
    found: dict[str, Any] = world
    return found


def test_leaving_faults_out_keeps_the_rest_of_the_world() -> None:
    """Otherwise a failure could not be narrowed to the faults that it needs."""
    trial = Trial(seed=7, hours=2.0)
    whole, without = attempt(trial), attempt(replace(trial, without=(FaultKind.DEATHS,)))
    assert whole.deaths > 0
    assert without.deaths == 0
    assert set(without.raged) == set(whole.raged) - {FaultKind.DEATHS}


def test_a_server_that_watches_no_price_is_found_out_and_pinned_down(monkeypatch: pytest.MonkeyPatch) -> None:
    """The worst bug that we can have: a position whose stop nobody watches (TR-3)."""
    monkeypatch.setattr(TriggerBook, "update", lambda *_: [])
    failed = attempt(Trial(seed=1, hours=HOURS))
    assert failed.failure is not None
    least = narrowed(failed)
    assert least.failure is not None
    assert least.failure.rule == failed.failure.rule
    assert least.failure.step <= failed.failure.step
    assert least.failure.last_things
    assert attempt(least.trial).failure == least.failure, "the command that is printed has to show the same"
