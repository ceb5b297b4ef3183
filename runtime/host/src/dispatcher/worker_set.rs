//! The worker processes of a pool: carries out the decisions of the scheduler.
//!
//! Nothing here waits for a worker. What a worker does not read stays in its [`SendBuffer`]. Its start message is sent
//! [in memory](in_memory). A process that can't be reaped is set aside.

mod cpus;
mod process;

pub use process::{WorkerPhase, WorkerProcess};

use cpus::worker_cpus;
use process::{exit, for_worker};

use mpwasm_system::clock;
use mpwasm_system::poll;
use std::borrow::Cow;
use std::fs::File;
use std::io::Write;
use std::os::fd::{AsFd, OwnedFd};
use std::sync::Arc;

use nix::fcntl::OFlag;
use nix::unistd::pipe2;

use super::finished::Finished;
use super::guest_artifact::GuestArtifact;
use super::pause::Pauses;
use mpwasm_protocol::channel::Channel;
use mpwasm_protocol::in_memory;
use mpwasm_protocol::messages::{Execution, ToWorker, WorkerEvent, WorkerStart, control, worker_frame};
use mpwasm_protocol::page::{Page, SLOTS, Slots};
use mpwasm_protocol::send_buffer::SendBuffer;
use mpwasm_sandbox::child;
use mpwasm_sandbox::child::{Executable, Process};
use mpwasm_sandbox::jail::OomScore;
use mpwasm_scheduler::{Claim, Io, KillReason, MAX_UNREAD, RetireReason, Task, WorkerExit};
use mpwasm_system::inherited::explained;
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
    /// The processes, by slot.
    processes: Vec<Option<WorkerProcess>>,
    engine: EngineSettings,
    /// Stdin of the worker that runs a command.
    stdin: Option<OwnedFd>,
    /// The sandbox of each worker.
    jail: Option<SandboxOptions>,
    /// Makes workers the first victims of the OOM killer.
    score: Option<OomScore>,
    /// The guests, by number.
    guests: Vec<Arc<GuestArtifact>>,
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
    pub tried: Vec<(TaskId, Attempt)>,
    /// Workers whose spawn failed, and why. The event loop reports them as exited.
    pub failed_spawns: Vec<(WorkerId, String)>,
    /// Messages for the parent. The event loop takes them.
    pub notices: Vec<Notice>,
    /// Whether the parent wants events of workers.
    reports_events: bool,
    /// Processes that were not reaped in time after SIGKILL.
    unreaped: Vec<Process>,
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
    /// Creates a set without processes. `reports_events` says whether the parent wants events of workers.
    pub fn new(
        settings: &Settings,
        stdin: Option<OwnedFd>,
        terminals: Terminals,
        dirs: Dirs,
        jail: Option<SandboxOptions>,
        score: Option<OomScore>,
        reports_events: bool,
    ) -> Self {
        Self {
            size: settings.size,
            processes: (0..WorkerId::slots(settings.size, settings.tasks_per_process()))
                .map(|_| None)
                .collect(),
            engine: EngineSettings {
                terminals,
                ..EngineSettings::from(settings)
            },
            stdin,
            jail,
            score,
            guests: Vec::new(),
            grants: settings.grants.clone(),
            dirs,
            max_frame: worker_frame(settings),
            max_args: settings.max_args,
            max_files: settings.max_files.unwrap_or(MAX_FILES),
            worker_cpus: worker_cpus(settings),
            finished: Vec::new(),
            tried: Vec::new(),
            failed_spawns: Vec::new(),
            notices: Vec::new(),
            reports_events,
            unreaped: Vec::new(),
            pauses: Pauses::default(),
        }
    }

    /// Adds a guest for the workers to come.
    pub fn load(&mut self, guest: Arc<GuestArtifact>) {
        self.guests.push(guest);
    }

    /// Returns the number of guests.
    pub fn guests(&self) -> usize {
        self.guests.len()
    }

    /// Returns the workers that have a process.
    pub fn processes(&self) -> impl Iterator<Item = (WorkerId, &WorkerProcess)> {
        self.processes
            .iter()
            .enumerate()
            .filter_map(|(slot, process)| Some((WorkerId(slot as u32), process.as_ref()?)))
    }

    /// Returns the process of a worker, if it has one.
    pub fn process(&mut self, worker: WorkerId) -> Option<&mut WorkerProcess> {
        self.processes[worker.index()].as_mut()
    }

    /// The worker in this slot, as users know it.
    pub fn worker_number(&self, worker: WorkerId) -> WorkerNumber {
        worker.worker_number(self.size)
    }

    /// Sends pending messages, as far as the sockets take them. Returns the workers whose socket was full and has taken some.
    pub fn flush(&mut self) -> Vec<WorkerId> {
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
                continue;
            }
            if process.is_full && process.outgoing.len() < waiting {
                readers.push(WorkerId(slot as u32));
            }
            process.is_full = !process.outgoing.is_empty();
        }
        readers
    }

    /// Reaps the worker if it has ended. Its page can be read until [`remove`](Self::remove).
    pub fn reap(&mut self, worker: WorkerId) -> Option<(u32, WorkerExit)> {
        let seat = self.worker_number(worker);
        let process = self.process(worker)?;
        let status = process.child.try_reap()?;
        let pid = process.child.pid();
        let exit = match process.unable.take() {
            Some(why) => WorkerExit::Unable(why),
            None => exit(status, process.slots.violation()),
        };
        self.report_event(seat, pid, None, || format!("reaped: it {exit}"));
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

    fn start(&mut self, worker: WorkerId, guests: &[GuestId]) -> std::io::Result<WorkerProcess> {
        // All that can fail comes before the spawn: dropping a process waits for it, and nothing here may wait.
        let (theirs, control) = pipe2(OFlag::O_CLOEXEC)?;
        poll::set_nonblocking(control.as_fd())?;
        let (page, page_descriptor) = Page::create()?;
        let slots = Slots::new(page);
        slots.set_skipped(clock::skipped());
        // Workers inherit the dispatcher's diagnostics, a pipe to the parent.
        let spawn = || child::spawn(&Executable::Own, Role::Worker, None);
        let (child, socket) = match &self.score {
            Some(score) => score.start_expendable(spawn),
            None => spawn(),
        }?;
        self.report_event(self.worker_number(worker), child.pid(), None, || {
            "started: the pool has a worker too few".to_owned()
        });
        let mut process = WorkerProcess {
            child,
            channel: Channel::new(socket, self.max_frame),
            outgoing: SendBuffer::default(),
            phase: WorkerPhase::Started,
            is_open: true,
            unable: None,
            printed: 0,
            is_full: false,
            slots,
            control: Some(File::from(control)),
        };
        let mut descriptors = vec![theirs.as_fd(), page_descriptor.as_fd()];
        descriptors.extend(self.dirs.of(worker).map(|dir| dir.fd.as_fd()));
        descriptors.extend(self.stdin.as_ref().map(AsFd::as_fd));
        descriptors.extend(
            guests
                .iter()
                .map(|&guest| self.guests[guest.index()].artifact.as_fd()),
        );
        let start_message = self.start_message(worker, guests);
        if let Err(error) = in_memory::send(process.channel.as_fd(), &start_message, &descriptors) {
            process.child.kill();
            // It is reaped later, as nothing here may wait.
            self.unreaped.push(process.child);
            let why = format!("its settings and guests cannot be sent to it: {error}");
            return Err(std::io::Error::other(why));
        }
        Ok(process)
    }

    /// Returns the first message to a new worker.
    fn start_message(&self, worker: WorkerId, guests: &[GuestId]) -> WorkerStart<'_> {
        let seat = self.worker_number(worker).index();
        let guest = |&number: &GuestId| (number, Cow::Owned(for_worker(&self.guests[number.index()].info)));
        WorkerStart {
            stdin: self.stdin.is_some(),
            engine: self.engine.clone(),
            max_args: self.max_args,
            cpu: self.worker_cpus.iter().cycle().nth(seat).copied(),
            jail: self.jail.clone(),
            grants: self.grants.clone(),
            max_files: self.max_files,
            guests: guests.iter().map(guest).collect(),
        }
    }

    /// Whether the workers are stopped by a pause.
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

