//! Tasks hand items over in a queue.

use std::thread::sleep;
use std::time::Duration;

use mpwasm_guest::objects::{JoinableQueue, List, ObjectErrorKind, Queue};
use mpwasm_guest::{Error, Model, Value, json};

/// Fills a queue of three items. The fourth does not fit.
///
/// Args: the queue, and the milliseconds to wait for room. Result: how each of the four was put, and what the queue says then.
#[derive(Default)]
pub struct Fill;

impl Model for Fill {
    type Args = (Queue<String>, u64);
    type Output = Value;

    fn runnable((queue, millis): Self::Args) -> Result<Value, Error> {
        let mut puts = Vec::new();
        for item in ["first", "second", "third", "fourth"] {
            let put = queue.put_timeout(&item.to_owned(), Duration::from_millis(millis));
            puts.push(match put {
                Ok(()) => "ok".to_owned(),
                Err(error) if error.kind == ObjectErrorKind::Full => error.message,
                Err(error) => return Err(error.into()),
            });
        }
        let (size, full, empty) = (queue.qsize()?, queue.full()?, queue.empty()?);
        Ok(json!({"puts": puts, "qsize": size, "full": full, "empty": empty}))
    }
}

/// Puts numbers into a queue, with a pause before each.
///
/// Args: the queue, how many, and the milliseconds of a pause.
#[derive(Default)]
pub struct Produce;

impl Model for Produce {
    type Args = (Queue<u64>, u64, u64);
    type Output = ();

    fn runnable((queue, count, millis): Self::Args) -> Result<(), Error> {
        for number in 0..count {
            sleep(Duration::from_millis(millis));
            queue.put(&number)?;
        }
        Ok(())
    }
}

/// Takes items as Python programs often do: it asks whether the queue is empty, and tries again after a pause.
///
/// Other tasks may be faster between the question and the `get`, so this one does not wait there either. `get_timeout` does all of it
/// in one request.
///
/// Args: the queue, how many items to take, and how often to find it empty before giving up. Result: the items.
#[derive(Default)]
pub struct Consume;

impl Model for Consume {
    type Args = (Queue<u64>, usize, u32);
    type Output = Vec<u64>;

    fn runnable((queue, count, mut retries): Self::Args) -> Result<Vec<u64>, Error> {
        let mut items = Vec::new();
        while items.len() < count {
            if queue.empty()? {
                retries = retries.checked_sub(1).ok_or("the queue stays empty")?;
                sleep(Duration::from_millis(1));
                continue;
            }
            match queue.get_nowait() {
                Ok(item) => items.push(item),
                Err(error) if error.kind == ObjectErrorKind::Empty => {}
                Err(error) => return Err(error.into()),
            }
        }
        Ok(items)
    }
}

/// Takes the numbers of the queue `numbers`, which was granted to the pool under this name, until it is closed.
///
/// Args: none. Result: the sum.
#[derive(Default)]
pub struct ConsumeByName;

impl Model for ConsumeByName {
    type Args = ();
    type Output = u64;

    fn runnable((): ()) -> Result<u64, Error> {
        let numbers = Queue::<u64>::named("numbers");
        let mut sum = 0;
        for number in numbers.iter() {
            sum += number?;
        }
        Ok(sum)
    }
}

/// Works on the items of a joinable queue until it is closed. Fails on the item `"fail"`, which then goes to another task.
///
/// Args: the queue, and a list for what is done. Result: how many items this task has done.
#[derive(Default)]
pub struct Work;

impl Model for Work {
    type Args = (JoinableQueue<String>, List<String>);
    type Output = usize;

    fn runnable((jobs, done): Self::Args) -> Result<usize, Error> {
        let mut count = 0;
        for job in jobs.iter() {
            let job = job?;
            if job == "fail" && mpwasm_guest::attempt() == 1 {
                return Err("as asked for".into());
            }
            done.append(&job)?;
            jobs.task_done()?;
            count += 1;
        }
        Ok(count)
    }
}

/// Puts items into a joinable queue, waits until all of them are done, and closes it.
///
/// Args: the queue, and the items.
#[derive(Default)]
pub struct Join;

impl Model for Join {
    type Args = (JoinableQueue<String>, Vec<String>);
    type Output = ();

    fn runnable((jobs, items): Self::Args) -> Result<(), Error> {
        jobs.put_many(&items)?;
        jobs.join()?;
        Ok(jobs.close()?)
    }
}
