//! The layers of the sandbox: which ones this machine supports, and which ones are to be applied.

use super::cgroup::MemoryCgroup;
use mpwasm_types::sandbox_options::SandboxOptions;
use mpwasm_types::settings::{Jail, User};

/// A layer of the sandbox that surrounds each process of a pool, in addition to WebAssembly.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
#[non_exhaustive]
pub enum SandboxLayer {
    /// Only the system calls that the process needs.
    Seccomp,
    /// No privileges are gained by executing a program.
    NoNewPrivileges,
    /// No files and no TCP.
    Landlock,
    /// No signals to processes outside, and no abstract sockets of theirs.
    LandlockScopes,
    /// An empty network, and no System V objects.
    Namespaces,
    /// A limit of memory for all processes of a pool together.
    MemoryLimit,
    /// Another user than that of the parent.
    OtherUser,
}

/// Whether this machine supports a layer.
#[derive(Clone, Debug, PartialEq, Eq)]
pub enum LayerState {
    /// It is supported. The text says how.
    Active(String),
    /// It is not supported. The text says why.
    Missing(String),
}

impl SandboxLayer {
    /// All layers, in the order in which `mpwasm doctor` shows them.
    pub const ALL: [Self; 7] = [
        Self::Seccomp,
        Self::NoNewPrivileges,
        Self::Landlock,
        Self::LandlockScopes,
        Self::Namespaces,
        Self::MemoryLimit,
        Self::OtherUser,
    ];

    /// Returns its name.
    #[must_use]
    pub const fn name(self) -> &'static str {
        match self {
            Self::Seccomp => "seccomp",
            Self::NoNewPrivileges => "no new privileges",
            Self::Landlock => "Landlock",
            Self::LandlockScopes => "Landlock scopes",
            Self::Namespaces => "namespaces",
            Self::MemoryLimit => "memory limit",
            Self::OtherUser => "another user",
        }
    }

    /// Returns whether `--jail strict` refuses to run without it.
    #[must_use]
    pub const fn is_mandatory(self) -> bool {
        matches!(self, Self::Seccomp | Self::NoNewPrivileges | Self::Landlock)
    }

    /// Returns what the layer prevents a process that was taken over from doing, as `mpwasm doctor` shows it.
    #[must_use]
    pub const fn stops(self) -> &'static str {
        match self {
            Self::Seccomp => "a taken-over worker making other system calls than those that tasks need",
            Self::NoNewPrivileges => "gaining rights through programs that have them",
            Self::Landlock => "opening files, and TCP (ABI 4 or later)",
            Self::LandlockScopes => "signals to other processes, and abstract sockets (ABI 6 or later)",
            Self::Namespaces => "reaching the network even if seccomp let it through",
            Self::MemoryLimit => "taking the machine's memory, or leaving processes behind",
            Self::OtherUser => "acting as the user who runs mpwasm (root can have one with --user)",
        }
    }

    /// Returns whether this machine supports it. [`SandboxLayer::Namespaces`] is probed in a copy of this process.
    #[must_use]
    pub fn state(self) -> LayerState {
        match self {
            Self::Seccomp if has_seccomp() => {
                LayerState::Active("filters on all threads, SIGSYS by default".into())
            }
            Self::Seccomp => LayerState::Missing("the kernel has no seccomp filters".into()),
            // Linux 3.5 and later, all of which mpwasm runs on.
            Self::NoNewPrivileges => LayerState::Active("always".into()),
            Self::Landlock => match landlock_abi() {
                Some(abi) if abi >= MANDATORY_ABI => LayerState::Active(format!("ABI {abi}")),
                Some(abi) => LayerState::Missing(format!(
                    "ABI {abi}, which is older than {MANDATORY_ABI}: TCP is open"
                )),
                None => LayerState::Missing(
                    "the kernel has none, or it was not switched on at boot (lsm=)".into(),
                ),
            },
            Self::LandlockScopes => match landlock_abi() {
                Some(abi) if abi >= SCOPES_ABI => LayerState::Active(format!("ABI {abi}")),
                _ => LayerState::Missing(format!("Landlock ABI {SCOPES_ABI} has them (Linux 6.12)")),
            },
            Self::Namespaces => match super::privileges::probe_namespaces() {
                Ok(how) => LayerState::Active(how.to_owned()),
                Err(error) => LayerState::Missing(error.to_string()),
            },
            Self::MemoryLimit => match MemoryCgroup::probe() {
                Ok(()) => LayerState::Active("a control group for each pool".into()),
                Err(error) => LayerState::Missing(error.to_string()),
            },
            Self::OtherUser if nix::unistd::geteuid().is_root() => LayerState::Missing(
                "children run as root, without capabilities, unless --user names another".into(),
            ),
            Self::OtherUser => LayerState::Missing("only root can give one".into()),
        }
    }
}

/// Returns the options of a sandbox with all layers that this machine supports; `None` when the sandbox is off.
#[must_use]
pub fn available_options(jail: Jail, user: Option<User>) -> Option<SandboxOptions> {
    (jail != Jail::Off).then(|| SandboxOptions {
        landlock: landlock_abi().is_some(),
        seccomp: has_seccomp(),
        user,
        files: None,
    })
}

/// Returns the mandatory layers that this machine does not support.
#[must_use]
pub fn missing_layers() -> Vec<SandboxLayer> {
    let is_missing =
        |layer: &SandboxLayer| layer.is_mandatory() && matches!(layer.state(), LayerState::Missing(_));
    SandboxLayer::ALL.into_iter().filter(is_missing).collect()
}

/// First ABI of Landlock that can deny TCP, which [`Jail::Strict`] requires.
const MANDATORY_ABI: u32 = 4;
/// First ABI of Landlock with scopes.
const SCOPES_ABI: u32 = 6;

/// Returns the ABI version of Landlock that the kernel supports.
fn landlock_abi() -> Option<u32> {
    /// `LANDLOCK_CREATE_RULESET_VERSION` of `linux/landlock.h`.
    const VERSION: u32 = 1;
    // SAFETY: with this flag the call takes no ruleset, creates nothing, and returns a number.
    let abi = unsafe { libc::syscall(libc::SYS_landlock_create_ruleset, 0_usize, 0_usize, VERSION) };
    u32::try_from(abi).ok().filter(|&abi| abi > 0)
}

/// Returns whether the kernel supports the action that the filters use.
fn has_seccomp() -> bool {
    let action = libc::SECCOMP_RET_TRAP;
    // SAFETY: the call reads the action from the pointer, which is valid, and changes nothing.
    let result = unsafe {
        libc::syscall(
            libc::SYS_seccomp,
            libc::SECCOMP_GET_ACTION_AVAIL,
            0,
            std::ptr::from_ref(&action),
        )
    };
    result == 0
}
