//! The worker processes of a pool: carries out the decisions of the scheduler.
//!
//! Nothing here waits for a worker. What a worker does not read stays in its [`SendBuffer`]. Its start message is sent
//! [in memory](in_memory). A process that can't be reaped is set aside.

mod actions;
mod cpus;
mod process;

pub use process::{RunningWait, WorkerPhase, WorkerProcess};

use cpus::worker_cpus;
use process::{exit, for_worker};

use std::borrow::Cow;
use std::fs::File;
use std::io;
use std::os::fd::{AsFd, OwnedFd};
use std::rc::Rc;
use std::sync::Arc;

use nix::fcntl::OFlag;
use nix::unistd::pipe2;

use super::descriptor::WatchedDescriptor;
use super::finished::Finished;
use super::guest_artifact::GuestArtifact;
use super::pause::Pauses;
use super::pool_connection::PoolConnection;
use mpwasm_protocol::channel::Channel;
use mpwasm_protocol::in_memory;
use mpwasm_protocol::messages::{Execution, WorkerEvent, WorkerStart, worker_frame};
use mpwasm_protocol::page::{SLOTS, SharedPage, Slots};
use mpwasm_protocol::send_buffer::SendBuffer;
use mpwasm_sandbox::child;
use mpwasm_sandbox::child::{Executable, Process};
use mpwasm_sandbox::jail::OomScore;
use mpwasm_scheduler::{Claim, MAX_UNREAD, ScheduledTask, SpawnReason, WorkerExit};
use mpwasm_system::clock;
use mpwasm_system::epoll::{Epoll, Interest, Watched};
use mpwasm_system::poll;
use mpwasm_types::bounded::MAX_NOTE;
use mpwasm_types::bounded::cut;
use mpwasm_types::engine_settings::EngineSettings;
use mpwasm_types::grants::{Grants, OpenDir};
use mpwasm_types::ids::{GuestId, OfferId, TaskId, WorkerId, WorkerNumber};
use mpwasm_types::outcome::MAX_ATTEMPT_MESSAGE;
use mpwasm_types::outcome::{Attempt, Failure};
use mpwasm_types::role::Role;
use mpwasm_types::sandbox_options::SandboxOptions;
use mpwasm_types::settings::{MAX_FILES, Settings, Terminals};
use mpwasm_types::time::Time;

// Each offer of the scheduler has a slot of its own in the page.
const _: () = assert!(MAX_UNREAD <= SLOTS);

/// The worker processes, and the settings and file descriptors that they are started with.
#[derive(Debug)]
pub struct WorkerSet {
    size: u32,
    /// Most further workers while tasks wait for shared objects. `None` if the pool has no objects.
    lent_workers: Option<u32>,
    /// Waits for the workers' sockets and ends.
    epoll: Rc<Epoll>,
    /// Whether their messages are read now.
    is_reading: bool,
    /// The processes, by slot.
    processes: Vec<Option<WorkerProcess>>,
    engine: EngineSettings,
    /// Stdin of the worker that runs a command.
    stdin: Option<OwnedFd>,
    /// The sandbox of each worker.
    jail: Option<SandboxOptions>,
    /// Makes workers the processes that the OOM killer ends first.
    score: Option<OomScore>,
    /// The guests, by number.
    guests: Vec<Arc<GuestArtifact>>,
    /// Connects workers to the manager of shared objects, where there is one.
    objects: Option<Arc<PoolConnection>>,
    /// The grants of tasks.
    grants: Grants,
    /// The granted directories.
    dirs: Dirs,
    max_frame: usize,
    max_args: u64,
    max_files: u32,
    /// CPUs over which the workers are spread.
    worker_cpus: Vec<u32>,
    /// Tasks that the scheduler has ended. The event loop takes them.
    pub finished: Vec<Finished>,
    /// Failed attempts of tasks that will be retried, with the tasks' ids. The event loop takes them.
    pub failed_attempts: Vec<(TaskId, Attempt)>,
    /// Workers whose spawn failed, and why. The event loop reports them as exited.
    pub failed_spawns: Vec<(WorkerId, String)>,
    /// Messages for the parent. The event loop takes them.
    pub notices: Vec<Notice>,
    /// Whether the parent wants events of workers.
    reports_events: bool,
    /// Processes that were not reaped in time after SIGKILL.
    unreaped: Vec<Watched<Process>>,
    pauses: Pauses,
}

