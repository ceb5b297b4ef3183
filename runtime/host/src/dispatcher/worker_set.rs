//! The worker processes: what the scheduler decides is done to them here, and nothing is decided.
//!
//! Nothing here waits for a worker: what one does not read stays in its [`SendBuffer`], what it has to know at its start is
//! sent [in memory](in_memory), and a process that can't be reaped is set aside.

use mpwasm_system::clock;
use mpwasm_system::poll;
use std::borrow::Cow;
use std::fs::File;
use std::io::Write;
use std::os::fd::{AsFd, OwnedFd};
use std::process::ExitStatus;
use std::sync::Arc;

use nix::fcntl::OFlag;
use nix::unistd::pipe2;

use super::GuestArtifact;
use super::callbacks::Finished;
use super::pause::Pauses;
use mpwasm_protocol::channel::Channel;
use mpwasm_protocol::in_memory;
use mpwasm_protocol::messages::{
    CallRequest, Execution, ToWorker, WorkerEvent, WorkerStart, control, worker_frame,
};
use mpwasm_protocol::page::{Offer, Page, SLOTS, Slots};
use mpwasm_protocol::send_buffer::SendBuffer;
use mpwasm_sandbox::child;
use mpwasm_sandbox::child::{Executable, Process};
use mpwasm_sandbox::cpu_affinity;
use mpwasm_sandbox::jail::{OomScore, violation};
use mpwasm_scheduler::{
    Claim, Io, KillReason, MAX_UNREAD, OfferId, RetireReason, Task, WorkerExit, WorkerId,
};
use mpwasm_system::inherited::explained;
use mpwasm_types::bounded::cut;
use mpwasm_types::engine_settings::EngineSettings;
use mpwasm_types::grants::{Grants, OpenDir};
use mpwasm_types::guest_info::{GuestInfo, ModelInfo};
use mpwasm_types::outcome::{Attempt, Failure};
use mpwasm_types::role::Role;
use mpwasm_types::sandbox_options::SandboxOptions;
use mpwasm_types::settings::{MAX_ATTEMPT_MESSAGE, MAX_FILES, MAX_NOTE, Settings, Terminals};
use mpwasm_types::time::Time;

// Each offer of the scheduler has a slot of its own in the page.
const _: () = assert!(MAX_UNREAD <= SLOTS);

/// How far a worker has come.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum WorkerPhase {
    /// Started: its first frame must be the hello.
    Started,
    /// It is our own build; it loads its guests.
    Loading,
    /// It takes tasks.
    Ready,
}

/// One worker process.
#[derive(Debug)]
pub struct WorkerProcess {
    /// The process.
    pub child: Process,
    /// Its socket.
    pub channel: Channel,
    /// What waits for it to read.
    pub outgoing: SendBuffer,
    /// How far it has come.
    pub phase: WorkerPhase,
    /// Whether its end of the socket is still open.
    pub is_open: bool,
    /// Why it can't begin to serve, if that is so.
    pub unable: Option<String>,
    /// Bytes that its running task has printed and logged.
    pub printed: u64,
    /// Whether its socket took no more when something was last sent.
    is_full: bool,
    /// Which tasks it claimed.
    slots: Slots,
    /// Orders to its watchdog. Closing it ends the worker.
    control: Option<File>,
}

