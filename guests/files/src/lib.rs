//! Runs the steps in its args with WASI's own calls, mostly in granted directories. Each step is an array of strings. The
//! result has a string for each step: its result, or the name of the WASI error.
//!
//! A place is the name of a granted directory, `@0` and so on for a descriptor that an earlier step opened, or one of
//! `stdin`, `stdout` and `stderr`.
//!
//! | step | result |
//! |---|---|
//! | `["granted"]` | the names of the granted directories |
//! | `["open", place, path, words]` | `ok`; words: read write append create excl trunc directory follow |
//! | `["read", place]`, `["write", place, text]`, `["size", place, bytes]` | the text; `ok` |
//! | `["close", place]`, `["renumber", place, place]` | `ok` |
//! | `["list", place]` | names, sorted |
//! | `["stat", place, path]`, `["readlink", place, path]` | bytes; the target |
//! | `["mkdir", place, path]`, `["rmdir", ..]`, `["unlink", ..]`, `["times", ..]` | `ok` |
//! | `["link", place, path, place, path]`, `["rename", ..]` | `ok` |
//! | `["symlink", target, place, path]` | `ok` |
//! | `["flood", place, path]` | opens files until that fails: the error |
//! | `["fill", place, bytes]` | writes this number of bytes in one call: the number written |
//! | `["devour", place, bytes]` | reads this number of bytes from its beginning in one call, repeatedly without end |
//! | `["deep", place, name, count]` | makes `count` nested directories: `ok` |
//! | `["many", place, path, count]` | opens a file `count` times: the number of open descriptors |
//! | `["writev", place, text..]`, `["pwritev", place, at, text..]` | writes all texts in one call: the number of bytes written |
//! | `["readv", place, bytes..]`, `["preadv", place, at, bytes..]` | reads into buffers of these sizes in one call: the texts in them |
//! | `["poll", place, "read"]`, `["poll", place, "write"]` | waits until it is ready, at most a minute: bytes and flags, or `nothing` |
//! | `["spin", text]` | logs the text and loops for ever |

use mpwasm_guest::{Error, Level, Model, log};
use wasi::{
    Ciovec, Errno, FDFLAGS_APPEND, FSTFLAGS_MTIM, Fd, Iovec, LOOKUPFLAGS_SYMLINK_FOLLOW, OFLAGS_CREAT,
    OFLAGS_DIRECTORY, OFLAGS_EXCL, OFLAGS_TRUNC, RIGHTS_FD_READ, RIGHTS_FD_WRITE,
};

#[derive(Default)]
struct Files;

impl Model for Files {
    type Args = Vec<Vec<String>>;
    type Output = Vec<String>;

    fn runnable(steps: Self::Args) -> Result<Self::Output, Error> {
        let mut opened = Vec::new();
        let results = steps.iter().map(|step| {
            let step: Vec<&str> = step.iter().map(String::as_str).collect();
            take(&step, &mut opened).unwrap_or_else(|errno| errno.name().to_owned())
        });
        Ok(results.collect())
    }

    fn callback(&mut self, _: Self::Output) -> Result<(), Error> {
        println!("a callback finds {:?}", granted());
        Ok(())
    }
}

