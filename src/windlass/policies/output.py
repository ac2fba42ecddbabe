"""What is expected of an output, and what becomes of it: parser, schema, business rules, confidence, in this order.

All of it is pure: the engine runs the task again with the problems, asks the person, or puts the letter aside.
"""

import gc
import math
from collections.abc import Callable, Iterable, Iterator, Mapping, Sequence
from contextlib import contextmanager
from dataclasses import KW_ONLY, dataclass, field
from datetime import UTC, datetime
from typing import Any, Final, Literal, TypeAlias, get_args

from windlass.core.errors import DefinitionError, OutputRefused
from windlass.core.judged import Judged, Layer, Problem, Rated
from windlass.core.talk import ModelAnswer
from windlass.core.usage import is_whole
from windlass.policies.parsers import PARSERS, Candidate, Parser, Unread, candidates, turned
from windlass.policies.rules import Rule, Rules, obey, read_rules
from windlass.policies.schemas import Schema, Unfit, got, read_schema

Way: TypeAlias = Literal["act", "repair", "ask", "dead_letter"]
LAYERS: Final = get_args(Layer)
MOST_TEXT: Final = 4 << 20  # characters of an answer
LONG: Final = 64 << 10  # characters of an answer that takes a while
MOST_NAMED: Final = 5  # problems in a message


@dataclass(frozen=True, slots=True)
class Expect:
    """What a task's output has to be before it is kept.

    Args:
        schema: a type, dataclass, struct, TypedDict, Pydantic model, JSON Schema or protobuf class.
        parser: how the text of an answer is read: `auto` finds JSON as a whole, in fences and in prose; `json` and
            `fenced` want just that; `text` takes it as it is; or a function of the text.
        rules: functions and `@rule`s, beside those of the definition and the platform.
        confidence: 0 to 1: the name of a field, or a function of (value, what the task returned); None: what the task
            or the model says, if one does.
        act: from this confidence on the output is taken.
        ask: from this one on a person is asked; None asks nobody. An output with problems has none at all, so 0.0
            brings everything that is not taken before a person.
        repairs: how often the task may run again with what was wrong.
        whole: downstream gets `Judged`, the value with its confidence and trail, and not the value alone.
        partial: an answer that breaks off is taken, degraded, if what is there fits.
        bidi: text may have characters that turn its direction.
        limit: most characters of an answer.

    Raises:
        DefinitionError: one of them cannot be.
    """

    schema: Any
    _: KW_ONLY
    parser: Parser = "auto"
    rules: Rules | Sequence[Rule | Callable[..., Any]] = ()
    confidence: str | Callable[[Any, Any], float] | None = None
    act: float = 0.0
    ask: float | None = None
    repairs: int = 1
    whole: bool = False
    partial: bool = False
    bidi: bool = False
    limit: int = MOST_TEXT
    read: Schema = field(init=False, repr=False, compare=False)

    def __post_init__(self) -> None:
        object.__setattr__(self, "read", read_schema(self.schema))
        object.__setattr__(self, "rules", read_rules(self.rules, "expect"))
        if not callable(self.parser) and self.parser not in PARSERS:
            raise DefinitionError("output.parser", f"no parser {self.parser!r}", hint=f"one of {', '.join(PARSERS)}")
        if not is_share(self.act) or not (self.ask is None or is_share(self.ask)):
            raise DefinitionError("output.threshold", f"act={self.act!r}, ask={self.ask!r}", hint="numbers from 0 to 1")
        if self.ask is not None and self.ask > self.act:
            raise DefinitionError(
                "output.threshold", f"ask={self.ask} is above act={self.act}", hint="a person is asked below act"
            )
        if not is_whole(self.repairs, 0):
            raise DefinitionError("output.repairs", f"repairs is {self.repairs!r}", hint="a number from 0")
        if not is_whole(self.limit):
            raise DefinitionError("output.limit", f"limit is {self.limit!r}", hint="a number of characters from 1")
        _check_confidence(self.confidence, self.read)

    @property
    def returns(self) -> Any:
        """The type of what downstream gets."""
        kind: Any = Judged
        return kind[self.read.type] if self.whole else self.read.type


def is_share(number: Any) -> bool:
    """Say whether it is a number from 0 to 1."""
    return isinstance(number, int | float) and not isinstance(number, bool) and 0 <= number <= 1


def _check_confidence(given: Any, schema: Schema) -> None:
    if given is None or callable(given):
        return
    if not isinstance(given, str) or not given or (schema.fields is not None and given not in schema.fields):
        raise DefinitionError(
            "output.confidence", f"confidence is {given!r}, which is no field", hint="a field, or a function"
        )


