"""What becomes of the application and of its numbers where the run directory fails it."""

from __future__ import annotations

import json
import os
import shutil
import stat
import sys
from typing import TYPE_CHECKING, Any

import pytest

from tests.components import missing
from tests.workers.afflicted import CHILDREN, JOBS, SERIES
from tests.workers.programs import attempt
from tests.workers.soak import chosen

if TYPE_CHECKING:
    from pathlib import Path

pytestmark = pytest.mark.endtoend

_OWN = 3 * JOBS
_OWN_SERIES = SERIES // 2 + 2 * SERIES
_ALONE = "This process counts for itself"


def _afflict(trouble: str, environment: dict[str, str], *before: str) -> dict[str, Any]:
    done = attempt([*before, sys.executable, "-m", "tests.workers.afflicted", trouble], environment=environment)
    assert done.returncode == 0, f"it ended with {done.returncode}:\n{done.stdout}\n{done.stderr}"
    return json.loads(done.stdout.splitlines()[-1])


def _expect_unharmed(result: dict[str, Any]) -> None:
    """It serves on, shows all it recorded itself, children end in order, and no cause is reported twice."""
    assert result["first"] == JOBS
    assert result["exits"] == [0] * CHILDREN
    assert result["fell"] == []
    assert _OWN <= result["all"] <= _OWN + CHILDREN * JOBS
    assert _OWN_SERIES <= result["apart"] <= _OWN_SERIES + CHILDREN * SERIES
    assert len(set(result["heard"])) == len(result["heard"])
    assert not [message for message in result["heard"] if "raised" in message and "service." in message]


def _expect_degraded(result: dict[str, Any]) -> None:
    _expect_unharmed(result)
    assert result["degraded"]
    assert sum(message.startswith(_ALONE) for message in result["heard"]) == 1
    assert (result["all"], result["apart"], result["sizes"]) == (_OWN, _OWN_SERIES, _OWN_SERIES)


def _on_a_disk_of(options: str) -> list[str]:
    """What runs a command with a small file system at /mnt, which is gone with it."""
    own = ["--mount"] if os.geteuid() == 0 else ["--mount", "--user", "--map-root-user"]
    unshare = shutil.which("unshare")
    if unshare is None:
        missing("unshare", "it is not on PATH, so no small file system can be had")
    return [unshare, *own, "sh", "-c", f'mount -t tmpfs -o {options} none /mnt && exec "$@"', "sh"]


ON_DISK = {"OTELBRIDGE_RUN_DIRECTORY": "/mnt"}


@pytest.mark.parametrize("size", chosen(("12k", "100k"), ("64k", "160k")))
@pytest.mark.parametrize("when", ["early", "late"])
def test_a_full_disk_costs_no_more_than_the_view_of_the_others(size: str, when: str) -> None:
    _expect_degraded(_afflict(f"full, {when}", ON_DISK, *_on_a_disk_of(f"size={size}")))


def test_a_disk_without_names_costs_no_more_than_the_view_of_the_others() -> None:
    # The root, the user's directory, the group's, its locks and marks: none is left for a book.
    result = _afflict("from the start", ON_DISK, *_on_a_disk_of("size=10m,nr_inodes=7"))
    _expect_unharmed(result)
    assert result["degraded"]


def test_without_any_directory_each_process_counts_for_itself(tmp_path: Path) -> None:
    command = "mount -t tmpfs none /mnt; for each in /mnt /dev/shm /run /tmp /var/tmp /usr/tmp; do "
    command += "test -d $each && mount --bind $each $each && mount -o remount,bind,ro $each; done; "
    wrapper = [*_on_a_disk_of("size=1m")[:-2], f'{command} exec "$@"', "sh"]
    environment = {**ON_DISK, "XDG_RUNTIME_DIR": "/mnt", "TMPDIR": "/mnt"}
    _expect_degraded(_afflict("from the start", environment, *wrapper))


def test_no_descriptors_left(environment: dict[str, str]) -> None:
    _expect_degraded(_afflict("no descriptors, early", environment))
    _expect_unharmed(_afflict("no descriptors, late", environment))


@pytest.mark.parametrize("when", ["early", "late"])
def test_a_directory_that_is_removed(when: str, environment: dict[str, str]) -> None:
    # It is made anew at a time of its own, before or after the children; `tests/metrics/test_healing.py` waits for it.
    _expect_unharmed(_afflict(f"removed, {when}", environment))


def _snapshot(directory: Path) -> set[Path]:
    return set(directory.rglob("*"))


def _expect_another_place(result: dict[str, Any], refused: Path) -> None:
    _expect_unharmed(result)
    assert result["degraded"] == ""
    assert result["all"] == _OWN + CHILDREN * JOBS
    assert sum(str(refused) in message for message in result["heard"]) == 1


@pytest.fixture
def second_choice(run_directory: Path) -> dict[str, str]:
    """A directory that is taken where the first is refused."""
    directory = run_directory / "second"
    directory.mkdir(mode=0o700)
    return {"OTELBRIDGE_RUN_DIRECTORY": str(run_directory), "XDG_RUNTIME_DIR": str(directory)}


def test_a_directory_of_somebody_else_is_left_alone(run_directory: Path, second_choice: dict[str, str]) -> None:
    if os.geteuid() != 0:
        missing("a second user", "only root can give a directory to somebody else")
    theirs = run_directory / f"otelbridge-{os.geteuid()}"
    theirs.mkdir(mode=0o700)
    shutil.chown(theirs, "nobody")
    result = _afflict("from the start", second_choice)
    _expect_another_place(result, run_directory)
    assert _snapshot(theirs) == set()


def test_a_symbolic_link_is_not_followed(run_directory: Path, second_choice: dict[str, str]) -> None:
    target = run_directory / "target"
    target.mkdir(mode=0o700)
    (run_directory / f"otelbridge-{os.geteuid()}").symlink_to(target)
    result = _afflict("from the start", second_choice)
    _expect_another_place(result, run_directory)
    assert _snapshot(target) == set()


def test_a_directory_that_others_may_enter_is_left_alone(run_directory: Path, second_choice: dict[str, str]) -> None:
    open_to_all = run_directory / f"otelbridge-{os.geteuid()}"
    open_to_all.mkdir()
    open_to_all.chmod(0o755)
    result = _afflict("from the start", second_choice)
    _expect_another_place(result, run_directory)
    assert _snapshot(open_to_all) == set()
    assert stat.S_IMODE(open_to_all.stat().st_mode) == 0o755
