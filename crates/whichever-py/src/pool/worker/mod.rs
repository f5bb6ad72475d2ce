//! `_core.WorkerCore`: the worker's side. Takes requests, runs tasks, sends what they leave.

mod batch;
mod calling;
mod context;

use std::collections::BTreeMap;
use std::os::fd::{FromRawFd, OwnedFd, RawFd};
use std::sync::atomic::{AtomicBool, AtomicU64, Ordering};
use std::sync::{Arc, Mutex, MutexGuard, PoisonError};
use std::time::Duration;

use pyo3::exceptions::{PyMemoryError, PyRuntimeError};
use pyo3::prelude::*;
use pyo3::types::{PyBytes, PyDict, PyList, PyTuple};
use whichever_pool::wire::{
    BODY_IN_ARENA, ENTRY, HEADER, INLINE_BYTES, RECORD_BYTES, RECYCLE, ReplyHead, ReplyKind, Request,
    RequestKind, SINGLE, Span, table_bytes,
};
use whichever_ring::{
    Arena, Begin, Consumer, Desk, Page, Producer, PushError, Spin, Tray, open_link, open_page,
};
use whichever_sys::{SharedFile, monotonic_ns, resident_bytes};

use self::batch::{BatchJob, Pace};
use self::calling::Caller;
use self::context::Contexts;
use super::codec::{Decoder, encode};
use super::memory::{Exported, Slab, read_bytes};
use super::process::forks;
use crate::lasting::name;

/// Results wait no longer than this for the caller to be woken, while more tasks are at hand.
const WAKE_NS: u64 = 500_000;
/// Results of a batch that wait together to be sent.
const TRAY_BYTES: usize = INLINE_BYTES;
/// How often a worker with a memory limit looks at its size.
const MEASURE_NS: u64 = 20_000_000;
/// A worker that finds its result ring full looks again at least this often.
const FULL_TICK: Duration = Duration::from_millis(50);

/// The worker's side of a link. Private: worker processes use it.
#[pyclass(frozen, module = "whichever._core")]
pub(crate) struct WorkerCore {
    desk: Desk,
    page: Page,
    /// The caller's arena.
    arguments: SharedFile,
    /// Our arena.
    results: Arena,
    requests: Mutex<Consumer>,
    replies: Mutex<Producer>,
    /// Ranges of the caller's arena that nobody here uses any more.
    freed: Arc<Mutex<Vec<u64>>>,
    woken_ns: AtomicU64,
    /// Results of a batch that have not been sent.
    tray: Mutex<Tray>,
    /// A task was asked to end, and its signal has been handled.
    interrupted: AtomicBool,
}

/// A request that outlives its place in the ring.
enum Order<'py> {
    Function { number: u32, blob: PyResult<Bound<'py, PyBytes>> },
    Forget { number: u32 },
    Run(Job<'py>),
    Batch(BatchJob),
    Free(Vec<u64>),
    Stop,
}

struct Job<'py> {
    number: u32,
    position: u64,
    context: Vec<u8>,
    args: PyResult<Arguments<'py>>,
}

enum Arguments<'py> {
    Plain(Bound<'py, PyTuple>),
    Pickled(Bound<'py, PyBytes>, Bound<'py, PyList>),
}

/// A function that was sent: loaded, or why not.
enum Loaded {
    Function(Py<PyAny>),
    Failed(PyErr),
}

/// A worker's life between two tasks.
struct Life<'py> {
    hooks: Bound<'py, PyAny>,
    functions: BTreeMap<u32, Loaded>,
    most_bytes: Option<u64>,
    measured_ns: u64,
    forks: u32,
    pace: Pace,
    contexts: Contexts,
    caller: Caller,
}

#[pymethods]
impl WorkerCore {
    /// Take over the descriptors of the link, the pool's page, the caller's arena and our own.
    #[new]
    fn new(link: RawFd, page: RawFd, arguments: RawFd, results: RawFd) -> PyResult<Self> {
        let [link, page, arguments, results] = [link, page, arguments, results].map(take_over);
        let own = Arena::in_file(results?)?;
        let end = open_link(link?).map_err(|error| PyRuntimeError::new_err(error.to_string()))?;
        Ok(Self {
            desk: end.desk,
            page: open_page(page?)?,
            arguments: arguments?,
            tray: Mutex::new(Tray::create(&own, TRAY_BYTES)?),
            interrupted: AtomicBool::new(false),
            results: own,
            requests: Mutex::new(end.requests),
            replies: Mutex::new(end.results),
            freed: Arc::default(),
            woken_ns: AtomicU64::new(0),
        })
    }

