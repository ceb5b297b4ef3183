//! Starts the dispatcher.

use std::io::{self, PipeReader, PipeWriter};
use std::os::fd::{AsFd, OwnedFd};
use std::sync::{Arc, mpsc};

use nix::fcntl::{FcntlArg, OFlag, fcntl};
use nix::unistd::pipe2;
use tracing::Level;

use crate::backend::connection::{AnySender, Connection};
use crate::backend::local::dispatcher::Dispatcher;
use crate::backend::local::requests::Requests;
use crate::backend::local::task_pipe::TaskPipeWriter;
use crate::backend::local::{KillSwitch, LocalBackend, diagnostics};
use crate::child_process;
use crate::error::Error;
use crate::sync::Mutex;
use mpwasm_protocol::channel::{Channel, pair};
use mpwasm_protocol::in_memory;
use mpwasm_protocol::messages::{DispatcherStart, STATUS_LIMITS, dispatcher_frame};
use mpwasm_protocol::request::Requester;
use mpwasm_sandbox::child::{Executable, Process};
use mpwasm_sandbox::jail;
use mpwasm_sandbox::jail::MemoryCgroup;
use mpwasm_system::inherited::explained;
use mpwasm_system::poll::set_nonblocking;
use mpwasm_types::role::Role;
use mpwasm_types::settings::{Jail, Settings, Terminals};

/// Size of the task pipe, bytes: some thousands of small tasks. With more tasks on their way the parent's own memory of
/// them no longer fits into the CPU caches; with fewer there are more writes.
const PIPE_SIZE: i32 = 256 << 10;

/// Streams of a pool's commands.
#[derive(Debug, Default)]
pub struct CommandStreams {
    /// Read by commands after their own stdin.
    pub stdin: Option<PipeReader>,
    /// Which streams are terminals.
    pub terminals: Terminals,
}

/// Everything that a dispatcher needs for its start.
#[derive(Debug)]
pub struct LocalStart {
    settings: Settings,
    executable: Executable,
    /// The directories that are granted, opened.
    dirs: Vec<OwnedFd>,
    streams: CommandStreams,
    /// The connection to the manager of the pool's objects.
    objects: Option<OwnedFd>,
    /// The reading end of the task pipe, and the writing end.
    pipe: (OwnedFd, OwnedFd),
    /// Whether a reporter wants the events of workers. Otherwise only `tracing` may take them.
    wants_workers: bool,
    /// Stderr of the pool's processes.
    diagnostics: PipeWriter,
    /// Closed when the last of the pool's processes has exited.
    gone: mpsc::Receiver<()>,
}

impl LocalStart {
    /// Opens the pipes and starts the thread that logs the children's diagnostics.
    ///
    /// # Errors
    /// [`Error::Io`] when the system is out of descriptors or threads.
    pub fn prepare(
        settings: Settings,
        executable: Executable,
        dirs: Vec<OwnedFd>,
        streams: CommandStreams,
        wants_workers: bool,
    ) -> Result<Self, Error> {
        let (for_dispatcher, writer) = pipe2(OFlag::O_CLOEXEC).map_err(|errno| explained(errno.into()))?;
        set_nonblocking(writer.as_fd())?;
        let _ = fcntl(&writer, FcntlArg::F_SETPIPE_SZ(PIPE_SIZE));
        let (reader, diagnostics) = io::pipe().map_err(explained)?;
        if let Some(stdin) = &streams.stdin {
            set_nonblocking(stdin.as_fd())?;
        }
        let gone = diagnostics::log(reader).map_err(explained)?;
        Ok(Self {
            settings,
            executable,
            dirs,
            streams,
            objects: None,
            pipe: (for_dispatcher, writer),
            wants_workers,
            diagnostics,
            gone,
        })
    }

    /// Adds the connection to the manager of the pool's objects.
    pub fn with_objects(mut self, objects: OwnedFd) -> Self {
        self.objects = Some(objects);
        self
    }

    /// Starts the dispatcher and sends its configuration. The calling thread must live as long as the dispatcher, as its
    /// parent-death signal is tied to that.
    ///
    /// # Errors
    /// [`Error::Start`], [`Error::Io`].
    pub fn start(mut self) -> Result<Connection<Dispatcher>, Error> {
        if self.objects.is_none() {
            // No task can wait for an object, so no worker is lent, and the memory group has no room for one.
            self.settings.max_waiting = Some(0);
        }
        let memory = memory_group(&self.settings).map(Arc::new);
        let (requests, for_requests) = pair().map_err(explained)?;
        let (process, channel) = self.start_process(memory.as_deref(), for_requests)?;
        let kill_switch = Arc::new(KillSwitch::new()?);
        let backend = LocalBackend {
            socket: Mutex::new(channel.as_fd().try_clone_to_owned()?),
            requests: Requests::new(Requester::new(requests, STATUS_LIMITS)),
            pid: process.pid(),
            settings: self.settings,
            memory: memory.clone(),
            kill_switch: Arc::clone(&kill_switch),
        };
        Ok(Connection {
            backend: Box::new(backend),
            sender: AnySender::Local(TaskPipeWriter::new(self.pipe.1)),
            source: Dispatcher::new(process, channel, kill_switch, memory, self.gone),
        })
    }

    fn start_process(
        &self,
        memory: Option<&MemoryCgroup>,
        for_requests: OwnedFd,
    ) -> Result<(Process, Channel), Error> {
        let settings = &self.settings;
        let largest = dispatcher_frame(settings);
        let (process, channel) =
            child_process::start(&self.executable, Role::Dispatcher, &self.diagnostics, largest)?;
        child_process::limit(&process, memory);
        let mut descriptors = vec![self.pipe.0.as_fd(), for_requests.as_fd()];
        descriptors.extend(self.dirs.iter().map(AsFd::as_fd));
        descriptors.extend(self.streams.stdin.as_ref().map(AsFd::as_fd));
        descriptors.extend(self.objects.as_ref().map(AsFd::as_fd));
        in_memory::send(
            channel.as_fd(),
            &DispatcherStart {
                settings: settings.clone(),
                stdin: self.streams.stdin.is_some(),
                terminals: self.streams.terminals,
                objects: self.objects.is_some(),
                jail: jail::available_options(settings.jail, settings.user)
                    .map(|plan| plan.with_files(settings.grants.files())),
                events: self.wants_workers || tracing::enabled!(Level::DEBUG),
            },
            &descriptors,
        )?;
        Ok((process, channel))
    }
}

/// Creates the memory cgroup around the pool's processes, if the machine permits it; otherwise `mpwasm doctor` shows the
/// reason.
fn memory_group(settings: &Settings) -> Option<MemoryCgroup> {
    if settings.jail == Jail::Off {
        return None;
    }
    let made = MemoryCgroup::create(settings);
    made.inspect_err(|why| tracing::debug!("no limit of memory around the pool: {why}"))
        .ok()
}
