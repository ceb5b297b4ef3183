//! Tests of dicts, lists and namespaces, by the operations of requests.

mod contents;
mod dicts;
mod lists;
mod namespaces;

use super::*;
use crate::budget::Budget;
use crate::operation::Operation;
use crate::operation_error::OperationError;
use mpwasm_types::objects::{MAX_VALUE, ObjectErrorKind, ObjectKind};

/// A cap that no test reaches by accident.
const MEMORY: u64 = 1 << 30;

/// An object that is tested.
#[derive(Debug)]
enum Object {
    Dict(DictState),
    List(ListState),
    Namespace(NamespaceState),
}

/// An object with a budget of its own.
#[derive(Debug)]
struct Rig {
    object: Object,
    budget: Budget,
}

impl Rig {
    fn new(object: Object, memory: u64) -> Self {
        Self {
            object,
            budget: Budget::new(memory),
        }
    }

    fn dict(memory: u64) -> Self {
        Self::new(Object::Dict(DictState::default()), memory)
    }

    fn list(memory: u64) -> Self {
        Self::new(Object::List(ListState::default()), memory)
    }

    fn namespace(memory: u64) -> Self {
        Self::new(Object::Namespace(NamespaceState::default()), memory)
    }

    /// Does an operation as a request does. Afterwards the budget has what the object takes.
    fn try_call(&mut self, name: &str, args: &str) -> Result<String, OperationError> {
        let kind = match self.object {
            Object::Dict(_) => ObjectKind::Dict,
            Object::List(_) => ObjectKind::List,
            Object::Namespace(_) => ObjectKind::Namespace,
        };
        let operation = Operation::parse(kind, name, args.as_bytes())?;
        let before = self.budget.used();
        let reply = match (&mut self.object, operation) {
            (Object::Dict(dict), Operation::Dict(operation)) => dict.apply(operation, &mut self.budget),
            (Object::List(list), Operation::List(operation)) => list.apply(operation, &mut self.budget),
            (Object::Namespace(namespace), Operation::Namespace(operation)) => {
                namespace.apply(operation, &mut self.budget)
            }
            (object, operation) => panic!("{operation:?} on {object:?}"),
        };
        let bytes = match &self.object {
            Object::Dict(dict) => dict.bytes(),
            Object::List(list) => list.bytes(),
            Object::Namespace(namespace) => namespace.bytes(),
        };
        assert_eq!(self.budget.used(), bytes, "after {name}");
        assert!(
            reply.is_ok() || bytes == before,
            "{name} failed and changed something"
        );
        let reply = reply?;
        assert!(
            reply.as_str().len() <= MAX_VALUE,
            "a reply of {} bytes",
            reply.as_str().len()
        );
        Ok(reply.as_str().to_owned())
    }

    /// Does an operation that succeeds.
    fn call(&mut self, name: &str, args: &str) -> String {
        self.try_call(name, args)
            .unwrap_or_else(|error| panic!("{name} {args:.100}: {error:?}"))
    }

    /// Does an operation that fails.
    fn fail(&mut self, name: &str, args: &str) -> ObjectErrorKind {
        self.try_call(name, args).expect_err("this must fail").kind
    }
}

/// Returns the JSON text of a string of this many bytes, quotes included.
fn text(bytes: usize) -> String {
    format!("\"{}\"", "a".repeat(bytes - 2))
}

/// Returns an array of many equal values.
fn many(value: &str, count: usize) -> String {
    format!("[{}]", vec![value; count].join(","))
}