@dataclass(frozen=True, slots=True)
class Verdict:
    """What the layers say of one output.

    Args:
        problems: of the first layer that has any; the layers after it were not reached.
        mended: what the reader had to do.
    """

    value: Any = None
    problems: tuple[Problem, ...] = ()
    confidence: float | None = None
    source: str = ""
    mended: tuple[Problem, ...] = ()

    def layers(self) -> dict[str, str]:
        """Say of every layer whether it was passed."""
        failed = LAYERS.index(self.problems[0].layer) if self.problems else len(LAYERS)
        told = ("passed", "failed", "not reached")
        return {layer: told[(place >= failed) + (place > failed)] for place, layer in enumerate(LAYERS)}


def assess(given: Any, expect: Expect, now: float, rules: Iterable[Rule] = ()) -> Verdict:
    """Let what a task returned go through the layers.

    Args:
        now: seconds since the epoch, for rules that count from a day.
        rules: of platform and definition, before the expectation's own.
    """
    with undisturbed(is_long(given)):
        return _assessed(given, expect, now, rules)


def is_long(given: Any) -> bool:
    """Say whether an answer has so much text that reading it takes a while."""
    answer = given.answer if isinstance(given, Rated) else given
    text = answer.text if isinstance(answer, ModelAnswer) else answer
    return isinstance(text, str | bytes | bytearray) and len(text) > LONG


@contextmanager
def undisturbed(is_wanted: bool) -> Iterator[None]:
    """Let the garbage collector wait: what is read is all in use, and looking through it doubles the time."""
    if not is_wanted or not gc.isenabled():
        yield
        return
    gc.disable()
    try:
        yield
    finally:
        gc.enable()


def _assessed(given: Any, expect: Expect, now: float, rules: Iterable[Rule]) -> Verdict:
    rated = given if isinstance(given, Rated) else None
    answer = rated.answer if rated else given
    try:
        value, mended = _parsed(answer, expect)
    except Unfit as error:
        return Verdict(problems=tuple(error.problems))
    every = [*rules, *expect.rules]
    judged, problems = obey(value, every, expect.read, datetime.fromtimestamp(now, UTC))
    if not problems and judged is not value:
        try:
            judged = expect.read.check(judged)
        except Unfit as error:
            problems = error.problems
    if problems:
        return Verdict(judged, tuple(problems), mended=mended)
    try:
        confidence, source = _confidence(judged, given, expect)
    except Exception as error:  # noqa: BLE001 -- the user's function: without its number nothing is sure
        said = str(error) if isinstance(error, Unread) else f"it raised {type(error).__name__}: {error}"
        return Verdict(judged, (Problem("confidence", "", said),), mended=mended)
    return Verdict(judged, (), confidence, source, mended)


def route(verdict: Verdict, expect: Expect, repairs: int) -> Way:
    """Decide what becomes of an output.

    Args:
        repairs: how many are left.
    """
    sure = 0.0 if verdict.problems else 1.0 if verdict.confidence is None else verdict.confidence
    if not verdict.problems and sure >= expect.act:
        return "act"
    if verdict.problems and repairs > 0:
        return "repair"
    return "ask" if expect.ask is not None and sure >= expect.ask else "dead_letter"


def judge(given: Any, expect: Expect, now: float, rules: Iterable[Rule] = ()) -> Judged[Any]:
    """Judge an output by itself, as a test or a program without a run does.

    Raises:
        OutputRefused: it may not be taken as it is; its problems say why.
    """
    verdict = assess(given, expect, now, rules)
    if route(verdict, expect, 0) != "act":
        raise refused(verdict, expect)
    return passed(verdict, ())


def passed(verdict: Verdict, trail: Sequence[Problem]) -> Judged[Any]:
    """Make the result of a verdict; `trail` is what was wrong before it."""
    whole = (*trail, *verdict.mended)
    return Judged(verdict.value, verdict.confidence, verdict.source, bool(whole), whole)


def refused(verdict: Verdict, expect: Expect, *, repair: bool = False, where: str = "the output") -> OutputRefused:
    """Make the error of a verdict."""
    problems = verdict.problems or (unsure(verdict, expect),)
    said = "; ".join(map(str, problems[:MOST_NAMED]))
    more = f"; and {len(problems) - MOST_NAMED} more" if len(problems) > MOST_NAMED else ""
    return OutputRefused(f"{where} is refused: {said}{more}", problems=problems, repair=repair)