impl Io for WorkerSet {
    fn spawn(&mut self, worker: WorkerId, guests: &[GuestId]) {
        match self.start(worker, guests) {
            Ok(process) => self.processes[worker.index()] = Some(process),
            Err(error) => self.failed_spawns.push((worker, explained(error).to_string())),
        }
    }

    fn offer(&mut self, worker: WorkerId, task: &Task) -> OfferId {
        let seat = self.worker_number(worker);
        let process = self.processes[worker.index()]
            .as_mut()
            .expect("the scheduler offers to live workers");
        let offer = process.slots.offer();
        let message = |input| ToWorker {
            offer,
            id: task.task_id(),
            attempt: task.attempt,
            spec: task.spec.map(|_| input),
        };
        process.outgoing.put_shared(task.spec.input.bytes(), message);
        let pid = process.child.pid();
        self.report_event(seat, pid, Some((task.task_id(), task.attempt)), || {
            "assigned: it had the fewest tasks".to_owned()
        });
        offer
    }

    fn revoke(&mut self, worker: WorkerId, offer: OfferId) -> bool {
        // Without a process no task can start.
        self.process(worker)
            .is_none_or(|process| process.slots.revoke(offer))
    }

    fn claimed_at(&mut self, worker: WorkerId, offer: OfferId) -> Option<Time> {
        self.process(worker)?.slots.claimed(offer)
    }

