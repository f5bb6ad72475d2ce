//! A task from submission to its end, and what it leaves with its caller.

use std::io;
use std::ops::Range;
use std::sync::{Arc, Mutex, PoisonError};

use whichever_ring::{AllocateError, Arena, Range as ArenaRange};
use whichever_sys::SharedFile;

use crate::wire::{ENTRY, HEADER, INLINE_BYTES, RECORD_BYTES, Span};

/// Memory of the caller that a task sends along, copied when the task is handed to a worker.
pub trait Buffer: Send + Sync {
    /// Its length in bytes.
    fn len(&self) -> usize;
    /// Whether there is nothing in it.
    fn is_empty(&self) -> bool {
        self.len() == 0
    }
    /// Copy it into a range of the arena that is at least as long.
    ///
    /// # Errors
    /// When the system has no memory left for the range.
    fn copy_to(&self, arena: &Arena, range: &ArenaRange) -> io::Result<()>;
}

impl Buffer for Vec<u8> {
    fn len(&self) -> usize {
        self.len()
    }

    fn copy_to(&self, arena: &Arena, range: &ArenaRange) -> io::Result<()> {
        arena.fill(range, 0, self)
    }
}

/// One of a task's buffers.
pub enum Parcel {
    /// Lies in the caller's arena for as long as the holder lives: sent by name alone.
    Shared(Span, Arc<dyn Send + Sync>),
    /// Copied into the arena for each worker that it is sent to.
    Copied(Arc<dyn Buffer>),
}

/// Why a running task is being stopped.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum Why {
    /// It ran longer than its `timeout`.
    TimedOut,
    /// Its future was cancelled.
    Cancelled,
}

/// How a worker process ended.
#[derive(Clone, Debug, Default, PartialEq, Eq)]
pub struct Death {
    /// The worker's process id; 0 when it ended before it could say.
    pub pid: u32,
    /// The signal that killed it.
    pub signal: Option<i32>,
    /// Its exit code, when it left by itself.
    pub exit_code: Option<i32>,
    /// The most memory it ever held resident.
    pub peak_bytes: Option<u64>,
    /// The worker's token.
    pub token: u64,
    /// The error number with which the system refused to start it.
    pub start_error: Option<i32>,
}

/// How a task ended.
pub enum Ended {
    /// Tasks of a batch have ended; what each left lies one after the other (see `wire`).
    Items(Vec<u8>),
    /// It returned a coded scalar.
    Scalar(Vec<u8>),
    /// It returned; a pickle.
    Value(Cargo),
    /// It raised; a dumped exception.
    Raised(Cargo),
    /// Its function or its arguments did not load in the worker; a dumped exception.
    Unloadable(Cargo),
    /// Its result does not fit the memory; a text.
    TooLarge(String),
    /// Its worker died while it ran.
    Died(Death),
    /// It was stopped.
    Stopped(Why),
    /// It could not be handed in; whatever the one who tried made of that.
    Unsent(Box<dyn std::any::Any + Send + Sync>),
    /// It was given up before it started.
    Dropped,
    /// The pool can run nothing any more, or could not start a worker; the reason.
    Broken(Arc<Broken>),
}

/// Why a pool runs nothing.
#[derive(Debug)]
pub struct Broken {
    /// In words.
    pub reason: String,
    /// The dumped exception behind it, if there is one.
    pub error: Option<Vec<u8>>,
}

/// Who waits for a task.
pub trait Ticket: Clone + Send + 'static {
    /// Keep how the task ended, or these of the batch's tasks. True when somebody wants to be told. Called under the
    /// pool's lock: must not wait.
    fn settle(&self, items: Range<u32>, ended: Ended) -> bool;

    /// Whether to drop it may run code of the user's: it holds an outcome that did not come by `settle`. It is dropped
    /// outside the pool's lock then.
    fn drop_runs_code(&self) -> bool {
        false
    }
    /// Whether nobody wants the task to start any more.
    fn is_cancelled(&self) -> bool;
    /// Take note of where the task is: with which worker (its token) and under which position, or with none.
    fn place(&self, at: Option<(u64, u64)>);
}

/// Which part of a batch a task is.
#[derive(Clone)]
pub struct Batch {
    /// Where each item begins in the body, and where the last one ends.
    pub starts: Arc<[u32]>,
    /// The items that are still to be run.
    pub items: Range<u32>,
    /// Whether an item is the one argument of its task.
    pub single: bool,
}

impl Batch {
    /// Bytes of these items' code.
    pub(crate) fn span(&self, items: &Range<u32>) -> Option<std::ops::Range<usize>> {
        let at = |item: u32| self.starts.get(item as usize).map(|start| *start as usize);
        Some(at(items.start)?..at(items.end)?)
    }
}

