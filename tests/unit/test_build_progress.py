"""What is read out of BuildKit's events."""

from __future__ import annotations

import base64
import json

from factory.build_progress import Step, read_progress

RUN = "[builder 3/4] RUN cargo build --release --locked"


def event(**content: object) -> str:
    return json.dumps(content) + "\n"


def test_the_events_of_a_step_are_put_together() -> None:
    started, completed = "2026-11-21T10:00:00.123456789Z", "2026-11-21T10:00:02.623456789Z"
    text = (
        event(vertexes=[{"digest": "a", "name": RUN}])
        + event(vertexes=[{"digest": "a", "name": RUN, "started": started}])
        + event(vertexes=[{"digest": "a", "name": RUN, "started": started, "completed": completed}])
        + event(vertexes=[{"digest": "b", "name": "[linux/amd64 planner 2/2] COPY . .", "cached": True}])
        + event(vertexes=[{"digest": "c", "name": "[internal] load build context"}])
        + event(vertexes=[{"digest": "d", "name": "[warm 1/2] FROM org/core", "cached": True}])
    )
    assert read_progress(text).steps == (
        Step(stage="builder", what="RUN cargo build --release --locked", cached=False, seconds=2.5),
        Step(stage="planner", what="COPY . .", cached=True, seconds=0.0),
        Step(stage="warm", what="FROM org/core", cached=True, seconds=0.0),
    )


def test_a_line_of_the_log_may_come_in_pieces_and_words_between_the_events_are_left_out() -> None:
    pieces = ["   Compi", "ling \x1b[1mserde v1.0.2\n"]
    logs = [event(logs=[{"vertex": "a", "data": base64.b64encode(piece.encode()).decode()}]) for piece in pieces]
    text = logs[0] + "WARN: something\n{not json\n" + logs[1]
    assert read_progress(text).log == "   Compiling serde v1.0.2\n"
