//! How clients name objects: by token, or by the names that their pool was granted.

use serde::{Deserialize, Serialize};

use super::bounds::MAX_LABEL;
use super::token::Token;
use crate::bounded;

/// Names an object to open.
#[derive(Clone, Copy, Debug, PartialEq, Eq, Serialize, Deserialize)]
pub enum RequestedObject<'a> {
    /// Any object of the manager, by its token.
    Token(Token),
    /// An object that was granted to the client's pool, by its name.
    Name(#[serde(deserialize_with = "bounded::borrowed_text::<_, MAX_LABEL>")] &'a str),
}

/// A name that a pool is granted for an object.
#[derive(Clone, Debug, PartialEq, Eq, Serialize, Deserialize)]
pub struct GrantedName {
    /// The name.
    #[serde(deserialize_with = "bounded::text::<_, MAX_LABEL>")]
    pub name: String,
    /// The object.
    pub token: Token,
}
