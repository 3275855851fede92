"""What was interrupted is found and removed, and what somebody works on is left alone."""

from __future__ import annotations

from pathlib import Path

import pytest

from enginix.inventory.leftovers import find_leftovers, remove_leftover, remove_old_logs
from enginix.runtimes.runtime import TRITON_CPU
from tests.inventory.home import add_checkpoint, add_engine, add_runtime, held

OLD_RUNTIME = "triton-cpu-0123456789ab"


def make(path: Path) -> Path:
    path.mkdir(parents=True)
    (path / "file").write_bytes(bytes(1000))
    return path


def found(home: Path) -> set[str]:
    return {str(each.path.relative_to(home)) for each in find_leftovers(home)}


LEFT = [
    ("checkpoints/org--a@0123.partial", "checkpoints/org--a@0123.partial/.incomplete/lock"),
    ("checkpoints/.locking-org--a@0123", "checkpoints/.locking-org--a@0123/.incomplete/lock"),
    ("engines/.mine.building", "engines/.mine.lock"),
    ("engines/.mine.work", "engines/.mine.work/lock"),
    ("runtimes/.vllm-abcd1234", "runtimes/.lock"),
    ("run/demo-9000", "run/demo-9000.lock"),
]


@pytest.mark.parametrize(("name", "lock"), LEFT)
def test_it_is_found_and_removed_unless_its_lock_is_held(
    tmp_path: Path, name: str, lock: str
) -> None:
    make(tmp_path / name)
    with held(tmp_path / lock):
        assert found(tmp_path) == set()
    (leftover,) = [each for each in find_leftovers(tmp_path) if each.path == tmp_path / name]
    assert leftover.size_bytes >= 1000

    assert remove_leftover(leftover)
    assert not (tmp_path / name).exists()


@pytest.mark.parametrize(("name", "lock"), LEFT)
def test_it_is_found_without_any_lock(tmp_path: Path, name: str, lock: str) -> None:
    make(tmp_path / name)
    assert found(tmp_path) == {name}


def test_it_stays_where_somebody_has_come_to_go_on_with_it(tmp_path: Path) -> None:
    building = make(tmp_path / "engines" / ".mine.building")
    (leftover,) = find_leftovers(tmp_path)
    with held(tmp_path / "engines" / ".mine.lock"):
        assert not remove_leftover(leftover)
    assert building.exists()


def test_locks_that_nobody_holds_go_too(tmp_path: Path) -> None:
    for lock in ("engines/.mine.lock", "run/demo-9000.lock"):
        with held(tmp_path / lock):
            assert lock not in found(tmp_path)
        assert lock in found(tmp_path)
    assert all(remove_leftover(each) for each in find_leftovers(tmp_path))
    assert found(tmp_path) == set()


def test_an_unfinished_repair_goes_and_the_checkpoint_stays(tmp_path: Path) -> None:
    checkpoint = add_checkpoint(tmp_path, "org/demo")
    make(checkpoint / ".incomplete")
    (leftover,) = find_leftovers(tmp_path)
    assert remove_leftover(leftover)
    assert (checkpoint / "config.json").exists()
    assert not (checkpoint / ".incomplete").exists()


def test_an_interrupted_removal_is_finished(tmp_path: Path) -> None:
    make(tmp_path / "engines" / ".mine.removing-0123abcd")
    make(tmp_path / "checkpoints" / ".org--a@0123.removing-0123abcd")
    for each in find_leftovers(tmp_path):
        assert remove_leftover(each)
    assert list(tmp_path.glob("*/*")) == []


def test_an_environment_of_an_older_enginix_goes_whole(tmp_path: Path) -> None:
    add_runtime(tmp_path, OLD_RUNTIME, "triton-cpu")
    (leftover,) = find_leftovers(tmp_path)
    assert leftover.path == tmp_path / "runtimes" / OLD_RUNTIME
    assert remove_leftover(leftover)
    assert list((tmp_path / "runtimes").iterdir()) == []


def test_what_is_whole_is_no_leftover(tmp_path: Path) -> None:
    add_engine(tmp_path, "mine")
    add_checkpoint(tmp_path, "org/demo")
    for name in ("vllm", "vllm-0123456789ab", TRITON_CPU.directory_name):
        add_runtime(tmp_path, name)
    make(tmp_path / "engines" / "by-hand")
    make(tmp_path / "logs" / "demo" / "20260101-000000-9000")
    make(tmp_path / "python3.12" / "engines" / ".mine.building")
    assert find_leftovers(tmp_path) == []


def test_the_logs_of_a_profiles_last_runs_are_kept_and_of_those_that_go_on(tmp_path: Path) -> None:
    logs = tmp_path / "logs" / "demo"
    runs = [make(logs / f"2026010{day}-000000-{9000 + day}") for day in range(1, 8)]
    make(tmp_path / "logs" / "other" / "20250101-000000-9000")
    with held(tmp_path / "run" / "demo-9001.lock"):
        remove_old_logs(tmp_path, "demo")
        assert sorted(logs.iterdir()) == [runs[0], *runs[2:]]
    assert "logs/demo/20260101-000000-9001" in found(tmp_path)


def test_logs_of_before_runs_had_directories_go_once_their_profile_has_ended(
    tmp_path: Path,
) -> None:
    make(tmp_path / "logs" / "demo")
    (tmp_path / "logs" / "demo" / "gateway.log.1").touch()
    with held(tmp_path / "run" / "demo-9000.lock"):
        assert found(tmp_path) == set()
    (tmp_path / "run" / "demo-9000.lock").unlink()
    assert found(tmp_path) == {"logs/demo/gateway.log.1"}


def test_a_link_is_removed_and_what_it_leads_to_stays(tmp_path: Path) -> None:
    outside = make(tmp_path / "outside")
    (tmp_path / "home" / "engines").mkdir(parents=True)
    (tmp_path / "home" / "engines" / ".mine.building").symlink_to(outside)
    for each in find_leftovers(tmp_path / "home"):
        assert remove_leftover(each)
    assert (outside / "file").exists()
