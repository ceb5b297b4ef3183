//! [`Proxy`]: an object of a manager, as this program uses it. The typed proxies wrap it.

use std::fmt;
use std::io;
use std::sync::Arc;

use serde::de::DeserializeOwned;
use serde::{Serialize, Serializer};

use crate::objects::client::{CallFailed, OpenReply, OwnerClient};
use crate::objects::thread_call::this_call;
use crate::objects::wait_limit::WaitLimit;
use mpwasm_system::number_memory::NumberMemory;
use mpwasm_types::objects::{Handle, ObjectError, ObjectErrorKind, ObjectId, ObjectSpec, Token};

/// The args of an operation that takes none: an empty array.
pub const NO_ARGS: [(); 0] = [];

/// An open object. Cheap to clone.
#[derive(Clone)]
pub struct Proxy(Arc<ProxyState>);

struct ProxyState {
    client: Arc<OwnerClient>,
    token: Token,
    id: ObjectId,
    label: String,
    spec: ObjectSpec,
    /// The numbers of a value or an array.
    memory: Option<NumberMemory>,
}

impl Proxy {
    /// Wraps an object that the client has opened.
    ///
    /// # Errors
    /// [`ObjectErrorKind::Unavailable`] when the memory of a value or an array can't be mapped.
    pub fn new(client: Arc<OwnerClient>, token: Token, opened: OpenReply) -> Result<Self, ObjectError> {
        let OpenReply {
            id,
            spec,
            label,
            memory,
        } = opened;
        let mapped = spec.numbers().map(|(number, count)| match memory {
            Some(memory) => NumberMemory::map(memory, number, count),
            None => Err(io::Error::other("its memory did not come with it")),
        });
        let memory = mapped.transpose().map_err(|error| {
            ObjectError::new(ObjectErrorKind::Unavailable, &label, "open")
                .on(spec.kind())
                .with_detail(&error.to_string())
        })?;
        Ok(Self(Arc::new(ProxyState {
            client,
            token,
            id,
            label,
            spec,
            memory,
        })))
    }

    /// Returns the numbers of a value or an array.
    pub fn memory(&self) -> &NumberMemory {
        let memory = self.0.memory.as_ref();
        memory.expect("a proxy is typed as a value or an array only if it has numbers")
    }

    /// Returns what the object is.
    pub fn spec(&self) -> ObjectSpec {
        self.0.spec
    }

    /// Returns the client that has opened it.
    pub fn client(&self) -> &Arc<OwnerClient> {
        &self.0.client
    }

    /// Returns the token that names it.
    pub fn token(&self) -> Token {
        self.0.token
    }

    /// Returns its label, by which errors and records name it.
    pub fn label(&self) -> &str {
        &self.0.label
    }

    /// Calls an operation, and returns its reply.
    ///
    /// # Errors
    /// Those of the operation; [`ObjectErrorKind::Unavailable`] when the manager has ended;
    /// [`ObjectErrorKind::Invalid`] when the args can't be written as JSON, or the reply is not an `R`.
    pub fn call<R: DeserializeOwned>(
        &self,
        operation: &'static str,
        args: &impl Serialize,
        wait: WaitLimit,
    ) -> Result<R, ObjectError> {
        let args = serde_json::to_vec(args).map_err(|error| {
            self.error(
                ObjectErrorKind::Invalid,
                operation,
                &format!("the args can't be written as JSON: {error}"),
            )
        })?;
        let opened = &*self.0;
        let reply = this_call(&opened.client)
            .and_then(|call| opened.client.call(call, opened.id, operation, &args, wait));
        let reply = reply.map_err(|failed| self.named(failed, operation))?;
        serde_json::from_slice(&reply).map_err(|error| {
            let detail = format!("the reply is not of the type that was asked for: {error}");
            self.error(ObjectErrorKind::Invalid, operation, &detail)
        })
    }

    /// Calls an operation that replies nothing.
    ///
    /// # Errors
    /// As [`Proxy::call`].
    pub fn run(
        &self,
        operation: &'static str,
        args: &impl Serialize,
        wait: WaitLimit,
    ) -> Result<(), ObjectError> {
        self.call(operation, args, wait).map(|serde::de::IgnoredAny| ())
    }