    /// Run tasks until told to leave. `hooks` loads and dumps; above `most_bytes` resident, ask to be replaced.
    #[pyo3(signature = (hooks, most_bytes = None))]
    fn serve(&self, py: Python<'_>, hooks: Bound<'_, PyAny>, most_bytes: Option<u64>) -> PyResult<()> {
        self.desk.set_pid(std::process::id());
        let tray = self.lock_tray().offset();
        let ready = ReplyHead::plain(ReplyKind::Ready, u64::from(std::process::id()), tray);
        self.push(py, &[&ready.to_bytes()]);
        let mut life = Life {
            hooks,
            functions: BTreeMap::new(),
            most_bytes,
            measured_ns: 0,
            forks: forks(),
            pace: Pace::default(),
            contexts: Contexts::new(py)?,
            caller: Caller::find(),
        };
        let mut spin = Spin::new();
        loop {
            let Some(order) = self.next_order(py) else {
                self.page.bell().ring();
                py.detach(|| {
                    let requests = self.lock_requests();
                    self.desk.bell().wait(|| !requests.is_empty(), None, &mut spin)
                });
                py.check_signals()?;
                continue;
            };
            match order {
                Order::Stop => return Ok(()),
                Order::Forget { number } => drop(life.functions.remove(&number)),
                Order::Free(offsets) => offsets.into_iter().for_each(|offset| self.results.free(offset)),
                Order::Function { number, blob } => {
                    let function =
                        blob.and_then(|blob| life.hooks.call_method1(name!(py, "load_function"), (blob,)));
                    life.functions.insert(
                        number,
                        match function {
                            Ok(function) => Loaded::Function(function.unbind()),
                            Err(error) => Loaded::Failed(error),
                        },
                    );
                }
                Order::Run(job) => self.work(py, &mut life, job),
                Order::Batch(job) => self.work_batch(py, &mut life, &job),
            }
        }
    }

    /// Whether the running task is to be interrupted; true once.
    fn take_interrupt(&self) -> bool {
        let asked = self.desk.take_interrupt();
        self.interrupted.fetch_or(asked, Ordering::Relaxed);
        asked
    }

    /// Send text for one of the caller's streams, 1 or 2.
    fn say(&self, py: Python<'_>, stream: u64, text: &str) {
        for piece in pieces(text, INLINE_BYTES) {
            let head = ReplyHead::plain(ReplyKind::Say, stream, 0).to_bytes();
            self.push(py, &[&head, piece.as_bytes()]);
        }
        self.page.bell().ring();
    }

    /// Send a log record. One that shared memory has no room for is refused.
    fn log(&self, py: Python<'_>, record: &[u8]) -> PyResult<()> {
        self.send_parts(py, ReplyHead::plain(ReplyKind::Log, 0, 0), &[], record)?;
        self.page.bell().ring();
        Ok(())
    }

    /// Say that the initializer raised.
    fn report_failure(&self, py: Python<'_>, error: &[u8]) {
        let error = &error[..error.len().min(INLINE_BYTES)];
        self.push(py, &[&ReplyHead::plain(ReplyKind::Unprepared, 0, 0).to_bytes(), error]);
        self.page.bell().ring();
    }
}

