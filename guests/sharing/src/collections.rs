//! Tasks change a dict and a list.

use mpwasm_guest::objects::{Dict, List, Lock};
use mpwasm_guest::{Error, Model};

/// Notes the square of a number in a dict, and the number in a list.
///
/// Args: the dict, the list, and the number.
#[derive(Default)]
pub struct Collect;

impl Model for Collect {
    type Args = (Dict<u64, u64>, List<u64>, u64);
    type Output = ();

    fn runnable((squares, numbers, number): Self::Args) -> Result<(), Error> {
        squares.set(&number, &(number * number))?;
        Ok(numbers.append(&number)?)
    }
}

/// Counts words in a dict. `add` is one request, so no count is lost, and no lock is needed.
///
/// Args: the dict, and a text.
#[derive(Default)]
pub struct Count;

impl Model for Count {
    type Args = (Dict<String, u64>, String);
    type Output = ();

    fn runnable((counts, text): Self::Args) -> Result<(), Error> {
        for word in text.split_whitespace() {
            counts.add(word, 1)?;
        }
        Ok(())
    }
}

/// Counts in a dict by reading and writing a value, as programs in Python must. Each time it holds a lock, without which counts of
/// other tasks would be lost.
///
/// Args: the lock, the dict, and how often.
#[derive(Default)]
pub struct CountWithLock;

impl Model for CountWithLock {
    type Args = (Lock, Dict<String, u64>, u32);
    type Output = ();

    fn runnable((lock, counts, times): Self::Args) -> Result<(), Error> {
        for _ in 0..times {
            let guard = lock.acquire()?;
            let count = counts.get("count")?.unwrap_or(0);
            counts.set("count", &(count + 1))?;
            guard.release()?;
        }
        Ok(())
    }
}
