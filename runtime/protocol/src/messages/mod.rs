//! The messages between the processes of a pool, one file per pair or direction.
//!
//! ```text
//! parent ──DispatcherStart───▶ dispatcher ──WorkerStart──────▶ worker
//!        ──Submission (pipe)─▶            ──ToWorker─────────▶
//!        ──ToDispatcher──────▶            ──control (pipe)───▶ (its watchdog)
//!        ◀─FromDispatcher─────            ◀─FromWorker────────
//!        ──StatusRequest─────▶
//!        ◀─StatusReply────────
//! parent ──ToCompiler────────▶ compiler   ──FromCompiler──────▶ parent
//! parent ──ToTasks───────────▶ `tasks`    ──FromTasks─────────▶ parent
//! parent ──ManagerStart──────▶ manager
//!        ──ToManager─────────▶            ◀─ToManager────────── dispatcher, worker, `tasks`
//!        ◀─FromManager────────            ──FromManager────────▶
//! ```
//!
//! The first frame of each child is a [`Hello`]. Where no pipe is named, a message travels through the socket between
//! the two processes. [`StatusRequest`] and [`StatusReply`] have a socket of their own, see [`request`](super::request).
//!
//! Args, results and prints are borrowed from the frame that carries them. They are copied only where they are kept, and
//! a large payload shares the buffer of its frame even there. Such a payload is the last field of its message, so that
//! [`SendBuffer`](super::send_buffer::SendBuffer) can send it without copying it.

mod call;
mod compiler;
mod from_dispatcher;
mod from_worker;
mod hello;
mod limits;
mod objects;
mod status;
mod tasks;
mod to_dispatcher;
mod to_worker;

pub use call::{CallResult, Execution, GuestOutput, ResourceUsage, Source};
pub use compiler::{FromCompiler, ToCompiler};
pub use from_dispatcher::{FromDispatcher, WorkerEvent};
pub use from_worker::FromWorker;
pub use hello::{Hello, HelloError, PROTOCOL_VERSION};
pub use limits::{
    MAX_ARTIFACT, MAX_PAYLOAD, MAX_SETUP, OUTPUT_PIECE, OVERHEAD, compiler_frame, dispatcher_frame,
    task_frame, worker_frame,
};
pub use objects::{
    FromManager, MAX_OBJECT_ARGS, ManagerStart, OperationReply, OwnerRequest, ToManager, object_frame,
    object_owner_frame,
};
pub use status::{STATUS_LIMITS, StatusReply, StatusRequest};
pub use tasks::{FromTasks, ToTasks};
pub use to_dispatcher::{ControlRequest, DispatcherStart, Submission, ToDispatcher};
pub use to_worker::{ToWorker, WorkerStart, control};
