"""Listeners: what a run says reaches whoever listens."""

import pytest

from geochange.engine.progress import Listener, Relay, Stages
from tests.engine.test_work import Recorder


class Attentive(Recorder):
    """Keeps what a listener receives, with figures and notices."""

    def end(self, stage, seconds):
        self.calls.append(("end", stage, seconds))

    def report(self, figures):
        self.calls.append(("report", figures))

    def notice(self, text):
        self.calls.append(("notice", text))


def say_all(listener: Listener) -> None:
    listener.begin("train", 3, 4096)
    listener.advance(1024)
    listener.report({"loss": 0.5})
    listener.notice("a line")
    listener.end("train", 1.5)


def test_a_relay_passes_all_on_but_figures_which_its_function_gets():
    plain, behind, figures = Attentive(), Attentive(), []
    say_all(plain)
    say_all(Relay(behind, figures.append))
    assert figures == [{"loss": 0.5}]
    assert behind.calls == [call for call in plain.calls if call[0] != "report"]
    assert len(behind.calls) == 4


def test_a_stage_begins_and_ends_with_its_listener_who_gets_the_seconds_of_each_time():
    recorder = Attentive()
    stages = Stages(recorder)
    for pixels in (70, 90):
        with stages.stage("read", 2, pixels) as listener:
            listener.advance(pixels)
    begun, seconds = [call for call in recorder.calls if call[0] != "end"], [call[2] for call in recorder.calls[2::3]]
    assert begun == [("begin", "read", 2, 70), ("advance", 70), ("begin", "read", 2, 90), ("advance", 90)]
    assert stages.seconds == {"read": pytest.approx(sum(seconds))}
    assert min(seconds) > 0


def test_stages_are_kept_in_the_order_in_which_they_were_first_entered():
    stages = Stages()
    for name in ("open", "fit", "score", "fit"):
        with stages.stage(name):
            pass
    assert list(stages.seconds) == ["open", "fit", "score"]


def test_a_notice_is_passed_on_and_logged(caplog):
    recorder = Attentive()
    with caplog.at_level("INFO", "geochange"):
        Stages(recorder).notice("100 % of the scene is nodata")
    assert recorder.calls == [("notice", "100 % of the scene is nodata")]
    assert caplog.messages == ["100 % of the scene is nodata"]