/// A message for the parent.
#[derive(Debug)]
pub enum Notice {
    /// A warning for the user.
    Warning(String),
    /// An event of a worker, if the parent asked for these.
    Event(WorkerEvent),
}

/// The streams of commands.
#[derive(Debug)]
pub struct WorkerStreams {
    /// Stdin of the worker that runs a command.
    pub stdin: Option<OwnedFd>,
    /// The streams that are terminals.
    pub terminals: Terminals,
}

/// The directories that are granted to tasks.
#[derive(Debug)]
pub struct Dirs {
    /// Granted to all tasks.
    pub granted: Vec<OpenDir>,
    /// Scratch directories, by slot. Empty if none are granted.
    pub scratch: Vec<OpenDir>,
}

impl Dirs {
    /// Returns the directories of the worker in this slot. The scratch directory is the last.
    fn of(&self, worker: WorkerId) -> impl Iterator<Item = &OpenDir> {
        self.granted.iter().chain(self.scratch.get(worker.index()))
    }
}

impl WorkerSet {
    /// Creates a set without processes, whose descriptors `epoll` waits for. It has up to `lent_workers` beyond the size of the
    /// pool.
    pub fn new(
        epoll: Rc<Epoll>,
        settings: &Settings,
        lent_workers: Option<u32>,
        streams: WorkerStreams,
        dirs: Dirs,
        jail: Option<SandboxOptions>,
        score: Option<OomScore>,
    ) -> Self {
        let workers = settings.size + lent_workers.unwrap_or(0);
        let slots = WorkerId::slots(workers, settings.tasks_per_process());
        Self {
            size: settings.size,
            lent_workers,
            epoll,
            is_reading: true,
            processes: (0..slots).map(|_| None).collect(),
            engine: EngineSettings {
                terminals: streams.terminals,
                ..EngineSettings::from(settings)
            },
            stdin: streams.stdin,
            jail,
            score,
            guests: Vec::new(),
            objects: None,
            grants: settings.grants.clone(),
            dirs,
            max_frame: worker_frame(settings),
            max_args: settings.max_args,
            max_files: settings.max_files.unwrap_or(MAX_FILES),
            worker_cpus: worker_cpus(settings),
            finished: Vec::new(),
            failed_attempts: Vec::new(),
            failed_spawns: Vec::new(),
            notices: Vec::new(),
            reports_events: false,
            unreaped: Vec::new(),
            pauses: Pauses::default(),
        }
    }

    /// Adds events of workers to the notices, as the parent wants these.
    pub fn report_events(&mut self) {
        self.reports_events = true;
    }

    /// Connects the workers to come to a manager of shared objects.
    pub fn connect(&mut self, objects: Option<Arc<PoolConnection>>) {
        self.objects = objects;
    }

    /// Adds a guest for the workers to come.
    pub fn load(&mut self, guest: Arc<GuestArtifact>) {
        self.guests.push(guest);
    }

    /// Returns the number of guests.
    pub fn guests(&self) -> usize {
        self.guests.len()
    }

    /// Returns the number of slots of workers.
    pub fn slots(&self) -> usize {
        self.processes.len()
    }

    /// Sets whether the event loop waits for the messages of workers.
    ///
    /// # Errors
    /// As [`Watched::set`].
    pub fn set_reading(&mut self, reads: bool) -> io::Result<()> {
        if std::mem::replace(&mut self.is_reading, reads) == reads {
            return Ok(());
        }
        let mut processes = self.processes.iter_mut().flatten();
        processes.try_for_each(|process| process.watch(reads))
    }

    /// Ignores all further messages of a worker, which has closed its socket or has broken the protocol.
    ///
    /// # Errors
    /// As [`Watched::set`].
    pub fn stop_reading(&mut self, worker: WorkerId) -> io::Result<()> {
        let is_reading = self.is_reading;
        let Some(process) = self.process(worker) else {
            return Ok(());
        };
        process.is_open = false;
        process.watch(is_reading)
    }

    /// Returns the process of a worker, if it has one.
    pub fn process(&mut self, worker: WorkerId) -> Option<&mut WorkerProcess> {
        self.processes[worker.index()].as_mut()
    }

    /// Returns the number of the worker in this slot, as shown to users.
    pub fn worker_number(&self, worker: WorkerId) -> WorkerNumber {
        worker.worker_number(self.size + self.lent_workers.unwrap_or(0))
    }

