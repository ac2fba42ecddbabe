"""Review a tree of Python files: the program that `windlass demo` kills in the middle and lets go on.

    python examples/code_review.py [--src DIR] [--out DIR] [--store URL] [--id RUN] [--model NAME]

    scan ── each file ──▶ measure ── stream ──▶ rank ──▶ summarize ──▶ report

`measure` runs once per file, several at a time: size, branches and imports by plain code, ruff as a real tool
(recorded calls), and one line in `ledger.jsonl`, outside of any database (an effect). `rank` starts with the first
finding, not with the last. `report` writes two files; a rollback deletes them. Run it twice with one `--id`: the
second one goes on where the first was stopped, whatever stopped it.
"""

import argparse
import ast
import asyncio
import fcntl
import json
import os
import shutil
import sys
import time
import warnings
from collections import Counter
from collections.abc import Iterator
from dataclasses import dataclass, replace
from html import escape
from itertools import chain
from pathlib import Path
from string import Template
from typing import Any

from windlass import Context, Edge, Output, Pipeline, Runtime, Stream, WindlassError, Yields, task

AT_ONCE = 8  # files under way; each may hold one ruff process
RUFF_SECONDS = 60.0
MODEL_SECONDS = 120.0
FIRST = 10  # files that the summary names
PAUSE = float(os.environ.get("CODE_REVIEW_PAUSE", "0"))  # seconds that an append is drawn out, so that a kill hits it
NOT_SOURCE = {"__pycache__", "node_modules", "site-packages"}
BRANCHES = (ast.If, ast.IfExp, ast.For, ast.AsyncFor, ast.While, ast.ExceptHandler, ast.Assert, ast.match_case)
FUNCTIONS = (ast.FunctionDef, ast.AsyncFunctionDef)


@dataclass(frozen=True)
class Review:
    """What is asked for: the run's input."""

    src: str
    out: str
    model: str = ""


@dataclass(frozen=True)
class Lint:
    """What ruff said of a file; `note` instead, where it said nothing."""

    found: int = 0
    rules: tuple[str, ...] = ()
    note: str = ""


@dataclass(frozen=True)
class Finding:
    """The measures of one file.

    Attributes:
        lines: lines with code on them.
        branches: cyclomatic complexity, all functions and the module's own body together.
        worst: the most complex function.
        uses: files of the tree that it imports.
        used_by: how many files of the tree import it; known once all are read.
    """

    path: str
    lines: int
    branches: int
    worst: str
    worst_branches: int
    uses: tuple[str, ...]
    lint: Lint
    note: str = ""
    used_by: int = 0

    @property
    def points(self) -> float:
        """Where to look first: long, branched and entangled files, single knots and open findings."""
        knot = max(0, self.worst_branches - 10)
        return round(self.lines / 50 + self.branches / 5 + knot + len(self.uses) / 2 + 2 * self.lint.found, 1)


@dataclass(frozen=True)
class Summary:
    """A few sentences, and who wrote them."""

    text: str
    by: str


@task
async def scan(review: Review) -> list[str]:
    """List the files."""
    return [str(path.relative_to(review.src)) for path in python_files(Path(review.src))]


@task
async def measure(scan: str, input: Review, ctx: Context) -> Finding:
    """Read one file, let ruff look at it, and note it in the ledger, once."""
    out, path = Path(input.out), Path(input.src, scan)
    note_start(out, scan)
    finding = await read_file(Path(input.src), scan)
    lint: Lint = await ctx.call("ruff", ruff, str(path))
    finding = replace(finding, lint=lint)
    line = {"key": ctx.key("ledger"), "file": scan, "points": finding.points}
    await ctx.effect("ledger", append_once, str(out), line, on_doubt="retry")
    return finding


@task
async def rank(measure: Stream[Finding]) -> Yields[list[Finding]]:
    """Order the findings; every new leader is told while files are still being read."""
    seen: list[Finding] = []
    leaders: list[str] = []
    async for finding in measure:
        seen.append(finding)
        seen.sort(key=lambda one: (-one.points, one.path))
        if leaders != [one.path for one in seen[:3]]:
            leaders = [one.path for one in seen[:3]]
            yield {"files": len(seen), "leaders": ", ".join(leaders)}
    used = Counter(chain.from_iterable(finding.uses for finding in seen))
    yield Output([replace(finding, used_by=used[finding.path]) for finding in seen])


