//! The paths within its crate that a source file names.

use std::collections::{BTreeMap, BTreeSet};

use anyhow::{Result, anyhow};
use proc_macro2::{TokenStream, TokenTree};

use crate::structure::tokens::{is_ident, is_punct, test_item, tokens_of};

/// A path within the crate: modules, and an item as the last name or the one before.
type Path = Vec<String>;

/// What a file names outside of its tests.
#[derive(Debug)]
pub struct Names {
    /// The paths within its crate: those in a `use`, and those that begin with `crate`, `super`, `self`, a module in this one or a
    /// name that a `use` brought in.
    pub used: BTreeSet<Path>,
    /// What each name means that a `use` brought in, by its path from the root. An item of another crate has none.
    pub imported: BTreeMap<Path, Option<Path>>,
}

/// Reads the file of `module`, in a crate with these modules.
///
/// The file is read as tokens, so that paths in macros count too.
pub fn read(module: &[String], text: &str, modules: &BTreeSet<Path>) -> Result<Names> {
    let tokens: TokenStream = text.parse().map_err(|error| anyhow!("{error}"))?;
    let mut reader = Reader {
        modules,
        used: BTreeSet::new(),
        imported: BTreeMap::new(),
        relative: BTreeSet::new(),
    };
    let tokens: Vec<TokenTree> = tokens.into_iter().collect();
    reader.read(module, &tokens);
    let Reader {
        mut used,
        imported,
        relative,
        ..
    } = reader;
    for (inner, path) in relative {
        let name = [&inner[..], &path[..1]].concat();
        if let Some(Some(start)) = imported.get(&name) {
            used.insert([start, &path[1..]].concat());
        }
    }
    Ok(Names { used, imported })
}

struct Reader<'a> {
    /// All modules of the crate that are files.
    modules: &'a BTreeSet<Path>,
    used: BTreeSet<Path>,
    imported: BTreeMap<Path, Option<Path>>,
    /// Paths that begin with any other name, each after its module.
    relative: BTreeSet<(Path, Path)>,
}

impl Reader<'_> {
    /// Reads the tokens of a module or of a part of it.
    fn read(&mut self, module: &[String], tokens: &[TokenTree]) {
        let mut at = 0;
        while let Some(token) = tokens.get(at) {
            if let Some(length) = test_item(&tokens[at..]) {
                at += length;
            } else if is_ident(token, "mod")
                && let [TokenTree::Ident(name), TokenTree::Group(body), ..] = &tokens[at + 1..]
            {
                self.read(&[module, &[name.to_string()]].concat(), &tokens_of(body));
                at += 3;
            } else if is_ident(token, "use") {
                at += 1;
                at += self.read_use(module, &tokens[at..]);
            } else if let TokenTree::Group(group) = token {
                self.read(module, &tokens_of(group));
                at += 1;
            } else if let TokenTree::Ident(_) = token {
                at += self.read_path(module, &tokens[at..]);
            } else {
                // A path that goes on after a generic type or begins with `::` is none of this crate.
                at += if is_colons(&tokens[at..]) { 3 } else { 1 };
            }
        }
    }

    /// Reads a path in code, and returns of how many tokens it is.
    fn read_path(&mut self, module: &[String], tokens: &[TokenTree]) -> usize {
        let (names, length) = names(tokens);
        if names.len() > 1 {
            match self.absolute(module, &names) {
                Some(path) => self.used.insert(path),
                None => self.relative.insert((module.to_vec(), names)),
            };
        }
        length
    }

    /// Reads what follows `use`, and returns of how many tokens it is.
    fn read_use(&mut self, module: &[String], tokens: &[TokenTree]) -> usize {
        let end = tokens.iter().position(|token| is_punct(token, ';'));
        let tree = &tokens[..end.unwrap_or(tokens.len())];
        self.read_use_tree(module, &[], tree);
        tree.len()
    }

    /// Reads one branch of a `use`, of which `before` are the names before the braces.
    fn read_use_tree(&mut self, module: &[String], before: &[String], tree: &[TokenTree]) {
        let (names, length) = names(tree);
        let path = [before, &names].concat();
        match &tree[length..] {
            [
                TokenTree::Punct(_),
                TokenTree::Punct(_),
                TokenTree::Group(branches),
            ] => {
                for branch in tokens_of(branches).split(|token| is_punct(token, ',')) {
                    self.read_use_tree(module, &path, branch);
                }
            }
            rest => {
                let mut item = self.absolute(module, &path);
                if let Some(path) = &mut item {
                    // `a::{self}` names `a`.
                    path.retain(|name| name != "self");
                    self.used.insert(path.clone());
                }
                let name = match rest {
                    [TokenTree::Ident(_as), TokenTree::Ident(name)] => Some(name.to_string()),
                    _ => item.as_ref().unwrap_or(&path).last().cloned(),
                };
                if let Some(name) = name {
                    self.imported.insert([module, &[name]].concat(), item);
                }
            }
        }
    }

    /// A path of this crate from its root, if the names begin with `crate`, `super`, `self` or a module in this one.
    fn absolute(&self, module: &[String], names: &[String]) -> Option<Path> {
        match names.first()?.as_str() {
            "crate" => Some(names[1..].to_vec()),
            "super" | "self" => {
                let supers = names
                    .iter()
                    .take_while(|name| *name == "super" || *name == "self");
                let leading = supers.clone().count();
                let up = supers.filter(|name| *name == "super").count();
                let parent = &module[..module.len().saturating_sub(up)];
                Some([parent, &names[leading..]].concat())
            }
            child => {
                let is_child = self.modules.contains(&[module, &[child.to_owned()]].concat());
                is_child.then(|| [module, names].concat())
            }
        }
    }
}