/// A task on its way, or a batch of them.
pub struct Task<T> {
    /// Who waits for it.
    pub ticket: T,
    /// The number of its function; 0 when the function is in the body.
    pub function: u32,
    /// Whether the body holds coded scalars instead of a pickle.
    pub coded: bool,
    /// Pickled context variables.
    pub context: Arc<[u8]>,
    /// Arguments.
    pub body: Arc<[u8]>,
    /// Out-of-band buffers of the arguments.
    pub parcels: Vec<Parcel>,
    /// Nanoseconds it may run; 0 for no limit.
    pub timeout_ns: u64,
    /// How often it may be run again after its worker died.
    pub retries: u32,
    /// Where the parcels (and a body too long for the ring) lie now; empty until they are loaded.
    pub loaded: Vec<Span>,
    /// Why it is being stopped, if it is.
    pub stopping: Option<Why>,
    /// The items, when it is a batch of tasks. Batches have no parcels, and fit a record with all their items.
    pub batch: Option<Batch>,
}

impl<T> Task<T> {
    /// A task without buffers, limits or retries.
    pub fn new(ticket: T, function: u32, coded: bool, body: Arc<[u8]>) -> Self {
        Self {
            ticket,
            function,
            coded,
            context: Arc::default(), // takes no memory, unlike one made of an empty slice
            body,
            parcels: Vec::new(),
            timeout_ns: 0,
            retries: 0,
            loaded: Vec::new(),
            stopping: None,
            batch: None,
        }
    }

    /// Its items; a task that is no batch is one.
    pub(crate) fn items(&self) -> Range<u32> {
        self.batch.as_ref().map_or(0..1, |batch| batch.items.clone())
    }

    /// How many tasks it is.
    pub(crate) fn count(&self) -> u32 {
        let items = self.items();
        items.end - items.start
    }

    /// Cut the first `count` items off a batch.
    pub(crate) fn split_front(&mut self, count: u32) -> Option<Self>
    where
        T: Clone,
    {
        let batch = self.batch.as_mut()?;
        let middle = batch.items.start + count;
        let front = Batch { items: batch.items.start..middle, ..batch.clone() };
        batch.items.start = middle;
        Some(Self {
            ticket: self.ticket.clone(),
            context: Arc::clone(&self.context),
            body: Arc::clone(&self.body),
            parcels: Vec::new(),
            loaded: Vec::new(),
            batch: Some(front),
            ..*self
        })
    }

    /// The task without the memory that a worker was lent for it: that is the worker's to give back.
    pub(crate) fn left_to_worker(mut self) -> Self {
        self.loaded.clear();
        self
    }

    /// Whether the body goes through the arena.
    pub(crate) fn body_in_arena(&self) -> bool {
        self.batch.is_none() && (self.body.len() > INLINE_BYTES || self.record_bytes(0) > RECORD_BYTES)
    }

    /// Bytes of its record with its body inside and `more` entries in the table than it has parcels.
    fn record_bytes(&self, more: usize) -> usize {
        HEADER + self.context.len() + (self.parcels.len() + more) * ENTRY + self.body.len()
    }

    /// Why it can never be sent, if so: what goes into no arena must fit a record.
    pub(crate) fn misfit(&self) -> Option<String> {
        let bytes =
            if self.body_in_arena() { self.record_bytes(1) - self.body.len() } else { self.record_bytes(0) };
        (bytes > RECORD_BYTES || u16::try_from(self.context.len()).is_err()).then(|| {
            format!(
                "{} buffers and {} bytes of context variables are too much for one task: \
                 send fewer, larger arrays, and keep what is large out of context variables",
                self.parcels.len(),
                self.context.len()
            )
        })
    }

    /// Whether something must be copied into the arena before the task can be handed over.
    pub(crate) fn wants_loading(&self) -> bool {
        self.loaded.is_empty() && (!self.parcels.is_empty() || self.body_in_arena())
    }

    /// Copy parcels and a long body into the arena.
    ///
    /// # Errors
    /// When there is no memory for them; nothing stays allocated then.
    pub fn load(&mut self, arena: &Arena) -> Result<(), String> {
        let mut spans = Vec::with_capacity(self.parcels.len() + 1);
        let result = self.load_into(arena, &mut spans);
        if result.is_err() {
            self.parcels.iter().zip(&spans).filter(|(parcel, _)| parcel.is_lent()).for_each(|(_, span)| {
                arena.free(span.offset);
            });
        } else {
            self.loaded = spans;
        }
        result
    }

    fn load_into(&self, arena: &Arena, spans: &mut Vec<Span>) -> Result<(), String> {
        for parcel in &self.parcels {
            spans.push(match parcel {
                Parcel::Shared(span, _) => *span,
                Parcel::Copied(buffer) => copy(&**buffer, arena)?,
            });
        }
        if self.body_in_arena() {
            spans.push(copy(&self.body.to_vec(), arena)?);
        }
        Ok(())
    }