@task
async def summarize(rank: list[Finding], input: Review, ctx: Context) -> Summary:
    """Say what stands out: by plain code, or by a model if one was named."""
    if not input.model:
        return Summary(plain_summary(rank), "plain code, no model")
    prompt = prompt_for(rank)
    ctx.emit(f"sending {len(prompt)} characters to {endpoint()}: names and figures of {min(FIRST, len(rank))} files")
    try:
        text: str = await ctx.call("summary", complete, input.model, prompt)
    except (OSError, ValueError) as error:
        said = f"{plain_summary(rank)} ({input.model} gave no answer: {error})"
        return Summary(said, "plain code, instead of a model")
    return Summary(text, f"{input.model} at {endpoint()}")


def delete_report(out: str, ranking: list[Finding], summary: Summary) -> None:  # noqa: ARG001 -- the effect's own
    """Undo `write_report`."""
    for name in ("report.md", "report.html"):
        Path(out, name).unlink(missing_ok=True)


@task(undo=[delete_report])
async def report(rank: list[Finding], summarize: Summary, input: Review, ctx: Context) -> str:
    """Write the report: an effect, so that it is done once, and a rollback can take it away."""
    given = (input.out, rank, summarize)
    written: str = await ctx.effect("write", write_report, *given, on_doubt="retry", undo=delete_report)
    return written


review = Pipeline(
    "code-review",
    [scan, measure, rank, summarize, report],
    [Edge(scan, measure, each=True, concurrency=AT_ONCE), Edge(measure, rank, stream=True)],
)


# What the tasks use: reading


def python_files(src: Path) -> list[Path]:
    """Find the Python files of a tree, without hidden folders, caches and virtual environments."""
    found: list[Path] = []
    for folder, inner, names in os.walk(src):
        inner[:] = sorted(
            name for name in inner
            if not name.startswith(".") and name not in NOT_SOURCE and not Path(folder, name, "pyvenv.cfg").exists()
        )  # fmt: skip
        found += [Path(folder, name) for name in sorted(names) if name.endswith(".py")]
    return [path for path in found if path.is_file()]


def note_start(out: Path, path: str) -> None:
    """Note beside the ledger that this process begins with a file: shows later what was begun twice."""
    line = json.dumps({"file": path, "pid": os.getpid(), "at": time.time()}) + "\n"
    with (out / "starts.jsonl").open("ab", buffering=0) as starts:  # one write in append mode: lines do not mix
        starts.write(line.encode())


async def read_file(src: Path, path: str) -> Finding:
    """Measure a file with `ast`; one that cannot be is a finding, too."""
    text = b""
    try:
        text = await asyncio.to_thread((src / path).read_bytes)
        with warnings.catch_warnings(action="ignore"):
            tree = ast.parse(text)
        functions = [(branches(node), node.name) for node in ast.walk(tree) if isinstance(node, FUNCTIONS)]
        total = branches(tree)
        uses = tuple(sorted({file for name in imports(tree, src / path, src) if (file := resolve(src, name))} - {path}))
    except (OSError, SyntaxError, ValueError, RecursionError, MemoryError) as error:  # the last: too deeply nested
        return Finding(path, text.count(b"\n"), 0, "", 0, (), Lint(), f"cannot be read: {error}")
    worst_branches, worst = max(functions, default=(0, ""))
    lines = sum(1 for line in text.splitlines() if line.strip() and not line.lstrip().startswith(b"#"))
    return Finding(path, lines, total, worst, worst_branches, uses, Lint())


def branches(tree: ast.AST) -> int:
    """Count the independent paths through a piece of code (McCabe, A Complexity Measure, 1976)."""
    count = 1
    for node in ast.walk(tree):
        if isinstance(node, BRANCHES):
            count += 1
        elif isinstance(node, ast.BoolOp):
            count += len(node.values) - 1
        elif isinstance(node, ast.comprehension):
            count += 1 + len(node.ifs)
    return count


def imports(tree: ast.AST, path: Path, src: Path) -> Iterator[str]:
    """Name every module that a file may import, with the names it takes from it."""
    package = path.relative_to(src).parent.parts
    for node in ast.walk(tree):
        if isinstance(node, ast.Import):
            yield from (alias.name for alias in node.names)
        elif isinstance(node, ast.ImportFrom):
            above = package[: len(package) + 1 - node.level] if node.level else ()
            module = ".".join((*above, node.module)) if node.module else ".".join(above)
            yield from (f"{module}.{alias.name}" for alias in node.names)


