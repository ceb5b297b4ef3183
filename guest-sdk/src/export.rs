//! [`export!`](crate::export!): exports a guest's models and its `tasks` hook under the names of the guest ABI.

/// Exports the models of a guest, and its `tasks` hook. A guest needs it exactly once, outside of any function.
///
/// | entry | exports |
/// |---|---|
/// | `Type` | the unnamed model: `runnable`, `callback`, `error_callback` |
/// | `"name" => Type` | a model with that name: `name.runnable`, `name.callback`, `name.error_callback` |
/// | `Type: runnable`, `"name" => Type: runnable + error_callback` | only the functions that are listed |
/// | `Type: runnable + callback + final_callback` | with the end of a fold, which is exported only when it is listed |
/// | `tasks => function` | the hook `tasks`, a `fn() -> Result<(), Error>` |
///
/// Entries are separated by commas. List the functions of a model that has no callbacks, or only one: a callback
/// that is exported and left at its default costs the dispatcher a call for each task. `runnable` itself always has to
/// be listed.
///
/// A name is made of ASCII letters, digits, `_` and `-`; `initializer` is reserved. A guest has at most 64 models, and
/// one type may serve several names.
///
/// ```
/// use mpwasm_guest::{Error, InfoTask, Model, push};
///
/// #[derive(Default)]
/// struct Plain;
/// impl Model for Plain {
///     type Args = ();
///     type Output = ();
///     fn runnable(_: ()) -> Result<(), Error> {
///         Ok(())
///     }
/// }
///
/// #[derive(Default)]
/// struct Repeat {
///     length: usize,
/// }
/// impl Model for Repeat {
///     type Args = (String, usize);
///     type Output = String;
///     fn runnable((text, times): Self::Args) -> Result<String, Error> {
///         Ok(text.repeat(times))
///     }
///     fn callback(&mut self, text: String) -> Result<(), Error> {
///         self.length += text.len();
///         println!("{} bytes", self.length);
///         Ok(())
///     }
/// }
///
/// fn push_both() -> Result<(), Error> {
///     push(InfoTask::new("", None, ()))?;
///     push(InfoTask::new("repeat", None, ("ab", 3)))?;
///     Ok(())
/// }
///
/// mpwasm_guest::export! {
///     Plain: runnable,
///     "repeat" => Repeat: runnable + callback,
///     tasks => push_both,
/// }
/// ```
///
/// A name with other characters does not compile:
///
/// ```compile_fail
/// # use mpwasm_guest::{Error, Model};
/// # #[derive(Default)]
/// # struct Plain;
/// # impl Model for Plain {
/// #     type Args = ();
/// #     type Output = ();
/// #     fn runnable(_: ()) -> Result<(), Error> { Ok(()) }
/// # }
/// mpwasm_guest::export!("a.b" => Plain);
/// ```
// The attribute that names an export counts as unsafe code, but not to a crate that forbids it and uses this
// macro: lints do not apply to the macros of other crates. The generated functions have names that guests do not use,
// because the guest's own `tasks` must stay visible.
#[macro_export]
macro_rules! export {
    () => {};

    // Internal: one model, then one function of it.
    (@model $model:ty, $prefix:expr, $($function:ident)+) => {
        const _: () = {
            ::std::thread_local! {
                #[allow(dead_code)]
                static STATE: $crate::__private::State<$model> = const { ::std::cell::RefCell::new(None) };
            }
            $($crate::export! { @function $function, $model, $prefix })+
        };
    };
    (@function runnable, $model:ty, $prefix:expr) => {
        #[cfg_attr(target_arch = "wasm32", unsafe(export_name = ::std::concat!($prefix, "runnable")))]
        #[allow(dead_code)]
        extern "C" fn __runnable() -> i32 {
            $crate::__private::runnable::<$model>()
        }
    };
    (@function callback, $model:ty, $prefix:expr) => {
        #[cfg_attr(target_arch = "wasm32", unsafe(export_name = ::std::concat!($prefix, "callback")))]
        #[allow(dead_code)]
        extern "C" fn __callback() -> i32 {
            $crate::__private::callback::<$model>(&STATE)
        }
    };
    (@function error_callback, $model:ty, $prefix:expr) => {
        #[cfg_attr(target_arch = "wasm32", unsafe(export_name = ::std::concat!($prefix, "error_callback")))]
        #[allow(dead_code)]
        extern "C" fn __error_callback() -> i32 {
            $crate::__private::error_callback::<$model>(&STATE)
        }
    };
    (@function final_callback, $model:ty, $prefix:expr) => {
        #[cfg_attr(target_arch = "wasm32", unsafe(export_name = ::std::concat!($prefix, "final_callback")))]
        #[allow(dead_code)]
        extern "C" fn __final_callback() -> i32 {
            $crate::__private::final_callback::<$model>(&STATE)
        }
    };
    (@function $other:ident, $model:ty, $prefix:expr) => {
        ::std::compile_error!("a model has the functions runnable, callback, error_callback and final_callback");
    };

    (tasks => $tasks:path $(, $($rest:tt)*)?) => {
        const _: () = {
            #[cfg_attr(target_arch = "wasm32", unsafe(export_name = "tasks"))]
            #[allow(dead_code)]
            extern "C" fn __tasks() -> i32 {
                $crate::__private::tasks($tasks)
            }
        };
        $crate::export! { $($($rest)*)? }
    };

    ($name:literal => $model:ty: runnable $(+ $function:ident)* $(, $($rest:tt)*)?) => {
        const _: () = $crate::__private::check_name($name);
        $crate::export! { @model $model, ::std::concat!($name, "."), runnable $($function)* }
        $crate::export! { $($($rest)*)? }
    };
    ($name:literal => $model:ty $(, $($rest:tt)*)?) => {
        $crate::export! { $name => $model: runnable + callback + error_callback $(, $($rest)*)? }
    };

    ($model:ty: runnable $(+ $function:ident)* $(, $($rest:tt)*)?) => {
        $crate::export! { @model $model, "", runnable $($function)* }
        $crate::export! { $($($rest)*)? }
    };
    ($model:ty $(, $($rest:tt)*)?) => {
        $crate::export! { $model: runnable + callback + error_callback $(, $($rest)*)? }
    };
}

/// Checks at compile time that `GUEST#MODEL` and a task line can name a model so.
///
/// # Panics
///
/// When they can't. In a `const` that is a compile error.
pub const fn check_name(name: &str) {
    let bytes = name.as_bytes();
    assert!(
        !bytes.is_empty(),
        "a model's name is not empty: leave it out for the unnamed model"
    );
    assert!(
        !matches!(bytes, b"initializer"),
        "the model name `initializer` is reserved"
    );
    let mut i = 0;
    while i < bytes.len() {
        assert!(
            bytes[i].is_ascii_alphanumeric() || matches!(bytes[i], b'_' | b'-'),
            "a model's name is made of ASCII letters, digits, `_` and `-`"
        );
        i += 1;
    }
}

#[cfg(test)]
mod tests {
    use super::check_name;

    #[test]
    fn names_are_checked() {
        let is_fine = |name: &'static str| std::panic::catch_unwind(|| check_name(name)).is_ok();
        for name in ["a", "Resize", "resize-2", "_", "runnable", "initializers"] {
            assert!(is_fine(name), "{name}");
        }
        for name in ["", "initializer", "a.b", "a$b", "a b", "ä", "a#b", "a\n"] {
            assert!(!is_fine(name), "{name:?}");
        }
    }
}
