"""Several processes resume one run at once: `python -m tests.kill.rivals`.

The owner is killed; then four processes attach to the run at the same moment. One wins, the others follow it; all of
them are told the same end, every step runs once, and every effect happens once.
"""

import argparse
import asyncio
import json
import random
import signal
import sys
import tempfile
from collections import Counter
from collections.abc import Callable
from functools import partial
from pathlib import Path

from tests.kill.forks import fork, lanes
from tests.kill.harness import first
from tests.kill.judge import settle
from tests.kill.scenes import SCENES, Scene
from tests.kill.world import Kill, World, enter, read
from windlass import Runtime
from windlass.core.errors import AlreadyAnswered

RIVALS = 4
Say = Callable[[str], None]


def rival(scene: Scene, folder: Path, turn: int) -> Callable[[Say], None]:
    """A process that attaches, answers what is asked, and says how the run ended."""

    def work(say: Say) -> None:
        enter(World(folder / "ledger", turn))

        async def main() -> None:
            async with Runtime(f"sqlite:///{folder}/r.db", [scene.definition]) as runtime:
                result = await runtime.run(scene.definition, scene.input, id="r")
                while result.status == "waiting":
                    for question in await runtime.questions("r"):
                        try:
                            await runtime.answer(question.id, settle(read(folder / "ledger"), question.address))
                        except AlreadyAnswered:
                            continue
                    result = await runtime.wait("r")
                say(json.dumps([result.status, result.output]))

        asyncio.run(main())

    return work


def trial(name: str, folder: Path) -> list[str]:
    """Kill the owner, let the rivals race, and say what is wrong."""
    folder.mkdir()
    scene = SCENES[name]
    label = random.choice(["node.before", "world.done", "commit.after", "effect.result.after"])
    if fork(first(scene, folder, Kill(label, random.randint(1, 8)))).end() != -signal.SIGKILL:
        return ["it was not killed"]
    rivals = [fork(rival(scene, folder, turn)) for turn in range(1, RIVALS + 1)]
    codes = [child.end() for child in rivals]
    told = [child.rest() for child in rivals]
    wrong = [f"a rival ended {code}" for code in codes if code != 0]
    wrong += [f"a rival was told {said}" for said in told if said != [json.dumps(["completed", scene.output])]]
    ledger = read(folder / "ledger")
    done = Counter(line.address for line in ledger if line.kind == "done")
    wrong += [f"{address} happened {number} times" for address, number in done.items() if number > 1]
    wrong += [f"{address} did not happen" for address in scene.steps if address not in done]
    return wrong


def main() -> int:
    """Make the trials."""
    parser = argparse.ArgumentParser()
    parser.add_argument("--trials", type=int, default=12)
    parser.add_argument("--json", action="store_true")
    given = parser.parse_args()
    with tempfile.TemporaryDirectory() as name:
        names = [list(SCENES)[number % 2] for number in range(given.trials)]
        found = lanes([partial(trial, one, Path(name) / str(place)) for place, one in enumerate(names)], 2)
    wrong = [what for what in found if what]
    shown = {"trials": len(found), "rivals": RIVALS, "wrong": wrong}
    sys.stdout.write((json.dumps(shown) if given.json else str(shown)) + "\n")
    return int(bool(wrong))


if __name__ == "__main__":
    sys.exit(main())
