//! Loaded guests, their models, and the tasks that are made from them.

mod loading;

use std::borrow::Cow;
use std::ffi::OsStr;
use std::path::Path;
use std::sync::Arc;
use std::time::Duration;

use serde::Serialize;
use serde_json::value::RawValue;

use crate::completion::cancellation::CancellationToken;
use crate::error::Error;
use crate::grants::trusted_paths::TrustedPaths;
use crate::local::compile::CompiledGuest;
use crate::local::state::PoolState;
use mpwasm_sandbox::child::Executable;
use mpwasm_types::guest_info::GuestInfo;
use mpwasm_types::invocation::Invocation;
use mpwasm_types::retry::Retry;
use mpwasm_types::settings::Settings;
use mpwasm_types::task_line::{TaskLine, check_input, find_model, write_args};

/// A guest that was loaded. Cheap to clone. Only the pool that has loaded it runs its tasks; a
/// [`Command`](crate::command::Command) runs it in processes of its own.
#[derive(Clone, Debug)]
pub struct Guest(Arc<LoadedGuest>);

#[derive(Debug)]
struct LoadedGuest {
    /// The pool that has loaded it, if one has.
    pool: Option<u64>,
    /// Its number: guests count in the order of loading.
    index: u32,
    name: String,
    /// SHA-256 of its bytes.
    hash: [u8; 32],
    compiled: Arc<CompiledGuest>,
    /// What it was compiled with, and its tasks run with.
    settings: Settings,
    executable: Executable,
    /// Where it and the executable come from.
    trusted: TrustedPaths,
}

/// A model of a guest.
#[derive(Clone, Debug)]
pub struct Model {
    guest: Guest,
    index: u32,
}

/// A task to be pushed: a model, a timeout and args.
#[derive(Clone, Debug)]
pub struct Task {
    pub(crate) guest: Guest,
    pub(crate) model: u32,
    pub(crate) key: Option<String>,
    pub(crate) timeout: Duration,
    /// `None` for what the pool has.
    pub(crate) retry: Option<Retry>,
    /// One line of JSON: an array. Or what is wrong with the task, which `push` returns.
    pub(crate) args: Result<Box<RawValue>, InvalidCall>,
    /// What cancels it.
    pub(crate) token: Option<CancellationToken>,
    /// All that a command can read; empty for other guests.
    pub(crate) stdin: Box<[u8]>,
}

/// What can be called: a [`Model`], or a [`Guest`] for its unnamed one.
pub trait Callable: sealed::Sealed {
    /// The model.
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
    /// There is no such model.
    Model(String),
    /// The args are none.
    Args(String),
}

impl From<InvalidCall> for Error {
    fn from(flaw: InvalidCall) -> Self {
        match flaw {
            InvalidCall::Model(why) => Self::UnknownModel(why),
            InvalidCall::Args(why) => Self::InvalidArgs(why),
        }
    }
}

impl Guest {
    pub(crate) fn new(
        index: u32,
        name: &str,
        hash: [u8; 32],
        compiled: Arc<CompiledGuest>,
        shared: &PoolState,
    ) -> Self {
        Self(Arc::new(LoadedGuest {
            pool: Some(shared.number),
            index,
            name: name.to_owned(),
            hash,
            compiled,
            settings: shared.settings.clone(),
            executable: shared.executable.clone(),
            trusted: shared.trusted.clone(),
        }))
    }

    /// One that no pool has.
    pub(crate) fn alone(
        name: &str,
        hash: [u8; 32],
        compiled: Arc<CompiledGuest>,
        settings: Settings,
        executable: Executable,
        trusted: TrustedPaths,
    ) -> Self {
        Self(Arc::new(LoadedGuest {
            pool: None,
            index: 0,
            name: name.to_owned(),
            hash,
            compiled,
            settings,
            executable,
            trusted,
        }))
    }

    /// # Errors
    /// [`Error::ForeignGuest`], when this pool has not loaded it: its number would mean another guest here.
    pub(crate) fn belongs_to(&self, shared: &PoolState) -> Result<(), Error> {
        if self.0.pool == Some(shared.number) {
            return Ok(());
        }
        let name = self.0.name.clone();
        Err(Error::ForeignGuest { name })
    }

    /// What is in the guest.
    #[must_use]
    pub fn info(&self) -> &GuestInfo {
        &self.0.compiled.info
    }

    /// The name that it was loaded by.
    #[must_use]
    pub fn name(&self) -> &str {
        &self.0.name
    }

    /// SHA-256 of the guest's bytes, as they were read: the same guest in another run has the same.
    #[must_use]
    pub fn hash(&self) -> &[u8; 32] {
        &self.0.hash
    }

