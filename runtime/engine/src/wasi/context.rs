//! The context of wasmtime-wasi: arguments, environment, streams and directories of an instance.

use std::sync::Arc;

use wasmtime_wasi::WasiCtxBuilder;
use wasmtime_wasi::filesystem::FsPerms;
use wasmtime_wasi::p1::WasiP1Ctx;

use crate::error::GrantError;
use crate::output::{CallOutput, GuestStreamWriter};
use crate::wasi::stdin::{Stdin, StdinReader};
use mpwasm_types::grants::{Access, Granted, OpenDir};
use mpwasm_types::outcome::{LogLevel, Stream};
use mpwasm_types::settings::Terminals;

/// Builds the context of one instance: a command's arguments and stdin, streams that write to `output`, what is granted, and
/// nothing else.
pub(crate) fn context(
    output: &Arc<CallOutput>,
    argv: &[String],
    stdin: &Arc<Stdin>,
    terminals: Terminals,
    granted: &Granted,
) -> WasiP1Ctx {
    let writer = |stream, is_terminal| GuestStreamWriter {
        output: output.clone(),
        stream,
        is_terminal,
    };
    let reader = StdinReader {
        stdin: stdin.clone(),
        is_terminal: terminals.stdin,
    };
    let env: Vec<_> = granted.env.iter().collect();
    let mut builder = WasiCtxBuilder::new();
    builder
        .args(argv)
        .envs(&env)
        .stdin(reader)
        .stdout(writer(Stream::Stdout, terminals.stdout))
        .stderr(writer(Stream::Stderr, terminals.stderr))
        .allow_blocking_current_thread(true);
    for dir in granted.all_dirs() {
        // The directory could be opened when the worker started. If access was revoked since then, the guest does without.
        if let Err(error) = preopen(&mut builder, dir) {
            output.log(LogLevel::Warn, error.to_string().as_bytes());
        }
    }
    builder.build_p1()
}

/// Adds a granted directory to a context.
///
/// wasmtime-wasi takes a path only. So the directory becomes the working directory of this process, which no other code
/// depends on. Its name is never used, since another directory may have that name by now.
pub(crate) fn preopen(builder: &mut WasiCtxBuilder, dir: &OpenDir) -> Result<(), GrantError> {
    let perms = match dir.access {
        Access::ReadOnly => FsPerms::ReadOnly,
        Access::ReadWrite => FsPerms::ReadWrite,
    };
    let entered = nix::unistd::fchdir(&dir.fd).map_err(|errno| errno.desc().to_owned());
    entered
        .and_then(|()| match builder.preopened_dir(".", &dir.guest, perms) {
            Ok(_) => Ok(()),
            Err(error) => Err(error.to_string()),
        })
        .map_err(|reason| GrantError {
            guest: dir.guest.clone(),
            reason,
        })
}
