//! Handles a call from the host: reads the input, calls the guest's function, writes the output. Each function here is one
//! kind of export, generic over the model; `export` gives them their names.

use std::cell::RefCell;
use std::io::{self, Write};
use std::panic::PanicHookInfo;
use std::thread::LocalKey;

use serde::Serialize;
use serde::de::DeserializeOwned;

use crate::error::Error;
use crate::model::Model;
use crate::objects::reference as objects;
use crate::task_error::TaskError;
use crate::{fit, host, raw};

/// Code that an export returns on success. Any other code is a failure.
const OK: i32 = 0;
const FAILED: i32 = 1;

/// The state of a model's callbacks, which the expansion of `export!` keeps.
pub type State<M> = RefCell<Option<M>>;

/// Handles a call of the export `runnable`.
pub fn runnable<M: Model>() -> i32 {
    begin();
    with_result(fit::args::<M::Args>(&host::input()).and_then(M::runnable))
}

/// Handles a call of the export `callback`.
pub fn callback<M>(state: &'static LocalKey<State<M>>) -> i32
where
    M: Model,
    M::Output: DeserializeOwned,
{
    begin();
    ended(
        fit::value("the result", &host::input())
            .and_then(|result| with(state, |model| model.callback(result))),
    )
}

/// Handles a call of the export `error_callback`.
pub fn error_callback<M: Model>(state: &'static LocalKey<State<M>>) -> i32 {
    begin();
    ended(
        fit::value::<TaskError>("the error", &host::input())
            .and_then(|error| with(state, |model| model.error_callback(error))),
    )
}

/// Handles a call of the export `final_callback`.
pub fn final_callback<M: Model>(state: &'static LocalKey<State<M>>) -> i32 {
    begin();
    with_result(with(state, M::final_callback))
}

/// Handles a call of the export `tasks`.
pub fn tasks(push_all: fn() -> Result<(), Error>) -> i32 {
    begin();
    ended(push_all())
}

/// Forgets what the previous call left: this instance may serve many.
fn begin() {
    raw::take_written();
    objects::begin_call();
}

fn with<M: Model, T>(state: &'static LocalKey<State<M>>, call: impl FnOnce(&mut M) -> T) -> T {
    state.with_borrow_mut(|state| call(state.get_or_insert_default()))
}

fn with_result(result: Result<impl Serialize, Error>) -> i32 {
    match result {
        Ok(result) => {
            if !raw::take_written() {
                write_json(&result);
            }
            raw::flush();
            OK
        }
        Err(error) => failed(&error),
    }
}

fn ended(result: Result<(), Error>) -> i32 {
    match result {
        Ok(()) => {
            raw::flush();
            OK
        }
        Err(error) => failed(&error),
    }
}

fn failed(error: &Error) -> i32 {
    if raw::take_written() {
        // Only `fail` discards the output, and it takes a message only.
        raw::fail(&error.to_string());
    }
    host::output(error.as_json().as_bytes());
    raw::flush();
    FAILED
}

/// Writes the result as JSON.
fn write_json(result: &impl Serialize) {
    let mut out = OutputWriter(Vec::new());
    match serde_json::to_writer(&mut out, result) {
        Ok(()) => host::output(&out.0),
        Err(error) => raw::fail(&format!("the result is no JSON: {error}")),
    }
}

/// Passes a large result to the host in pieces, so that a guest does not need memory for all of it.
struct OutputWriter(Vec<u8>);

impl OutputWriter {
    /// Size of the buffer, bytes.
    const PIECE: usize = 32 << 10;
}

impl Write for OutputWriter {
    fn write(&mut self, bytes: &[u8]) -> io::Result<usize> {
        self.write_all(bytes)?;
        Ok(bytes.len())
    }

    fn write_all(&mut self, bytes: &[u8]) -> io::Result<()> {
        if self.0.len() + bytes.len() > Self::PIECE {
            host::output(&self.0);
            self.0.clear();
            if bytes.len() > Self::PIECE {
                host::output(bytes);
                return Ok(());
            }
        }
        self.0.extend_from_slice(bytes);
        Ok(())
    }

    fn flush(&mut self) -> io::Result<()> {
        Ok(())
    }
}

/// Makes a panic end the call as `error` with the panic's message and place.
#[cfg_attr(
    not(target_arch = "wasm32"),
    expect(dead_code, reason = "natively a panic is the test's own")
)]
pub(crate) fn install_panic_hook() {
    std::panic::set_hook(Box::new(|info| raw::fail(&panic_text(info))));
}

