//! The roofline for concurrency: what each engine will take, and which term bounds it.
//!
//! For each engine the wall time is its start-up, plus the largest of what one GIL, the cores, the workers and the
//! caller's side of the payload allow, plus what dispatch and hand-overs add. Uneven tasks lengthen the
//! parallel terms (`schedule`), queueing for the GIL lies between two bounds (`contention`).

use crate::{
    Costs, Engine, Forecast, Limit, Question,
    contention::{contested, convoy, queueing, share_too_short},
    engine::EngineCost,
    schedule::imbalance,
    task::Task,
};

/// Where between the optimist (0) and the pessimist (1) of `contention` real runs lie.
const QUEUEING_SHARE: f64 = 0.35;
/// One-sided 90 % point of the normal distribution: two sides make the 80 % interval.
pub(crate) const Z_80: f64 = 1.28;
/// A chunk should run this many times longer than its message costs, so that messages cost about 5 %.
const CHUNK_OVER_MESSAGE: f64 = 20.0;
/// Chunks per worker at least, so that the last one does not run alone for long.
const CHUNKS_PER_WORKER: f64 = 4.0;
/// Start-up repeats less well than work does.
pub(crate) const START_ERROR: f64 = 0.4;

/// The seconds of one engine, term by term, for all tasks.
#[derive(Clone, Debug, Default)]
struct Terms {
    start: f64,
    gil: f64,
    cores: f64,
    wait: f64,
    /// The caller's serial share of pickling and moving payloads.
    payload: f64,
    /// Of `payload`: messages and dispatch, not bytes.
    dispatch: f64,
    /// Of the terms: hand-overs of the GIL and the engine's own work per task.
    overhead: f64,
    /// How much longer than its fair share the last worker runs.
    imbalance: f64,
    /// What the pessimist says in place of the largest term.
    pessimist: f64,
    chunksize: u32,
}

impl Terms {
    fn roof(&self) -> f64 {
        let parallel = self.cores.max(self.wait) * self.imbalance.max(1.0);
        self.gil.max(parallel).max(self.payload)
    }

    fn limit(&self, task: &Task) -> Limit {
        let roof = self.roof();
        if self.start + self.overhead > roof * 0.5 {
            return Limit::Overhead;
        }
        if self.gil >= roof {
            return Limit::Gil;
        }
        if self.payload >= roof {
            return if self.dispatch > self.payload * 0.5 { Limit::Overhead } else { Limit::Payload };
        }
        if self.imbalance > 1.2 {
            return Limit::Tail;
        }
        match self.cores > self.wait {
            true if task.child_cpu > task.cores_cpu() * 0.5 => Limit::Child,
            true => Limit::Cores,
            false => Limit::Wait,
        }
    }
}

/// What the forecasts of one question share.
pub(crate) struct Model<'a> {
    pub(crate) question: &'a Question,
    pub(crate) task: Task,
    pub(crate) tasks: f64,
}

impl<'a> Model<'a> {
    pub(crate) fn new(question: &'a Question) -> Self {
        Self { question, task: Task::new(question), tasks: to_float(question.tasks) }
    }

    fn costs(&self) -> &Costs {
        &self.question.costs
    }

    fn cost(&self, engine: Engine) -> EngineCost {
        self.costs().engines.get(&engine).cloned().unwrap_or_default()
    }

    /// Wall seconds of a plain loop over all tasks.
    pub(crate) fn serial(&self) -> f64 {
        let cpu = self.task.cores_cpu();
        let quota = if self.costs().cores < 1.0 { cpu / self.costs().cores - cpu } else { 0.0 };
        self.tasks * (self.task.wall() + quota)
    }

    /// The forecast of one engine with one number of workers, before any trial or measurement.
    pub(crate) fn forecast(&self, engine: Engine, workers: u32) -> Forecast {
        let terms = match engine {
            Engine::Serial => Terms { gil: self.serial(), pessimist: self.serial(), ..Terms::default() },
            Engine::Threads => self.threads(workers),
            Engine::Async => self.event_loop(workers),
            Engine::Interpreters | Engine::Processes => self.separate(engine, workers),
        };
        let roof = terms.roof();
        let pessimist = terms.pessimist.max(roof);
        let seconds = terms.start + roof + QUEUEING_SHARE * (pessimist - roof);
        let error = self.error(engine, &terms, seconds);
        let limit = if engine == Engine::Serial { Limit::Nothing } else { terms.limit(&self.task) };
        Forecast {
            engine,
            workers,
            chunksize: terms.chunksize.max(1),
            seconds,
            low: (seconds - Z_80 * error).max(seconds * 0.3),
            high: (seconds + Z_80 * error).max(terms.start + pessimist).max(self.served(engine, workers)),
            speedup: ratio(self.serial(), seconds),
            limit,
            measured: None,
            trial: None,
        }
    }

