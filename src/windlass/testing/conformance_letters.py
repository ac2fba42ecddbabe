"""Dead letters: kept with the write that gave up, found by what they say, and gone with their run once dealt with."""
# ruff: noqa: D102, PLR2004, S101 -- a check's name is its sentence, and to assert is what it is for

from pathlib import Path
from typing import Any

import pytest
from msgspec import Raw
from msgspec.structs import replace

from windlass.core.changes import BlobPut, LetterPut
from windlass.core.errors import StaleLease, StoreError
from windlass.core.letters import DeadLetter
from windlass.core.queries import Letters, Tallies
from windlass.core.states import COMPLETED
from windlass.core.tallies import held_key
from windlass.policies.keys import tally_key
from windlass.stores.base import Store
from windlass.testing.conformance_place import NO_TEXT, WORDS, Place, begun, need
from windlass.testing.conformance_tallies import want
from windlass.testing.specimens import NOON, HandClock, a_blob, a_letter, a_write, as_json, contents

LATER = NOON + 1e6


async def found(store: Store, **asked: Any) -> list[str]:
    """Name the letters that a query finds."""
    return [letter.id for letter in await store.find(Letters(**asked))]


async def ended(store: Store, run: str, *letters: DeadLetter) -> None:
    """Make a run that completes, with letters."""
    await begun(store, run)
    await store.commit(
        a_write(run, after=1, status=COMPLETED, changes=tuple(map(LetterPut, letters)), release=True),
    )


