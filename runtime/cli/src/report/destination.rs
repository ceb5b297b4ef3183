//! Where a report is written: stdout, or a file that is replaced once the report is complete.

use std::fs::{self, File};
use std::io::{self, BufWriter, IsTerminal, Write};
use std::os::unix::fs::MetadataExt;
use std::path::Path;

use anyhow::Context;
use mpwasm::escape::{Untrusted, escape_bytes};

use crate::replaced_file::ReplacedFile;
use crate::report::options::ReportFormat;
use crate::terminal::escape::escape_json;
use crate::terminal::stdio::{BlockingFile, permits_colours};

/// Size of the write buffer: 64 KiB.
const WRITE_BUFFER: usize = 64 << 10;

/// The destination of a report.
pub struct Destination {
    target: DestinationKind,
    format: ReportFormat,
}

enum DestinationKind {
    /// A terminal. The report is escaped as a whole.
    Terminal(BlockingFile, Vec<u8>),
    /// Stdout that is no terminal, or a file that can't be replaced, such as a device.
    Stream(BufWriter<BlockingFile>),
    /// A file that will be at the path.
    File(BufWriter<ReplacedFile>),
}

impl Destination {
    /// Opens the destination.
    ///
    /// # Errors
    /// When the file can't be created, or stdout is closed.
    pub fn open(path: Option<&Path>, format: ReportFormat) -> anyhow::Result<Self> {
        let target = match path {
            None => DestinationKind::stdout().context("cannot write to stdout")?,
            Some(path) => DestinationKind::file(path)
                .with_context(|| format!("cannot write {}", Untrusted::from(path)))?,
        };
        Ok(Self { target, format })
    }

    /// Returns whether a report for people has colours: on a terminal, unless `NO_COLOR` is set.
    pub fn has_colours(&self) -> bool {
        matches!(self.target, DestinationKind::Terminal(..)) && permits_colours()
    }

    /// Writes what is buffered. A file gets its name.
    ///
    /// # Errors
    /// When a write fails.
    pub fn finish(self) -> io::Result<()> {
        match self.target {
            DestinationKind::Terminal(mut stdout, bytes) => {
                let text = String::from_utf8_lossy(&bytes);
                match self.format {
                    // It is escaped already, and has colours.
                    ReportFormat::Text => stdout.write_all(&bytes),
                    ReportFormat::Json => stdout.write_all(
                        text.lines()
                            .map(|line| escape_json(line).into_owned() + "\n")
                            .collect::<String>()
                            .as_bytes(),
                    ),
                    ReportFormat::Html | ReportFormat::Csv | ReportFormat::Junit => {
                        stdout.write_all(&escape_bytes(&bytes))
                    }
                }
            }
            DestinationKind::Stream(mut stdout) => stdout.flush(),
            DestinationKind::File(file) => file
                .into_inner()
                .map_err(io::IntoInnerError::into_error)?
                .finish(),
        }
    }
}

impl DestinationKind {
    fn stdout() -> io::Result<Self> {
        let stdout = BlockingFile::stdout()?;
        Ok(match io::stdout().is_terminal() {
            true => Self::Terminal(stdout, Vec::new()),
            false => Self::Stream(BufWriter::with_capacity(WRITE_BUFFER, stdout)),
        })
    }

    fn file(path: &Path) -> io::Result<Self> {
        if fs::metadata(path).is_ok_and(|metadata| !metadata.is_file()) {
            let file = File::options().write(true).open(path)?;
            return Ok(Self::Stream(BufWriter::with_capacity(WRITE_BUFFER, file.into())));
        }
        let file = ReplacedFile::create(path, ".mpwasm-report-")?;
        Ok(Self::File(BufWriter::with_capacity(WRITE_BUFFER, file)))
    }

    fn writer(&mut self) -> &mut dyn Write {
        match self {
            Self::Terminal(_, bytes) => bytes,
            Self::Stream(stdout) => stdout,
            Self::File(file) => file,
        }
    }
}

impl Write for Destination {
    fn write(&mut self, bytes: &[u8]) -> io::Result<usize> {
        self.target.writer().write(bytes)
    }

    fn flush(&mut self) -> io::Result<()> {
        self.target.writer().flush()
    }
}

/// Returns whether both paths are of the same file, which exists.
pub fn is_same_file(a: &Path, b: &Path) -> bool {
    let identity = |path: &Path| fs::metadata(path).map(|metadata| (metadata.dev(), metadata.ino()));
    matches!((identity(a), identity(b)), (Ok(a), Ok(b)) if a == b)
}
