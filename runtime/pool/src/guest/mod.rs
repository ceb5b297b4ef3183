//! [`Guest`], [`Model`] and [`Task`]: loaded guests and the calls that are made with them.

mod loading;

use std::borrow::Cow;
use std::ffi::OsStr;
use std::path::Path;
use std::sync::Arc;
use std::time::Duration;

use serde::Serialize;
use serde_json::value::RawValue;

use crate::compile::compiled_guest::CompiledGuest;
use crate::completion::cancellation::CancellationToken;
use crate::error::Error;
use crate::grants::trusted_paths::TrustedPaths;
use mpwasm_sandbox::child::Executable;
use mpwasm_types::guest_info::GuestInfo;
use mpwasm_types::ids::{GuestId, ModelId, PoolId};
use mpwasm_types::invocation::Invocation;
use mpwasm_types::retry::Retry;
use mpwasm_types::settings::Settings;
use mpwasm_types::task::TaskInput;
use mpwasm_types::task_check::{InputError, UnknownModel, check_input, find_model, write_args};
use mpwasm_types::task_line::TaskLine;

/// A loaded guest. Cheap to clone. Only the pool that loaded it runs its tasks; a [`Command`](crate::command::Command) runs it in
/// processes of its own.
#[derive(Clone, Debug)]
pub struct Guest(Arc<GuestParts>);

/// The parts of a guest.
#[derive(Debug)]
pub(crate) struct GuestParts {
    /// The pool that loaded it, if one did.
    pub pool: Option<PoolId>,
    /// Its index in the pool, in the order of loading.
    pub index: GuestId,
    pub name: String,
    /// SHA-256 of its bytes.
    pub hash: [u8; 32],
    pub compiled: Arc<CompiledGuest>,
    /// The settings that it was compiled with and its tasks run with.
    pub settings: Settings,
    /// The executable of the processes that run it.
    pub executable: Executable,
    /// Paths that its tasks must not be able to change.
    pub trusted: TrustedPaths,
}

/// A model of a guest.
#[derive(Clone, Debug)]
pub struct Model {
    guest: Guest,
    index: ModelId,
}

/// A task to be pushed: a model, a timeout and args.
#[derive(Clone, Debug)]
pub struct Task {
    pub(crate) guest: Guest,
    pub(crate) model: ModelId,
    pub(crate) key: Option<String>,
    pub(crate) timeout: Duration,
    /// `None` for the pool's policy.
    pub(crate) retry: Option<Retry>,
    /// The args, a JSON array on one line, or the error that `push` returns.
    pub(crate) args: Result<Box<RawValue>, InvalidCall>,
    /// The token that cancels it.
    pub(crate) token: Option<CancellationToken>,
    /// The stdin of a command; empty for other guests.
    pub(crate) stdin: Box<[u8]>,
}

/// A [`Model`], or a [`Guest`] for its unnamed model.
pub trait Callable: sealed::Sealed {
    /// Returns the model.
    ///
    /// # Errors
    /// [`Error::UnknownModel`], for a guest without an unnamed one.
    fn model(&self) -> Result<Model, Error>;
}

mod sealed {
    pub trait Sealed {}
    impl Sealed for crate::guest::Guest {}
    impl Sealed for crate::guest::Model {}
}

impl Callable for Guest {
    fn model(&self) -> Result<Model, Error> {
        Self::model(self, "")
    }
}

impl Callable for Model {
    fn model(&self) -> Result<Model, Error> {
        Ok(self.clone())
    }
}

/// Why a task can't be pushed.
#[derive(Clone, Debug)]
pub(crate) enum InvalidCall {
    /// The guest has no such model.
    Model(Box<UnknownModel>),
    /// The args are invalid.
    Args(InputError),
}

impl From<InvalidCall> for Error {
    fn from(reason: InvalidCall) -> Self {
        match reason {
            InvalidCall::Model(why) => Self::UnknownModel(*why),
            InvalidCall::Args(why) => Self::InvalidArgs(why),
        }
    }
}

impl Guest {
    pub(crate) fn new(parts: GuestParts) -> Self {
        Self(Arc::new(parts))
    }

    /// Checks that this pool loaded the guest. In another pool its index would refer to another guest.
    ///
    /// # Errors
    /// [`Error::ForeignGuest`].
    pub(crate) fn belongs_to(&self, pool: PoolId) -> Result<(), Error> {
        if self.0.pool == Some(pool) {
            return Ok(());
        }
        let name = self.0.name.clone();
        Err(Error::ForeignGuest { name })
    }