/// All of them, and what they are started with.
#[derive(Debug)]
pub struct WorkerSet {
    size: u32,
    /// By slot.
    processes: Vec<Option<WorkerProcess>>,
    engine: EngineSettings,
    /// What commands read, the worker's that runs one.
    stdin: Option<OwnedFd>,
    /// The walls around each worker.
    jail: Option<SandboxOptions>,
    /// With which workers are started such that they die first.
    score: Option<OomScore>,
    /// By number.
    guests: Vec<Arc<GuestArtifact>>,
    /// What tasks get beside their args.
    grants: Grants,
    /// The directories of these.
    dirs: Dirs,
    max_frame: usize,
    max_args: u64,
    max_files: u32,
    /// CPUs over which the workers are spread.
    worker_cpus: Vec<u32>,
    /// Tasks that the scheduler ended; the event loop takes them.
    pub finished: Vec<Finished>,
    /// Attempts that the scheduler ended, with the ids of their tasks, which have not ended; the event loop takes them.
    pub tried: Vec<(u64, Attempt)>,
    /// Processes that could not be started, and why: as good as exited.
    pub failed_spawns: Vec<(WorkerId, String)>,
    /// What the parent should know.
    pub notices: Vec<Notice>,
    /// Whether somebody wants to know what becomes of workers.
    reports_events: bool,
    /// Not reaped in time after SIGKILL.
    unreaped: Vec<Process>,
    pauses: Pauses,
}

/// Something to tell.
#[derive(Debug)]
pub enum Notice {
    /// To the user, once.
    Warning(String),
    /// To who asked what becomes of workers.
    Event(WorkerEvent),
}

/// Directories that are granted to tasks.
#[derive(Debug)]
pub struct Dirs {
    /// To all of them.
    pub granted: Vec<OpenDir>,
    /// To those of a worker's slot; none where that is not granted.
    pub scratch: Vec<OpenDir>,
}

impl Dirs {
    /// Those of the worker in this slot. Its scratch directory is the last.
    fn of(&self, worker: WorkerId) -> impl Iterator<Item = &OpenDir> {
        self.granted.iter().chain(self.scratch.get(worker.0 as usize))
    }
}

impl WorkerSet {
    /// No workers yet. What becomes of them is told if somebody wants to know: `reports_events`.
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

    /// Keeps a guest for the workers that will need it.
    pub fn load(&mut self, guest: Arc<GuestArtifact>) {
        self.guests.push(guest);
    }

    /// How many guests there are.
    pub fn guests(&self) -> usize {
        self.guests.len()
    }

    /// The workers that have a process.
    pub fn processes(&self) -> impl Iterator<Item = (WorkerId, &WorkerProcess)> {
        self.processes
            .iter()
            .enumerate()
            .filter_map(|(slot, process)| Some((WorkerId(slot as u32), process.as_ref()?)))
    }

    /// One of them.
    pub fn process(&mut self, worker: WorkerId) -> Option<&mut WorkerProcess> {
        self.processes[worker.0 as usize].as_mut()
    }

    /// The worker in this slot, as users know it.
    pub fn worker_number(&self, worker: WorkerId) -> u32 {
        worker.worker_number(self.size)
    }

