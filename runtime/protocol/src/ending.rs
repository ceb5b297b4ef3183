//! The check of how a task ended, as the dispatcher reports it to the parent.

use mpwasm_types::json::kept_line;
use mpwasm_types::outcome::{Failure, Kind};
use mpwasm_types::settings::MAX_JSON_DEPTH;
use serde_json::value::RawValue;

use crate::messages::CallResult;

/// The result of a task as one line of JSON, or its failure, whose data are so too. What the dispatcher should have
/// refused is a crash.
pub fn checked(ending: CallResult<'_>) -> Result<Box<RawValue>, Failure> {
    let line = |json: &[u8]| kept_line(str::from_utf8(json).ok()?, MAX_JSON_DEPTH).ok();
    let crash = |what: &str| {
        let message = format!("the dispatcher passed on {what} no JSON");
        Failure::new(Kind::Crash, message)
    };
    match ending {
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

    /// What a user sees of the data of an error that the dispatcher tells.
    fn told(data: &str) -> Failure {
        let failure = Failure {
            data: Some(data.to_owned()),
            ..Failure::new(Kind::Error, "said the guest")
        };
        checked(CallResult::Failed(failure)).expect_err("it is a failure")
    }

    #[test]
    fn the_data_of_an_error_are_one_line_whatever_the_dispatcher_says() {
        assert_eq!(told("[1,\n2]").data.as_deref(), Some("[1,2]"));
        let deep = format!("{}{}", "[".repeat(129), "]".repeat(129));
        for data in ["[1,", "", "1}\n{\"id\":1}", &deep] {
            let failure = told(data);
            assert_eq!((failure.kind, failure.data), (Kind::Crash, None), "{data}");
        }
    }
}
