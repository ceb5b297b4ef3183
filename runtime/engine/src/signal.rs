//! Interrupts guest code that has no checks, by a signal to the thread that runs it ([`Interrupt::Signal`]).
//!
//! The watchdog sends the signal when a call has to end, and again until the call has ended. The handler does nothing unless the
//! call has to end and the thread is in the compiled code of a guest's function. Then it makes the thread call a trusted function
//! which traps at once. The engine handles that trap like every trap of a guest: it takes the backtrace, which begins at the
//! instruction that was interrupted, and unwinds to the host.
//!
//! A thread that is anywhere else goes on: in a host call, an operation of the engine or a trampoline, which may hold locks or have
//! changed state by half. Calls into the host check the deadline when they begin and end, and the signal is sent again.
//!
//! # Why the thread may trap at any instruction of a guest's function
//!
//! - Nothing returns from a trap. So no register of the guest has to survive, and the instance is discarded. Instances that are kept
//!   for callbacks run outside of workers and are never interrupted by signals.
//! - All state that the engine needs to unwind was stored when the guest was entered. What it stores when the guest calls the host is
//!   stored by trampolines, which are not functions of the guest.
//! - The engine requires that its code keeps a frame pointer, which it follows for the backtrace. At each instruction it points to
//!   the frame of the function, or to that of its caller while a frame is being made or removed. Only functions that begin
//!   with [`PROLOGUE`] are interrupted.
//! - Nothing is stored below the stack pointer: the compiler uses no red zone. Neither does the trusted function need more than the
//!   two words of its own frame. The stack of the thread extends by some MiB beyond the limit of the guest's
//!   ([`thread_stack`](mpwasm_types::memory::thread_stack)).
//!
//! The handler runs on the alternate stack of the thread, which is the engine's own. It reads a thread-local variable without a
//! destructor, tables that do not change, atomics and the clock. It takes no lock, allocates nothing and makes no system call, except
//! for the clock on machines where that is one.

#![cfg_attr(
    not(target_arch = "x86_64"),
    allow(dead_code, reason = "a pool refuses these interrupts on other processors")
)]

use std::cell::Cell;
use std::ffi::{c_int, c_void};
use std::ops::Range;
use std::sync::Arc;
use std::sync::atomic::{AtomicU8, Ordering};

use nix::sys::signal::{SaFlags, SigAction, SigHandler, SigSet, Signal, sigaction};
use wasmtime::{Engine, Module};

use crate::config::{EngineRole, engine};
use crate::deadline::{Deadline, InterruptCause};
use crate::error::LoadError;
use mpwasm_types::engine_settings::EngineSettings;

/// The signal. By default it is ignored, so that one which comes before there is a handler does nothing. At most one is pending.
const SIGNAL: Signal = Signal::SIGURG;

/// The module of the trusted function: `(module (func unreachable))`.
const TRUSTED: &[u8] = b"\0asm\x01\0\0\0\x01\x04\x01\x60\0\0\x03\x02\x01\0\x0a\x05\x01\x03\0\0\x0b";

/// `push rbp; mov rbp, rsp`: how each function begins that keeps a frame pointer.
const PROLOGUE: [u8; 4] = [0x55, 0x48, 0x89, 0xe5];

/// `ud2`: the instruction that traps.
const TRAP: [u8; 2] = [0x0f, 0x0b];

/// `ret`. No other instruction begins with this byte.
const RETURN: u8 = 0xc3;

thread_local! {
    /// What the handler needs on this thread. `None` on threads that do not run guests.
    static TARGET: Cell<Option<&'static SignalTarget>> = const { Cell::new(None) };
}

/// What the handler needs to interrupt the guests of a thread.
pub(crate) struct SignalTarget {
    deadline: Arc<Deadline>,
    /// The guests' code.
    guests: Vec<GuestCode>,
    /// Address of the trusted function.
    trap: usize,
    /// The trusted function's module. It keeps the code in place.
    _trusted: Module,
    /// Why the handler has interrupted the call, if it has.
    interrupted: AtomicU8,
}

const NOT_INTERRUPTED: u8 = 0;
const TIMED_OUT: u8 = 1;
const CANCELLED: u8 = 2;