    /// Returns the largest number of further workers while tasks wait for shared objects. `None` if the pool has no objects.
    pub fn lent_workers(&self) -> Option<u32> {
        self.lent_workers
    }

    /// Sends pending messages, as far as the sockets take them. Returns the workers whose socket was full and has taken some.
    ///
    /// # Errors
    /// As [`Watched::set`].
    pub fn flush(&mut self) -> io::Result<Vec<WorkerId>> {
        let mut readers = Vec::new();
        for (slot, process) in self.processes.iter_mut().enumerate() {
            let Some(process) = process.as_mut().filter(|process| !process.outgoing.is_empty()) else {
                continue;
            };
            let waiting = process.outgoing.len();
            if process.outgoing.flush(process.channel.as_fd()).is_err() {
                // It is about to exit, or has closed its socket: the scheduler's timeout ends it then.
                process.outgoing.clear();
                process.is_open = false;
            } else {
                if process.is_full && process.outgoing.len() < waiting {
                    readers.push(WorkerId(slot as u32));
                }
                process.is_full = !process.outgoing.is_empty();
            }
            process.watch(self.is_reading)?;
        }
        Ok(readers)
    }

    /// Reaps the worker if it has ended. Its page can be read until [`remove`](Self::remove).
    pub fn reap(&mut self, worker: WorkerId) -> Option<(u32, WorkerExit)> {
        let number = self.worker_number(worker);
        let process = self.process(worker)?;
        let status = process.child.try_reap()?;
        let pid = process.child.pid();
        let exit = match process.unable.take() {
            Some(why) => WorkerExit::Unable(why),
            None => exit(status, process.slots.violation()),
        };
        self.report_event(number, pid, None, || format!("reaped: it {exit}"));
        Some((pid, exit))
    }

    /// Adds an event of a worker, if the parent wants these.
    pub fn report_event(
        &mut self,
        worker: WorkerNumber,
        pid: u32,
        task: Option<(TaskId, u32)>,
        what: impl FnOnce() -> String,
    ) {
        if self.reports_events {
            let what = cut(&what(), MAX_NOTE).to_owned();
            self.notices.push(Notice::Event(WorkerEvent {
                worker,
                pid,
                task,
                what,
            }));
        }
    }

    /// Removes the reaped process `pid`, unless another has already taken its slot.
    pub fn remove(&mut self, worker: WorkerId, pid: u32) {
        let slot = &mut self.processes[worker.index()];
        slot.take_if(|process| process.child.pid() == pid);
        self.unreaped.retain_mut(|process| process.try_reap().is_none());
    }

    /// Frees the slot of `offer`.
    pub fn release(&mut self, worker: WorkerId, offer: OfferId) {
        if let Some(process) = self.process(worker) {
            process.slots.release(offer);
        }
    }

    /// Returns where and how long a task ran, as far as it is known without the worker's report.
    pub fn ran(&self, run: &Claim) -> Option<Execution> {
        let pid = self.processes[run.worker.index()].as_ref()?.child.pid();
        let wall = clock::now().since(run.claimed);
        Some(Execution {
            worker: self.worker_number(run.worker),
            pid,
            claimed: self.pauses.for_parent(run.claimed),
            run: wall,
            measured: None,
        })
    }

