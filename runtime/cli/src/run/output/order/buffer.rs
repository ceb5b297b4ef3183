//! Reports that wait for their turn (`--keep-order`): in memory, or in a temporary file once that is too much.
//!
//! Each report is kept as the bytes of one frame, so that what is counted is what it takes. The file is in the folder of
//! `TMPDIR`, or `/tmp`. It has no name, and its blocks are given back when they were read.

use std::fs::File;
use std::io;
use std::os::unix::fs::FileExt;
use std::sync::Arc;

use mpwasm::{LogLevel, Source, Stream};
use mpwasm_types::settings::{ORDER_BLOCK, ORDER_MEMORY};
use rustix::fs::{FallocateFlags, fallocate};
use serde::{Deserialize, Serialize};

/// Something that was reported of a task.
#[derive(Debug, PartialEq, Serialize, Deserialize)]
pub enum TaskReport<'a> {
    /// It printed.
    Output {
        source: Source,
        stream: Stream,
        #[serde(with = "serde_bytes")]
        bytes: &'a [u8],
        end: bool,
    },
    /// It logged a line.
    Log {
        source: Source,
        level: LogLevel,
        text: &'a str,
        worker: Option<u32>,
        attempt: Option<u32>,
    },
    /// It ended: what is shown of its failure, and its record without the newline, where they are wanted.
    Ended {
        id: u64,
        failure: Option<&'a str>,
        #[serde(with = "serde_bytes")]
        record: Option<&'a [u8]>,
    },
}

/// Bytes of the length in front of a frame.
const HEADER: usize = 8;

impl TaskReport<'_> {
    /// Returns its frame.
    pub fn frame(&self) -> Vec<u8> {
        let frame = postcard::to_extend(self, vec![0; HEADER]);
        let mut frame = frame.expect("a report can be written, and a Vec takes all bytes");
        let len = (frame.len() - HEADER) as u64;
        frame[..HEADER].copy_from_slice(&len.to_le_bytes());
        frame
    }
}

