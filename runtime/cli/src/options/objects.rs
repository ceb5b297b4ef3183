//! Options of `run` for objects that tasks share.

use std::path::PathBuf;
use std::str::FromStr;

use anyhow::{Result, bail};
use clap::Args;
use mpwasm::objects::{MAX_LABEL, ObjectSpec};

use crate::options::units::size;

/// Objects that the tasks of a run share. A manager process holds them.
#[derive(Debug, Default, Args)]
pub struct ObjectOptions {
    /// Let tasks and callbacks share an object, which they open by its name: a queue, queue:MAX, joinable-queue[:MAX], pipe,
    /// pipe:one-way, value:TYPE, array:TYPE:LENGTH, lock, rlock, semaphore:N, bounded-semaphore:N, event, condition, barrier:N,
    /// dict, list or namespace. TYPE is i8 to i64, u8 to u64, f32 or f64. The ends of a pipe are NAME.0 and NAME.1. Repeatable.
    #[arg(long, value_name = "NAME=SPEC")]
    pub object: Vec<NamedObject>,

    /// Fill objects before the first task: a JSON file with an object's contents under each name, as --objects-out writes it.
    #[arg(long, value_name = "FILE", requires = "object")]
    pub objects_in: Option<PathBuf>,

    /// Write the contents of queues, values, arrays, dicts, lists and namespaces to this file when the run has ended, also after
    /// failed tasks. The file is replaced once it is complete.
    #[arg(long, value_name = "FILE", requires = "object")]
    pub objects_out: Option<PathBuf>,

    /// Memory of all objects together; an operation that needs more fails.
    #[arg(long, value_name = "SIZE", value_parser = size, default_value = "256MiB", requires = "object")]
    pub objects_memory: u64,
}

/// A name and what it stands for: `NAME=SPEC`.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct NamedObject {
    /// The name by which guests open it.
    pub name: String,
    /// What it is.
    pub spec: ObjectSpec,
}

impl FromStr for NamedObject {
    type Err = anyhow::Error;

    fn from_str(text: &str) -> Result<Self> {
        let Some((name, spec)) = text.split_once('=') else {
            bail!("it has no `=`: write a name and what it stands for, as in jobs=queue:100");
        };
        if name.is_empty() {
            bail!("it has no name: write one before the `=`, as in jobs=queue:100");
        }
        if name.len() > MAX_LABEL {
            bail!(
                "its name has {} bytes; a name has at most {MAX_LABEL}",
                name.len()
            );
        }
        Ok(Self {
            name: name.to_owned(),
            spec: spec.parse()?,
        })
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn an_object_is_a_name_and_a_spec() {
        let object: NamedObject = "jobs=queue:100".parse().unwrap();
        assert_eq!(
            (&*object.name, object.spec.to_string()),
            ("jobs", "queue:100".to_owned())
        );
        for (wrong, why) in [
            ("jobs", "no `=`"),
            ("=queue", "no name"),
            ("jobs=", "no kind of object"),
            ("jobs=stack", "no kind of object"),
            ("jobs=queue:0", "at least 1"),
            (&format!("{}=queue", "n".repeat(MAX_LABEL + 1)), "at most 128"),
        ] {
            let refused = wrong.parse::<NamedObject>().unwrap_err().to_string();
            assert!(refused.contains(why), "{wrong}: {refused}");
        }
    }
}
