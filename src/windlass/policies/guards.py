"""Validators of other houses as rules: Guardrails AI and NeMo Guardrails, by what their objects can do.

Neither package is imported: an object that has the methods will do. Both may ask models and take their time, so their
rules are called on a thread.
"""

from typing import Any

import msgspec

from windlass.core.errors import DefinitionError
from windlass.core.secret import MASKS
from windlass.policies.rules import Normal, Rule, make


def guardrails(guard: Any, of: Any = None, *, field: str = "") -> Rule:
    """Make a rule of a Guardrails AI `Guard`: `validate(text)`, or `parse(text)`, gives an outcome.

    What it mends, it may mend: a `validated_output` that differs from what it was given is the normal form.

    Raises:
        DefinitionError: the object has neither method, or the type has no such field.
    """
    check = getattr(guard, "validate", None) or getattr(guard, "parse", None)
    if not callable(check):
        raise DefinitionError("output.guard", f"{guard!r:.80} has no validate and no parse", hint="give a Guard")

    def guarded(value: Any) -> Any:
        text = _text(value)
        outcome = check(text)
        if not getattr(outcome, "validation_passed", False):
            return _why(outcome) or "the guard refuses it"
        mended = getattr(outcome, "validated_output", None)
        return None if mended is None or mended in (text, value) else Normal(_like(value, mended))

    guarded.__name__ = str(getattr(guard, "name", "") or "guardrails")
    return make(guarded, of, field=field, slow=True)


def nemo(rails: Any, of: Any = None, *, field: str = "") -> Rule:
    """Make a rule of NeMo Guardrails' `LLMRails`: `check(messages)` gives a result with a status.

    Of an older one that has only `generate(messages=...)`, an answer that comes back otherwise is refused.

    Raises:
        DefinitionError: the object has neither method, or the type has no such field.
    """
    check, generate = getattr(rails, "check", None), getattr(rails, "generate", None)
    if not callable(check) and not callable(generate):
        raise DefinitionError("output.guard", f"{rails!r:.80} has no check and no generate", hint="give an LLMRails")

    def railed(value: Any) -> Any:
        text = _text(value)
        messages = [{"role": "assistant", "content": text}]
        if not callable(check):
            options = {"rails": ["output"]}
            said = _content(generate(messages=messages, options=options))  # type: ignore[misc]
            return None if said == text else f"the rails say: {MASKS.text(said)[:200]}"
        result = check(messages)
        status = str(getattr(result.status, "value", result.status)).rpartition(".")[2].lower()
        if status == "passed":
            return None
        if status == "modified":
            return Normal(_like(value, result.content))
        return f"refused by the rail {getattr(result, 'rail', None) or 'that was asked'}"

    railed.__name__ = "nemo"
    return make(railed, of, field=field, slow=True)


def _text(value: Any) -> str:
    return value if isinstance(value, str) else msgspec.json.encode(value, enc_hook=_plain).decode()


def _plain(value: Any) -> Any:
    return value.model_dump() if hasattr(value, "model_dump") else str(value)


def _like(value: Any, mended: Any) -> Any:
    """Read what a guard made of a value's JSON; a text stays as it is."""
    return msgspec.json.decode(mended) if isinstance(mended, str) and not isinstance(value, str) else mended


def _why(outcome: Any) -> str:
    summaries = getattr(outcome, "validation_summaries", None) or ()
    said = [str(getattr(one, "failure_reason", "") or "") for one in summaries]
    return "; ".join(filter(None, said)) or str(getattr(outcome, "error", "") or "")


def _content(answer: Any) -> str:
    """Find the text in what `generate` returns: a message, a response with messages, or the text itself."""
    response = getattr(answer, "response", answer)
    last = response[-1] if isinstance(response, list) and response else response
    return str(last.get("content", "")) if isinstance(last, dict) else str(last)
