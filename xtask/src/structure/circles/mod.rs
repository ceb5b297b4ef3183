//! That no files of a crate use each other in a circle.
//!
//! A file uses another when it names something in it: in a `use`, or by a path that begins with `crate`, `super`, `self`, a
//! module in it or a module that a `use` brought in. The root of a crate re-exports what its modules have. Who names that by
//! the root uses the file that has it, and not the root. Code for tests does not count.

mod graph;
mod paths;

use std::collections::{BTreeMap, BTreeSet};
use std::fs;
use std::path::{Path, PathBuf};

use anyhow::{Context as _, Result};

use paths::Names;

/// The path of a module within its crate. The root has none.
type Module = Vec<String>;

/// Finds the circles in the folders below `root`, as one line each. Each folder has the root of a library or a program.
pub fn find(root: &Path, folders: &BTreeSet<PathBuf>) -> Result<Vec<String>> {
    let mut circles = Vec::new();
    for folder in folders {
        // The manifest of a crate may name a root elsewhere by `..`.
        let folder = folder.canonicalize()?;
        let shown = folder.strip_prefix(root)?.display().to_string();
        let found =
            circles_of(&sources(&folder)?).with_context(|| format!("cannot read the modules of {shown}"))?;
        let line = |circle| format!("{shown}: these files use each other in a circle: {circle}");
        circles.extend(found.into_iter().map(line));
    }
    Ok(circles)
}

/// The circles of files with these sources, each as the names of its modules.
fn circles_of(sources: &BTreeMap<Module, String>) -> Result<Vec<String>> {
    let modules = sources.keys().cloned().collect();
    let mut names: BTreeMap<&Module, Names> = BTreeMap::new();
    for (module, text) in sources {
        let read =
            paths::read(module, text, &modules).with_context(|| format!("cannot parse {}", shown(module)))?;
        names.insert(module, read);
    }
    let of_root = names.get(&Module::new()).map(|root| root.imported.clone());
    let of_root = of_root.unwrap_or_default();
    let mut uses: BTreeMap<&Module, BTreeSet<&Module>> = BTreeMap::new();
    for (module, Names { used, .. }) in names {
        let files = used
            .into_iter()
            .filter_map(|path| file_of(path, sources, &of_root))
            .filter(|file| *file != module);
        uses.insert(module, files.collect());
    }
    let circles = graph::circles(&uses);
    Ok(circles
        .iter()
        .map(|circle| {
            circle
                .iter()
                .map(|module| shown(module))
                .collect::<Vec<_>>()
                .join(", ")
        })
        .collect())
}

/// The file that has the item of a path: that of the longest module in it. The root names items of other files by what it
/// imports (`of_root`): then it is the file of the import, and none for an item of another crate.
fn file_of<'a>(
    mut path: Module,
    sources: &'a BTreeMap<Module, String>,
    of_root: &BTreeMap<Module, Option<Module>>,
) -> Option<&'a Module> {
    // An import may lead to another one. A chain has each at most once.
    for _ in 0..=of_root.len() {
        let lengths = || (0..=path.len()).rev();
        let file = lengths().find_map(|length| sources.get_key_value(&path[..length]));
        let (file, _) = file.filter(|_| !path.is_empty())?;
        let import = lengths().find_map(|length| Some((length, of_root.get(&path[..length])?)));
        match import {
            Some((length, import)) if file.is_empty() => {
                let next = [import.as_ref()?, &path[length..]].concat();
                if next == path {
                    return Some(file);
                }
                path = next;
            }
            _ => return Some(file),
        }
    }
    None
}

fn shown(module: &[String]) -> String {
    if module.is_empty() {
        "the root".to_owned()
    } else {
        module.join("::")
    }
}

/// The modules below a folder, each with the text of its file.
fn sources(folder: &Path) -> Result<BTreeMap<Module, String>> {
    let mut sources = BTreeMap::new();
    collect(folder, &[], &mut sources)?;
    Ok(sources)
}

fn collect(folder: &Path, parent: &[String], sources: &mut BTreeMap<Module, String>) -> Result<()> {
    let cannot_read = |path: &Path| format!("cannot read {}", path.display());
    for entry in folder.read_dir().with_context(|| cannot_read(folder))? {
        let path = entry?.path();
        let stem = path
            .file_stem()
            .unwrap_or_default()
            .to_string_lossy()
            .into_owned();
        if path.is_dir() {
            collect(&path, &[parent, &[stem]].concat(), sources)?;
        } else if path.extension().is_some_and(|extension| extension == "rs") {
            let text = fs::read_to_string(&path).with_context(|| cannot_read(&path))?;
            let module = match &*stem {
                // Tests may use everything.
                "tests" => continue,
                "mod" | "lib" | "main" => parent.to_owned(),
                _ => [parent, &[stem]].concat(),
            };
            // The root of a program beside a library only calls the library.
            sources.entry(module).or_default().push_str(&text);
        }
    }
    Ok(())
}