/// Calls `take` with each report in these frames, in order.
fn each(mut frames: &[u8], take: &mut impl FnMut(TaskReport<'_>) -> io::Result<()>) -> io::Result<()> {
    while let Some((header, rest)) = frames.split_first_chunk::<HEADER>() {
        let len = usize::try_from(u64::from_le_bytes(*header)).map_err(io::Error::other)?;
        let (frame, rest) = rest.split_at_checked(len).ok_or(io::ErrorKind::InvalidData)?;
        take(postcard::from_bytes(frame).map_err(io::Error::other)?)?;
        frames = rest;
    }
    Ok(())
}

/// A part of the file.
#[derive(Clone, Copy, Debug)]
struct Block {
    offset: u64,
    len: usize,
}

/// The reports of one task.
#[derive(Debug, Default)]
pub struct BufferedReports {
    /// The first of them.
    blocks: Vec<Block>,
    /// Those behind.
    memory: Vec<u8>,
}

/// What the reports of all tasks take.
#[derive(Debug, Default)]
pub struct ReportBuffer {
    file: Option<Arc<File>>,
    /// Where the next block goes.
    end: u64,
    /// Bytes in the file.
    filed: usize,
    /// Bytes in memory.
    memory: usize,
}

impl ReportBuffer {
    /// Bytes of all reports, wherever they are.
    pub fn bytes(&self) -> usize {
        self.filed + self.memory
    }

    /// Adds a report to those of a task.
    ///
    /// # Errors
    /// When the file can't be written. The report is lost then.
    pub fn add(&mut self, held: &mut BufferedReports, frame: &[u8]) -> io::Result<()> {
        let before = held.memory.len();
        held.memory.extend_from_slice(frame);
        self.memory += frame.len();
        if self.memory > ORDER_MEMORY && held.memory.len() >= ORDER_BLOCK {
            return self.file(held).inspect_err(|_| {
                held.memory.truncate(before);
                self.memory -= frame.len();
            });
        }
        Ok(())
    }

    /// Moves what a task has in memory to the file.
    fn file(&mut self, held: &mut BufferedReports) -> io::Result<()> {
        let file = match &mut self.file {
            Some(file) => file,
            none => none.insert(Arc::new(tempfile::tempfile()?)),
        };
        if self.filed == 0 {
            self.end = 0;
        }
        file.write_all_at(&held.memory, self.end)?;
        let len = std::mem::take(&mut held.memory).len();
        held.blocks.push(Block {
            offset: self.end,
            len,
        });
        self.end += len as u64;
        self.filed += len;
        self.memory -= len;
        Ok(())
    }

    /// Removes and returns the reports of a task. They are to be read before others are added.
    pub fn release(&mut self, held: BufferedReports) -> ReleasedReports {
        self.memory -= held.memory.len();
        self.filed -= held.blocks.iter().map(|block| block.len).sum::<usize>();
        ReleasedReports {
            file: self.file.clone().filter(|_| !held.blocks.is_empty()),
            held,
        }
    }
}

/// The reports of a task whose turn it is.
#[derive(Debug)]
pub struct ReleasedReports {
    file: Option<Arc<File>>,
    held: BufferedReports,
}

impl ReleasedReports {
    /// Calls `take` with each report, in order.
    ///
    /// # Errors
    /// When the file can't be read; and the first error of `take`.
    pub fn each(self, mut take: impl FnMut(TaskReport<'_>) -> io::Result<()>) -> io::Result<()> {
        if let Some(file) = &self.file {
            let mut bytes = Vec::new();
            for Block { offset, len } in self.held.blocks {
                bytes.resize(len, 0);
                file.read_exact_at(&mut bytes, offset)?;
                // A file system that can't do so keeps the block until the file is gone.
                let give_back = FallocateFlags::PUNCH_HOLE | FallocateFlags::KEEP_SIZE;
                let _ = fallocate(file, give_back, offset, len as u64);
                each(&bytes, &mut take)?;
            }
        }
        each(&self.held.memory, &mut take)
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    fn print(bytes: &[u8]) -> Vec<u8> {
        let told = TaskReport::Output {
            source: Source::Task(7),
            stream: Stream::Stdout,
            bytes,
            end: false,
        };
        told.frame()
    }

    fn lengths(released: ReleasedReports) -> Vec<usize> {
        let mut lengths = Vec::new();
        let take = |told: TaskReport<'_>| {
            match told {
                TaskReport::Output { bytes, .. } => lengths.push(bytes.len()),
                other => panic!("{other:?}"),
            }
            Ok(())
        };
        released.each(take).unwrap();
        lengths
    }

    #[test]
    fn a_report_is_what_it_was() {
        let reports = [
            TaskReport::Log {
                source: Source::Callback(u64::MAX),
                level: LogLevel::Debug,
                text: "",
                worker: Some(3),
                attempt: None,
            },
            TaskReport::Ended {
                id: 1,
                failure: None,
                record: Some(b"{}"),
            },
            TaskReport::Ended {
                id: 2,
                failure: Some("x"),
                record: None,
            },
        ];
        let frames = reports.iter().flat_map(TaskReport::frame).collect::<Vec<_>>();
        let mut index = 0;
        let take = |told: TaskReport<'_>| {
            assert_eq!(told, reports[index]);
            index += 1;
            Ok(())
        };
        each(&frames, &mut { take }).unwrap();
        assert_eq!(index, reports.len());
    }

    #[test]
    fn a_log_line_without_text_counts() {
        let (mut store, mut held) = (ReportBuffer::default(), BufferedReports::default());
        let line = TaskReport::Log {
            source: Source::Task(1),
            level: LogLevel::Info,
            text: "",
            worker: None,
            attempt: None,
        };
        store.add(&mut held, &line.frame()).unwrap();
        assert_eq!(store.bytes(), held.memory.len());
        assert!(store.bytes() > HEADER);
    }

    #[test]
    fn what_cannot_be_kept_is_not_among_what_was_kept() {
        let full = File::options().write(true).open("/dev/full").unwrap();
        let mut store = ReportBuffer {
            file: Some(Arc::new(full)),
            ..ReportBuffer::default()
        };
        let mut held = BufferedReports::default();
        let mut kept = 0;
        // What is refused is not kept: the caller reports it in another way.
        while store.add(&mut held, &print(&[b'x'; 1 << 20])).is_ok() {
            kept += 1;
        }
        assert_eq!(store.bytes(), held.memory.len());
        assert_eq!(lengths(store.release(held)), vec![1 << 20; kept]);
    }

    #[test]
    fn what_is_too_much_for_memory_waits_in_a_file_and_keeps_its_order() {
        let mut store = ReportBuffer::default();
        let mut tasks: Vec<_> = (0..4).map(|_| BufferedReports::default()).collect();
        let pieces = [4 << 20, 1, 4 << 20, 2, 8 << 20, 3];
        for len in pieces {
            for held in &mut tasks {
                store.add(held, &print(&vec![b'x'; len])).unwrap();
            }
        }
        assert!(store.memory <= ORDER_MEMORY + 4 * ORDER_BLOCK, "{}", store.memory);
        assert!(store.filed >= 32 << 20, "{}", store.filed);
        for held in tasks {
            assert_eq!(lengths(store.release(held)), pieces);
        }
        assert_eq!((store.bytes(), store.memory), (0, 0));
        let file = store.file.as_ref().unwrap();
        let blocks = std::os::unix::fs::MetadataExt::blocks(&file.metadata().unwrap());
        // But for what shares a page with what is next to it.
        assert!(blocks < 1000, "what was read is given back: {blocks}");
    }
}
