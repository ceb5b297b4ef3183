//! A compromised worker. A task's args name what it does: `["none"]` for nothing, an attack of [`calls`](crate::calls)
//! with its target, or one of the false messages below.

use mpwasm_system::clock;
use std::os::fd::{AsFd, OwnedFd};
use std::time::Duration;

use rand::RngCore;
use serde::Serialize;

use crate::attempted::Attempted;
use crate::calls::attempt;
use crate::part::Part;
use mpwasm_host::guest_thread;
use mpwasm_protocol::channel::{Channel, Filled, send_all};
use mpwasm_protocol::frame::{decode, put};
use mpwasm_protocol::in_memory;
use mpwasm_protocol::messages::{
    CallResult, FromWorker, GuestOutput, Hello, ResourceUsage, ToWorker, WorkerStart,
};
use mpwasm_protocol::page::SharedPage;
use mpwasm_sandbox::child;
use mpwasm_sandbox::jail;
use mpwasm_sandbox::scratch::ScratchDir;
use mpwasm_system::process::exit_now;
use mpwasm_types::grants::Granted;
use mpwasm_types::ids::{OfferId, TaskId};
use mpwasm_types::items;
use mpwasm_types::objects::ObjectKind;
use mpwasm_types::outcome::{Failure, Kind, LogLevel, Stream};
use mpwasm_types::role::Role;
use mpwasm_types::task::TaskInput;
use mpwasm_types::time::Time;

/// Becomes a worker that does what its first task says. Returns only when it can't.
pub fn main(part: &Part) -> String {
    let mut channel = match child::start_up() {
        Ok(channel) => channel,
        Err(error) => return error.to_string(),
    };
    let Ok(WorkerStart {
        jail, grants, engine, ..
    }) = in_memory::receive(&mut channel)
    else {
        return "no start came".to_owned();
    };
    // It keeps its life channel open and ignores it, so neither a message nor its end has an effect.
    let life = channel.take_descriptor();
    let Some(page) = channel.take_descriptor().and_then(|fd| SharedPage::map(fd).ok()) else {
        return "no page came".to_owned();
    };
    let Ok(granted) = Granted::of_worker(grants, || channel.take_descriptor().ok_or(())) else {
        return "no directory came".to_owned();
    };
    if let Some(plan) = &jail {
        // SAFETY: the page is moved to the thread below, which keeps it until the process ends.
        unsafe { jail::violation::report_in(page.violation_cell()) };
        if let Err(error) = jail::isolate(Role::Worker, plan, granted.all_dirs()) {
            return error.to_string();
        }
    }
    // As a real worker does at its start. From here on relative paths begin in the scratch directory.
    if let Some(scratch) = &granted.scratch {
        let cleared = ScratchDir::of(&granted).and_then(|scratch| Ok(scratch.clear()?));
        if let Err(error) = cleared.and_then(|()| Ok(nix::unistd::fchdir(&scratch.fd)?)) {
            return format!("no scratch directory: {error}");
        }
    }
    let plan = part.plan(jail);
    let started = guest_thread::start(Role::Worker, engine.stack, plan.as_ref(), move || {
        CompromisedWorker {
            channel,
            page,
            _life: life,
        }
        .serve();
    });
    match started {
        Ok(()) => loop {
            std::thread::park();
        },
        Err(error) => error.to_string(),
    }
}

struct CompromisedWorker {
    channel: Channel,
    page: SharedPage,
    _life: Option<OwnedFd>,
}

/// Items in each chunk of these tests.
const ITEMS: u32 = 3;

impl CompromisedWorker {
    fn serve(mut self) {
        self.say(&FromWorker::Ready);
        loop {
            let Ok(Filled::Some | Filled::Nothing) = self.channel.wait() else {
                exit_now(0)
            };
            while let Ok(Some(frame)) = self.channel.inbox().next_message() {
                let Ok(ToWorker { offer, spec, .. }) = decode(frame) else {
                    continue;
                };
                let args = match spec.input {
                    TaskInput::Json(args) | TaskInput::Command(args) => args,
                    // The first item names the attack.
                    TaskInput::Chunk { args, .. } => items::iter(args).next().unwrap_or_default(),
                };
                let args: Vec<String> = serde_json::from_slice(args).unwrap_or_default();
                let word = |index: usize| args.get(index).map_or("", String::as_str).to_owned();
                self.obey(offer, &word(0), &word(1));
            }
        }
    }

    fn obey(&self, offer: OfferId, attack: &str, target: &str) {
        match attack {
            // It ends a task that it never claimed.
            "unclaimed" => return self.end(offer, CallResult::Ok(b"null")),
            "claimed long ago" => drop(self.page.claim(offer, Time(0))),
            "claimed in the future" => drop(self.page.claim(offer, Time::NEVER)),
            _ => {
                if !self.page.claim(offer, clock::now()) {
                    return self.say(&FromWorker::Skipped(offer));
                }
            }
        }
        self.lie(offer, attack, target);
    }

