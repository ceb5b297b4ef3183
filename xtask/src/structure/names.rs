//! That no two types of the product share a name.
//!
//! A reader, and a search, then find one type by its name in all crates of `runtime/`. Guests have a world of their own:
//! `guest-sdk` is not checked. Types within functions, and those that macros make, do not count, nor do tests.

use std::collections::BTreeMap;
use std::path::Path;

use anyhow::{Context as _, Result, anyhow};
use proc_macro2::{TokenStream, TokenTree};

use super::sources::{self, Source};
use super::tokens::{is_ident, test_item, tokens_of};

/// The keywords before the name of a type, or of a trait.
const KEYWORDS: &[&str] = &["struct", "enum", "union", "trait", "type"];

/// Names the types below `root` that share a name, each with its files.
pub fn faults(root: &Path) -> Result<Vec<String>> {
    faults_of(&sources::of_product(root, &["runtime"])?)
}

fn faults_of(sources: &[Source]) -> Result<Vec<String>> {
    let mut types: BTreeMap<String, Vec<&str>> = BTreeMap::new();
    for Source { path, text } in sources {
        let tokens: Result<TokenStream> = text.parse().map_err(|error| anyhow!("{error}"));
        let tokens = tokens.with_context(|| format!("cannot parse {path}"))?;
        for name in declared(tokens.into_iter().collect()) {
            types.entry(name).or_default().push(path);
        }
    }
    Ok(types
        .iter()
        .filter(|(_, files)| files.len() > 1)
        .map(|(name, files)| {
            format!(
                "{name} is the name of {} types: give each one of its own: {}",
                files.len(),
                files.join(", ")
            )
        })
        .collect())
}

/// The names of the types that are declared in a module and in those within it.
fn declared(tokens: Vec<TokenTree>) -> Vec<String> {
    let mut names = Vec::new();
    let mut at = 0;
    while let Some(token) = tokens.get(at) {
        if let Some(length) = test_item(&tokens[at..]) {
            at += length;
            continue;
        }
        match &tokens[at + 1..] {
            [TokenTree::Ident(_), TokenTree::Group(body), ..] if is_ident(token, "mod") => {
                names.extend(declared(tokens_of(body)));
            }
            [TokenTree::Ident(name), ..] if KEYWORDS.iter().any(|keyword| is_ident(token, keyword)) => {
                names.push(name.to_string());
            }
            _ => {}
        }
        at += 1;
    }
    names
}

#[cfg(test)]
mod tests {
    use super::*;

    fn names(text: &str) -> Vec<String> {
        let tokens: TokenStream = text.parse().unwrap();
        declared(tokens.into_iter().collect())
    }

    #[test]
    fn types_of_a_module_are_found() {
        let text = "pub struct A<T>(T); pub(crate) enum B {} union C { x: u8 } unsafe trait D {} type E = A<u8>; \
                    mod inner { pub struct F; }";
        assert_eq!(names(text), ["A", "B", "C", "D", "E", "F"]);
    }

    #[test]
    fn types_of_functions_impls_tests_and_comments_do_not_count() {
        let text = "/// struct A;\nfn f() { struct B; } impl D for E { type C = u8; } trait F { type G; } \
                    #[cfg(test)] struct H; #[cfg(test)] mod tests { struct I; } const J: &str = \"struct K;\";";
        assert_eq!(names(text), ["F"]);
    }

    #[test]
    fn a_name_of_two_types_is_a_fault() {
        let source = |path: &str, text: &str| Source {
            path: path.to_owned(),
            text: text.to_owned(),
        };
        let sources = [
            source("a.rs", "struct One; struct Two;"),
            source("b.rs", "enum Two {} fn One() {}"),
        ];
        assert_eq!(
            faults_of(&sources).unwrap(),
            ["Two is the name of 2 types: give each one of its own: a.rs, b.rs"]
        );
    }
}
