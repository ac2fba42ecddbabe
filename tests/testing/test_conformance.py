"""The suite is large enough, and every promise of the contract has checks."""

import inspect
import re

import pytest

from windlass.stores.base import Store
from windlass.testing.conformance import checks

PROMISES: dict[str, dict[str, str]] = {  # method → sentence of its docstring → checks, by their names without `test_`
    "open": {
        "Connect, verify and create what is missing; called once before anything else": "opening_again_does_nothing "
        "nothing_is_done_before_opening all_is_found_after_reopening",
    },
    "create": {
        "Make a run with its first row, owned from the start when `owner` is given (epoch 1), else epoch 0": (
            "a_created_run_loads a_run_made_owned_begins_at_epoch_1 a_run_made_unowned_begins_at_epoch_0"
        ),
        "What came of the write's `Adjust`s, in order": "a_run_is_made_with_what_it_reserves",
        "RunExists: the id is taken; nothing was written": "an_id_is_taken_once a_creation_sent_again_changes_nothing "
        "eight_creations_of_one_id_make_one_run two_stores_make_one_run_of_an_id",
    },
    "post": {
        "Keep a command for the run's owner; False when its id was posted before (nothing happens then)": (
            "a_command_waits_for_the_owner a_command_is_posted_once eight_posts_of_one_id_are_one"
        ),
        "An `answer` also moves its question from open to answered, and an `escalate` puts it to somebody else, by "
        "compare-and-set, in the same transaction": "a_question_is_put_to_somebody_else an_answer_closes_its_question "
        "eight_answers_at_once_have_one_winner two_stores_give_one_answer",
        "RunUnknown, QuestionUnknown: there is none of that id": "a_command_needs_a_run "
        "an_answer_needs_a_question_of_the_run",
        "AlreadyAnswered: the question is not open; nothing was written": "a_second_answer_is_refused "
        "a_closed_question_takes_no_answer",
        "NotForYou: it is put to somebody else than the command says (`asked`); nothing was written": (
            "what_is_meant_for_another_addressee_is_refused"
        ),
        "QuestionExpired: its deadline has passed; nothing was written": "an_answer_after_the_deadline_is_refused "
        "the_clock_may_answer_after_the_deadline",
    },
    "claim": {
        "Take a run: raise its epoch by one and set its owner": "a_free_run_is_claimed "
        "eight_claims_at_once_have_one_winner two_stores_claim_a_run_once",
        "Claiming one's own run raises the epoch again": "a_claim_of_ones_own_run_raises_the_epoch",
        "The returned record shows the new epoch and, as `owner`, the owner before: None, or one that was found dead "
        "(its lease ran out, or its process is gone from this host)": "a_lease_that_ran_out_frees_the_run "
        "an_owner_whose_process_is_gone_holds_nothing",
        "RunUnknown: no run has this id": "no_run_cannot_be_claimed",
        "RunOwned: another live owner has it; the message says who and until when": (
            "an_owned_run_is_refused_and_says_by_whom"
        ),
    },
    "renew": {
        "Keep the owner's lease for LEASE_SECONDS from now": "a_renewed_lease_lasts_longer a_lease_lasts_to_its_end",
        "May be called from another thread (the heartbeat)": "the_heartbeat_beats_from_a_thread_while_commits_go_on",
    },
    "release": {
        "Give the run up, if it still has this epoch": "a_released_run_is_free a_late_release_does_nothing",
    },
    "retire": {
        "Forget the owner's lease: its runs may be claimed at once": "who_retires_frees_all_its_runs",
    },
    "load": {
        "Return the record, the latest snapshot of the current branch and the rows after it": (
            "loading_begins_at_the_latest_snapshot a_snapshot_of_another_branch_is_not_taken"
        ),
        "RunUnknown: no run has this id": "no_run_cannot_be_loaded",
        "StoreCorrupt: a row does not match its digest, or the sequence has a gap": (
            "a_row_that_is_not_its_digest_is_corruption rows_that_leave_a_gap_are_refused"
        ),
    },
    "commit": {
        "Write durably and atomically; returns only when it is durable": "a_commit_appends_and_moves_the_head "
        "a_failure_inside_a_write_takes_all_of_it_back a_bad_change_takes_the_whole_write_back "
        "all_is_found_after_reopening",
        "What came of the write's `Adjust`s, in order; one that grants nothing does not refuse the write": (
            "a_commit_answers_its_adjusts_in_order a_refused_adjust_does_not_refuse_the_write "
            "a_stale_write_adjusts_nothing answers_are_worked_out_anew_when_a_batch_is_redone"
        ),
        "StaleLease: the run has another epoch or head; nothing was written": "the_fence_refuses "
        "a_refused_write_leaves_nothing the_owner_before_is_fenced",
    },
    "append_items": {
        "Keep stream items, fenced by the epoch only": "items_need_no_head_but_the_epoch items_at_once_are_all_kept",
        "StaleLease: the run has another epoch; nothing was written": "items_need_no_head_but_the_epoch",
    },
    "find": {
        "Answer a query, in the order that it states": "what_is_asked_for_is_data an_unknown_query_is_refused "
        "rows_come_by_stretch blobs_come_back_by_digest a_missing_blob_is_corruption "
        "a_blob_that_is_not_its_digest_is_corruption tallies_are_found_by_prefix_key_and_kind "
        "letters_are_found_by_what_they_say turns_are_as_a_plain_count_has_them runs_come_newest_first",
    },
    "adjust": {
        "Change tallies and dead letters in one transaction, without a fence: they are not one run's": (
            "adjusting_needs_no_run a_letter_needs_no_fence only_tallies_and_letters_go_without_a_fence "
            "a_failure_inside_a_write_takes_its_adjusts_back an_operation_that_cannot_be_is_refused"
        ),
        "A run that has another epoch by now, or that nobody owns, is granted nothing: nobody would give it back": (
            "nothing_is_granted_to_an_owner_that_was_overtaken nothing_is_granted_to_a_run_that_nobody_owns"
        ),
        "What came of each `Adjust`, in order": "half_open_admits_one_of_fifty a_raise_is_done_once",
    },
    "version": {
        "Return a number that has changed if anyone else may have written since; cheap enough to poll": (
            "the_version_tells_of_the_others_writes the_version_stands_while_nothing_is_written"
        ),
    },
    "maintain": {
        "Do a chore; returns what was found or done": "an_unknown_chore_is_refused",
        "`migrate`; `check`; `backup` (options: `to`); `prune` (options: those of `retention.to_rule`)": (
            "a_new_store_needs_no_migration a_check_of_what_is_whole_finds_nothing an_ended_run_goes_whole"
        ),
    },
    "close": {
        "Finish what was acknowledged and let go of files and connections": "closing_finishes_what_was_asked "
        "nothing_is_done_after_closing closing_one_leaves_the_other_open",
    },
}
METHODS = [name for name, found in vars(Store).items() if inspect.isfunction(found) and not name.startswith("_")]


def sentences(method: str) -> list[str]:
    """Take a docstring apart; each line of Returns and Raises counts as a sentence."""
    said = (inspect.getdoc(getattr(Store, method)) or "").replace("Raises:", ".").replace("Returns:", ".")
    parts = re.split(r"\.(?=\s|$)", " ".join(said.split()))
    return [part.strip() for part in parts if part.strip()]


def test_there_are_as_many_checks_as_were_promised() -> None:
    assert len(checks()) >= 180


@pytest.mark.parametrize("method", METHODS)
def test_every_promise_of_a_method_has_checks(method: str) -> None:
    assert sentences(method) == list(PROMISES[method])


def test_every_check_that_is_named_is_there() -> None:
    named = {f"test_{name}" for said in PROMISES.values() for names in said.values() for name in names.split()}
    assert named - set(checks()) == set()
