"""The lock of a run's folder: who writes there is alone, and whoever is refused changes nothing."""

from __future__ import annotations

import errno
import os
import socket
from pathlib import Path
from typing import Any

import numpy as np
import pytest

import unroll
from unroll import RunError, SequenceClassifier, Splits, UnrollWarning, resume_run, run_sweep, save, train_run
from unroll.runs.execute import Event
from unroll.runs.lock import locked

QUICK: dict[str, Any] = {"epochs": 1, "hidden_size": 8}
IN_USE = rf"here is in use by another training \(process {os.getpid()} on .*\); wait until it ends, or choose another"


def content(path: Path) -> dict[str, bytes]:
    return {str(file.relative_to(path)): file.read_bytes() for file in path.rglob("*") if file.is_file()}


def test_one_holds_it_and_the_file_says_who() -> None:
    Path("here").mkdir()
    with locked(Path("here")):
        assert Path("here/.lock").read_text() == f"{os.getpid()} {socket.gethostname()}\n"
        with pytest.raises(RunError, match=IN_USE), locked(Path("here")):
            pass
        with pytest.raises(RunError, match=IN_USE), locked(Path("here")):  # being refused frees nothing
            pass
    with locked(Path("here")):
        pass
    assert Path("here/.lock").exists()


def test_whoever_is_refused_beside_a_training_changes_nothing(small: Splits) -> None:
    refused = 0

    def watch(event: Event) -> None:
        nonlocal refused
        if isinstance(event, unroll.EpochResult):
            Path("here/.resume.pt.999.partial").touch()  # that the training is about to write, say
            before = content(Path("here"))
            with pytest.raises(RunError, match="here holds a run; choose another --out"):
                train_run(out="here", **QUICK)
            with pytest.raises(RunError, match=IN_USE):
                train_run(out="here", overwrite=True, **QUICK)
            with pytest.raises(RunError, match=IN_USE):
                resume_run("here")
            with pytest.raises(RunError, match=IN_USE):
                save(SequenceClassifier(28, 10), "here", data=small.train, overwrite=True)
            assert content(Path("here")) == before
            refused += 1

    train_run(out="here", watch=watch, epochs=2, hidden_size=8)
    assert refused == 2


def test_a_refusal_leaves_nothing_in_a_folder_of_somebody_else() -> None:
    Path("here").mkdir()
    Path("here/cat.jpg").touch()
    Path("here/.resume.pt.1.partial").touch()
    with pytest.raises(RunError, match="here exists but is not a run folder; nothing was changed"):
        train_run(out="here", overwrite=True, **QUICK)
    assert sorted(os.listdir("here")) == [".resume.pt.1.partial", "cat.jpg"]


def test_what_killed_processes_left_is_cleared_on_resuming() -> None:
    def watch(event: Event) -> None:
        raise RuntimeError("stop here")

    with pytest.raises(RuntimeError, match="stop here"):
        train_run(out="here", watch=watch, **QUICK)
    Path("here/.model.safetensors.1.partial").touch()
    Path("here/.notes.1.partial").touch()
    resume_run("here")
    assert [name for name in os.listdir("here") if name.endswith("partial")] == [".notes.1.partial"]


@pytest.mark.parametrize("code", [errno.ENOSYS, errno.ENOLCK, errno.EOPNOTSUPP])
def test_without_locks_one_line_says_so(monkeypatch: pytest.MonkeyPatch, code: int) -> None:
    def no_locks(*_: Any) -> bool:
        raise OSError(code, os.strerror(code))

    monkeypatch.setattr("filelock._native._unix.lock_fd_nonblocking", no_locks)
    with pytest.warns(UnrollWarning, match="the file system of here has no locks; let no other training write there"):
        path = train_run(out="here", **QUICK).path
    assert unroll.load_run(path).evaluation is not None


def test_a_lock_that_cannot_be_opened_is_named() -> None:
    Path("here").mkdir()
    Path("here/.lock").symlink_to("elsewhere")
    with pytest.raises(RunError, match="cannot lock here/.lock: "):
        train_run(out="here", **QUICK)


def test_a_sweep_has_a_lock_too() -> None:
    refused = 0

    def watch(event: object) -> None:
        nonlocal refused
        if isinstance(event, unroll.Sweep):
            with pytest.raises(RunError, match="sweep is in use by another training"):
                unroll.resume_sweep("sweep")
            refused += 1

    np.savez("tiny.npz", x=np.random.default_rng(0).normal(size=(40, 3, 2)), y=np.arange(40) % 2)
    run_sweep("tiny.npz", search={"hidden_size": [2, 3]}, out="sweep", epochs=1, watch=watch)
    assert refused == 1


@pytest.mark.parametrize("out", ["photos/run", "photos", None])
def test_a_run_inside_its_data_is_refused(out: str | None, monkeypatch: pytest.MonkeyPatch) -> None:
    photos = Path.cwd() / "photos"
    (photos / "cat").mkdir(parents=True)
    if out is None:
        monkeypatch.chdir(photos)
    words = rf"lies inside the data folder {photos}; choose another folder, such as --out {photos}-run$"
    with pytest.raises(RunError, match=words):
        train_run(str(photos), out=out)
    with pytest.raises(RunError, match=words):
        run_sweep(str(photos), out=out, search={"lr": [1, 2]})
    assert os.listdir(photos) == ["cat"]


def test_pictures_inside_the_data_are_refused(call: Any, tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    (tmp_path / "photos").mkdir()
    monkeypatch.chdir(tmp_path / "photos")
    status, _, err = call("explore", ".")
    assert (status, "lies inside the data folder" in err) == (2, True)
    assert os.listdir(".") == []