impl SignalTarget {
    /// Prepares for the guests of an engine with these settings. Compiles the trusted function.
    ///
    /// # Errors
    /// Returns an error on processors other than x86-64, or if the engine has become another one than this code is written for.
    pub(crate) fn new(settings: &EngineSettings, deadline: Arc<Deadline>) -> Result<Self, LoadError> {
        if !cfg!(target_arch = "x86_64") {
            return Err(LoadError::Engine(
                "guests are interrupted by signals on x86-64 only".to_owned(),
            ));
        }
        // Without an instruction budget, whose count the function would read from an instance that it does not have.
        let settings = EngineSettings {
            fuel: None,
            ..settings.clone()
        };
        let trusted = trusted(&engine(EngineRole::Callbacks, &settings)?)?;
        let function = trusted.functions().next().map(|function| function.offset);
        let code = function.and_then(|start| trusted.text().get(start..));
        let code = code.filter(|code| {
            code.strip_prefix(&PROLOGUE)
                .is_some_and(|code| code.starts_with(&TRAP))
        });
        let Some(code) = code else {
            return Err(LoadError::Engine(
                "the engine compiles functions in an unknown way".to_owned(),
            ));
        };
        Ok(Self {
            deadline,
            guests: Vec::new(),
            trap: code.as_ptr().addr(),
            _trusted: trusted,
            interrupted: AtomicU8::new(NOT_INTERRUPTED),
        })
    }

    /// Adds a guest, whose code may be interrupted.
    pub(crate) fn add(&mut self, guest: &Module) {
        self.guests.push(GuestCode::new(guest));
    }

    /// Makes the calling thread accept the signal, until it ends. What the handler needs is never freed.
    ///
    /// # Errors
    /// Returns an error if the handler can't be installed.
    pub(crate) fn accept(self) -> Result<(), LoadError> {
        let target: &'static Self = Box::leak(Box::new(self));
        TARGET.set(Some(target));
        let action = SigAction::new(
            SigHandler::SigAction(on_signal),
            // System calls that can be restarted are. The others are repeated by their callers.
            SaFlags::SA_SIGINFO | SaFlags::SA_ONSTACK | SaFlags::SA_RESTART,
            // The signal itself is blocked while its handler runs.
            SigSet::empty(),
        );
        // SAFETY: the handler is async-signal-safe, see the module.
        unsafe { sigaction(SIGNAL, &action) }
            .map_err(|error| LoadError::Engine(format!("no handler of {SIGNAL}: {error}")))?;
        // SAFETY: gettid has no preconditions.
        target.deadline.set_thread(unsafe { libc::gettid() });
        Ok(())
    }

    /// Makes the thread with these registers trap, if it is in the code of a guest and the call has to end.
    #[cfg(target_arch = "x86_64")]
    fn interrupt(&self, registers: &mut [i64; 23]) {
        let register = |number: c_int| number as usize;
        let (rip, rsp, rbp) = (
            register(libc::REG_RIP),
            register(libc::REG_RSP),
            register(libc::REG_RBP),
        );
        let pc = registers[rip].cast_unsigned() as usize;
        let Some(start) = self.guests.iter().find_map(|guest| guest.function_at(pc)) else {
            return;
        };
        let Some(cause) = self.deadline.interrupted() else {
            return;
        };
        let mut stack = StackRegisters {
            pointer: registers[rsp].cast_unsigned() as usize,
            frame: registers[rbp].cast_unsigned() as usize,
        };
        // SAFETY: these are the registers of a thread in a function with a frame pointer, whose stack has room below the guest's.
        // The instruction is in mapped code.
        unsafe { stack.call(pc, start) };
        registers[rsp] = (stack.pointer as u64).cast_signed();
        registers[rbp] = (stack.frame as u64).cast_signed();
        registers[rip] = (self.trap as u64).cast_signed();
        let cause = match cause {
            InterruptCause::Timeout => TIMED_OUT,
            InterruptCause::Cancelled => CANCELLED,
        };
        self.interrupted.store(cause, Ordering::Relaxed);
    }
}

/// Compiles the trusted function.
fn trusted(engine: &Engine) -> Result<Module, LoadError> {
    Module::from_binary(engine, TRUSTED).map_err(|error| LoadError::Engine(format!("{error:#}")))
}