def resolve(src: Path, name: str) -> str:
    """Return the file of the tree that a dotted name leads to, or "" for a name from elsewhere."""
    package = src.name + "."
    parts = (name.removeprefix(package) if (src / "__init__.py").exists() else name).split(".")
    for size in range(len(parts), max(0, len(parts) - 2), -1):  # the last part may be a name inside of a module
        place = Path(*parts[:size])
        for candidate in (place.with_suffix(".py"), place / "__init__.py"):
            if (src / candidate).is_file():
                return str(candidate)
    return ""


async def ruff(path: str) -> Lint:
    """Let ruff check a file, with the settings that its own project has."""
    beside = Path(sys.executable).with_name("ruff")
    program = str(beside) if beside.exists() else shutil.which("ruff")
    if program is None:
        return Lint(note="skipped: it is not installed")
    command = (program, "check", "--output-format=json", "--exit-zero", "--no-cache", path)
    pipe, own = asyncio.subprocess.PIPE, Path(path).parent  # from another folder it would take that one's settings
    process = await asyncio.create_subprocess_exec(*command, stdout=pipe, stderr=pipe, cwd=own)
    try:
        async with asyncio.timeout(RUFF_SECONDS):
            said, complaint = await process.communicate()
    except TimeoutError:
        return Lint(note=f"skipped: it took longer than {RUFF_SECONDS:g} s")
    finally:
        if process.returncode is None:
            process.kill()
            await process.wait()
    if process.returncode:
        return Lint(note=f"skipped: {complaint.decode(errors='replace').strip()[:200]}")
    rules = Counter(one["code"] or "syntax" for one in json.loads(said))
    return Lint(rules.total(), tuple(f"{rule} × {count}" for rule, count in rules.most_common(3)))


# What the tasks use: the ledger


def append_once(out: str, line: dict[str, Any]) -> str:
    """Append a line to the ledger unless its key stands there: a target that honours its idempotency key.

    Durable when it returns. A kill leaves the line or none; the lock goes with the process. The file `inside` stands
    while a line is on its way, so that a parent can choose its moment.
    """
    inside = Path(out, "inside")
    with Path(out, "ledger.jsonl").open("a+b") as ledger:
        fcntl.flock(ledger, fcntl.LOCK_EX)
        inside.write_text(line["key"])
        time.sleep(PAUSE / 2)
        ledger.seek(0)
        known = ledger.read()
        is_new = line["key"].encode() not in known
        if is_new:
            ledger.truncate(known.rfind(b"\n") + 1)  # half a line of a power cut
            ledger.write(json.dumps(line).encode() + b"\n")
            ledger.flush()
            os.fsync(ledger.fileno())
        time.sleep(PAUSE / 2)
        inside.unlink()
    return "appended" if is_new else "stood there already"


# What the tasks use: the summary


def plain_summary(ranking: list[Finding]) -> str:
    """Put the figures into sentences. No model has a part in it, and the text says so."""
    lines = sum(finding.lines for finding in ranking)
    said = [f"Counted, not judged, by plain code: {len(ranking)} files, {lines:,} lines of code."]
    knots = [finding for finding in ranking if finding.worst_branches > 10]  # noqa: PLR2004 -- McCabe's own bound
    if ranking:
        first = ranking[0]
        said.append(f"Look first at {first.path}: {first.lines} lines, {first.branches} branches.")
        hub = max(ranking, key=lambda finding: finding.used_by)
        if hub.used_by:
            said.append(f"Most is built on {hub.path}: {hub.used_by} files import it.")
    if knots:
        knot = max(knots, key=lambda finding: finding.worst_branches)
        count = "One file has" if len(knots) == 1 else f"{len(knots)} files have"
        said.append(f"{count} a function above 10 branches; {knot.worst} in {knot.path} has {knot.worst_branches}.")
    skipped = {finding.lint.note for finding in ranking if finding.lint.note}
    found = sum(finding.lint.found for finding in ranking)
    said.append(f"ruff was {min(skipped)}." if skipped else f"ruff found {found or 'no'} things.")
    unread = [finding.path for finding in ranking if finding.note]
    if unread:
        said.append(f"Could not be read: {', '.join(unread[:5])}.")
    return " ".join(said)


def prompt_for(ranking: list[Finding]) -> str:
    """Write what a model gets: names and figures, no line of source."""
    rows = [
        f"{f.path}: {f.lines} lines, {f.branches} branches, worst function {f.worst or '-'} ({f.worst_branches}), "
        f"imports {len(f.uses)}, imported by {f.used_by}, ruff {f.lint.found}"
        for f in ranking[:FIRST]
    ]
    asked = "In at most five sentences: which of these Python files would you look at first, and why?"
    return "\n".join([asked, f"{len(ranking)} files; the first {len(rows)} by size, branches and imports:", *rows])


