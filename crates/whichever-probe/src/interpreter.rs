//! One interpreter: its GIL words and its thread states, found and checked before anything is believed.

use std::fmt;
use std::io;

use whichever_sys::{PER_WAITER, StaticWords, find_symbol, waiters_in_condition};

use crate::memory::{Memory, ProcessMemory};
use crate::offsets::{GilPlace, Layout};

/// A list longer than this is a sign of reading while it changes.
const MOST_THREADS: usize = 4096;
/// Words of the condition that threads wait on for the GIL.
const CONDITION_WORDS: u64 = 6;

/// Why an interpreter is not read.
#[derive(Clone, Debug, PartialEq, Eq)]
pub enum ProbeError {
    /// This process exports no `_PyRuntime` or `Py_Version`, or this platform has no way to ask.
    NotFound,
    /// Not a version whose layout is known; the sentence says more.
    UnknownLayout(String),
    /// Memory could not be read; the sentence says why.
    Unreadable(String),
    /// The bytes contradict the layout; the sentence says where.
    DoesNotFit(&'static str),
}

impl fmt::Display for ProbeError {
    fn fmt(&self, formatter: &mut fmt::Formatter<'_>) -> fmt::Result {
        match self {
            Self::NotFound => write!(formatter, "no CPython 3.11 or later to be found in this process"),
            Self::UnknownLayout(why) => write!(formatter, "{why}"),
            Self::Unreadable(why) => write!(formatter, "the interpreter's memory cannot be read: {why}"),
            Self::DoesNotFit(what) => {
                write!(formatter, "the interpreter's memory is not laid out as expected: {what}")
            }
        }
    }
}

impl std::error::Error for ProbeError {}

impl From<io::Error> for ProbeError {
    fn from(error: io::Error) -> Self {
        Self::Unreadable(error.to_string())
    }
}

/// The GIL at one instant.
#[derive(Clone, Copy, Debug, Default, PartialEq, Eq)]
pub struct GilWords {
    /// Whether the interpreter uses a GIL now (a free-threaded build may, too).
    pub active: bool,
    /// 1 while held.
    pub locked: i32,
    /// Thread state of the last holder.
    pub holder: u64,
    /// How often the holder has changed. A thread that takes the GIL again itself does not change it.
    pub switches: u64,
}

impl GilWords {
    /// Whether the thread with this thread state holds the GIL.
    #[must_use]
    pub fn held_by(&self, thread_state: u64) -> bool {
        self.active && self.locked == 1 && self.holder == thread_state
    }
}

/// A thread that Python knows.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub struct PythonThread {
    /// Address of its thread state.
    pub state: u64,
    /// Its kernel thread id.
    pub native_id: u32,
}

/// The main interpreter of this process.
#[derive(Clone, Debug)]
pub struct Interpreter<M = ProcessMemory> {
    memory: M,
    layout: Layout,
    /// Address of the main interpreter's state.
    address: u64,
    /// Address of the GIL struct.
    gil: u64,
    /// The GIL's first words without a system call, where they are static memory of this process.
    words: Option<StaticWords>,
    /// From the GIL struct to the count of threads that wait for it, where that is known.
    waiters: Option<u64>,
}

impl Interpreter<ProcessMemory> {
    /// Find this process's main interpreter. `caller` is the thread that calls this, attached.
    ///
    /// # Errors
    /// Nothing is believed that was not checked: see `ProbeError`.
    pub fn of_this_process(caller: PythonThread) -> Result<Self, ProbeError> {
        let runtime = find_symbol(c"_PyRuntime").ok_or(ProbeError::NotFound)?;
        let version = find_symbol(c"Py_Version").ok_or(ProbeError::NotFound)?;
        let memory = ProcessMemory::of_this_process();
        let [_, _, minor, major] = {
            let mut bytes = [0; 4];
            memory.read(version, &mut bytes)?;
            bytes
        };
        if major != 3 {
            return Err(ProbeError::UnknownLayout(format!("Python {major} is not known to this version")));
        }
        let layout = Layout::find(minor, &memory, runtime).map_err(ProbeError::UnknownLayout)?;
        let mut found = Self::at(memory, layout, runtime)?;
        let words = usize::try_from(layout.condition() / 8 + CONDITION_WORDS).unwrap_or(0);
        found.words = StaticWords::find(c"_PyRuntime", found.gil, words);
        found.check(caller)?;
        if found.is_fast() {
            found.waiters = waiters_in_condition().map(|offset| layout.condition() + offset as u64);
        }
        Ok(found)
    }
}

