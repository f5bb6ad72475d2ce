//! What is asked and what is answered: the values that cross between measuring and judging.

use std::collections::BTreeMap;

use serde::{Deserialize, Serialize};

use crate::{Costs, Engine, Ledger};

/// Pickled size and pickling time of a task's arguments and result, means per task.
///
/// Large buffers (arrays, bytes) count in the sizes but not in the times: what they take is the engine's matter, which
/// may share their memory instead of pickling it.
#[derive(Clone, Debug, Default, PartialEq, Serialize, Deserialize)]
#[serde(default, deny_unknown_fields)]
pub struct Payload {
    /// Bytes of the pickled arguments.
    pub in_bytes: f64,
    /// Of these: large bytes objects, which a worker copies out of shared memory.
    pub in_copied: f64,
    /// Bytes of the pickled result.
    pub out_bytes: f64,
    /// Seconds to pickle the arguments (caller).
    pub pickle_in: f64,
    /// Seconds to load them (worker).
    pub unpickle_in: f64,
    /// Seconds to pickle the result (worker).
    pub pickle_out: f64,
    /// Seconds to load it (caller).
    pub unpickle_out: f64,
}

/// A short real run of one engine on items of its own.
#[derive(Clone, Debug, PartialEq, Serialize, Deserialize)]
#[serde(deny_unknown_fields)]
pub struct Trial {
    /// The engine that ran.
    pub engine: Engine,
    /// With how many workers.
    pub workers: u32,
    /// How many tasks it finished.
    pub tasks: u64,
    /// Wall seconds from the first task handed in to the last result, without start-up.
    pub seconds: f64,
    /// Wall seconds of start-up.
    pub open_seconds: f64,
}

/// A real run of all items.
#[derive(Clone, Debug, PartialEq, Serialize, Deserialize)]
#[serde(deny_unknown_fields)]
pub struct Measurement {
    /// The engine that ran.
    pub engine: Engine,
    /// With how many workers.
    pub workers: u32,
    /// Wall seconds, start-up included.
    pub seconds: f64,
}

/// Everything a verdict is made from.
#[derive(Clone, Debug, Default, PartialEq, Serialize, Deserialize)]
#[serde(default, deny_unknown_fields)]
pub struct Question {
    /// Where the sampled tasks' time went.
    pub ledger: Ledger,
    /// Wall seconds of each sampled task, in the order they ran.
    pub task_seconds: Vec<f64>,
    /// What crosses a process boundary.
    pub payload: Payload,
    /// The machine's constants.
    pub costs: Costs,
    /// How many tasks there are in all.
    pub tasks: u64,
    /// Whether the function is a coroutine function.
    pub coroutine: bool,
    /// How many modules a fresh interpreter must import for the task.
    pub modules: u32,
    /// Engines that would change the program's meaning, or do not exist, with the reason.
    pub excluded: BTreeMap<Engine, String>,
    /// Engines the caller asked to choose from; empty: all.
    pub engines: Vec<Engine>,
    /// The one worker count the caller asked for; none: all sensible ones.
    pub workers: Option<u32>,
    /// Short real runs so far.
    pub trials: Vec<Trial>,
    /// Full real runs so far.
    pub measured: Vec<Measurement>,
    /// Cores that other programs of this machine kept busy meanwhile; 0 where that cannot be told.
    pub others_busy: f64,
    /// Calls that blocked the event loop, in words: `time.sleep in fetch (app.py:12)`.
    pub loop_blockers: Vec<String>,
}

/// What bounds an engine: the largest term of its forecast.
#[derive(Clone, Copy, Debug, PartialEq, Eq, Serialize, Deserialize)]
#[serde(rename_all = "lowercase")]
pub enum Limit {
    /// One thread may run Python at a time (for async: one event loop).
    Gil,
    /// All usable cores are busy.
    Cores,
    /// Pickling and moving arguments and results.
    Payload,
    /// Tasks wait, and there are only so many workers to wait at once.
    Wait,
    /// Start-up and dispatch of the engine.
    Overhead,
    /// Child processes keep the cores busy.
    Child,
    /// The longest task, or the last wave, runs alone.
    Tail,
    /// Nothing is shared: a plain loop.
    Nothing,
}

impl Limit {
    /// The word used in tables.
    #[must_use]
    pub fn name(self) -> &'static str {
        match self {
            Self::Gil => "gil",
            Self::Cores => "cores",
            Self::Payload => "payload",
            Self::Wait => "wait",
            Self::Overhead => "overhead",
            Self::Child => "child",
            Self::Tail => "tail",
            Self::Nothing => "nothing",
        }
    }
}

/// What one engine with one number of workers will take for all tasks.
#[derive(Clone, Debug, PartialEq, Serialize, Deserialize)]
#[serde(deny_unknown_fields)]
pub struct Forecast {
    /// The engine.
    pub engine: Engine,
    /// Its workers; for async the tasks in flight at once.
    pub workers: u32,
    /// Tasks per message, for engines that send messages.
    pub chunksize: u32,
    /// Expected wall seconds, start-up included.
    pub seconds: f64,
    /// Lower end of the 80 % interval.
    pub low: f64,
    /// Upper end of the 80 % interval.
    pub high: f64,
    /// Serial seconds over these seconds.
    pub speedup: f64,
    /// The largest term.
    pub limit: Limit,
    /// Wall seconds of a real run of all items, start-up included.
    pub measured: Option<f64>,
    /// Wall seconds per task in a short real trial.
    pub trial: Option<f64>,
}

impl Forecast {
    /// The best that is known: the measurement where there is one, else the expectation.
    #[must_use]
    pub fn known(&self) -> f64 {
        self.measured.unwrap_or(self.seconds)
    }
}

/// An engine that the model alone cannot tell from the best: worth a short real trial.
#[derive(Clone, Copy, Debug, PartialEq, Eq, Serialize, Deserialize)]
#[serde(deny_unknown_fields)]
pub struct Contender {
    /// The engine.
    pub engine: Engine,
    /// Its most promising number of workers.
    pub workers: u32,
    /// Tasks per message.
    pub chunksize: u32,
}

/// The judgement.
#[derive(Clone, Debug, PartialEq, Serialize, Deserialize)]
#[serde(deny_unknown_fields)]
pub struct Answer {
    /// One for each engine and worker count, the chosen one first, then by expected seconds.
    pub forecasts: Vec<Forecast>,
    /// The engine to use.
    pub engine: Engine,
    /// Its workers.
    pub workers: u32,
    /// Serial seconds over the chosen engine's seconds, measured where measured.
    pub speedup: f64,
    /// Engines still to be told apart by a trial, the most promising first. Empty: the answer stands.
    pub contenders: Vec<Contender>,
    /// Whether more samples would hardly move the forecasts.
    pub stable: bool,
    /// Relative standard error of the mean task: how much sampling alone leaves open.
    pub sampling_error: f64,
    /// The argument, in sentences.
    pub reasons: Vec<String>,
    /// What to change for more, in sentences.
    pub advice: Vec<String>,
}