def unsure(verdict: Verdict, expect: Expect) -> Problem:
    """Say that a confidence is too low."""
    return Problem("confidence", "", f"{verdict.confidence:g} by {verdict.source} is below act={expect.act:g}")


def _parsed(answer: Any, expect: Expect) -> tuple[Any, tuple[Problem, ...]]:
    """Go through parser and schema.

    Raises:
        Unfit: one of them has problems.
    """
    is_cut = isinstance(answer, ModelAnswer) and answer.partial
    answer = _text(answer, expect)
    if not isinstance(answer, str):
        return expect.read.check(answer), ()
    parser: Parser = "text" if expect.parser == "auto" and expect.read.type is str else expect.parser
    try:
        found = candidates(answer, parser, expect.read.wanted)
    except Unread as error:
        raise _unread(str(error), answer) from None
    except Exception as error:
        if isinstance(parser, str):
            raise
        raise _unread(f"the parser raised {type(error).__name__}: {error}", answer) from None
    chosen, value = _chosen(found, expect)
    is_cut = chosen.is_cut or (is_cut and (expect.read.wanted == "plain" or parser == "text"))
    if is_cut and not expect.partial:
        raise _unread("the answer breaks off", answer[-40:])
    if not expect.bidi:
        problems = [Problem("parser", path, said) for path, said in turned(answer, chosen.value)]
        if problems:
            raise Unfit(problems)
    notes = (*chosen.notes, *(("the answer breaks off",) if is_cut else ()))
    return value, tuple(Problem("parser", "", note) for note in notes)


def _text(answer: Any, expect: Expect) -> Any:
    """Find the text of an answer; what has none comes back as it is.

    Raises:
        Unfit: it is none that can be read.
    """
    if isinstance(answer, ModelAnswer):
        if not answer.text.strip() and answer.calls:
            names = ", ".join(call.name for call in answer.calls)
            raise _unread(f"the model asks for tools ({names}), and answers nothing")
        answer = answer.text
    if isinstance(answer, bytes | bytearray) and expect.read.type is not bytes:
        try:
            answer = bytes(answer).decode()
        except UnicodeDecodeError as error:
            raise _unread(f"it is no UTF-8: {error.reason} at byte {error.start:,}") from None
    if isinstance(answer, str) and len(answer) > expect.limit:
        raise _unread(f"{len(answer):,} characters, at most {expect.limit:,} are read")
    return answer


def _chosen(found: list[Candidate], expect: Expect) -> tuple[Candidate, Any]:
    """Let the schema say which candidate is meant.

    Raises:
        Unfit: it is none of them, or could be two.
    """
    if any(one.is_cut for one in found) and not expect.partial:  # it may have been the better one
        raise _unread("the answer breaks off", found[-1].value)
    fits: list[tuple[Candidate, Any]] = []
    fewest: list[Problem] | None = None
    for one in found:
        try:
            fits.append((one, expect.read.check(one.value)))
        except Unfit as error:
            fewest = error.problems if fewest is None or len(error.problems) < len(fewest) else fewest
        if expect.read.wanted == "plain" and fits:
            break  # of a word in quotes and the word: the first
    if not fits:
        raise Unfit(fewest or [])
    if len(fits) > 1:
        raise _unread(f"{len(fits)} different values in it fit: which is meant?", [one.value for one, _ in fits])
    return fits[0]


def _unread(message: str, value: Any = None) -> Unfit:
    return Unfit([Problem("parser", "", message, "" if value is None else got(value))])


def _confidence(value: Any, given: Any, expect: Expect) -> tuple[float | None, str]:
    """Find out how sure an output is, and who says so.

    Raises:
        Unread: what says so is no share.
    """
    declared = expect.confidence
    answer = given.answer if isinstance(given, Rated) else given
    found: Any
    if isinstance(declared, str):
        found = value.get(declared) if isinstance(value, Mapping) else getattr(value, declared, None)
        source = f"field {declared}"
    elif declared is not None:
        found, source = declared(value, answer), getattr(declared, "__name__", type(declared).__name__)
    elif isinstance(given, Rated):
        found, source = given.confidence, given.source
    elif isinstance(answer, ModelAnswer) and answer.confidence is not None:
        found, source = answer.confidence, answer.model or "model"
    elif expect.act > 0:
        raise Unread("nothing says how sure it is")
    else:
        return None, ""
    if not is_share(found) or math.isnan(found):
        raise Unread(f"{source} says {got(found)}, which is no number from 0 to 1")
    return float(found), source
