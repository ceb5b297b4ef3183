//! Options of the sandbox around the pool's processes: which layers are required, and the user.

use std::str::FromStr;

use anyhow::{Result, anyhow, bail};
use clap::{Args, ValueEnum};
use mpwasm::{Jail, Settings, User};
use nix::unistd;

/// Options of the operating system's sandbox, in addition to that of WebAssembly.
#[derive(Debug, Args)]
pub struct JailOptions {
    /// The jail around each process: seccomp, Landlock and the other layers that the machine has (see `mpwasm doctor`).
    #[arg(long, value_enum, default_value_t = JailMode::BestEffort)]
    pub jail: JailMode,

    /// Run the pool's processes as this user instead of root: a name, or UID:GID.
    #[arg(long, value_name = "USER")]
    pub user: Option<UserArg>,
}

impl JailOptions {
    /// Returns `settings` with these options applied.
    pub fn settings(&self, settings: Settings) -> Settings {
        Settings {
            jail: match self.jail {
                JailMode::Strict => Jail::Strict,
                JailMode::BestEffort => Jail::BestEffort,
                JailMode::Off => Jail::Off,
            },
            user: self.user.map(|user| user.0),
            ..settings
        }
    }
}

/// Which layers of the jail are required.
#[derive(Clone, Copy, Debug, PartialEq, Eq, ValueEnum)]
pub enum JailMode {
    /// Refuse to start where a mandatory layer is missing.
    Strict,
    /// Start without missing layers, and warn once of each.
    BestEffort,
    /// No jail: WebAssembly is the only sandbox.
    Off,
}

/// A user: a name, a number, or UID:GID.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub struct UserArg(pub User);

impl FromStr for UserArg {
    type Err = anyhow::Error;

    fn from_str(text: &str) -> Result<Self> {
        if let Some((uid, gid)) = text.split_once(':') {
            let number = |text: &str| text.parse().map_err(|_| anyhow!("{text:?} is no number"));
            return Ok(Self(User {
                uid: number(uid)?,
                gid: number(gid)?,
            }));
        }
        let found = match text.parse() {
            Ok(uid) => unistd::User::from_uid(unistd::Uid::from_raw(uid)),
            Err(_) => unistd::User::from_name(text),
        };
        match found {
            Ok(Some(user)) => Ok(Self(User {
                uid: user.uid.as_raw(),
                gid: user.gid.as_raw(),
            })),
            Ok(None) => bail!("there is no such user here; one without a name is written UID:GID"),
            Err(errno) => bail!("users can't be looked up: {errno}"),
        }
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn a_user_is_a_name_or_numbers() {
        let numbers = UserArg(User { uid: 12, gid: 34 });
        assert_eq!("12:34".parse::<UserArg>().unwrap(), numbers);
        let root = UserArg(User { uid: 0, gid: 0 });
        assert_eq!("root".parse::<UserArg>().unwrap(), root);
        assert_eq!("0".parse::<UserArg>().unwrap(), root);
        for wrong in [
            "",
            "no such user",
            "1:",
            ":1",
            "1:x",
            "-1",
            "4294967295:4294967296",
        ] {
            assert!(wrong.parse::<UserArg>().is_err(), "{wrong:?}");
        }
    }
}