/// The names of a path that begins with the first token, and of how many tokens they are.
fn names(tokens: &[TokenTree]) -> (Path, usize) {
    let mut names = Vec::new();
    let mut at = 0;
    while let Some(TokenTree::Ident(name)) = tokens.get(at) {
        names.push(name.to_string());
        at += 1;
        if !(is_colons(&tokens[at..]) && matches!(tokens.get(at + 2), Some(TokenTree::Ident(_)))) {
            break;
        }
        at += 2;
    }
    (names, at)
}

fn is_colons(tokens: &[TokenTree]) -> bool {
    tokens.len() >= 2 && tokens[..2].iter().all(|token| is_punct(token, ':'))
}

#[cfg(test)]
mod tests {
    use super::*;

    /// The paths that the file of the module `a::b` names, which has a module `part`.
    fn paths(text: &str) -> Vec<String> {
        let [a, b, part] = ["a", "b", "part"].map(str::to_owned);
        let modules = [
            vec![a.clone()],
            vec![a.clone(), b.clone()],
            vec![a.clone(), b.clone(), part],
        ];
        let names = read(&[a, b], text, &modules.into()).unwrap();
        names.used.iter().map(|path| path.join("::")).collect()
    }

    #[test]
    fn paths_of_a_use_are_found_from_the_root() {
        assert_eq!(
            paths("use crate::x::{Y, z::{self, W as V}}; use super::P; pub use self::c::*; use std::fs;"),
            ["a::P", "a::b::c", "x::Y", "x::z", "x::z::W"]
        );
    }

    #[test]
    fn paths_in_code_and_macros_are_found() {
        assert_eq!(
            paths(
                "fn f(x: crate::t::T) { assert!(super::g(x) == super::super::h::<u8>()); Vec::<u8>::new() }"
            ),
            ["a::g", "h", "t::T"].map(str::to_owned)
        );
    }

    #[test]
    fn a_path_can_begin_with_a_module_that_was_brought_in() {
        assert_eq!(paths("use crate::x; fn f() { x::y::g() }"), ["x", "x::y::g"]);
        assert_eq!(paths("use crate::x as z; type T = z::T;"), ["x", "x::T"]);
    }

    #[test]
    fn a_path_can_begin_with_a_module_in_this_one() {
        assert_eq!(
            paths("mod part; use part::{P, q}; fn f() { part::g(); other::h() }"),
            ["a::b::part::P", "a::b::part::g", "a::b::part::q"]
        );
        // Of the module `c` in the file, `part` is none.
        assert_eq!(paths("mod c { fn f() { part::g() } }"), [""; 0]);
    }

    #[test]
    fn modules_in_the_file_have_a_parent_of_their_own() {
        assert_eq!(
            paths("mod c { use super::D; use super::super::E; }"),
            ["a::E", "a::b::D"]
        );
    }

    #[test]
    fn code_for_tests_comments_and_texts_do_not_count() {
        let text = "/// [`crate::x`]\n#[cfg(test)] use crate::t::{A, B}; #[test] fn f() { crate::u::g() } \
                    #[cfg(test)] mod tests { use crate::v; } const C: &str = \"crate::w::W\"; use crate::y;";
        assert_eq!(paths(text), ["y"]);
    }
}