impl<M: Memory> Interpreter<M> {
    /// The interpreter that `_PyRuntime` at `runtime` leads to, not checked yet.
    ///
    /// # Errors
    /// A pointer on the way is null or not readable.
    pub fn at(memory: M, layout: Layout, runtime: u64) -> Result<Self, ProbeError> {
        let follow = |address: u64, what| match memory.word(address)? {
            0 => Err(ProbeError::DoesNotFit(what)),
            pointer => Ok(pointer),
        };
        let address = follow(sum(runtime, layout.main_interpreter)?, "there is no main interpreter")?;
        let gil = match layout.gil {
            GilPlace::InRuntime(offset) => sum(runtime, offset)?,
            GilPlace::BehindInterpreter(offset) => {
                follow(sum(address, offset)?, "the interpreter has no GIL")?
            }
        };
        if ![gil, layout.holder, layout.locked].iter().all(|place| place.is_multiple_of(8)) {
            return Err(ProbeError::DoesNotFit("the GIL is not aligned"));
        }
        Ok(Self { memory, layout, address, gil, words: None, waiters: None })
    }

    /// Check against what `caller`, the attached calling thread, knows of itself.
    ///
    /// # Errors
    /// `DoesNotFit` with the first contradiction.
    pub fn check(&self, caller: PythonThread) -> Result<(), ProbeError> {
        let words = self.gil()?;
        if !matches!(words.locked, -1..=1) {
            return Err(ProbeError::DoesNotFit("the GIL is neither held nor free"));
        }
        if !self.threads()?.contains(&caller) {
            return Err(ProbeError::DoesNotFit("the calling thread is not in the thread list"));
        }
        if words.active && !words.held_by(caller.state) {
            return Err(ProbeError::DoesNotFit("the calling thread does not hold the GIL"));
        }
        Ok(())
    }

    /// The GIL words now.
    ///
    /// # Errors
    /// The memory could not be read.
    pub fn gil(&self) -> Result<GilWords, ProbeError> {
        let enabled = match self.layout.enabled {
            Some(offset) => self.gil_word(offset & !7)? >> ((offset % 8) * 8),
            None => 1,
        };
        Ok(GilWords {
            active: low_int(enabled) != 0,
            holder: self.gil_word(self.layout.holder)?,
            locked: low_int(self.gil_word(self.layout.locked)?),
            switches: self.gil_word(self.layout.switches())?,
        })
    }

    /// How many threads wait for the GIL now, where that can be seen at the speed of memory.
    #[must_use]
    pub fn gil_waiters(&self) -> Option<u32> {
        let offset = self.waiters?;
        let word = self.gil_word(offset & !7).ok()? >> ((offset % 8) * 8);
        Some(low_int(word).cast_unsigned() / PER_WAITER)
    }

    /// Whether the thread with this thread state holds the GIL: fewer words than `gil`, for bursts.
    pub(crate) fn is_held_by(&self, thread_state: u64) -> bool {
        self.gil_word(self.layout.locked).is_ok_and(|word| low_int(word) == 1)
            && self.gil_word(self.layout.holder).is_ok_and(|holder| holder == thread_state)
    }

    /// Whether the GIL can be read at the speed of memory, for bursts.
    #[must_use]
    pub fn is_fast(&self) -> bool {
        self.words.is_some()
    }

    /// Whether a futex at `address` belongs to the GIL.
    #[must_use]
    pub fn is_gil_futex(&self, address: u64) -> bool {
        address.checked_sub(self.gil).is_some_and(|offset| offset < self.layout.gil_bytes())
    }

    /// Bytes of the same process.
    #[must_use]
    pub fn memory(&self) -> &M {
        &self.memory
    }

    /// The interpreter's threads, newest first. The list may change while it is read: what is returned was
    /// there, but it may not be all.
    ///
    /// # Errors
    /// The list's head could not be read.
    pub fn threads(&self) -> Result<Vec<PythonThread>, ProbeError> {
        let mut threads = Vec::new();
        let mut state = self.memory.word(sum(self.address, self.layout.threads_head)?)?;
        while state != 0 && threads.len() < MOST_THREADS {
            let native_id =
                sum(state, self.layout.thread_native_id).and_then(|at| Ok(self.memory.word(at)?));
            let next = sum(state, self.layout.thread_next).and_then(|at| Ok(self.memory.word(at)?));
            let (Ok(native_id), Ok(next)) = (native_id, next) else { break };
            if let Ok(native_id) = u32::try_from(native_id) {
                threads.push(PythonThread { state, native_id });
            }
            state = next;
        }
        Ok(threads)
    }

