"""Options, captures and the report of the benchmarks."""

from __future__ import annotations

from collections.abc import Callable, Mapping

import pytest

from benchmarks import measure, ours, race, workload

RACES = pytest.StashKey[list[race.Race]]()


def pytest_addoption(parser: pytest.Parser) -> None:
    """Sizes: the defaults suit a developer's machine, CI gives smaller ones."""
    group = parser.getgroup("tamperscope benchmarks")
    group.addoption("--bench-packets", type=int, default=200_000, help="packets of each generated capture")
    group.addoption("--bench-scapy-packets", type=int, default=5_000, help="packets that scapy has to do")
    group.addoption("--bench-repeat", type=int, default=5, help="repetitions of a batch, a dropped one besides")


def pytest_configure(config: pytest.Config) -> None:
    """Where the races of this run are collected."""
    config.stash[RACES] = []


@pytest.fixture(scope="session")
def settings(pytestconfig: pytest.Config) -> race.Settings:
    """Sizes of this run."""
    once = pytestconfig.getoption("benchmark_disable", False)
    return race.Settings(
        pytestconfig.getoption("bench_packets"),
        pytestconfig.getoption("bench_scapy_packets"),
        1 if once else pytestconfig.getoption("bench_repeat"),
    )


@pytest.fixture(scope="module", params=[*(workload.recorded_names() or ["demo.pcap"]), *workload.PROFILES])
def capture(request: pytest.FixtureRequest, settings: race.Settings) -> workload.Capture:
    """Each capture in turn; one that is not here is skipped with a word."""
    try:
        if request.param in workload.PROFILES:
            return workload.generated(request.param, settings.packets)
        return workload.recorded(request.param)
    except workload.AbsentError as reason:
        pytest.skip(str(reason))


@pytest.fixture(scope="module")
def run_race(
    capture: workload.Capture, settings: race.Settings, pytestconfig: pytest.Config
) -> Callable[[str, Mapping[str, race.Tool]], race.Race]:
    """Runs a race on the capture and keeps it for the report."""

    def run(task: str, tools: Mapping[str, race.Tool]) -> race.Race:
        try:
            result = race.run(task, capture, tools, settings)
        except ours.PortReuseError as reason:
            pytest.skip(f"{capture.name}: {reason}")
        pytestconfig.stash[RACES].append(result)
        return result

    return run


def pytest_terminal_summary(terminalreporter: pytest.TerminalReporter, config: pytest.Config) -> None:
    """Print all ratios, and store them with what they have to be read with."""
    races = config.stash[RACES]
    if not races:
        return
    terminalreporter.section("CPU time per packet, same task, same run")
    for line in race.table([one for one in races if not one.problems]):
        terminalreporter.write_line(line)
    for one in races:
        for problem in one.problems:
            terminalreporter.write_line(f"counts differ: {problem}", red=True)
    stored = measure.store("peers", {"environment": measure.environment(), "races": [one.as_dict() for one in races]})
    terminalreporter.write_line(f"stored in benchmarks/results/{stored.name}")
