//! Source files as tokens.

use proc_macro2::{Delimiter, Group, TokenTree};

/// Of how many tokens an item for tests is, if one begins here: `#[cfg(test)]` or `#[test]`, and all up to its braces or
/// semicolon.
pub fn test_item(tokens: &[TokenTree]) -> Option<usize> {
    let [first, TokenTree::Group(attribute), rest @ ..] = tokens else {
        return None;
    };
    let is_test = ["cfg(test)", "test"].contains(&&*attribute.stream().to_string().replace(' ', ""));
    if !is_punct(first, '#') || !is_test {
        return None;
    }
    let is_end = |token: &TokenTree| match token {
        TokenTree::Group(group) => group.delimiter() == Delimiter::Brace,
        token => is_punct(token, ';') || is_punct(token, ','),
    };
    let end = rest.iter().position(is_end).map_or(rest.len(), |end| end + 1);
    Some(2 + end)
}

/// The tokens within the delimiters of a group.
pub fn tokens_of(group: &Group) -> Vec<TokenTree> {
    group.stream().into_iter().collect()
}

/// Whether the token is this name or keyword.
pub fn is_ident(token: &TokenTree, name: &str) -> bool {
    matches!(token, TokenTree::Ident(ident) if ident == name)
}

/// Whether the token is this punctuation mark.
pub fn is_punct(token: &TokenTree, character: char) -> bool {
    matches!(token, TokenTree::Punct(punct) if punct.as_char() == character)
}
