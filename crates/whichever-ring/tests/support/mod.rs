//! Starting a test or bench again as another process, and opening this one's shared files there.

use std::ffi::OsStr;
use std::fs::OpenOptions;
use std::os::fd::{AsRawFd, OwnedFd};
use std::process::{Child, Command, Stdio};

use whichever_sys::SharedFile;

/// Names the role of a process that was started again; its files follow, separated by colons.
const ROLE: &str = "WHICHEVER_TEST_ROLE";

/// Start this program again with `arguments`, to play `role` on `files`.
pub(crate) fn start_again<A: AsRef<OsStr>>(arguments: &[A], role: &str, files: &[&SharedFile]) -> Child {
    let paths = files.iter().map(|file| format!(":{}", path(file)));
    Command::new(std::env::current_exe().expect("a running program has a path"))
        .args(arguments)
        .env(ROLE, role.to_owned() + &paths.collect::<String>())
        .stdout(Stdio::null())
        .spawn()
        .expect("the program starts again")
}

/// The role this process was started for and the files it was given, if it was.
pub(crate) fn role() -> Option<(String, Vec<SharedFile>)> {
    let text = std::env::var(ROLE).ok()?;
    let mut parts = text.split(':');
    Some((parts.next()?.to_owned(), parts.map(open).collect()))
}

/// Where another process of this user finds the file.
fn path(file: &SharedFile) -> String {
    format!("/proc/{}/fd/{}", std::process::id(), file.as_fd().as_raw_fd())
}

fn open(path: &str) -> SharedFile {
    let file = OpenOptions::new().read(true).write(true).open(path).expect("who started us lives");
    SharedFile::from_fd(OwnedFd::from(file))
}
