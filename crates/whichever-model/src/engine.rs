//! Engines and what they cost on one machine under one interpreter, as calibrated there.

use std::collections::BTreeMap;

use serde::{Deserialize, Serialize};

use crate::Payload;

/// A way to run tasks. The order is the order of simplicity: ties go to the earlier one.
#[derive(Clone, Copy, Debug, PartialEq, Eq, PartialOrd, Ord, Hash, Serialize, Deserialize)]
#[serde(rename_all = "lowercase")]
pub enum Engine {
    /// A plain loop in the calling thread.
    Serial,
    /// Threads of this process.
    Threads,
    /// Tasks of one event loop.
    Async,
    /// Sub-interpreters, each with its own GIL, in threads of this process.
    Interpreters,
    /// Worker processes.
    Processes,
}

impl Engine {
    /// Every engine, the simplest first.
    pub const ALL: [Self; 5] =
        [Self::Serial, Self::Threads, Self::Async, Self::Interpreters, Self::Processes];

    /// The public name.
    #[must_use]
    pub fn name(self) -> &'static str {
        match self {
            Self::Serial => "serial",
            Self::Threads => "threads",
            Self::Async => "async",
            Self::Interpreters => "interpreters",
            Self::Processes => "processes",
        }
    }

    /// Whether arguments and results cross as pickles.
    #[must_use]
    pub fn sends_payload(self) -> bool {
        matches!(self, Self::Interpreters | Self::Processes)
    }
}

/// What one engine costs, in seconds.
#[derive(Clone, Debug, Default, PartialEq, Serialize, Deserialize)]
#[serde(default, deny_unknown_fields)]
pub struct EngineCost {
    /// Start-up that does not depend on the number of workers.
    pub start: f64,
    /// Further start-up for each worker.
    pub start_worker: f64,
    /// Dispatch of one message (a chunk of tasks), on the caller's side.
    pub message: f64,
    /// Dispatch of one task, beside its message.
    pub task: f64,
    /// Sending one byte of arguments, beside pickling: the caller's share.
    pub byte_in: f64,
    /// Taking one byte of results in, beside loading: the caller's share.
    pub byte_out: f64,
    /// The worker's share of moving one byte, either way.
    pub byte_worker: f64,
}

impl EngineCost {
    /// The caller's side of one task's payload, in seconds.
    pub(crate) fn payload_caller(&self, payload: &Payload) -> f64 {
        let moving = payload.in_bytes * self.byte_in + payload.out_bytes * self.byte_out;
        payload.pickle_in + payload.unpickle_out + moving
    }

    /// The worker's side.
    pub(crate) fn payload_worker(&self, payload: &Payload) -> f64 {
        let moving = (payload.in_bytes + payload.out_bytes) * self.byte_worker;
        payload.unpickle_in + payload.pickle_out + moving
    }
}

/// The constants of one machine and interpreter. Written by calibration; kept with the versions they belong to.
#[derive(Clone, Debug, PartialEq, Serialize, Deserialize)]
#[serde(default, deny_unknown_fields)]
pub struct Costs {
    /// Usable cores: affinity and cgroup quota. May be a fraction.
    pub cores: f64,
    /// Speed-up that pure Python gets from `cores` processes at once; at most `cores`.
    pub parallel: f64,
    /// The same for work bound by memory bandwidth.
    pub parallel_memory: f64,
    /// `sys.getswitchinterval()`: how long a waiter lets the holder run.
    pub switch_interval: f64,
    /// What one release of the GIL costs more while another thread wants it.
    pub handoff: f64,
    /// Time of Python in threads that take turns over its time alone: caches go cold at every turn. At least 1.
    pub turns: f64,
    /// What metering adds to the length of each task, in seconds.
    pub metering: f64,
    /// From waking a thread to its first instruction.
    pub wake: f64,
    /// Importing one module in a fresh interpreter, on average.
    pub import: f64,
    /// Whether this interpreter has a GIL.
    pub gil: bool,
    /// Time of single-threaded Python on the free-threaded build over this build.
    pub free_threaded_slowdown: f64,
    /// The engines that exist here.
    pub engines: BTreeMap<Engine, EngineCost>,
}

impl Default for Costs {
    /// A machine with one core and free engines: what tests start from.
    fn default() -> Self {
        Self {
            cores: 1.0,
            parallel: 1.0,
            parallel_memory: 1.0,
            switch_interval: 0.005,
            handoff: 5e-6,
            turns: 1.0,
            metering: 0.0,
            wake: 30e-6,
            import: 0.5e-3,
            gil: true,
            free_threaded_slowdown: 1.1,
            engines: Engine::ALL.into_iter().map(|engine| (engine, EngineCost::default())).collect(),
        }
    }
}

impl Costs {
    /// What machines of these years cost about: for who must decide before this one was calibrated.
    #[must_use]
    pub fn typical(cores: f64, gil: bool, switch_interval: f64) -> Self {
        let cost = |start, start_worker, message, task| EngineCost {
            start,
            start_worker,
            message,
            task,
            ..EngineCost::default()
        };
        let processes = EngineCost {
            byte_in: 1.0e-10,
            byte_out: 1.0e-10,
            byte_worker: 5.0e-11,
            ..cost(0.06, 0.01, 0.0, 7e-6)
        };
        Self {
            cores,
            parallel: 1.0 + (cores - 1.0).max(0.0) * 0.95,
            parallel_memory: 1.0 + (cores - 1.0).max(0.0) * 0.8,
            switch_interval,
            handoff: 3e-7,
            turns: 1.04,
            wake: 1e-5,
            import: 4e-4,
            gil,
            engines: BTreeMap::from([
                (Engine::Serial, EngineCost::default()),
                (Engine::Threads, cost(1e-4, 1e-4, 0.0, 1.5e-6)),
                (Engine::Async, cost(1e-4, 0.0, 0.0, 4e-6)),
                (Engine::Processes, processes),
            ]),
            ..Self::default()
        }
    }

    /// How many cores' worth of work `busy` workers get done: the calibrated speed-up, reached linearly.
    #[must_use]
    pub fn effective_cores(&self, busy: f64) -> f64 {
        scaled(self.cores, self.parallel, busy)
    }

    /// The same for work bound by memory bandwidth.
    #[must_use]
    pub fn effective_cores_memory(&self, busy: f64) -> f64 {
        scaled(self.cores, self.parallel_memory, busy)
    }
}

fn scaled(cores: f64, parallel: f64, busy: f64) -> f64 {
    let used = busy.min(cores);
    if cores <= 1.0 || used <= 1.0 {
        return used.min(cores);
    }
    1.0 + (parallel.clamp(1.0, cores) - 1.0) * (used - 1.0) / (cores - 1.0)
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn two_cores_give_what_calibration_saw() {
        let costs = Costs { cores: 2.0, parallel: 1.8, ..Costs::default() };
        assert!((costs.effective_cores(2.0) - 1.8).abs() < 1e-12);
        assert!((costs.effective_cores(8.0) - 1.8).abs() < 1e-12);
        assert!((costs.effective_cores(1.0) - 1.0).abs() < 1e-12);
    }

    #[test]
    fn a_quota_below_one_core_slows_even_one_worker() {
        let costs = Costs { cores: 0.5, ..Costs::default() };
        assert!((costs.effective_cores(4.0) - 0.5).abs() < 1e-12);
    }
}
