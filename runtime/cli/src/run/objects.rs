//! The objects of a run: created and filled before its tasks, and written when it has ended.

use std::collections::BTreeMap;
use std::fs::File;
use std::io::{self, BufReader, BufWriter, Write as _};
use std::path::{Path, PathBuf};
use std::time::Duration;

use anyhow::{Context, anyhow, bail};
use mpwasm::escape::{Untrusted, escape};
use mpwasm::internal::DynamicObject;
use mpwasm::objects::{HoldingCall, Manager, ObjectsStatus, WaitingCall};
use mpwasm::{Builder, Settings};
use serde_json::value::RawValue;

use crate::options::objects::ObjectOptions;
use crate::process::exit::{ExitError, OrExit};
use crate::replaced_file::ReplacedFile;
use crate::terminal::stdio;

/// Name of the temporary file that becomes that of `--objects-out`.
const TEMPORARY: &str = ".mpwasm-objects-";

/// The manager and its objects, by the names that the pool has.
pub struct RunObjects {
    manager: Manager,
    objects: Vec<(String, DynamicObject)>,
    /// Where the contents are written at the end.
    out: Option<PathBuf>,
}

impl RunObjects {
    /// Starts the manager, creates the objects and fills them. Returns `None` if there are none. In a dry run the contents are not
    /// written at the end.
    ///
    /// # Errors
    /// A usage error when names, contents or the file for the contents can't be used; otherwise an internal one.
    pub fn start(
        options: &ObjectOptions,
        settings: &Settings,
        dry_run: bool,
    ) -> Result<Option<Self>, ExitError> {
        if options.object.is_empty() {
            return Ok(None);
        }
        check_names(options).or_usage()?;
        let contents = options.objects_in.as_deref().map(read_contents).transpose();
        let contents = contents.or_usage()?.unwrap_or_default();
        if let Some(path) = &options.objects_out {
            // Found out before the tasks run.
            ReplacedFile::create(path, TEMPORARY)
                .with_context(|| cannot_write(path))
                .or_usage()?;
        }
        let mut manager = Manager::builder()
            .memory(options.objects_memory)
            .jail(settings.jail);
        if let Some(user) = settings.user {
            manager = manager.user(user);
        }
        let manager = manager.start().map_err(of_start)?;
        let mut objects = Vec::new();
        for named in &options.object {
            let created = DynamicObject::create(&manager, &named.name, named.spec);
            let created = created.with_context(|| format!("--object {}", Untrusted::from(&named.name)));
            objects.extend(created.or_usage()?);
        }
        for (name, contents) in contents {
            let object = objects.iter().find(|(known, _)| *known == name);
            let Some((_, object)) = object else {
                let why = anyhow!(
                    "the file of --objects-in has contents for `{}`, which no --object names",
                    Untrusted::from(&name)
                );
                return Err(ExitError::usage(why));
            };
            let restored = object.restore(&contents);
            restored
                .context("cannot fill an object from --objects-in")
                .or_usage()?;
        }
        let out = options.objects_out.clone().filter(|_| !dry_run);
        Ok(Some(Self {
            manager,
            objects,
            out,
        }))
    }

    /// Prints who waits for which object, and who holds one.
    pub fn print_status(&self) {
        match self.manager.status() {
            Ok(status) => status_lines(&status)
                .iter()
                .for_each(|line| stdio::try_print_message(line)),
            Err(error) => stdio::try_print_message(&error.to_string()),
        }
    }

    /// Writes the contents if a file is given for them, and checks that the manager has not ended.
    ///
    /// # Errors
    /// When the manager has ended, or the contents can't be written.
    pub fn finish(&self) -> anyhow::Result<()> {
        if let Some(why) = self.manager.end() {
            let kept = match self.out {
                Some(_) => "; the file of --objects-out was left as it was",
                None => "",
            };
            bail!("the manager of shared objects ended, and operations on them failed: {why}{kept}");
        }
        self.out.as_deref().map_or(Ok(()), |path| self.write(path))
    }

