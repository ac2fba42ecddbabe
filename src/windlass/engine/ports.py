"""The ports of a task: models and tools, recorded, permitted, set aside in budgets, and accounted for."""

from typing import Any

from windlass.core.errors import ContextClosed
from windlass.core.talk import Asked, ModelAnswer, ModelRequest, ToolCall
from windlass.engine import calls
from windlass.engine.activation import Activation


class Ports:
    """What a context offers to go outside with."""

    _activation: Activation

    def _open(self) -> Activation:
        activation = self._activation
        if activation.closed or activation.stopping:
            raise ContextClosed(f"{activation.address}: attempt {activation.attempt} is over")
        return activation

    async def model(self, request: Asked, /, *, model: str = "", stream: bool = True) -> ModelAnswer:
        """Ask a model and keep what it answers: a re-run of this task gets the kept answer and pays nothing.

        A stream that breaks off is told as a fact, with what was heard of it, and asked for again by the next attempt;
        so is a call that a crash met before its record.

        Args:
            request: a text, `prompt.fill(...)`, messages, or a ModelRequest.
            model: which one; else the request's, or the first of the definition's.
            stream: show each piece of a streaming model's text at once, as `emit` does.

        Raises:
            ModelUnknown, ToolUnknown: there is no such model, or the request names no tool.
            InputError: it is no request.
            PermissionDenied, BudgetExceeded: it may not be; nobody was asked.
            ModelAnswerInvalid, ModelInterrupted: what came is no answer, or not all of one.
        """
        from windlass.engine import models  # with the first that is asked

        return await models.ask(self._open(), ModelRequest.of(request), model, stream=stream)

    async def tool(self, name: str, /, **arguments: Any) -> Any:
        """Call one of the definition's tools, if a grant allows it with these arguments. Recorded, as `call` is.

        A tool that is an effect happens once for each name, arguments and place in the order of such calls.

        Raises:
            ToolUnknown: the definition has no such tool.
            ToolArgumentsInvalid: an argument is missing, or of another type, or there is no such parameter.
            PermissionDenied, BudgetExceeded: it may not be; nothing was called.
        """
        return await calls.use(self._open(), name, arguments)

    async def use(self, call: ToolCall, /) -> Any:
        """Call the tool that a model asks for: as `tool` does, on arguments that are read strictly.

        Raises:
            ToolUnknown, ToolArgumentsInvalid, PermissionDenied, BudgetExceeded: as for `tool`.
        """
        return await calls.use(self._open(), call.name, call)