    fn threads(&self, workers: u32) -> Terms {
        let (task, costs, cost) = (&self.task, self.costs(), self.cost(Engine::Threads));
        let outside = task.released + task.blocked;
        let wanted = contested(task.held, task.wall(), workers);
        let stretch = if task.releases > 0.0 { outside / task.releases } else { f64::INFINITY };
        let lost = task.released * share_too_short(stretch, costs.wake) * wanted;
        let handovers = task.releases * costs.handoff * wanted;
        let turns = task.held * (costs.turns - 1.0).max(0.0) * wanted;
        let gil = if costs.gil { task.held + lost + handovers + turns + cost.task } else { cost.task };
        let returns = convoy(task.releases, task.held, costs.switch_interval, wanted);
        let elsewhere = outside - lost + if costs.gil { returns } else { task.held };
        let imbalance = imbalance(&self.question.task_seconds, self.question.tasks, workers, 1);
        Terms {
            start: cost.start + cost.start_worker * f64::from(workers),
            gil: self.tasks * gil,
            cores: self.tasks * self.on_cores(task.cores_cpu() + cost.task, workers),
            wait: self.tasks * (task.wall() + returns) / f64::from(workers),
            overhead: self.tasks * (handovers + cost.task),
            imbalance,
            pessimist: self.tasks * queueing(gil, elsewhere, workers),
            ..Terms::default()
        }
    }

    fn event_loop(&self, limit: u32) -> Terms {
        let (task, cost) = (&self.task, self.cost(Engine::Async));
        let service = task.held + task.released + task.blocked_loop + cost.task;
        let elsewhere = (task.blocked - task.blocked_loop).max(0.0);
        Terms {
            start: cost.start,
            gil: self.tasks * service,
            wait: self.tasks * task.wall() / f64::from(limit),
            overhead: self.tasks * cost.task,
            imbalance: imbalance(&self.question.task_seconds, self.question.tasks, limit, 1),
            pessimist: self.tasks * queueing(service, elsewhere, limit),
            ..Terms::default()
        }
    }

    /// Engines with an interpreter of their own for each worker: processes and sub-interpreters.
    fn separate(&self, engine: Engine, workers: u32) -> Terms {
        let (task, cost) = (&self.task, self.cost(engine));
        let payload = &self.question.payload;
        let chunksize = self.chunksize(engine, workers);
        let sending = cost.payload_caller(payload);
        let dispatch = cost.message / f64::from(chunksize) + cost.task;
        let crossing = cost.payload_worker(payload);
        let cpu = task.cores_cpu() + crossing + sending + dispatch;
        let fresh =
            task.warmup / self.costs().effective_cores(f64::from(workers)).max(0.1) * f64::from(workers);
        let first_pass = cost.first_pass(payload, self.tasks, workers);
        let imports = f64::from(self.question.modules) * self.costs().import;
        let imports = if engine == Engine::Interpreters { imports * f64::from(workers) } else { imports };
        Terms {
            start: cost.start + cost.start_worker * f64::from(workers) + fresh + imports + first_pass,
            cores: self.tasks * self.on_cores(cpu, workers + 1),
            wait: self.tasks * (task.wall() + self.inner_alone(workers) + crossing) / f64::from(workers),
            payload: self.tasks * (sending + dispatch),
            dispatch: self.tasks * dispatch,
            overhead: 0.0,
            imbalance: imbalance(&self.question.task_seconds, self.question.tasks, workers, chunksize),
            chunksize,
            ..Terms::default()
        }
    }

    /// What a task takes longer in a worker whose native libraries may use only their share of the cores.
    fn inner_alone(&self, workers: u32) -> f64 {
        let cores = self.costs().cores;
        let taken = if cores > 1.0 { (f64::from(workers - 1) / (cores - 1.0)).min(1.0) } else { 0.0 };
        self.task.inner_cpu * taken
    }

    /// Wall seconds that the cores need for `cpu` seconds of each task when `workers` run tasks.
    fn on_cores(&self, cpu: f64, workers: u32) -> f64 {
        let wall = self.task.wall().max(f64::MIN_POSITIVE);
        let busy = f64::from(workers) * (cpu / wall).max(1.0);
        cpu / self.costs().effective_cores(busy).max(0.01)
    }

    /// Tasks per message: enough to make messages cheap, few enough to keep every worker busy to the end.
    fn chunksize(&self, engine: Engine, workers: u32) -> u32 {
        let message = self.cost(engine).message;
        let wanted = CHUNK_OVER_MESSAGE * message / self.task.wall().max(1e-9);
        let most = self.tasks / (f64::from(workers) * CHUNKS_PER_WORKER);
        let chunk = wanted.min(most).clamp(1.0, 10_000.0);
        #[expect(clippy::cast_possible_truncation, clippy::cast_sign_loss, reason = "clamped just above")]
        let chunk = chunk as u32;
        chunk
    }