    /// Writes the contents of the objects that have some, as a JSON object in the order of their names.
    ///
    /// # Errors
    /// When the manager has ended, or the file can't be written; then the earlier file is left as it was.
    fn write(&self, path: &Path) -> anyhow::Result<()> {
        let mut contents = BTreeMap::new();
        for (name, object) in &self.objects {
            let read = object.contents().with_context(|| cannot_write(path))?;
            contents.extend(read.map(|read| (name, read)));
        }
        let write = || -> io::Result<()> {
            let mut file = BufWriter::new(ReplacedFile::create(path, TEMPORARY)?);
            serde_json::to_writer(&mut file, &contents)?;
            writeln!(file)?;
            file.into_inner()
                .map_err(io::IntoInnerError::into_error)?
                .finish()
        };
        write().with_context(|| cannot_write(path))
    }
}

/// Grants the objects, if there are some, to the pool under their names.
pub fn grant(objects: Option<&RunObjects>, pool: Builder) -> Builder {
    let named = objects.into_iter().flat_map(|objects| &objects.objects);
    named.fold(pool, |pool, (name, object)| object.add_to(pool, name))
}

/// Returns the failure for an error of starting the manager.
fn of_start(error: mpwasm::Error) -> ExitError {
    match error {
        mpwasm::Error::BadSetting(_) => ExitError::usage(error),
        error => ExitError::internal(anyhow!(error).context("cannot start the manager of shared objects")),
    }
}

/// Returns a line for each wait and each holder.
fn status_lines(status: &ObjectsStatus) -> Vec<String> {
    let waits = status.waiting.iter().map(|wait| {
        let WaitingCall {
            source,
            kind,
            object,
            operation,
            waited,
        } = wait;
        let (object, waited) = (escape(object), shown(*waited));
        format!("{source} waits for {kind} `{object}`: {operation}, for {waited}")
    });
    let holders = status.holders.iter().map(|holder| {
        let HoldingCall { source, kind, object } = holder;
        format!("{source} holds {kind} `{}`", escape(object))
    });
    waits.chain(holders).collect()
}

/// Formats a duration, rounded to milliseconds.
fn shown(duration: Duration) -> humantime::FormattedDuration {
    let milliseconds = u64::try_from(duration.as_millis()).unwrap_or(u64::MAX);
    humantime::format_duration(Duration::from_millis(milliseconds))
}

fn cannot_write(path: &Path) -> String {
    format!("cannot write {} (--objects-out)", Untrusted::from(path))
}

/// Checks that no two objects have the same name.
fn check_names(options: &ObjectOptions) -> anyhow::Result<()> {
    for (at, named) in options.object.iter().enumerate() {
        if options.object[..at].iter().any(|other| other.name == named.name) {
            bail!(
                "two objects are named `{}` (--object): names have to differ",
                Untrusted::from(&named.name)
            );
        }
    }
    Ok(())
}

/// Reads the file of `--objects-in`.
fn read_contents(path: &Path) -> anyhow::Result<BTreeMap<String, Box<RawValue>>> {
    let read = || -> io::Result<_> { Ok(serde_json::from_reader(BufReader::new(File::open(path)?))?) };
    read().with_context(|| {
        format!(
            "cannot read {} (--objects-in): it must be a JSON object with the contents of each object under its name",
            Untrusted::from(path)
        )
    })
}

#[cfg(test)]
mod tests {
    use mpwasm::TaskId;
    use mpwasm::objects::{CallSource, ObjectKind};

    use super::*;

    #[test]
    fn the_status_says_who_waits_for_what_and_who_holds_it() {
        let task = |id| CallSource::Task {
            task: TaskId(id),
            attempt: 1,
        };
        let status = ObjectsStatus {
            waiting: vec![WaitingCall {
                source: task(7),
                kind: ObjectKind::Lock,
                object: "door".to_owned(),
                operation: "acquire".to_owned(),
                waited: Duration::from_micros(1_250_900),
            }],
            holders: vec![HoldingCall {
                source: task(3),
                kind: ObjectKind::Lock,
                object: "door".to_owned(),
            }],
            ..ObjectsStatus::default()
        };
        assert_eq!(
            status_lines(&status),
            [
                "task 7 waits for lock `door`: acquire, for 1s 250ms",
                "task 3 holds lock `door`"
            ]
        );
    }

    #[test]
    fn two_objects_have_two_names() {
        let options = |second: &str| ObjectOptions {
            object: ["jobs=queue", second].map(|named| named.parse().unwrap()).into(),
            ..ObjectOptions::default()
        };
        assert!(check_names(&options("seen=dict")).is_ok());
        let twice = check_names(&options("jobs=dict")).unwrap_err();
        assert!(twice.to_string().contains("`jobs`"), "{twice}");
    }
}
