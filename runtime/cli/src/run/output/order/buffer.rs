//! Buffers reports for `--keep-order`: in memory, and beyond a limit in a temporary file.
//!
//! Each report is stored as one frame, so that its counted size is its actual size. The file is in the folder of `TMPDIR`, or in
//! `/tmp`. It has no name, and its blocks are deallocated after they are read.

use std::fs::File;
use std::io;
use std::os::unix::fs::FileExt;
use std::sync::Arc;

use mpwasm::{LogLine, PrintedOutput, TaskId};
use rustix::fs::{FallocateFlags, fallocate};
use serde::{Deserialize, Serialize};

/// Bytes of reports that wait in memory: 32 MiB, a quarter of what the parent may have, since a growing buffer can take twice its
/// size. The others wait in a temporary file.
pub const ORDER_MEMORY: usize = 32 << 20;
/// Smallest block that is written to the temporary file, and what each task may have in memory in any case. The index of the blocks is
/// small beside it.
const ORDER_BLOCK: usize = 32 << 10;

/// A buffered [`Event`](mpwasm::Event) of a task. The end of a task has what is written at it instead of the outcome.
#[derive(Debug, PartialEq, Serialize, Deserialize)]
pub enum BufferedEvent<'a> {
    /// The task printed, or will print no more.
    #[serde(borrow)]
    Printed(PrintedOutput<'a>),
    /// The task logged a line.
    Logged(LogLine<'a>),
    /// The task ended.
    Ended {
        id: TaskId,
        /// The line for its failure.
        failure: Option<&'a str>,
        /// Its record, without the newline.
        #[serde(with = "serde_bytes")]
        record: Option<&'a [u8]>,
    },
}

/// Size of the length field before a frame's payload.
const HEADER: usize = 8;

impl BufferedEvent<'_> {
    /// Returns the event as a frame.
    pub fn frame(&self) -> Vec<u8> {
        let frame = postcard::to_extend(self, vec![0; HEADER]);
        let mut frame = frame.expect("an event serializes without errors, and so does a write to a Vec");
        let len = (frame.len() - HEADER) as u64;
        frame[..HEADER].copy_from_slice(&len.to_le_bytes());
        frame
    }
}

