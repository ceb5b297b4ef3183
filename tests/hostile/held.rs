//! What parent and dispatcher hold for guests, task lines and logs: never more than the bounds in SECURITY.md.

use std::io::Read;
use std::process::{Child, Output, Stdio};
use std::time::Duration;

use crate::corpus::{Scratch, guest, options};
use crate::session::HANGS;
use crate::support::{descendants, mpwasm, pidfd, role, wait_readable};

/// The most that the parent of a run with default limits may hold.
const PARENT: u64 = 256 << 20;

/// Largest resident size so far, of the parent of a run and of its dispatcher, bytes.
#[derive(Debug, Default)]
struct Peaks {
    parent: u64,
    dispatcher: u64,
}

impl Peaks {
    fn look(&mut self, parent: u32) {
        self.parent = self.parent.max(high_water(parent));
        for pid in descendants(parent) {
            if role(pid).as_deref() == Some("dispatcher") {
                self.dispatcher = self.dispatcher.max(high_water(pid));
            }
        }
    }
}

/// The high-water mark of a process; 0 when it has ended.
fn high_water(pid: u32) -> u64 {
    let status = std::fs::read_to_string(format!("/proc/{pid}/status")).unwrap_or_default();
    let line = status.lines().find_map(|line| line.strip_prefix("VmHWM:"));
    let number = line.and_then(|line| line.trim().strip_suffix("kB")?.trim().parse::<u64>().ok());
    number.unwrap_or(0) << 10
}

fn start(args: &[&str]) -> Child {
    mpwasm()
        .arg("run")
        .args([&options()[..], args].concat())
        .stdin(Stdio::null())
        .stdout(Stdio::piped())
        .stderr(Stdio::piped())
        .spawn()
        .unwrap()
}

/// Runs to the end, and looks at both processes all the while.
fn measured(args: &[&str]) -> (Output, Peaks) {
    let child = start(args);
    let (pid, end) = (child.id(), pidfd(child.id()));
    let reader = std::thread::spawn(move || child.wait_with_output().unwrap());
    let mut peaks = Peaks::default();
    while !wait_readable(&end, Duration::from_millis(5)) {
        peaks.look(pid);
    }
    (reader.join().unwrap(), peaks)
}

fn text(bytes: &[u8]) -> String {
    String::from_utf8_lossy(bytes).into_owned()
}

fn path(file: &Scratch) -> String {
    file.path().to_str().unwrap().to_owned()
}

/// A guest with so many models `m0`, `m1`, ..., each with these exports, functions of the guest.
fn models(count: usize, fields: &str, exports: &[(&str, &str)]) -> String {
    let one = |n: usize| -> String {
        let export =
            |(name, function): &(&str, &str)| format!("(export \"m{n}.{name}\" (func {function}))\n");
        exports.iter().map(export).collect()
    };
    let all: String = (0..count).map(one).collect();
    guest(&format!("(memory (export \"memory\") 1)\n{fields}\n{all}"))
}

/// A function that puts out a string of so many pages, less two bytes, and returns `code`.
fn puts_out(name: &str, pages: usize, code: i32) -> String {
    format!(
        r#"(func {name} (result i32) (local $n i32)
             (memory.fill (i32.const 0) (i32.const 120) (i32.const 65536))
             (i32.store8 (i32.const 0) (i32.const 34))
             (call $output_write (i32.const 0) (i32.const 1))
             (loop $more
               (call $output_write (i32.const 1) (i32.const 65535))
               (br_if $more (i32.lt_u (local.tee $n (i32.add (local.get $n) (i32.const 1))) (i32.const {pages}))))
             (call $output_write (i32.const 0) (i32.const 1))
             (i32.const {code}))"#
    )
}

const NOTHING: &str = "(func $nothing (result i32) (i32.const 0))";

fn task_lines(lines: impl IntoIterator<Item = String>) -> Scratch {
    let lines: Vec<_> = lines.into_iter().collect();
    Scratch::file("tasks", lines.join("\n") + "\n")
}

#[test]
fn all_final_values_of_a_pool_together_are_no_larger_than_one_result() {
    const MODELS: usize = 24;
    let fields = format!("{NOTHING} {}", puts_out("$large", 255, 0));
    let exports = [
        ("runnable", "$nothing"),
        ("callback", "$nothing"),
        ("final_callback", "$large"),
    ];
    let guest = Scratch::file("guest.wat", models(MODELS, &fields, &exports));
    let tasks = task_lines((0..MODELS).map(|n| format!("{{\"model\":\"m{n}\",\"args\":[]}}")));
    let mut child = start(&["--callback-timeout=60s", "--tasks", &path(&tasks), &path(&guest)]);
    let mut stderr = child.stderr.take().unwrap();
    let mut first = [0];
    stderr.read_exact(&mut first).unwrap();
    // It has all values now, and waits until this one is read, which is more than a pipe holds.
    let peak = high_water(child.id());
    let mut said = text(&first);
    stderr.read_to_string(&mut said).unwrap();
    assert_eq!(child.wait().unwrap().code(), Some(1));
    let values = said
        .lines()
        .filter(|line| line.contains("the final value of model"));
    let lengths: Vec<_> = values.map(str::len).filter(|len| *len > 1 << 20).collect();
    assert_eq!(lengths.len(), 1, "the first one is told: {lengths:?}");
    let refused = said
        .lines()
        .filter(|line| line.contains("limit: it has 16711427 bytes, and 65789 were left"));
    assert_eq!(refused.count(), MODELS - 1);
    assert!(peak < PARENT, "the parent had {peak} bytes");
}

/// Each of 63 models has a callback instance, which is given 3.9 MB, and puts out as much.
#[test]
fn instances_of_callbacks_that_are_kept_hold_no_buffers_of_their_own() {
    const MODELS: usize = 63;
    let fields = puts_out("$large", 60, 0);
    let exports = [("runnable", "$large"), ("callback", "$large")];
    let guest = Scratch::file("guest.wat", models(MODELS, &fields, &exports));
    let tasks = task_lines((0..MODELS).map(|n| format!("{{\"model\":\"m{n}\",\"args\":[]}}")));
    let (output, peaks) = measured(&["--callback-timeout=60s", "--tasks", &path(&tasks), &path(&guest)]);
    assert!(output.status.success(), "{}", text(&output.stderr));
    let most = 160 << 20;
    assert!(peaks.dispatcher < most && peaks.parent < PARENT, "{peaks:?}");
}
