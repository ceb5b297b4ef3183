//! Reads the file of `--results` as the log of an earlier run, for `--resume` and `--retry-failed`.
//!
//! Each record has a hash of its guest, and one of its guest, model, args and stdin. A task is found by its key, or by its
//! position if it has none. This file reads a log, truncates an incomplete last line, and removes records that will be replaced.
//! [`ResumeCheck`](crate::run::resume::ResumeCheck) matches tasks and records.

use std::collections::HashMap;
use std::fs::File;
use std::io::{self, BufRead, BufReader, BufWriter, Read, Seek, SeekFrom, Write};
use std::path::{Path, PathBuf};

use anyhow::{Context, bail};
use mpwasm::escape::Untrusted;

use crate::run::input::lines::BYTE_ORDER_MARK;
use crate::run::output::results_file::{OpenFor, OpenedResults, ResultsFile, lock, open_results};
use crate::run::output::task_identity::{RecordKey, described};
use mpwasm_types::record_line::RecordLine;

/// Records that `--resume` can read. Each takes 33 bytes of a table that is at most seven eighths full and half of which may be
/// a copy while it grows.
const MAX_LOG_RECORDS: usize = 7 << 19;
/// Guests that the records of a file may name: more than a readable command line can.
const MAX_LOG_GUESTS: usize = 1024;

/// A record that is kept.
#[derive(Clone, Copy, Debug)]
pub struct LogEntry {
    /// Hash of guest, model, args and stdin.
    pub task: u64,
    /// Its line number, at most `u32::MAX`.
    pub line: u32,
    /// Whether it is of a valid task. An invalid one may be valid in the new run.
    pub is_task: bool,
    /// Whether the task or its callback failed.
    pub failed: bool,
}

/// The file of records of an earlier run.
pub struct JobLog {
    path: PathBuf,
    file: ResultsFile,
    /// The records that are kept.
    pub entries: HashMap<RecordKey, LogEntry>,
    /// The guests of all records.
    pub guests: Vec<u64>,
    /// Ranges of bytes with records that will be removed, in order.
    replaced: Vec<(u64, u64)>,
    /// End of the last complete record.
    end: u64,
    /// Whether the last record is complete but for its newline.
    lacks_newline: bool,
}

impl JobLog {
    /// Opens and reads a log without changing it. A missing file is created, and has no records.
    ///
    /// [`begin`](Self::begin) will remove the records of cancelled tasks and, with `retry_failed`, those of all failed tasks.
    ///
    /// # Errors
    /// When the file is no log, or has a line of more than `longest` bytes.
    pub fn open(path: &Path, retry_failed: bool, longest: u64) -> anyhow::Result<Self> {
        Self::open_with(path, retry_failed, longest, MAX_LOG_RECORDS)
    }

    /// Like [`open`](Self::open), with a limit on the number of records.
    fn open_with(path: &Path, retry_failed: bool, longest: u64, most: usize) -> anyhow::Result<Self> {
        let OpenedResults::File(file) = open_results(path, OpenFor::ReadWrite)? else {
            bail!("it is no regular file");
        };
        lock(file.file())?;
        let mut log = Self {
            path: path.to_owned(),
            file,
            entries: HashMap::new(),
            guests: Vec::new(),
            replaced: Vec::new(),
            end: 0,
            lacks_newline: false,
        };
        log.read(retry_failed, longest, most)?;
        Ok(log)
    }

    /// Returns the file.
    pub fn file(&self) -> &File {
        self.file.file()
    }

    fn read(&mut self, retry_failed: bool, longest: u64, most: usize) -> anyhow::Result<()> {
        let mut reader = BufReader::with_capacity(1 << 20, self.file().try_clone()?);
        let mut bytes = Vec::new();
        for number in 1_u64.. {
            bytes.clear();
            let mut line = reader.by_ref().take(longest.saturating_add(1));
            match line.read_until(b'\n', &mut bytes)? as u64 {
                0 => break,
                len if len > longest => bail!(
                    "line {number} is longer than {longest} bytes, which is more than a record can have with the \
                     --max-result and --max-args of this run: give those of the run that wrote it"
                ),
                _ => {}
            }
            let whole = bytes.ends_with(b"\n");
            let begin = self.end;
            let line = match bytes.strip_prefix(BYTE_ORDER_MARK) {
                Some(rest) if number == 1 => rest,
                _ => &bytes,
            };
            if whole && line.trim_ascii().is_empty() {
                self.end += bytes.len() as u64;
                self.lacks_newline = false;
                continue;
            }
            match RecordLine::parse(line) {
                Ok(_) if self.entries.len() + self.replaced.len() >= most => bail!(
                    "line {number}: there are more than {most} records before it, which is more than a run can resume"
                ),
                Ok(line) => self
                    .add(&line, number, retry_failed, (begin, begin + bytes.len() as u64))
                    .with_context(|| format!("line {number}"))?,
                Err(_) if !whole => break, // the run was killed during the write
                Err(error) => bail!("line {number} is no record: {error}"),
            }
            self.end += bytes.len() as u64;
            self.lacks_newline = !whole;
        }
        Ok(())
    }

