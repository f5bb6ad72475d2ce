//! Forecasts against runs of real tasks that no constant here was fitted to: two cores, `CPython` 3.12.1.
//!
//! Each row: per-item milliseconds held, released, blocked as metered in a serial run; wall seconds of the serial
//! run; then what two threads, eight threads, two processes and eight really took (0: not run).

use std::collections::BTreeMap;

use whichever_model::{
    BlockedKind, Costs, Engine, EngineCost, Forecast, Ledger, Parts, Payload, Question, decide,
};

struct Row {
    name: &'static str,
    held_ms: f64,
    released_ms: f64,
    blocked_ms: f64,
    serial: f64,
    threads_2: f64,
    threads_8: f64,
    processes_2: f64,
    processes_8: f64,
}

const fn row(name: &'static str, parts_ms: [f64; 3], serial: f64, runs: [f64; 4]) -> Row {
    Row {
        name,
        held_ms: parts_ms[0],
        released_ms: parts_ms[1],
        blocked_ms: parts_ms[2],
        serial,
        threads_2: runs[0],
        threads_8: runs[1],
        processes_2: runs[2],
        processes_8: runs[3],
    }
}

const ROWS: [Row; 14] = [
    row("pure Python", [14.55, 0.0, 0.0], 0.582, [0.575, 0.0, 0.344, 0.0]),
    row("json round trip", [16.83, 0.0, 0.17], 0.680, [0.688, 0.0, 0.361, 0.0]),
    row("re.findall", [13.13, 0.0, 0.0], 0.526, [0.558, 0.0, 0.275, 0.0]),
    row("zlib", [0.0, 0.94, 0.0], 0.037, [0.024, 0.0, 0.034, 0.0]),
    row("sha256", [0.05, 7.04, 0.0], 0.284, [0.153, 0.0, 0.166, 0.0]),
    row("numpy sort", [0.17, 2.23, 0.0], 0.096, [0.062, 0.0, 0.070, 0.0]),
    row("http, 50 ms", [2.20, 0.19, 63.14], 3.931, [1.905, 0.505, 1.968, 0.505]),
    row("sleep 20 ms", [0.02, 0.04, 20.08], 1.208, [0.609, 0.163, 0.617, 0.167]),
    row("orjson", [11.01, 0.0, 0.01], 0.441, [0.501, 0.0, 0.266, 0.0]),
    row("bcrypt", [0.01, 10.17, 0.0], 0.407, [0.216, 0.0, 0.221, 0.0]),
    row("http and json", [14.93, 0.17, 64.50], 4.777, [2.634, 1.117, 2.408, 0.679]),
    row("numpy matmul", [0.21, 3.63, 0.0], 0.153, [0.088, 0.0, 0.093, 0.0]),
    row("pbkdf2", [0.02, 6.63, 0.0], 0.266, [0.153, 0.0, 0.168, 0.0]),
    row("faiss search", [0.40, 6.72, 0.0], 0.285, [0.165, 0.0, 0.159, 0.0]),
];

fn costs() -> Costs {
    let engines = BTreeMap::from([
        (Engine::Serial, EngineCost::default()),
        (Engine::Threads, EngineCost { task: 25e-6, ..EngineCost::default() }),
        (Engine::Processes, EngineCost { message: 280e-6, start: 2e-3, ..EngineCost::default() }),
    ]);
    Costs { cores: 2.0, parallel: 1.8, parallel_memory: 1.8, engines, ..Costs::default() }
}

fn question(row: &Row) -> Question {
    let (held, released, blocked) = (row.held_ms / 1e3, row.released_ms / 1e3, row.blocked_ms / 1e3);
    let wall = held + released + blocked;
    let parts = Parts {
        held,
        released,
        blocked: BTreeMap::from([(BlockedKind::Network, blocked)]),
        ..Parts::default()
    };
    let ledger = Ledger { tasks: 10, samples: 1000, gil: true, wall, parts, ..Ledger::default() };
    #[expect(clippy::cast_possible_truncation, clippy::cast_sign_loss, reason = "a small positive count")]
    let tasks = (row.serial / wall).round() as u64;
    Question {
        ledger,
        task_seconds: vec![wall; 10],
        payload: Payload { in_bytes: 100.0, ..Payload::default() },
        costs: costs(),
        tasks,
        ..Question::default()
    }
}

fn expected(forecasts: &[Forecast], engine: Engine, workers: u32) -> Option<f64> {
    forecasts.iter().find(|f| f.engine == engine && f.workers == workers).map(|f| f.seconds)
}

fn errors() -> Vec<(String, f64)> {
    let mut errors = Vec::new();
    for row in &ROWS {
        let forecasts = decide(&question(row)).forecasts;
        let runs = [
            (Engine::Threads, 2, row.threads_2),
            (Engine::Threads, 8, row.threads_8),
            (Engine::Processes, 2, row.processes_2),
            (Engine::Processes, 8, row.processes_8),
        ];
        for (engine, workers, real) in runs.into_iter().filter(|run| run.2 > 0.0) {
            if let Some(seconds) = expected(&forecasts, engine, workers) {
                errors.push((format!("{} {} {workers}", row.name, engine.name()), seconds / real - 1.0));
            }
        }
    }
    errors
}

#[test]
fn forecasts_of_real_tasks_are_mostly_within_ten_per_cent() {
    let errors = errors();
    let mut sizes: Vec<f64> = errors.iter().map(|(_, error)| error.abs()).collect();
    sizes.sort_by(f64::total_cmp);
    assert!(sizes[sizes.len() / 2] <= 0.10, "median {}: {errors:?}", sizes[sizes.len() / 2]);
    assert!(sizes[sizes.len() * 8 / 10] <= 0.20, "80 % {}: {errors:?}", sizes[sizes.len() * 8 / 10]);
}

#[test]
fn the_best_engine_is_chosen_or_sent_to_a_trial() {
    for row in &ROWS {
        let answer = decide(&question(row));
        let mut runs = vec![
            (Engine::Serial, row.serial),
            (Engine::Threads, row.threads_2),
            (Engine::Threads, row.threads_8),
            (Engine::Processes, row.processes_2),
            (Engine::Processes, row.processes_8),
        ];
        runs.retain(|run| run.1 > 0.0);
        let best = runs.iter().map(|run| run.1).fold(f64::INFINITY, f64::min);
        let good: Vec<Engine> = runs.iter().filter(|run| run.1 <= best * 1.05).map(|run| run.0).collect();
        let open: Vec<Engine> = answer.contenders.iter().map(|contender| contender.engine).collect();
        let found = good.iter().any(|engine| *engine == answer.engine || open.contains(engine));
        assert!(found, "{}: {:?} is best, {:?} chosen, {open:?} open", row.name, good, answer.engine);
    }
}
