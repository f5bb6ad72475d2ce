//! The records that cross the rings, as bytes: what a request and a reply look like.
//!
//! All numbers are little-endian. Both sides are this program, but a worker may go mad: whatever bytes arrive, parsing
//! gives a record or `None`, never a panic.
//!
//! ```text
//! request   kind u8 | flags u8 | context u16 | function u32 | position u64 | buffers u32 | count u32   then
//! reply     kind u8 | flags u8 | count u16   | buffers u32  | position u64 | number u64                then
//!           context bytes, one (offset u64, length u64) for each buffer, body
//! ```
//!
//! Items of a batch lie in a body one after the other: a coded scalar, or `PICKLE` with a length (u32) and a pickle; among
//! results also `ERROR` with a length and a dumped exception.

/// Bytes of both headers.
pub const HEADER: usize = 24;
/// Bytes of one entry of the buffer table.
pub const ENTRY: usize = 16;
/// Bodies above this length go through an arena; what stays below must fit a ring's longest record with its table.
pub const INLINE_BYTES: usize = 32 * 1024;
/// The longest record there may be: what every ring takes.
pub const RECORD_BYTES: usize = 64 * 1024;
/// The body is not in the record: it is what the table's last entry names.
pub const BODY_IN_ARENA: u8 = 1;
/// In a reply: the worker has grown past its memory limit and asks to be replaced.
pub const RECYCLE: u8 = 2;
/// In a request for a batch: an item is the one argument, not the tuple of all.
pub const SINGLE: u8 = 4;
/// Begins a pickle in a body of items.
pub const PICKLE: u8 = b'P';
/// Begins a dumped exception in a body of results.
pub const ERROR: u8 = b'E';

/// A range of an arena: offset and length in bytes.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub struct Span {
    /// Where it starts in the arena's file.
    pub offset: u64,
    /// Its length in bytes.
    pub len: u64,
}

/// What a record to a worker asks for.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
#[repr(u8)]
pub enum RequestKind {
    /// Load the function in the body and keep it under its number.
    Function = 1,
    /// Drop the function of that number.
    Forget = 2,
    /// Run a task whose arguments are coded scalars.
    Coded = 3,
    /// Run a task whose arguments are pickled; with function 0 the function is in there too.
    Pickled = 4,
    /// The caller has let go of these ranges (offsets, u64 each) of the worker's arena.
    Free = 5,
    /// Leave: nothing more will come.
    Stop = 6,
    /// Run `count` tasks, whose positions follow one another.
    Items = 7,
}

/// What a record from a worker says.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
#[repr(u8)]
pub enum ReplyKind {
    /// The worker waits for tasks; the position is its process id, the number where its tray lies.
    Ready = 1,
    /// The task returned a coded scalar.
    Coded = 2,
    /// The task returned; the body is a pickle.
    Pickled = 3,
    /// The task raised; the body is the dumped exception.
    Raised = 4,
    /// The task's function or arguments did not load; the body is the dumped exception.
    Unloadable = 5,
    /// The tasks from the position to the number were taken back before they started.
    Revoked = 6,
    /// Text for the stream whose number is the position.
    Say = 7,
    /// A log record.
    Log = 8,
    /// The worker has let go of these ranges (offsets, u64 each) of the caller's arena.
    Free = 9,
    /// The initializer raised; the body is the dumped exception.
    Unprepared = 10,
    /// The result did not fit the memory that is left; the body is a text.
    TooLarge = 11,
    /// `count` tasks of a batch have ended, from the position on.
    Items = 12,
}

impl RequestKind {
    fn from_byte(byte: u8) -> Option<Self> {
        use RequestKind::{Coded, Forget, Free, Function, Items, Pickled, Stop};
        [Function, Forget, Coded, Pickled, Free, Stop, Items].into_iter().find(|kind| *kind as u8 == byte)
    }
}

impl ReplyKind {
    fn from_byte(byte: u8) -> Option<Self> {
        use ReplyKind::{
            Coded, Free, Items, Log, Pickled, Raised, Ready, Revoked, Say, TooLarge, Unloadable, Unprepared,
        };
        [Ready, Coded, Pickled, Raised, Unloadable, Revoked, Say, Log, Free, Unprepared, TooLarge, Items]
            .into_iter()
            .find(|kind| *kind as u8 == byte)
    }
}

/// A request's fixed part.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub struct RequestHead {
    /// What is asked for.
    pub kind: RequestKind,
    /// `BODY_IN_ARENA`, `SINGLE`.
    pub flags: u8,
    /// Bytes of pickled context variables in front of the table.
    pub context: u16,
    /// The function's number; 0 for none.
    pub function: u32,
    /// The task's place in the order of this worker's tasks, from 1.
    pub position: u64,
    /// Entries in the table.
    pub buffers: u32,
    /// Tasks in a batch; 0 in other requests.
    pub count: u32,
}

