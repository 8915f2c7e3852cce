"""What the engine's processes tell each other."""

from __future__ import annotations

import pickle

from cr.model import Refused


def test_a_refusal_says_the_same_in_another_process() -> None:
    told = pickle.loads(pickle.dumps(Refused(["fd 3 is odd", "fd 4 is odd"])))
    assert told.reasons == ["fd 3 is odd", "fd 4 is odd"]
    assert str(told) == "fd 3 is odd; fd 4 is odd"
