//! The export `_initialize`, which prepares an instance.

use crate::call;

unsafe extern "C" {
    /// Runs the constructors of everything that is linked into the guest. The linker defines it.
    fn __wasm_call_ctors();
}

/// Prepares the instance. The host calls it once, before any other export.
///
/// It calls the constructors itself. In a module that does not, the linker wraps each export in a function that runs the
/// constructors, so they would run again in each call.
#[unsafe(no_mangle)]
extern "C" fn _initialize() {
    // SAFETY: the host calls this once for each instance, before anything else of the guest runs.
    unsafe { __wasm_call_ctors() };
    call::install_panic_hook();
}