    /// Returns the guest's models, exports and initial sizes.
    #[must_use]
    pub fn info(&self) -> &GuestInfo {
        &self.0.compiled.info
    }

    /// Returns the name that it was loaded by.
    #[must_use]
    pub fn name(&self) -> &str {
        &self.0.name
    }

    /// Returns the SHA-256 hash of the guest's file.
    #[must_use]
    pub fn hash(&self) -> &[u8; 32] {
        &self.0.hash
    }

    /// Returns the model with this name; the unnamed one is `""`.
    ///
    /// # Errors
    /// [`Error::UnknownModel`], which lists the guest's models.
    pub fn model(&self, name: &str) -> Result<Model, Error> {
        let index = find_model(self.info(), name).map_err(Error::UnknownModel)?;
        Ok(Model {
            guest: self.clone(),
            index,
        })
    }

    /// Makes a task for the unnamed model. `args` are the positional args: a tuple, array or vector that serde can write as JSON, or
    /// `()` for none.
    ///
    /// Invalid args, and a guest without an unnamed model, are reported when the task is pushed.
    #[must_use]
    pub fn task(&self, args: impl Serialize) -> Task {
        let unnamed = find_model(self.info(), "");
        match unnamed {
            Ok(index) => Model {
                guest: self.clone(),
                index,
            }
            .task(args),
            Err(why) => Task {
                guest: self.clone(),
                model: ModelId(0),
                key: None,
                timeout: self.0.settings.timeout,
                retry: None,
                args: Err(InvalidCall::Model(Box::new(why))),
                token: None,
                stdin: Box::default(),
            },
        }
    }

    /// Makes the task that a task line describes. A line that names no model gets `default_model`.
    ///
    /// # Errors
    /// [`Error::UnknownModel`], or [`Error::InvalidArgs`].
    #[doc(hidden)]
    pub fn line_task(&self, line: &TaskLine, default_model: &str) -> Result<Task, Error> {
        let model = self.model(line.model.as_deref().unwrap_or(default_model))?;
        let stdin = line.stdin.as_deref();
        let args = self
            .checked(Cow::Borrowed(&line.args), stdin)
            .map_err(Error::InvalidArgs)?;
        let timeout = line.timeout.unwrap_or(self.0.settings.timeout);
        Ok(Task {
            guest: self.clone(),
            model: model.index,
            key: line.key.clone(),
            timeout,
            retry: None,
            args: Ok(args),
            token: None,
            stdin: stdin.unwrap_or_default().into(),
        })
    }

    /// Checks the args and returns them on one line.
    fn checked(&self, args: Cow<'_, RawValue>, stdin: Option<&[u8]>) -> Result<Box<RawValue>, InputError> {
        check_input(self.info(), args, stdin, self.0.settings.max_args)
    }

    /// Returns the input for the worker: the args, or for a command its encoded invocation.
    pub(crate) fn input<'a>(&self, args: &'a RawValue, stdin: &[u8]) -> TaskInput<Cow<'a, [u8]>> {
        if !self.info().is_command {
            return TaskInput::Json(Cow::Borrowed(args.get().as_bytes()));
        }
        let invocation = Invocation::new(self.program(), args, stdin);
        let invocation = invocation.expect("args are checked where a task is made");
        TaskInput::Command(Cow::Owned(invocation.encode()))
    }

    /// Returns a command's `argv[0]`: the guest's name without its directory.
    pub(crate) fn program(&self) -> &str {
        let name = Path::new(&self.0.name).file_name();
        name.and_then(OsStr::to_str).unwrap_or(&self.0.name)
    }

    pub(crate) fn index(&self) -> GuestId {
        self.0.index
    }

    pub(crate) fn model_name(&self, model: ModelId) -> &str {
        &self.info().models[model.index()].name
    }

    /// Returns the artifact for callbacks, folds and `tasks`.
    pub(crate) fn checked_artifact(&self) -> &std::fs::File {
        let compiled = &self.0.compiled;
        compiled.checked_artifact.as_ref().unwrap_or(&compiled.artifact)
    }

    pub(crate) fn compiled(&self) -> &Arc<CompiledGuest> {
        &self.0.compiled
    }

    /// Returns the settings that it was compiled with.
    pub(crate) fn settings(&self) -> &Settings {
        &self.0.settings
    }

    pub(crate) fn executable(&self) -> &Executable {
        &self.0.executable
    }

    pub(crate) fn trusted(&self) -> &TrustedPaths {
        &self.0.trusted
    }
}