/// The code of a guest's functions.
struct GuestCode {
    /// Addresses of all code of the module, trampolines included.
    text: Range<usize>,
    /// Beginnings and ends of its functions, relative to the beginning of the text, in ascending order.
    functions: Box<[(u32, u32)]>,
    /// The module. It keeps the code in place.
    _module: Module,
}

impl GuestCode {
    fn new(module: &Module) -> Self {
        let text = module.text();
        let mut functions: Vec<(u32, u32)> = module
            .functions()
            .filter_map(|function| {
                let end = function.offset.checked_add(function.len)?;
                let code = text.get(function.offset..end)?;
                // Otherwise it has no frame pointer, and only ends with its process.
                let range = (u32::try_from(function.offset).ok()?, u32::try_from(end).ok()?);
                code.starts_with(&PROLOGUE).then_some(range)
            })
            .collect();
        functions.sort_unstable();
        let start = text.as_ptr().addr();
        Self {
            text: start..start + text.len(),
            functions: functions.into(),
            _module: module.clone(),
        }
    }

    /// Returns the address of the function whose code contains `pc`.
    fn function_at(&self, pc: usize) -> Option<usize> {
        if !self.text.contains(&pc) {
            return None;
        }
        let offset = pc - self.text.start;
        let after = self
            .functions
            .partition_point(|&(start, _)| start as usize <= offset);
        let &(start, end) = self.functions.get(after.checked_sub(1)?)?;
        (offset < end as usize).then(|| self.text.start + start as usize)
    }
}

/// The registers that say where the stack of a thread is, in a guest's function.
struct StackRegisters {
    /// The stack pointer.
    pointer: usize,
    /// The frame pointer.
    frame: usize,
}

impl StackRegisters {
    /// Calls another function from the instruction `pc` of the function that begins at `start`.
    ///
    /// # Safety
    /// `pc` is in mapped code. These are the registers of a thread before that instruction. There is room below the stack pointer.
    unsafe fn call(&mut self, pc: usize, start: usize) {
        // SAFETY: the caller promises that the code is mapped.
        if unsafe { *(pc as *const u8) } == RETURN {
            // Its frame is gone already, and its return address is that of the call.
            return;
        }
        match pc - start {
            // SAFETY: there is room, as the caller promises. The function would store the same value there.
            0 => unsafe {
                self.push(self.frame);
                self.frame = self.pointer;
            },
            // After `push rbp`.
            1 => self.frame = self.pointer,
            _ => {}
        }
        // Functions are called with an aligned stack pointer.
        self.pointer &= !0xf;
        // The engine looks up the byte before a return address, as that is in the instruction that has called.
        // SAFETY: there is room, as the caller promises, and nothing is stored there.
        unsafe { self.push(pc + 1) };
    }

    /// # Safety
    /// There is room below the stack pointer, and nothing is stored there.
    unsafe fn push(&mut self, word: usize) {
        self.pointer -= size_of::<usize>();
        // SAFETY: the caller promises it. The stack pointer is aligned to words in compiled code.
        unsafe { *(self.pointer as *mut usize) = word };
    }
}

/// Sends the signal to a thread of this process that [accepts](SignalTarget::accept) it.
pub(crate) fn send(thread: i32) {
    // SAFETY: a system call without pointers. The thread runs guests until the process ends.
    unsafe { libc::syscall(libc::SYS_tgkill, libc::getpid(), thread, SIGNAL as c_int) };
}

/// Returns why the handler has interrupted the last call of this thread, if it has, and forgets it.
pub(crate) fn take_cause() -> Option<InterruptCause> {
    match TARGET.get()?.interrupted.swap(NOT_INTERRUPTED, Ordering::Relaxed) {
        TIMED_OUT => Some(InterruptCause::Timeout),
        CANCELLED => Some(InterruptCause::Cancelled),
        _ => None,
    }
}

extern "C" fn on_signal(_signal: c_int, _info: *mut libc::siginfo_t, context: *mut c_void) {
    #[cfg(target_arch = "x86_64")]
    if let Some(target) = TARGET.get() {
        // SAFETY: the kernel passes a context, which nothing else uses while the handler runs.
        let context = unsafe { &mut *context.cast::<libc::ucontext_t>() };
        target.interrupt(&mut context.uc_mcontext.gregs);
    }
    #[cfg(not(target_arch = "x86_64"))]
    let _ = context;
}

#[cfg(all(test, target_arch = "x86_64"))]
mod tests;
