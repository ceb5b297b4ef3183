//! Which walls there are, which of them this machine has, and which are to be built.

use super::memory::MemoryCgroup;
use mpwasm_types::sandbox_options::SandboxOptions;
use mpwasm_types::settings::{Jail, User};

/// One wall of the jail: what stands around each process of a pool beside WebAssembly.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum SandboxLayer {
    /// Only the system calls that a process needs.
    Seccomp,
    /// No program can give more rights than there are.
    NoNewPrivileges,
    /// No files and no TCP.
    Landlock,
    /// No signals to other processes, and no abstract sockets of theirs.
    LandlockScopes,
    /// An empty network and empty System V objects.
    Namespaces,
    /// A limit of memory around all of a pool's processes.
    MemoryLimit,
    /// A user of their own.
    OtherUser,
}

/// What is known of a layer on this machine.
#[derive(Clone, Debug, PartialEq, Eq)]
pub enum LayerState {
    /// It stands, and what of it.
    Active(String),
    /// It does not, and why.
    Missing(String),
}

impl SandboxLayer {
    /// All of them, in the order in which people should read of them.
    pub const ALL: [Self; 7] = [
        Self::Seccomp,
        Self::NoNewPrivileges,
        Self::Landlock,
        Self::LandlockScopes,
        Self::Namespaces,
        Self::MemoryLimit,
        Self::OtherUser,
    ];

    /// Its name.
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

    /// Whether a run without it has no second wall to speak of.
    #[must_use]
    pub const fn is_mandatory(self) -> bool {
        matches!(self, Self::Seccomp | Self::NoNewPrivileges | Self::Landlock)
    }

    /// What it keeps a process from that was taken over.
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

    /// What this machine has of it. For [`SandboxLayer::Namespaces`] a process of its own tries.
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
            Self::Namespaces => match super::privileges::try_namespaces() {
                Ok(how) => LayerState::Active(how.to_owned()),
                Err(why) => LayerState::Missing(why),
            },
            Self::MemoryLimit => match MemoryCgroup::probe() {
                Ok(()) => LayerState::Active("a control group for each pool".into()),
                Err(why) => LayerState::Missing(why),
            },
            Self::OtherUser if nix::unistd::geteuid().is_root() => LayerState::Missing(
                "children run as root, without capabilities, unless --user names another".into(),
            ),
            Self::OtherUser => LayerState::Missing("only root can give one".into()),
        }
    }
}

/// Returns what this machine can build of what was asked for; `None` when nothing was.
#[must_use]
pub fn plan(jail: Jail, user: Option<User>) -> Option<SandboxOptions> {
    (jail != Jail::Off).then(|| SandboxOptions {
        landlock: landlock_abi().is_some(),
        seccomp: has_seccomp(),
        user,
        files: None,
    })
}

/// The mandatory layers that this machine does not have.
#[must_use]
pub fn missing() -> Vec<SandboxLayer> {
    let is_missing =
        |layer: &SandboxLayer| layer.is_mandatory() && matches!(layer.state(), LayerState::Missing(_));
    SandboxLayer::ALL.into_iter().filter(is_missing).collect()
}

/// The first ABI with TCP: what `mpwasm doctor` asks for.
const MANDATORY_ABI: u32 = 4;
/// The first ABI with scopes.
const SCOPES_ABI: u32 = 6;

/// The version of Landlock that the kernel offers.
fn landlock_abi() -> Option<u32> {
    /// `LANDLOCK_CREATE_RULESET_VERSION` of `linux/landlock.h`.
    const VERSION: u32 = 1;
    // SAFETY: with this flag the call takes no ruleset, makes nothing, and returns a number.
    let abi = unsafe { libc::syscall(libc::SYS_landlock_create_ruleset, 0_usize, 0_usize, VERSION) };
    u32::try_from(abi).ok().filter(|&abi| abi > 0)
}

/// Whether the kernel knows the action that the filters use.
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
