//! What a blocking system call waits for, by its number: one table for each architecture.
//!
//! Source: the kernel's own tables of numbers (`unistd_64.h`, `asm-generic/unistd.h`). A call that is not in
//! the table is `Unnamed`, never guessed.

use whichever_model::BlockedKind;

/// How to tell what a call waits for.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum CallClass {
    /// Always for this kind.
    Kind(BlockedKind),
    /// For what the descriptor in this argument is.
    Descriptor(usize),
    /// A futex at the address in argument 0: the GIL's, or a lock.
    Futex,
    /// `poll`: argument 0 points to the descriptors, argument 1 counts them.
    Poll,
    /// `select`: arguments 1 to 3 point to sets, argument 0 is the highest descriptor and one.
    Select,
    /// Not in the table.
    Unnamed,
}

type Table = &'static [(CallClass, &'static [u64])];

use BlockedKind::{Child, File, Lock, Network, Poll, Sleep};
use CallClass::{Descriptor, Kind};

#[cfg_attr(
    not(target_arch = "x86_64"),
    allow(dead_code, reason = "the tables are checked on every architecture")
)]
const X86_64: Table = &[
    (CallClass::Futex, &[202]),
    // read write pread64 pwrite64 ioctl readv writev sendfile splice tee preadv pwritev copy_file_range preadv2 pwritev2
    (Descriptor(0), &[0, 1, 17, 18, 16, 19, 20, 40, 275, 276, 295, 296, 326, 327, 328]),
    // connect accept sendto recvfrom sendmsg recvmsg shutdown accept4 recvmmsg sendmmsg
    (Kind(Network), &[42, 43, 44, 45, 46, 47, 48, 288, 299, 307]),
    // nanosleep pause rt_sigtimedwait rt_sigsuspend clock_nanosleep
    (Kind(Sleep), &[35, 34, 128, 130, 230]),
    (CallClass::Poll, &[7, 271]),
    (CallClass::Select, &[23, 270]),
    // epoll_wait epoll_pwait epoll_pwait2 io_uring_enter io_getevents
    (Kind(Poll), &[232, 281, 441, 426, 208]),
    // wait4 waitid vfork
    (Kind(Child), &[61, 247, 58]),
    // flock fcntl futex_waitv semop semtimedop
    (Kind(Lock), &[73, 72, 449, 65, 220]),
    // open close stat fstat lstat access mmap munmap msync madvise fsync fdatasync truncate ftruncate getdents
    (Kind(File), &[2, 3, 4, 5, 6, 21, 9, 11, 26, 28, 74, 75, 76, 77, 78]),
    // rename mkdir rmdir creat link unlink symlink readlink chmod sync getdents64 openat mkdirat newfstatat unlinkat
    (Kind(File), &[82, 83, 84, 85, 86, 87, 88, 89, 90, 162, 217, 257, 258, 262, 263]),
    // renameat linkat symlinkat readlinkat faccessat sync_file_range fallocate syncfs renameat2 statx openat2 faccessat2
    (Kind(File), &[264, 265, 266, 267, 269, 277, 285, 306, 316, 332, 437, 439]),
    // statfs execve mount readahead fadvise64
    (Kind(File), &[137, 59, 165, 187, 221]),
];

#[cfg_attr(
    not(target_arch = "aarch64"),
    allow(dead_code, reason = "the tables are checked on every architecture")
)]
const AARCH64: Table = &[
    (CallClass::Futex, &[98]),
    // ioctl read write readv writev pread64 pwrite64 preadv pwritev sendfile splice tee copy_file_range preadv2 pwritev2
    (Descriptor(0), &[29, 63, 64, 65, 66, 67, 68, 69, 70, 71, 76, 77, 285, 286, 287]),
    // accept connect sendto recvfrom shutdown sendmsg recvmsg accept4 recvmmsg sendmmsg
    (Kind(Network), &[202, 203, 206, 207, 210, 211, 212, 242, 243, 269]),
    // nanosleep clock_nanosleep rt_sigsuspend rt_sigtimedwait
    (Kind(Sleep), &[101, 115, 133, 137]),
    (CallClass::Poll, &[73]),
    (CallClass::Select, &[72]),
    // io_getevents epoll_pwait io_uring_enter epoll_pwait2
    (Kind(Poll), &[4, 22, 426, 441]),
    // wait4 waitid
    (Kind(Child), &[260, 95]),
    // fcntl flock semtimedop semop futex_waitv
    (Kind(Lock), &[25, 32, 192, 193, 449]),
    // mkdirat unlinkat symlinkat linkat renameat mount statfs truncate ftruncate fallocate faccessat openat close getdents64
    (Kind(File), &[34, 35, 36, 37, 38, 40, 43, 45, 46, 47, 48, 56, 57, 61]),
    // readlinkat newfstatat fstat sync fsync fdatasync sync_file_range readahead munmap execve mmap fadvise64 msync madvise
    (Kind(File), &[78, 79, 80, 81, 82, 83, 84, 213, 215, 221, 222, 223, 227, 233]),
    // syncfs renameat2 statx openat2 faccessat2
    (Kind(File), &[267, 276, 291, 437, 439]),
];

