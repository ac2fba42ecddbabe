"""The reference interpreter of nested programs: what a program comes to, without the product.

Plain recursion over the program as it was drawn. Nothing in here waits, fails or is done twice.
"""

from collections import Counter
from typing import Any

PRIME = 1_000_003
Program = dict[str, Any]


def total(value: Any) -> int:
    """Digest a value to a number; order counts."""
    if isinstance(value, dict):
        value = [[total(name), total(value[name])] for name in sorted(value)]
    if isinstance(value, list | tuple):
        number = 7
        for one in value:
            number = (number * 31 + total(one)) % PRIME
        return number
    return sum(map(ord, value)) if isinstance(value, str) else int(value or 0) % PRIME


def gain(action: str, id_: int) -> int:
    """Say what an action gives."""
    if action == "once":
        return gain("ask", id_) + gain("call", id_) + gain("sleep", id_)
    return {"ask": 3, "call": 2, "effect": 10, "sleep": 0, "flaky": 1, "plain": 0}[action] * id_


def put(out: tuple[list[Any], dict[str, int]], came: dict[str, Any], acc: list[Any], turns: dict[str, int]) -> None:
    """Write back what is new in what a graph within a graph came to: it began with this `acc` and these `turns`."""
    out[0].extend(came["acc"][len(acc) :])
    out[1].update({name: number for name, number in came["turns"].items() if turns.get(name) != number})


class Reference:
    """One interpretation: what it comes to, and how often each question is asked and each effect had."""

    def __init__(self) -> None:
        self.asked: Counter[int] = Counter()
        self.had: Counter[int] = Counter()
        self.leaves = 0  # that are done, over all visits

    def definition(self, program: Program, given: Any) -> Any:
        """Interpret a definition on its input."""
        return self._graph(program, given) if program["kind"] == "graph" else self._pipeline(program, given)

    def leaf(self, part: Program, given: Any) -> Any:
        """Interpret a leaf: its number, what it was given, and what its action gives."""
        number = (total(given) * 31 + part["id"]) % PRIME
        self.leaves += 1
        if part["do"] == "child":
            came = self.definition(part["of"], as_given(part["of"], number))
            return (number + total(came)) % PRIME
        if part["do"] in ("ask", "once"):
            self.asked[part["id"]] += 1
        if part["do"] == "effect":
            self.had[part["id"]] += 1
        return (number + gain(part["do"], part["id"])) % PRIME

    def _pipeline(self, program: Program, given: Any) -> Any:
        values: dict[int, Any] = {}
        for node in program["nodes"]:
            needs = node["needs"]
            got = given if not needs else values[needs[0]] if len(needs) == 1 else {f"n{n}": values[n] for n in needs}
            if node["do"] == "each":
                start = total(got)
                values[node["id"]] = [self._part(node["of"], start + place) for place in range(node["count"])]
            else:
                values[node["id"]] = self._part(node, total(got) if node["do"] == "sub" else got)
        used = {need for node in program["nodes"] for need in node["needs"]}
        last = {f"n{n}": value for n, value in values.items() if n not in used}
        if program["listed"]:
            return [total(last)]
        return next(iter(last.values())) if len(last) == 1 else last

    def _part(self, part: Program, given: Any) -> Any:
        if part["do"] == "sub":
            return self.definition(part["of"], as_given(part["of"], given))
        return self.leaf(part, given)

    def _graph(self, program: Program, given: dict[str, Any]) -> dict[str, Any]:
        x, acc, turns = given["x"], list(given.get("acc", ())), dict(given.get("turns", {}))
        for phase in program["phases"]:
            if phase["do"] == "parallel":
                before = (list(acc), dict(turns))
                for part in sorted(phase["of"], key=lambda part: f"n{part['id']}"):
                    self._step(part, x, *before, (acc, turns))
            elif phase["do"] == "send":
                start = total([x, acc])
                for place in range(phase["count"]):
                    self._sent(phase["of"], start + place, acc, turns)
            elif phase["do"] == "loop":
                going = True
                while going:
                    self._step(phase["of"], x, list(acc), dict(turns), (acc, turns))
                    turns[f"t{phase['id']}"] = turns.get(f"t{phase['id']}", 0) + 1
                    going = turns[f"t{phase['id']}"] < phase["count"]
            else:
                self._step(phase, x, list(acc), dict(turns), (acc, turns))
        return {"x": x, "acc": acc, "turns": turns}

    def _step(self, part: Program, x: Any, acc: list[Any], turns: dict[str, int], out: Any) -> None:
        """Interpret a part of a graph on the state before its step, and write what it leaves."""
        if part["do"] != "sub":
            out[0].append(self.leaf(part, [x, acc]))
        elif part["of"]["kind"] == "graph":
            put(out, self._graph(part["of"], {"x": x, "acc": acc, "turns": turns}), acc, turns)
        else:
            out[0].extend(self._pipeline(part["of"], acc))

    def _sent(self, part: Program, payload: int, acc: list[Any], turns: dict[str, int]) -> None:
        if part["do"] != "sub":
            acc.append(self.leaf(part, payload))
        elif part["of"]["kind"] == "graph":
            put((acc, turns), self._graph(part["of"], {"x": payload}), [], {})
        else:
            acc.extend(self._pipeline(part["of"], payload))


def as_given(program: Program, number: int) -> Any:
    """Give a number to a definition as its input."""
    return {"x": number} if program["kind"] == "graph" else number