    /// One standard error of a forecast, in seconds.
    fn error(&self, engine: Engine, terms: &Terms, seconds: f64) -> f64 {
        let work = (seconds - terms.start).max(0.0);
        let sampled = self.sampling_error();
        let (model, split) = match engine {
            Engine::Serial => (0.06, 0.0),
            Engine::Threads => (0.11, self.task.held_error / self.task.wall().max(f64::MIN_POSITIVE)),
            Engine::Async => (0.10, 0.0),
            Engine::Interpreters => (0.15, 0.0),
            Engine::Processes => (0.14, 0.0),
        };
        let memory = self.memory_error(terms);
        let relative = (sampled.powi(2) + f64::powi(model, 2) + split.powi(2) + memory.powi(2)).sqrt();
        ((work * relative).powi(2) + (terms.start * START_ERROR).powi(2)).sqrt()
    }

    /// Standard error of the mean task, over it, for the tasks that were not sampled.
    pub(crate) fn sampling_error(&self) -> f64 {
        let left = 1.0 - to_float(self.question.ledger.tasks) / self.tasks.max(1.0);
        self.task.wall_error * left.clamp(0.0, 1.0).sqrt()
    }

    /// Native code may be bound by memory bandwidth, which one thread's ledger does not show.
    fn memory_error(&self, terms: &Terms) -> f64 {
        let costs = self.costs();
        if terms.cores < terms.roof() * 0.9 || costs.parallel_memory <= 0.0 {
            return 0.0;
        }
        let native = self.task.released / self.task.wall().max(f64::MIN_POSITIVE);
        (costs.parallel / costs.parallel_memory - 1.0).max(0.0) * native / 2.0
    }

    /// Wall seconds when what the tasks wait for is computed on the same cores. The ledger cannot tell a server of
    /// theirs from other programs, so this is an upper bound, and a reason for a trial.
    pub(crate) fn served(&self, engine: Engine, workers: u32) -> f64 {
        if engine == Engine::Serial || self.task.served_cpu <= 0.0 {
            return 0.0;
        }
        self.tasks * self.on_cores(self.task.cores_cpu() + self.task.served_cpu, workers)
    }

    /// Worker counts worth a forecast, ascending.
    pub(crate) fn worker_counts(&self, engine: Engine) -> Vec<u32> {
        if engine == Engine::Serial {
            return vec![1];
        }
        if let Some(asked) = self.question.workers {
            return vec![asked.max(1)];
        }
        let most = u32::try_from(self.question.tasks).unwrap_or(u32::MAX).max(2);
        let cores = whole_cores(self.costs().cores).max(2);
        let waits = self.task.blocked > 0.05 * self.task.wall();
        let mut counts = match engine {
            Engine::Async => vec![8, 32, 128, 512, most.min(1000)],
            Engine::Threads if waits => vec![cores, 2, 4, 8, 16, 32, 64, 128],
            Engine::Processes | Engine::Interpreters if waits => vec![cores, 2 * cores, 4 * cores],
            _ => vec![cores, 2],
        };
        counts.retain(|count| *count <= most.max(2));
        if counts.is_empty() {
            counts.push(most);
        }
        counts.sort_unstable();
        counts.dedup();
        counts
    }

    /// What threads of the free-threaded build would take, in seconds: a forecast of another interpreter.
    pub(crate) fn free_threaded(&self) -> Option<f64> {
        let costs = self.costs();
        if !costs.gil || self.question.coroutine {
            return None;
        }
        let slow = self.task.held * (costs.free_threaded_slowdown - 1.0).max(0.0);
        let cost = self.cost(Engine::Threads);
        let with = |workers: u32| {
            let on_cores = self.on_cores(self.task.cores_cpu() + slow + cost.task, workers);
            let in_turn = (self.task.wall() + slow) / f64::from(workers);
            let factor = imbalance(&self.question.task_seconds, self.question.tasks, workers, 1);
            cost.start + cost.start_worker * f64::from(workers) + self.tasks * on_cores.max(in_turn) * factor
        };
        self.worker_counts(Engine::Threads).into_iter().map(with).reduce(f64::min)
    }
}

pub(crate) fn ratio(serial: f64, seconds: f64) -> f64 {
    if seconds > 0.0 { serial / seconds } else { 1.0 }
}

#[expect(clippy::cast_possible_truncation, clippy::cast_sign_loss, reason = "cores are few and positive")]
pub(crate) fn whole_cores(cores: f64) -> u32 {
    cores.ceil().clamp(1.0, 4096.0) as u32
}

#[expect(clippy::cast_precision_loss, reason = "counts of tasks stay far below 2^52")]
pub(crate) fn to_float(number: u64) -> f64 {
    number as f64
}
