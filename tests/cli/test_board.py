"""The board: nodes of a run, folded from its events."""

from collections.abc import Iterator
from typing import Any

from windlass.cli.board import Board
from windlass.core.events import Event
from windlass.core.position import Frame, Position
from windlass.core.records import Planned
from windlass.core.states import Status


def event(kind: str, address: str = "", **data: Any) -> Event:
    return Event(run="r", type=kind, address=address, at=10.0, data=data)


def step(n: int, finished: list[str], planned: list[str]) -> Event:
    return event("step.committed", n=n, branch=0, finished=finished, planned=planned)


def states(board: Board) -> dict[str, str]:
    return {name: line.state(board.status) for name, line in board.nodes.items()}


def feed(board: Board, events: Iterator[Event] | list[Event]) -> Board:
    for one in events:
        board.see(one)
    return board


def test_a_mapped_node_counts() -> None:
    board = Board(["scan", "read", "join"])
    feed(board, [event("run.created"), step(1, [], ["scan#1"])])
    assert states(board) == {"scan": "running", "read": "-", "join": "-"}
    feed(
        board, [step(2, ["scan#1"], ["read#1[0]", "read#1[1]"]), event("activation.completed", "read#1[0]", attempt=1)]
    )
    assert board.nodes["read"].progress == "1/2"
    assert states(board) == {"scan": "done", "read": "running", "join": "-"}
    feed(board, [step(3, ["read#1[0]", "read#1[1]"], ["join#1"]), step(4, ["join#1"], []), event("run.completed")])
    assert set(states(board).values()) == {"done"}
    assert board.status is Status.COMPLETED


def test_attempts_retries_and_failure() -> None:
    board = feed(Board(["a"]), [event("run.created"), step(1, [], ["a#1"])])
    feed(board, [event("attempt.failed", "a#1", attempt=1), event("attempt.retrying", "a#1", attempt=2, due_at=99.0)])
    assert states(board) == {"a": "retrying"}
    assert board.nodes["a"].attempt == 2
    feed(board, [event("activation.started", "a#1", attempt=2), event("attempt.failed", "a#1", attempt=2)])
    feed(board, [event("activation.failed", "a#1"), event("run.failed", "a#1")])
    assert states(board) == {"a": "failed"}
    assert board.nodes["a"].progress == "0/1"
    feed(board, [event("run.resumed")])
    assert states(board) == {"a": "running"}


def test_questions_and_items() -> None:
    board = feed(Board(["a"]), [event("run.created"), step(1, [], ["a#1"]), event("item", "a#1", value={"x": 1})])
    assert board.nodes["a"].item == {"x": 1}
    feed(board, [event("question.asked", "a#1", id="q", prompt="?"), event("run.parked", questions=["q"])])
    assert states(board) == {"a": "asking"}
    feed(board, [event("question.answered", "a#1", id="q")])
    assert states(board) == {"a": "waiting"}


def test_a_rollback_takes_back_what_was_done() -> None:
    board = feed(Board(["a", "b"]), [step(1, [], ["a#1"]), step(2, ["a#1"], ["b#1"]), step(3, ["b#1"], [])])
    position = Position("r", {})
    position.n, position.visits, position.waiting = 2, {"a": 1, "b": 1}, {"b#1": Planned("b#1")}
    feed(board, [event("run.rolled_back", to=2, n=2, branch=1)])
    board.place(position)
    assert states(board) == {"a": "done", "b": "paused"}
    assert board.nodes["b"].progress == "0/1"


def test_what_a_fork_took_over_counts_as_done() -> None:
    board = feed(Board(["a", "b"]), [event("run.forked", parent="p", n=3)])
    position = Position("r", {})
    position.n, position.visits, position.waiting = 3, {"a": 2, "b": 1}, {"b#1": Planned("b#1")}
    board.place(position)
    assert board.nodes["a"].progress == "2/2"
    assert states(board) == {"a": "done", "b": "next"}


def test_nodes_of_a_subgraph_have_lines_of_their_own() -> None:
    board = feed(
        Board(["team", "team/write"]),
        [step(1, [], ["team#1"]), step(2, [], ["team#1/write#1"]), step(3, ["team#1/write#1"], ["team#1/write#2"])],
    )
    assert board.nodes["team/write"].progress == "1/2"
    position = Position("r", {})
    position.n, position.visits, position.waiting = 3, {"team": 1}, {"team#1": Planned("team#1")}
    frame = position.frames["team#1"] = Frame("team#1", {})
    frame.visits, frame.waiting = {"write": 2}, {"team#1/write#2": Planned("team#1/write#2")}
    board.place(position)
    assert board.nodes["team/write"].progress == "1/2"
    assert board.nodes["team"].progress == "0/1"
    feed(board, [step(4, ["team#1/write#2"], []), step(5, ["team#1"], [])])
    assert [line.progress for line in board.nodes.values()] == ["1/1", "2/2"]