/// A reply's fixed part.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub struct ReplyHead {
    /// What it says.
    pub kind: ReplyKind,
    /// `BODY_IN_ARENA`, `RECYCLE`.
    pub flags: u8,
    /// Entries in the table.
    pub buffers: u32,
    /// Tasks of a batch that ended; 0 in other replies.
    pub count: u16,
    /// The task's position, or what the kind says.
    pub position: u64,
    /// How many nanoseconds the task, or the tasks together, ran; or what the kind says.
    pub number: u64,
}

impl RequestHead {
    /// The head of a request that belongs to no task.
    #[must_use]
    pub fn control(kind: RequestKind, function: u32) -> Self {
        Self { kind, flags: 0, context: 0, function, position: 0, buffers: 0, count: 0 }
    }

    /// As bytes.
    #[must_use]
    pub fn to_bytes(self) -> [u8; HEADER] {
        let mut bytes = [0; HEADER];
        bytes[0] = self.kind as u8;
        bytes[1] = self.flags;
        bytes[2..4].copy_from_slice(&self.context.to_le_bytes());
        bytes[4..8].copy_from_slice(&self.function.to_le_bytes());
        bytes[8..16].copy_from_slice(&self.position.to_le_bytes());
        bytes[16..20].copy_from_slice(&self.buffers.to_le_bytes());
        bytes[20..24].copy_from_slice(&self.count.to_le_bytes());
        bytes
    }
}

impl ReplyHead {
    /// The head of a reply with no table.
    #[must_use]
    pub fn plain(kind: ReplyKind, position: u64, number: u64) -> Self {
        Self { kind, flags: 0, buffers: 0, count: 0, position, number }
    }

    /// As bytes.
    #[must_use]
    pub fn to_bytes(self) -> [u8; HEADER] {
        let mut bytes = [0; HEADER];
        bytes[0] = self.kind as u8;
        bytes[1] = self.flags;
        bytes[2..4].copy_from_slice(&self.count.to_le_bytes());
        bytes[4..8].copy_from_slice(&self.buffers.to_le_bytes());
        bytes[8..16].copy_from_slice(&self.position.to_le_bytes());
        bytes[16..24].copy_from_slice(&self.number.to_le_bytes());
        bytes
    }
}

/// A request, parsed.
#[derive(Clone, Copy, Debug)]
pub struct Request<'a> {
    /// The fixed part.
    pub head: RequestHead,
    /// Pickled context variables; empty for none.
    pub context: &'a [u8],
    /// Ranges in the caller's arena.
    pub table: Table<'a>,
    /// The body, unless it is in the arena.
    pub body: &'a [u8],
}

/// A reply, parsed.
#[derive(Clone, Copy, Debug)]
pub struct Reply<'a> {
    /// The fixed part.
    pub head: ReplyHead,
    /// Ranges in the worker's arena.
    pub table: Table<'a>,
    /// The body, unless it is in the arena.
    pub body: &'a [u8],
}

/// The buffers of a record.
#[derive(Clone, Copy, Debug)]
pub struct Table<'a>(&'a [u8]);

impl Table<'_> {
    /// Every entry in order.
    pub fn spans(&self) -> impl Iterator<Item = Span> + '_ {
        self.0.chunks_exact(ENTRY).map(|entry| Span { offset: number(entry, 0), len: number(entry, 8) })
    }
}

impl<'a> Request<'a> {
    /// Parse a record; `None` when it makes no sense.
    #[must_use]
    pub fn parse(record: &'a [u8]) -> Option<Self> {
        let (bytes, rest) = record.split_at_checked(HEADER)?;
        let head = RequestHead {
            kind: RequestKind::from_byte(bytes[0])?,
            flags: bytes[1],
            context: u16::from_le_bytes([bytes[2], bytes[3]]),
            function: small(bytes, 4),
            position: number(bytes, 8),
            buffers: small(bytes, 16),
            count: small(bytes, 20),
        };
        let (context, rest) = rest.split_at_checked(usize::from(head.context))?;
        let (table, body) = split_table(rest, head.buffers)?;
        Some(Self { head, context, table, body })
    }
}

impl<'a> Reply<'a> {
    /// Parse a record; `None` when it makes no sense.
    #[must_use]
    pub fn parse(record: &'a [u8]) -> Option<Self> {
        let (bytes, rest) = record.split_at_checked(HEADER)?;
        let head = ReplyHead {
            kind: ReplyKind::from_byte(bytes[0])?,
            flags: bytes[1],
            buffers: small(bytes, 4),
            count: u16::from_le_bytes([bytes[2], bytes[3]]),
            position: number(bytes, 8),
            number: number(bytes, 16),
        };
        let (table, body) = split_table(rest, head.buffers)?;
        Some(Self { head, table, body })
    }
}