    fn add(
        &mut self,
        line: &RecordLine<'_>,
        number: u64,
        retry_failed: bool,
        place: (u64, u64),
    ) -> anyhow::Result<()> {
        let Some((guest, task)) = line.hashes() else {
            bail!("its record does not name its guest and task: only --results FILE writes such records");
        };
        if !self.guests.contains(&guest) {
            if self.guests.len() == MAX_LOG_GUESTS {
                bail!("the records up to it are of more than {MAX_LOG_GUESTS} guests");
            }
            self.guests.push(guest);
        }
        if line.status == "cancelled" || (retry_failed && line.failed()) {
            match self.replaced.last_mut().filter(|(_, end)| *end == place.0) {
                Some((_, end)) => *end = place.1,
                None => self.replaced.push(place),
            }
            return Ok(());
        }
        let is_task = line.status != "invalid";
        let key = line.key.as_deref();
        let name = match is_task {
            true => RecordKey::new(line.id.0, key),
            false => RecordKey::invalid(line.id.0, key),
        };
        if is_task && self.entries.contains_key(&name) {
            bail!(
                "it is the second record of {}: tasks need different keys, or none, to be recognised",
                described(line.id.0, key)
            );
        }
        let entry = LogEntry {
            task,
            line: u32::try_from(number).unwrap_or(u32::MAX),
            is_task,
            failed: line.failed(),
        };
        self.entries.insert(name, entry);
        Ok(())
    }

    /// Prepares the file for new records: removes an incomplete last line and the records that will be replaced.
    ///
    /// A file with records to remove is replaced by a copy once that is complete.
    ///
    /// # Errors
    /// When the file can't be written.
    pub fn begin(self) -> anyhow::Result<File> {
        if !self.replaced.is_empty() {
            return self
                .file
                .replace(|copy| self.write_kept_records(copy))
                .with_context(|| format!("cannot write {} anew", Untrusted::from(&self.path)));
        }
        let mut file = self.file.into_file();
        file.set_len(self.end)?;
        if self.lacks_newline {
            file.write_all(b"\n")?;
        }
        Ok(file)
    }

    fn write_kept_records(&self, copy: &File) -> anyhow::Result<()> {
        let mut file = self.file();
        let mut writer = BufWriter::with_capacity(1 << 20, copy);
        let ends = self.replaced.iter().map(|(_, end)| *end);
        let mut begins = self.replaced.iter().map(|(begin, _)| *begin).chain([self.end]);
        for begin in std::iter::once(0).chain(ends) {
            let end = begins
                .next()
                .expect("there is one kept piece more than there are removed ranges");
            file.seek(SeekFrom::Start(begin))?;
            io::copy(&mut file.take(end - begin), &mut writer)?;
        }
        let last_is_kept = self.replaced.last().is_none_or(|(_, end)| *end != self.end);
        if self.lacks_newline && last_is_kept {
            writer.write_all(b"\n")?;
        }
        Ok(writer.flush()?)
    }
}

#[cfg(test)]
mod tests {
    use std::fs;
    use std::os::unix::fs::{MetadataExt, PermissionsExt};

    use super::*;

    fn record(id: u64, key: &str, status: &str, callback: &str) -> String {
        format!(
            r#"{{"id":{id},"key":{key},"model":"","status":"{status}","result":[{{"id":9}}],"callback":"{callback}","guest":"00000000000000a1","task":"00000000000000{id:02x}"}}"#
        )
    }

    struct Folder(tempfile::TempDir);

    impl Folder {
        fn with(text: &str) -> Self {
            let folder = Self(tempfile::tempdir().unwrap());
            fs::write(folder.path(), text).unwrap();
            folder
        }