impl WorkerCore {
    fn lock_tray(&self) -> MutexGuard<'_, Tray> {
        self.tray.lock().unwrap_or_else(PoisonError::into_inner)
    }

    fn lock_requests(&self) -> MutexGuard<'_, Consumer> {
        self.requests.lock().unwrap_or_else(PoisonError::into_inner)
    }

    /// The next request, out of the ring.
    fn next_order<'py>(&self, py: Python<'py>) -> Option<Order<'py>> {
        let mut requests = self.lock_requests();
        loop {
            if let Some(order) = requests.pop(|record| self.understand(py, record))? {
                return Some(order);
            }
        }
    }

    fn understand<'py>(&self, py: Python<'py>, record: &[u8]) -> Option<Order<'py>> {
        let request = Request::parse(record)?;
        let number = request.head.function;
        Some(match request.head.kind {
            RequestKind::Function => Order::Function { number, blob: self.body(py, &request) },
            RequestKind::Forget => Order::Forget { number },
            RequestKind::Free => Order::Free(whichever_pool::wire::offsets(request.body).collect()),
            RequestKind::Stop => Order::Stop,
            RequestKind::Items => Order::Batch(BatchJob {
                number,
                first: request.head.position,
                count: request.head.count,
                single: request.head.flags & SINGLE != 0,
                context: request.context.to_vec(),
                items: request.body.to_vec(),
            }),
            RequestKind::Coded | RequestKind::Pickled => Order::Run(Job {
                number,
                position: request.head.position,
                context: request.context.to_vec(),
                args: self.arguments(py, &request),
            }),
        })
    }

    /// A body, wherever it lies. What lay in the arena is copied and given back, unless it is a function's.
    fn body<'py>(&self, py: Python<'py>, request: &Request<'_>) -> PyResult<Bound<'py, PyBytes>> {
        if request.head.flags & BODY_IN_ARENA == 0 {
            return Ok(PyBytes::new(py, request.body));
        }
        let span = request
            .table
            .spans()
            .last()
            .ok_or_else(|| PyRuntimeError::new_err("a message lacks its body"))?;
        let blob = read_bytes(py, &self.arguments, span.offset, span.len);
        if request.head.kind != RequestKind::Function {
            self.give_back(span.offset);
        }
        blob
    }

    fn give_back(&self, offset: u64) {
        self.freed.lock().unwrap_or_else(PoisonError::into_inner).push(offset);
    }

    fn arguments<'py>(&self, py: Python<'py>, request: &Request<'_>) -> PyResult<Arguments<'py>> {
        let in_arena = usize::from(request.head.flags & BODY_IN_ARENA != 0);
        let count = (request.head.buffers as usize).saturating_sub(in_arena);
        let mut spans = request.table.spans().take(count);
        if request.head.kind == RequestKind::Coded {
            let mut large = || {
                let span = spans.next().ok_or_else(|| PyRuntimeError::new_err("a message lacks a buffer"))?;
                let bytes = read_bytes(py, &self.arguments, span.offset, span.len);
                self.give_back(span.offset);
                bytes
            };
            let args = if in_arena == 0 {
                Decoder::new(request.body).next(py, &mut large)?
            } else {
                Decoder::new(self.body(py, request)?.as_bytes()).next(py, &mut large)?
            };
            return Ok(Arguments::Plain(args.cast_into()?));
        }
        let buffers = PyList::empty(py);
        for span in spans {
            let slab = Slab::of_argument(&self.arguments, span.offset, span.len, Arc::clone(&self.freed))?;
            buffers.append(Bound::new(py, slab)?)?;
        }
        Ok(Arguments::Pickled(self.body(py, request)?, buffers))
    }

    /// Run one task and send what it leaves.
    fn work(&self, py: Python<'_>, life: &mut Life<'_>, job: Job<'_>) {
        let begun_ns = monotonic_ns();
        let position = job.position;
        if self.desk.begin(position, begun_ns) == Begin::Revoked {
            self.push(py, &[&ReplyHead::plain(ReplyKind::Revoked, position, position).to_bytes()]);
            return;
        }
        let loaded = self.prepare(py, life, job);
        let (result, kind) = match loaded {
            Ok(call) => (call.run(py, life), ReplyKind::Raised),
            Err(error) => (Err(error), ReplyKind::Unloadable),
        };
        life.leave_if_forked(py, result.as_ref().err());
        life.flush(py); // what a task printed comes before its result
        let ended_ns = monotonic_ns();
        let head = ReplyHead {
            flags: life.flags(ended_ns),
            ..ReplyHead::plain(kind, position, ended_ns - begun_ns)
        };
        let sent = match result {
            Ok(value) => self.send_value(py, life, head, &value),
            Err(error) => Err(error),
        };
        if let Err(error) = sent {
            let kind = if kind == ReplyKind::Unloadable { kind } else { ReplyKind::Raised };
            self.send_error(py, life, ReplyHead { kind, ..head }, error);
        }
        self.desk.end();
        if ended_ns.saturating_sub(self.woken_ns.load(Ordering::Relaxed)) > WAKE_NS {
            self.woken_ns.store(ended_ns, Ordering::Relaxed);
            self.page.bell().ring();
        }
    }

    fn prepare<'py>(&self, py: Python<'py>, life: &Life<'py>, job: Job<'py>) -> PyResult<Call<'py>> {
        let function = match life.functions.get(&job.number) {
            Some(Loaded::Function(function)) => Some(function.bind(py).clone()),
            Some(Loaded::Failed(error)) => return Err(error.clone_ref(py)),
            None if job.number == 0 => None,
            None => return Err(PyRuntimeError::new_err("a task's function has not arrived")),
        };
        match job.args? {
            Arguments::Plain(args) => {
                let function = function.ok_or_else(|| PyRuntimeError::new_err("a task has no function"))?;
                Ok(Call { function, args, kwargs: None, context: job.context })
            }
            Arguments::Pickled(blob, buffers) => {
                function_of(py, life, function, (&blob, &buffers), &job.context)
            }
        }
    }

    fn send_value(
        &self,
        py: Python<'_>,
        life: &Life<'_>,
        head: ReplyHead,
        value: &Bound<'_, PyAny>,
    ) -> PyResult<()> {
        let (mut code, mut large) = (Vec::with_capacity(32), Vec::new());
        if encode(value, &mut code, &mut large) {
            let buffers: Vec<Exported> = large.iter().map(Exported::bytes).collect();
            return self.send_parts(py, ReplyHead { kind: ReplyKind::Coded, ..head }, &buffers, &code);
        }
        let dumped = life.hooks.call_method1(name!(py, "dump_result"), (value,))?;
        let (blob, buffers): (Bound<'_, PyBytes>, Vec<Bound<'_, PyAny>>) = dumped.extract()?;
        let buffers = buffers.iter().map(Exported::view).collect::<PyResult<Vec<_>>>()?;
        self.send_parts(py, ReplyHead { kind: ReplyKind::Pickled, ..head }, &buffers, blob.as_bytes())
    }

    fn send_error(&self, py: Python<'_>, life: &Life<'_>, head: ReplyHead, error: PyErr) {
        let sent = life
            .hooks
            .call_method1(name!(py, "dump_error"), (error.into_value(py),))
            .and_then(|blob| Ok(blob.cast_into::<PyBytes>()?))
            .and_then(|blob| self.send_parts(py, head, &[], blob.as_bytes()));
        if let Err(failure) = sent {
            let text = failure.to_string();
            let text = &text.as_bytes()[..text.len().min(INLINE_BYTES)];
            let head = ReplyHead { kind: ReplyKind::TooLarge, buffers: 0, flags: 0, ..head };
            self.push(py, &[&head.to_bytes(), text]);
        }
    }

    /// Send a reply; what is too long for the ring goes through our arena.
    fn send_parts(
        &self,
        py: Python<'_>,
        mut head: ReplyHead,
        buffers: &[Exported],
        body: &[u8],
    ) -> PyResult<()> {
        if HEADER + (buffers.len() + 1) * ENTRY + INLINE_BYTES > RECORD_BYTES {
            let reason =
                format!("a result of {} buffers is too long for a message: join them", buffers.len());
            return Err(PyMemoryError::new_err(reason));
        }
        let mut spans = Vec::new();
        let placed = py.detach(|| {
            for buffer in buffers {
                spans.push(self.place(buffer.slice())?);
            }
            if body.len() > INLINE_BYTES {
                spans.push(self.place(body)?);
            }
            Ok(())
        });
        if let Err(reason) = placed {
            spans.iter().for_each(|span| self.results.free(span.offset));
            return Err(PyMemoryError::new_err::<String>(reason));
        }
        let body = if body.len() > INLINE_BYTES {
            head.flags |= BODY_IN_ARENA;
            &[]
        } else {
            body
        };
        if spans.is_empty() {
            self.push(py, &[&head.to_bytes(), body]);
        } else {
            head.buffers = u32::try_from(spans.len()).unwrap_or(u32::MAX);
            self.push(py, &[&head.to_bytes(), &table_bytes(&spans), body]);
        }
        Ok(())
    }

    fn place(&self, bytes: &[u8]) -> Result<Span, String> {
        let describe = |error: &dyn std::fmt::Display| format!("no shared memory for a result: {error}");
        let range = self.results.allocate(bytes.len()).map_err(|error| describe(&error))?;
        if let Err(error) = self.results.fill(&range, 0, bytes) {
            self.results.free(range.offset);
            return Err(describe(&error));
        }
        Ok(Span { offset: range.offset, len: bytes.len() as u64 })
    }

    /// Push a record, after one that gives back what is no longer used. Waits while the ring is full.
    fn push(&self, py: Python<'_>, parts: &[&[u8]]) {
        let freed = std::mem::take(&mut *self.freed.lock().unwrap_or_else(PoisonError::into_inner));
        if !freed.is_empty() {
            let body: Vec<u8> = freed.iter().flat_map(|offset| offset.to_le_bytes()).collect();
            for chunk in body.chunks(INLINE_BYTES) {
                self.push_one(py, &[&ReplyHead::plain(ReplyKind::Free, 0, 0).to_bytes(), chunk]);
            }
        }
        self.push_one(py, parts);
    }

    fn push_one(&self, py: Python<'_>, parts: &[&[u8]]) {
        let try_push = || {
            let mut replies = self.replies.lock().unwrap_or_else(PoisonError::into_inner);
            // A record that can never fit is dropped: all of ours are cut to fit.
            !matches!(replies.try_push(parts), Err(PushError::Full))
        };
        if try_push() {
            return;
        }
        let mut spin = Spin::never();
        py.detach(|| {
            while !try_push() {
                self.page.bell().ring();
                let has_room = || {
                    let replies = self.replies.lock().unwrap_or_else(PoisonError::into_inner);
                    replies.free_bytes() > 2 * INLINE_BYTES
                };
                self.desk.bell().wait(has_room, Some(FULL_TICK), &mut spin);
            }
        });
    }
}

