//! What kind of thing a descriptor of this process is, looked up once and kept for a short while.
//!
//! A number may be closed and given out again, so what is kept is forgotten every `FRESH_NS`.

use std::collections::HashMap;

use whichever_model::BlockedKind;

/// How long an answer is believed.
const FRESH_NS: u64 = 50_000_000;

/// Kinds of descriptors of this process.
#[derive(Debug, Default)]
pub(crate) struct Descriptors {
    kinds: HashMap<u64, BlockedKind>,
    forget_at_ns: u64,
}

impl Descriptors {
    /// What waiting on `descriptor` means.
    pub(crate) fn kind(&mut self, descriptor: u64, now_ns: u64) -> BlockedKind {
        if now_ns >= self.forget_at_ns {
            self.kinds.clear();
            self.forget_at_ns = now_ns.saturating_add(FRESH_NS);
        }
        // Calls take a C int: what is above its 32 bits is left over in the register.
        let descriptor = descriptor & u64::from(u32::MAX);
        *self.kinds.entry(descriptor).or_insert_with(|| look_up(descriptor))
    }
}

#[cfg(unix)]
fn look_up(descriptor: u64) -> BlockedKind {
    use std::os::unix::fs::{FileTypeExt, MetadataExt};

    let path = format!("/proc/self/fd/{descriptor}");
    let Ok(metadata) = std::fs::metadata(&path) else { return BlockedKind::Unknown };
    let kind = metadata.file_type();
    if kind.is_socket() {
        BlockedKind::Network
    } else if kind.is_fifo() {
        BlockedKind::Pipe
    } else if kind.is_file() || kind.is_dir() || kind.is_block_device() {
        BlockedKind::File
    } else if kind.is_char_device() {
        character_device(metadata.rdev())
    } else {
        let target = std::fs::read_link(&path).unwrap_or_default();
        anonymous(target.as_os_str().as_encoded_bytes())
    }
}

#[cfg(not(unix))]
fn look_up(_descriptor: u64) -> BlockedKind {
    BlockedKind::Unknown
}

/// Linux's fixed major numbers: 4 and 5 are terminals, 136 to 143 pseudo-terminals, 1 is memory (`/dev/null`).
#[cfg_attr(not(unix), allow(dead_code, reason = "tested everywhere"))]
fn character_device(device: u64) -> BlockedKind {
    match (device >> 8) & 0xfff {
        4 | 5 | 136..=143 => BlockedKind::Terminal,
        1 => BlockedKind::File,
        _ => BlockedKind::Unknown,
    }
}

/// Descriptors without a file: what `readlink` calls them.
#[cfg_attr(not(unix), allow(dead_code, reason = "tested everywhere"))]
fn anonymous(target: &[u8]) -> BlockedKind {
    let is = |name: &[u8]| target.starts_with(b"anon_inode:") && target[11..].starts_with(name);
    if is(b"[eventfd") || is(b"[signalfd") {
        BlockedKind::Pipe
    } else if is(b"[timerfd") {
        BlockedKind::Sleep
    } else if is(b"[pidfd") {
        BlockedKind::Child
    } else if is(b"[eventpoll") || is(b"inotify") || is(b"[io_uring") {
        BlockedKind::Poll
    } else {
        BlockedKind::Unknown
    }
}

#[cfg(test)]
#[cfg(target_os = "linux")]
mod tests {
    use std::os::fd::AsRawFd;

    use super::*;

    fn kind_of(descriptor: &impl AsRawFd) -> BlockedKind {
        Descriptors::default().kind(u64::try_from(descriptor.as_raw_fd()).unwrap(), 1)
    }

    #[test]
    fn descriptors_are_told_apart() {
        let (reader, _writer) = std::io::pipe().unwrap();
        assert_eq!(kind_of(&reader), BlockedKind::Pipe);
        assert_eq!(kind_of(&std::net::TcpListener::bind("127.0.0.1:0").unwrap()), BlockedKind::Network);
        assert_eq!(kind_of(&std::fs::File::open("/proc/self/exe").unwrap()), BlockedKind::File);
        assert_eq!(kind_of(&std::fs::File::open("/dev/null").unwrap()), BlockedKind::File);
        assert_eq!(kind_of(&std::fs::File::open("/dev/ptmx").unwrap()), BlockedKind::Terminal);
        assert_eq!(Descriptors::default().kind(1 << 20, 1), BlockedKind::Unknown);
    }

    #[test]
    fn a_closed_number_is_forgotten_in_time() {
        let mut descriptors = Descriptors::default();
        let (reader, writer) = std::io::pipe().unwrap();
        let number = u64::try_from(reader.as_raw_fd()).unwrap();
        assert_eq!(descriptors.kind(number, 1), BlockedKind::Pipe);
        drop((reader, writer));
        assert_eq!(descriptors.kind(number, 2), BlockedKind::Pipe);
        descriptors.forget_at_ns = 0;
        // Another test of this process may have been given the number meanwhile, but not this pipe.
        descriptors.kind(number, FRESH_NS + 2);
        assert_eq!(descriptors.forget_at_ns, 2 * FRESH_NS + 2);
    }

    #[test]
    fn anonymous_descriptors_have_kinds_by_name() {
        assert_eq!(anonymous(b"anon_inode:[eventfd]"), BlockedKind::Pipe);
        assert_eq!(anonymous(b"anon_inode:[pidfd]"), BlockedKind::Child);
        assert_eq!(anonymous(b"anon_inode:inotify"), BlockedKind::Poll);
        assert_eq!(anonymous(b"anon"), BlockedKind::Unknown);
        assert_eq!(anonymous(b""), BlockedKind::Unknown);
    }
}
