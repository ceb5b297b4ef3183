//! Reports that an honest worker cannot make.

use super::*;
use mpwasm_types::outcome::Kind;

#[test]
fn a_report_that_an_honest_worker_cannot_make_is_a_fault() {
    let mut pool = Pool::ready(1);
    assert_eq!(pool.report(W0, Frame::Ready), Err(ProtocolFault::ReadyTwice));
    assert_eq!(
        pool.report(W0, Frame::Ended(OfferId(0), MS)),
        Err(ProtocolFault::NotNext),
        "it has nothing"
    );
    pool.push_many(2);
    pool.turn();
    assert_eq!(
        pool.report(W0, Frame::Ended(OfferId(1), MS)),
        Err(ProtocolFault::NotNext)
    );
    assert_eq!(
        pool.report(W0, Frame::Ended(OfferId(0), MS)),
        Err(ProtocolFault::NotClaimed)
    );
    assert_eq!(
        pool.report(W0, Frame::Skipped(OfferId(0))),
        Err(ProtocolFault::NotRevoked)
    );
    pool.cancel(0);
    assert_eq!(
        pool.report(W0, Frame::Ended(OfferId(0), MS)),
        Err(ProtocolFault::Revoked)
    );
    pool.work_all();
    assert_eq!(pool.ended, [1], "a fault changes nothing");
}

#[test]
fn a_worker_that_breaks_the_protocol_is_killed() {
    let mut pool = Pool::ready(1);
    let task = pool.push(LONG);
    pool.work_all();
    let now = pool.simulator.now;
    pool.scheduler.protocol_broken(
        W0,
        "it sent a frame that is too long".to_owned(),
        now,
        &mut pool.simulator,
    );
    pool.work_all();
    let message = "its worker broke the protocol and was killed: it sent a frame that is too long";
    assert_eq!(
        (pool.failure(task).kind, pool.failure(task).message.as_str()),
        (Kind::Crash, message)
    );
}