    /// The offsets of the ranges that its worker gives back: all but the shared ones.
    pub(crate) fn lent(&self) -> impl Iterator<Item = u64> + '_ {
        self.loaded
            .iter()
            .enumerate()
            .filter(|(index, _)| self.parcels.get(*index).is_none_or(Parcel::is_lent))
            .map(|(_, span)| span.offset)
    }
}

impl Parcel {
    fn is_lent(&self) -> bool {
        matches!(self, Self::Copied(_))
    }
}

fn copy(buffer: &dyn Buffer, arena: &Arena) -> Result<Span, String> {
    let range = arena.allocate(buffer.len()).map_err(|error: AllocateError| error.to_string())?;
    let span = Span { offset: range.offset, len: buffer.len() as u64 };
    if let Err(error) = buffer.copy_to(arena, &range) {
        arena.free(range.offset);
        return Err(format!("no shared memory for {} bytes: {error}", buffer.len()));
    }
    Ok(span)
}

/// A worker's arena as its caller sees it. Ranges that the caller has let go of wait here for the next message.
pub struct Storage {
    file: SharedFile,
    freed: Mutex<Vec<u64>>,
}

impl Storage {
    /// Read results from `file`.
    #[must_use]
    pub fn new(file: SharedFile) -> Self {
        Self { file, freed: Mutex::new(Vec::new()) }
    }

    /// The arena's memory.
    #[must_use]
    pub fn file(&self) -> &SharedFile {
        &self.file
    }

    /// The ranges let go of since the last call.
    pub(crate) fn take_freed(&self) -> Vec<u64> {
        std::mem::take(&mut *self.freed.lock().unwrap_or_else(PoisonError::into_inner))
    }
}

/// A range of a worker's arena; dropping it gives it back.
pub struct Loan {
    span: Span,
    storage: Arc<Storage>,
}

impl Loan {
    pub(crate) fn new(span: Span, storage: Arc<Storage>) -> Self {
        Self { span, storage }
    }

    /// Where it lies.
    #[must_use]
    pub fn span(&self) -> Span {
        self.span
    }

    /// The memory it lies in.
    #[must_use]
    pub fn file(&self) -> &SharedFile {
        self.storage.file()
    }
}

impl Drop for Loan {
    fn drop(&mut self) {
        self.storage.freed.lock().unwrap_or_else(PoisonError::into_inner).push(self.span.offset);
    }
}

/// What a reply brought: its body, here or in the worker's arena, and its out-of-band buffers.
pub struct Cargo {
    /// Whether the body holds a coded scalar instead of a pickle.
    pub coded: bool,
    /// The body, when it came in the record.
    pub body: Vec<u8>,
    /// The body, when it did not.
    pub body_loan: Option<Loan>,
    /// The buffers, in order.
    pub buffers: Vec<Loan>,
}

impl Cargo {
    /// Whether everything is in the body.
    pub(crate) fn is_plain(&self) -> bool {
        self.body_loan.is_none() && self.buffers.is_empty()
    }
}

#[cfg(test)]
mod tests {
    use proptest::prelude::*;

    use super::*;

    proptest! {
        #[test]
        fn the_pieces_of_a_batch_are_the_batch(
            lens in prop::collection::vec(0_u32..40, 1..60),
            cuts in prop::collection::vec(1_u32..20, 0..20),
        ) {
            let starts: Vec<u32> = std::iter::once(0)
                .chain(lens.iter().scan(0, |end, len| { *end += len; Some(*end) }))
                .collect();
            let body: Vec<u8> = (0..starts[lens.len()]).map(|byte| byte as u8).collect();
            let items = 0..u32::try_from(lens.len()).unwrap();
            let batch = Batch { starts: Arc::from(starts), items: items.clone(), single: true };
            let mut rest = Task { batch: Some(batch), ..Task::new((), 1, false, Arc::from(body.clone())) };
            let (mut bytes, mut next) = (Vec::new(), 0);
            let mut look = |piece: &Task<()>| {
                let batch = piece.batch.as_ref().unwrap();
                assert_eq!(batch.items.start, next);
                next = batch.items.end;
                bytes.extend_from_slice(&piece.body[batch.span(&batch.items).unwrap()]);
            };
            for cut in cuts {
                if cut < rest.count() {
                    look(&rest.split_front(cut).unwrap());
                }
            }
            look(&rest);
            prop_assert_eq!((bytes, next), (body, items.end));
        }

        #[test]
        fn places_of_items_that_are_none_are_refused(
            starts in prop::collection::vec(any::<u32>(), 0..10),
            items in any::<Range<u32>>(),
        ) {
            let batch = Batch { starts: Arc::from(starts.clone()), items: 0..0, single: true };
            let known = |item: u32| (item as usize) < starts.len();
            prop_assert_eq!(batch.span(&items).is_some(), known(items.start) && known(items.end));
        }
    }
}