        fn path(&self) -> PathBuf {
            self.0.path().join("log")
        }

        fn open(&self, retry_failed: bool) -> anyhow::Result<JobLog> {
            JobLog::open(&self.path(), retry_failed, 1000)
        }

        /// What is there once a run has begun, and has written a line.
        fn continued(&self, retry_failed: bool) -> String {
            let mut file = self.open(retry_failed).unwrap().begin().unwrap();
            file.write_all(b"next\n").unwrap();
            fs::read_to_string(self.path()).unwrap()
        }
    }

    fn refusal(folder: &Folder) -> String {
        match folder.open(false) {
            Ok(_) => panic!("it was accepted"),
            Err(error) => format!("{error:#}"),
        }
    }

    #[test]
    fn records_are_known_by_key_or_position() {
        let ok = [
            record(0, "null", "ok", "none"),
            record(7, "\"k\"", "trap", "ok"),
            record(8, "\"\"", "ok", "ok"),
        ];
        let log = Folder::with(&(ok.join("\n") + "\n")).open(false).unwrap();
        assert_eq!(log.entries.len(), 3);
        assert!(
            log.entries.contains_key(&RecordKey::new(8, None)),
            "an empty key is none"
        );
        assert!(!log.entries[&RecordKey::new(0, None)].failed);
        let keyed = log.entries[&RecordKey::new(9, Some("k"))];
        assert!(keyed.failed);
        assert_eq!((keyed.is_task, keyed.task, keyed.line), (true, 7, 2));
        assert_eq!(log.guests, [0xa1]);
    }

    #[test]
    fn a_key_that_came_twice_leaves_a_log_that_can_be_used() {
        let lines = [
            record(1, "\"k\"", "invalid", "none"),
            record(0, "\"k\"", "ok", "none"),
            record(2, "\"k\"", "invalid", "none"),
        ];
        let log = Folder::with(&(lines.join("\n") + "\n")).open(false).unwrap();
        assert_eq!(log.entries.len(), 3);
        assert!(log.entries[&RecordKey::new(9, Some("k"))].is_task);
        assert!(log.entries.contains_key(&RecordKey::invalid(2, Some("k"))));
    }

    #[test]
    fn a_torn_last_line_goes_and_one_that_only_lacks_its_newline_stays() {
        let (one, two) = (record(0, "null", "ok", "ok"), record(1, "null", "ok", "ok"));
        let both = format!("{one}\n{two}");
        for length in 0..=both.len() {
            let folder = Folder::with(&both[..length]);
            let expected = match length {
                _ if length < one.len() => "next\n".to_owned(),
                _ if length < both.len() => format!("{one}\nnext\n"),
                _ => format!("{both}\nnext\n"),
            };
            assert_eq!(folder.continued(false), expected, "{length}");
        }
    }

    #[test]
    fn what_failed_goes_in_one_step_when_it_is_to_be_replaced() {
        let ids = ["ok", "trap", "timeout", "ok", "cancelled"];
        let lines: Vec<_> = (0_u64..)
            .zip(ids)
            .map(|(id, status)| record(id, "null", status, "none"))
            .collect();
        let callback = record(5, "null", "ok", "timeout");
        for tail in ["", "\n", "\n{\"torn"] {
            let folder = Folder::with(&(lines.join("\n") + "\n" + &callback + tail));
            fs::set_permissions(folder.path(), fs::Permissions::from_mode(0o640)).unwrap();
            assert_eq!(folder.open(true).unwrap().entries.len(), 2);
            let kept = format!("{}\n{}\nnext\n", lines[0], lines[3]);
            assert_eq!(folder.continued(true), kept);
            assert_eq!(folder.path().metadata().unwrap().mode() & 0o777, 0o640);
            assert_eq!(folder.0.path().read_dir().unwrap().count(), 1, "no copy is left");
        }
        let folder = Folder::with(&(lines[1].clone() + "\n" + &lines[3]));
        assert_eq!(folder.continued(true), format!("{}\nnext\n", lines[3]));
    }

    #[test]
    fn records_of_cancelled_tasks_are_replaced_without_being_asked_for() {
        let statuses = ["ok", "cancelled", "trap"];
        let lines: Vec<_> = (0_u64..)
            .zip(statuses)
            .map(|(id, status)| record(id, "null", status, "none"))
            .collect();
        let folder = Folder::with(&(lines.join("\n") + "\n"));
        assert_eq!(folder.open(false).unwrap().entries.len(), 2);
        let kept = format!("{}\n{}\nnext\n", lines[0], lines[2]);
        assert_eq!(folder.continued(false), kept);
    }