    fn last_begun(&mut self, worker: WorkerId, offer: OfferId) -> TaskId {
        self.process(worker)
            .map_or(TaskId(0), |process| process.slots.begun(offer))
    }

    fn cancel(&mut self, worker: WorkerId, offer: OfferId) {
        if let Some(control) = self.process(worker).and_then(|process| process.control.as_mut()) {
            // The pipe is full only if the worker does not read. Its timeout ends it then.
            let _ = control.write(&control::cancel(offer));
        }
    }

    fn retire(&mut self, worker: WorkerId, reason: RetireReason) {
        let seat = self.worker_number(worker);
        if let Some(process) = self.process(worker) {
            process.control = None;
            let pid = process.child.pid();
            self.report_event(seat, pid, None, || format!("told to exit: {reason}"));
        }
    }

    fn kill(&mut self, worker: WorkerId, reason: &KillReason) {
        let seat = self.worker_number(worker);
        if let Some(process) = self.process(worker) {
            process.child.kill();
            let pid = process.child.pid();
            self.report_event(seat, pid, None, || format!("killed: {reason}"));
        }
    }

    fn abandon(&mut self, worker: WorkerId) {
        if let Some(process) = self.processes[worker.index()].take() {
            let text = format!(
                "worker {} (pid {}) did not end after SIGKILL",
                self.worker_number(worker),
                process.child.pid()
            );
            self.notices
                .push(Notice::Warning(format!("{text}: it is given up")));
            self.unreaped.push(process.child);
        }
    }

    fn attempt_failed(&mut self, task: &Task, run: Claim, failure: Failure) {
        let ran = self.ran(&run).expect("a worker is removed after its tasks");
        self.tried.push((task.task_id(), attempt(task, &ran, &failure)));
    }

    fn task_failed(&mut self, task: Task, run: Option<Claim>, failure: Failure) {
        let ran = run.and_then(|run| self.ran(&run));
        self.finished.extend(task.into_items().map(|task| Finished {
            task,
            ending: Err(failure.clone()),
            ran,
        }));
    }
}

/// Returns the record of a failed attempt.
pub fn attempt(task: &Task, ran: &Execution, failure: &Failure) -> Attempt {
    Attempt {
        attempt: task.attempt,
        kind: failure.kind,
        message: cut(&failure.message, MAX_ATTEMPT_MESSAGE).to_owned(),
        worker: ran.worker,
        pid: ran.pid,
        run_us: u64::try_from(ran.run.as_micros()).unwrap_or(u64::MAX),
    }
}
