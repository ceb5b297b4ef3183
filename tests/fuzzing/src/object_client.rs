//! Shared objects for a fuzzed guest, which are in no other process.

use std::sync::Arc;
use std::time::Duration;

use mpwasm_engine::{Deadline, ObjectCallError, ObjectCaller, ObjectClient, ObjectTarget, OpenedObject};
use mpwasm_system::clock;
use mpwasm_system::number_memory::{self, NumberMemory};
use mpwasm_types::objects::{ObjectError, ObjectErrorKind, ObjectId, ObjectSpec};

/// Opens objects whose names are their specs. An operation replies with its arguments, or waits.
pub(super) struct Objects {
    deadline: Arc<Deadline>,
    next: u64,
    in_call: bool,
}

impl Objects {
    /// Creates a client for the calls that `deadline` covers.
    pub(super) fn new(deadline: Arc<Deadline>) -> Self {
        Self {
            deadline,
            next: 0,
            in_call: false,
        }
    }
}

/// Largest array. A guest can have a thousand open.
const MAX_NUMBERS: u64 = 4096;

impl ObjectClient for Objects {
    fn start_call(&mut self, _caller: ObjectCaller) {
        assert!(!self.in_call, "the previous call has ended");
        self.in_call = true;
    }

    fn open(&mut self, target: ObjectTarget<'_>) -> Result<OpenedObject, ObjectCallError> {
        assert!(self.in_call, "a call is started first");
        let name = match target {
            ObjectTarget::Handle(handle) => &*handle.label,
            ObjectTarget::Name(name) => name,
        };
        let spec = name.parse::<ObjectSpec>().ok();
        let Some(spec) = spec.filter(|spec| spec.number_memory() <= MAX_NUMBERS) else {
            return Err(ObjectError::new(ObjectErrorKind::NoSuchObject, name, "open").into());
        };
        let numbers = spec.numbers().map(|(number, count)| {
            let file = number_memory::create(number, count).expect("there is memory");
            Arc::new(NumberMemory::map(file, number, count).expect("it is ours"))
        });
        self.next += 1;
        Ok(OpenedObject {
            id: ObjectId(self.next),
            spec,
            label: name.into(),
            numbers,
        })
    }

    fn call(
        &mut self,
        object: &OpenedObject,
        operation: &str,
        args: &[u8],
        timeout: Option<Duration>,
    ) -> Result<Vec<u8>, ObjectCallError> {
        assert!(self.in_call, "a call is started first");
        if operation == "wait" {
            let timeout = timeout.unwrap_or(Duration::MAX);
            self.deadline.sleep_until(clock::now() + timeout)?;
            return Err(ObjectError::new(ObjectErrorKind::Timeout, &object.label, operation).into());
        }
        Ok(args.to_vec())
    }

    fn end_call(&mut self, _succeeded: bool) {
        assert!(self.in_call, "it ends once");
        self.in_call = false;
    }
}
