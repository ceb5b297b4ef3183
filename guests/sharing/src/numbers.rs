//! Tasks change numbers in shared memory.

use mpwasm_guest::objects::{Array, Value};
use mpwasm_guest::{Error, Model};

/// Adds 1 to a number, again and again. No addition is lost, however many tasks do the same.
///
/// Args: the number, and how often.
#[derive(Default)]
pub struct Increment;

impl Model for Increment {
    type Args = (Value<i64>, u32);
    type Output = ();

    fn runnable((total, times): Self::Args) -> Result<(), Error> {
        for _ in 0..times {
            total.add(1)?;
        }
        Ok(())
    }
}

/// Adds 1 to a number by reading and writing it, again and again. Each time it holds the number's lock, without which additions of other
/// tasks would be lost.
///
/// Args: the number, and how often.
#[derive(Default)]
pub struct IncrementWithLock;

impl Model for IncrementWithLock {
    type Args = (Value<i64>, u32);
    type Output = ();

    fn runnable((total, times): Self::Args) -> Result<(), Error> {
        for _ in 0..times {
            let guard = total.lock()?;
            let number = total.load()?;
            total.store(number + 1)?;
            guard.release()?;
        }
        Ok(())
    }
}

/// Adds to each number of an array, and half as much to a float.
///
/// Args: the float, the array, and what to add.
#[derive(Default)]
pub struct Change;

impl Model for Change {
    type Args = (Value<f64>, Array<i32>, i32);
    type Output = ();

    fn runnable((number, numbers, more): Self::Args) -> Result<(), Error> {
        number.add(f64::from(more) / 2.0)?;
        for index in 0..numbers.len()? {
            numbers.add(index, more)?;
        }
        Ok(())
    }
}
