//! [`ReplacedFile`]: a file that appears under its path once it is complete.

use std::fs::{self, Permissions};
use std::io::{self, Write};
use std::os::unix::fs::PermissionsExt;
use std::path::{Path, PathBuf};

use tempfile::NamedTempFile;

/// A temporary file beside a path, which replaces what is there when it is complete. Dropping it removes it.
pub struct ReplacedFile {
    file: NamedTempFile,
    path: PathBuf,
}

impl ReplacedFile {
    /// Creates the temporary file. `prefix` is the beginning of its name.
    ///
    /// # Errors
    /// When the folder does not exist or can't be written.
    pub fn create(path: &Path, prefix: &str) -> io::Result<Self> {
        // A link stays a link.
        let path = fs::canonicalize(path).unwrap_or_else(|_| path.to_owned());
        let folder = path.parent().filter(|folder| *folder != Path::new(""));
        let file = tempfile::Builder::new()
            .prefix(prefix)
            .permissions(Permissions::from_mode(0o666)) // less the umask
            .tempfile_in(folder.unwrap_or(Path::new(".")))?;
        Ok(Self { file, path })
    }

    /// Replaces what is at the path.
    ///
    /// # Errors
    /// When it can't be replaced; then it stays as it was.
    pub fn finish(self) -> io::Result<()> {
        self.file.persist(self.path)?;
        Ok(())
    }
}

impl Write for ReplacedFile {
    fn write(&mut self, bytes: &[u8]) -> io::Result<usize> {
        self.file.write(bytes)
    }

    fn flush(&mut self) -> io::Result<()> {
        self.file.flush()
    }
}