    fn start(
        &mut self,
        worker: WorkerId,
        guests: &[GuestId],
        reason: SpawnReason,
    ) -> io::Result<WorkerProcess> {
        // All that can fail comes before the spawn: dropping a process waits for it, and nothing here may wait.
        let (theirs, control) = pipe2(OFlag::O_CLOEXEC)?;
        poll::set_nonblocking(control.as_fd())?;
        let (page, page_descriptor) = SharedPage::create()?;
        let objects = self.objects.as_ref().map(|pool| pool.attach()).transpose()?;
        let slots = Slots::new(page);
        slots.set_skipped(clock::skipped());
        // Workers inherit the dispatcher's diagnostics, a pipe to the parent.
        let spawn = || child::spawn(&Executable::Own, Role::Worker, None);
        let (child, socket) = match &self.score {
            Some(score) => score.start_expendable(spawn),
            None => spawn(),
        }?;
        self.report_event(self.worker_number(worker), child.pid(), None, || {
            format!("started: {reason}")
        });
        let mut process = WorkerProcess {
            child: self.epoll.watch(child, WatchedDescriptor::Exit(worker).key()),
            channel: self.epoll.watch(
                Channel::new(socket, self.max_frame),
                WatchedDescriptor::Worker(worker).key(),
            ),
            outgoing: SendBuffer::default(),
            phase: WorkerPhase::Started,
            is_open: true,
            unable: None,
            printed: 0,
            wait: None,
            is_full: false,
            slots,
            control: Some(File::from(control)),
        };
        let mut descriptors = vec![theirs.as_fd(), page_descriptor.as_fd()];
        descriptors.extend(self.dirs.of(worker).map(|dir| dir.fd.as_fd()));
        descriptors.extend(self.stdin.as_ref().map(AsFd::as_fd));
        descriptors.extend(objects.as_ref().map(AsFd::as_fd));
        descriptors.extend(
            guests
                .iter()
                .map(|&guest| self.guests[guest.index()].artifact.as_fd()),
        );
        let start_message = self.start_message(worker, guests);
        let sent = in_memory::send(process.channel.as_fd(), &start_message, &descriptors).map_err(|error| {
            io::Error::other(format!("its settings and guests cannot be sent to it: {error}"))
        });
        let begun = sent
            .and_then(|()| process.child.set(Interest::Read))
            .and_then(|()| process.watch(self.is_reading));
        if let Err(error) = begun {
            process.child.kill();
            // It is reaped later, as nothing here may wait.
            self.abandon_process(process.child);
            return Err(error);
        }
        Ok(process)
    }

    /// Returns the first message to a new worker.
    fn start_message(&self, worker: WorkerId, guests: &[GuestId]) -> WorkerStart<'_> {
        let index = self.worker_number(worker).index();
        // A worker that is lent runs while another one waits, on any of their CPUs.
        let is_lent = index >= self.size as usize;
        let cpus = self.worker_cpus.iter().filter(|_| !is_lent);
        let guest = |&number: &GuestId| (number, Cow::Owned(for_worker(&self.guests[number.index()].info)));
        WorkerStart {
            stdin: self.stdin.is_some(),
            objects: self.objects.is_some(),
            engine: self.engine.clone(),
            max_args: self.max_args,
            cpu: cpus.cycle().nth(index).copied(),
            jail: self.jail.clone(),
            grants: self.grants.clone(),
            max_files: self.max_files,
            guests: guests.iter().map(guest).collect(),
        }
    }

    /// Sets a killed process aside until it can be reaped.
    fn abandon_process(&mut self, mut process: Watched<Process>) {
        // It can't fail, see `Watched::set`.
        let _ = process.set(Interest::None);
        self.unreaped.push(process);
    }

    /// Returns whether the workers are stopped by a pause.
    pub fn is_paused(&self) -> bool {
        self.pauses.is_paused()
    }

    /// Converts a time of the pool's clock to the parent's clock.
    pub fn for_parent(&self, time: Time) -> Time {
        self.pauses.for_parent(time)
    }

    /// Stops the workers and begins a pause.
    pub fn pause(&mut self) {
        if self.pauses.is_paused() {
            return;
        }
        for process in self.processes.iter().flatten() {
            process.child.stop();
        }
        // After the workers have stopped: a clock that was read must not go back.
        self.pauses.begin(clock::now());
    }

    /// Ends the pause. The clocks of the workers and of this process do not count it.
    pub fn resume(&mut self) {
        let Some(length) = self.pauses.end(clock::now()) else {
            return;
        };
        clock::skip(length);
        for process in self.processes.iter().flatten() {
            process.slots.set_skipped(clock::skipped());
            process.child.resume();
        }
    }

    /// Kills every worker, and waits for their ends for at most 500 ms.
    pub fn end(&mut self) {
        for process in self.processes.iter_mut().flatten() {
            process.child.kill();
        }
        let until = clock::now() + std::time::Duration::from_millis(500);
        for process in self.processes.iter_mut().flatten() {
            process.child.wait_until(until);
        }
    }
}

/// Returns the record of a failed attempt.
pub fn attempt(task: &ScheduledTask, ran: &Execution, failure: &Failure) -> Attempt {
    Attempt {
        attempt: task.attempt,
        kind: failure.kind,
        message: cut(&failure.message, MAX_ATTEMPT_MESSAGE).to_owned(),
        worker: ran.worker,
        pid: ran.pid,
        run_us: u64::try_from(ran.run.as_micros()).unwrap_or(u64::MAX),
    }
}
