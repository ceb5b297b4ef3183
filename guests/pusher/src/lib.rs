//! A guest whose `tasks` hook fails half-way: it pushes five tasks and panics. These tasks must still run.

#![forbid(unsafe_code)]

use mpwasm_guest::{Error, InfoTask, Model, push};

/// Returns its arg. Its callback counts the results.
#[derive(Default)]
struct Count {
    results: u32,
}

impl Model for Count {
    type Args = (u32,);
    type Output = u32;

    fn runnable((number,): Self::Args) -> Result<Self::Output, Error> {
        Ok(number)
    }

    fn callback(&mut self, number: Self::Output) -> Result<(), Error> {
        self.results += 1;
        println!("count {}: {number}", self.results);
        Ok(())
    }
}

fn tasks() -> Result<(), Error> {
    for number in 0..5_u32 {
        let id = push(InfoTask::new("count", None, (number,)).key(format!("key {number}")))?;
        println!("pushed {id}");
    }
    panic!("no more tasks");
}

mpwasm_guest::export! {
    "count" => Count: runnable + callback,
    tasks => tasks,
}
