//! Steps in granted directories, one after the other, as the args say: each is an array of strings, and the result has a
//! string for each, which is what it came to, or the name of WASI's error.
//!
//! They are WASI's own calls. A place is the name of a granted directory, or `@0` and so on for what an earlier step opened.
//!
//! | step | what it comes to |
//! |---|---|
//! | `["granted"]` | the names of the granted directories |
//! | `["open", place, path, words]` | `ok`; words: read write append create excl trunc directory follow |
//! | `["read", place]`, `["write", place, text]`, `["size", place, bytes]` | the text; `ok` |
//! | `["list", place]` | names, sorted |
//! | `["stat", place, path]`, `["readlink", place, path]` | bytes; the target |
//! | `["mkdir", place, path]`, `["rmdir", ..]`, `["unlink", ..]`, `["times", ..]` | `ok` |
//! | `["link", place, path, place, path]`, `["rename", ..]` | `ok` |
//! | `["symlink", target, place, path]` | `ok` |
//! | `["flood", place, path]` | the error with which the last of many opened files could not be opened |
//! | `["fill", place, bytes]` | writes so many bytes, in one call: how many were written |
//! | `["devour", place, bytes]` | reads so many bytes from its beginning in one call, for ever |
//! | `["deep", place, name, count]` | makes a directory in a directory, so many times: `ok` |

use mpwasm_guest::{Error, Model};
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

fn take(step: &[&str], opened: &mut Vec<Fd>) -> Result<String, Errno> {
    let at = |place: &str| place_of(place, opened);
    let done = |()| "ok".to_owned();
    // SAFETY: each call gets pointers that are valid for what the host does with them.
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
                    wasi::fd_pread(at(place)?, &[iovec], 0)?;
                    wasi::fd_seek(at(place)?, 0, wasi::WHENCE_SET)?;
                    wasi::fd_read(at(place)?, &[iovec])?;
                }
            }
            ["size", place, bytes] => wasi::fd_filestat_set_size(at(place)?, number(bytes)? as u64).map(done),
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

fn write(place: Fd, bytes: &[u8]) -> Result<usize, Errno> {
    let iovec = Ciovec {
        buf: bytes.as_ptr(),
        buf_len: bytes.len(),
    };
    // SAFETY: the bytes are valid for their length.
    unsafe { wasi::fd_write(place, &[iovec]) }
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

/// The names of all granted directories, from descriptor 3 on.
fn granted() -> Vec<String> {
    (3..).map_while(name_of).collect()
}

fn name_of(fd: Fd) -> Option<String> {
    // SAFETY: the buffer is as long as the host says that the name is.
    unsafe {
        let mut name = vec![0; wasi::fd_prestat_get(fd).ok()?.u.dir.pr_name_len];
        wasi::fd_prestat_dir_name(fd, name.as_mut_ptr(), name.len()).ok()?;
        Some(String::from_utf8_lossy(&name).into_owned())
    }
}

fn place_of(place: &str, opened: &[Fd]) -> Result<Fd, Errno> {
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
