//! A problem: inputs and expected outputs, read from a folder.

use std::fs;
use std::path::Path;

use anyhow::{Context, Result, bail};

/// A problem.
#[derive(Debug)]
pub struct Problem {
    /// The tests in order, at least one.
    pub tests: Vec<Test>,
}

/// An input and its expected output.
#[derive(Debug)]
pub struct Test {
    /// The input of the submission.
    pub input: Vec<u8>,
    expected: String,
}

impl Problem {
    /// Reads `1.in`, `1.out`, `2.in`, `2.out` and so on from a folder.
    ///
    /// # Errors
    /// When there is no `1.in`, the numbers have a gap, an output is missing or is not UTF-8, or a file can't be
    /// read.
    pub fn read(folder: &Path) -> Result<Self> {
        let there = fs::read_dir(folder).with_context(|| folder.display().to_string())?;
        let mut inputs = 0;
        for entry in there {
            let name = entry.with_context(|| folder.display().to_string())?.file_name();
            inputs += usize::from(Path::new(&name).extension().is_some_and(|ending| ending == "in"));
        }
        if inputs == 0 {
            bail!("{}: there are no tests: no file ends in .in", folder.display());
        }
        // The numbers must have no gaps. The error for a gap names the missing file.
        let tests = (1..=inputs).map(|number| Test::read(folder, number));
        Ok(Self {
            tests: tests.collect::<Result<_>>()?,
        })
    }
}

impl Test {
    fn read(folder: &Path, number: usize) -> Result<Self> {
        let file = |ending: &str| folder.join(format!("{number}.{ending}"));
        let (input, expected) = (file("in"), file("out"));
        Ok(Self {
            input: fs::read(&input).with_context(|| input.display().to_string())?,
            expected: fs::read_to_string(&expected).with_context(|| expected.display().to_string())?,
        })
    }

    /// Returns whether the output is correct: it has the expected words, with any whitespace between them.
    pub fn accepts(&self, output: &str) -> bool {
        output.split_whitespace().eq(self.expected.split_whitespace())
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    fn folder(files: &[(&str, &[u8])]) -> tempfile::TempDir {
        let folder = tempfile::tempdir().unwrap();
        for (name, content) in files {
            fs::write(folder.path().join(name), content).unwrap();
        }
        folder
    }

    fn refusal(files: &[(&str, &[u8])]) -> String {
        format!("{:#}", Problem::read(folder(files).path()).unwrap_err())
    }

    #[test]
    fn tests_come_in_the_order_of_their_numbers() {
        let files: Vec<_> = (1..=11)
            .map(|number| {
                [
                    (format!("{number}.in"), number),
                    (format!("{number}.out"), -number),
                ]
            })
            .collect();
        let folder = tempfile::tempdir().unwrap();
        for (name, content) in files.as_flattened() {
            fs::write(folder.path().join(name), content.to_string()).unwrap();
        }
        fs::write(folder.path().join("README.md"), "the problem").unwrap();
        let problem = Problem::read(folder.path()).unwrap();
        assert_eq!(problem.tests.len(), 11);
        assert_eq!(problem.tests[9].input, b"10");
        assert!(problem.tests[9].accepts("-10"));
    }

    #[test]
    fn what_is_wrong_with_a_folder_is_reported_by_file() {
        assert!(refusal(&[("1.out", b"1")]).ends_with("there are no tests: no file ends in .in"));
        assert!(refusal(&[("1.in", b"1")]).contains("1.out: No such file"));
        assert!(refusal(&[("1.in", b""), ("1.out", b""), ("3.in", b"")]).contains("2.in: No such file"));
        assert!(refusal(&[("1.in", b""), ("1.out", b"\xff")]).contains("1.out: "));
        let nothing = Problem::read(Path::new("/nowhere")).unwrap_err();
        assert!(format!("{nothing:#}").starts_with("/nowhere: No such file"));
    }

    #[test]
    fn an_output_is_compared_word_by_word() {
        let folder = folder(&[("1.in", b""), ("1.out", b"1 2\n3\n")]);
        let problem = Problem::read(folder.path()).unwrap();
        let test = &problem.tests[0];
        assert!(test.accepts("1 2\n3\n") && test.accepts("1\t2 3"));
        for wrong in ["", "1 2", "1 2 3 4", "12 3", "1 2 03"] {
            assert!(!test.accepts(wrong), "{wrong:?}");
        }
    }
}
