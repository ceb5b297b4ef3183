//! Commands of which each reads what the one before it writes.

use std::io::{self, ErrorKind, Write};

use mpwasm::Error;
use mpwasm::command::Command;

use crate::children::{assert_unread, command, large, tool};
use crate::common::in_time;

#[test]
fn a_pipeline_of_two_and_of_three_passes_on_all_of_it() {
    let cat = || command("cat").max_output(u64::MAX);
    let outputs = in_time(move || cat().stdin(large()).pipe(cat()).output().unwrap());
    assert!(outputs.len() == 2 && outputs[0].stdout.is_empty() && outputs[1].stdout == large());
    let outputs = in_time(move || cat().stdin(large()).pipe(cat()).pipe(cat()).output().unwrap());
    assert!(outputs.len() == 3 && outputs[2].stdout == large());
    assert!(outputs.iter().all(|output| output.status.success()));
    // Each command has an exit status and stderr of its own.
    let outputs = command("x3").pipe(command("x4")).output().unwrap();
    let ends: Vec<_> = outputs
        .iter()
        .map(|output| (output.status.code(), &*output.stderr))
        .collect();
    assert_eq!(ends, [(Some(3), &b"to stderr\n"[..]), (Some(4), b"to stderr\n")]);
}

#[test]
fn a_reader_that_ends_early_ends_the_writer() {
    let outputs = in_time(|| command("flood").pipe(Command::new(&tool())).output().unwrap());
    assert_eq!(outputs[1].stdout, b"none\n");
    assert!(outputs[1].status.success());
    assert_unread(&outputs[0].status);
    let outputs = in_time(|| {
        let three = command("flood").pipe(command("cat")).pipe(Command::new(&tool()));
        three.output().unwrap()
    });
    outputs[..2]
        .iter()
        .for_each(|output| assert_unread(&output.status));
}

#[test]
fn a_pipeline_whose_second_can_not_be_started_leaves_nothing_of_the_first() {
    let (stdin, mut writer) = io::pipe().unwrap();
    let refused = in_time(|| command("zzz").stdin(stdin).pipe(command("a\0b")).output());
    assert!(matches!(refused, Err(Error::InvalidArgs(_))), "{refused:?}");
    // It held the other end of this pipe, which is now closed everywhere.
    let unread = in_time(move || {
        loop {
            if let Err(error) = writer.write_all(b"x") {
                break error;
            }
            std::thread::yield_now();
        }
    });
    assert_eq!(unread.kind(), ErrorKind::BrokenPipe);
}
