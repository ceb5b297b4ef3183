//! The memories of values and arrays.

use std::collections::BTreeMap;
use std::fmt::Write as _;
use std::io;
use std::os::fd::OwnedFd;
use std::sync::Arc;

use mpwasm_objects::{Json, OperationError};
use mpwasm_system::number_memory::{self, NumberMemory};
use mpwasm_types::objects::{NumberOperation, NumberType, ObjectErrorKind, ObjectId, ObjectSpec};
use serde_json::Value;

/// The memories of values and arrays, by object.
#[derive(Debug, Default)]
pub struct Numbers {
    memories: BTreeMap<ObjectId, SharedNumbers>,
}

/// One memory.
#[derive(Debug)]
struct SharedNumbers {
    file: Arc<OwnedFd>,
    memory: NumberMemory,
}

impl Numbers {
    /// Creates the memory of an object.
    ///
    /// # Errors
    /// When the system has no memory or file descriptor left.
    pub fn create(&mut self, object: ObjectId, spec: ObjectSpec) -> io::Result<()> {
        let Some((number, count)) = spec.numbers() else {
            return Ok(());
        };
        let file = number_memory::create(number, count)?;
        let memory = NumberMemory::map(&file, number, count)?;
        let file = Arc::new(file);
        self.memories.insert(object, SharedNumbers { file, memory });
        Ok(())
    }

    /// Returns the file of an object's memory.
    pub fn file(&self, object: ObjectId) -> Option<Arc<OwnedFd>> {
        Some(Arc::clone(&self.memories.get(&object)?.file))
    }

    /// Returns the number of a value, or the array of numbers of an array. A number that JSON does not have is `null`. Returns `None`
    /// if the text has more than `most` bytes.
    pub fn read(&self, object: ObjectId, spec: ObjectSpec, most: usize) -> Option<Json> {
        let Some(SharedNumbers { memory, .. }) = self.memories.get(&object) else {
            return Some(Json::null());
        };
        let text = match spec {
            ObjectSpec::Value(_) => load(memory, 0).to_string(),
            // Written at once: a tree of the numbers would take many times their memory.
            _ => {
                let mut text = "[".to_owned();
                for index in 0..memory.len() {
                    let comma = if index == 0 { "" } else { "," };
                    write!(text, "{comma}{}", load(memory, index)).expect("a string accepts all text");
                    if text.len() >= most {
                        return None;
                    }
                }
                text.push(']');
                text
            }
        };
        Json::parse(&text)
    }

    /// Writes what [`read`](Self::read) has returned.
    ///
    /// # Errors
    /// Writes nothing if these are other numbers.
    pub fn write(&self, object: ObjectId, spec: ObjectSpec, numbers: &Json) -> Result<(), OperationError> {
        let error = |detail: &'static str| OperationError::new(ObjectErrorKind::Invalid, detail);
        let Some(SharedNumbers { memory, .. }) = self.memories.get(&object) else {
            return Err(error("it has no numbers"));
        };
        let parsed: Value =
            serde_json::from_str(numbers.as_str()).map_err(|_| error("the contents are no JSON"))?;
        let values = match (spec, parsed) {
            (ObjectSpec::Array(..), Value::Array(values)) => values,
            (ObjectSpec::Array(..), _) => return Err(error("the contents are no array")),
            (_, value) => vec![value],
        };
        if values.len() != memory.len() as usize {
            return Err(error("it has another count of numbers"));
        }
        if !values.iter().all(|value| is_of(memory.number_type(), value)) {
            return Err(error("a number of the contents is not of its type"));
        }
        for (index, value) in (0..).zip(&values) {
            store(memory, index, value);
        }
        Ok(())
    }
}

fn load(memory: &NumberMemory, index: u32) -> Value {
    let load = NumberOperation::Load;
    match memory.number_type() {
        NumberType::F32 | NumberType::F64 => {
            Value::from(memory.float(index, load, 0.0, 0.0).unwrap_or_default())
        }
        NumberType::U64 => Value::from(memory.int(index, load, 0, 0).unwrap_or_default().cast_unsigned()),
        _ => Value::from(memory.int(index, load, 0, 0).unwrap_or_default()),
    }
}

fn store(memory: &NumberMemory, index: u32, value: &Value) {
    let store = NumberOperation::Store;
    // The index and the type were checked.
    let _ = match memory.number_type() {
        NumberType::F32 | NumberType::F64 => memory
            .float(index, store, value.as_f64().unwrap_or(f64::NAN), 0.0)
            .map(drop),
        _ => {
            let bits = value
                .as_i64()
                .or_else(|| value.as_u64().map(u64::cast_signed))
                .unwrap_or_default();
            memory.int(index, store, bits, 0).map(drop)
        }
    };
}

/// Returns whether a number of this type can have the value.
fn is_of(number: NumberType, value: &Value) -> bool {
    match number {
        NumberType::F32 | NumberType::F64 => value.is_number() || value.is_null(),
        NumberType::U64 => value.is_u64(),
        _ => {
            let bits = 8 * number.size();
            let range = match number {
                NumberType::U8 | NumberType::U16 | NumberType::U32 => 0..=(1_i64 << bits) - 1,
                NumberType::I64 => i64::MIN..=i64::MAX,
                _ => -(1_i64 << (bits - 1))..=(1_i64 << (bits - 1)) - 1,
            };
            value.as_i64().is_some_and(|value| range.contains(&value))
        }
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    /// More bytes than any text here has.
    const MOST: usize = 100;

    #[test]
    fn an_array_whose_text_is_too_long_is_not_read() {
        let (numbers, spec) = numbers("array:u8:3");
        assert_eq!(numbers.read(ObjectId(1), spec, 7).unwrap().as_str(), "[0,0,0]");
        assert_eq!(numbers.read(ObjectId(1), spec, 6), None);
    }

    fn numbers(spec: &str) -> (Numbers, ObjectSpec) {
        let (mut numbers, spec) = (Numbers::default(), spec.parse().unwrap());
        numbers.create(ObjectId(1), spec).unwrap();
        (numbers, spec)
    }

    #[test]
    fn what_was_read_can_be_written() {
        for (spec, contents) in [
            ("value:i8", "-128"),
            ("value:u64", "18446744073709551615"),
            ("value:f64", "0.1"),
            ("value:f32", "null"),
            ("array:u32:3", "[0,1,4294967295]"),
            ("array:i64:1", "[-9223372036854775808]"),
        ] {
            let (numbers, spec) = numbers(spec);
            let contents = Json::parse(contents).unwrap();
            numbers.write(ObjectId(1), spec, &contents).unwrap();
            assert_eq!(numbers.read(ObjectId(1), spec, MOST), Some(contents));
        }
    }

    #[test]
    fn other_numbers_change_nothing() {
        for (spec, before, contents) in [
            ("value:i8", "0", "128"),
            ("value:i8", "0", "[1]"),
            ("value:u16", "0", "-1"),
            ("value:i64", "0", "1.5"),
            ("value:f64", "0.0", "\"1\""),
            ("array:u8:2", "[0,0]", "[1]"),
            ("array:u8:2", "[0,0]", "[1,256]"),
            ("array:u8:2", "[0,0]", "7"),
        ] {
            let (numbers, spec) = numbers(spec);
            let error = numbers.write(ObjectId(1), spec, &Json::parse(contents).unwrap());
            assert_eq!(error.unwrap_err().kind, ObjectErrorKind::Invalid);
            assert_eq!(numbers.read(ObjectId(1), spec, MOST).unwrap().as_str(), before);
        }
    }
}