class LetterChecks(Place):
    """Dead letters."""

    async def test_a_letter_comes_back_as_it_was(self, store: Store) -> None:
        await begun(store)
        plain = a_letter("run-1", "plain")
        full = a_letter(
            "run-1", "full", tags={"a": "é"}, note="seen", handler="fix", handled_by="run-2", by="anna",
            status="retried", trail=("one", "two"), input=Raw(b'{"text":"\xc3\xa9"}'),
        )  # fmt: skip
        assert await store.commit(a_write(after=1, changes=(LetterPut(plain), LetterPut(full)))) == ()
        assert as_json(await store.find(Letters(statuses=None))) == as_json([full, plain])

    async def test_a_letter_needs_no_fence(self, store: Store) -> None:
        letter = a_letter("nobody", "l")
        assert await store.adjust([LetterPut(letter), want(4)]) != ()
        assert await found(store) == ["l"]
        await store.adjust([LetterPut(replace(letter, status="dropped", by="anna"))])
        assert await found(store) == []
        (kept,) = await store.find(Letters(ids=("l",), statuses=("dropped",)))
        assert kept.by == "anna"

    async def test_a_stale_write_leaves_no_letter(self, store: Store) -> None:
        await begun(store)
        with pytest.raises(StaleLease):
            await store.commit(a_write(epoch=2, after=1, changes=(LetterPut(a_letter("run-1", "l")),)))
        assert await found(store, statuses=None) == []

    async def test_a_replaced_letter_keeps_its_place(self, store: Store) -> None:
        letters = [a_letter("run-1", name) for name in "abc"]
        await store.adjust([LetterPut(letter) for letter in letters])
        await store.adjust([LetterPut(replace(letters[0], note="again", at=NOON + 9))])
        assert await found(store) == ["c", "b", "a"]

    async def test_letters_are_found_by_what_they_say(self, store: Store) -> None:
        letters = [
            a_letter("run-1", "a", node="push", reason="budget", at=NOON + 1),
            a_letter("run-1", "b", node="pull", pattern="1" * 16, tenant="acme", at=NOON + 2),
            a_letter("run-2", "c", node="push", definition="order", at=NOON + 3),
            a_letter("run-2", "d", status="resolved", at=NOON + 4),
        ]
        await store.adjust([LetterPut(letter) for letter in letters])
        assert await found(store) == ["c", "b", "a"]
        assert await found(store, statuses=None) == ["d", "c", "b", "a"]
        assert await found(store, statuses=("resolved", "retried")) == ["d"]
        assert await found(store, run="run-2") == ["c"]
        assert await found(store, run="run-2", statuses=None) == ["d", "c"]
        assert await found(store, node="push") == ["c", "a"]
        assert await found(store, reason="budget") == ["a"]
        assert await found(store, pattern="1" * 16) == ["b"]
        assert await found(store, tenant="acme") == ["b"]
        assert await found(store, definitions=("order", "none")) == ["c"]
        assert await found(store, definitions=()) == []
        assert await found(store, since=NOON + 2) == ["c", "b"]
        assert await found(store, until=NOON + 2) == ["a"]
        assert await found(store, since=NOON + 2, until=NOON + 3) == ["b"]
        assert await found(store, ids=("a", "c", "none")) == ["c", "a"]
        assert await found(store, ids=("a", "c"), run="run-1") == ["a"]
        assert await found(store, ids=()) == []
        assert await found(store, run="run-1", node="pull", tenant="acme", since=NOON) == ["b"]
        assert await found(store, run="none") == []

    async def test_letters_are_read_in_pages(self, store: Store) -> None:
        names = [f"l-{number:02}" for number in range(25)]
        await store.adjust([LetterPut(a_letter("run-1", name)) for name in names])
        seen: list[str] = []
        while len(seen) <= len(names) and (page := await found(store, limit=10, after=seen[-1] if seen else None)):
            seen += page
        assert seen == names[::-1]
        assert await found(store, run="run-1", limit=2, after="l-10") == ["l-09", "l-08"]
        assert await found(store, after="none") == []
        assert await found(store, limit=0) == []
        assert await found(store, limit=-1) == []

    @pytest.mark.parametrize("word", WORDS)
    async def test_any_text_may_stand_in_a_letter(self, store: Store, word: str) -> None:
        letter = a_letter(word, word, node=word, tenant=word, definition=word, pattern=word, note=word)
        await store.adjust([LetterPut(letter), LetterPut(a_letter("run-1", "other"))])
        for asked in ({"run": word}, {"ids": (word,)}, {"node": word}, {"tenant": word}, {"definitions": (word,)}):
            assert await found(store, **asked) == [word]

    async def test_a_letter_that_is_no_text_is_refused(self, store: Store) -> None:
        with pytest.raises(StoreError):
            await store.adjust([want(4), LetterPut(a_letter("run-1", NO_TEXT))])
        assert await found(store, statuses=None) == []
        assert await store.find(Tallies()) == []
        assert await found(store, run=NO_TEXT) == []

    async def test_letters_outlive_the_store(self, store: Store, clock: HandClock, tmp_path: Path) -> None:
        need(store, "durable")
        await store.adjust([LetterPut(a_letter("run-1", "l"))])
        before = as_json(await store.find(Letters()))
        await store.close()
        again = self.again(clock, tmp_path)
        await again.open()
        assert as_json(await again.find(Letters())) == before
        await again.close()

    async def test_letters_that_were_dealt_with_go_with_their_run(self, store: Store) -> None:
        dealt = [a_letter("run-1", name, status=name) for name in ("retried", "resolved", "dropped")]
        await ended(store, "run-1", a_letter("run-1", "waits"), *dealt)
        await ended(store, "run-2", a_letter("run-2", "other", status="dropped"))
        await store.maintain("prune", before=LATER, dry_run=True)
        assert len(await found(store, statuses=None)) == 5
        await store.maintain("prune", before=NOON + 1.5)  # before the last write of either
        assert len(await found(store, statuses=None)) == 5
        assert (await store.maintain("prune", before=LATER))["runs"] == 2
        assert await found(store, statuses=None) == ["waits"]

    async def test_a_run_s_budget_goes_with_it_and_its_tenant_s_stays(self, store: Store) -> None:
        await ended(store, "run-1")
        await ended(store, "a|b%c")
        keys = ("budget|run|run-1", "budget|run|run-10", "budget|tenant|run-1")
        await store.adjust([want(1, run, key=tally_key("budget", "run", "a|b%c")) for run in ("other", "child")])
        assert len(await store.find(Tallies())) == 3
        await store.adjust([want(1, run, key=key) for run in ("child", "other") for key in keys])
        await store.maintain("prune", before=LATER)
        assert [tally.key for tally in await store.find(Tallies(kind="budget"))] == list(keys[1:])
        held = [held_key(key, run) for key in keys[1:] for run in ("child", "other")]
        assert [tally.key for tally in await store.find(Tallies(kind="held"))] == held

    async def test_history_that_is_dropped_takes_no_letter_and_no_budget(self, store: Store) -> None:
        await begun(store)
        await store.adjust([want(1, key="budget|run|run-1"), LetterPut(a_letter("run-1", "l", status="dropped"))])
        for after in range(1, 5):
            await store.commit(a_write(after=after))
        await store.maintain("prune", before=NOON - 1, keep="heads")
        assert await found(store, statuses=None) == ["l"]
        assert len(await store.find(Tallies())) == 1

    async def test_a_value_that_only_a_letter_refers_to_stays(self, store: Store, clock: HandClock) -> None:
        blob = a_blob(b"large")
        given = Raw(b'{"$":"blob","blob":"%s","size":5}' % blob.digest.encode())
        await begun(store)
        changes = (BlobPut(blob), LetterPut(a_letter("run-1", "l", input=given)))
        await store.commit(a_write(after=1, status=COMPLETED, changes=changes, release=True))
        for _ in range(3):
            await store.maintain("prune", before=LATER)
            clock.time += 3601
        assert await contents(store, blob) == {blob.digest: b"large"}
        (letter,) = await store.find(Letters())
        await store.adjust([LetterPut(replace(letter, status="dropped", input=Raw(b"null")))])
        for _ in range(2):
            await store.maintain("prune", before=LATER)
            clock.time += 3601
        with pytest.raises(StoreError):
            await contents(store, blob)
