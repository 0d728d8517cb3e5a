"""Which runtime is chosen, and that it is tried once."""

from pathlib import Path

import pytest

pytest.importorskip("onnxruntime")
pytest.importorskip("openvino")

from gateway.config import ServerConfig
from gateway.engine_opening import settled
from gateway.engines import choice
from gateway.engines.net import Net
from gateway.engines.opening import BackendName

BOTH: list[BackendName] = ["onnxruntime", "openvino"]


def one_core(_name: BackendName) -> tuple[int, int]:
    return 1, 1


def slow(monkeypatch: pytest.MonkeyPatch, name: str) -> None:
    """As if runs of this runtime took a second each."""
    run = choice._run

    def timed(net: Net, arch: object, ours: BackendName, *cores: int) -> object:
        found = run(net, arch, ours, *cores)  # type: ignore[arg-type]
        return (lambda: found() + 1) if ours == name else found

    monkeypatch.setattr(choice, "_run", timed)


@pytest.mark.parametrize(("slower", "expected"), [BOTH, BOTH[::-1]])
def test_the_faster_is_chosen(
    artifact_folder: Path, monkeypatch: pytest.MonkeyPatch, slower: str, expected: str
) -> None:
    slow(monkeypatch, slower)
    assert choice.fastest(Net(artifact_folder), BOTH, one_core, cache=None) == expected


class Failing:
    """A program whose runs fail at once."""

    def runner(self) -> "Failing":
        return self

    def __call__(self, *_: object) -> float:
        raise RuntimeError("no run")


def test_where_all_fail_the_first_says_why(
    artifact_folder: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setattr(choice, "compile_whole", lambda *_: Failing())
    with pytest.raises(RuntimeError, match="no run"):
        choice.fastest(Net(artifact_folder), BOTH, one_core, cache=None)


@pytest.mark.parametrize("when", ["compiling", "running"])
@pytest.mark.parametrize(("fails", "expected"), [BOTH, BOTH[::-1]])
def test_one_that_fails_is_left_out_and_tried_again_at_the_next_start(
    artifact_folder: Path,
    tmp_path: Path,
    monkeypatch: pytest.MonkeyPatch,
    caplog: pytest.LogCaptureFixture,
    when: str,
    fails: str,
    expected: str,
) -> None:
    with monkeypatch.context() as patched:
        run = choice._run

        def failing(net: Net, arch: object, name: BackendName, *cores: int) -> object:
            if name == fails and when == "compiling":
                raise MemoryError("none left")
            found = run(net, arch, name, *cores)  # type: ignore[arg-type]
            return Failing() if name == fails else found

        patched.setattr(choice, "_run", failing)
        assert choice.fastest(Net(artifact_folder), BOTH, one_core, tmp_path) == expected
    assert f"engine {fails}: no" in caplog.text
    slow(monkeypatch, expected)
    assert choice.fastest(Net(artifact_folder), BOTH, one_core, tmp_path) == fails


def test_what_was_found_is_kept(
    artifact_folder: Path, tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    found = choice.fastest(Net(artifact_folder), BOTH, one_core, tmp_path)
    slow(monkeypatch, found)
    net = Net(artifact_folder)
    assert choice.fastest(net, BOTH, one_core, tmp_path) == found
    assert not net.is_loaded
    # Of other cores it says nothing.
    assert choice.fastest(net, BOTH, lambda _: (1, 2), tmp_path) != found


def test_what_is_asked_for_is_left_alone(artifact_folder: Path) -> None:
    given = ServerConfig(artifact=artifact_folder, engine="openvino", threads=3, workers=2)
    assert settled(given, Net(artifact_folder)) == given


def test_only_what_can_do_what_is_asked_is_tried(artifact_folder: Path) -> None:
    net, given = Net(artifact_folder), ServerConfig(artifact=artifact_folder)
    for asked in ({"precision": "bf16"}, {"threads": 2}):
        found = settled(given.model_copy(update=asked), net)
        assert (found.engine, net.is_loaded) == ("openvino", False)


def test_a_run_has_one_core_of_onnx_runtime_and_two_of_openvino(artifact_folder: Path) -> None:
    net = Net(artifact_folder)
    for engine, most in (("onnxruntime", 1), ("openvino", 2)):
        found = settled(ServerConfig(artifact=artifact_folder, engine=engine), net)  # type: ignore[arg-type]
        assert 1 <= (found.threads or 0) <= most
        assert (found.workers or 0) >= 1