#[cfg(target_arch = "x86_64")]
const HERE: Table = X86_64;
#[cfg(target_arch = "aarch64")]
const HERE: Table = AARCH64;
#[cfg(not(any(target_arch = "x86_64", target_arch = "aarch64")))]
const HERE: Table = &[];

/// What the call with this number waits for, on the architecture this was built for.
#[must_use]
pub fn classify_call(number: u64) -> CallClass {
    classify(HERE, number)
}

fn classify(table: Table, number: u64) -> CallClass {
    table
        .iter()
        .find(|(_, numbers)| numbers.contains(&number))
        .map_or(CallClass::Unnamed, |(class, _)| *class)
}

/// Calls that programs wait in often: the name, and the numbers on x86-64 and on aarch64.
const NAMES: &[(&str, u64, u64)] = &[
    ("read", 0, 63),
    ("write", 1, 64),
    ("readv", 19, 65),
    ("writev", 20, 66),
    ("pread64", 17, 67),
    ("pwrite64", 18, 68),
    ("sendfile", 40, 71),
    ("connect", 42, 203),
    ("accept", 43, 202),
    ("accept4", 288, 242),
    ("sendto", 44, 206),
    ("recvfrom", 45, 207),
    ("sendmsg", 46, 211),
    ("recvmsg", 47, 212),
    ("poll", 7, 73),
    ("select", 23, 72),
    ("epoll_wait", 232, 22),
    ("nanosleep", 35, 101),
    ("clock_nanosleep", 230, 115),
    ("wait4", 61, 260),
    ("waitid", 247, 95),
    ("flock", 73, 32),
    ("fsync", 74, 82),
    ("fdatasync", 75, 83),
    ("openat", 257, 56),
    ("unlinkat", 263, 35),
];

/// The name of a call that programs often wait in, on the architecture this was built for.
pub(crate) fn call_name(number: u64) -> Option<&'static str> {
    let own = |entry: &(&str, u64, u64)| match () {
        () if cfg!(target_arch = "x86_64") => Some(entry.1),
        () if cfg!(target_arch = "aarch64") => Some(entry.2),
        () => None,
    };
    NAMES.iter().find(|entry| own(entry) == Some(number)).map(|entry| entry.0)
}

#[cfg(test)]
mod tests {
    use std::collections::BTreeSet;

    use super::*;

    #[test]
    fn the_same_calls_have_the_same_class_on_both_architectures() {
        // read, recvfrom, futex, clock_nanosleep, ppoll, epoll_pwait, wait4, fsync, openat, fcntl
        for (x86_64, aarch64) in [
            (0, 63),
            (45, 207),
            (202, 98),
            (230, 115),
            (271, 73),
            (281, 22),
            (61, 260),
            (74, 82),
            (257, 56),
            (72, 25),
        ] {
            let class = classify(X86_64, x86_64);
            assert_eq!(class, classify(AARCH64, aarch64), "{x86_64} and {aarch64}");
            assert_ne!(class, CallClass::Unnamed);
        }
    }

    #[test]
    fn no_number_is_listed_twice() {
        for table in [X86_64, AARCH64] {
            let numbers: Vec<u64> = table.iter().flat_map(|(_, numbers)| numbers.iter().copied()).collect();
            let distinct: BTreeSet<u64> = numbers.iter().copied().collect();
            assert_eq!(numbers.len(), distinct.len());
        }
    }

    #[test]
    fn an_unknown_number_is_unnamed() {
        assert_eq!(classify_call(u64::MAX), CallClass::Unnamed);
        assert_eq!(classify(&[], 0), CallClass::Unnamed);
    }
}
