//! Starts the manager's process, and ends it.

use std::os::fd::AsFd;
use std::sync::atomic::{AtomicBool, Ordering};
use std::sync::{Arc, mpsc};
use std::thread::{self, JoinHandle};

use crate::child_process::{self, Diagnostics, TransientChild};
use crate::error::Error;
use crate::objects::client::OwnerClient;
use crate::sync::Mutex;
use mpwasm_protocol::channel::Channel;
use mpwasm_protocol::in_memory;
use mpwasm_protocol::messages::{ManagerStart, object_owner_frame};
use mpwasm_sandbox::child::Executable;
use mpwasm_sandbox::jail;
use mpwasm_system::inherited::explained;
use mpwasm_types::role::Role;
use mpwasm_types::settings::Settings;

/// A manager's process. Dropping it ends the process and waits for that.
#[derive(Debug)]
pub struct ManagerProcess {
    pub(super) client: Arc<OwnerClient>,
    /// Set when the process is to end.
    is_closing: Arc<AtomicBool>,
    pid: u32,
    thread: Mutex<Option<JoinHandle<()>>>,
}

impl ManagerProcess {
    /// Starts the process. `memory` caps what its objects may use, bytes.
    ///
    /// # Errors
    /// [`Error::Start`], [`Error::Io`].
    pub fn start(executable: Executable, settings: Settings, memory: u64) -> Result<Self, Error> {
        let (started, result) = mpsc::channel();
        let is_closing = Arc::new(AtomicBool::new(false));
        let closing = Arc::clone(&is_closing);
        // The parent-death signal of the process is tied to the thread that starts it, so this one lives as long.
        let run = move || match spawn(&executable, &settings, memory) {
            Err(error) => drop(started.send(Err(error))),
            Ok(mut running) => {
                let client = Arc::clone(&running.client);
                let _ = started.send(Ok((client, running.pid))); // the caller waits for it
                let end = running.client.receive_all(&mut running.channel);
                running.end(&end.to_string(), closing.load(Ordering::SeqCst));
            }
        };
        let thread = thread::Builder::new().name("mpwasm-manager".to_owned());
        let thread = thread.spawn(run).map_err(explained)?;
        let ended = |_| Error::Io(std::io::Error::other("the manager's thread ended"));
        let (client, pid) = result.recv().map_err(ended)??;
        Ok(Self {
            client,
            is_closing,
            pid,
            thread: Mutex::new(Some(thread)),
        })
    }

    /// Returns its process id.
    pub fn pid(&self) -> u32 {
        self.pid
    }
}

impl Drop for ManagerProcess {
    fn drop(&mut self) {
        let thread = self.thread.get_mut().take();
        if !self.client.is_owned() {
            // The thread exists only in the owner's process, and the connection is the owner's too.
            std::mem::forget(thread);
            return;
        }
        self.is_closing.store(true, Ordering::SeqCst);
        self.client.close();
        if let Some(thread) = thread {
            let _ = thread.join();
        }
    }
}

/// The process, as the thread that receives its messages has it.
struct RunningManager {
    client: Arc<OwnerClient>,
    channel: Channel,
    process: TransientChild,
    diagnostics: Diagnostics,
    pid: u32,
}

fn spawn(executable: &Executable, settings: &Settings, memory: u64) -> Result<RunningManager, Error> {
    let (diagnostics, writer) = Diagnostics::new()?;
    let largest = object_owner_frame(memory);
    let (process, channel) = child_process::start(executable, Role::Manager, &writer, largest)?;
    drop(writer);
    let message = ManagerStart {
        memory,
        jail: jail::available_options(settings.jail, settings.user),
    };
    in_memory::send(channel.as_fd(), &message, &[])?;
    Ok(RunningManager {
        client: Arc::new(OwnerClient::new(channel.as_fd().try_clone_to_owned()?, memory)?),
        channel: channel.accepting_descriptors(),
        pid: process.pid(),
        process: TransientChild::new(process, Role::Manager),
        diagnostics,
    })
}

impl RunningManager {
    /// Reaps the process, which is killed if it has not ended after a second, and says why it ended if it was not asked to.
    fn end(mut self, why: &str, is_asked_for: bool) {
        let end = self.diagnostics.describe(&mut self.process);
        if !is_asked_for {
            tracing::warn!(
                "the manager of shared objects ended, which nothing can use any more: {why} ({end})"
            );
        }
    }
}
