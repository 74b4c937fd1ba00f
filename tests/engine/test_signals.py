"""All ranks hear of a signal that one of them got, with the values of a step."""

from __future__ import annotations

import signal

from bodvcl.engine.signals import AgreedStop, StopRequest


def test_several_ranks_stop_by_what_they_hear_together():
    requests = [StopRequest(), StopRequest()]
    stops = [AgreedStop(request, 2) for request in requests]
    requests[1].signal = signal.SIGTERM
    assert [stop.signal for stop in stops] == [0, 0]
    told = [stop.told() for stop in stops]
    assert told[0].keys() == told[1].keys()
    means = {name: (told[0][name] + told[1][name]) / 2 for name in told[0]}
    for stop in stops:
        assert stop.hear({"loss": 2.0} | means) == {"loss": 2.0}
        assert stop.signal == signal.SIGTERM


def test_a_single_rank_tells_nobody_and_stops_at_once():
    request = StopRequest()
    stop = AgreedStop(request, 1)
    assert stop.told() == {}
    request.signal = signal.SIGINT
    assert stop.signal == signal.SIGINT
    assert stop.hear({"loss": 1.0}) == {"loss": 1.0}