#[expect(clippy::too_many_lines, reason = "a table: one arm for each step")]
fn take(step: &[&str], opened: &mut Vec<Fd>) -> Result<String, Errno> {
    let at = |place: &str| place_of(place, opened);
    let done = |()| "ok".to_owned();
    // SAFETY: the pointers of each call are valid for the host's reads and writes.
    unsafe {
        match *step {
            ["granted"] => Ok(granted().join(" ")),
            ["open", place, path, words] => {
                let fd = open(at(place)?, path, words)?;
                opened.push(fd);
                Ok(done(()))
            }
            ["read", place] => {
                let mut bytes = vec![0; 1 << 16];
                let iovec = Iovec {
                    buf: bytes.as_mut_ptr(),
                    buf_len: bytes.len(),
                };
                let count = wasi::fd_read(at(place)?, &[iovec])?;
                Ok(String::from_utf8_lossy(&bytes[..count]).into_owned())
            }
            ["write", place, text] => write(at(place)?, text.as_bytes()).map(|_| done(())),
            ["fill", place, bytes] => {
                let bytes = vec![b'x'; number(bytes)?];
                write(at(place)?, &bytes).map(|count| count.to_string())
            }
            ["devour", place, bytes] => {
                let mut bytes = vec![0; number(bytes)?];
                let iovec = Iovec {
                    buf: bytes.as_mut_ptr(),
                    buf_len: bytes.len(),
                };
                loop {
                    wasi::fd_seek(at(place)?, 0, wasi::WHENCE_SET)?;
                    wasi::fd_read(at(place)?, &[iovec])?;
                }
            }
            ["size", place, bytes] => wasi::fd_filestat_set_size(at(place)?, number(bytes)? as u64).map(done),
            ["close", place] => wasi::fd_close(at(place)?).map(done),
            ["renumber", place, other] => wasi::fd_renumber(at(place)?, at(other)?).map(done),
            ["list", place] => list(at(place)?),
            ["stat", place, path] => {
                let stat = wasi::path_filestat_get(at(place)?, LOOKUPFLAGS_SYMLINK_FOLLOW, path)?;
                Ok(stat.size.to_string())
            }
            ["readlink", place, path] => {
                let mut bytes = vec![0; 4096];
                let count = wasi::path_readlink(at(place)?, path, bytes.as_mut_ptr(), bytes.len())?;
                Ok(String::from_utf8_lossy(&bytes[..count]).into_owned())
            }
            ["mkdir", place, path] => wasi::path_create_directory(at(place)?, path).map(done),
            ["rmdir", place, path] => wasi::path_remove_directory(at(place)?, path).map(done),
            ["unlink", place, path] => wasi::path_unlink_file(at(place)?, path).map(done),
            ["times", place, path] => {
                let follow = LOOKUPFLAGS_SYMLINK_FOLLOW;
                wasi::path_filestat_set_times(at(place)?, follow, path, 0, 1_000_000_000, FSTFLAGS_MTIM)
                    .map(done)
            }
            ["link", place, path, other, new] => {
                wasi::path_link(at(place)?, 0, path, at(other)?, new).map(done)
            }
            ["rename", place, path, other, new] => {
                wasi::path_rename(at(place)?, path, at(other)?, new).map(done)
            }
            ["symlink", target, place, path] => wasi::path_symlink(target, at(place)?, path).map(done),
            ["flood", place, path] => loop {
                open(at(place)?, path, "read")?;
            },
            ["deep", place, name, count] => {
                let mut fd = at(place)?;
                for _ in 0..number(count)? {
                    wasi::path_create_directory(fd, name)?;
                    fd = open(fd, name, "directory")?;
                }
                Ok(done(()))
            }
            ["many", place, path, count] => {
                let count = number(count)?;
                let fds: Vec<Fd> = (0..count)
                    .map_while(|_| open(at(place).ok()?, path, "read").ok())
                    .collect();
                fds.iter().try_for_each(|&fd| wasi::fd_close(fd))?;
                Ok(fds.len().to_string())
            }
            ["writev", place, ref texts @ ..] => {
                let buffers: Vec<Ciovec> = texts.iter().map(from).collect();
                wasi::fd_write(at(place)?, &buffers).map(|count| count.to_string())
            }
            ["pwritev", place, offset, ref texts @ ..] => {
                let buffers: Vec<Ciovec> = texts.iter().map(from).collect();
                let offset = number(offset)? as u64;
                wasi::fd_pwrite(at(place)?, &buffers, offset).map(|count| count.to_string())
            }
            ["readv", place, ref sizes @ ..] => {
                read_into(sizes, |buffers| wasi::fd_read(at(place)?, buffers))
            }
            ["preadv", place, offset, ref sizes @ ..] => {
                let offset = number(offset)? as u64;
                read_into(sizes, |buffers| wasi::fd_pread(at(place)?, buffers, offset))
            }
            ["poll", place, what] => poll(at(place)?, what),
            ["spin", text] => {
                log(Level::Info, text);
                loop {
                    std::hint::spin_loop();
                }
            }
            _ => Err(wasi::ERRNO_INVAL),
        }
    }
}

fn number(text: &str) -> Result<usize, Errno> {
    text.parse().map_err(|_| wasi::ERRNO_INVAL)
}

unsafe fn open(place: Fd, path: &str, words: &str) -> Result<Fd, Errno> {
    let has = |word: &str| words.split(' ').any(|other| other == word);
    let flag = |word: &str, flag: u16| if has(word) { flag } else { 0 };
    let right = |word: &str, right: u64| if has(word) { right } else { 0 };
    let follow = if has("follow") {
        LOOKUPFLAGS_SYMLINK_FOLLOW
    } else {
        0
    };
    let how = flag("create", OFLAGS_CREAT)
        | flag("excl", OFLAGS_EXCL)
        | flag("trunc", OFLAGS_TRUNC)
        | flag("directory", OFLAGS_DIRECTORY);
    let rights = right("read", RIGHTS_FD_READ) | right("write", RIGHTS_FD_WRITE);
    // SAFETY: the path is valid for its length.
    unsafe {
        wasi::path_open(
            place,
            follow,
            path,
            how,
            rights,
            0,
            flag("append", FDFLAGS_APPEND),
        )
    }
}

fn from(text: impl AsRef<[u8]>) -> Ciovec {
    Ciovec {
        buf: text.as_ref().as_ptr(),
        buf_len: text.as_ref().len(),
    }
}

fn write(place: Fd, bytes: &[u8]) -> Result<usize, Errno> {
    // SAFETY: the bytes are valid for their length.
    unsafe { wasi::fd_write(place, &[from(bytes)]) }
}

