//! The export `_initialize`, which makes an instance ready.

use crate::call;

unsafe extern "C" {
    /// The linker's own: runs the constructors of everything that is linked into the guest.
    fn __wasm_call_ctors();
}

/// Makes the instance ready; the host calls it once, before any other export.
///
/// It calls the constructors itself, because a module that does not gets every export wrapped by the linker
/// such that they run again with each call.
#[unsafe(no_mangle)]
extern "C" fn _initialize() {
    // SAFETY: the host calls this once for each instance, before anything else of the guest runs.
    unsafe { __wasm_call_ctors() };
    call::install_panic_hook();
}
