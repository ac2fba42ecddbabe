"""Unchanged clients of model providers are killed, cut and refused in every part of every request (F52).

A server on this machine speaks as OpenAI and Anthropic do. As it is about to send a part of an answer, the program that
asked is killed with SIGKILL, or the answer goes wrong. Whatever the program had recorded by then must never be asked
for again, and what comes out must be what one undisturbed program gets.
"""

from pathlib import Path

from trials.figures import Figures, Trial


def run(folder: Path, stories: int, seed: int = 1) -> Figures:
    """Play so many stories, one after the other."""
    from trials.wire_work import play  # it brings the clients along, which take seconds

    return play(folder, stories, seed)


TRIALS = (
    Trial(
        name="wire",
        faults="F1 F52",
        says="Kill -9 in requests and streams of unchanged clients, and answers that go wrong: nothing that was "
        "recorded is asked for again",
        run=run,
        short={"stories": 8},
        long={"stories": 400},
    ),
)