/// Returns the contents of buffers of these sizes after `read`, separated by `|`. Bytes that were not read are dots.
fn read_into(sizes: &[&str], read: impl FnOnce(&[Iovec]) -> Result<usize, Errno>) -> Result<String, Errno> {
    let sizes = sizes.iter().map(|size| number(size));
    let mut buffers: Vec<Vec<u8>> = sizes
        .map(|size| Ok(vec![b'.'; size?]))
        .collect::<Result<_, _>>()?;
    let iovecs: Vec<Iovec> = buffers
        .iter_mut()
        .map(|buffer| Iovec {
            buf: buffer.as_mut_ptr(),
            buf_len: buffer.len(),
        })
        .collect();
    let count = read(&iovecs)?;
    let texts: Vec<_> = buffers
        .iter()
        .map(|buffer| String::from_utf8_lossy(buffer))
        .collect();
    Ok(format!("{count}: {}", texts.join("|")))
}

/// Waits until `fd` is ready, with a clock as the timeout.
fn poll(fd: Fd, what: &str) -> Result<String, Errno> {
    let fd_readwrite = wasi::SubscriptionFdReadwrite { file_descriptor: fd };
    let (kind, u) = match what {
        "read" => (
            wasi::EVENTTYPE_FD_READ,
            wasi::SubscriptionUU {
                fd_read: fd_readwrite,
            },
        ),
        "write" => (
            wasi::EVENTTYPE_FD_WRITE,
            wasi::SubscriptionUU {
                fd_write: fd_readwrite,
            },
        ),
        _ => return Err(wasi::ERRNO_INVAL),
    };
    let clock = wasi::SubscriptionUU {
        clock: wasi::SubscriptionClock {
            id: wasi::CLOCKID_MONOTONIC,
            timeout: 60_000_000_000,
            precision: 0,
            flags: 0,
        },
    };
    let subscription = |userdata, kind: wasi::Eventtype, u| wasi::Subscription {
        userdata,
        u: wasi::SubscriptionU { tag: kind.raw(), u },
    };
    let both = [
        subscription(7, kind, u),
        subscription(8, wasi::EVENTTYPE_CLOCK, clock),
    ];
    // SAFETY: there is room for as many events as subscriptions, and events are numbers.
    let (events, count) = unsafe {
        let mut events: [wasi::Event; 2] = std::mem::zeroed();
        let count = wasi::poll_oneoff(both.as_ptr(), events.as_mut_ptr(), both.len())?;
        (events, count)
    };
    match (count, &events[0]) {
        (1, event) if event.userdata == 7 && event.error != wasi::ERRNO_SUCCESS => Err(event.error),
        (1, event) if event.userdata == 7 && event.type_ == kind => {
            let ready = &event.fd_readwrite;
            Ok(format!("{} {}", ready.nbytes, ready.flags))
        }
        _ => Ok("nothing".to_owned()),
    }
}

fn list(place: Fd) -> Result<String, Errno> {
    let mut bytes = vec![0; 1 << 20];
    // SAFETY: the bytes are valid for their length.
    let count = unsafe { wasi::fd_readdir(place, bytes.as_mut_ptr(), bytes.len(), 0) }?;
    let mut names = Vec::new();
    let mut rest = &bytes[..count];
    while rest.len() >= 24 {
        let length = u32::from_le_bytes([rest[16], rest[17], rest[18], rest[19]]) as usize;
        let Some(name) = rest.get(24..24 + length) else {
            break;
        };
        let name = String::from_utf8_lossy(name).into_owned();
        if name != "." && name != ".." {
            names.push(name);
        }
        rest = &rest[24 + length..];
    }
    names.sort();
    Ok(names.join(" "))
}

/// Returns the names of all granted directories, from descriptor 3 on.
fn granted() -> Vec<String> {
    (3..).map_while(name_of).collect()
}

fn name_of(fd: Fd) -> Option<String> {
    // SAFETY: the buffer has the length of the name that the host returned.
    unsafe {
        let mut name = vec![0; wasi::fd_prestat_get(fd).ok()?.u.dir.pr_name_len];
        wasi::fd_prestat_dir_name(fd, name.as_mut_ptr(), name.len()).ok()?;
        Some(String::from_utf8_lossy(&name).into_owned())
    }
}

fn place_of(place: &str, opened: &[Fd]) -> Result<Fd, Errno> {
    if let Some(stream) = ["stdin", "stdout", "stderr"]
        .iter()
        .position(|name| *name == place)
    {
        return Ok(stream as Fd);
    }
    if let Some(index) = place.strip_prefix('@') {
        return opened.get(number(index)?).copied().ok_or(wasi::ERRNO_BADF);
    }
    let names = granted();
    let index = names
        .iter()
        .position(|name| name == place)
        .ok_or(wasi::ERRNO_NOENT)?;
    Ok(index as Fd + 3)
}

mpwasm_guest::export!(Files: runnable + callback);
