//! The load: on each connection one message is on its way, and the next one leaves when its answer is complete.

use std::fmt;
use std::io::{self, ErrorKind};
use std::time::{Duration, Instant};

use rustix::buffer::spare_capacity;
use rustix::event::{Timespec, epoll};

use crate::stream::Stream;

/// What runs before anything is counted.
const WARM_UP: Duration = Duration::from_millis(300);
/// A datagram that is not answered by then is sent again; a stream that is silent for as long is an error.
const DATAGRAM_PATIENCE: Duration = Duration::from_millis(50);
const STREAM_PATIENCE: Duration = Duration::from_secs(5);
/// More than a message of the benches, so that a short read means that all was read.
const BUFFER_BYTES: usize = 1 << 20;
/// Events for one call of the kernel.
const EVENTS: usize = 1024;
/// Latencies are counted by the microsecond, up to this many.
const LATENCIES: usize = 200_000;

/// What goes over each connection.
pub(crate) struct Load {
    /// A message.
    pub(crate) message: Vec<u8>,
    /// Bytes that answer a message, not necessarily in one piece.
    pub(crate) answer_bytes: usize,
}

/// What was counted, written as JSON.
pub(crate) struct Counted {
    /// Messages answered after the warm-up.
    messages: u64,
    /// Messages answered in all: what the server's CPU time is divided by.
    all_messages: u64,
    /// Seconds in which `messages` were counted.
    seconds: f64,
    /// Answers that took so many microseconds.
    latencies: Vec<u32>,
}

impl Counted {
    /// The latency in microseconds that so many per cent of the answers did not exceed.
    fn percentile(&self, percent: u64) -> usize {
        let mut seen = 0;
        let wanted = self.messages * percent;
        self.latencies
            .iter()
            .position(|&count| {
                seen += u64::from(count) * 100;
                seen >= wanted
            })
            .unwrap_or(LATENCIES)
    }
}

impl fmt::Display for Counted {
    fn fmt(&self, formatter: &mut fmt::Formatter<'_>) -> fmt::Result {
        write!(
            formatter,
            r#"{{"messages": {}, "all_messages": {}, "seconds": {:.4}, "median_us": {}, "p99_us": {}}}"#,
            self.messages,
            self.all_messages,
            self.seconds,
            self.percentile(50),
            self.percentile(99)
        )
    }
}

/// One connection's message.
struct Exchange {
    stream: Stream,
    /// Bytes of the message that have left.
    sent: usize,
    /// Bytes of the answer that are here.
    received: usize,
    /// When the message began to leave.
    begun: Instant,
}

impl Exchange {
    fn send(&mut self, message: &[u8]) -> io::Result<()> {
        while self.sent < message.len() {
            match self.stream.send(&message[self.sent..]) {
                Ok(bytes) => self.sent += bytes,
                Err(error) if error.kind() == ErrorKind::WouldBlock => break,
                // A datagram that found nobody; it is sent again.
                Err(error) if error.kind() == ErrorKind::ConnectionRefused => break,
                Err(error) => return Err(error),
            }
        }
        Ok(())
    }

    fn again(&mut self, message: &[u8]) -> io::Result<()> {
        self.sent = 0;
        self.received = 0;
        self.begun = Instant::now();
        self.send(message)
    }
}

/// Load the servers at the other ends of `streams` for `seconds` after the warm-up.
pub(crate) fn drive(streams: Vec<Stream>, load: Load, seconds: f64) -> io::Result<Counted> {
    let poll = epoll::create(epoll::CreateFlags::CLOEXEC)?;
    let interest = epoll::EventFlags::IN | epoll::EventFlags::OUT | epoll::EventFlags::ET;
    for (index, stream) in (0..).zip(&streams) {
        epoll::add(&poll, stream, epoll::EventData::new_u64(index), interest)?;
    }
    let begun = Instant::now();
    let exchanges =
        streams.into_iter().map(|stream| Exchange { stream, sent: 0, received: 0, begun }).collect();
    let mut driver = Driver {
        message: load.message,
        answer_bytes: load.answer_bytes,
        buffer: vec![0; BUFFER_BYTES],
        exchanges,
        counted: Counted { messages: 0, all_messages: 0, seconds: 0.0, latencies: vec![0; LATENCIES] },
    };
    driver.send_all()?;
    driver.until(begun + WARM_UP, &poll)?;
    driver.counted.messages = 0;
    driver.counted.latencies.fill(0);
    let start = Instant::now();
    driver.until(start + Duration::from_secs_f64(seconds), &poll)?;
    driver.counted.seconds = start.elapsed().as_secs_f64();
    Ok(driver.counted)
}

struct Driver {
    message: Vec<u8>,
    answer_bytes: usize,
    buffer: Vec<u8>,
    exchanges: Vec<Exchange>,
    counted: Counted,
}

impl Driver {
    fn send_all(&mut self) -> io::Result<()> {
        for exchange in &mut self.exchanges {
            exchange.again(&self.message)?;
        }
        Ok(())
    }

    fn until(&mut self, end: Instant, poll: &impl std::os::fd::AsFd) -> io::Result<()> {
        let mut events = Vec::with_capacity(EVENTS);
        let datagrams = matches!(self.exchanges.first(), Some(Exchange { stream: Stream::Udp(_), .. }));
        let patience = if datagrams { DATAGRAM_PATIENCE } else { STREAM_PATIENCE };
        let timeout = Timespec::try_from(patience).map_err(io::Error::other)?;
        while Instant::now() < end {
            events.clear();
            epoll::wait(poll, spare_capacity(&mut events), Some(&timeout))?;
            if events.is_empty() {
                if !datagrams {
                    return Err(io::Error::new(ErrorKind::TimedOut, "the server has fallen silent"));
                }
                self.send_all()?;
            }
            for event in &events {
                let index = usize::try_from(event.data.u64()).map_err(io::Error::other)?;
                self.serve(index)?;
            }
        }
        Ok(())
    }

    /// Go on with one connection as far as it goes without waiting.
    fn serve(&mut self, index: usize) -> io::Result<()> {
        let exchange = &mut self.exchanges[index];
        exchange.send(&self.message)?;
        loop {
            let bytes = match exchange.stream.receive(&mut self.buffer) {
                Ok(0) => return Err(ErrorKind::UnexpectedEof.into()),
                Ok(bytes) => bytes,
                Err(error) if error.kind() == ErrorKind::WouldBlock => return Ok(()),
                Err(error) if error.kind() == ErrorKind::ConnectionRefused => return Ok(()),
                Err(error) => return Err(error),
            };
            exchange.received += bytes;
            if exchange.received >= self.answer_bytes {
                let microseconds = exchange.begun.elapsed().as_micros();
                let slot = usize::try_from(microseconds).unwrap_or(LATENCIES).min(LATENCIES - 1);
                self.counted.latencies[slot] += 1;
                self.counted.messages += 1;
                self.counted.all_messages += 1;
                exchange.again(&self.message)?;
            }
            if exchange.stream.is_drained_by_a_short_read() && bytes < BUFFER_BYTES {
                return Ok(());
            }
        }
    }
}