def endpoint() -> str:
    """Return the address of the OpenAI-compatible service."""
    return os.environ.get("OPENAI_BASE_URL", "https://api.openai.com/v1").rstrip("/")


def complete(model: str, prompt: str) -> str:
    """Ask a model. The key is taken from OPENAI_API_KEY here and kept nowhere.

    Raises:
        OSError: the service cannot be reached or refused.
        ValueError: its address or its answer is not what it should be.
    """
    import urllib.request  # 20 ms that a review without a model does not need

    url = f"{endpoint()}/chat/completions"
    if not url.startswith(("https://", "http://")):
        raise ValueError(f"OPENAI_BASE_URL is {endpoint()!r}: not an address of http or https")
    body = json.dumps({"model": model, "messages": [{"role": "user", "content": prompt}]}).encode()
    head = {"Content-Type": "application/json"}
    if key := os.environ.get("OPENAI_API_KEY"):
        head["Authorization"] = f"Bearer {key}"
    request = urllib.request.Request(url, body, head)  # noqa: S310 -- checked above
    with urllib.request.urlopen(request, timeout=MODEL_SECONDS) as answer:  # noqa: S310 -- checked above
        said = json.load(answer)
    try:
        return str(said["choices"][0]["message"]["content"]).strip()
    except (KeyError, IndexError, TypeError) as error:
        raise ValueError(f"an answer of another form: {str(said)[:200]}") from error


# What the tasks use: the report


def write_report(out: str, ranking: list[Finding], summary: Summary) -> str:
    """Write both files; writing them again with the same findings gives the same files."""
    Path(out, "report.md").write_text(markdown(ranking, summary), "utf-8", "replace")
    page = Path(out, "report.html")
    page.write_text(html(ranking, summary), "utf-8", "replace")
    return str(page)


def markdown(ranking: list[Finding], summary: Summary) -> str:
    """Write the report for a terminal."""
    rows = [
        f"| {f.points:g} | {f.path} | {f.lines} | {f.branches} | {f.worst or '–'} ({f.worst_branches}) "
        f"| {len(f.uses)} / {f.used_by} | {f.note or f.lint.note or f.lint.found} |"
        for f in ranking
    ]
    head = "| points | file | lines | branches | worst function | imports / imported by | ruff |"
    begin = ["# Code review", "", summary.text, "", f"*Written by {summary.by}.*", "", head]
    return "\n".join([*begin, "|--:|:--|--:|--:|:--|:--|:--|", *rows, ""])


def html(ranking: list[Finding], summary: Summary) -> str:
    """Write the report for a browser: one file, nothing to load."""
    page = Template(Path(__file__).with_suffix(".html").read_text(encoding="utf-8"))
    most = max((finding.points for finding in ranking), default=1.0) or 1.0
    return page.substitute(
        summary=escape(summary.text),
        by=escape(summary.by),
        files=f"{len(ranking):,}",
        lines=f"{sum(finding.lines for finding in ranking):,}",
        branches=f"{sum(finding.branches for finding in ranking):,}",
        lint=escape(next((f.lint.note for f in ranking if f.lint.note), f"{sum(f.lint.found for f in ranking):,}")),
        chart=chart(ranking),
        rows="\n".join(row(finding, most) for finding in ranking),
    )


def row(finding: Finding, most: float) -> str:
    """Write a row of the table."""
    worst = f"{escape(finding.worst)} <i>{finding.worst_branches}</i>" if finding.worst else "–"
    lint = escape(finding.note or finding.lint.note or " ".join(finding.lint.rules) or "–")
    return (
        f'<tr><td class="n">{finding.points:g}</td><td><b>{escape(finding.path)}</b>'
        f'<span class="bar" style="width:{100 * finding.points / most:.1f}%"></span></td>'
        f'<td class="n">{finding.lines}</td><td class="n">{finding.branches}</td><td>{worst}</td>'
        f'<td class="n">{len(finding.uses)}</td><td class="n">{finding.used_by}</td><td>{lint}</td></tr>'
    )