    fn gil_word(&self, offset: u64) -> Result<u64, ProbeError> {
        match (&self.words, usize::try_from(offset / 8)) {
            (Some(words), Ok(index)) => Ok(words.load(index)),
            _ => Ok(self.memory.word(sum(self.gil, offset)?)?),
        }
    }
}

fn sum(address: u64, offset: u64) -> Result<u64, ProbeError> {
    address.checked_add(offset).ok_or(ProbeError::DoesNotFit("an address is out of range"))
}

/// A C int in the low half of a word.
#[expect(clippy::cast_possible_truncation, reason = "the high half belongs to the next field")]
fn low_int(word: u64) -> i32 {
    word as u32 as i32
}

#[cfg(test)]
mod tests {
    use std::cell::RefCell;

    use proptest::prelude::*;

    use super::*;

    /// A recorded process: bytes from address 0 on.
    struct Recorded(RefCell<Vec<u8>>);

    impl Recorded {
        fn set(&self, address: usize, word: u64) {
            self.0.borrow_mut()[address..address + 8].copy_from_slice(&word.to_le_bytes());
        }
    }

    impl Memory for Recorded {
        fn read(&self, address: u64, buffer: &mut [u8]) -> io::Result<()> {
            let start = usize::try_from(address).map_err(|_| io::ErrorKind::InvalidInput)?;
            let bytes = self.0.borrow();
            let end = start.checked_add(buffer.len()).ok_or(io::ErrorKind::InvalidInput)?;
            buffer.copy_from_slice(bytes.get(start..end).ok_or(io::ErrorKind::UnexpectedEof)?);
            Ok(())
        }
    }

    const LAYOUT: Layout = Layout {
        main_interpreter: 8,
        gil: GilPlace::BehindInterpreter(16),
        threads_head: 24,
        thread_next: 8,
        thread_native_id: 16,
        holder: 8,
        locked: 16,
        enabled: None,
    };
    const CALLER: PythonThread = PythonThread { state: 1024, native_id: 7 };

    /// Runtime at 64, interpreter at 256, GIL at 512, thread states at 1024 and 2048.
    fn recorded() -> Recorded {
        let memory = Recorded(RefCell::new(vec![0; 4096]));
        for (address, word) in [(72, 256), (272, 512), (280, 1024), (520, 1024), (528, 1), (536, 42)] {
            memory.set(address, word);
        }
        for (address, word) in [(1032, 2048), (1040, 7), (2056, 0), (2064, 8)] {
            memory.set(address, word);
        }
        memory
    }

    #[test]
    fn an_interpreter_that_fits_is_read() {
        let interpreter = Interpreter::at(recorded(), LAYOUT, 64).unwrap();
        interpreter.check(CALLER).unwrap();
        let words = interpreter.gil().unwrap();
        assert_eq!(words, GilWords { active: true, locked: 1, holder: 1024, switches: 42 });
        assert!(words.held_by(1024) && !words.held_by(2048));
        let ids: Vec<u32> = interpreter.threads().unwrap().iter().map(|thread| thread.native_id).collect();
        assert_eq!(ids, [7, 8]);
        assert!(interpreter.is_gil_futex(512) && interpreter.is_gil_futex(512 + 207));
        assert!(!interpreter.is_gil_futex(511) && !interpreter.is_gil_futex(512 + LAYOUT.gil_bytes()));
    }

    #[test]
    fn an_interpreter_that_does_not_fit_is_refused() {
        let damage: [(usize, u64, &str); 4] = [
            (528, 77, "neither held nor free"),
            (520, 2048, "does not hold the GIL"),
            (1040, 9, "not in the thread list"),
            (280, 0, "not in the thread list"),
        ];
        for (address, word, message) in damage {
            let memory = recorded();
            memory.set(address, word);
            let refusal = Interpreter::at(memory, LAYOUT, 64).unwrap().check(CALLER).unwrap_err();
            assert!(refusal.to_string().contains(message), "{refusal}");
        }
    }

    #[test]
    fn a_thread_list_that_goes_in_circles_ends() {
        let memory = recorded();
        memory.set(2056, 1024);
        assert_eq!(Interpreter::at(memory, LAYOUT, 64).unwrap().threads().unwrap().len(), MOST_THREADS);
    }

    proptest! {
        #[test]
        fn any_memory_gives_an_answer_or_a_refusal(damage in prop::collection::vec((0_usize..4088, any::<u64>()), 1..40)) {
            let memory = recorded();
            for (address, word) in damage {
                memory.set(address, word);
            }
            if let Ok(interpreter) = Interpreter::at(memory, LAYOUT, 64) {
                let _ = (interpreter.check(CALLER), interpreter.gil(), interpreter.threads());
            }
        }
    }
}
