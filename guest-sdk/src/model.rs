//! The trait that a guest's models implement.

use serde::Serialize;
use serde::de::DeserializeOwned;
use serde_json::Value;

use crate::error::Error;
use crate::task_error::TaskError;

/// A model: the function that a task runs, and the callbacks that follow its end.
///
/// [`export!`](crate::export!) makes its functions exports of the guest. The value of the type itself is the state of the
/// callbacks; `runnable` has none, because every task starts from nothing.
///
/// ```
/// use mpwasm_guest::{Error, Model};
///
/// #[derive(Default)]
/// struct Add;
///
/// impl Model for Add {
///     type Args = (i64, i64);
///     type Output = i64;
///
///     fn runnable((a, b): Self::Args) -> Result<Self::Output, Error> {
///         Ok(a.checked_add(b).ok_or("the sum is too large")?)
///     }
/// }
///
/// assert_eq!(Add::runnable((1, 2)), Ok(3));
/// mpwasm_guest::export!(Add: runnable);
/// ```
pub trait Model: Default + 'static {
    /// The args of a task, which are a JSON array.
    ///
    /// A tuple is the positional args: `(u64, String)` takes two, `(u64,)` one, `()` none. `Vec<T>` takes any
    /// number of one type. A struct that derives `Deserialize` takes its fields in the order of their
    /// declaration, and those with `#[serde(default)]` may be missing at the end.
    type Args: DeserializeOwned;

    /// The result of a task: any type that serde can write as JSON. `()` becomes `null`.
    type Output: Serialize;

    /// Runs a task, in a worker process and in a fresh instance of the guest.
    ///
    /// # Errors
    ///
    /// The task then ends as `error`, with the message or the data of the [`Error`].
    fn runnable(args: Self::Args) -> Result<Self::Output, Error>;

    /// Receives the result of each task of this model that succeeded, in the dispatcher process.
    ///
    /// Exporting it requires an `Output` that serde can also read. The bound is on this function and not on the type,
    /// because a model that exports no `callback` does not need it. An implementation may omit the bound.
    ///
    /// # Errors
    ///
    /// The callback then counts as failed in the task's record; the state in `self` is kept.
    fn callback(&mut self, result: Self::Output) -> Result<(), Error>
    where
        Self::Output: DeserializeOwned,
    {
        let _ = result;
        Ok(())
    }

    /// Receives the error of each task of this model that failed: what `runnable` returned, a panic, a timeout, a
    /// worker that died. Runs in the dispatcher process, in the same instance as [`callback`](Self::callback).
    ///
    /// # Errors
    ///
    /// The callback then counts as failed in the task's record; the state in `self` is kept.
    fn error_callback(&mut self, error: TaskError) -> Result<(), Error> {
        let _ = error;
        Ok(())
    }

    /// Returns what the callbacks have accumulated over all tasks, as any JSON: the end of a fold.
    ///
    /// Called once, when every task of the pool has ended, in the dispatcher process and in the instance of the
    /// callbacks. Not called when that instance was discarded after a panic or a timeout, or when the pool was ended
    /// early. It must be exported by name: list it in [`export!`](crate::export!), as in
    /// `Sum: runnable + callback + final_callback`.
    ///
    /// ```
    /// use mpwasm_guest::{Error, Model, Value};
    ///
    /// #[derive(Default)]
    /// struct Sum(u64);
    ///
    /// impl Model for Sum {
    ///     type Args = (u64,);
    ///     type Output = u64;
    ///
    ///     fn runnable((number,): Self::Args) -> Result<u64, Error> {
    ///         Ok(number)
    ///     }
    ///
    ///     fn callback(&mut self, number: u64) -> Result<(), Error> {
    ///         self.0 += number;
    ///         Ok(())
    ///     }
    ///
    ///     fn final_callback(&mut self) -> Result<Value, Error> {
    ///         Ok(self.0.into())
    ///     }
    /// }
    ///
    /// mpwasm_guest::export!(Sum: runnable + callback + final_callback);
    /// ```
    ///
    /// # Errors
    ///
    /// The pool then has no final value of this model. The message of the error takes its place.
    fn final_callback(&mut self) -> Result<Value, Error> {
        Ok(Value::Null)
    }
}
