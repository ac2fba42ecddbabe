"""Doubles for tests: models that answer from a script or from a run's records, and tools that do nothing.

With them an agent is tested without a key and without a network; time is the business of `testing.clock`.
"""

import re
from collections.abc import AsyncIterator, Iterable, Sequence
from dataclasses import replace
from typing import Any, Self

from windlass.core.codec import Codec
from windlass.core.errors import ModelUnknown, TaskError
from windlass.core.talk import Chunk, Model, ModelAnswer, ModelRequest
from windlass.core.types import collect
from windlass.core.usage import Usage
from windlass.core.words import Tool
from windlass.engine.runtime import Runtime
from windlass.graph.models import model

TALK = Codec(collect([ModelRequest, ModelAnswer]))


class ScriptedModel:
    """A model that answers line by line from a script, and keeps what it was asked.

    Args:
        script: a line for each call: an answer, its text, an error to raise, chunks to yield (an error among them cuts
            the stream), or a function of the request that gives one of these.
        loop: when the script has ended, its last line again; else the call fails.
        name, version: as tasks, grants and the audit see it.
        usage: what an answer used that does not say it itself.
        stream: yield texts word by word, as a streaming model does.

    Attributes:
        model: what `models=[...]` takes.
        requests: what it was asked, in order.
    """

    def __init__(
        self, script: Iterable[Any], *, name: str = "scripted", version: str = "", usage: Usage | None = None,
        cost: Usage | None = None, stream: bool = False, loop: bool = False,
    ) -> None:  # fmt: skip
        self.script = list(script)
        self.usage = usage
        self.loop = loop
        self.requests: list[ModelRequest] = []
        self.model: Model = model(self._yield if stream else self._answer, name=name, version=version, cost=cost)

    def _line(self, request: ModelRequest) -> Any:
        place = len(self.requests)
        self.requests.append(request)
        if self.loop and self.script:
            place = min(place, len(self.script) - 1)
        if place >= len(self.script):
            said = f"the script of model {self.model.name} has {len(self.script)} lines, and was asked once more"
            raise TaskError(said, kind="ScriptEnded")
        line = self.script[place]
        if callable(line) and not isinstance(line, BaseException):
            line = line(request)
        if isinstance(line, BaseException):
            raise line
        return line

    async def _answer(self, request: ModelRequest) -> Any:
        line = self._line(request)
        answer: Any = ModelAnswer(line) if isinstance(line, str) else line
        if isinstance(answer, ModelAnswer) and answer.usage is None:
            answer = replace(answer, usage=self.usage)
        return answer

    async def _yield(self, request: ModelRequest) -> AsyncIterator[Chunk]:
        line: Any = self._line(request)
        if isinstance(line, str):
            line = ModelAnswer(line)
        if isinstance(line, ModelAnswer):
            words = [Chunk(word) for word in _words(line.text)]
            line = [*words, Chunk(calls=line.calls, usage=line.usage or self.usage, stop=line.stop or "end")]
        for chunk in line:
            if isinstance(chunk, BaseException):
                raise chunk
            yield chunk


class RecordedModel:
    """A model that answers what a run recorded: equal requests in the order in which they were answered there.

    Attributes:
        model: what `models=[...]` takes, under the name that the run's tasks asked for.
    """

    def __init__(self, answers: dict[bytes, list[ModelAnswer]], name: str) -> None:
        self.answers = answers
        self.model: Model = model(self._answer, name=name)

    @classmethod
    async def of(cls, runtime: Runtime, run: str, name: str) -> Self:
        """Read what a run's tasks were answered by the model of this name.

        Raises:
            RunUnknown: no run has this id.
        """
        answers: dict[bytes, list[ModelAnswer]] = {}
        for account in await runtime.audit(run):
            for use in account.models:
                if use.name == name and isinstance(use.answer, ModelAnswer):
                    answers.setdefault(TALK.key(use.request), []).append(use.answer)
        return cls(answers, name)

    async def _answer(self, request: ModelRequest) -> ModelAnswer:
        left = self.answers.get(TALK.key(replace(request, schemas=())))
        if not left:
            said = f"the run recorded no (further) answer of {self.model.name} to this request"
            raise ModelUnknown(said, hint="record the run anew: a prompt or the order of calls has changed")
        return left.pop(0) if len(left) > 1 else left[0]


class FakeTool:
    """A tool with the name and the arguments of a real one that does nothing but note its calls.

    Args:
        real: whose schema, grants and costs hold for it.
        results: what it returns, call by call, the last one again and again; an exception is raised, a function is
            called with the arguments.

    Attributes:
        tool: what `tools=[...]` takes.
        calls: the arguments of each call.
    """

    def __init__(self, real: Tool[..., Any], results: Sequence[Any] = (None,)) -> None:
        self.results = list(results)
        self.calls: list[dict[str, Any]] = []
        self.tool: Tool[..., Any] = replace(real, fn=self._call)

    async def _call(self, **arguments: Any) -> Any:
        self.calls.append(arguments)
        result = self.results[min(len(self.calls), len(self.results)) - 1]
        if isinstance(result, BaseException):
            raise result
        return result(**arguments) if callable(result) else result


def _words(text: str) -> list[str]:
    """Cut a text before its spaces."""
    return re.findall(r"\s*\S+|\s+$", text)
