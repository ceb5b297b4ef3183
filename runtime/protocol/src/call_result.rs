//! Checks the result of a call that the dispatcher reports to the parent.

use mpwasm_types::json::MAX_JSON_DEPTH;
use mpwasm_types::json::kept_line;
use mpwasm_types::outcome::{Failure, Kind};
use serde_json::value::RawValue;

use crate::messages::CallResult;

/// Returns the result of a call as one line of JSON, or its failure, whose data are one line of JSON, too.
///
/// # Errors
/// With the failure of the call; or with a crash, if the result or the data are no JSON, which the dispatcher should have
/// refused.
pub fn check(result: CallResult<'_>) -> Result<Box<RawValue>, Failure> {
    let line = |json: &[u8]| kept_line(str::from_utf8(json).ok()?, MAX_JSON_DEPTH).ok();
    let crash = |what: &str| {
        let message = format!("the dispatcher passed on {what} no JSON");
        Failure::new(Kind::Crash, message)
    };
    match result {
        CallResult::Ok(json) => line(json).ok_or_else(|| crash("a result that is")),
        CallResult::Failed(mut failure) => {
            if let Some(data) = &failure.data {
                let data = line(data.as_bytes()).ok_or_else(|| crash("an error whose data are"))?;
                failure.data = Some(Box::<str>::from(data).into_string());
            }
            Err(failure)
        }
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    /// Returns the failure that a user sees, if the dispatcher reports an error with these data.
    fn reported(data: &str) -> Failure {
        let failure = Failure {
            data: Some(data.to_owned()),
            ..Failure::new(Kind::Error, "said the guest")
        };
        check(CallResult::Failed(failure)).expect_err("it is a failure")
    }

    #[test]
    fn the_data_of_an_error_are_one_line_whatever_the_dispatcher_reports() {
        assert_eq!(reported("[1,\n2]").data.as_deref(), Some("[1,2]"));
        let deep = format!("{}{}", "[".repeat(129), "]".repeat(129));
        for data in ["[1,", "", "1}\n{\"id\":1}", &deep] {
            let failure = reported(data);
            assert_eq!((failure.kind, failure.data), (Kind::Crash, None), "{data}");
        }
    }
}
