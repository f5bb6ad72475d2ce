//! The other end of benches: a client that loads a server, the bare server that is the floor, and bare threads that are.
//!
//! ```text
//! whichever-load drive tcp|unix|udp|tls ADDRESS CONNECTIONS MESSAGE_BYTES ANSWER_BYTES SECONDS [AUTHORITY.pem]
//! whichever-load echo tcp|unix|udp ADDRESS
//! whichever-load hold tcp|unix ADDRESS CONNECTIONS
//! whichever-load naps THREADS MILLISECONDS
//! ```
//!
//! `drive` keeps one message in flight on each connection and prints what it counted as one line of JSON; a message is
//! so many bytes, or `@FILE`'s. `echo`
//! says `ready` and answers until it is killed: level-triggered epoll, read once, write at once, nothing else; what
//! an event loop cannot do with fewer system calls. `hold` opens connections, says `ready`, and keeps them idle
//! until its standard input ends. One thread each. `naps` is the floor of a thread pool whose tasks wait: the ideal time
//! over the time it took. Not part of what is installed.

#![forbid(unsafe_code)]

mod drive;
mod floor;
mod naps;
mod stream;
#[cfg(feature = "tls")]
mod tls;

use std::io::{self, Read, Write};
use std::process::ExitCode;
use std::time::Duration;
use std::{env, fs};

use stream::{Kind, Stream};

const USAGE: &str =
    "whichever-load drive KIND ADDRESS CONNECTIONS MESSAGE_BYTES ANSWER_BYTES SECONDS [AUTHORITY]
whichever-load echo KIND ADDRESS
whichever-load hold KIND ADDRESS CONNECTIONS
whichever-load naps THREADS MILLISECONDS";

fn main() -> ExitCode {
    let words: Vec<String> = env::args().skip(1).collect();
    let words: Vec<&str> = words.iter().map(String::as_str).collect();
    match run(&words) {
        Ok(()) => ExitCode::SUCCESS,
        Err(error) => {
            // There is nobody left to tell when standard error is closed, too.
            let _ = writeln!(io::stderr(), "whichever-load: {error}");
            ExitCode::FAILURE
        }
    }
}

fn run(words: &[&str]) -> io::Result<()> {
    match words {
        ["drive", kind, address, connections, message, answer, seconds, authority @ ..] => {
            let streams = open(parsed(kind)?, address, parsed(connections)?, authority.first().copied())?;
            let load = drive::Load { message: contents(message)?, answer_bytes: parsed(answer)? };
            let counted = drive::drive(streams, load, parsed(seconds)?)?;
            writeln!(io::stdout(), "{counted}")
        }
        ["echo", kind, address] => floor::echo(parsed(kind)?, address),
        ["hold", kind, address, connections] => {
            let _held = open(parsed(kind)?, address, parsed(connections)?, None)?;
            writeln!(io::stdout(), "ready")?;
            io::stdin().read_to_end(&mut Vec::new()).map(drop)
        }
        ["naps", threads, milliseconds] => {
            let nap = Duration::from_millis(parsed(milliseconds)?);
            writeln!(io::stdout(), "{:.4}", naps::efficiency(parsed(threads)?, nap)?)
        }
        _ => Err(io::Error::new(io::ErrorKind::InvalidInput, USAGE)),
    }
}

fn open(kind: Kind, address: &str, connections: usize, authority: Option<&str>) -> io::Result<Vec<Stream>> {
    (0..connections).map(|_| Stream::connect(kind, address, authority)).collect()
}

fn contents(message: &str) -> io::Result<Vec<u8>> {
    match message.strip_prefix('@') {
        Some(file) => fs::read(file),
        None => Ok(vec![b'x'; parsed(message)?]),
    }
}

fn parsed<T: std::str::FromStr>(word: &str) -> io::Result<T> {
    word.parse().map_err(|_| io::Error::new(io::ErrorKind::InvalidInput, format!("{word:?}?\n{USAGE}")))
}
