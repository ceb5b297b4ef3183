//! The JSON form in which an object is passed to a guest.

use serde::{Deserialize, Serialize};

use super::bounds::MAX_LABEL;
use super::token::Token;
use crate::bounded;

/// Names an object in a task's args: `{"object":"jobs","token":"<32 hexadecimal digits>"}`.
#[derive(Clone, Debug, PartialEq, Eq, Serialize, Deserialize)]
#[serde(deny_unknown_fields)]
pub struct Handle {
    /// The object's label, for people.
    #[serde(rename = "object", deserialize_with = "bounded::text::<_, MAX_LABEL>")]
    pub label: String,
    /// What gives access to the object.
    pub token: Token,
}

impl Handle {
    /// Parses the JSON text of a handle. Returns `None` if it is anything else.
    #[must_use]
    pub fn parse(json: &str) -> Option<Self> {
        serde_json::from_str(json).ok()
    }

    /// Returns the JSON text.
    #[must_use]
    pub fn to_json(&self) -> String {
        serde_json::to_string(self).expect("a struct of two texts is JSON")
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    const JSON: &str = r#"{"object":"jobs","token":"00112233445566778899aabbccddeeff"}"#;

    #[test]
    fn a_handle_is_an_object_with_a_label_and_a_token() {
        let handle = Handle::parse(JSON).unwrap();
        assert_eq!(handle.label, "jobs");
        assert_eq!(handle.to_json(), JSON);
        assert_eq!(
            format!("{handle:?}"),
            r#"Handle { label: "jobs", token: Token(..) }"#
        );
    }

    #[test]
    fn other_json_is_no_handle() {
        let long = JSON.replace("jobs", &"x".repeat(MAX_LABEL + 1));
        for json in [
            "\"jobs\"",
            "{}",
            r#"{"object":"jobs"}"#,
            &JSON.replace('}', ",\"more\":1}"),
            &long,
        ] {
            assert_eq!(Handle::parse(json), None, "{json}");
        }
    }
}