    /// Returns an error of an operation of this object.
    pub fn error(&self, kind: ObjectErrorKind, operation: &str, detail: &str) -> ObjectError {
        ObjectError::new(kind, &self.0.label, operation)
            .on(self.0.spec.kind())
            .with_detail(detail)
    }

    /// Returns the error of a request that concerns this object.
    pub fn named(&self, failed: CallFailed, operation: &str) -> ObjectError {
        let error = failed.of(&self.0.label, operation);
        match error.object_kind {
            None => error.on(self.0.spec.kind()),
            Some(_) => error,
        }
    }
}

/// Shows no token.
impl fmt::Debug for Proxy {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        write!(f, "{} `{}`", self.0.spec, self.0.label)
    }
}

/// Writes the handle by which a guest opens the object.
impl Serialize for Proxy {
    fn serialize<S: Serializer>(&self, serializer: S) -> Result<S::Ok, S::Error> {
        let handle = Handle {
            label: self.0.label.clone(),
            token: self.0.token,
        };
        handle.serialize(serializer)
    }
}

/// Returns the error of an operation that has waited until its timeout, as Python names it: the queue was empty or full.
pub fn timed_out_as<T>(kind: ObjectErrorKind, result: Result<T, ObjectError>) -> Result<T, ObjectError> {
    result.map_err(|error| match error.kind {
        ObjectErrorKind::Timeout => ObjectError { kind, ..error },
        _ => error,
    })
}

/// Returns `None` for a key, index or value that is missing.
pub fn found<T>(result: Result<T, ObjectError>) -> Result<Option<T>, ObjectError> {
    match result {
        Err(error) if error.kind == ObjectErrorKind::Missing => Ok(None),
        result => result.map(Some),
    }
}

/// A proxy of a typed object, for [`Builder::object`](crate::Builder::object).
pub trait Shared: sealed::HasProxy {}

/// Keeps [`Shared`] to the types of this crate.
pub mod sealed {
    use super::Proxy;

    /// Returns the untyped proxy.
    pub trait HasProxy {
        /// Returns the untyped proxy.
        fn proxy(&self) -> &Proxy;
    }
}

/// Defines a typed proxy, with everything that all of them have.
macro_rules! typed_proxy {
    ($(#[$doc:meta])* $name:ident $(<$($param:ident),+>)?) => {
        $(#[$doc])*
        pub struct $name $(<$($param),+>)? {
            proxy: $crate::objects::proxy::Proxy,
            $(values: std::marker::PhantomData<fn($($param),+) -> ($($param,)+)>,)?
        }

        impl $(<$($param),+>)? $name $(<$($param),+>)? {
            pub(crate) fn new(proxy: $crate::objects::proxy::Proxy) -> Self {
                Self {
                    proxy,
                    $(values: std::marker::PhantomData::<fn($($param),+) -> ($($param,)+)>,)?
                }
            }

            /// Returns its label, by which errors and records name it.
            #[must_use]
            pub fn label(&self) -> &str {
                self.proxy.label()
            }
        }

        impl $(<$($param),+>)? Clone for $name $(<$($param),+>)? {
            fn clone(&self) -> Self {
                Self::new(self.proxy.clone())
            }
        }

        impl $(<$($param),+>)? std::fmt::Debug for $name $(<$($param),+>)? {
            fn fmt(&self, f: &mut std::fmt::Formatter<'_>) -> std::fmt::Result {
                self.proxy.fmt(f)
            }
        }

        impl $(<$($param),+>)? serde::Serialize for $name $(<$($param),+>)? {
            fn serialize<S: serde::Serializer>(&self, serializer: S) -> Result<S::Ok, S::Error> {
                self.proxy.serialize(serializer)
            }
        }

        impl $(<$($param),+>)? $crate::objects::proxy::sealed::HasProxy for $name $(<$($param),+>)? {
            fn proxy(&self) -> &$crate::objects::proxy::Proxy {
                &self.proxy
            }
        }

        impl $(<$($param),+>)? $crate::objects::proxy::Shared for $name $(<$($param),+>)? {}
    };
}

pub(crate) use typed_proxy;