/// A task about to run.
struct Call<'py> {
    function: Bound<'py, PyAny>,
    args: Bound<'py, PyTuple>,
    kwargs: Option<Bound<'py, PyDict>>,
    context: Vec<u8>,
}

impl<'py> Call<'py> {
    fn run(self, py: Python<'py>, life: &Life<'py>) -> PyResult<Bound<'py, PyAny>> {
        if self.context.is_empty() {
            return life.contexts.within(py, || self.function.call(self.args, self.kwargs.as_ref()));
        }
        let context = PyBytes::new(py, &self.context);
        life.hooks.call_method1(name!(py, "run"), (context, self.function, self.args, self.kwargs))
    }
}

impl Life<'_> {
    /// End the copy of this process that a task made by forking: it must not answer in our name.
    fn leave_if_forked(&self, py: Python<'_>, raised: Option<&PyErr>) {
        let raised = raised.map(|error| error.value(py));
        if self.forks != forks()
            && let Err(error) = self.hooks.call_method1(name!(py, "leave_copy"), (raised,))
        {
            error.write_unraisable(py, None);
        }
    }

    fn flags(&mut self, now_ns: u64) -> u8 {
        let Some(most) = self.most_bytes else { return 0 };
        if now_ns.saturating_sub(self.measured_ns) < MEASURE_NS {
            return 0;
        }
        self.measured_ns = now_ns;
        if resident_bytes().is_some_and(|bytes| bytes > most) { RECYCLE } else { 0 }
    }

    fn flush(&self, py: Python<'_>) {
        let hooks = &self.hooks;
        let dirty = hooks.getattr(name!(py, "dirty")).and_then(|dirty| dirty.is_truthy());
        if matches!(dirty, Ok(true))
            && let Err(error) = hooks.call_method0(name!(py, "flush"))
        {
            error.write_unraisable(py, None);
        }
    }
}