    /// Sends what waits, as far as workers read. Returns those that have made room in a socket that was full.
    pub fn flush(&mut self) -> Vec<WorkerId> {
        let mut readers = Vec::new();
        for (slot, process) in self.processes.iter_mut().enumerate() {
            let Some(process) = process.as_mut().filter(|process| !process.outgoing.is_empty()) else {
                continue;
            };
            let waiting = process.outgoing.len();
            if process.outgoing.flush(process.channel.as_fd()).is_err() {
                // It is dying, or pretends to be: its exit or the scheduler's patience will tell.
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

    /// Reaps the worker if it has ended. Its page can still be read until it is buried.
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

    /// Tells what became of a worker, if that is asked for.
    pub fn report_event(
        &mut self,
        worker: u32,
        pid: u32,
        task: Option<(u64, u32)>,
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

    /// Forgets the reaped process `pid`, unless another has already taken its slot.
    pub fn remove(&mut self, worker: WorkerId, pid: u32) {
        let slot = &mut self.processes[worker.0 as usize];
        slot.take_if(|process| process.child.pid() == pid);
        self.unreaped.retain_mut(|process| process.try_reap().is_none());
    }

    /// The slot behind `offer` can be used again.
    pub fn release(&mut self, worker: WorkerId, offer: Offer) {
        if let Some(process) = self.process(worker) {
            process.slots.release(offer);
        }
    }

    /// Where and how a task ran, as far as it is known without the worker's report.
    pub fn ran(&self, run: &Claim) -> Option<Execution> {
        let pid = self.processes[run.worker.0 as usize].as_ref()?.child.pid();
        let wall = clock::now().since(run.claimed);
        Some(Execution {
            worker: self.worker_number(run.worker),
            pid,
            claimed: self.pauses.for_parent(run.claimed),
            run: wall,
            measured: None,
        })
    }

    fn start(&mut self, worker: WorkerId, guests: &[u32]) -> std::io::Result<WorkerProcess> {
        // All that can fail comes first: a process that is dropped is waited for, and nothing here may wait.
        let (theirs, control) = pipe2(OFlag::O_CLOEXEC)?;
        poll::set_nonblocking(control.as_fd())?;
        let (page, page_descriptor) = Page::create()?;
        let slots = Slots::new(page);
        slots.set_skipped(clock::skipped());
        // The dispatcher's diagnostics are a pipe to the parent, and so are its workers'.
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
                .map(|&guest| self.guests[guest as usize].artifact.as_fd()),
        );
        let start_message = self.start_message(worker, guests);
        if let Err(error) = in_memory::send(process.channel.as_fd(), &start_message, &descriptors) {
            process.child.kill();
            // It is reaped later: nothing here may wait.
            self.unreaped.push(process.child);
            let why = format!("its settings and guests cannot be sent to it: {error}");
            return Err(std::io::Error::other(why));
        }
        Ok(process)
    }

    /// Returns what a new worker is to know before the first task.
    fn start_message(&self, worker: WorkerId, guests: &[u32]) -> WorkerStart<'_> {
        let seat = self.worker_number(worker) as usize;
        let guest = |&number: &u32| (number, Cow::Owned(for_worker(&self.guests[number as usize].info)));
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

    /// Whether the workers are stopped.
    pub fn is_paused(&self) -> bool {
        self.pauses.is_paused()
    }

    /// A time of the pool's clock as the parent knows it.
    pub fn for_parent(&self, time: Time) -> Time {
        self.pauses.for_parent(time)
    }

    /// Stops the workers.
    pub fn pause(&mut self) {
        if self.pauses.is_paused() {
            return;
        }
        for process in self.processes.iter().flatten() {
            process.child.stop();
        }
        // Afterwards: a clock that was read must not go back.
        self.pauses.begin(clock::now());
    }

    /// Lets them go on. Their clocks, and that of this process, have not counted the pause.
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

    /// Kills every worker and waits for them, but not for ever: the pool is over, in whatever way.
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
    fn spawn(&mut self, worker: WorkerId, guests: &[u32]) {
        match self.start(worker, guests) {
            Ok(process) => self.processes[worker.0 as usize] = Some(process),
            Err(error) => self.failed_spawns.push((worker, explained(error).to_string())),
        }
    }

    fn offer(&mut self, worker: WorkerId, task: &Task) -> OfferId {
        let seat = self.worker_number(worker);
        let process = self.processes[worker.0 as usize]
            .as_mut()
            .expect("the scheduler offers to live workers");
        let offer = process.slots.offer();
        let message = |args| {
            let call = CallRequest {
                offer,
                id: task.first_id(),
                guest: task.guest,
                model: task.model,
                timeout: task.timeout,
                attempt: task.attempt,
                args,
            };
            if task.is_chunk() {
                ToWorker::Chunk(call)
            } else {
                ToWorker::Task(call)
            }
        };
        process.outgoing.put_shared(&task.args, message);
        let pid = process.child.pid();
        self.report_event(seat, pid, Some((task.first_id(), task.attempt)), || {
            "assigned: it had the fewest tasks".to_owned()
        });
        OfferId(offer.to_bits())
    }

    fn revoke(&mut self, worker: WorkerId, offer: OfferId) -> bool {
        // A worker without a process holds nothing that could start.
        self.process(worker)
            .is_none_or(|process| process.slots.revoke(Offer::from_bits(offer.0)))
    }

    fn claimed_at(&mut self, worker: WorkerId, offer: OfferId) -> Option<Time> {
        self.process(worker)?.slots.claimed(Offer::from_bits(offer.0))
    }

    fn last_begun(&mut self, worker: WorkerId, offer: OfferId) -> u64 {
        self.process(worker)
            .map_or(0, |process| process.slots.begun(Offer::from_bits(offer.0)))
    }

    fn cancel(&mut self, worker: WorkerId, offer: OfferId) {
        if let Some(control) = self.process(worker).and_then(|process| process.control.as_mut()) {
            // A pipe that is full belongs to a worker that does not read: it will be killed for that.
            let _ = control.write(&control::cancel(Offer::from_bits(offer.0)));
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
        if let Some(process) = self.processes[worker.0 as usize].take() {
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
        let ran = self.ran(&run).expect("a worker is buried after its tasks");
        self.tried.push((task.id, attempt(task, &ran, &failure)));
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

/// Returns the part of a guest's description that a worker needs: which exports it calls.
fn for_worker(info: &GuestInfo) -> GuestInfo {
    let models = info.models.iter().map(|model| ModelInfo {
        name: String::new(),
        runnable: model.runnable.clone(),
        callback: None,
        error_callback: None,
        final_callback: None,
    });
    GuestInfo {
        models: models.collect(),
        is_command: info.is_command,
        has_initialize: info.has_initialize,
        ..GuestInfo::default()
    }
}

/// Smallest number of tasks per process for which a CPU of its own pays off.
const MIN_TASKS_FOR_AFFINITY: u32 = 8;

/// Returns the CPUs of the workers, in the order of their seats: all that this process may use. Returns none when there
/// are fewer workers than CPUs, or when their processes are replaced often. The kernel then finds a free CPU for each,
/// and another pool may be on any of them.
fn worker_cpus(settings: &Settings) -> Vec<u32> {
    let all = cpu_affinity::allowed_cpus();
    let stays = settings
        .tasks_per_process()
        .is_none_or(|most| most >= MIN_TASKS_FOR_AFFINITY);
    if stays && settings.size as usize >= all.len() {
        all
    } else {
        Vec::new()
    }
}

/// An attempt of a task that will have another.
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

/// A worker's end, in the scheduler's words; with the system call that its jail did not let it make, if that ended it.
/// Which one that was is the worker's own word, and only told to people.
fn exit(status: ExitStatus, violation: Option<u64>) -> WorkerExit {
    use std::os::unix::process::ExitStatusExt;
    match (status.code(), status.signal()) {
        (Some(code), _) => WorkerExit::Code(code),
        (None, Some(libc::SIGSYS)) => WorkerExit::Forbidden(violation.map(violation::name)),
        (None, signal) => WorkerExit::Signal(signal.unwrap_or_default()),
    }
}

#[cfg(test)]
mod tests {
    use super::*;
    use mpwasm_types::settings::Isolation;

    #[test]
    fn workers_have_cpus_of_their_own_where_their_processes_stay_and_no_cpu_is_left_over() {
        let processors = cpu_affinity::allowed_cpus();
        let size = u32::try_from(processors.len()).unwrap();
        let enough = Settings {
            size,
            ..Settings::default()
        };
        let for_tasks = |tasks| Settings {
            max_tasks_per_worker: Some(tasks),
            ..enough.clone()
        };
        assert_eq!(worker_cpus(&enough), processors);
        assert_eq!(worker_cpus(&for_tasks(MIN_TASKS_FOR_AFFINITY)), processors);
        for none in [
            for_tasks(MIN_TASKS_FOR_AFFINITY - 1),
            Settings {
                isolation: Isolation::Process,
                ..enough.clone()
            },
            Settings {
                size: size - 1,
                ..enough.clone()
            },
        ] {
            assert!(worker_cpus(&none).is_empty(), "{none:?}");
        }
    }
}