def chart(ranking: list[Finding]) -> str:
    """Draw size against branches as SVG; a dot's area is the number of files that import it."""
    width, height, left, bottom = 720, 340, 52, 40
    most_lines = nice(max((finding.lines for finding in ranking), default=1))
    most_branches = nice(max((finding.branches for finding in ranking), default=1))

    def x(lines: float) -> float:
        return left + (width - left - 24) * lines / most_lines

    def y(count: float) -> float:
        return height - bottom - (height - bottom - 20) * count / most_branches

    parts = [f'<svg viewBox="0 0 {width} {height}" role="img" aria-label="size against branches, one dot per file">']
    for quarter in range(5):
        lines, count = most_lines * quarter / 4, most_branches * quarter / 4
        parts.append(f'<line class="grid" x1="{left}" x2="{width - 24}" y1="{y(count):.1f}" y2="{y(count):.1f}"/>')
        parts.append(f'<text class="end" x="{left - 8}" y="{y(count) + 4:.1f}">{count:g}</text>')
        parts.append(f'<text class="mid" x="{x(lines):.1f}" y="{height - bottom + 18}">{lines:g}</text>')
    parts.append(f'<text class="mid axis" x="{(left + width) / 2}" y="{height - 4}">lines of code</text>')
    parts.append(f'<text class="axis" x="{left}" y="12">branches</text>')
    for place, finding in reversed(list(enumerate(ranking))):
        name, size = escape(finding.path), 4 + 2 * finding.used_by**0.5
        said = f"{name}: {finding.lines} lines, {finding.branches} branches, imported by {finding.used_by}"
        kind = "dot first" if place < 5 else "dot"  # noqa: PLR2004 -- as many as can be labelled
        dot = f'class="{kind}" cx="{x(finding.lines):.1f}" cy="{y(finding.branches):.1f}" r="{size:.1f}"'
        parts.append(f"<circle {dot}><title>{said}</title></circle>")
    taken: list[float] = []
    for finding in ranking[:5]:
        across, down, away = x(finding.lines), y(finding.branches), 8 + 2 * finding.used_by**0.5
        if all(abs(down - other) > 13 for other in taken):  # noqa: PLR2004 -- lower, it would cover another name
            taken.append(down)
            side, shift = ("end", -away) if across > width / 2 else ("", away)
            name = escape(Path(finding.path).name)
            parts.append(f'<text class="name {side}" x="{across + shift:.1f}" y="{down + 4:.1f}">{name}</text>')
    return "\n".join([*parts, "</svg>"])


def nice(number: float) -> int:
    """Round up to a number that divides into quarters well."""
    step = 4
    while step * 25 < number:
        step *= 10
    return next(step * factor for factor in range(1, 26) if step * factor >= number)


async def go(src: Path, out: Path, given: argparse.Namespace) -> int:
    """Run the review, or go on with it, and print what happens."""
    last = ""
    async with Runtime(given.store or f"sqlite:///{out}/review.db") as runtime:
        async for event in runtime.execute(review, Review(str(src), str(out), given.model), given.id):
            if event.type == "item" and event.node == "rank":
                print("after {files} files: {leaders}".format(**event.data["value"]), flush=True)
            elif event.type == "item" and event.node == "summarize":
                print(event.data["value"], flush=True)
            last = event.type
        result = await runtime.wait(event.run) if last == "run.completed" else None
    print(f"{last}: {result.output}" if result else last)
    return 0 if result else 1


def main(arguments: list[str] | None = None) -> int:
    """Read the command line, say what will be done, and do it."""
    parser = argparse.ArgumentParser(description="Review a tree of Python files, durably.")
    parser.add_argument("--src", default="src", help="the tree to read (%(default)s)")
    parser.add_argument("--out", default="review", help="where ledger and report go (%(default)s)")
    parser.add_argument("--store", default="", help="default: a file in --out")
    parser.add_argument("--id", default=None, help="the run's id; the same again goes on")
    parser.add_argument("--model", default="", help="let a model write the summary (OPENAI_BASE_URL, OPENAI_API_KEY)")
    given = parser.parse_args(arguments)
    src, out = Path(given.src).resolve(), Path(given.out).resolve()
    if not src.is_dir() or not python_files(src):
        print(f"error: no Python files in {given.src}", file=sys.stderr)
        return 2
    out.mkdir(parents=True, exist_ok=True)
    if given.model:
        print(f"{given.model} at {endpoint()} will get names and figures of {FIRST} files, no line of source")
    try:
        return asyncio.run(go(src, out, given))
    except WindlassError as error:
        print(f"error: {error}", file=sys.stderr)
        return 1


if __name__ == "__main__":
    sys.exit(main())