/// The table of `spans` as bytes.
#[must_use]
pub fn table_bytes(spans: &[Span]) -> Vec<u8> {
    spans.iter().flat_map(|span| [span.offset.to_le_bytes(), span.len.to_le_bytes()]).flatten().collect()
}

/// The numbers in the body of a `Free` record.
pub fn offsets(body: &[u8]) -> impl Iterator<Item = u64> + '_ {
    body.chunks_exact(8).map(|entry| number(entry, 0))
}

fn split_table(rest: &[u8], buffers: u32) -> Option<(Table<'_>, &[u8])> {
    let length = usize::try_from(buffers).ok()?.checked_mul(ENTRY)?;
    let (table, body) = rest.split_at_checked(length)?;
    Some((Table(table), body))
}

/// The u64 at `at`; the caller has checked the length.
fn number(bytes: &[u8], at: usize) -> u64 {
    let mut word = [0; 8];
    word.copy_from_slice(&bytes[at..at + 8]);
    u64::from_le_bytes(word)
}

/// The u32 at `at`; the caller has checked the length.
fn small(bytes: &[u8], at: usize) -> u32 {
    u32::from_le_bytes([bytes[at], bytes[at + 1], bytes[at + 2], bytes[at + 3]])
}

#[cfg(test)]
mod tests {
    use super::*;
    use proptest::prelude::*;

    #[test]
    fn a_request_survives_the_journey() {
        let head = RequestHead {
            kind: RequestKind::Pickled,
            flags: BODY_IN_ARENA,
            context: 3,
            function: 7,
            position: u64::MAX,
            buffers: 2,
            count: 9,
        };
        let spans = [Span { offset: 4096, len: 10 }, Span { offset: 1 << 40, len: 1 }];
        let record = [&head.to_bytes()[..], b"ctx", &table_bytes(&spans), b"body"].concat();
        let request = Request::parse(&record).unwrap();
        assert_eq!(request.head, head);
        assert_eq!((request.context, request.body), (&b"ctx"[..], &b"body"[..]));
        assert_eq!(request.table.spans().collect::<Vec<_>>(), spans);
    }

    #[test]
    fn a_reply_survives_the_journey() {
        let head = ReplyHead { buffers: 1, count: 3, ..ReplyHead::plain(ReplyKind::Raised, 5, 99) };
        let span = Span { offset: 0, len: 3 };
        let record = [&head.to_bytes()[..], &table_bytes(&[span]), b"error"].concat();
        let reply = Reply::parse(&record).unwrap();
        assert_eq!((reply.head, reply.body), (head, &b"error"[..]));
        assert_eq!(reply.table.spans().collect::<Vec<_>>(), [span]);
    }

    proptest! {
        #[test]
        fn any_bytes_give_a_record_or_none(bytes in prop::collection::vec(any::<u8>(), 0..200)) {
            if let Some(request) = Request::parse(&bytes) {
                let parts = HEADER + request.context.len() + request.table.spans().count() * ENTRY;
                prop_assert_eq!(parts + request.body.len(), bytes.len());
            }
            if let Some(reply) = Reply::parse(&bytes) {
                let parts = HEADER + reply.table.spans().count() * ENTRY;
                prop_assert_eq!(parts + reply.body.len(), bytes.len());
            }
        }

        #[test]
        fn a_batch_survives_the_journey_and_one_wrong_byte_does_no_harm(
            (function, position, count) in (any::<u32>(), any::<u64>(), any::<u32>()),
            context in prop::collection::vec(any::<u8>(), 0..50),
            items in prop::collection::vec(any::<u8>(), 0..200),
            (at, flip) in (any::<prop::sample::Index>(), 1_u8..=255),
        ) {
            let head = RequestHead {
                kind: RequestKind::Items,
                flags: SINGLE,
                context: u16::try_from(context.len()).unwrap(),
                function,
                position,
                buffers: 0,
                count,
            };
            let mut record = [&head.to_bytes()[..], &context, &items].concat();
            let request = Request::parse(&record).unwrap();
            prop_assert_eq!((request.head, request.context, request.body), (head, &context[..], &items[..]));
            let at = at.index(record.len());
            record[at] ^= flip;
            if let Some(request) = Request::parse(&record) {
                let parts = HEADER + request.context.len() + request.table.spans().count() * ENTRY;
                prop_assert_eq!(parts + request.body.len(), record.len());
            }
        }
    }
}