    #[test]
    fn blank_lines_and_a_byte_order_mark_are_no_records() {
        let lines: Vec<_> = (0..3).map(|id| record(id, "null", "ok", "ok")).collect();
        let text = format!("\u{feff}{}\n\n{}\r\n \t\r\n{}\n\n", lines[0], lines[1], lines[2]);
        let folder = Folder::with(&text);
        assert_eq!(folder.open(false).unwrap().entries.len(), 3);
        assert_eq!(folder.continued(false), format!("{text}next\n"));
        for text in ["\u{feff}", "\u{feff}\n", "\n\n"] {
            assert!(Folder::with(text).open(false).unwrap().entries.is_empty());
        }
        let second = Folder::with(&format!("{}\n\u{feff}{}\n", lines[0], lines[1]));
        assert!(refusal(&second).contains("line 2"), "{}", refusal(&second));
    }

    #[test]
    fn a_line_that_is_longer_than_a_record_can_be_is_refused_with_its_number() {
        let ok = record(0, "null", "ok", "none");
        let long = Folder::with(&format!("{ok}\n{}\n", " ".repeat(1000)));
        let why = refusal(&long);
        assert!(why.contains("line 2 is longer than 1000 bytes"), "{why}");
        Folder::with(&format!("{ok}\n{}\n", " ".repeat(999)))
            .open(false)
            .unwrap();
    }

    #[test]
    fn records_and_guests_beyond_their_bounds_are_refused() {
        let record = |id: u64| record(id, "null", "ok", "none");
        let lines = |count| (0..count).map(|id| record(id) + "\n").collect::<String>();
        let open = |text: &str| JobLog::open_with(Folder::with(text).path().as_path(), false, 1000, 3);
        assert_eq!(open(&lines(3)).unwrap().entries.len(), 3);
        let why = open(&lines(4)).map(drop).unwrap_err().to_string();
        assert!(why.contains("line 4: there are more than 3 records"), "{why}");
        let of_guest = |guest: usize| {
            let other = format!(r#""guest":"{guest:016x}""#);
            record(guest as u64).replace(r#""guest":"00000000000000a1""#, &other) + "\n"
        };
        let guests = |count| (0..count).map(of_guest).collect::<String>();
        let log = Folder::with(&guests(MAX_LOG_GUESTS)).open(false).unwrap();
        assert_eq!(log.guests.len(), MAX_LOG_GUESTS);
        let why = refusal(&Folder::with(&guests(MAX_LOG_GUESTS + 1)));
        assert!(why.contains("of more than 1024 guests"), "{why}");
    }

    #[test]
    fn a_record_takes_32_bytes() {
        assert_eq!(size_of::<(RecordKey, LogEntry)>(), 32);
    }

    #[test]
    fn what_is_no_log_is_refused_and_left_as_it_is() {
        let ok = record(0, "null", "ok", "none");
        let without = r#"{"id":0,"key":null,"status":"ok","callback":"none"}"#;
        for (text, why) in [
            ("hello\n".to_owned(), "line 1 is no record"),
            (format!("{ok}\n{{}}\n{ok}\n"), "line 2 is no record"),
            (format!("{without}\n"), "only --results FILE"),
            (format!("{ok}\n{ok}\n"), "the second record of task 0"),
        ] {
            let folder = Folder::with(&text);
            assert!(refusal(&folder).contains(why), "{}", refusal(&folder));
            assert_eq!(fs::read_to_string(folder.path()).unwrap(), text);
        }
    }

    #[test]
    fn a_log_is_a_file_of_its_own_and_of_one_run_at_a_time() {
        let folder = Folder::with("");
        let first = folder.open(false).unwrap();
        assert!(refusal(&folder).contains("another run"), "{}", refusal(&folder));
        drop(first);
        folder.open(false).unwrap();
        let link = Folder(tempfile::tempdir().unwrap());
        std::os::unix::fs::symlink(folder.path(), link.path()).unwrap();
        assert!(refusal(&link).contains("symbolic link"));
        let why = JobLog::open(Path::new("/dev/null"), false, 1000)
            .map(drop)
            .unwrap_err();
        assert!(why.to_string().contains("no regular file"));
    }
}