#[cfg(test)]
mod tests {
    use super::*;

    /// The circles of a crate with these modules.
    fn circles(modules: &[(&str, &str)]) -> Vec<String> {
        let module = |path: &str| {
            path.split("::")
                .filter(|name| !name.is_empty())
                .map(str::to_owned)
                .collect()
        };
        let sources = modules
            .iter()
            .map(|(path, text)| (module(path), (*text).to_owned()))
            .collect();
        circles_of(&sources).unwrap()
    }

    #[test]
    fn files_that_use_each_other_are_a_circle() {
        let modules = [
            ("", "mod a; mod b; mod c;"),
            ("a", "use crate::b::B;"),
            ("b", "use super::c::{C, D}; struct B;"),
            ("c", "fn c() { crate::a::f() }"),
            ("d", "use crate::{a, b::B, c};"),
        ];
        assert_eq!(circles(&modules), ["a, b, c"]);
    }

    #[test]
    fn files_in_an_order_are_no_circle() {
        let modules = [
            ("", "mod a; mod b; pub use a::A; use crate::b;"),
            ("a", "use crate::b::B; use crate::{A, self as root};"),
            ("a::part", "use super::A; use crate::b::inner::C;"),
            ("b", "mod inner; use self::inner::C;"),
            ("b::inner", "struct C;"),
        ];
        assert_eq!(circles(&modules), [""; 0]);
    }

    #[test]
    fn a_folder_and_a_file_in_it_can_be_a_circle() {
        for uses in ["use self::part::P;", "mod part; fn f() -> part::P {}"] {
            let modules = [("a", uses), ("a::part", "use super::A;")];
            assert_eq!(circles(&modules), ["a, a::part"]);
        }
    }

    #[test]
    fn a_root_with_an_item_and_a_file_that_uses_it_can_be_a_circle() {
        let modules = [
            (
                "",
                "mod a; mod b; use a::A; pub struct State(A); const SIZE: usize = 1;",
            ),
            ("a", "struct A([u8; super::SIZE]);"),
            ("b", "impl crate::State {}"),
        ];
        assert_eq!(circles(&modules), ["the root, a"]);
    }

    #[test]
    fn what_the_root_re_exports_is_of_the_file_that_has_it() {
        let modules = [
            ("", "mod a; mod b; pub use a::A; use b::B as C;"),
            ("a", "use crate::C;"),
            ("b", "struct B;"),
        ];
        assert_eq!(circles(&modules), [""; 0]);
        let modules = [
            ("", "mod a; mod b; pub use a::A; use b::B as C;"),
            ("a", "use super::C;"),
            ("b", "use crate::A;"),
        ];
        assert_eq!(circles(&modules), ["a, b"]);
    }

    #[test]
    fn what_the_root_imports_from_another_crate_is_of_no_file() {
        let modules = [
            ("", "mod a; use other as name; fn f() { a::g() }"),
            ("a", "use crate::name::Thing;"),
        ];
        assert_eq!(circles(&modules), [""; 0]);
    }

    #[test]
    fn a_module_in_the_root_re_exports_as_the_root_does() {
        let modules = [
            (
                "",
                "mod a; mod b; pub mod private { pub use crate::a::f; } pub use b::B;",
            ),
            ("a", "fn f() {}"),
            ("b", "fn g() { $crate::private::f() }"),
        ];
        assert_eq!(circles(&modules), [""; 0]);
    }

    #[test]
    fn sources_are_found_by_their_modules() {
        let folder = tempfile::tempdir().unwrap();
        fs::create_dir(folder.path().join("a")).unwrap();
        for name in [
            "lib.rs",
            "main.rs",
            "b.rs",
            "a/mod.rs",
            "a/c.rs",
            "a/tests.rs",
            "a/c.txt",
        ] {
            fs::write(folder.path().join(name), "").unwrap();
        }
        let sources = sources(folder.path()).unwrap();
        let modules: Vec<_> = sources.keys().map(|module| module.join("::")).collect();
        assert_eq!(modules, ["", "a", "a::c", "b"]);
    }

    #[test]
    fn a_circle_is_shown_with_its_folder() {
        let root = tempfile::tempdir().unwrap();
        let folder = root.path().join("runtime/one/src");
        fs::create_dir_all(&folder).unwrap();
        fs::write(folder.join("a.rs"), "use crate::b::B;").unwrap();
        fs::write(folder.join("b.rs"), "use crate::a::A;").unwrap();
        let circles = find(root.path(), &[folder].into()).unwrap();
        assert_eq!(
            circles,
            ["runtime/one/src: these files use each other in a circle: a, b"]
        );
    }
}
