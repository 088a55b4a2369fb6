"""The load benchmark of the server measures what it says, and notices a wrong answer."""

from __future__ import annotations

import json
from pathlib import Path

import pytest

import unroll
from benchmarks import serving
from benchmarks.load import Server, WrongError, load

pytestmark = pytest.mark.server


def test_servers_with_batching_and_without_are_loaded(run: unroll.Run, capsys: pytest.CaptureFixture[str]) -> None:
    serving.main(run=[run.path], rounds=1, seconds=0.1, clients=[2], out=Path("speed.json"))
    assert "one image a request" in capsys.readouterr().out
    rows = json.loads(Path("speed.json").read_text())["speed"]
    assert [(row["body"], row["clients"]) for row in rows] == [("JSON", 2), ("PNG", 2)]
    for row in rows:
        on, off = (row[f"batching_{mode}"] for mode in ("on", "off"))
        assert on["requests"] > 0
        assert off["sequences_at_once"]["high"] <= 1 <= on["sequences_at_once"]["high"]
        ratio = on["requests_per_second"]["median"] / off["requests_per_second"]["median"]
        assert row["ratio"]["median"] == pytest.approx(ratio)


def test_a_wrong_answer_is_noticed_and_a_soak_and_a_stop_are_counted(
    run: unroll.Run, monkeypatch: pytest.MonkeyPatch
) -> None:
    model = serving.given(run.path)
    asks = model.asks["JSON"]
    monkeypatch.setattr(serving, "WARM_UP", 30)
    with Server(run.path, counted=True) as server:
        with pytest.raises(ExceptionGroup) as caught:
            serving.run_async(load(server, [asks[0]._replace(holds=b"another class")], 1, 0.1))
        assert isinstance(caught.value.exceptions[0], WrongError)
        assert "expected status 200 and another class" in str(caught.value.exceptions[0])
        assert len(serving.run_async(serving.soak(server, model, 300))) == 12
        stopped = serving.run_async(serving.stopped(server, asks, 0.3))
        assert server.process.returncode == 0
        assert server.stderr == ""
    ends = ("answered", "no connection", "connection closed", "answer cut off")
    assert stopped["sent"] == sum(stopped.get(end, 0) for end in ends)
    assert stopped["begun"] == stopped["answered"] > 0
    assert stopped["lost"] == 0
