"""The kernels under the address and undefined-behaviour sanitizers; all of it, threads too: make sanitize."""

from __future__ import annotations

import os
import shutil
import subprocess
from pathlib import Path

import pytest
from filelock import FileLock

import plain_programs

ROOT = Path(__file__).parents[2]
COMPILER = os.environ.get("CXX", "g++")


def test_the_programs_are_those_of_the_compiler() -> None:
    current = plain_programs.FILE.read_text() == plain_programs.programs()
    assert current, f"the compiler makes other programs than {plain_programs.FILE.name} has: {plain_programs.COMMAND}"


@pytest.mark.skipif(not shutil.which("make") or not shutil.which(COMPILER), reason=f"needs make and {COMPILER}")
@pytest.mark.slow
def test_small_scans_stay_within_their_memory(tmp_path: Path) -> None:
    probe = tmp_path / "probe.cpp"
    probe.write_text("int main() { return 0; }")
    linked = [COMPILER, "-fsanitize=address,undefined", str(probe), "-o", str(tmp_path / "probe")]
    if subprocess.run(linked, capture_output=True).returncode:
        pytest.skip(f"{COMPILER} has no sanitizers")
    folder = ROOT / "build" / f"sanitize-{Path(COMPILER).name}"  # kept: make compiles what has changed, or nothing
    folder.mkdir(parents=True, exist_ok=True)
    driver = folder / "address,undefined" / "driver"
    sets = "generic wide wide_bf16 wide_amx"
    options = [f"CXX={COMPILER}", f"SANITIZED={folder}", f"SETS={sets}", "DEFINES=", "SANITIZE=-O0"]
    with FileLock(folder / ".lock"):
        subprocess.run(["make", "--silent", str(driver), *options], cwd=ROOT, check=True)
    # Larger scans reach no other line or branch of the kernels, as gcov counts them; make sanitize runs them.
    done = subprocess.run([driver, plain_programs.FILE, "5e3"], capture_output=True, text=True, check=False)
    summary = f"sanitize: 148 scans right by {sets}, nothing found\n"
    assert done.stdout == summary, done.stdout + done.stderr