impl Model {
    /// Makes a task for this model. `args` are the positional args: a tuple, array or vector that serde can write as JSON, or `()`
    /// for none.
    ///
    /// Invalid args are reported when the task is pushed.
    #[must_use]
    pub fn task(&self, args: impl Serialize) -> Task {
        let args = write_args(&args)
            .and_then(|args| self.guest.checked(Cow::Owned(args), None))
            .map_err(InvalidCall::Args);
        Task {
            guest: self.guest.clone(),
            model: self.index,
            key: None,
            timeout: self.guest.0.settings.timeout,
            retry: None,
            args,
            token: None,
            stdin: Box::default(),
        }
    }

    /// Returns its name; empty for the unnamed one.
    #[must_use]
    pub fn name(&self) -> &str {
        self.guest.model_name(self.index)
    }

    /// Returns its guest and its index there.
    pub(crate) fn guest_and_index(&self) -> (&Guest, ModelId) {
        (&self.guest, self.index)
    }

    pub(crate) fn timeout(&self) -> Duration {
        self.guest.0.settings.timeout
    }

    pub(crate) fn max_args(&self) -> u64 {
        self.guest.0.settings.max_args
    }
}

/// The parts of a task, from [`Task::parts`].
#[derive(Clone, Copy, Debug)]
pub struct TaskParts<'a> {
    /// Its guest.
    pub guest: &'a Guest,
    /// Its model; empty for the unnamed one.
    pub model: &'a str,
    /// Its key, if it has one.
    pub key: Option<&'a str>,
    /// How long it may run.
    pub timeout: Duration,
    /// Its args: a JSON array on one line. `None` when the task is invalid; pushing it returns the error.
    pub args: Option<&'a str>,
    /// The stdin of a command; empty for other guests.
    pub stdin: &'a [u8],
}

impl Task {
    /// Returns the parts of the task, to recognise or show it.
    #[doc(hidden)]
    #[must_use]
    pub fn parts(&self) -> TaskParts<'_> {
        TaskParts {
            guest: &self.guest,
            model: self.guest.model_name(self.model),
            key: self.key.as_deref(),
            timeout: self.timeout,
            args: self.args.as_ref().ok().map(|args| args.get()),
            stdin: &self.stdin,
        }
    }

    /// Returns the task, or the error that pushing it would return.
    pub(crate) fn checked(self) -> Result<Self, Error> {
        match self.args {
            Ok(_) => Ok(self),
            Err(reason) => Err(reason.into()),
        }
    }

    /// Sets how long it may run, from the moment a worker claims it, instantiation included. By default the pool's timeout. With
    /// zero it ends as `timeout`.
    #[must_use]
    pub fn timeout(mut self, timeout: Duration) -> Self {
        self.timeout = timeout;
        self
    }

    /// Sets when it is retried after a failure. By default the pool's policy, which is never unless the builder sets one.
    #[must_use]
    pub fn retry(mut self, retry: Retry) -> Self {
        self.retry = Some(retry);
        self
    }

    /// Sets the stdin of a command; empty by default.
    ///
    /// For a guest that is not a command, pushing the task returns an error. Args and stdin together are limited by
    /// [`Settings::max_args`](mpwasm_types::settings::Settings::max_args).
    ///
    /// ```no_run
    /// # fn main() -> Result<(), mpwasm::Error> {
    /// # let pool = mpwasm::Pool::builder().start()?;
    /// let sort = pool.load("sort.wasm")?; // exports `_start` and no `runnable`
    /// let outcome = pool.submit(sort.task(["-r"]).stdin("1\n2\n"))?.wait();
    /// println!("{:?}", outcome.result); // {"exit_code":0,"stdout":"2\n1\n","stderr":""}
    /// # pool.stop()
    /// # }
    /// ```
    #[must_use]
    pub fn stdin(mut self, bytes: impl Into<Vec<u8>>) -> Self {
        let bytes = bytes.into();
        if let Ok(args) = &self.args
            && let Err(why) = self.guest.checked(Cow::Borrowed(args), Some(&bytes))
        {
            self.args = Err(InvalidCall::Args(why));
        }
        self.stdin = bytes.into();
        self
    }

    /// Sets the key: a name of the caller's choice, which the task's record contains.
    #[must_use]
    pub fn key(mut self, key: impl Into<String>) -> Self {
        self.key = Some(key.into());
        self
    }

    /// Adds the task to the token's group.
    #[must_use]
    pub fn token(mut self, token: &CancellationToken) -> Self {
        self.token = Some(token.clone());
        self
    }
}