fn panic_text(info: &PanicHookInfo<'_>) -> String {
    let payload = info.payload();
    let message = match (payload.downcast_ref::<&str>(), payload.downcast_ref::<String>()) {
        (Some(text), _) => text,
        (_, Some(text)) => text.as_str(),
        _ => "a panic without a message",
    };
    match info.location() {
        Some(place) => format!("panicked at {place}: {message}"),
        None => format!("panicked: {message}"),
    }
}

#[cfg(test)]
mod tests {
    use super::*;
    use crate::testing;

    #[derive(Default)]
    struct Sum(u32);

    impl Model for Sum {
        type Args = (u32, u32);
        type Output = u32;

        fn runnable((a, b): Self::Args) -> Result<u32, Error> {
            match (a, b) {
                (0, 0) => Err(Error::with_data(&[0])),
                (7, _) => {
                    raw::output(b"77");
                    Ok(b)
                }
                (8, _) => {
                    raw::output(b"88");
                    Err("too late".into())
                }
                _ => Ok(a + b),
            }
        }

        fn callback(&mut self, sum: u32) -> Result<(), Error> {
            self.0 += sum;
            if self.0 > 10 {
                return Err(format!("{}", self.0).into());
            }
            Ok(())
        }

        fn error_callback(&mut self, error: TaskError) -> Result<(), Error> {
            Err(format!("{} after {}", error.kind, self.0).into())
        }

        fn final_callback(&mut self) -> Result<serde_json::Value, Error> {
            match self.0 {
                0 => Err("there was nothing to add".into()),
                sum => Ok(sum.into()),
            }
        }
    }

    thread_local! {
        static STATE: State<Sum> = const { RefCell::new(None) };
    }

    #[test]
    fn runnable_gets_the_args_and_puts_out_the_result() {
        assert_eq!(testing::call("[1,2]", runnable::<Sum>), (OK, "3".to_owned()));
    }

    #[test]
    fn a_failure_puts_out_the_error() {
        assert_eq!(
            testing::call("[0,0]", runnable::<Sum>),
            (FAILED, "[0]".to_owned())
        );
        let (status, error) = testing::call("[1]", runnable::<Sum>);
        assert_eq!(status, FAILED);
        assert!(error.starts_with("\"the args do not fit"), "{error}");
    }

    #[test]
    fn raw_output_takes_the_place_of_the_result() {
        assert_eq!(testing::call("[7,2]", runnable::<Sum>), (OK, "77".to_owned()));
        assert_eq!(testing::call("[1,2]", runnable::<Sum>), (OK, "3".to_owned()));
    }

    #[test]
    #[should_panic(expected = "too late")]
    fn an_error_after_raw_output_ends_in_fail() {
        testing::call("[8,2]", runnable::<Sum>);
    }

    #[test]
    fn callbacks_accumulate_state_and_keep_it_when_they_fail() {
        let callback = || callback::<Sum>(&STATE);
        let error_callback = || error_callback::<Sum>(&STATE);
        assert_eq!(testing::call("4", callback), (OK, String::new()));
        assert_eq!(testing::call("8", callback), (FAILED, "\"12\"".to_owned()));
        let (status, error) = testing::call(r#"{"kind":"timeout","message":"m"}"#, error_callback);
        assert_eq!((status, error.as_str()), (FAILED, "\"timeout after 12\""));
        let (status, error) = testing::call("\"x\"", callback);
        assert_eq!(status, FAILED);
        assert!(
            error.starts_with("\"the result does not fit: invalid type"),
            "{error}"
        );
    }

    #[test]
    fn the_final_callback_puts_out_what_the_others_accumulated() {
        let last = || final_callback::<Sum>(&STATE);
        let nothing = (FAILED, "\"there was nothing to add\"".to_owned());
        assert_eq!(testing::call("null", last), nothing);
        testing::call("4", || callback::<Sum>(&STATE));
        testing::call("5", || callback::<Sum>(&STATE));
        assert_eq!(testing::call("null", last), (OK, "9".to_owned()));
    }

    #[test]
    fn a_large_result_arrives_whole() {
        let parts: Vec<String> = [1, OutputWriter::PIECE - 8, 10, 2 * OutputWriter::PIECE, 0, 3]
            .map(|len| "x".repeat(len))
            .to_vec();
        let (_, json) = testing::call("", || {
            write_json(&parts);
            OK
        });
        assert_eq!(serde_json::from_str::<Vec<String>>(&json).unwrap(), parts);
    }

    #[test]
    #[should_panic(expected = "the result is no JSON: key must be a string")]
    fn a_result_that_is_no_json_ends_in_fail() {
        write_json(&std::collections::BTreeMap::from([((1, 2), 3)]));
    }
}