    /// The model with this name; the unnamed one is `""`.
    ///
    /// # Errors
    /// [`Error::UnknownModel`]: it names those that there are.
    pub fn model(&self, name: &str) -> Result<Model, Error> {
        let index = find_model(self.info(), name).map_err(Error::UnknownModel)?;
        Ok(Model {
            guest: self.clone(),
            index,
        })
    }

    /// A task for the unnamed model: a tuple, array or vector of what serde can write as JSON is the positional
    /// args, `()` is none.
    ///
    /// Args that are no JSON array, and a guest without an unnamed model, are told when the task is pushed.
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
                model: 0,
                key: None,
                timeout: self.0.settings.timeout,
                retry: None,
                args: Err(InvalidCall::Model(why)),
                token: None,
                stdin: Box::default(),
            },
        }
    }

    /// Makes the task that a task line describes. `default_model` is meant where the line names none.
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

    /// The args of a task on one line.
    fn checked(&self, args: Cow<'_, RawValue>, stdin: Option<&[u8]>) -> Result<Box<RawValue>, String> {
        check_input(self.info(), args, stdin, self.0.settings.max_args)
    }

    /// What a task's worker is given: the args, or for a command all that it is started with.
    pub(crate) fn input<'a>(&self, args: &'a RawValue, stdin: &[u8]) -> Cow<'a, [u8]> {
        if !self.info().is_command {
            return Cow::Borrowed(args.get().as_bytes());
        }
        let invocation = Invocation::new(self.program(), args, stdin);
        Cow::Owned(
            invocation
                .expect("args are checked where a task is made")
                .encode(),
        )
    }

    /// A command's `argv[0]`: the name that it was loaded by, without the folder.
    pub(crate) fn program(&self) -> &str {
        let name = Path::new(&self.0.name).file_name();
        name.and_then(OsStr::to_str).unwrap_or(&self.0.name)
    }

    pub(crate) fn index(&self) -> u32 {
        self.0.index
    }

    pub(crate) fn model_name(&self, model: u32) -> &str {
        &self.info().models[model as usize].name
    }

    pub(crate) fn artifact(&self) -> &std::fs::File {
        &self.0.compiled.artifact
    }

    pub(crate) fn compiled(&self) -> &Arc<CompiledGuest> {
        &self.0.compiled
    }

    /// What it was compiled with.
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
    /// A task for this model: a tuple, array or vector is the positional args, `()` is none.
    ///
    /// Args that are no JSON array are told when the task is pushed.
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

    /// Its name; empty for the unnamed one.
    #[must_use]
    pub fn name(&self) -> &str {
        self.guest.model_name(self.index)
    }

    /// Its guest, and its place among the guest's models.
    pub(crate) fn place(&self) -> (&Guest, u32) {
        (&self.guest, self.index)
    }

    pub(crate) fn timeout(&self) -> Duration {
        self.guest.0.settings.timeout
    }

    pub(crate) fn max_args(&self) -> u64 {
        self.guest.0.settings.max_args
    }
}

/// What a task is made of. See [`Task::parts`].
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
    /// Its args, one line of JSON: an array. `None` where there is something wrong with the task, which pushing it
    /// tells.
    pub args: Option<&'a str>,
    /// All that a command can read; empty for other guests.
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

    /// Itself, or already now what pushing it would tell.
    pub(crate) fn checked(self) -> Result<Self, Error> {
        match self.args {
            Ok(_) => Ok(self),
            Err(flaw) => Err(flaw.into()),
        }
    }

    /// How long it may run, from the moment a worker claims it; instantiation counts. The pool's timeout otherwise.
    /// With zero it ends as `timeout`.
    #[must_use]
    pub fn timeout(mut self, timeout: Duration) -> Self {
        self.timeout = timeout;
        self
    }

    /// When it is tried again after it failed. The pool's policy otherwise, which is never if the builder was not told.
    #[must_use]
    pub fn retry(mut self, retry: Retry) -> Self {
        self.retry = Some(retry);
        self
    }

    /// What a command can read from its stdin. Without this call it is empty.
    ///
    /// A guest that is no command has none: that is told when the task is pushed. Args and stdin together may have as
    /// many bytes as [`Settings::max_args`](mpwasm_types::settings::Settings::max_args) says.
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

    /// A name by which the pusher knows it: it stands in the task's record.
    #[must_use]
    pub fn key(mut self, key: impl Into<String>) -> Self {
        self.key = Some(key.into());
        self
    }

    /// Makes it part of the token's group.
    #[must_use]
    pub fn token(mut self, token: &CancellationToken) -> Self {
        self.token = Some(token.clone());
        self
    }
}