/// Calls `take` with each event in `frames`, in order.
fn each(mut frames: &[u8], take: &mut impl FnMut(BufferedEvent<'_>)) -> io::Result<()> {
    while let Some((header, rest)) = frames.split_first_chunk::<HEADER>() {
        let len = usize::try_from(u64::from_le_bytes(*header)).map_err(io::Error::other)?;
        let (frame, rest) = rest.split_at_checked(len).ok_or(io::ErrorKind::InvalidData)?;
        take(postcard::from_bytes(frame).map_err(io::Error::other)?);
        frames = rest;
    }
    Ok(())
}

/// A range of the file.
#[derive(Clone, Copy, Debug)]
struct Block {
    offset: u64,
    len: usize,
}

/// The buffered reports of one task.
#[derive(Debug, Default)]
pub struct BufferedReports {
    /// The earlier reports, in the file.
    blocks: Vec<Block>,
    /// The later reports.
    memory: Vec<u8>,
}

/// The file and the sizes of all buffered reports.
#[derive(Debug, Default)]
pub struct ReportBuffer {
    file: Option<Arc<File>>,
    /// Offset of the next block.
    end: u64,
    /// Bytes in the file.
    in_file: usize,
    /// Bytes in memory.
    in_memory: usize,
}

impl ReportBuffer {
    /// Returns the bytes of all reports, in memory and in the file.
    pub fn bytes(&self) -> usize {
        self.in_file + self.in_memory
    }

    #[cfg(test)]
    pub fn file(&self) -> Option<&File> {
        self.file.as_deref()
    }

    /// Adds a report to those of a task.
    ///
    /// # Errors
    /// When the file can't be written. The report is then not buffered.
    pub fn add(&mut self, reports: &mut BufferedReports, frame: &[u8]) -> io::Result<()> {
        let before = reports.memory.len();
        reports.memory.extend_from_slice(frame);
        self.in_memory += frame.len();
        if self.in_memory > ORDER_MEMORY && reports.memory.len() >= ORDER_BLOCK {
            return self.move_to_file(reports).inspect_err(|_| {
                reports.memory.truncate(before);
                self.in_memory -= frame.len();
            });
        }
        Ok(())
    }

    /// Moves the reports of a task from memory to the file.
    fn move_to_file(&mut self, reports: &mut BufferedReports) -> io::Result<()> {
        let file = match &mut self.file {
            Some(file) => file,
            none => none.insert(Arc::new(tempfile::tempfile()?)),
        };
        if self.in_file == 0 {
            self.end = 0;
        }
        file.write_all_at(&reports.memory, self.end)?;
        let len = std::mem::take(&mut reports.memory).len();
        reports.blocks.push(Block {
            offset: self.end,
            len,
        });
        self.end += len as u64;
        self.in_file += len;
        self.in_memory -= len;
        Ok(())
    }

    /// Removes and returns the reports of a task. They must be read before others are added.
    pub fn release(&mut self, reports: BufferedReports) -> ReleasedReports {
        self.in_memory -= reports.memory.len();
        self.in_file -= reports.blocks.iter().map(|block| block.len).sum::<usize>();
        ReleasedReports {
            file: self.file.clone().filter(|_| !reports.blocks.is_empty()),
            reports,
        }
    }
}

/// Reports of a task that may be passed on.
#[derive(Debug)]
pub struct ReleasedReports {
    file: Option<Arc<File>>,
    reports: BufferedReports,
}

impl ReleasedReports {
    /// Calls `take` with each report, in order.
    ///
    /// # Errors
    /// When the file can't be read.
    pub fn each(self, mut take: impl FnMut(BufferedEvent<'_>)) -> io::Result<()> {
        if let Some(file) = &self.file {
            let mut bytes = Vec::new();
            for Block { offset, len } in self.reports.blocks {
                bytes.resize(len, 0);
                file.read_exact_at(&mut bytes, offset)?;
                // A file system without hole punching keeps the block until the file is closed.
                let deallocate = FallocateFlags::PUNCH_HOLE | FallocateFlags::KEEP_SIZE;
                let _ = fallocate(file, deallocate, offset, len as u64);
                each(&bytes, &mut take)?;
            }
        }
        each(&self.reports.memory, &mut take)
    }
}

#[cfg(test)]
mod tests {
    use super::*;
    use mpwasm::{LogLevel, Source, Stream, WorkerNumber};

    fn print(bytes: &[u8]) -> Vec<u8> {
        let output = PrintedOutput {
            source: Source::Task(TaskId(7)),
            stream: Stream::Stdout,
            bytes,
            end: false,
        };
        BufferedEvent::Printed(output).frame()
    }

    fn lengths(released: ReleasedReports) -> Vec<usize> {
        let mut lengths = Vec::new();
        let take = |event: BufferedEvent<'_>| match event {
            BufferedEvent::Printed(output) => lengths.push(output.bytes.len()),
            other => panic!("{other:?}"),
        };
        released.each(take).unwrap();
        lengths
    }

    #[test]
    fn an_event_is_unchanged() {
        let all = [
            BufferedEvent::Printed(PrintedOutput {
                source: Source::Task(TaskId(2)),
                stream: Stream::Stderr,
                bytes: b"\xff\0",
                end: true,
            }),
            BufferedEvent::Logged(LogLine {
                source: Source::Callback(TaskId(u64::MAX)),
                level: LogLevel::Debug,
                text: "",
                worker: Some(WorkerNumber(3)),
                attempt: None,
            }),
            BufferedEvent::Ended {
                id: TaskId(1),
                failure: None,
                record: Some(b"{}"),
            },
            BufferedEvent::Ended {
                id: TaskId(2),
                failure: Some("x"),
                record: None,
            },
        ];
        let frames = all.iter().flat_map(BufferedEvent::frame).collect::<Vec<_>>();
        let mut index = 0;
        let take = |event: BufferedEvent<'_>| {
            assert_eq!(event, all[index]);
            index += 1;
        };
        each(&frames, &mut { take }).unwrap();
        assert_eq!(index, all.len());
    }

    #[test]
    fn a_log_line_without_text_has_a_size() {
        let (mut buffer, mut reports) = (ReportBuffer::default(), BufferedReports::default());
        let line = BufferedEvent::Logged(LogLine {
            source: Source::Task(TaskId(1)),
            level: LogLevel::Info,
            text: "",
            worker: None,
            attempt: None,
        });
        buffer.add(&mut reports, &line.frame()).unwrap();
        assert_eq!(buffer.bytes(), reports.memory.len());
        assert!(buffer.bytes() > HEADER);
    }

    #[test]
    fn a_report_that_cannot_be_written_is_not_buffered() {
        let full = File::options().write(true).open("/dev/full").unwrap();
        let mut buffer = ReportBuffer {
            file: Some(Arc::new(full)),
            ..ReportBuffer::default()
        };
        let mut reports = BufferedReports::default();
        let mut kept = 0;
        // A refused report is not buffered: the caller passes it on.
        while buffer.add(&mut reports, &print(&[b'x'; 1 << 20])).is_ok() {
            kept += 1;
        }
        assert_eq!(buffer.bytes(), reports.memory.len());
        assert_eq!(lengths(buffer.release(reports)), vec![1 << 20; kept]);
    }

    #[test]
    fn reports_beyond_the_memory_limit_go_to_a_file_in_order() {
        let mut buffer = ReportBuffer::default();
        let mut tasks: Vec<_> = (0..4).map(|_| BufferedReports::default()).collect();
        let pieces = [4 << 20, 1, 4 << 20, 2, 8 << 20, 3];
        for len in pieces {
            for reports in &mut tasks {
                buffer.add(reports, &print(&vec![b'x'; len])).unwrap();
            }
        }
        assert!(
            buffer.in_memory <= ORDER_MEMORY + 4 * ORDER_BLOCK,
            "{}",
            buffer.in_memory
        );
        assert!(buffer.in_file >= 32 << 20, "{}", buffer.in_file);
        for reports in tasks {
            assert_eq!(lengths(buffer.release(reports)), pieces);
        }
        assert_eq!((buffer.bytes(), buffer.in_memory), (0, 0));
        let file = buffer.file.as_ref().unwrap();
        let blocks = std::os::unix::fs::MetadataExt::blocks(&file.metadata().unwrap());
        // Except for pages that are shared with a neighbouring block.
        assert!(blocks < 1000, "read blocks are deallocated: {blocks}");
    }
}