/// A call out of its pickle; `function` is the one that the worker had already.
fn function_of<'py>(
    py: Python<'py>,
    life: &Life<'py>,
    function: Option<Bound<'py, PyAny>>,
    pickled: (&Bound<'py, PyBytes>, &Bound<'py, PyList>),
    context: &[u8],
) -> PyResult<Call<'py>> {
    let loaded = life.hooks.call_method1(name!(py, "load_call"), pickled)?;
    let (carried, args, kwargs): (
        Option<Bound<'py, PyAny>>,
        Bound<'py, PyTuple>,
        Option<Bound<'py, PyDict>>,
    ) = loaded.extract()?;
    let function = function.or(carried).ok_or_else(|| PyRuntimeError::new_err("a task has no function"))?;
    Ok(Call { function, args, kwargs, context: context.to_vec() })
}

/// `text` in pieces of at most `most` bytes.
fn pieces(text: &str, most: usize) -> impl Iterator<Item = &str> {
    let mut rest = text;
    std::iter::from_fn(move || {
        let most = most.min(rest.len());
        let cut = (0..=most).rev().find(|cut| rest.is_char_boundary(*cut)).unwrap_or(most);
        let (piece, left) = rest.split_at(cut);
        rest = left;
        (!piece.is_empty()).then_some(piece)
    })
}

/// Own a descriptor that was handed over.
fn take_over(fd: RawFd) -> PyResult<SharedFile> {
    if fd < 0 {
        return Err(PyRuntimeError::new_err("a descriptor is missing"));
    }
    // SAFETY: the caller gives it up, as `new` says; nobody else closes it.
    Ok(SharedFile::from_fd(unsafe { OwnedFd::from_raw_fd(fd) }))
}
