//! Turns inputs of a map into tasks or chunks and submits them.

use std::borrow::Cow;
use std::fmt;
use std::sync::Arc;
use std::time::Duration;

use serde::Serialize;

use crate::completion::cancellation::CancellationToken;
use crate::completion::queue::ResultQueue;
use crate::error::Error;
use crate::guest::{Model, Task};
use crate::ledger::task::Recipient;
use crate::ledger::unrun::{self, InvalidTask};
use crate::maps::reorder::ReorderBuffer;
use crate::pool::state::PoolState;
use mpwasm_types::items;
use mpwasm_types::outcome::Outcome;
use mpwasm_types::task::{TaskInput, TaskSpec};
use mpwasm_types::task_check::{InputError, check_args, write_args};

/// Bytes of args at which a chunk is full, however few items it has. A chunk's frame is as large as that of one task plus this.
const CHUNK_BYTES: usize = 32 << 10;

/// How an input becomes args.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum ArgShape {
    /// The input is the only argument.
    One,
    /// The input is the tuple of all arguments.
    Star,
}

/// The model and options that a map applies to each input.
#[derive(Debug)]
pub struct MapCall {
    model: Model,
    shape: ArgShape,
    pub timeout: Duration,
    pub token: Option<CancellationToken>,
    pub chunk_size: usize,
}

impl MapCall {
    pub fn new(model: Model, shape: ArgShape) -> Self {
        Self {
            timeout: model.timeout(),
            model,
            shape,
            token: None,
            chunk_size: 1,
        }
    }

    /// Returns whether the guest is a command, which runs once per instance.
    pub fn is_of_command(&self) -> bool {
        self.model.guest_and_index().0.info().is_command
    }

    /// Returns whether its token was cancelled.
    pub fn is_cancelled(&self) -> bool {
        self.token.as_ref().is_some_and(CancellationToken::is_cancelled)
    }

    fn task(&self, input: &impl Serialize) -> Task {
        let task = match self.shape {
            ArgShape::One => self.model.task((input,)),
            ArgShape::Star => self.model.task(input),
        };
        let task = task.timeout(self.timeout);
        match &self.token {
            Some(token) => task.token(token),
            None => task,
        }
    }

    /// Appends the input's args to those of a chunk.
    fn append(&self, input: &impl Serialize, args: &mut Vec<u8>) -> Result<(), InputError> {
        let written = match self.shape {
            ArgShape::One => write_args(&(input,)),
            ArgShape::Star => write_args(input),
        };
        let line = check_args(Cow::Owned(written?), self.model.max_args())?;
        items::put(args, line.get().as_bytes());
        Ok(())
    }
}

/// Inputs that were pulled and not submitted yet.
#[derive(Debug)]
pub struct Batch<'a> {
    call: &'a MapCall,
    room: usize,
    tasks: Vec<Task>,
    args: Vec<u8>,
    items: u32,
    /// What is wrong with the last input, if it can't be an item of a chunk.
    invalid_input: Option<InputError>,
}

impl<'a> Batch<'a> {
    /// Creates a batch for at most `room` inputs.
    pub fn new(call: &'a MapCall, room: usize) -> Self {
        Self {
            call,
            room,
            tasks: Vec::new(),
            args: Vec::new(),
            items: 0,
            invalid_input: None,
        }
    }

    /// Returns whether one more input may be pulled.
    pub fn has_room(&self) -> bool {
        self.room > 0 && self.args.len() < CHUNK_BYTES && self.invalid_input.is_none()
    }

    /// Adds an input.
    pub fn add(&mut self, input: &impl Serialize) {
        self.room -= 1;
        if self.call.chunk_size == 1 {
            self.tasks.push(self.call.task(input));
            return;
        }
        match self.call.append(input, &mut self.args) {
            Ok(()) => self.items += 1,
            Err(invalid_input) => self.invalid_input = Some(invalid_input),
        }
    }

    /// Submits the inputs; the caller flushes. `reorder` numbers each input, and the input's outcome goes to `queue`.
    ///
    /// # Errors
    /// When the pool accepts no more tasks. Inputs that came too late still have an outcome.
    pub fn push(
        self,
        pool: &Arc<PoolState>,
        queue: &Arc<ResultQueue>,
        reorder: &mut ReorderBuffer,
    ) -> Result<(), Error> {
        let Self {
            call,
            tasks,
            args,
            items,
            invalid_input,
            ..
        } = self;
        let complete = |number: u64, outcome: Outcome| {
            // The caller is the consumer of the queue, so no waiter has to be woken.
            let _ = queue.push((number, outcome));
        };
        let mut closed = Ok(());
        // The lock is held for all inputs, refused ones included: ids are assigned in the order of the inputs.
        let mut submissions = pool.submissions();
        for task in tasks {
            let number = reorder.pull(1);
            let recipient = Recipient::Results(Arc::clone(queue), number);
            match submissions.add(task, recipient) {
                Ok(_) => {}
                Err(Error::Closed) => {
                    closed = Err(Error::Closed);
                    complete(number, pool.too_late(&call.model));
                }
                Err(error) => complete(number, call.invalid(pool, &error)),
            }
        }
        if items > 0 {
            let first = reorder.pull(items.into());
            let (guest, model) = call.model.guest_and_index();
            let spec = TaskSpec {
                guest: guest.index(),
                model,
                timeout: call.timeout,
                input: TaskInput::Chunk { items, args },
            };
            let results = (Arc::clone(queue), first);
            if let Err(error) = submissions.add_chunk(guest, spec, call.token.clone(), results) {
                closed = Err(error);
                let all = first..first + u64::from(items);
                all.for_each(|number| complete(number, pool.too_late(&call.model)));
            }
        }
        if let Some(invalid_input) = invalid_input {
            complete(reorder.pull(1), call.invalid(pool, &invalid_input));
        }
        closed
    }
}

impl MapCall {
    /// Returns the outcome of an input that is not a valid task. The caller holds the lock on submissions, so that ids
    /// are assigned in the order of the inputs.
    fn invalid(&self, pool: &PoolState, why: &impl fmt::Display) -> Outcome {
        let rejection = |id| InvalidTask {
            id,
            key: None,
            model: self.model.name().to_owned(),
            args: None,
            message: why.to_string(),
        };
        match pool.ledger.take_id() {
            Ok(id) => pool.report_invalid(rejection(id)),
            Err(_) => unrun::invalid(rejection(pool.ledger.next_id())),
        }
    }
}