    #[expect(clippy::too_many_lines, reason = "one arm for each attack")]
    fn lie(&self, offer: OfferId, attack: &str, target: &str) {
        match attack {
            "none" => self.end(offer, CallResult::Ok(b"null")),
            "claimed long ago" | "claimed in the future" | "silent" => hang(),
            "random" => {
                // It sends a hundred frames. Even if some of them are valid messages by chance, others are not.
                for _ in 0..100 {
                    let mut bytes = [0; 100];
                    rand::rng().fill_bytes(&mut bytes);
                    self.send(&100_u32.to_le_bytes());
                    self.send(&bytes);
                }
                hang()
            }
            "huge" => {
                self.send(&u32::MAX.to_le_bytes());
                hang()
            }
            "truncated" => {
                self.send(&1000_u32.to_le_bytes());
                self.send(b"0123456789");
                hang()
            }
            "truncated payload" => {
                self.send(&(1_u32 << 20).to_le_bytes());
                self.send(&[b'x'; 100_000]);
                hang()
            }
            "one item too many" => (0..ITEMS + 1).for_each(|_| self.end(offer, CallResult::Ok(b"null"))),
            "one item too few" => {
                (0..ITEMS - 1).for_each(|_| self.end(offer, CallResult::Ok(b"null")));
                // Its report of the item that it has begun can't be trusted, either.
                self.page.begin(offer, TaskId(u64::MAX));
                hang()
            }
            "replayed" => {
                self.end(offer, CallResult::Ok(b"null"));
                self.end(offer, CallResult::Ok(b"\"again\""));
            }
            "foreign" => self.end(OfferId(offer.0 + (1 << 20)), CallResult::Ok(b"null")),
            "ready" => self.say(&FromWorker::Ready),
            "hello" => self.say(&Hello::ours()),
            "skipped" => self.say(&FromWorker::Skipped(offer)),
            "unable" => self.say(&FromWorker::LoadFailed("no")),
            "no json" => self.end(offer, CallResult::Ok(b"[1,")),
            "no utf-8" => self.end(offer, CallResult::Ok(b"\"\xff\"")),
            "two lines" => self.end(offer, CallResult::Ok(b"[1,\n2]")),
            "waits" => {
                self.wait_for("a lock", offer);
                hang()
            }
            "waits twice" => [(); 2].iter().for_each(|()| self.wait_for("a lock", offer)),
            "waits for a long name" => self.wait_for(&"x".repeat(10_000), offer),
            "another waits" => self.wait_for("a lock", OfferId(offer.0 + (1 << 20))),
            "resumes" => self.say(&FromWorker::Resumed(offer)),
            "waits and resumes" => loop {
                self.wait_for("a lock", offer);
                self.say(&FromWorker::Resumed(offer));
            },
            "other kind" => self.end(offer, CallResult::Failed(Failure::new(Kind::Crash, "x"))),
            "long message" => {
                let message = "x".repeat(1 << 20);
                self.end(offer, CallResult::Failed(Failure::new(Kind::Error, message)));
            }
            "flood" => loop {
                self.say(&FromWorker::Output(GuestOutput::Printed {
                    stream: Stream::Stdout,
                    bytes: &[b'x'; 60_000],
                }));
            },
            "log flood" => loop {
                self.say(&FromWorker::Output(GuestOutput::Logged {
                    level: LogLevel::Trace,
                    text: "",
                }));
            },
            "skips" => loop {
                self.say(&FromWorker::Skipped(offer));
            },
            "frames without end" => {
                let failure = Failure {
                    backtrace: vec![String::new(); 15 << 20],
                    ..Failure::new(Kind::Trap, "x")
                };
                self.end(offer, CallResult::Failed(failure));
            }
            "half of a result" => {
                self.send(&(16_u32 << 20).to_le_bytes());
                self.send(&vec![b'x'; (16 << 20) - 1]);
                hang()
            }
            "empty flood" => loop {
                self.say(&FromWorker::Output(GuestOutput::Printed {
                    stream: Stream::Stdout,
                    bytes: b"",
                }));
            },
            "diagnostics" => loop {
                eprintln!("a line that nobody asked for");
            },
            call => match attempt(call, target) {
                Attempted::Succeeded => self.end(offer, CallResult::Ok(b"\"succeeded\"")),
                Attempted::Refused(error) => {
                    let errno = nix::errno::Errno::from_raw(error.raw_os_error().unwrap_or(0));
                    self.end(offer, CallResult::Ok(format!("\"{errno:?}\"").as_bytes()));
                }
                Attempted::Unknown => self.end(offer, CallResult::Ok(b"\"unknown\"")),
            },
        }
    }

    /// Reports a wait that is none.
    fn wait_for(&self, object: &str, offer: OfferId) {
        self.say(&FromWorker::Waiting {
            offer,
            kind: ObjectKind::Lock,
            object,
            operation: "acquire",
        });
    }

    fn end(&self, offer: OfferId, ending: CallResult<'_>) {
        self.say(&FromWorker::Ended {
            offer,
            ending,
            run: Duration::ZERO,
            measured: ResourceUsage::default(),
        });
        self.page.done(offer);
    }

    fn say<M: Serialize>(&self, message: &M) {
        let mut bytes = Vec::new();
        put(&mut bytes, message);
        self.send(&bytes);
    }

    fn send(&self, bytes: &[u8]) {
        // The worker may be killed for it or not.
        let _ = send_all(self.channel.as_fd(), bytes);
    }
}

fn hang() -> ! {
    loop {
        std::thread::park();
    }
}
