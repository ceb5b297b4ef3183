//! Messages of a compromised worker to its dispatcher: false, malformed, too many, or none.

use std::time::Duration;

use mpwasm::objects::Manager;
use mpwasm::{Kind, Outcome};

use crate::attacker::{Attacked, SOON, in_time};
use crate::support::binary;

/// Longest time from the deadline to the end of a task whose worker does not end it (step 4), on a busy machine.
const LATE: Duration = Duration::from_secs(10);

#[track_caller]
fn outcome(attack: &str) -> Outcome {
    let attacked = Attacked::start("attacker", 2);
    let outcome = attacked.outcome(attack, "");
    attacked.assert_in_order();
    outcome
}

/// Asserts that the worker is killed for the message, and that its task is a crash that says so.
#[track_caller]
fn breaks_the_protocol(attack: &str) {
    assert_broken(attack, &outcome(attack));
}

#[track_caller]
fn assert_broken(attack: &str, outcome: &Outcome) {
    let error = outcome.result.as_ref().expect_err(attack);
    assert_eq!(error.kind, Kind::Crash, "{attack}: {error:?}");
    assert!(
        error
            .message
            .contains("its worker broke the protocol and was killed"),
        "{attack}: {}",
        error.message
    );
}

/// Asserts that the dispatcher's own deadline ends the task, as no message of the worker does.
#[track_caller]
fn times_out(attack: &str) {
    assert_late(attack, Attacked::start("attacker", 2));
}

#[track_caller]
fn assert_late(attack: &str, attacked: Attacked) {
    let outcome = in_time(&attacked.attack_for(SOON, attack, ""));
    attacked.assert_in_order();
    let error = outcome.result.as_ref().expect_err(attack);
    assert_eq!(error.kind, Kind::Timeout, "{attack}: {error:?}");
    let run = Duration::from_micros(outcome.usage.run_us.expect("it ran"));
    assert!(run >= SOON && run < SOON + LATE, "{attack}: {run:?}");
}

#[test]
fn nonsense_ends_its_task_as_a_crash() {
    breaks_the_protocol("random");
    breaks_the_protocol("huge");
}

#[test]
fn messages_out_of_their_time_end_their_task_as_a_crash() {
    for attack in ["ready", "hello", "unable", "skipped"] {
        breaks_the_protocol(attack);
    }
}

#[test]
fn the_end_of_a_task_that_it_never_had_is_a_crash_of_its_own() {
    breaks_the_protocol("foreign");
}

#[test]
fn results_that_are_none_end_their_task_as_a_crash() {
    for attack in ["no json", "no utf-8", "two lines", "other kind", "long message"] {
        breaks_the_protocol(attack);
    }
}

#[test]
fn more_output_than_the_cap_allows_is_a_crash() {
    breaks_the_protocol("flood");
}

/// The first result counts. For the second the worker is killed, and other tasks are not affected.
#[test]
fn a_task_ends_once_however_often_it_is_reported() {
    let attacked = Attacked::start("attacker", 1);
    let first = attacked.outcome("replayed", "");
    assert_eq!(first.result.as_ref().unwrap().get(), "null");
    let next = attacked.outcome("none", "");
    assert_eq!(next.status(), "ok");
    assert_ne!(next.usage.pid, first.usage.pid);
    attacked.assert_in_order();
}

/// Runs a chunk in an attacker that makes this attack, and returns the outcomes of the items.
fn chunk(attack: &str) -> Vec<Outcome> {
    let attacked = Attacked::start("attacker", 1);
    let inputs = [(attack, ""), ("none", ""), ("none", "")];
    let results = attacked.pool.starmap(&attacked.guest, inputs).unwrap();
    let outcomes = results.chunk_size(3).timeout(SOON).collect();
    attacked.assert_in_order();
    outcomes
}

#[test]
fn no_item_of_a_chunk_ends_twice() {
    let outcomes = chunk("one item too many");
    assert!(
        outcomes.iter().all(|outcome| outcome.status() == "ok"),
        "{outcomes:?}"
    );
    assert_eq!(outcomes.len(), 3);
}

#[test]
fn an_item_of_a_chunk_that_is_never_reported_is_a_timeout() {
    let outcomes = chunk("one item too few");
    let statuses: Vec<_> = outcomes.iter().map(Outcome::status).collect();
    assert_eq!(statuses, ["ok", "ok", "timeout"]);
}

/// The task is not known to have started, so it is offered to other workers. After three deaths it fails.
#[test]
fn the_end_of_a_task_that_it_did_not_claim_is_believed_of_nobody() {
    let outcome = outcome("unclaimed");
    let error = outcome.result.as_ref().expect_err("it is no result");
    assert_eq!(error.kind, Kind::Crash);
    assert!(
        error
            .message
            .contains("3 workers died before they could start it"),
        "{}",
        error.message
    );
}

#[test]
fn a_wait_for_an_object_in_a_pool_without_any_is_a_crash() {
    breaks_the_protocol("waits");
    breaks_the_protocol("resumes");
}

#[test]
fn lies_about_waits_end_their_task_and_gain_no_time() {
    let manager = Manager::builder().executable(binary()).start().unwrap();
    let start = || Attacked::with_objects("attacker", 2, &manager);
    for attack in ["waits twice", "waits for a long name", "another waits", "resumes"] {
        let attacked = start();
        assert_broken(attack, &attacked.outcome(attack, ""));
        attacked.assert_in_order();
    }
    for attack in ["waits", "waits and resumes"] {
        assert_late(attack, start());
    }
}

#[test]
fn silence_is_a_timeout() {
    times_out("silent");
}

#[test]
fn half_a_message_is_a_timeout() {
    times_out("truncated");
    times_out("truncated payload");
}

#[test]
fn lies_about_the_claim_gain_no_time() {
    times_out("claimed in the future");
}

/// A claim with a time before the offer counts as one at the offer.
#[test]
fn a_claim_before_the_offer_does_not_end_the_task_early() {
    times_out("claimed long ago");
}

/// Everything is read, so that no process blocks on the pipe, and most of it is dropped.
#[test]
fn a_flood_of_diagnostics_holds_up_nobody() {
    let attacked = Attacked::start("attacker", 2);
    let flood = attacked.attack_for(SOON, "diagnostics", "");
    for _ in 0..100 {
        assert_eq!(attacked.outcome("none", "").status(), "ok");
    }
    assert_eq!(in_time(&flood).result.unwrap_err().kind, Kind::Timeout);
    attacked.assert_in_order();
}

/// An empty print is refused, as it would not count towards any cap.
#[test]
fn a_flood_of_nothing_ends_its_task_as_a_crash() {
    breaks_the_protocol("empty flood");
}
