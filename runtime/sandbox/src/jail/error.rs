//! Why a layer of the sandbox could not be applied.

/// The step at which a sandbox could not be applied, and why.
#[derive(Debug, thiserror::Error)]
#[error("the jail can't be built: {step}: {why}")]
pub struct JailError {
    step: &'static str,
    why: String,
}

impl JailError {
    pub(super) fn new(step: &'static str, why: impl std::fmt::Display) -> Self {
        Self {
            step,
            why: why.to_string(),
        }
    }
}
