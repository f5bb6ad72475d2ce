//! Parsers of what `/proc` says of a thread: bytes in, a value or nothing out.

/// What `/proc/PID/task/TID/syscall` says.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum CallState {
    /// Runnable: on a core, or queueing for one.
    Running,
    /// Off-CPU outside of any call: a page fault that has to be served.
    Fault,
    /// Off-CPU in a call.
    InCall {
        /// The call's number on this architecture.
        number: u64,
        /// Its six arguments, used or not.
        arguments: [u64; 6],
    },
}

/// What `/proc/PID/task/TID/schedstat` says.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub struct SchedStat {
    /// Nanoseconds on a core, as of the last tick.
    pub cpu_ns: u64,
    /// Nanoseconds runnable without a core.
    pub delay_ns: u64,
    /// How often it got a core.
    pub slices: u64,
}

/// Parse `/proc/PID/task/TID/syscall`.
#[must_use]
pub fn parse_call(bytes: &[u8]) -> Option<CallState> {
    let text = std::str::from_utf8(bytes).ok()?;
    let mut fields = text.split_ascii_whitespace();
    let number = match fields.next()? {
        "running" => return Some(CallState::Running),
        "-1" => return Some(CallState::Fault),
        number => number.parse().ok()?,
    };
    let mut arguments = [0; 6];
    for argument in &mut arguments {
        *argument = u64::from_str_radix(fields.next()?.strip_prefix("0x")?, 16).ok()?;
    }
    Some(CallState::InCall { number, arguments })
}

/// Parse `/proc/PID/task/TID/schedstat`.
#[must_use]
pub fn parse_schedstat(bytes: &[u8]) -> Option<SchedStat> {
    let mut numbers = std::str::from_utf8(bytes).ok()?.split_ascii_whitespace().map(str::parse);
    Some(SchedStat {
        cpu_ns: numbers.next()?.ok()?,
        delay_ns: numbers.next()?.ok()?,
        slices: numbers.next()?.ok()?,
    })
}

/// The state letter in `/proc/PID/task/TID/stat`. The name before it may hold spaces and brackets.
#[must_use]
pub fn parse_stat_state(bytes: &[u8]) -> Option<char> {
    let end_of_name = bytes.iter().rposition(|byte| *byte == b')')?;
    let rest = std::str::from_utf8(bytes.get(end_of_name + 1..)?).ok()?;
    rest.split_ascii_whitespace().next()?.chars().next().filter(char::is_ascii_alphabetic)
}

#[cfg(test)]
mod tests {
    use proptest::prelude::*;

    use super::*;

    #[test]
    fn a_blocked_call_has_a_number_and_six_arguments() {
        let line = b"202 0x7f00 0x80 0x0 0x7ffd 0x1 0xffffffffffffffff 0x7ffd9c 0x7f1f\n";
        let arguments = [0x7f00, 0x80, 0, 0x7ffd, 1, u64::MAX];
        assert_eq!(parse_call(line), Some(CallState::InCall { number: 202, arguments }));
        assert_eq!(parse_call(b"running\n"), Some(CallState::Running));
        assert_eq!(parse_call(b"-1 0x7ffd 0x7f\n"), Some(CallState::Fault));
    }

    #[test]
    fn a_line_that_was_cut_is_nothing() {
        for line in [&b""[..], b"\n", b"202", b"202 0x1 0x2", b"202 1 2 3 4 5 6", b"x 0x1", b"\xff\xfe"] {
            assert_eq!(parse_call(line), None);
        }
        assert_eq!(parse_schedstat(b"1 2"), None);
        assert_eq!(parse_stat_state(b"1 (name"), None);
    }

    #[test]
    fn a_name_with_brackets_does_not_hide_the_state() {
        assert_eq!(parse_stat_state(b"12 (a ) R (b) S 1 2 3"), Some('S'));
    }

    #[test]
    fn the_delay_is_the_second_number() {
        let stat = SchedStat { cpu_ns: 10, delay_ns: 20, slices: 3 };
        assert_eq!(parse_schedstat(b"10 20 3\n"), Some(stat));
    }

    #[test]
    fn the_kept_corpus_gives_values_or_nothing() {
        for line in include_str!("../corpus/proc_lines.txt").lines() {
            let (wanted, line) = line.split_once('|').unwrap();
            let parsed = [
                parse_call(line.as_bytes()).is_some(),
                parse_schedstat(line.as_bytes()).is_some(),
                parse_stat_state(line.as_bytes()).is_some(),
            ];
            let wanted: Vec<bool> = wanted.chars().map(|letter| letter == 'y').collect();
            assert_eq!(parsed.to_vec(), wanted, "{line:?}");
        }
    }

    proptest! {
        #[test]
        fn any_bytes_give_a_value_or_nothing(bytes in prop::collection::vec(any::<u8>(), 0..200)) {
            let _ = (parse_call(&bytes), parse_schedstat(&bytes), parse_stat_state(&bytes));
        }

        #[test]
        fn every_call_line_is_read_back(number in 0_u64..600, arguments in any::<[u64; 6]>()) {
            let words: Vec<String> = arguments.iter().map(|word| format!("{word:#x}")).collect();
            let line = format!("{number} {} 0x7ffd 0x7f1f\n", words.join(" "));
            prop_assert_eq!(parse_call(line.as_bytes()), Some(CallState::InCall { number, arguments }));
        }
    }
}
