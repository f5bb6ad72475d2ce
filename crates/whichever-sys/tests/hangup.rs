//! A process that asked for it dies with the process at the other end of its socket, without a thread that watches.
#![cfg(target_os = "linux")]
#![expect(clippy::unwrap_used, reason = "the helpers of a test fail it, as the test does")]

use std::io::{Read, Write};
use std::os::fd::{AsFd, OwnedFd};
use std::os::unix::net::UnixStream;
use std::os::unix::process::ExitStatusExt;
use std::process::{Child, Command, Stdio};
use std::time::Duration;

use whichever_sys::{Pidfd, kill_on_hangup, poll_readable};

const SIGKILL: i32 = 9;
const BOUND: Duration = Duration::from_secs(20);
/// Tells this test binary, started again, that it is the process that shall die.
const ROLE: &str = "WHICHEVER_TEST_ROLE";

/// Runs in a process of its own: its standard input is the socket.
#[test]
#[ignore = "a role that the tests below start"]
fn dies_with_its_socket() {
    if std::env::var_os(ROLE).is_none() {
        return;
    }
    kill_on_hangup(std::io::stdin().as_fd()).unwrap();
    std::io::stdout().write_all(b"!").unwrap();
    std::io::stdout().flush().unwrap();
    loop {
        std::thread::park();
    }
}

/// Start the process that shall die, and wait until it has asked for it.
fn start(socket: UnixStream) -> Child {
    let mut child = Command::new(std::env::current_exe().unwrap())
        .args(["--exact", "dies_with_its_socket", "--ignored", "--nocapture"])
        .env(ROLE, "1")
        .stdin(Stdio::from(OwnedFd::from(socket)))
        .stdout(Stdio::piped())
        .spawn()
        .unwrap();
    let said = child.stdout.as_mut().unwrap();
    let mut byte = [0];
    // The test harness says this and that before.
    while byte != *b"!" {
        said.read_exact(&mut byte).unwrap();
    }
    child
}

/// Wait for the end of `child`, and say which signal it was.
fn signal_that_ended(mut child: Child) -> Option<i32> {
    let process = Pidfd::open(child.id()).unwrap();
    let ended = poll_readable(&[process.as_fd()], Some(BOUND)).unwrap()[0];
    if !ended {
        child.kill().unwrap();
    }
    let status = child.wait().unwrap();
    assert!(ended, "still alive long after the hang-up");
    status.signal()
}

#[test]
fn a_process_dies_when_the_other_end_is_closed() {
    let (near, far) = UnixStream::pair().unwrap();
    let child = start(far);
    assert!(!Pidfd::open(child.id()).unwrap().has_exited());
    drop(near);
    assert_eq!(signal_that_ended(child), Some(SIGKILL));
}

#[test]
fn a_process_dies_when_the_one_at_the_other_end_is_killed() {
    let (near, far) = UnixStream::pair().unwrap();
    let mut peer = Command::new("sleep").arg("60").stdin(Stdio::from(OwnedFd::from(near))).spawn().unwrap();
    let child = start(far);
    assert!(!Pidfd::open(child.id()).unwrap().has_exited());
    peer.kill().unwrap();
    peer.wait().unwrap();
    assert_eq!(signal_that_ended(child), Some(SIGKILL));
}

#[test]
fn a_process_lives_while_a_copy_of_the_other_end_is_open_anywhere() {
    let (near, far) = UnixStream::pair().unwrap();
    let copy = near.try_clone().unwrap();
    let child = start(far);
    drop(near);
    let process = Pidfd::open(child.id()).unwrap();
    let short = Some(Duration::from_millis(50));
    assert_eq!(poll_readable(&[process.as_fd()], short).unwrap(), [false]);
    drop(copy);
    assert_eq!(signal_that_ended(child), Some(SIGKILL));
}
